"""Traffic by `spec.canary`: several predictors of one InferenceService (Standard mode, 0.21).

KServe routes a ready canary its percentage and the stable predictor the rest. Which of two slots is
the stable one is chosen so that the one with everything always is: promotion names the canary's
predictor as the stable one, which keeps its Deployment, and leaves the former one as a canary with
0 %, so that rolling back needs no load.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from conch.core import TOTAL_WEIGHT, SlotName, TrafficSplit

from ..manifests.objects import predictor_name
from ..serving.records import Record
from ..serving.seeing import Progress, Seen
from .standard import answers, cluster_host, is_pod_of, rollout

_PERCENT: Final = TOTAL_WEIGHT // 100


class CanaryTraffic:
    """The `Strategy` protocol by KServe's own canaries."""

    def service(self, record: Record, slot: SlotName) -> str:
        return record.workload

    def host(self, record: Record, seen: Seen, slot: SlotName) -> str:
        return cluster_host(record, _name(record, slot))

    def slot_of(self, record: Record, *, service: str, pod: str) -> SlotName | None:
        if service != record.workload:
            return None
        return next(
            (slot for slot in record.slots if is_pod_of(predictor_name(_name(record, slot)), pod)),
            None,
        )

    def settled(self, record: Record, seen: Seen, slot: SlotName) -> str:
        return ""

    def placed(self, record: Record, slot: SlotName) -> Record:
        others = record.others(slot)
        return replace(record, primary=others[0] if others else slot)

    def progress(self, record: Record, seen: Seen, slot: SlotName) -> Progress:
        held = record.slots[slot]
        return rollout(record, seen, held, service=record.workload, name=_name(record, slot))

    def holds(self, record: Record, seen: Seen, slot: SlotName) -> bool:
        return answers(record, seen, record.slots[slot], _name(record, slot))

    def before_split(self, record: Record, seen: Seen, split: TrafficSplit) -> Record | None:
        return None

    def before_unload(self, record: Record, seen: Seen, slot: SlotName) -> Record | None:
        others = record.others(slot)
        if slot != record.primary or not others:
            return None
        return replace(record, primary=others[0])

    def weights(self, record: Record, seen: Seen) -> Mapping[SlotName, int] | None:
        body = seen.services.get(record.workload)
        if body is None or record.primary is None:
            return None
        if body["spec"]["predictor"].get("name") != record.primary:
            return None
        shares = {canary.name: canary for canary in seen.service(record.workload).canaries}
        others = [slot for slot in record.slots if slot != record.primary]
        if any(slot not in shares for slot in others):
            return None
        found = {
            slot: shares[slot].percent * _PERCENT if shares[slot].ready else 0 for slot in others
        }
        return {**found, record.primary: TOTAL_WEIGHT - sum(found.values())}

    def guarded(self, record: Record, seen: Seen) -> str:
        for slot, held in record.slots.items():
            matters = record.weight(slot) or slot == record.primary
            if matters and (held.pending or not self.holds(record, seen, slot)):
                return f"no server of slot {slot!r} answers with build {held.build_id}"
        return ""


def stable_for(record: Record) -> SlotName | None:
    """Return the slot that should be the stable predictor: whichever has everything."""
    return next(
        (slot for slot in record.slots if record.weight(slot) == TOTAL_WEIGHT), record.primary
    )


def _name(record: Record, slot: SlotName) -> str:
    return f"{record.workload}-{slot}"
