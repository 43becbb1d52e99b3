"""Experiments: builds of one model compared on live traffic."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Query

from conch.ab import DecisionRecord, as_json, from_json
from conch.core import ConflictError, ModelName, NotFoundError

from ..experiments import ArmAsked, explain_experiment
from ..reading import MOST, ExperimentView, FindingView
from . import examples
from .bodies import (
    ArmResults,
    Explained,
    PlanShown,
    ReasonBody,
    StartExperimentBody,
    basis_points,
)
from .problems import documented
from .services import ACTOR, Given

router = APIRouter(tags=["experiments"])


@router.get(
    "/experiments",
    summary="List experiments, the newest first",
    responses={**examples.answers("experiments"), **documented(NotFoundError)},
)
def list_experiments(
    given: Given,
    model: Annotated[str | None, Query(description="Only this model's.")] = None,
    limit: Annotated[int, Query(ge=1, le=MOST)] = 100,
) -> list[ExperimentView]:
    """List experiments, open and ended."""
    return given.experiments.experiments(model=model, limit=limit)


@router.get(
    "/experiments/{experiment_id}",
    summary="One experiment",
    responses={**examples.answers("experiment"), **documented(NotFoundError)},
)
def show_experiment(experiment_id: str, given: Given) -> ExperimentView:
    """Return one experiment with its arms."""
    return given.experiments.experiment(experiment_id)


@router.post(
    "/models/{name}/experiments",
    status_code=HTTPStatus.CREATED,
    summary="Start an experiment",
    responses={
        **examples.answers("experiment being prepared", HTTPStatus.CREATED),
        **documented(NotFoundError, ConflictError),
    },
)
def start_experiment(name: str, body: StartExperimentBody, given: Given) -> ExperimentView:
    """Load every arm beside the live version, warm and check it, then divide the traffic.

    Answers at once; the experiment is `preparing` until every arm is ready.
    """
    arms = [
        ArmAsked(
            version=one.version,
            build_id=one.build_id,
            share=None if one.share is None else basis_points(one.share),
        )
        for one in body.arms
    ]
    found = given.plane.experiments.start(
        ModelName(name),
        arms,
        title=body.name,
        plan=body.plan,
        changes=body.set,
        note=body.note,
        actor=ACTOR,
    )
    return given.experiments.experiment(found.id)


@router.post(
    "/models/{name}/experiments/plan",
    summary="The plan that an experiment would get",
    responses=documented(NotFoundError, ConflictError),
)
def plan_experiment(name: str, body: StartExperimentBody, given: Given) -> PlanShown:
    """Check the plan as starting the experiment would, and change nothing."""
    plan = given.plane.experiments.plan_of(ModelName(name), plan=body.plan, changes=body.set)
    return PlanShown(name=plan.name, digest=plan.digest, plan=plan.as_dict())


@router.post(
    "/models/{name}/experiments/current/stop",
    summary="Stop the experiment",
    responses={**examples.answers("experiment"), **documented(NotFoundError, ConflictError)},
)
def stop_experiment(name: str, given: Given, body: ReasonBody | None = None) -> ExperimentView:
    """End the open experiment; the live version answers everybody again."""
    reason = "" if body is None else body.reason
    found = given.plane.experiments.stop(ModelName(name), reason=reason, actor=ACTOR)
    return given.experiments.experiment(found.id)


@router.get(
    "/experiments/{experiment_id}/decisions",
    summary="What was found, the newest first",
    responses={**examples.answers("findings"), **documented(NotFoundError)},
)
def list_findings(
    experiment_id: str,
    given: Given,
    records: Annotated[bool, Query(description="With what each was decided on.")] = False,
    limit: Annotated[int, Query(ge=1, le=MOST)] = 100,
) -> list[FindingView]:
    """List every look that found something new or was due, and every word of a person."""
    return given.experiments.findings(experiment_id, whole=records, limit=limit)


@router.get(
    "/experiments/{experiment_id}/results",
    summary="What each arm shows",
    responses={**examples.answers("experiment results"), **documented(NotFoundError)},
)
def experiment_results(experiment_id: str, given: Given) -> list[ArmResults]:
    """Return, of the newest look, every metric of every treatment against the control."""
    arms = given.experiments.experiment(experiment_id).arms
    findings = given.experiments.findings(experiment_id, whole=True)
    records = next((one.records for one in findings if one.records), None) or {}
    shown = []
    for arm in arms:
        if arm.build_id not in records:
            continue
        decision = from_json(DecisionRecord, records[arm.build_id]).decision
        shown.append(
            ArmResults(
                version=arm.version,
                build_id=arm.build_id,
                action=decision.action.value,
                checks=[as_json(check) for check in decision.checks],
                results=[as_json(result) for result in decision.results],
            )
        )
    return shown


@router.get(
    "/experiments/{experiment_id}/explain",
    summary="An experiment in sentences",
    responses=documented(NotFoundError),
)
def explain(experiment_id: str, given: Given) -> Explained:
    """Tell where an experiment stands, and what each arm shows."""
    experiment = given.experiments.experiment(experiment_id)
    findings = given.experiments.findings(experiment_id, whole=True)
    return Explained(sentences=list(explain_experiment(experiment, findings)))
