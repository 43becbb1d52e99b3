"""The control plane put together: what follows the registry, decides, works and answers."""

from __future__ import annotations

import contextlib
import logging
import shutil
import threading
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Final

from conch.core import ConchError, SlotName
from conch.model_repo_builder import Limits, RuntimeCaps, TaskMetric

from . import jobs
from .deploying.building import BuildJob
from .deploying.copying import copied
from .deploying.deciding import BUILD, LOAD
from .deploying.loading import LoadJob
from .deploying.reconciling import Reconciler
from .deploying.releases import Releases
from .evidence import EvidenceSource, EvidenceUnavailableError
from .evidence.gathering import BY_THE_GATEWAY, LogEvidence
from .experiments import ExperimentEngine, Experiments
from .jobs import Kind, ThreadRunner, this_process
from .leading import RENEW_S, Leadership, NotLeaderError
from .metrics import Metrics
from .payloads import Intake
from .plans import PlanBook
from .ports import Target, Workshop
from .receiving import Inbox
from .recording import Recording
from .reference_data import ReferenceData
from .registry import Registry, SweepPlan, TakeUpMode, TakeUpPolicy, WebhookAction
from .releasing import ReleaseEngine, ReleasePolicy
from .reporting import Reporter
from .settings import Settings, TakeUpSettings
from .state import Database
from .subscribing import Subscription
from .sweeping import Sweeper
from .trusting import TrustRule

log = logging.getLogger(__name__)

_RECONCILE_EVERY_S: Final = 1.0
_SUBSCRIBE_EVERY_S: Final = 1.0
_AGAIN_S: Final = 1.0
_DRAIN_S: Final = 5.0


class Loop:
    """Runs a pass again and again in a thread: on a hint at once, else after some time.

    A pass that fails for a reason that may pass is tried again within a second, so that whatever
    comes back is noticed then, and told once for as long as it is the same. The loop ends only by
    `stop`.
    """

    def __init__(self, name: str, run: Callable[[], object], *, every_s: float) -> None:
        self._name = name
        self._run = run
        self._every_s = every_s
        self._hint = threading.Event()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._turn, name=name, daemon=True)

    def start(self) -> None:
        """Start the thread; its first pass begins at once."""
        self._thread.start()

    def nudge(self) -> None:
        """Ask for a pass now."""
        self._hint.set()

    def stop(self, *, timeout_s: float) -> None:
        """End after the pass that runs, waiting for it at most so long."""
        self._stop.set()
        self._hint.set()
        self._thread.join(timeout_s)

    def _turn(self) -> None:
        told = ""
        while not self._stop.is_set():
            self._hint.clear()
            wait_s = self._every_s
            try:
                self._run()
                told = ""
            except NotLeaderError as error:
                log.debug("%s: %s", self._name, error)
            except ConchError as error:
                if error.code != told:
                    log.warning("%s: %s", self._name, error)
                told = error.code
                if error.retryable:
                    wait_s = min(wait_s, _AGAIN_S)
            except Exception:
                log.exception("%s: failed", self._name)
            self._hint.wait(wait_s)


class ControlPlane:
    """Everything of one control process. Built stopped; `start` and `stop` bracket its life.

    Args:
        webhook_secret: What MLflow signs its webhooks with; None: none are taken.
        evidence: Tells what was observed of a release; None: what the event log counts.
        keep_webhook: Makes MLflow's webhook what it should be; None: somebody else sees to it.
        recording: The event log; None: there is none.
        intake: Where a cluster's payload events arrive; None: there is none.
        metrics: What the servers count; None: nobody can tell.
        now: The clock.

    Attributes:
        settings: What it was put together from.
        database: The control database, migrated by `start`.
        registry: MLflow.
        target: Where models are served.
        reconciler: Brings the target to what the database says.
        plans: Which plan a release gets.
        releases: What a person can do with traffic.
        experiments: What a person can compare on traffic.
        leadership: Whether this process acts, or another one on the same database.
        inbox: Where webhooks arrive.
        subscription: How the webhook stands; None where somebody else sees to it.
        recording: The event log, closed by `stop`.
        intake: Where a cluster's payload events arrive; None where nothing takes them.
        metrics: What the servers count; None where nobody can tell.
    """

    def __init__(
        self,
        *,
        settings: Settings,
        database: Database,
        registry: Registry,
        target: Target,
        workshop: Workshop,
        webhook_secret: str | None = None,
        keep_webhook: Callable[[], WebhookAction] | None = None,
        recording: Recording | None = None,
        intake: Intake | None = None,
        metrics: Metrics | None = None,
        evidence: EvidenceSource | None = None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.settings = settings
        self.database = database
        self.registry = registry
        self.target = target
        self.now = now
        self.leadership = Leadership(
            database=database, holder=this_process(), url=settings.control_url, now=now
        )
        guard = self.leadership.prove
        self.plans = PlanBook(
            usual=settings.release.plan,
            patch=settings.release.patch_plan,
            slo_ms=settings.release.slo_ms,
            shadows=settings.capture.enabled and settings.serves_here,
            slots=len(settings.serving.slots),
        )
        self.reconciler = Reconciler(
            database=database,
            target=target,
            slots=tuple(SlotName(slot) for slot in settings.serving.slots),
            environment=settings.serving.environment,
            now=now,
            wake_jobs=lambda: self._runner.nudge(),
            bake_s=settings.release.bake_s,
            copied=partial(copied, settings=settings.capture),
            guard=guard,
            policy=ReleasePolicy(self.plans),
        )
        self.releases = Releases(
            database=database,
            reconciler=self.reconciler,
            now=now,
            bake_s=settings.release.bake_s,
            plans=self.plans,
        )
        self.intake = intake
        if evidence is None and recording is not None and (settings.serves_here or intake):
            counted = BY_THE_GATEWAY if intake is None else intake.source.counted
            evidence = LogEvidence(recording.follower, counted=counted)
        self.experiments = Experiments(
            database=database, reconciler=self.reconciler, now=now, plans=self.plans
        )
        self._experimenting = ExperimentEngine(
            database=database,
            reconciler=self.reconciler,
            evidence=evidence,
            now=now,
            guard=guard,
        )
        self._engine = ReleaseEngine(
            database=database,
            reconciler=self.reconciler,
            evidence=evidence,
            now=now,
            guard=guard,
        )
        self._reporter = Reporter(database=database, registry=registry, guard=guard)
        self._sweeper = Sweeper(
            database=database,
            registry=registry,
            policy=_policy(settings.take_up),
            now=now,
            guard=guard,
        )
        self._runner = ThreadRunner(
            database=database,
            kinds=self._kinds(workshop),
            owner=this_process(),
            now=now,
            ended=self.nudge,
            guard=guard,
        )
        self.inbox = Inbox(
            database=database,
            secret=webhook_secret,
            now=now,
            guard=guard,
            follow=self.nudge_sweep,
        )
        self.subscription = keep_webhook and Subscription(
            keep=keep_webhook,
            leads=lambda: self.leadership.held,
            changed=self.nudge_sweep,
            now=now,
        )
        self._leading = Loop("lead", self._lead, every_s=RENEW_S)
        self._sweeping = Loop("sweep", self.sweep, every_s=settings.mlflow.sweep_s)
        self._reconciling = Loop("reconcile", self._reconcile, every_s=_RECONCILE_EVERY_S)
        self._reporting = Loop("report", self._reporter.run, every_s=settings.mlflow.sweep_s)
        self._deciding = Loop("decide", self._decide, every_s=settings.release.look_s)
        self._loops = [
            self._leading,
            self._reconciling,
            self._sweeping,
            self._reporting,
            self._deciding,
        ]
        if self.subscription is not None:
            self._loops.append(Loop("subscribe", self.subscription.run, every_s=_SUBSCRIBE_EVERY_S))
        self.metrics = metrics
        if metrics is not None:
            self._loops.append(Loop("metrics", metrics.look, every_s=settings.metrics.every_s))
        self.recording = recording
        self._tidied = False
        if recording is not None:
            self._loops += [
                Loop("follow", recording.run, every_s=settings.events.poll_s),
                Loop("compact", recording.compact, every_s=settings.events.compact_s / 4),
            ]

    def start(self) -> None:
        """Migrate and start the loops; they act while this process holds the lease."""
        self.database.migrate()
        self._lead()
        self._runner.start()
        for loop in self._loops:
            loop.start()

    def stop(self) -> None:
        """Stop the loops and the jobs, bounded; what runs is taken up by the next process."""
        for loop in reversed(self._loops):
            loop.stop(timeout_s=_DRAIN_S)
        self._runner.stop(timeout_s=_DRAIN_S)
        if self.recording is not None:
            self.recording.close()
        self.leadership.release()
        self.database.close()

    def nudge(self) -> None:
        """Look at the wanted state now."""
        self._reconciling.nudge()

    def nudge_sweep(self) -> None:
        """Look at the registry now."""
        self._sweeping.nudge()

    @property
    def last_sweep(self) -> datetime | None:
        """When the registry was last seen whole; None before the first time."""
        return self._sweeper.last

    def scale(self, slots: Sequence[SlotName], replicas: int) -> None:
        """Change how many servers each of these slots has; returns before they are ready.

        Raises:
            InvalidValueError: There is no such slot, or the number is out of range.
            NotLeaderError: Another process acts.
        """
        with self.database.begin() as tx:
            self.leadership.prove(tx)
        for slot in slots:
            self.target.scale(slot, replicas)
        self.nudge()

    def cancel_job(self, job_id: str) -> jobs.Job:
        """Ask for the end of a job.

        Raises:
            NotFoundError: There is no such job.
            ConflictError: It has ended already.
        """
        with self.database.begin() as tx:
            job = jobs.request_cancel(tx, job_id, now=self.now())
        self.nudge()
        return job

    def _kinds(self, workshop: Workshop) -> dict[str, Kind]:
        build = BuildJob(
            database=self.database,
            registry=self.registry,
            workshop=workshop,
            builds=self.settings.home / "builds",
            limits=Limits(
                time_s=self.settings.build.time_s,
                memory_bytes=self.settings.build.memory_bytes,
                disk_bytes=self.settings.build.disk_bytes,
            ),
            caps=RuntimeCaps().with_engines(self.settings.serving.engines),
            refuse_weak_evidence=self.settings.build.refuse_weak_evidence,
            trust=tuple(
                TrustRule(models=rule.models, users=rule.users)
                for rule in self.settings.build.trust
            ),
            references=tuple(
                ReferenceData(
                    models=one.models,
                    path=one.path,
                    task=None
                    if one.metric is None
                    else TaskMetric(
                        name=one.metric, labels=one.labels, allowed_loss=one.allowed_loss
                    ),
                )
                for one in self.settings.build.references
            ),
            now=self.now,
        )
        load = LoadJob(
            database=self.database,
            target=self.target,
            timeout_s=self.settings.serving.load_timeout_s,
        )
        return {BUILD: Kind(handler=build), LOAD: Kind(handler=load, threads=4)}

    def sweep(self) -> SweepPlan:
        """Look at the registry now, and return what changed.

        Raises:
            RegistryUnavailableError: MLflow is away.
        """
        plan = self._sweeper.run()
        self.nudge()
        return plan

    def _lead(self) -> None:
        led = self.leadership.held
        if self.leadership.renew() and not led:
            shutil.rmtree(self.settings.home / "builds" / ".fetched", ignore_errors=True)
            with self.database.begin() as tx:
                for job in jobs.release_dead(tx, alive=jobs.is_alive):
                    log.info("job %s: its process is gone; queued again", job.label)
            self._runner.nudge()

    def _decide(self) -> None:
        if self.leadership.held:
            self._tidy()
            self._engine.run()
            self._experimenting.run()

    def _tidy(self) -> None:
        """Once: drop the counts of what ended while no process looked."""
        if self._tidied or self.recording is None:
            return
        with self.database.look() as tx:
            kept = {one.id for one in tx.releases.find() if one.status.open}
            kept |= {one.id for one in tx.experiments.find() if one.status.open}
        with contextlib.suppress(EvidenceUnavailableError):  # the log is not open yet: next time
            self.recording.keep(kept)
            self._tidied = True

    def _reconcile(self) -> None:
        if not self.leadership.held:
            return
        self.reconciler.run()
        self._reporting.nudge()


def _policy(settings: TakeUpSettings) -> TakeUpPolicy:
    return TakeUpPolicy(
        mode=TakeUpMode(settings.mode),
        alias=settings.alias,
        tag_key=settings.tag_key,
        tag_value=settings.tag_value,
        include=settings.include,
        exclude=settings.exclude,
    )
