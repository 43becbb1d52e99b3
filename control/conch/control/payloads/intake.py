"""From deliveries to exposures: each request once, in the stage that was in force when it came.

Everything waits until its answer is due. A stretch of time is then counted at once and whole, or,
where too much of it was lost, not at all: what was lost has nothing to do with an arm. What waits
is in memory alone, since the logger never sends again: a process that ends loses those seconds.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Final

from conch.core import TOTAL_WEIGHT, Arm, ConchError, TrafficSplit, TritonName
from conch.events import EventLog, Exposure, PollReport, hash_unit

from ..evidence.counting import NO_ANSWER
from .cloud_events import Asked, PayloadEvent
from .pairing import Pairs, Served
from .periods import Periods

log = logging.getLogger(__name__)

_MOST_OPEN: Final = 200_000
"""Events that wait; about 100 MB."""

_STRETCH_S: Final = 1.0
_MS: Final = 1000.0
_NOBODY: Final = TritonName("-")


class PayloadsBusyError(ConchError):
    """More events wait than there is room for."""

    code = "payloads-busy"
    retryable = True


@dataclass(frozen=True, slots=True, kw_only=True)
class PayloadSource:
    """What an intake needs to know of the cluster that events come from.

    Attributes:
        token: What opens the intake.
        routes: Tells which divisions of traffic are in force.
        arm_of: Tells the model and arm of an InferenceService's pod; None: of none.
        answer_s: Longest time that an answer takes, in seconds.
        margin_s: How far clocks may differ, and how long a gateway may take, in seconds.
        counted: What is counted, and what a unit is, in words.
    """

    token: str
    routes: Callable[[], Mapping[TritonName, TrafficSplit]]
    arm_of: Callable[[str, str], tuple[TritonName, Arm] | None]
    answer_s: float = 10.0
    margin_s: float = 2.0
    counted: str = "the cluster's payload events; each request is a unit of its own"


@dataclass(frozen=True, slots=True, kw_only=True)
class IntakeStatus:
    """What became of the events since the process started.

    Attributes:
        received: Events.
        waiting: Requests and answers that wait for each other.
        counted: Requests that became exposures.
        unanswered: Those of them without an answer of status 200 in time.
        of_nobody: Requests to pods that serve no arm, or without a body.
        between_stages: Requests from around a change of weights.
        repeated: Requests whose id was open already.
        late: Requests that came after their time was counted.
        late_answers: Answers that did.
        lost_stretches: Stretches of time that were left out, since too much of them was lost.
    """

    received: int = 0
    waiting: int = 0
    counted: int = 0
    unanswered: int = 0
    of_nobody: int = 0
    between_stages: int = 0
    repeated: int = 0
    late: int = 0
    late_answers: int = 0
    lost_stretches: int = 0


class Intake:
    """Takes events of any thread, and gives them out by stretches of time to one reader.

    Args:
        source: The cluster.
        clock: Unix seconds.
    """

    def __init__(self, source: PayloadSource, *, clock: Callable[[], float] = time.time) -> None:
        self.source = source
        self._clock = clock
        self._lock = threading.Lock()
        self._pairs = Pairs()
        self._periods = Periods(margin_s=source.margin_s)
        self._arms: dict[tuple[str, str], tuple[TritonName, Arm] | None] = {}
        self._cut_s = 0.0
        self._status = IntakeStatus()

    @property
    def status(self) -> IntakeStatus:
        """What became of the events so far."""
        with self._lock:
            pairs = self._pairs
            return replace(self._status, waiting=len(pairs), late_answers=pairs.late)

    def take(self, event: PayloadEvent) -> None:
        """Take an event.

        Raises:
            PayloadsBusyError: Too many wait.
        """
        arm = self._arm_of(event) if isinstance(event, Asked) else None
        with self._lock:
            if len(self._pairs) >= _MOST_OPEN:
                raise PayloadsBusyError(f"{_MOST_OPEN} payload events wait to be counted.")
            self._add(received=1)
            if not isinstance(event, Asked):
                self._pairs.answer(event)
            elif event.at_s <= self._cut_s:
                self._add(late=1)
            elif arm is None or not event.infers:
                self._pairs.ask(event, _NOBODY, None)
                self._add(of_nobody=1)
            elif not self._pairs.ask(event, *arm):
                self._add(repeated=1)

    def look(self) -> None:
        """Take in what is in force; where the cluster cannot be seen, nothing is known of now."""
        at_s = self._clock()
        routes: Mapping[TritonName, TrafficSplit]
        try:
            routes = self.source.routes()
        except ConchError as error:
            log.debug("payload events: %s", error)
            routes = {}
        with self._lock:
            self._periods.look(routes, at_s)
            self._arms.clear()

    def read(self, store: Callable[[list[Exposure]], object]) -> tuple[int, float | None]:
        """Store what is due; return how many requests that were, and up to when all are counted.

        Only events move that moment: silence may mean that nothing arrives any more.
        """
        now_s = self._clock()
        with self._lock:
            newest_s = self._pairs.newest_s
            if newest_s is None:
                return 0, None
            to_s = min(newest_s, now_s) - self.source.answer_s - self.source.margin_s
            if to_s < self._cut_s + _STRETCH_S:
                return 0, self._cut_s or None
            stretch = self._pairs.until(to_s)
            found = [self._exposure(one, now_s) for one in stretch.served] if stretch.whole else []
        exposures = [one for one in found if one is not None]
        if exposures:
            store(exposures)
        with self._lock:
            self._pairs.drop(to_s)
            self._cut_s = to_s
            self._add(
                counted=len(exposures),
                unanswered=sum(one.flags == NO_ANSWER for one in exposures),
                between_stages=sum(one.arm is not None for one in stretch.served) - len(exposures)
                if stretch.whole
                else 0,
                lost_stretches=not stretch.whole,
            )
        return len(exposures), to_s

    def _arm_of(self, asked: Asked) -> tuple[TritonName, Arm] | None:
        key = (asked.service, asked.pod)
        try:
            return self._arms[key]
        except KeyError:
            found = self.source.arm_of(*key)
            with self._lock:
                self._arms[key] = found
            return found

    def _exposure(self, one: Served, now_s: float) -> Exposure | None:
        split = self._periods.find(one.model, one.asked.at_s)
        if one.arm is None or split is None:
            return None
        arms = {arm.slot: arm for arm in split.arms if arm.weight}
        arm = arms.get(one.arm.slot)
        if arm is None or arm.build_id != one.arm.build_id:
            return None
        asked, answered_s = one.asked, one.answered_s
        taken_s = self.source.answer_s if answered_s is None else answered_s - asked.at_s
        return Exposure(
            event_id=f"payload-{hash_unit(f'{asked.pod} {asked.id} {asked.at_s!r}')}",
            occurred_at=asked.at_s,
            received_at=now_s,
            model=one.model,
            slot=arm.slot,
            ordinal=arm.ordinal,
            build_id=arm.build_id,
            unit_hash=hash_unit(asked.id),
            unit_given=False,
            request_id=asked.id,
            release=split.release,
            stage=split.stage,
            propensity=arm.weight / TOTAL_WEIGHT,
            latency_ms=max(0.0, taken_s * _MS),
            status=None if answered_s is None else 200,
            flags=NO_ANSWER if answered_s is None else "",
        )

    def _add(self, **more: int) -> None:
        now = {name: getattr(self._status, name) + count for name, count in more.items()}
        self._status = replace(self._status, **now)


class PayloadReader:
    """Puts an intake's requests into an event log: what follows a cluster in place of access logs.

    Args:
        intake: Where deliveries arrive.
        log: Where exposures go.
    """

    def __init__(self, intake: Intake, log: EventLog) -> None:
        self._intake = intake
        self._log = log

    def poll(self) -> PollReport:
        """Write down what is due.

        Raises:
            EventError: The log takes nothing now; the next poll writes the same.
        """
        self._intake.look()
        counted, whole_s = self._intake.read(self._log.append)
        return PollReport(exposures=counted, whole_s=whole_s)
