"""The reconciler's decision, row by row: a world in, the steps out."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from conch.control.deploying.deciding import BUILD, LOAD, RETRY_AFTER_S, decide
from conch.control.deploying.steps import (
    DivideTraffic,
    EndExperiment,
    EndRelease,
    FailServing,
    GoBack,
    GoLive,
    Place,
    Quarantine,
    Refuse,
    RequestBuild,
    RequestLoad,
    Retire,
    SetReplicas,
    SetStatus,
    StartTraffic,
    Unload,
)
from conch.control.deploying.world import World, by_hand, desired_split
from conch.control.plans import ByItself
from conch.control.state import (
    Build,
    BuildStatus,
    Deployment,
    DeploymentStatus,
    Experiment,
    ExperimentStatus,
    Job,
    JobStatus,
    Model,
    Release,
    ReleaseStatus,
    Serving,
    ServingStatus,
    Version,
    VersionStatus,
)
from conch.core import (
    LoadedModel,
    ModelName,
    Ordinal,
    ServerState,
    ServerStatus,
    SlotName,
    TargetState,
    TritonName,
)

NOW = datetime(2026, 1, 2, tzinfo=UTC)
A, B = SlotName("a"), SlotName("b")
MODEL = Model(
    id="m",
    name=ModelName("digits"),
    triton_name=TritonName("digits"),
    next_ordinal=Ordinal(3),
    tags={},
    created_at=NOW,
)


def version(number: int, status: VersionStatus = VersionStatus.VERIFIED, **facts: Any) -> Version:
    usual: dict[str, Any] = {"wanted": True}
    return Version(
        id=f"v{number}",
        model_id="m",
        name=MODEL.name,
        version=number,
        created_at=NOW,
        identity=f"id{number}",
        status=status,
        **(usual | facts),
    )


def build(number: int, status: BuildStatus = BuildStatus.VERIFIED) -> Build:
    return Build(
        id=f"b{number}",
        model_id="m",
        version_id=f"v{number}",
        job_id=f"j{number}",
        ordinal=Ordinal(number),
        identity=f"id{number}",
        status=status,
        created_at=NOW,
    )


def serving(number: int, slot: SlotName, status: ServingStatus, **facts: Any) -> Serving:
    return Serving(
        id=f"s{number}",
        deployment_id="d",
        build_id=f"b{number}",
        slot=slot,
        status=status,
        created_at=NOW,
        **facts,
    )


def server(slot: SlotName, *ordinals: int) -> ServerStatus:
    held = (LoadedModel(model=MODEL.triton_name, ordinal=Ordinal(n), ready=True) for n in ordinals)
    return ServerStatus(slot=slot, replica=0, state=ServerState.READY, models=tuple(held))


def job(kind: str, subject: str, status: JobStatus, **facts: Any) -> dict[tuple[str, str], Job]:
    made = Job(
        id="j", kind=kind, subject=subject, label="it", status=status, created_at=NOW, **facts
    )
    return {(kind, subject): made}


DEPLOYMENT = Deployment(
    id="d",
    model_id="m",
    deployment_name="digits-local",
    environment="local",
    replica_count=1,
    resource_config={},
    status=DeploymentStatus.SERVING,
    endpoint_url="",
    live_build_id="b1",
    salt="s",
    created_at=NOW,
)
RELEASE = Release(
    id="r",
    deployment_id="d",
    candidate_build_id="b2",
    baseline_build_id="b1",
    status=ReleaseStatus.PREPARING,
    weight=1000,
    salt="r",
    bake_s=60,
    created_by="me",
    created_at=NOW,
)
TARGET = TargetState(
    servers=(server(A, 1), server(B)), routes={}, inference_url="http://x", gateway_ready=True
)
EMPTY = World(
    now=NOW,
    model=MODEL,
    versions=(),
    builds={},
    deployment=None,
    servings=(),
    release=None,
    jobs={},
    target=TARGET,
    slots=(A, B),
    environment="local",
)
PENDING = replace(DEPLOYMENT, live_build_id=None, status=DeploymentStatus.PENDING)
FIRST = replace(EMPTY, versions=(version(1),), builds={"b1": build(1)})
LOADING = replace(FIRST, deployment=PENDING, servings=(serving(1, A, ServingStatus.LOADING),))
LIVE = replace(FIRST, deployment=DEPLOYMENT, servings=(serving(1, A, ServingStatus.READY),))
TWO = replace(LIVE, versions=(version(1), version(2)), builds={"b1": build(1), "b2": build(2)})
RELEASING = replace(
    TWO,
    deployment=replace(DEPLOYMENT, status=DeploymentStatus.RELEASING),
    release=RELEASE,
    servings=(*LIVE.servings, serving(2, B, ServingStatus.LOADING)),
    target=replace(TARGET, servers=(server(A, 1), server(B, 2))),
)
EXPERIMENT = Experiment(
    id="e",
    deployment_id="d",
    name="b1 and b2",
    status=ExperimentStatus.PREPARING,
    control_build_id="b1",
    shares={"b1": 8_000, "b2": 2_000},
    salt="e",
    plan={},
    plan_digest="",
    created_by="me",
    created_at=NOW,
)
COMPARING = replace(
    TWO,
    experiment=EXPERIMENT,
    servings=(*LIVE.servings, serving(2, B, ServingStatus.READY, retire_at=NOW)),
    target=RELEASING.target,
    policy=lambda model, candidate, live: ByItself(plan=None),
)
PROMOTED = replace(
    TWO,
    deployment=replace(DEPLOYMENT, live_build_id="b2"),
    servings=(
        serving(1, A, ServingStatus.READY, retire_at=NOW + timedelta(hours=1)),
        serving(2, B, ServingStatus.READY),
    ),
    promoted=replace(RELEASE, status=ReleaseStatus.PROMOTED, weight=10_000),
    target=RELEASING.target,
)
CRASHED = {"b1": build(1), "b2": build(2, BuildStatus.QUARANTINED)}
FAILED = {"code": "x", "message": "it broke", "hint": "", "retryable": False}
PASSING = FAILED | {"retryable": True}


@pytest.mark.parametrize(
    ("world", "expected"),
    [
        pytest.param(EMPTY, [], id="nothing registered"),
        pytest.param(
            replace(EMPTY, versions=(version(1, VersionStatus.REGISTERED, wanted=False),)),
            [],
            id="not wanted by policy",
        ),
        pytest.param(
            replace(EMPTY, versions=(version(1, VersionStatus.REGISTERED),)),
            [RequestBuild],
            id="wanted: build",
        ),
        pytest.param(
            replace(EMPTY, versions=(version(1, VersionStatus.REGISTERED, present=False),)),
            [],
            id="gone before it was built",
        ),
        pytest.param(
            replace(
                EMPTY,
                versions=(version(1, VersionStatus.BUILDING),),
                jobs=job(BUILD, "v1", JobStatus.RUNNING),
            ),
            [],
            id="building",
        ),
        pytest.param(
            replace(EMPTY, versions=(version(1, VersionStatus.BUILDING),)),
            [RequestBuild],
            id="the queued job was never written: ask again",
        ),
        pytest.param(
            replace(
                EMPTY,
                versions=(version(1, VersionStatus.BUILDING),),
                jobs=job(BUILD, "v1", JobStatus.FAILED, outcome=FAILED, finished_at=NOW),
            ),
            [Refuse],
            id="failed for good: refuse",
        ),
        pytest.param(
            replace(
                EMPTY,
                versions=(version(1, VersionStatus.BUILDING),),
                jobs=job(BUILD, "v1", JobStatus.CANCELLED, finished_at=NOW),
            ),
            [Refuse],
            id="cancelled: refuse",
        ),
        pytest.param(
            replace(
                EMPTY,
                versions=(version(1, VersionStatus.BUILDING),),
                jobs=job(BUILD, "v1", JobStatus.FAILED, outcome=PASSING, finished_at=NOW),
            ),
            [],
            id="failed for now: wait",
        ),
        pytest.param(
            replace(
                EMPTY,
                now=NOW + timedelta(seconds=RETRY_AFTER_S),
                versions=(version(1, VersionStatus.BUILDING),),
                jobs=job(BUILD, "v1", JobStatus.FAILED, outcome=PASSING, finished_at=NOW),
            ),
            [RequestBuild],
            id="failed for now: try again after a while",
        ),
        pytest.param(FIRST, [Place], id="first verified version: a slot"),
        pytest.param(replace(FIRST, target=None), [], id="no target to be seen: wait"),
        pytest.param(LOADING, [RequestLoad], id="placed: load"),
        pytest.param(replace(LOADING, jobs=job(LOAD, "s1", JobStatus.RUNNING)), [], id="loading"),
        pytest.param(
            replace(
                LOADING, jobs=job(LOAD, "s1", JobStatus.FAILED, outcome=FAILED, finished_at=NOW)
            ),
            [FailServing],
            id="does not load: say so",
        ),
        pytest.param(
            replace(LOADING, servings=(serving(1, A, ServingStatus.READY),)),
            [GoLive],
            id="first one passed its preflight: live",
        ),
        pytest.param(LIVE, [], id="settled"),
        pytest.param(
            replace(LIVE, target=replace(TARGET, servers=(server(A), server(B)))),
            [RequestLoad],
            id="a server lost its models: load again",
        ),
        pytest.param(
            replace(LIVE, versions=(version(1, present=False),)),
            [SetStatus],
            id="gone from the registry: orphaned, still serving",
        ),
        pytest.param(TWO, [], id="a second version waits for a release"),
        pytest.param(RELEASING, [RequestLoad], id="release: load the candidate"),
        pytest.param(
            replace(RELEASING, servings=(*LIVE.servings, serving(2, B, ServingStatus.READY))),
            [StartTraffic],
            id="candidate ready: traffic",
        ),
        pytest.param(
            replace(
                RELEASING,
                servings=(*LIVE.servings, serving(2, B, ServingStatus.FAILED, reason=FAILED)),
            ),
            [EndRelease],
            id="candidate failed: the release ends",
        ),
        pytest.param(
            replace(
                TWO,
                servings=(*LIVE.servings, serving(2, B, ServingStatus.READY, retire_at=NOW)),
                target=RELEASING.target,
            ),
            [Retire],
            id="bake time over: out of the routes",
        ),
        pytest.param(
            replace(
                TWO,
                servings=(
                    *LIVE.servings,
                    serving(2, B, ServingStatus.READY, retire_at=NOW + timedelta(seconds=1)),
                ),
                target=RELEASING.target,
            ),
            [],
            id="still baking",
        ),
        pytest.param(
            replace(TWO, servings=(*LIVE.servings, serving(2, B, ServingStatus.RETIRING))),
            [Unload],
            id="out of the routes: unload",
        ),
        pytest.param(
            replace(FIRST, quarantined={"b1": "it crashed"}),
            [Quarantine, Place],
            id="quarantined before it was placed",
        ),
        pytest.param(
            replace(RELEASING, quarantined={"b2": "it crashed"}),
            [Quarantine, RequestLoad],
            id="the candidate is quarantined",
        ),
        pytest.param(
            replace(
                RELEASING,
                builds=CRASHED,
                quarantined={"b2": "it crashed"},
                release=replace(RELEASE, status=ReleaseStatus.RUNNING),
                servings=(
                    *LIVE.servings,
                    serving(2, B, ServingStatus.FAILED, reason=FAILED, retire_at=NOW),
                ),
            ),
            [EndRelease],
            id="known to be quarantined: its release ends, once",
        ),
        pytest.param(
            replace(
                TWO,
                builds=CRASHED,
                quarantined={"b2": "it crashed"},
                servings=(
                    *LIVE.servings,
                    serving(2, B, ServingStatus.FAILED, reason=FAILED, retire_at=NOW),
                ),
            ),
            [Retire],
            id="its release ended: out of the slot",
        ),
        pytest.param(
            replace(PROMOTED, quarantined={"b2": "it crashed"}),
            [Quarantine],
            id="the live build is quarantined",
        ),
        pytest.param(
            replace(
                PROMOTED,
                builds=CRASHED,
                servings=(
                    PROMOTED.servings[0],
                    serving(2, B, ServingStatus.FAILED, reason=FAILED, retire_at=NOW),
                ),
            ),
            [GoBack, SetStatus],
            id="live and quarantined, its predecessor loaded: back to that",
        ),
        pytest.param(
            replace(
                PROMOTED,
                builds=CRASHED,
                servings=(serving(2, B, ServingStatus.FAILED, reason=FAILED, retire_at=NOW),),
            ),
            [SetStatus],
            id="live and quarantined, its predecessor unloaded: told, nothing else",
        ),
        pytest.param(
            replace(
                LIVE,
                builds={"b1": build(1, BuildStatus.QUARANTINED)},
                servings=(serving(1, A, ServingStatus.FAILED, reason=FAILED, retire_at=NOW),),
                deployment=replace(DEPLOYMENT, status=DeploymentStatus.FAILED),
            ),
            [],
            id="a model's only version is quarantined and told: it stays where it is",
        ),
        pytest.param(
            replace(LIVE, target=replace(TARGET, servers=(server(A, 1), server(A, 1), server(B)))),
            [SetReplicas],
            id="the live slot was scaled",
        ),
    ],
)
def test_the_next_steps(world: World, expected: list[type]) -> None:
    """Each situation has its step."""
    assert [type(step) for step in decide(world)] == expected


def test_a_build_that_is_routed_is_not_unloaded() -> None:
    """First out of the acknowledged routes, then out of memory."""
    routed = replace(
        TWO,
        servings=(*LIVE.servings, serving(2, B, ServingStatus.READY)),
        target=RELEASING.target,
    )
    split = desired_split(routed)
    assert split is not None
    assert RELEASING.target is not None
    retiring = replace(
        routed,
        servings=(*LIVE.servings, serving(2, B, ServingStatus.RETIRING)),
        target=replace(RELEASING.target, routes={MODEL.triton_name: split}),
    )
    assert decide(retiring) == ()


C = SlotName("c")
EQUAL = replace(
    RELEASING,
    slots=(A, B, C),
    release=replace(RELEASE, baseline_slot=C),
    servings=(
        *LIVE.servings,
        serving(2, B, ServingStatus.READY),
        replace(serving(1, C, ServingStatus.READY), id="s1c"),
    ),
    target=replace(TARGET, servers=(server(A, 1), server(B, 2), server(C, 1))),
)


def with_arm(status: ServingStatus, **facts: Any) -> World:
    """The release with its baseline arm in another state."""
    *others, arm = EQUAL.servings
    return replace(EQUAL, servings=(*others, replace(arm, status=status, **facts)))


@pytest.mark.parametrize(
    ("world", "expected"),
    [
        pytest.param(EQUAL, [StartTraffic], id="both are ready: begin"),
        pytest.param(with_arm(ServingStatus.LOADING), [RequestLoad], id="the arm is loaded first"),
        pytest.param(
            with_arm(ServingStatus.FAILED, reason=FAILED), [EndRelease], id="the arm cannot serve"
        ),
        pytest.param(replace(EQUAL, servings=EQUAL.servings[:2]), [EndRelease], id="arm gone"),
        pytest.param(
            replace(EQUAL, release=None), [Retire, SetStatus], id="over: the live one stays in one"
        ),
    ],
)
def test_a_baseline_arm_is_there_for_its_release_only(world: World, expected: list[type]) -> None:
    """It has to be ready before anything is divided, and goes with the release."""
    steps = decide(world)
    assert [type(step) for step in steps] == expected
    retired = [step.serving.slot for step in steps if isinstance(step, Retire)]
    assert retired in ([], [C])


@pytest.mark.parametrize(
    ("weight", "status", "expected"),
    [
        (500, ReleaseStatus.RUNNING, [(B, 500), (A, 9_000), (C, 500)]),
        (5_000, ReleaseStatus.RUNNING, [(B, 5_000), (A, 0), (C, 5_000)]),
        (9_500, ReleaseStatus.BAKING, [(B, 9_500), (A, 0), (C, 500)]),
        (500, ReleaseStatus.PREPARING, [(A, 10_000), (B, 0)]),
    ],
)
def test_the_baseline_arm_has_as_much_as_the_candidate(
    weight: int, status: ReleaseStatus, expected: list[tuple[SlotName, int]]
) -> None:
    """Of the live version's share, and at the end, so that neither arm loses a unit by growing."""
    release = replace(EQUAL.release or RELEASE, weight=weight, status=status)
    split = desired_split(replace(EQUAL, release=release))
    assert split is not None
    assert [(arm.slot, arm.weight) for arm in split.arms] == expected


def test_without_its_baseline_arm_nothing_is_divided() -> None:
    """An arm that is loaded again, after a crash, gives everybody the live version meanwhile."""
    lost = with_arm(ServingStatus.LOADING)
    release = replace(EQUAL.release or RELEASE, weight=500, status=ReleaseStatus.RUNNING)
    split = desired_split(replace(lost, release=release))
    assert split is not None
    assert (split.release, [(arm.slot, arm.weight) for arm in split.arms]) == (
        "",
        [(B, 0), (A, 10_000)],
    )


@pytest.mark.parametrize(
    ("world", "expected"),
    [
        pytest.param(COMPARING, [DivideTraffic], id="every arm is ready: begin"),
        pytest.param(
            replace(COMPARING, servings=(*LIVE.servings, serving(2, B, ServingStatus.LOADING))),
            [RequestLoad],
            id="an arm is not loaded: load",
        ),
        pytest.param(
            replace(COMPARING, experiment=replace(EXPERIMENT, status=ExperimentStatus.RUNNING)),
            [],
            id="runs: nothing is retired, and nothing is released by itself",
        ),
        pytest.param(
            replace(
                COMPARING,
                servings=(*LIVE.servings, serving(2, B, ServingStatus.FAILED, reason=FAILED)),
            ),
            [EndExperiment],
            id="an arm cannot serve: end",
        ),
        pytest.param(replace(COMPARING, servings=LIVE.servings), [EndExperiment], id="arm gone"),
        pytest.param(
            replace(COMPARING, deployment=replace(DEPLOYMENT, live_build_id="b2")),
            [EndExperiment],
            id="another version is live: end",
        ),
        pytest.param(
            replace(COMPARING, experiment=None, policy=by_hand), [Retire], id="ended: retire"
        ),
    ],
)
def test_an_experiment_holds_its_arms(world: World, expected: list[type]) -> None:
    """What it compares stays loaded while it is open; without an arm it is over."""
    assert [type(step) for step in decide(world)] == expected


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (ExperimentStatus.PREPARING, ("", {"b1": 10_000, "b2": 0})),
        (ExperimentStatus.RUNNING, ("e", {"b2": 2_000, "b1": 8_000})),
    ],
)
def test_a_running_experiment_divides_the_traffic(
    status: ExperimentStatus, expected: tuple[str, dict[str, int]]
) -> None:
    """Under its own name, treatments first; an arm that vanishes gives its share back."""
    world = replace(COMPARING, experiment=replace(EXPERIMENT, status=status))
    split = desired_split(world)
    assert split is not None
    weights = {arm.build_id: arm.weight for arm in split.arms}
    assert (split.release, weights) == expected
    assert list(weights) == list(expected[1])
    gone = desired_split(replace(world, servings=LIVE.servings))
    assert gone is not None
    assert (gone.release, [arm.weight for arm in gone.arms]) == ("", [10_000])


@pytest.mark.parametrize(
    ("status", "weights"),
    [
        (ReleaseStatus.PREPARING, {"b1": 10_000, "b2": 0}),
        (ReleaseStatus.RUNNING, {"b2": 1_000, "b1": 9_000}),
    ],
)
def test_only_a_running_release_moves_traffic(
    status: ReleaseStatus, weights: dict[str, int]
) -> None:
    """No candidate gets a request before its preflight; it comes first once it does."""
    world = replace(
        RELEASING,
        release=replace(RELEASE, status=status),
        servings=(*LIVE.servings, serving(2, B, ServingStatus.READY)),
    )
    split = desired_split(world)
    assert split is not None
    assert {arm.build_id: arm.weight for arm in split.arms} == weights
    assert [arm.build_id for arm in split.arms] == list(weights)


def test_a_candidate_that_vanishes_gives_its_share_back() -> None:
    """The live build takes all traffic when the candidate's serving is gone."""
    world = replace(RELEASING, release=replace(RELEASE, status=ReleaseStatus.RUNNING))
    split = desired_split(world)
    assert split is not None
    assert [(arm.build_id, arm.weight) for arm in split.arms] == [("b1", 10_000)]


def test_the_newest_wanted_version_is_the_first_to_serve() -> None:
    """Of several verified versions the highest one that the registry still has goes live."""
    both = replace(
        FIRST, versions=(version(1), version(2)), builds={"b1": build(1), "b2": build(2)}
    )
    assert decide(both) == (Place(build=build(2), slot=A),)
    gone = replace(both, versions=(version(1), version(2, present=False)))
    assert decide(gone) == (Place(build=build(1), slot=A),)


def test_a_quarantined_candidate_is_never_deployed_by_itself() -> None:
    """A build that crashed its servers is no choice for a model without a live one."""
    world = replace(
        FIRST,
        versions=(version(1), version(2, VersionStatus.REFUSED)),
        builds=CRASHED,
    )
    assert decide(world) == (Place(build=build(1), slot=A),)


def test_going_back_takes_the_release_that_promoted_the_crashed_build() -> None:
    """The automatic rollback is recorded on that release, and the traffic goes to its baseline."""
    crashed = replace(
        PROMOTED,
        builds=CRASHED,
        servings=(
            PROMOTED.servings[0],
            serving(2, B, ServingStatus.FAILED, reason=FAILED, retire_at=NOW),
        ),
    )
    step = decide(crashed)[0]
    assert isinstance(step, GoBack)
    assert (step.release, step.build) == (PROMOTED.promoted, build(1))
    assert step.reason.code == "version-quarantined"
    opened = replace(crashed, release=replace(RELEASE, status=ReleaseStatus.RUNNING))
    assert not any(isinstance(step, GoBack) for step in decide(opened))
