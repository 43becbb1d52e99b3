"""From payload events to exposures: each request once, in its stage, or not at all."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from hypothesis import given
from hypothesis import strategies as st

from conch.control.evidence.counting import failed
from conch.control.payloads import Answered, Asked, Intake, PayloadSource
from conch.control.payloads.cloud_events import PayloadEvent
from conch.core import Arm, ConchError, Ordinal, SlotName, TrafficSplit, TritonName
from conch.events import Exposure, hash_unit

DIGITS = TritonName("digits")
BEGAN = 1_767_323_000.0
ANSWER_S, MARGIN_S = 5.0, 2.0


def split(weight: int, *, stage: int) -> TrafficSplit:
    """Return a release's division: the candidate in `b` has `weight` basis points."""
    return TrafficSplit(
        model=DIGITS,
        arms=(
            Arm(slot=SlotName("b"), ordinal=Ordinal(2), build_id="two", weight=weight),
            Arm(slot=SlotName("a"), ordinal=Ordinal(1), build_id="one", weight=10_000 - weight),
        ),
        salt="s",
        release="r",
        stage=stage,
    )


@dataclass
class World:
    """A cluster, a clock and an intake that looks once a second."""

    now_s: float = BEGAN
    routes: dict[TritonName, TrafficSplit] = field(
        default_factory=lambda: {DIGITS: split(100, stage=1)}
    )
    unseen: bool = False
    stored: list[Exposure] = field(default_factory=list)
    cut_s: float | None = None

    def __post_init__(self) -> None:
        source = PayloadSource(
            token="t",
            routes=self._routes,
            arm_of=self._arm_of,
            answer_s=ANSWER_S,
            margin_s=MARGIN_S,
        )
        self.intake = Intake(source, clock=lambda: self.now_s)

    def _routes(self) -> Mapping[TritonName, TrafficSplit]:
        if self.unseen:
            raise ConchError("The API server is away.")
        return self.routes

    def _arm_of(self, service: str, pod: str) -> tuple[TritonName, Arm] | None:
        for arm in self.routes.get(DIGITS, split(100, stage=1)).arms:
            if service == f"digits-{arm.slot}":
                return DIGITS, arm
        return None

    def pass_time(self, seconds: int) -> None:
        """Let time pass with a look each second."""
        for _ in range(seconds):
            self.now_s += 1
            self.intake.look()
            _, self.cut_s = self.intake.read(self.stored.extend)

    def tell(self, *events: PayloadEvent) -> None:
        """Deliver events."""
        for event in events:
            self.intake.take(event)

    def keep_going(self) -> None:
        """Deliver a request that moves the time of the newest one."""
        name = f"tick-{self.now_s}"
        self.tell(asked(name, self.now_s, slot="a"), answered(name, self.now_s, slot="a"))


def asked(name: str, at_s: float, *, slot: str = "b") -> Asked:
    """Return a request to a pod of a slot."""
    return Asked(id=name, service=f"digits-{slot}", pod=f"digits-{slot}-pod", at_s=at_s)


def answered(name: str, at_s: float, *, slot: str = "b") -> Answered:
    """Return an answer of it."""
    return Answered(id=name, service=f"digits-{slot}", pod=f"digits-{slot}-pod", at_s=at_s)


def finished(world: World) -> list[Exposure]:
    """Let everything become due, and return what was counted but for what moved time."""
    world.pass_time(1)
    for _ in range(20):
        world.keep_going()
        world.pass_time(1)
    return [one for one in world.stored if not one.request_id.startswith("tick")]


def test_a_request_is_counted_once_its_answer_is_due() -> None:
    """With its latency, arm, stage and propensity; by the request as its own unit."""
    world = World()
    world.pass_time(5)
    at_s = world.now_s
    world.tell(asked("r1", at_s), answered("r1", at_s + 0.25))
    world.pass_time(3)
    assert world.stored == []
    (one,) = finished(world)
    assert (one.slot, one.ordinal, one.build_id) == ("b", 2, "two")
    assert (one.release, one.stage, one.propensity) == ("r", 1, 0.01)
    assert (one.unit_hash, one.unit_given) == (hash_unit("r1"), False)
    assert (one.latency_ms, one.status, failed(one)) == (250.0, 200, False)


def test_no_answer_is_a_failure() -> None:
    """It counts as one that took the longest time that an answer may take."""
    world = World()
    world.pass_time(5)
    world.tell(asked("r1", world.now_s))
    (one,) = finished(world)
    assert failed(one)
    assert (one.latency_ms, one.status) == (ANSWER_S * 1000, None)
    assert world.intake.status.unanswered == 1


def test_what_is_answered_too_late_has_failed_and_does_not_look_lost() -> None:
    """A slow candidate cannot make its own data look incomplete."""
    world = World()
    world.pass_time(5)
    at_s = world.now_s
    for number in range(50):
        world.tell(asked(f"r{number}", at_s))
    world.pass_time(1)
    for _ in range(15):
        world.keep_going()
        world.pass_time(1)
    for number in range(50):
        world.tell(answered(f"r{number}", world.now_s))
    found = finished(world)
    assert len(found) == 50
    assert all(failed(one) for one in found)
    status = world.intake.status
    assert (status.late_answers, status.lost_stretches) == (50, 0)


def test_around_a_change_of_weights_nothing_is_counted() -> None:
    """Two seconds before the last look that showed the old stage, and after the first new one."""
    world = World()
    world.pass_time(10)
    changed_s = world.now_s
    world.routes = {}  # what is written, and not yet in force
    world.pass_time(3)
    world.routes = {DIGITS: split(500, stage=2)}
    world.pass_time(10)
    times = {
        "before": changed_s - 2.5,
        "just-before": changed_s - 1.5,
        "between": changed_s + 1.0,
        "just-after": changed_s + 5.0,
        "after": changed_s + 6.5,
    }
    world.intake._cut_s = 0.0  # the events come late, and all at once
    for name, at_s in times.items():
        world.tell(asked(name, at_s), answered(name, at_s + 0.1))
    assert {one.request_id: one.stage for one in finished(world)} == {"before": 1, "after": 2}
    assert world.intake.status.between_stages == 3


def test_while_the_cluster_is_not_seen_nothing_is_counted() -> None:
    """Weights may have moved meanwhile."""
    world = World()
    world.pass_time(5)
    world.unseen = True
    for _ in range(20):
        world.pass_time(1)
        world.tell(asked(f"r{world.now_s}", world.now_s))
    world.unseen = False
    assert finished(world) == []


def test_silence_does_not_move_the_cut() -> None:
    """No event for an hour may mean that none arrives; data is then as old as it is."""
    world = World()
    world.pass_time(5)
    assert world.cut_s is None
    world.tell(asked("r1", world.now_s))
    last_s = world.now_s
    world.pass_time(60)
    assert world.cut_s is None or world.cut_s <= last_s - ANSWER_S


def test_a_stretch_of_which_much_was_lost_is_left_out() -> None:
    """Answers without their request tell that requests are lost, hence answers too."""
    world = World()
    world.pass_time(5)
    at_s = world.now_s
    for number in range(100):
        world.tell(asked(f"r{number}", at_s), answered(f"r{number}", at_s))
    for number in range(5):
        world.tell(answered(f"lost{number}", at_s))
    assert finished(world) == []
    assert world.intake.status.lost_stretches == 1


def test_pods_of_no_arm_and_other_requests_are_not_counted() -> None:
    """Their answers are no loss either."""
    world = World()
    world.pass_time(5)
    for number in range(10):
        name, at_s = f"r{number}", world.now_s
        world.tell(asked(name, at_s, slot="z"), answered(name, at_s, slot="z"))
        name = f"m{number}"
        world.tell(replace(asked(name, at_s), infers=False), answered(name, at_s))
    assert finished(world) == []
    assert (world.intake.status.of_nobody, world.intake.status.lost_stretches) == (20, 0)


def test_a_pod_of_a_former_build_is_not_counted_for_the_new_one() -> None:
    """The arm that a pod served when its event came has to be the one that was in force."""
    world = World()
    world.pass_time(5)
    world.tell(asked("r1", world.now_s))
    arms = tuple(replace(arm, build_id=f"new-{arm.build_id}") for arm in split(100, stage=1).arms)
    world.routes = {DIGITS: replace(split(100, stage=1), arms=arms)}
    world.pass_time(1)
    assert all(one.build_id != "new-two" for one in finished(world))


@given(seed=st.integers(0, 2**32 - 1), lost=st.sampled_from([0.0, 0.004]))
def test_order_and_repetition_do_not_matter(seed: int, lost: float) -> None:
    """Whatever order events come in, each request that arrived is counted once, as it went."""
    chance = random.Random(seed)
    world = World()
    world.pass_time(5)
    at_s = world.now_s
    events: list[PayloadEvent] = []
    fails = {f"r{number}": chance.random() < 0.1 for number in range(200)}
    for name, fails_here in fails.items():
        slot = chance.choice("ab")
        began_s = at_s + chance.random()
        events.append(asked(name, began_s, slot=slot))
        if not fails_here:
            events.append(answered(name, began_s + 0.01, slot=slot))
    arrived = [event for event in events if chance.random() >= lost]
    arrived += chance.sample([e for e in arrived if isinstance(e, Asked)], 5)
    chance.shuffle(arrived)
    world.tell(*arrived)
    found = {one.request_id: failed(one) for one in finished(world)}
    requests = {event.id for event in arrived if isinstance(event, Asked)}
    answers = {event.id for event in arrived if isinstance(event, Answered)}
    if len(answers - requests) > 2:
        assert found == {}
    else:
        assert found == {name: name not in answers for name in requests}
