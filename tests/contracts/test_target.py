"""What every target promises to the control plane: one machine, each kind of cluster, the stand-in.

Triton and Envoy are real on the machine; on clusters the API server is, and controllers and servers
are the stand-in. The target in memory, which many tests of the control plane use, is held to the
same promises, and so is a cluster that a person gives (`make live`).
"""

from __future__ import annotations

import contextlib
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from kserve_clusters import build as cluster_build
from kserve_clusters import divided, lab
from kserve_standin import Fault
from live_clusters import LOAD_S, given, live_build, live_target
from memory_platform import write_scaling
from memory_target import MemoryTarget
from platform_fixtures import LocalPlatform

from conch.control.ports import Target
from conch.core import (
    BuildRef,
    ConchError,
    InvalidValueError,
    Ordinal,
    Signature,
    SlotName,
    TrafficSplit,
    TritonName,
)
from conch.kserve import Traffic

A, B = SlotName("a"), SlotName("b")


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """One implementation with its own way to make builds.

    Attributes:
        build: Makes a build of the test's model by its ordinal; the second argument says whether
            it loads.
        model: A name that no other test uses.
        load_s: How long a load may take.
        refuse_s: How long one may take that comes to nothing.
    """

    target: Target
    build: Callable[[int, bool], BuildRef]
    model: TritonName
    load_s: float = 20.0
    refuse_s: float = 2.0

    def holds(self, slot: SlotName, build: BuildRef) -> bool:
        """Tell whether the slot's servers hold a build, ready."""
        servers = self.target.observe().in_slot(slot)
        return bool(servers) and all(one.holds(build.model, build.ordinal) for one in servers)

    def in_force(self) -> TrafficSplit | None:
        """Return the model's split in force."""
        return self.target.routes().get(self.model)


def in_memory(request: pytest.FixtureRequest, folder: Path, name: str) -> Iterator[Subject]:
    target = MemoryTarget()

    def build(ordinal: int, loads: bool) -> BuildRef:
        version = folder / f"{name}-{ordinal}" / "portable" / name / str(ordinal)
        version.mkdir(parents=True)
        write_scaling(version / "model.onnx", factor=float(ordinal))
        if not loads:
            target.fail_load(name, ordinal, "these weights are broken")
        return BuildRef(
            build_id=f"{name}-b{ordinal}",
            model=TritonName(name),
            ordinal=Ordinal(ordinal),
            path=folder / f"{name}-{ordinal}",
            digest=f"{ordinal:064x}",
            signature=Signature(inputs=(), outputs=()),
            max_batch_size=8,
        )

    yield Subject(target=target, build=build, model=TritonName(name))


def on_this_machine(request: pytest.FixtureRequest, folder: Path, name: str) -> Iterator[Subject]:
    platform: LocalPlatform = request.getfixturevalue("local_platform")

    def build(ordinal: int, loads: bool) -> BuildRef:
        return platform.build(name, ordinal, behaviour="answer" if loads else "refuse")

    before = list(platform.target.routes().values())
    yield Subject(target=platform.target, build=build, model=TritonName(name))
    platform.target.set_routes(before)
    for slot in (A, B):
        platform.target.unload(TritonName(name), slot)


def on_a_cluster(strategy: Traffic) -> Callable[..., Iterator[Subject]]:
    def subject(request: pytest.FixtureRequest, folder: Path, name: str) -> Iterator[Subject]:
        connect, namespace = (request.getfixturevalue(one) for one in ("connect", "namespace"))
        with lab(connect, namespace, strategy, folder, seed=3) as it:

            def build(ordinal: int, loads: bool) -> BuildRef:
                made = cluster_build(folder, ordinal, model=name)
                if not loads:
                    it.standin.faults[made.build_id] = Fault.BLOCKED
                return made

            yield Subject(target=it.target, build=build, model=TritonName(name))

    return subject


def on_a_live_cluster(request: pytest.FixtureRequest, folder: Path, name: str) -> Iterator[Subject]:
    with live_target() as target:

        def build(ordinal: int, loads: bool) -> BuildRef:
            return live_build(folder, name, ordinal, loads=loads)

        yield Subject(
            target=target, build=build, model=TritonName(name), load_s=LOAD_S, refuse_s=LOAD_S / 3
        )
        for slot in (A, B, A):
            with contextlib.suppress(ConchError):  # the one with traffic goes last
                target.unload(TritonName(name), slot)


IMPLEMENTATIONS = {
    "memory": in_memory,
    "machine": on_this_machine,
    **{f"cluster-{one.value}": on_a_cluster(one) for one in Traffic},
    **({"live": on_a_live_cluster} if given() else {}),
}


@pytest.fixture(
    params=[
        pytest.param(name, marks=() if name == "memory" else pytest.mark.real)
        for name in IMPLEMENTATIONS
    ]
)
def subject(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Subject]:
    """Every implementation, with a model of its own."""
    name = f"m{uuid.uuid4().hex[:8]}"
    yield from IMPLEMENTATIONS[request.param](request, tmp_path, name)


def until(condition: Callable[[], bool], *, timeout_s: float = 30.0) -> None:
    """Look until a condition holds."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come about in time"
        time.sleep(0.02)


def shares(subject: Subject) -> dict[str, int]:
    """Return what of the traffic each build has, those without any left out."""
    split = subject.in_force()
    return {} if split is None else {arm.build_id: arm.weight for arm in split.arms if arm.weight}


def test_a_build_is_loaded_once_however_often_it_is_asked_for(subject: Subject) -> None:
    """Loading is idempotent, and nobody is routed to what is only loaded."""
    one = subject.build(1, True)
    for _ in range(2):
        subject.target.load(one, A, timeout_s=subject.load_s)
    assert subject.holds(A, one)
    assert shares(subject) == {}


def test_the_table_that_was_set_is_the_one_in_force(subject: Subject) -> None:
    """A share grows and goes back; each call returns with the table in force, asked for twice."""
    one, two = subject.build(1, True), subject.build(2, True)
    subject.target.load(one, A, timeout_s=subject.load_s)
    subject.target.set_routes([divided((one, A, 100))])
    until(lambda: shares(subject) == {one.build_id: 10_000})
    subject.target.load(two, B, timeout_s=subject.load_s)
    for percent in (10, 10, 50, 0):
        subject.target.set_routes([divided((two, B, percent), (one, A, 100 - percent))])
        wanted = {two.build_id: percent * 100, one.build_id: 10_000 - percent * 100}
        wanted = {build_id: weight for build_id, weight in wanted.items() if weight}
        until(lambda wanted=wanted: shares(subject) == wanted)  # type: ignore[misc]
    assert subject.target.observe().routes.get(subject.model) == subject.in_force()
    assert subject.holds(A, one)


def test_a_table_with_a_model_twice_is_refused(subject: Subject) -> None:
    """Which of two splits was meant cannot be known; the table in force stays."""
    one = subject.build(1, True)
    subject.target.load(one, A, timeout_s=subject.load_s)
    split = divided((one, A, 100))
    subject.target.set_routes([split])
    with pytest.raises(InvalidValueError):
        subject.target.set_routes([split, split])
    until(lambda: shares(subject) == {one.build_id: 10_000})


def test_a_build_that_does_not_load_leaves_what_serves(subject: Subject) -> None:
    """Refused with words; the other slot, its build and the routes are as they were."""
    one, broken = subject.build(1, True), subject.build(2, False)
    subject.target.load(one, A, timeout_s=subject.load_s)
    subject.target.set_routes([divided((one, A, 100))])
    until(lambda: shares(subject) == {one.build_id: 10_000})
    with pytest.raises(ConchError) as error:
        subject.target.load(broken, B, timeout_s=subject.refuse_s)
    assert error.value.message
    until(lambda: shares(subject) == {one.build_id: 10_000})
    assert subject.holds(A, one)
    assert not subject.holds(B, broken)


def test_letting_go_is_idempotent_and_of_one_slot(subject: Subject) -> None:
    """What is not there is let go of without a word, and the other slot keeps its build."""
    one, two = subject.build(1, True), subject.build(2, True)
    subject.target.unload(subject.model, B)
    subject.target.load(one, A, timeout_s=subject.load_s)
    subject.target.set_routes([divided((one, A, 100))])
    subject.target.load(two, B, timeout_s=subject.load_s)
    subject.target.set_routes([divided((two, B, 100))])  # what is routed is never let go of
    until(lambda: shares(subject) == {two.build_id: 10_000})
    for _ in range(2):
        subject.target.unload(subject.model, A)
    until(lambda: not subject.holds(A, one))
    assert subject.holds(B, two)
    until(lambda: shares(subject) == {two.build_id: 10_000})
