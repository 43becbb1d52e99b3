"""Reading experiments for people and programs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from conch.core import ModelName

from ..state import Database, Experiment, Finding, Transaction
from .queries import MOST, find_model
from .showing import percent
from .views import Json, View


@dataclass(frozen=True, slots=True, kw_only=True)
class ExperimentArmView(View):
    """One arm of an experiment.

    Attributes:
        role: `control` or `treatment`.
        version: The registry's integer.
        ordinal: The build as Triton names it; tells two builds of one version apart.
        weight: Share of the traffic in percent, two decimals.
        slot: Where it is, or is to be, loaded; null where it is not.
        serving: `loading`, `ready`, `failed` or `retiring`; null where it is in no slot.
    """

    role: str
    version: int
    ordinal: int
    build_id: str
    weight: float
    slot: str | None
    serving: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ExperimentView(View):
    """A comparison of builds of one model on live traffic.

    Attributes:
        status: `preparing`, `running` or `ended`.
        arms: The control first, then the treatments by ordinal.
        plan_body: What is counted and what has to be shown.
        hold: Why nothing can be concluded now: `code`, `message`, `since`; null: it can.
        outcome: Why it ended, with `code` (`goal-met`, `harm-proven`, `deadline-passed`, `stopped`,
            `arm-lost`) and `message`; null while it is open.
        started_at: When its traffic was divided.
    """

    id: str
    model_name: str
    deployment_id: str
    name: str
    status: str
    arms: Sequence[ExperimentArmView]
    plan_body: Json
    plan_digest: str
    hold: Json | None
    outcome: Json | None
    created_by: str
    note: str
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class FindingView(View):
    """One look at an experiment, or one word of a person.

    Attributes:
        number: Counts from 0 within the experiment.
        action: `start`, `begin`, `stay`, `hold` or `end`.
        code: Why, for machines.
        message: Why, in sentences.
        actor: Who decided; empty: the engine.
        records: By treatment's build, what its comparison was decided on: plan, evidence, time and
            decision, as `conch.ab` writes them; null where nothing had been observed, and in
            listings that did not ask for them.
    """

    number: int
    at: datetime
    action: str
    code: str
    message: str
    actor: str
    records: Json | None


class ReadingExperiments:
    """What is known of experiments.

    Args:
        database: Where they are.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def experiments(self, *, model: str | None = None, limit: int = MOST) -> list[ExperimentView]:
        """Return experiments, the newest first.

        Raises:
            NotFoundError: There is no such model.
        """
        with self._database.look() as tx:
            where = {}
            if model is not None:
                found = tx.deployments.find(model_id=find_model(tx, model).id)
                where = {"deployment_id": [one.id for one in found]}
            newest = tx.experiments.find(newest_first=True, limit=limit, **where)
            return [_view(tx, one) for one in newest]

    def experiment(self, key: str) -> ExperimentView:
        """Return one experiment.

        Raises:
            NotFoundError: There is no such experiment.
        """
        with self._database.look() as tx:
            return _view(tx, tx.experiments.get(key))

    def findings(self, key: str, *, whole: bool = False, limit: int = MOST) -> list[FindingView]:
        """Return what was found in an experiment, the newest first.

        Raises:
            NotFoundError: There is no such experiment.
        """
        with self._database.look() as tx:
            tx.experiments.get(key)
            found = tx.findings.find(experiment_id=key)
        newest = sorted(found, key=lambda one: one.number, reverse=True)[:limit]
        return [_finding(one, whole=whole) for one in newest]


def _view(tx: Transaction, experiment: Experiment) -> ExperimentView:
    deployment = tx.deployments.get(experiment.deployment_id)
    treatments = [_arm(tx, experiment, key) for key in experiment.treatments]
    control = _arm(tx, experiment, experiment.control_build_id)
    return ExperimentView(
        id=experiment.id,
        model_name=ModelName(tx.models.get(deployment.model_id).name),
        deployment_id=deployment.id,
        name=experiment.name,
        status=experiment.status.value,
        arms=[control, *sorted(treatments, key=lambda one: one.ordinal)],
        plan_body=experiment.plan,
        plan_digest=experiment.plan_digest,
        hold=experiment.hold,
        outcome=experiment.outcome,
        created_by=experiment.created_by,
        note=experiment.note,
        created_at=experiment.created_at,
        started_at=experiment.started_at,
        finished_at=experiment.finished_at,
    )


def _arm(tx: Transaction, experiment: Experiment, build_id: str) -> ExperimentArmView:
    build = tx.builds.get(build_id)
    serving = tx.servings.first(deployment_id=experiment.deployment_id, build_id=build_id)
    return ExperimentArmView(
        role="control" if build_id == experiment.control_build_id else "treatment",
        version=tx.versions.get(build.version_id).version,
        ordinal=build.ordinal,
        build_id=build_id,
        weight=percent(int(experiment.shares[build_id])),
        slot=None if serving is None else serving.slot,
        serving=None if serving is None else serving.status.value,
    )


def _finding(finding: Finding, *, whole: bool) -> FindingView:
    return FindingView(
        number=finding.number,
        at=finding.created_at,
        action=finding.action,
        code=finding.code,
        message=finding.message,
        actor=finding.actor,
        records=finding.records if whole else None,
    )
