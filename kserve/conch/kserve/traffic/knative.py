"""Traffic by `canaryTrafficPercent`: two revisions of one InferenceService (Knative mode).

Knative's "latest" means the latest *ready* revision. A percentage that is applied together with a
new model goes to whatever is ready at that moment, which may be the revision that was just rolled
back (kserve issue 2130). Therefore always in this order: apply the model with 0 %, wait until the
newest revision is another than before and ready, and only then raise. Taking the field away gives
everything to the latest ready revision, so that it is taken away only when that is the one meant.

The other share is pinned by KServe to `latestRolledoutRevision`, the revision that last had
everything; before there is one, a percentage does nothing and a new model would get all traffic.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from typing import Final
from urllib.parse import urlsplit

from conch.core import TOTAL_WEIGHT, SlotName, TrafficSplit

from ..serving.records import Record
from ..serving.seeing import Progress, Seen, State
from .standard import is_pod_of

_PERCENT: Final = TOTAL_WEIGHT // 100
_LONGEST: Final = 63


class KnativeTraffic:
    """The `Strategy` protocol by percentages between revisions."""

    def service(self, record: Record, slot: SlotName) -> str:
        return record.workload

    def host(self, record: Record, seen: Seen, slot: SlotName) -> str:
        status = seen.service(record.workload)
        revision = record.slots[slot].revision
        for share in status.traffic:
            if share.revision == revision and share.url:
                return urlsplit(share.url).netloc
        alone = len(record.slots) == 1
        return urlsplit(status.url).netloc if alone else ""

    def slot_of(self, record: Record, *, service: str, pod: str) -> SlotName | None:
        if service != record.workload:
            return None
        return next(
            (
                slot
                for slot, held in record.slots.items()
                if held.revision and is_pod_of(_deployment(held.revision), pod)
            ),
            None,
        )

    def settled(self, record: Record, seen: Seen, slot: SlotName) -> str:
        status = seen.service(record.workload)
        others = record.others(slot)
        if not others:
            return ""
        stable = record.slots[others[0]]
        if status.rolled_out != stable.revision or status.share_of(stable.revision) != 100:
            return (
                f"revision {stable.revision or 'of the live version'} does not have all traffic "
                "yet, and a percentage would do nothing"
            )
        return ""

    def placed(self, record: Record, slot: SlotName) -> Record:
        return replace(record, primary=slot)

    def progress(self, record: Record, seen: Seen, slot: SlotName) -> Progress:
        held, status = record.slots[slot], seen.service(record.workload)
        if not _is_spec(record, seen, slot) or status.created in ("", held.before):
            return Progress(state=State.WAITING, reason="KServe has not made a revision yet")
        if status.settled:
            return Progress(state=State.READY, revision=status.created)
        if status.failure and status.failure != held.blamed:
            return Progress(state=State.FAILED, reason=status.failure)
        return Progress(
            state=State.WAITING, reason=f"revision {status.created} is not ready; {status.failure}"
        )

    def holds(self, record: Record, seen: Seen, slot: SlotName) -> bool:
        held, status = record.slots[slot], seen.service(record.workload)
        known = {share.revision for share in status.traffic} | {status.newest_ready}
        return held.revision != "" and held.revision in known and not status.stopped

    def before_split(self, record: Record, seen: Seen, split: TrafficSplit) -> Record | None:
        if record.primary is None or not _wanted(split, record.others(record.primary)):
            return None
        primary = record.slots[record.primary]
        (other, *_) = record.others(record.primary)
        if seen.service(record.workload).rolled_out != primary.revision or primary.pending:
            return None  # the other revision is still the pinned one
        return _again(record, seen, other)

    def before_unload(self, record: Record, seen: Seen, slot: SlotName) -> Record | None:
        others = record.others(slot)
        if slot != record.primary or not others:
            return None
        return _again(record, seen, others[0])

    def weights(self, record: Record, seen: Seen) -> Mapping[SlotName, int] | None:
        status = seen.service(record.workload)
        found = {
            slot: status.share_of(held.revision) * _PERCENT if held.revision else 0
            for slot, held in record.slots.items()
        }
        return found if sum(found.values()) == TOTAL_WEIGHT else None

    def guarded(self, record: Record, seen: Seen) -> str:
        if record.primary is None:
            return "nothing stands in spec.predictor"
        held, status = record.slots[record.primary], seen.service(record.workload)
        if record.weight(record.primary) == 0 and len(record.slots) > 1:
            return ""  # taking weight away is always safe
        if held.pending or not held.revision:
            return f"servers with build {held.build_id} are still on their way"
        if not (status.settled and status.newest_ready == held.revision):
            return (
                f"the latest ready revision is {status.newest_ready or 'none'}, "
                f"not the verified {held.revision}"
            )
        if not _is_spec(record, seen, record.primary):
            return "the InferenceService names another model than the verified one"
        return ""


def _deployment(revision: str) -> str:
    """Return what Knative calls a revision's Deployment (knative.dev/pkg `kmeta.ChildName`).

    >>> _deployment("digits-predictor-00001")
    'digits-predictor-00001-deployment'
    """
    suffix = "-deployment"
    if len(revision) + len(suffix) <= _LONGEST:
        return revision + suffix
    digest = hashlib.md5(revision.encode(), usedforsecurity=False).hexdigest()
    return revision[: _LONGEST - len(digest) - len(suffix)] + digest + suffix


def _again(record: Record, seen: Seen, slot: SlotName) -> Record:
    """Return the record with a slot's build as the newest revision once more, at 0 %.

    The pinned revision goes on serving; the new one has the same build.
    """
    status = seen.service(record.workload)
    if record.primary == slot:
        return record
    held = replace(record.slots[slot], pending=True, before=status.created, blamed=status.failure)
    return replace(record.with_held(slot, held), primary=slot)


def _wanted(split: TrafficSplit, slots: tuple[SlotName, ...]) -> int:
    return sum(arm.weight for arm in split.arms if arm.slot in slots)


def _is_spec(record: Record, seen: Seen, slot: SlotName) -> bool:
    """Whether the InferenceService, as it is now, holds a slot's build."""
    body = seen.services.get(record.workload)
    if body is None:
        return False
    model = body["spec"].get("predictor", {}).get("model") or {}
    return bool(model.get("storageUri") == record.slots[slot].storage_uri)
