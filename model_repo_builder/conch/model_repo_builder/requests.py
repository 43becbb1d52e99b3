"""What a build is asked to do, as one value that crosses a process boundary as JSON."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Self

from conch.core import InvalidValueError, Ordinal, Profile, ServingSpec, TritonName


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one build may take.

    Attributes:
        time_s: Seconds from its start, in a worker that is ready, to its publication.
        memory_bytes: Resident memory of the worker with its children, which includes about
            600 MB for the frameworks themselves.
        disk_bytes: Bytes of the files that it writes, the build and temporary ones together.
    """

    time_s: float = 600.0
    memory_bytes: int = 8 * 1024**3
    disk_bytes: int = 16 * 1024**3

    def __post_init__(self) -> None:
        if self.time_s <= 0 or self.memory_bytes <= 0 or self.disk_bytes <= 0:
            raise InvalidValueError("A build's limits must be above zero.")


@dataclass(frozen=True, slots=True, kw_only=True)
class RuntimeCaps:
    """What the serving runtime reads.

    The defaults were found by loading one-node graphs of every opset and IR version into
    ONNX Runtime 1.27.0, the oldest runtime that current Triton images carry: it takes opset 26 and
    IR version 13, and refuses 27 and 14.

    Attributes:
        opset: Highest version of the default operator set.
        ir_version: Highest version of the file format.
        onnxruntime: The runtime that these two belong to, for messages.
        engines: What the portable flavour may be run with: modules that the environment of Triton's
            Python backend has.
    """

    opset: int = 26
    ir_version: int = 13
    onnxruntime: str = "1.27.0"
    engines: tuple[str, ...] = ("onnxruntime", "openvino")

    def with_engines(self, more: tuple[str, ...]) -> Self:
        """Return those of a runtime that has further engines."""
        return replace(self, engines=(*self.engines, *more))


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskMetric:
    """What a reference data set's labels are for.

    Attributes:
        name: A task metric by scikit-learn's name, see `task_metrics`.
        labels: The column or array of the right answers.
        allowed_loss: How much worse than the registered model the converted one may be.
    """

    name: str
    labels: str = "label"
    allowed_loss: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildRequest:
    """One build.

    Attributes:
        build_id: Identity of the build.
        registered_name: The model's name in the registry.
        model: Its name on the wire.
        ordinal: The version directory to make.
        source: A downloaded MLflow model: the folder that holds `MLmodel`. Only read.
        output: The folder to publish, which must not exist; its parent may.
        spec: How the build wants to be served.
        seed: Seed of the generated rows; two builds of one version with one seed are equal files.
        limits: What the build may take.
        caps: What the serving runtime reads.
        refuse_weak_evidence: Whether agreement on rows that prove little refuses the version.
        trust_pickles: Whether code that is stored in the model may run: a pickled model is one.
            Who may register a model may then run anything as the builder.
        profile: The kind of device that it is built for; it decides which formats are tried.
        reference: Rows that a person trusts, as an `.npz` file of one array per input, the batch
            first: for calibration, and for whatever else wants real rows. None for the example.
        trusted_because: Why it may, for the report.
        task: The task metric to judge by on the labelled rows of `reference`; None for none.
        environment: What such a model is loaded with and why, for the report.
        environment_path: The environment that was made for it; None for the builder's own.
    """

    build_id: str
    registered_name: str
    model: TritonName
    ordinal: Ordinal
    source: Path
    output: Path
    spec: ServingSpec = field(default_factory=ServingSpec)
    seed: int = 0
    limits: Limits = field(default_factory=Limits)
    caps: RuntimeCaps = field(default_factory=RuntimeCaps)
    refuse_weak_evidence: bool = False
    trust_pickles: bool = False
    task: TaskMetric | None = None
    profile: Profile = Profile.CPU
    reference: Path | None = None
    trusted_because: str = ""
    environment: str = ""
    environment_path: Path | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return a JSON-compatible form; `from_dict` reads it back."""
        return {
            "build_id": self.build_id,
            "registered_name": self.registered_name,
            "model": self.model,
            "ordinal": self.ordinal,
            "source": str(self.source),
            "output": str(self.output),
            "spec": self.spec.as_dict(),
            "seed": self.seed,
            "limits": {
                "time_s": self.limits.time_s,
                "memory_bytes": self.limits.memory_bytes,
                "disk_bytes": self.limits.disk_bytes,
            },
            "caps": {
                "opset": self.caps.opset,
                "ir_version": self.caps.ir_version,
                "onnxruntime": self.caps.onnxruntime,
                "engines": list(self.caps.engines),
            },
            "refuse_weak_evidence": self.refuse_weak_evidence,
            "trust_pickles": self.trust_pickles,
            "task": None if self.task is None else asdict(self.task),
            "profile": self.profile,
            "reference": None if self.reference is None else str(self.reference),
            "trusted_because": self.trusted_because,
            "environment": self.environment,
            "environment_path": (
                None if self.environment_path is None else str(self.environment_path)
            ),
        }

    @classmethod
    def from_dict(cls, value: dict[str, Any]) -> Self:
        """Read what `as_dict` wrote."""
        return cls(
            build_id=value["build_id"],
            registered_name=value["registered_name"],
            model=TritonName(value["model"]),
            ordinal=Ordinal(value["ordinal"]),
            source=Path(value["source"]),
            output=Path(value["output"]),
            spec=ServingSpec.from_dict(value["spec"]),
            seed=value["seed"],
            limits=Limits(**value["limits"]),
            caps=RuntimeCaps(**{**value["caps"], "engines": tuple(value["caps"]["engines"])}),
            refuse_weak_evidence=value["refuse_weak_evidence"],
            trust_pickles=value.get("trust_pickles", False),
            task=TaskMetric(**value["task"]) if value.get("task") else None,
            profile=Profile(value.get("profile", Profile.CPU)),
            reference=None if value.get("reference") is None else Path(value["reference"]),
            trusted_because=value.get("trusted_because", ""),
            environment=value.get("environment", ""),
            environment_path=(
                None if value.get("environment_path") is None else Path(value["environment_path"])
            ),
        )
