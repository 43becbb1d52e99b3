"""What the three ways of dividing traffic have in common."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from conch.core import SlotName, TrafficSplit

from ..serving.records import Record
from ..serving.seeing import Progress, Seen


class Strategy(Protocol):
    """One way of dividing a model's traffic between slots: pure functions of what is seen.

    A record says what is meant; the manifests follow from it. A strategy says which record comes
    next on the way to what is wanted, and reads from the cluster how far it is.
    """

    def service(self, record: Record, slot: SlotName) -> str:
        """Return the name of the InferenceService that holds a slot."""

    def host(self, record: Record, seen: Seen, slot: SlotName) -> str:
        """Return the host name under which one slot is asked past the weights; empty if unknown."""

    def slot_of(self, record: Record, *, service: str, pod: str) -> SlotName | None:
        """Return the slot that a pod of an InferenceService belongs to; None where it is of none.

        A pod of a build that left its slot belongs to none, as far as its name can tell.
        """

    def settled(self, record: Record, seen: Seen, slot: SlotName) -> str:
        """Return why a build may not be put into a slot yet; empty where it may."""

    def placed(self, record: Record, slot: SlotName) -> Record:
        """Return the record with `spec.predictor` chosen for a slot that gets a build."""

    def progress(self, record: Record, seen: Seen, slot: SlotName) -> Progress:
        """Return how far the servers of a slot with a pending build are."""

    def holds(self, record: Record, seen: Seen, slot: SlotName) -> bool:
        """Tell whether a slot's build can answer now."""

    def before_split(self, record: Record, seen: Seen, split: TrafficSplit) -> Record | None:
        """Return a record that has to come true before a split may; None where none has to."""

    def before_unload(self, record: Record, seen: Seen, slot: SlotName) -> Record | None:
        """Return a record that has to come true before a slot may go; None where none has to."""

    def weights(self, record: Record, seen: Seen) -> Mapping[SlotName, int] | None:
        """Return the weights in force in basis points; None while they are not acknowledged."""

    def guarded(self, record: Record, seen: Seen) -> str:
        """Return why the record's weights may not be written now; empty where they may.

        This is what keeps weight off a revision that is not the verified one, whatever moved
        between the decision and the write.
        """
