"""What conch means a model's workload to be, kept on the cluster itself.

A record is written before anything that follows from it: whoever is cut off after any write finds
in it what was meant, and makes it so. It lies in a ConfigMap beside the objects, so that it is
there exactly as long as they are.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Final, Self

from conch.core import Arm, Ordinal, ServingSpec, SlotName, TrafficSplit, TritonName

from ..applying.ownership import OWNER, OWNER_LABEL, PART_LABEL
from ..cluster.resources import CONFIG_MAP, Key, Object
from ..errors import KServeError
from ..manifests.objects import PREFIX
from ..workloads import Resources, Scaling, ServedModel, Slot, Workload, object_name

RECORD_LABEL: Final = f"{PREFIX}/record"
_DATA: Final = "record.json"


class RecordUnreadableError(KServeError):
    """A workload's record on the cluster is not what conch wrote."""

    code = "cluster-record-unreadable"


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """A build that a slot holds, or is to hold.

    Attributes:
        ordinal: Its version directory.
        build_id: The build.
        digest: SHA-256 over its files.
        storage_uri: Where servers fetch it.
        pending: Whether servers with it are still on their way.
        revision: The Knative revision that holds it; empty before there is one.
        before: The newest revision at the moment when servers with it were asked for.
        blamed: The failure that was shown at that moment, which is not this build's.
    """

    ordinal: Ordinal
    build_id: str
    digest: str
    storage_uri: str
    pending: bool = True
    revision: str = ""
    before: str = ""
    blamed: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """What a model's workload is meant to be.

    Attributes:
        model: The model on the wire.
        namespace: Where its objects live.
        slots: What each slot holds.
        primary: The slot in `spec.predictor`, where one InferenceService holds all slots.
        split: How traffic is divided; None before anything gets any.
        leaving: Slots whose objects are to go, with the version that they held; nothing follows
            from them any more, and they stand here until the objects are gone.
    """

    model: TritonName
    namespace: str
    slots: Mapping[SlotName, Held] = field(default_factory=dict)
    primary: SlotName | None = None
    split: TrafficSplit | None = None
    leaving: Mapping[SlotName, Ordinal] = field(default_factory=dict)

    @property
    def workload(self) -> str:
        """The name of its objects."""
        return object_name(self.model)

    @property
    def key(self) -> Key:
        """The ConfigMap that it lies in."""
        return record_key(self.model, self.namespace)

    def weight(self, slot: SlotName) -> int:
        """Return a slot's share in basis points."""
        arms = self.split.arms if self.split else ()
        return next((arm.weight for arm in arms if arm.slot == slot), 0)

    def with_held(self, slot: SlotName, held: Held) -> Self:
        """Return the record with a slot holding a build."""
        leaving = {name: ordinal for name, ordinal in self.leaving.items() if name != slot}
        return replace(self, slots={**self.slots, slot: held}, leaving=leaving)

    def without(self, slot: SlotName) -> Self:
        """Return the record with a slot empty; its arm leaves the split, which has no weight."""
        slots = {name: held for name, held in self.slots.items() if name != slot}
        split = self.split
        if split is not None:
            arms = tuple(arm for arm in split.arms if arm.slot != slot)
            split = replace(split, arms=arms) if arms else None
        primary = None if self.primary == slot else self.primary
        return replace(self, slots=slots, split=split, primary=primary)

    def others(self, slot: SlotName) -> tuple[SlotName, ...]:
        """Return the other slots that hold something, the one with the most traffic first."""
        names = [name for name in self.slots if name != slot]
        return tuple(sorted(names, key=lambda name: (-self.weight(name), name)))

    def as_workload(
        self, *, serving: ServingSpec, resources: Resources, scaling: Scaling
    ) -> Workload:
        """Return the workload that manifests are made of; what is pending has no weight."""
        slots = tuple(
            Slot(
                slot=name,
                models=(
                    ServedModel(
                        model=self.model,
                        ordinal=held.ordinal,
                        build_id=held.build_id,
                        digest=held.digest,
                        serving=serving,
                    ),
                ),
                storage_uri=held.storage_uri,
            )
            for name, held in sorted(self.slots.items())
        )
        return Workload(
            name=self.workload,
            namespace=self.namespace,
            slots=slots,
            splits=(self._split_now(),) if self.split else (),
            resources=resources,
            scaling=scaling,
            primary=self.primary,
        )

    def _split_now(self) -> TrafficSplit:
        """Return the split with the shares of pending slots kept where servers answer."""
        assert self.split is not None
        waiting = {slot for slot, held in self.slots.items() if held.pending}
        moved = sum(arm.weight for arm in self.split.arms if arm.slot in waiting)
        rest = [slot for slot in self.slots if slot not in waiting]
        if not rest and self.primary is not None and self.slots[self.primary].revision:
            # Its former revision is pinned and serves; the newest one waits with nothing.
            rest = [slot for slot in self.slots if slot != self.primary]
        if not moved or not rest:
            return self.split
        weights = {slot: self.weight(slot) for slot in rest}
        weights[max(rest, key=lambda slot: weights[slot])] += moved
        known = {arm.slot for arm in self.split.arms}
        arms = [replace(arm, weight=weights.get(arm.slot, 0)) for arm in self.split.arms]
        arms += [
            Arm(slot=slot, ordinal=held.ordinal, build_id=held.build_id, weight=weights[slot])
            for slot, held in self.slots.items()
            if slot in rest and slot not in known and weights[slot]
        ]
        return replace(self.split, arms=tuple(arms))

    def body(self) -> Object:
        """Return the ConfigMap."""
        value = {
            "model": self.model,
            "slots": {name: asdict(held) for name, held in sorted(self.slots.items())},
            "primary": self.primary,
            "split": asdict(self.split) if self.split else None,
            "leaving": dict(sorted(self.leaving.items())),
        }
        return {
            "apiVersion": CONFIG_MAP.api_version,
            "kind": CONFIG_MAP.kind,
            "metadata": {
                "name": self.key.name,
                "namespace": self.namespace,
                "labels": {OWNER_LABEL: OWNER, PART_LABEL: self.workload, RECORD_LABEL: "1"},
            },
            "data": {_DATA: json.dumps(value, sort_keys=True, indent=1)},
        }


def record_key(model: TritonName, namespace: str) -> Key:
    """Return the ConfigMap of a model's record."""
    return Key(
        api_version=CONFIG_MAP.api_version,
        kind=CONFIG_MAP.kind,
        namespace=namespace,
        name=f"{object_name(model)}-conch",
    )


def read_record(body: Object) -> Record:
    """Read what `Record.body` wrote.

    Raises:
        RecordUnreadableError: Somebody changed it.
    """
    try:
        value: dict[str, Any] = json.loads(body["data"][_DATA])
        split = value["split"]
        return Record(
            model=TritonName(value["model"]),
            namespace=body["metadata"]["namespace"],
            slots={SlotName(name): Held(**held) for name, held in value["slots"].items()},
            primary=value["primary"],
            leaving={SlotName(name): held for name, held in value.get("leaving", {}).items()},
            split=split
            and TrafficSplit(**{**split, "arms": tuple(Arm(**arm) for arm in split["arms"])}),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise RecordUnreadableError(
            f"{Key.of(body)} cannot be read: {error}.",
            hint="Restore what conch wrote there; delete the workload's objects to start anew.",
        ) from error
