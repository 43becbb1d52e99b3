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
from .ports import Target
from .recording import Recording
from .registry import MlflowRegistry, WebhookAction
from .settings import Settings, read_settings, running_settings
from .state import Database

log = logging.getLogger(__name__)


def assemble(
    settings: Settings, target: Target, payloads: PayloadSource | None = None
) -> tuple[ControlPlane, Workbench]:
    """Return a stopped control plane for the settings, and the workshop that it uses.

    Args:
        settings: What it is put together from.
        target: Where models are served.
        payloads: The cluster that tells of its requests; None: the access log does.
    """
    workbench = Workbench(log_dir=settings.home / "logs")
    registry = MlflowRegistry(settings.mlflow_uri, timeout=settings.mlflow.timeout_s)
    secret = ensure_key(settings.home, WEBHOOK_NAME)

    def keep_webhook() -> WebhookAction:
        return registry.ensure_webhook(settings.webhook_url, secret)

    intake = None if payloads is None else Intake(payloads)
    plane = ControlPlane(
        settings=settings,
        database=Database(settings.database),
        registry=registry,
        target=target,
        workshop=workbench,
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
def serving_target(settings: Settings) -> Iterator[tuple[Target, PayloadSource | None]]:
    """Give the target that the settings state: a cluster with a profile, else this machine.

    With it comes the cluster as a source of payload events, where its profile states them.
    """
    if settings.kserve.profile is None:
        here = LocalTarget(
            serving_home(settings),
            runtime=require(spec=runtime_spec(settings)),
            settings=local_settings(settings),
        )
        yield here, None
        return
    from conch.kserve.cluster import ClusterError, Connection

    from .clusters import payload_source, site_of, target_of

    site = site_of(settings.kserve.profile)
    target = target_of(
        site,
        Connection(kubeconfig=settings.kserve.kubeconfig, context=settings.kserve.context),
        leads=True,
        slots=settings.serving.slots,
    )
    try:
        target.start()
    except ClusterError as error:
        log.warning("the cluster cannot be seen yet: %s", error)  # it is followed all the same
    try:
        yield target, payload_source(site, target)
    finally:
        target.close()


def serve(settings: Settings) -> None:
    """Run the control plane and its API until SIGTERM or SIGINT."""
    with serving_target(settings) as (target, payloads):
        _serve(settings, target, payloads)


def _serve(settings: Settings, target: Target, payloads: PayloadSource | None) -> None:
    plane, workbench = assemble(settings, target, payloads)
    # Warming imports torch and exports once: seconds that the first registration should not wait.
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
