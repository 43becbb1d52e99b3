"""What people can do with releases: start one, move it by hand, stop it, let it go on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Final

from conch.core import ConflictError, ModelName

from ..plans import Gate, Plan, PlanBook
from ..state import (
    Build,
    Database,
    Deployment,
    Release,
    ReleaseStatus,
    Transaction,
)
from .finding import (
    NotAPatchError,
    PlannedError,
    ReleaseOpenError,
    RolledBackBeforeError,
    check_weight,
    deployment_of,
    live_of,
    open_of,
    opened_of,
    planned_of,
    promoted_of,
    refuse_beside_experiment,
    running_of,
    verified_of,
)
from .moving import (
    WAITING,
    hold_of,
    open_release,
    open_stage,
    promote,
    record,
    roll_back,
)
from .reconciling import Reconciler

BY_HAND: Final = "by-hand"
ABORTED: Final = "aborted"
PAUSED: Final = "paused"


class Releases:
    """What a person can do with the traffic of a model.

    Every method returns once the data plane acknowledged the change.

    Args:
        plans: Which plan a release gets.
        bake_s: How long the version that lost stays loaded, where the call does not say, in
            seconds.
    """

    def __init__(
        self,
        *,
        database: Database,
        reconciler: Reconciler,
        now: Callable[[], datetime],
        bake_s: int,
        plans: PlanBook | None = None,
    ) -> None:
        self._database = database
        self._reconciler = reconciler
        self._now = now
        self._bake_s = bake_s
        self._plans = plans or PlanBook()

    def start(
        self,
        name: ModelName,
        version: int,
        *,
        weight: int = 0,
        bake_s: int | None = None,
        note: str = "",
        plan: str | Mapping[str, Any] | None = None,
        changes: Mapping[str, Any] | None = None,
        actor: str,
    ) -> Release:
        """Load a verified version beside the live one; once it is ready its plan takes over.

        Args:
            weight: By hand: what the candidate gets once it is ready, in basis points.
            bake_s: By hand: how long the version that loses stays loaded.
            plan: A name or a body; None: what the model or the settings say, else by hand.
            changes: Single fields on top of the plan.

        Raises:
            PlanInvalidError: There is no such plan, or it has a mistake.
            NotAPatchError: The plan is for new weights of the same graph only.
            NotFoundError: The model or version is unknown.
            NotVerifiedError: The version has no verified build.
            ReleaseOpenError: The model has an open release.
            ExperimentOpenError: The model has an open experiment.
            RolledBackBeforeError: The version was rolled back before and `note` is empty.
            ConflictError: The version is live already, or the model serves nothing yet.
        """
        check_weight(weight)
        with self._reconciler.lock:
            with self._database.begin() as tx:
                self._reconciler.guard(tx)
                deployment, live = live_of(tx, name)
                build = verified_of(tx, name, version)
                if build.id == live.id:
                    raise ConflictError(f"Version {version} of {name!r} is live already.")
                if (opened := open_of(tx, deployment)) is not None:
                    if opened.status is not ReleaseStatus.BAKING:
                        raise ReleaseOpenError(
                            f"{name!r} has an open release ({opened.id}).",
                            hint="Promote it or roll it back first.",
                        )
                    self._finish(tx, deployment, opened, actor=actor)
                    deployment, live = live_of(tx, name)
                refuse_beside_experiment(tx, name, deployment)
                chosen = self._chosen(tx, name, build, live, plan, changes)
                past = tx.releases.first(
                    deployment_id=deployment.id,
                    candidate_build_id=build.id,
                    status=ReleaseStatus.ROLLED_BACK,
                )
                if past is not None and not note:
                    raise RolledBackBeforeError(
                        f"Version {version} of {name!r} was rolled back before.",
                        hint="Start it again with a note that says why it is safe now.",
                    )
                release = open_release(
                    tx,
                    deployment=deployment,
                    live=live,
                    candidate=build,
                    plan=chosen,
                    weight=weight,
                    bake_s=self._bake_s if bake_s is None else bake_s,
                    note=note,
                    actor=actor,
                    slots=self._reconciler.slots,
                    now=self._now(),
                )
                self._word(tx, release, "start", note or "A person started the release.", actor)
            self._reconciler.run(deployment.model_id)
            return self._read(release)

    def plan_of(
        self,
        name: ModelName,
        version: int,
        *,
        plan: str | Mapping[str, Any] | None = None,
        changes: Mapping[str, Any] | None = None,
    ) -> Plan | None:
        """Return the plan that `start` would give a release; changes nothing.

        Raises:
            ConchError: As `start`, where the plan or the version does not fit.
        """
        with self._database.look() as tx:
            _, live = live_of(tx, name)
            return self._chosen(tx, name, verified_of(tx, name, version), live, plan, changes)

    def set_weight(self, name: ModelName, weight: int, *, actor: str = "") -> Release:
        """Give the candidate of a release by hand a share of the traffic, in basis points.

        Raises:
            NoReleaseError: There is no open release, or its candidate is not ready yet.
            PlannedError: The release goes by a plan.
        """
        check_weight(weight)
        with self._reconciler.lock:
            with self._database.begin() as tx:
                self._reconciler.guard(tx)
                deployment, release = running_of(tx, name)
                if release.plan is not None:
                    raise PlannedError(
                        f"The release of {name!r} goes by its plan, which sets the weights.",
                        hint="Promote it, roll it back, or pause it.",
                    )
                release = open_stage(tx, release, step=0, weight=weight, now=self._now())
                self._word(tx, release, "set-weight", f"A person set {weight / 100:g} %.", actor)
            self._reconciler.run(deployment.model_id)
            return self._read(release)

    def promote(self, name: ModelName, *, actor: str = "") -> Release:
        """Give the candidate all traffic; the former live version stays loaded for the bake time.

        A person's word: no evidence is asked for. A bake time under way ends with it.

        Raises:
            NoReleaseError: There is no open release, or its candidate is not ready yet.
        """
        with self._reconciler.lock:
            with self._database.begin() as tx:
                self._reconciler.guard(tx)
                deployment, release = running_of(tx, name)
                now = self._now()
                release = promote(tx, deployment, release, keep_s=release.bake_s, now=now)
                self._word(tx, release, "promote", "A person promoted it.", actor)
            self._reconciler.run(deployment.model_id)
            return release

    def rollback(
        self, name: ModelName, *, reason: str = "", code: str = BY_HAND, actor: str = ""
    ) -> Release:
        """Give all traffic back to the version that was live before; needs no load.

        Works on the open release and, during the bake time, on the one promoted last.

        Raises:
            NoReleaseError: Nothing can be rolled back.
        """
        with self._reconciler.lock:
            with self._database.begin() as tx:
                self._reconciler.guard(tx)
                deployment = deployment_of(tx, name)
                release = open_of(tx, deployment) or promoted_of(tx, name, deployment)
                message = reason or "A person rolled it back."
                why = {"code": code, "message": message}
                release = roll_back(tx, deployment, release, reason=why, now=self._now())
                self._word(tx, release, "roll-back", message, actor, code=code)
            self._reconciler.run(deployment.model_id)
            return release

    def abort(self, name: ModelName, *, reason: str = "", actor: str = "") -> Release:
        """End the open release; whatever it had goes back to the version before.

        Raises:
            NoReleaseError: There is no open release.
        """
        with self._database.look() as tx:
            opened_of(tx, name)
        words = reason or "A person ended the release."
        return self.rollback(name, reason=words, code=ABORTED, actor=actor)

    def pause(self, name: ModelName, *, reason: str = "", actor: str = "") -> Release:
        """Keep a planned release where it is; proven harm still rolls it back.

        Raises:
            NoReleaseError: There is no open release that goes by a plan.
        """
        words = reason or "A person paused it."
        return self._steer(name, "pause", words, actor, paused=True)

    def resume(self, name: ModelName, *, actor: str = "") -> Release:
        """Let a paused release go on.

        Raises:
            NoReleaseError: There is no open release that goes by a plan.
        """
        return self._steer(name, "resume", "A person let it go on.", actor, paused=False)

    def approve(self, name: ModelName, *, actor: str = "") -> Release:
        """Open the gate at which a planned release waits for a person.

        Raises:
            NoReleaseError: There is no open release that goes by a plan.
            ConflictError: It does not wait for anybody.
        """
        with self._database.look() as tx:
            release = planned_of(tx, name)
        if release.hold is None or release.hold["code"] != WAITING:
            raise ConflictError(
                f"The release of {name!r} does not wait for an approval.",
                hint="`conch release show` tells what it waits for.",
            )
        gate = Gate.START if release.status is ReleaseStatus.PREPARING else Gate.PROMOTION
        approved = (*release.approved, gate.value)
        return self._steer(name, "approve", f"A person approved: {gate}.", actor, approved=approved)

    def _steer(
        self, name: ModelName, action: str, words: str, actor: str, **changes: Any
    ) -> Release:
        with self._reconciler.lock:
            with self._database.begin() as tx:
                self._reconciler.guard(tx)
                release = planned_of(tx, name)
                deployment = deployment_of(tx, name)
                hold = hold_of(PAUSED, words, self._now()) if changes.get("paused") else None
                release = tx.releases.change(release, hold=hold, **changes)
                self._word(tx, release, action, words, actor)
            self._reconciler.run(deployment.model_id)
            return self._read(release)

    def _chosen(
        self,
        tx: Transaction,
        name: ModelName,
        build: Build,
        live: Build,
        plan: str | Mapping[str, Any] | None,
        changes: Mapping[str, Any] | None,
    ) -> Plan | None:
        model = tx.models.get(build.model_id)
        chosen = self._plans.plan(plan, changes=changes, tags=model.tags)
        if chosen is None:
            return None
        if chosen.patch_only and build.graph_digest != live.graph_digest:
            raise NotAPatchError(
                f"The new version of {name!r} is another graph than the live one, not just other "
                f"weights: the plan {chosen.name!r} is not for it.",
                hint="Use blue-green or canary.",
            )
        return chosen

    def _finish(
        self, tx: Transaction, deployment: Deployment, release: Release, *, actor: str
    ) -> None:
        """End a bake time early: its candidate made room for the next one."""
        ended = promote(tx, deployment, release, keep_s=0, now=self._now())
        self._word(tx, ended, "finish", "The next release was started.", actor)

    def _word(
        self,
        tx: Transaction,
        release: Release,
        action: str,
        message: str,
        actor: str,
        *,
        code: str = BY_HAND,
    ) -> None:
        record(tx, release, action=action, code=code, message=message, now=self._now(), actor=actor)

    def _read(self, release: Release) -> Release:
        with self._database.begin() as tx:
            return tx.releases.get(release.id)
