"""Traffic by slots: an InferenceService per slot and an HTTPRoute whose weights conch owns.

Works from KServe 0.15 on, in hundredths of a percent, and nothing of KServe's decides about it.
"""

from __future__ import annotations

from collections.abc import Mapping

from conch.core import SlotName, TrafficSplit

from ..manifests.objects import predictor_name
from ..serving.records import Record
from ..serving.seeing import Progress, Seen
from ..statuses import route_acknowledged
from .standard import answers, cluster_host, rollout


class SlotTraffic:
    """The `Strategy` protocol by a route of conch's own."""

    def service(self, record: Record, slot: SlotName) -> str:
        return f"{record.workload}-{slot}"

    def host(self, record: Record, seen: Seen, slot: SlotName) -> str:
        return cluster_host(record, self.service(record, slot))

    def slot_of(self, record: Record, *, service: str, pod: str) -> SlotName | None:
        return next((slot for slot in record.slots if service == self.service(record, slot)), None)

    def settled(self, record: Record, seen: Seen, slot: SlotName) -> str:
        return ""

    def placed(self, record: Record, slot: SlotName) -> Record:
        return record

    def progress(self, record: Record, seen: Seen, slot: SlotName) -> Progress:
        name = self.service(record, slot)
        return rollout(record, seen, record.slots[slot], service=name, name=name)

    def holds(self, record: Record, seen: Seen, slot: SlotName) -> bool:
        return answers(record, seen, record.slots[slot], self.service(record, slot))

    def before_split(self, record: Record, seen: Seen, split: TrafficSplit) -> Record | None:
        return None

    def before_unload(self, record: Record, seen: Seen, slot: SlotName) -> Record | None:
        return None

    def weights(self, record: Record, seen: Seen) -> Mapping[SlotName, int] | None:
        if seen.route is None or not route_acknowledged(seen.route):
            return None
        path = f"/v2/models/{record.model}"
        for rule in seen.route["spec"]["rules"]:
            if rule["matches"][0]["path"]["value"] == path:
                shares = {ref["name"]: ref.get("weight", 1) for ref in rule["backendRefs"]}
                return {
                    slot: shares.get(predictor_name(self.service(record, slot)), 0)
                    for slot in record.slots
                }
        return None

    def guarded(self, record: Record, seen: Seen) -> str:
        for slot, held in record.slots.items():
            if record.weight(slot) and (held.pending or not self.holds(record, seen, slot)):
                return f"no server of slot {slot!r} answers with build {held.build_id}"
        return ""
