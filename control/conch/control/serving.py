"""The control process: `python -m conch.control.serving --home FOLDER`.

Put together here and nowhere else: settings, database, MLflow, the target, the workshop.
"""

from __future__ import annotations

import argparse
import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import uvicorn

from conch.local import Home, LocalTarget, metrics_pages, require
from conch.model_repo_builder import Workbench

from .api import create_app
from .keys import FETCH_NAME, WEBHOOK_NAME, ensure_key
from .metrics import PREFIXES, Metrics, Page
from .payloads import Intake, PayloadReader, PayloadSource
from .plane import ControlPlane
from .platform import local_settings, runtime_spec, serving_home
from .ports import Target, Workshop
from .recording import Recording
from .registry import MlflowRegistry, WebhookAction
from .settings import Settings, read_settings, running_settings
from .state import Database

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What a control plane works with, beside MLflow and its database.

    Attributes:
        target: Where models are served.
        payloads: The cluster that tells of its requests; None: the access log does.
        workshop: Where builds run; None: in workers of the control process.
    """

    target: Target
    payloads: PayloadSource | None = None
    workshop: Workshop | None = None


def assemble(settings: Settings, around: Surroundings) -> tuple[ControlPlane, Workbench | None]:
    """Return a stopped control plane for the settings, and the workers that build for it, if any.

    Args:
        settings: What it is put together from.
        around: What it works with.
    """
    workbench = None if around.workshop else Workbench(log_dir=settings.home / "logs")
    workshop = around.workshop or workbench
    assert workshop is not None, "one of the two is there"
    registry = MlflowRegistry(settings.mlflow_uri, timeout=settings.mlflow.timeout_s)
    secret = ensure_key(settings.home, WEBHOOK_NAME)

    def keep_webhook() -> WebhookAction:
        return registry.ensure_webhook(settings.webhook_url, secret)

    intake = None if around.payloads is None else Intake(around.payloads)
    plane = ControlPlane(
        settings=settings,
        database=Database(settings.database),
        registry=registry,
        target=around.target,
        workshop=workshop,
        webhook_secret=None if settings.mlflow.webhooks == "off" else secret,
        keep_webhook=keep_webhook if settings.keeps_webhook else None,
        recording=Recording(
            home=settings.home,
            access_log=Home(serving_home(settings)).access_log,
            settings=settings.events,
            reader=None if intake is None else partial(PayloadReader, intake),
        ),
        intake=intake,
        metrics=_metrics(settings),
    )
    return plane, workbench


def _metrics(settings: Settings) -> Metrics | None:
    """Return what is counted on this machine; a cluster has a Prometheus of its own."""
    if not settings.serves_here:
        return None
    home = Home(serving_home(settings))

    def pages() -> list[Page]:
        return [
            Page(
                name=page.name,
                fetch=page.fetch,
                labels={"slot": page.slot, "server": page.name} if page.slot else {},
                prefixes=PREFIXES,
            )
            for page in metrics_pages(home)
        ]

    given = settings.metrics
    return Metrics(
        pages,
        now=time.time,
        every_s=given.every_s,
        window_s=given.window_s,
        prometheus_url=given.prometheus_url,
    )


@contextmanager
def surroundings(settings: Settings) -> Iterator[Surroundings]:
    """Give what the settings state: a cluster with a profile, else this machine."""
    if settings.kserve.profile is None:
        yield Surroundings(
            target=LocalTarget(
                serving_home(settings),
                runtime=require(spec=runtime_spec(settings)),
                settings=local_settings(settings),
            )
        )
        return
    from conch.kserve.cluster import ClusterError, Connection

    from .clusters import payload_source, site_of, target_of, workshop_of

    site = site_of(settings.kserve.profile)
    connection = Connection(kubeconfig=settings.kserve.kubeconfig, context=settings.kserve.context)
    target = target_of(site, connection, leads=True, slots=settings.serving.slots)
    try:
        target.start()
    except ClusterError as error:
        log.warning("the cluster cannot be seen yet: %s", error)  # it is followed all the same
    try:
        yield Surroundings(
            target=target,
            payloads=payload_source(site, target),
            workshop=workshop_of(site, connection, settings.home / "builds"),
        )
    finally:
        target.close()


def serve(settings: Settings) -> None:
    """Run the control plane and its API until SIGTERM or SIGINT."""
    with surroundings(settings) as around:
        _serve(settings, around)


def _serve(settings: Settings, around: Surroundings) -> None:
    plane, workbench = assemble(settings, around)
    if workbench is not None:
        # Warming imports torch and exports once: seconds that the first version should not wait.
        threading.Thread(target=workbench.warm, name="warm", daemon=True).start()
    plane.start()
    try:
        uvicorn.run(
            create_app(
                plane,
                key=ensure_key(settings.home),
                fetch_key=ensure_key(settings.home, FETCH_NAME),
            ),
            host=settings.api.host,
            port=settings.api.control_port,
            log_config=None,
            access_log=False,
            timeout_graceful_shutdown=5,
        )
    finally:
        plane.stop()
        if workbench is not None:
            workbench.close()


def main() -> None:
    """Read the arguments and serve."""
    parser = argparse.ArgumentParser(prog="python -m conch.control.serving", description=__doc__)
    parser.add_argument("--home", type=Path, required=True)
    arguments = parser.parse_args()
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    for noisy in ("httpx", "alembic", "urllib3"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    serve(running_settings(arguments.home) or read_settings(home=arguments.home))


if __name__ == "__main__":
    main()
