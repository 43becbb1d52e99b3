"""Wherever the control process is killed, starting it again ends in the same state.

Two stories of a model, one of releases by hand and one of releases by plan, are told once without
a break, counting their effects: every transaction that writes, and every call that changes the
target, the registry or what is counted. Then each is told again for each of them, killed just
before that effect (which is just after the one before it), and started again on the same database.
Real database, real builder; the target, the registry and the counts are the stand-ins of
`tests/support`. A person whose call was lost looks, and repeats it where it had no effect.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from memory_platform import write_scaling
from memory_registry import MemoryRegistry
from memory_target import MemoryTarget
from tabled_evidence import TabledEvidence

from conch.ab import Evidence
from conch.control.deploying.building import BuildJob
from conch.control.deploying.deciding import BUILD, LOAD
from conch.control.deploying.loading import LoadJob
from conch.control.deploying.reconciling import Reconciler
from conch.control.deploying.releases import Releases
from conch.control.evidence import EvidenceQuestion, ShadowSummary
from conch.control.experiments import ArmAsked, ExperimentEngine, Experiments
from conch.control.jobs import Handler, JobContext, queue, release_dead
from conch.control.plans import PlanBook
from conch.control.registry import TakeUpPolicy
from conch.control.releasing import ReleaseEngine
from conch.control.reporting import Reporter
from conch.control.state import (
    Database,
    ExperimentStatus,
    JobStatus,
    ReleaseStatus,
    ServingStatus,
    Transaction,
    VersionStatus,
)
from conch.control.sweeping import Sweeper
from conch.core import BuildRef, ModelName, SlotName, TrafficSplit, TritonName
from conch.model_repo_builder import (
    BuildRequest,
    Limits,
    Manifest,
    RuntimeCaps,
    build,
    read_manifest,
)

NAME = ModelName("digits")
NOW = datetime(2026, 1, 2, tzinfo=UTC)
SLOTS = (SlotName("a"), SlotName("b"), SlotName("c"))


SHADOWED = {
    "plan": "canary",
    "shadow": {"minimum_requests": 50},
    "steps": [10, 50, 100],
    "step_minimum_s": 0,
    "step_minimum_units": 0,
    "bake_s": 0,
    "equal_baseline": True,
}
"""Copies of requests, two steps beside a baseline arm, promotion, and a bake time of no length."""

COMPARED = {
    "goals": {"buys": {"source": "events:buys", "direction": "higher-is-better"}},
    "step_minimum_s": 0,
    "step_minimum_units": 0,
}
FLIPPED = {"plan": "hot", "bake_s": 600}
BAD = 3
"""The version that turns out to be harmful."""


class Killed(BaseException):
    """The process died here. No `except Exception` survives it."""


class Effects:
    """Counts effects, and kills at one of them.

    Args:
        at: The number of the effect, from 0, before which to die; None: never.
    """

    def __init__(self, at: int | None = None) -> None:
        self._at = at
        self.names: list[str] = []

    def one(self, name: str) -> None:
        """Count an effect that is about to happen."""
        if self._at == len(self.names):
            raise Killed
        self.names.append(name)


class CountedDatabase(Database):
    """A SQLite database whose commits of something are effects."""

    effects = Effects()

    @contextmanager
    def begin(self) -> Iterator[Transaction]:
        with super().begin() as tx:
            driver: Any = tx.connection.connection.dbapi_connection
            before = driver.total_changes
            yield tx
            if driver.total_changes != before:
                self.effects.one("commit")  # killed here it is rolled back, as by a dead client


@dataclass(slots=True)
class CountedTarget:
    """A target whose changes are effects."""

    target: MemoryTarget
    effects: Effects

    def observe(self) -> Any:
        return self.target.observe()

    def routes(self) -> Mapping[TritonName, TrafficSplit]:
        return self.target.routes()

    def quarantined(self) -> Mapping[str, str]:
        return self.target.quarantined()

    def scale(self, slot: SlotName, replicas: int) -> None:
        self.target.scale(slot, replicas)

    def infer(self, *given: Any, **named: Any) -> Mapping[str, np.ndarray]:
        return self.target.infer(*given, **named)

    def load(self, build: BuildRef, slot: SlotName, *, timeout_s: float) -> None:
        self.effects.one("load")
        self.target.load(build, slot, timeout_s=timeout_s)

    def unload(self, model: TritonName, slot: SlotName) -> None:
        self.effects.one("unload")
        self.target.unload(model, slot)

    def set_routes(self, splits: Sequence[TrafficSplit]) -> None:
        self.effects.one("set_routes")
        self.target.set_routes(splits)


class CountedRegistry(MemoryRegistry):
    """A registry whose tag writes are effects."""

    effects = Effects()

    def write_tags(self, name: str, number: int, tags: Mapping[str, str]) -> None:
        self.effects.one("write_tags")
        super().write_tags(name, number, tags)


class CountedEvidence(TabledEvidence):
    """Counts of which only those of the bad version are bad; to count and to forget are effects."""

    effects = Effects()

    def follow(self, question: EvidenceQuestion) -> None:
        self.effects.one("follow")

    def gather(self, question: EvidenceQuestion) -> Evidence:
        bad = question.candidate.ordinal == BAD
        self.candidate = {"error-rate": 0.05 if bad else 0.01}
        return super().gather(question)

    def forget(self, release: str) -> None:
        self.effects.one("forget")


@dataclass(slots=True)
class CachedWorkshop:
    """The real builder, once for each version; after that its published folder is copied."""

    cache: Path
    effects: Effects

    def build(
        self,
        request: BuildRequest,
        *,
        progress: Callable[[float, str], None],
        cancelled: Callable[[], bool],
    ) -> Manifest:
        kept = self.cache / str(request.ordinal)
        if not kept.exists():
            build(replace(request, output=kept), progress=progress)
        self.effects.one("publish")
        request.output.parent.mkdir(parents=True, exist_ok=True)
        shutil.copytree(kept, request.output, copy_function=os.link)
        return read_manifest(request.output)


class Process:
    """One life of the control process, taking turns instead of running threads."""

    lives = 0

    def __init__(self, world: Outside, effects: Effects) -> None:
        Process.lives += 1
        self._owner = f"life-{Process.lives}"
        self._moments = world.moments
        self._database = CountedDatabase(world.url)
        self._database.effects = effects
        world.registry.effects = effects
        target = CountedTarget(world.target, effects)
        self.reconciler = Reconciler(
            database=self._database,
            target=target,
            slots=SLOTS,
            environment="test",
            now=self._now,
            wake_jobs=lambda: None,
        )
        self.releases = Releases(
            database=self._database,
            reconciler=self.reconciler,
            now=self._now,
            bake_s=3600,
            plans=PlanBook(slots=len(SLOTS)),
        )
        evidence = CountedEvidence(now=NOW.timestamp(), copies=ShadowSummary(pairs=100))
        evidence.effects = effects
        self._engine = ReleaseEngine(
            database=self._database, reconciler=self.reconciler, evidence=evidence, now=self._now
        )
        self.experiments = Experiments(
            database=self._database, reconciler=self.reconciler, now=self._now, plans=PlanBook()
        )
        self._experimenting = ExperimentEngine(
            database=self._database, reconciler=self.reconciler, evidence=evidence, now=self._now
        )
        self._sweeper = Sweeper(
            database=self._database, registry=world.registry, policy=TakeUpPolicy(), now=self._now
        )
        self._reporter = Reporter(database=self._database, registry=world.registry)
        self._handlers: dict[str, Handler] = {
            BUILD: BuildJob(
                database=self._database,
                registry=world.registry,
                workshop=CachedWorkshop(world.cache, effects),
                builds=world.builds,
                limits=Limits(),
                caps=RuntimeCaps(),
                refuse_weak_evidence=False,
                now=self._now,
            ),
            LOAD: LoadJob(database=self._database, target=target, timeout_s=10),
        }
        with self._database.begin() as tx:
            release_dead(tx, alive=lambda owner: owner == self._owner)

    def turn(self) -> None:
        """Sweep, reconcile, work and look until nothing is left to do, then report."""
        self._sweeper.run()
        self.reconciler.run()
        while self._work():
            self.reconciler.run()
        before = None
        while (found := releases_of(self)) != before:
            before = found
            self._engine.run()
        self._experimenting.run()
        self.reconciler.run()
        self._reporter.run()

    def close(self) -> None:
        self._database.close()

    def _now(self) -> datetime:
        return NOW + timedelta(milliseconds=next(self._moments))

    def _work(self) -> bool:
        with self._database.begin() as tx:
            job = queue.claim(tx, kinds=list(self._handlers), owner=self._owner, now=self._now())
        if job is None:
            return False
        context = JobContext(job=job, database=self._database, now=self._now)
        outcome = self._handlers[job.kind](context)
        with self._database.begin() as tx:
            queue.finish(tx, job, status=JobStatus.SUCCEEDED, outcome=outcome, now=self._now())
        return True


class Outside:
    """What outlives the control process: the database, the target, the registry, the disk."""

    def __init__(self, folder: Path, cache: Path) -> None:
        folder.mkdir()
        (folder / "registry").mkdir()
        self.folder, self.cache, self.builds = folder, cache, folder / "builds"
        self.url = f"sqlite:///{folder / 'conch.db'}"
        database = Database(self.url)
        database.migrate()
        database.close()
        self.target = MemoryTarget(SLOTS)
        self.registry = CountedRegistry(folder / "registry")
        self.moments = count()
        self.register(1)

    def register(self, number: int) -> None:
        """Register a version, unless it is registered already."""
        if any(v.number == number for v in self.registry.snapshot().versions):
            return
        path = self.folder / f"{number}.onnx"
        write_scaling(path, factor=float(number + 1))
        self.registry.register_path(NAME, path)

    def state(self) -> dict[str, Any]:
        """Return everything that must be equal in the end, without identities."""
        database = Database(self.url)
        with database.begin() as tx:
            builds = {b.id: b for b in tx.builds.find()}
            deployment = tx.deployments.find()[0]
            ordinal = {key: b.ordinal for key, b in builds.items()}
            experiments = tx.experiments.find()
            found = {
                "versions": [(v.version, v.status, v.semantic_version) for v in tx.versions.find()],
                "builds": sorted((b.ordinal, b.status) for b in builds.values()),
                "live": ordinal[str(deployment.live_build_id)],
                "status": deployment.status,
                "servings": sorted(
                    (s.slot, ordinal[s.build_id], s.status) for s in tx.servings.find()
                ),
                "releases": [(r.status, r.weight) for r in tx.releases.find()],
                "stages": sorted(
                    (s.number, s.step, s.weight, s.control_weight or 0) for s in tx.stages.find()
                ),
                "decisions": sorted(
                    (d.action, d.code) for d in tx.decisions.find() if d.action != "stay"
                ),
                "experiments": [(e.status, e.outcome and e.outcome["code"]) for e in experiments],
                "findings": sorted(
                    (f.action, f.code) for f in tx.findings.find() if f.action != "stay"
                ),
                "jobs": sorted((j.kind, j.status) for j in tx.jobs.find()),
            }
        database.close()
        observed = self.target.observe()
        found["routes"] = {
            name: [(arm.slot, arm.ordinal, arm.weight) for arm in split.arms]
            for name, split in observed.routes.items()
        }
        found["held"] = sorted(
            (s.slot, m.model, m.ordinal) for s in observed.servers for m in s.models
        )
        found["tags"] = sorted(
            (v.number, v.tags.get("conch.status")) for v in self.registry.snapshot().versions
        )
        return found


def releases_of(process: Process) -> list[tuple[ReleaseStatus, int]]:
    """Return the status and weight of every release, the newest first."""
    with process._database.look() as tx:
        return [(one.status, one.weight) for one in tx.releases.find(newest_first=True)]


def newest_release(process: Process) -> tuple[ReleaseStatus, int] | None:
    """Return the status and weight of the newest release."""
    return next(iter(releases_of(process)), None)


def experiments_of(process: Process) -> list[ExperimentStatus]:
    """Return the status of every experiment, the oldest first."""
    with process._database.look() as tx:
        return [one.status for one in tx.experiments.find()]


def verified(process: Process, number: int) -> bool:
    """Tell whether a version is verified."""
    with process._database.begin() as tx:
        version = tx.versions.first(name=NAME, version=number)
    return version is not None and version.status is VersionStatus.VERIFIED


def serving(process: Process) -> bool:
    """Tell whether something is live and ready."""
    with process._database.begin() as tx:
        return tx.servings.first(status=ServingStatus.READY) is not None


def by_hand(world: Outside, process: Process) -> None:
    """Tell the story from wherever it stands: a person looks, and does what is not done yet."""
    process.turn()
    assert serving(process)
    world.register(2)
    process.turn()
    assert verified(process, 2)
    if newest_release(process) is None:
        process.releases.start(NAME, 2, weight=1000, actor="me")
        process.turn()
    process.turn()
    if newest_release(process) == (ReleaseStatus.RUNNING, 1000):
        process.releases.set_weight(NAME, 5000)
    process.turn()
    if newest_release(process) == (ReleaseStatus.RUNNING, 5000):
        process.releases.promote(NAME)
    process.turn()
    if newest_release(process) == (ReleaseStatus.PROMOTED, 10_000):
        process.releases.rollback(NAME)
    process.turn()


def by_plan(world: Outside, process: Process) -> None:
    """Likewise, with a good version by way of copies and steps, and a bad one that flips."""
    process.turn()
    assert serving(process)
    for number, plan in ((2, SHADOWED), (BAD, FLIPPED)):
        world.register(number)
        process.turn()
        assert verified(process, number)
        if len(releases_of(process)) < number - 1:
            process.releases.start(NAME, number, plan=plan, actor="me")
        process.turn()
        process.turn()


def by_comparison(world: Outside, process: Process) -> None:
    """Likewise, with two experiments: a person stops the one, and harm ends the other."""
    process.turn()
    assert serving(process)
    for number in (2, BAD):
        world.register(number)
        process.turn()
        assert verified(process, number)
        if len(experiments_of(process)) < number - 1:
            process.experiments.start(NAME, [ArmAsked(version=number)], plan=COMPARED, actor="me")
        process.turn()
        if number != BAD and experiments_of(process)[-1] is not ExperimentStatus.ENDED:
            process.experiments.stop(NAME)
        process.turn()


Tell = Callable[[Outside, Process], None]
STORIES: tuple[Tell, ...] = (by_hand, by_plan, by_comparison)
Told = tuple[Tell, Path, dict[str, Any], list[str]]


@pytest.fixture(
    scope="module", params=[by_hand, by_plan, by_comparison], ids=lambda tell: tell.__name__
)
def story(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Told:
    """An uninterrupted story: how it is told, the builds it made, its end, its effects by name."""
    cache = tmp_path_factory.mktemp("cache")
    world = Outside(tmp_path_factory.mktemp("whole") / "world", cache)
    effects = Effects()
    process = Process(world, effects)
    request.param(world, process)
    process.close()
    return request.param, cache, world.state(), effects.names


def test_the_story_ends_well(story: Told) -> None:
    """The state that every interrupted telling is compared with is the right one."""
    tell, _, state, effects = story
    common = {"commit", "publish", "load", "set_routes", "write_tags"}
    if tell is by_hand:
        assert state["live"] == 1
        assert state["releases"] == [(ReleaseStatus.ROLLED_BACK, 0)]
        assert state["routes"] == {"digits": [("a", 1, 10_000), ("b", 2, 0)]}
        assert state["held"] == [("a", "digits", 1), ("b", "digits", 2)]
        assert set(effects) == common
    elif tell is by_comparison:
        assert state["live"] == 1
        assert state["experiments"] == [
            (ExperimentStatus.ENDED, "stopped"),
            (ExperimentStatus.ENDED, "harm-proven"),
        ]
        assert state["routes"] == {"digits": [("a", 1, 10_000)]}
        assert state["held"] == [("a", "digits", 1)]
        assert ("begin", "preflight-passed") in state["findings"]
        assert set(effects) == common | {"unload", "forget"}
    else:
        assert state["live"] == 2
        assert state["releases"] == [
            (ReleaseStatus.PROMOTED, 10_000),
            (ReleaseStatus.ROLLED_BACK, 0),
        ]
        assert state["routes"] == {"digits": [("b", 2, 10_000), ("a", 3, 0)]}
        assert set(effects) == common | {"unload", "follow", "forget"}
        assert {"shadow-passed", "harm-proven"} <= {code for _, code in state["decisions"]}
        assert (1, 1, 5000, 5000) in state["stages"], "the baseline arm had as much"
        assert effects.count("load") == 4


@pytest.mark.timeout(900)  # a hundred lives of a platform, one after the other
def test_every_crash_point_converges(story: Told, tmp_path: Path) -> None:
    """Killed at any effect and started again, the story has the same end."""
    tell, cache, expected, names = story
    # Up to the second version's build all stories are the same.
    begin = 0 if tell is by_hand else names.index("publish", names.index("publish") + 1)
    for number in count(begin):  # slow progress may add an effect, so until none is left to die at
        world = Outside(tmp_path / f"{number}", cache)
        effects = Effects(number)
        try:
            tell(world, Process(world, effects))
        except Killed:
            second = Process(world, Effects())
            tell(world, second)
            second.close()
            assert world.state() == expected, f"killed after {effects.names[-3:]}"
            shutil.rmtree(world.folder)
        else:
            assert number > 40, "the story had too few effects"
            return
