"""Releases: traffic moves from one version to another, by hand or by a plan, and back."""

from __future__ import annotations

from dataclasses import asdict
from http import HTTPStatus
from typing import Annotated, Final

from fastapi import APIRouter, Query

from conch.ab import DecisionRecord, from_json
from conch.core import ConflictError, ModelName, NotFoundError

from ..plans import MANUAL, PlanInvalidError
from ..reading import MOST, DecisionView, ReleaseView
from ..releasing import explain, simulate
from ..state import Release
from . import examples
from .bodies import (
    Explained,
    PlanBody,
    PlanShown,
    PresetShown,
    ReasonBody,
    RollbackBody,
    SimulationShown,
    StartReleaseBody,
    WeightBody,
    basis_points,
)
from .problems import documented
from .services import ACTOR, Given, Services

router = APIRouter(tags=["releases"])

_LOOKED_THROUGH: Final = 20
"""Newest decisions among which an explanation looks for one with evidence."""

_ANSWERS = {
    **examples.answers("release"),
    **documented(NotFoundError, ConflictError),
}


@router.get(
    "/releases",
    summary="List releases, the newest first",
    responses={**examples.answers("releases"), **documented(NotFoundError)},
)
def list_releases(
    given: Given,
    model: Annotated[str | None, Query(description="Only this model's.")] = None,
    limit: Annotated[int, Query(ge=1, le=MOST)] = 100,
) -> list[ReleaseView]:
    """List releases, open and ended."""
    return given.reading.releases(model=model, limit=limit)


@router.get(
    "/releases/{release_id}",
    summary="One release",
    responses={**examples.answers("release"), **documented(NotFoundError)},
)
def show_release(release_id: str, given: Given) -> ReleaseView:
    """Return one release; `job` tells how far its candidate is loaded."""
    return given.reading.release(release_id)


@router.post(
    "/models/{name}/releases",
    status_code=HTTPStatus.CREATED,
    summary="Start a release",
    responses={
        **examples.answers("release being prepared", HTTPStatus.CREATED),
        **documented(NotFoundError, ConflictError),
    },
)
def start_release(name: str, body: StartReleaseBody, given: Given) -> ReleaseView:
    """Load a verified version beside the live one, warm and check it, then give it the weight.

    Answers at once; the release is `preparing` until its candidate is ready.
    """
    release = given.plane.releases.start(
        ModelName(name),
        body.version,
        weight=basis_points(body.weight),
        bake_s=body.bake_s,
        note=body.note,
        plan=body.plan,
        changes=body.set,
        actor=ACTOR,
    )
    return _shown(given, release)


@router.post(
    "/models/{name}/releases/plan",
    summary="The plan that a release would get",
    responses=documented(NotFoundError, ConflictError),
)
def plan_release(name: str, body: StartReleaseBody, given: Given) -> PlanShown:
    """Check everything that starting the release would check of its plan, and change nothing."""
    plan = given.plane.releases.plan_of(
        ModelName(name), body.version, plan=body.plan, changes=body.set
    )
    if plan is None:
        return PlanShown(name=MANUAL, digest="", plan=None)
    return PlanShown(name=plan.name, digest=plan.digest, plan=plan.as_dict())


@router.patch(
    "/models/{name}/releases/current", summary="Set the candidate's weight", responses=_ANSWERS
)
def set_weight(name: str, body: WeightBody, given: Given) -> ReleaseView:
    """Give the candidate of the open release a share of the traffic; answers once it has it."""
    weight = basis_points(body.weight)
    return _shown(given, given.plane.releases.set_weight(ModelName(name), weight, actor=ACTOR))


@router.post(
    "/models/{name}/releases/current/promote", summary="Promote the candidate", responses=_ANSWERS
)
def promote(name: str, given: Given) -> ReleaseView:
    """Give the candidate all traffic; the former version stays loaded for the bake time."""
    return _shown(given, given.plane.releases.promote(ModelName(name), actor=ACTOR))


@router.post(
    "/models/{name}/releases/current/rollback",
    summary="Give all traffic back",
    responses=_ANSWERS,
)
def rollback(name: str, given: Given, body: RollbackBody | None = None) -> ReleaseView:
    """Give all traffic back to the version that was live before; needs no load.

    Works on the open release and, during the bake time, on the one promoted last.
    """
    reason = "" if body is None else body.reason
    return _shown(given, given.plane.releases.rollback(ModelName(name), reason=reason, actor=ACTOR))


@router.post(
    "/models/{name}/releases/current/pause", summary="Pause a planned release", responses=_ANSWERS
)
def pause(name: str, given: Given, body: ReasonBody | None = None) -> ReleaseView:
    """Keep the release where it is. Proven harm still rolls it back."""
    reason = "" if body is None else body.reason
    return _shown(given, given.plane.releases.pause(ModelName(name), reason=reason, actor=ACTOR))


@router.post("/models/{name}/releases/current/resume", summary="Let it go on", responses=_ANSWERS)
def resume(name: str, given: Given) -> ReleaseView:
    """Let a paused release go on by its plan."""
    return _shown(given, given.plane.releases.resume(ModelName(name), actor=ACTOR))


@router.post("/models/{name}/releases/current/approve", summary="Open its gate", responses=_ANSWERS)
def approve(name: str, given: Given) -> ReleaseView:
    """Let a release pass the gate at which it waits for a person."""
    return _shown(given, given.plane.releases.approve(ModelName(name), actor=ACTOR))


@router.post("/models/{name}/releases/current/abort", summary="End the release", responses=_ANSWERS)
def abort(name: str, given: Given, body: ReasonBody | None = None) -> ReleaseView:
    """End the open release; whatever traffic it had goes back to the version before."""
    reason = "" if body is None else body.reason
    return _shown(given, given.plane.releases.abort(ModelName(name), reason=reason, actor=ACTOR))


@router.get(
    "/releases/{release_id}/decisions",
    summary="What was decided, the newest first",
    responses={**examples.answers("decisions"), **documented(NotFoundError)},
)
def list_decisions(
    release_id: str,
    given: Given,
    records: Annotated[bool, Query(description="With what each was decided on.")] = False,
    limit: Annotated[int, Query(ge=1, le=MOST)] = 100,
) -> list[DecisionView]:
    """List every look that changed something or was due, and every word of a person."""
    return given.reading.decisions(release_id, whole=records, limit=limit)


@router.get(
    "/releases/{release_id}/explain",
    summary="A release in sentences",
    responses=documented(NotFoundError),
)
def explain_release(release_id: str, given: Given) -> Explained:
    """Tell where a release stands, what each metric shows, and what comes next."""
    release = given.reading.release(release_id)
    decisions = given.reading.decisions(release_id, whole=True, limit=_LOOKED_THROUGH)
    return Explained(sentences=list(explain(release, decisions)))


@router.post(
    "/releases/{release_id}/simulate",
    summary="Another plan on the same data",
    responses=documented(NotFoundError, ConflictError),
)
def simulate_release(release_id: str, body: PlanBody, given: Given) -> SimulationShown:
    """Take the recorded looks of a release again with another plan."""
    release = given.reading.release(release_id)
    tags = given.reading.model(release.model_name).tags
    plan = given.plane.plans.plan(body.plan, changes=body.set, tags=tags)
    if plan is None:
        raise PlanInvalidError("plan: a release by hand decides nothing that could be simulated.")
    found = simulate(plan, _records(given.reading.decisions(release_id, whole=True)))
    return SimulationShown.model_validate(asdict(found))


@router.get(
    "/plans", summary="The plans that conch brings along", responses=examples.answers("plans")
)
def list_plans(
    given: Given,
    model: Annotated[str | None, Query(description="With what this model's tags say.")] = None,
) -> list[PresetShown]:
    """List the presets in the form of plan files."""
    tags = {} if model is None else given.reading.model(model).tags
    return [
        PresetShown(name=name, body=body) for name, body in given.plane.plans.presets(tags).items()
    ]


def _records(decisions: list[DecisionView]) -> list[DecisionRecord]:
    """Return what decisions, the newest first, were taken from, the oldest first."""
    return [
        from_json(DecisionRecord, decision.record)
        for decision in reversed(decisions)
        if decision.record is not None
    ]


def _shown(given: Services, release: Release) -> ReleaseView:
    return given.reading.release(release.id)
