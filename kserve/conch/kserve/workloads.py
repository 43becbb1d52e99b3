"""What is to be served on a cluster: slots of Triton servers, their models and the traffic."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, Self

from conch.core import BuildRef, Ordinal, ServingSpec, SlotName, TrafficSplit, TritonName

from .errors import WorkloadError
from .quantities import quantity

LONGEST_NAME: Final = 40
"""`NAME-SLOT-predictor-00001`, a Knative revision, is one DNS label of at most 63 characters."""

_NAME = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
_UNSAFE = re.compile(r"[^a-z0-9]+")


class Protocol(StrEnum):
    """The protocol of a server's one public port in Knative mode; Standard mode has both."""

    HTTP = "http"
    GRPC = "grpc"


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedModel:
    """One version of one model within a slot.

    Attributes:
        model: The model on the wire.
        ordinal: Its version directory.
        build_id: The build that it came from.
        digest: SHA-256 over the build's files, hexadecimal.
        serving: How it wants to be served.
    """

    model: TritonName
    ordinal: Ordinal
    build_id: str
    digest: str
    serving: ServingSpec = field(default_factory=ServingSpec)

    @classmethod
    def of(cls, build: BuildRef, serving: ServingSpec) -> Self:
        """Return a build as part of a slot."""
        return cls(
            model=build.model,
            ordinal=build.ordinal,
            build_id=build.build_id,
            digest=build.digest,
            serving=serving,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Slot:
    """Identical servers that hold the same models.

    Attributes:
        slot: The slot's name.
        models: What its servers hold, at most one version per model.
        storage_uri: A Triton repository with exactly these models.
    """

    slot: SlotName
    models: tuple[ServedModel, ...]
    storage_uri: str

    def __post_init__(self) -> None:
        names = [served.model for served in self.models]
        if not names or len(set(names)) != len(names):
            raise WorkloadError(f"Slot {self.slot!r} holds {names}; one version of each is needed.")
        if "://" not in self.storage_uri:
            raise WorkloadError(
                f"Slot {self.slot!r} has the storage {self.storage_uri!r}, which has no scheme.",
                hint="Give a URI such as s3://bucket/repository.",
            )

    @property
    def scheme(self) -> str:
        """The scheme of the storage URI, such as `s3`."""
        return self.storage_uri.partition("://")[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class Resources:
    """What one server asks for; requests equal limits, so that it is never evicted for its use.

    Attributes:
        cpu: Cores as a quantity.
        memory: Main memory as a quantity.
        gpus: Whole GPUs.
        gpu_product: Their type, as the profile names it; empty for any.
        shared_memory: Size of `/dev/shm`, which Triton's Python backend passes tensors through.
    """

    cpu: str = "1"
    memory: str = "2Gi"
    gpus: int = 0
    gpu_product: str = ""
    shared_memory: str = "256Mi"

    def __post_init__(self) -> None:
        for text in (self.cpu, self.memory, self.shared_memory):
            if quantity(text) <= 0:
                raise WorkloadError(f"A server cannot ask for {text!r} of a resource.")
        if self.gpus < 0 or (self.gpu_product and not self.gpus):
            raise WorkloadError(f"A server asks for {self.gpus} GPUs of {self.gpu_product!r}.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Scaling:
    """How many servers a slot has.

    Attributes:
        least: Fewest replicas; 0 is for Knative mode.
        most: Most replicas.
        queue_target_us: Mean time in the queue that KEDA keeps, in us; None derives it from the
            models' own batching delay.
        cpu_percent: CPU use that an HPA keeps, in percent of the request.
    """

    least: int = 1
    most: int = 1
    queue_target_us: int | None = None
    cpu_percent: int = 70

    def __post_init__(self) -> None:
        if not 0 <= self.least <= self.most or self.most < 1:
            raise WorkloadError(
                f"{self.least} to {self.most} replicas is no range.", hint="Use 0 <= least <= most."
            )
        if not 1 <= self.cpu_percent <= 100:
            raise WorkloadError(f"{self.cpu_percent} % of CPU is outside 1..100.")
        if self.queue_target_us is not None and self.queue_target_us < 1:
            raise WorkloadError(f"A queue time of {self.queue_target_us} us cannot be kept.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """One unit of serving: its slots, the split between them, and what a server needs.

    Attributes:
        name: Name of its objects, see `object_name`.
        namespace: Where they live.
        slots: One slot, or several with versions to divide traffic between.
        splits: How the traffic of a model is divided; a model without a split goes to `slots[0]`.
        resources: What one server asks for.
        scaling: How many servers a slot has.
        protocol: The public protocol in Knative mode.
        primary: The slot whose models stand in `spec.predictor`, where one InferenceService holds
            all slots: in Knative mode that of the newest revision, with `spec.canary` the stable
            one. None: the candidate in Knative mode, else the slot with the most traffic.
    """

    name: str
    namespace: str
    slots: tuple[Slot, ...]
    splits: tuple[TrafficSplit, ...] = ()
    resources: Resources = field(default_factory=Resources)
    scaling: Scaling = field(default_factory=Scaling)
    protocol: Protocol = Protocol.HTTP
    primary: SlotName | None = None

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name) or len(self.name) > LONGEST_NAME:
            raise WorkloadError(
                f"{self.name!r} cannot name a workload.", hint="Use what `object_name` returns."
            )
        names = [slot.slot for slot in self.slots]
        if not names or len(set(names)) != len(names):
            raise WorkloadError(f"Workload {self.name!r} has the slots {names}.")
        for name in names:
            if not _NAME.fullmatch(name) or len(name) > 8:
                raise WorkloadError(f"{name!r} cannot name a slot.", hint="Use a, b, c.")
        if self.primary is not None and self.primary not in names:
            raise WorkloadError(f"Workload {self.name!r} has no slot {self.primary!r}.")
        for split in self.splits:
            self._check(split)
        models = [split.model for split in self.splits]
        if len(set(models)) != len(models):
            raise WorkloadError(f"Workload {self.name!r} has two splits of one model.")

    @property
    def models(self) -> tuple[TritonName, ...]:
        """Every model of any slot, by name."""
        return tuple(sorted({served.model for slot in self.slots for served in slot.models}))

    def weight(self, slot: Slot) -> int | None:
        """Return a slot's share in basis points; None where nothing is divided."""
        arms = self.splits[0].arms if self.splits else ()
        if len(self.slots) == 1 or not arms:
            return None
        return next((arm.weight for arm in arms if arm.slot == slot.slot), 0)

    def _check(self, split: TrafficSplit) -> None:
        held = {
            (slot.slot, served.model, served.ordinal, served.build_id)
            for slot in self.slots
            for served in slot.models
        }
        for arm in split.arms:
            if (arm.slot, split.model, arm.ordinal, arm.build_id) not in held:
                raise WorkloadError(
                    f"The split of {split.model!r} names version {arm.ordinal} in slot "
                    f"{arm.slot!r}, which does not hold it."
                )


def object_name(model: TritonName) -> str:
    """Return the name of a model's objects on a cluster.

    A name that KServe takes is kept; any other is reduced and gets the first digits of its
    SHA-256, so that two models never share objects.

    >>> object_name(TritonName("digits"))
    'digits'
    >>> object_name(TritonName("Fraud_2"))
    'fraud-2-70913e0d'
    """
    if len(model) <= LONGEST_NAME and _NAME.fullmatch(model):
        return model
    digest = hashlib.sha256(model.encode()).hexdigest()[:8]
    stem = _UNSAFE.sub("-", model.lower()).strip("-")
    stem = stem if stem[:1].isalpha() else f"m-{stem}"
    return f"{stem[: LONGEST_NAME - 9].rstrip('-')}-{digest}"
