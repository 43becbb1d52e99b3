"""What people can do with experiments: start one, and stop it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from conch.core import (
    TOTAL_WEIGHT,
    ConflictError,
    InvalidValueError,
    ModelName,
    NotFoundError,
    SlotName,
)

from ..deploying.comparing import end_experiment, find, open_experiment, seats_for
from ..deploying.finding import (
    ReleaseOpenError,
    deployment_of,
    experiment_of,
    live_of,
    open_of,
    refuse_beside_experiment,
    verified_of,
)
from ..deploying.reconciling import Reconciler
from ..plans import Plan, PlanBook
from ..state import (
    Build,
    BuildStatus,
    Database,
    Deployment,
    Experiment,
    Transaction,
)
from .planning import experiment_plan

STOPPED: Final = "stopped"


class NoExperimentError(ConflictError):
    """The model has no open experiment."""

    code = "no-experiment"


class ArmsInvalidError(InvalidValueError):
    """The arms of an experiment, or their shares, cannot be compared."""

    code = "arms-invalid"


class SlotsTakenError(ConflictError):
    """An experiment has more arms than the target has slots."""

    code = "slots-taken"


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmAsked:
    """One treatment as a person names it.

    Attributes:
        version: The registry's integer: the version's newest verified build.
        build_id: Or one build, where a version was built in several forms.
        share: Of the traffic, in basis points; None: as much as every other arm.
    """

    version: int | None = None
    build_id: str | None = None
    share: int | None = None


class Experiments:
    """What a person can do with the experiments of a model."""

    def __init__(
        self,
        *,
        database: Database,
        reconciler: Reconciler,
        now: Callable[[], datetime],
        plans: PlanBook,
    ) -> None:
        self._database = database
        self._reconciler = reconciler
        self._now = now
        self._plans = plans

    def start(
        self,
        name: ModelName,
        arms: Sequence[ArmAsked],
        *,
        title: str = "",
        plan: Mapping[str, Any] | None = None,
        changes: Mapping[str, Any] | None = None,
        note: str = "",
        actor: str,
    ) -> Experiment:
        """Load every treatment beside the live version; once all are ready, divide the traffic.

        Args:
            name: The registered model.
            arms: The treatments; the control is the live version.
            title: What people call the experiment; empty: after its arms.
            plan: The body of a plan, see `experiment_plan`.
            changes: Single fields on top of it.
            note: Why; kept.
            actor: Who starts it.

        Raises:
            PlanInvalidError: The plan has a mistake, or no goal.
            ArmsInvalidError: Arms are missing, the same, or their shares do not fit.
            NotFoundError: The model, a version or a build is unknown.
            NotVerifiedError: A version has no verified build.
            ReleaseOpenError: The model has an open release.
            ExperimentOpenError: The model has an open experiment.
            SlotsTakenError: There are more arms than slots.
        """
        with self._reconciler.lock:
            with self._database.begin() as tx:
                self._reconciler.guard(tx)
                deployment, live = live_of(tx, name)
                _refuse_open(tx, name, deployment)
                builds = [_build(tx, name, deployment, one) for one in arms]
                shares = shares_of([one.id for one in builds], arms, control=live.id)
                chosen = self._plan(tx, deployment, plan, changes)
                seats = self._seats(tx, deployment, live, shares)
                experiment = open_experiment(
                    tx,
                    deployment=deployment,
                    name=title or f"{len(shares)} arms of {name}",
                    control=live.id,
                    shares=shares,
                    seats=seats,
                    plan=chosen,
                    note=note,
                    actor=actor,
                    now=self._now(),
                )
                words = note or "A person started the experiment."
                find(
                    tx,
                    experiment,
                    action="start",
                    code="by-hand",
                    message=words,
                    now=self._now(),
                    actor=actor,
                )
            self._reconciler.run(deployment.model_id)
            with self._database.look() as tx:
                return tx.experiments.get(experiment.id)

    def plan_of(
        self,
        name: ModelName,
        *,
        plan: Mapping[str, Any] | None = None,
        changes: Mapping[str, Any] | None = None,
    ) -> Plan:
        """Return the plan that `start` would give an experiment; changes nothing."""
        with self._database.look() as tx:
            return self._plan(tx, deployment_of(tx, name), plan, changes)

    def stop(self, name: ModelName, *, reason: str = "", actor: str = "") -> Experiment:
        """End the open experiment; the live version answers everybody again.

        Raises:
            NoExperimentError: There is none.
        """
        with self._reconciler.lock:
            with self._database.begin() as tx:
                self._reconciler.guard(tx)
                deployment = deployment_of(tx, name)
                opened = experiment_of(tx, deployment)
                if opened is None:
                    raise NoExperimentError(
                        f"{name!r} has no open experiment.",
                        hint="Start one with `conch experiment start`.",
                    )
                words = reason or "A person stopped it."
                ended = end_experiment(
                    tx, opened, code=STOPPED, message=words, now=self._now(), actor=actor
                )
            self._reconciler.run(deployment.model_id)
            return ended

    def _plan(
        self,
        tx: Transaction,
        deployment: Deployment,
        plan: Mapping[str, Any] | None,
        changes: Mapping[str, Any] | None,
    ) -> Plan:
        tags = tx.models.get(deployment.model_id).tags
        return experiment_plan(self._plans, plan, changes=changes, tags=tags)

    def _seats(
        self, tx: Transaction, deployment: Deployment, live: Build, shares: Mapping[str, int]
    ) -> dict[str, SlotName]:
        seats = seats_for(
            tx.servings.find(deployment_id=deployment.id),
            control=live.id,
            treatments=tuple(one for one in shares if one != live.id),
            slots=self._reconciler.slots,
        )
        if seats is None:
            raise SlotsTakenError(
                f"An experiment of {len(shares)} arms needs as many slots, and there are "
                f"{len(self._reconciler.slots)}.",
                hint='Add slots: `serving.slots = ["a", "b", "c"]`, then `conch up`.',
            )
        return seats


def shares_of(
    treatments: Sequence[str], arms: Sequence[ArmAsked], *, control: str
) -> dict[str, int]:
    """Return every arm's share of the traffic in basis points, by build.

    Where nobody says, arms are equal. The control has what is left.

    Raises:
        ArmsInvalidError: There is no treatment, two are the same, one is the control, only some
            have a share, or nothing is left for the control.
    """
    if not treatments:
        raise ArmsInvalidError("An experiment needs an arm beside the live version.")
    if control in treatments or len(set(treatments)) < len(treatments):
        raise ArmsInvalidError(
            "Two arms are the same build.",
            hint="The live version is the control already; name others, or build another form of "
            "it with `conch build --pin`.",
        )
    said = [one.share for one in arms if one.share is not None]
    if said and len(said) < len(arms):
        raise ArmsInvalidError("Give a share for every arm, or for none.")
    shares = said or [TOTAL_WEIGHT // (len(treatments) + 1)] * len(treatments)
    rest = TOTAL_WEIGHT - sum(shares)
    if min(shares) <= 0 or rest <= 0:
        raise ArmsInvalidError(
            f"The arms have {sum(shares) / 100:g} % together; each needs something, and so does "
            "the control."
        )
    return {**dict(zip(treatments, shares, strict=True)), control: rest}


def _refuse_open(tx: Transaction, name: ModelName, deployment: Deployment) -> None:
    if (release := open_of(tx, deployment)) is not None:
        raise ReleaseOpenError(
            f"{name!r} has an open release ({release.id}).",
            hint="Promote it or roll it back first; a bake time has to end.",
        )
    refuse_beside_experiment(tx, name, deployment)


def _build(tx: Transaction, name: ModelName, deployment: Deployment, arm: ArmAsked) -> Build:
    if (arm.version is None) == (arm.build_id is None):
        raise ArmsInvalidError("An arm is a version or a build.")
    if arm.version is not None:
        return verified_of(tx, name, arm.version)
    found = tx.builds.first(id=arm.build_id, model_id=deployment.model_id)
    if found is None:
        raise NotFoundError(f"{name!r} has no build {arm.build_id!r}.", hint="`conch builds list`.")
    if found.status is not BuildStatus.VERIFIED:
        raise ArmsInvalidError(f"Build {found.id} is {found.status.value}, not verified.")
    return found
