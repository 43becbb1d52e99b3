"""The control API put together."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import Any

import httpx
from fastapi import APIRouter, Depends, FastAPI

from ..plane import ControlPlane
from ..predicting import Predictor
from ..reading import Differing, Overview, Reading, ReadingExperiments
from . import (
    builds,
    deployments,
    events,
    experiments,
    health,
    hooks,
    jobs,
    metrics,
    mlflow,
    models,
    payloads,
    platform,
    predictions,
    releases,
    repositories,
    shadows,
)
from .describing import describe
from .problems import UnauthorizedError, documented, handle_problems
from .services import Services, require_administrator

_PREDICT_TIMEOUT_S = 60.0
_CONNECTIONS = 64


def create_app(
    plane: ControlPlane,
    *,
    key: str,
    fetch_key: str | None = None,
    inference_url: str | None = None,
) -> FastAPI:
    """Return the control API over a control plane, which somebody else starts and stops.

    Args:
        plane: What answers.
        key: The administrator key.
        fetch_key: Opens builds' repositories and nothing else; None: only the other key does.
        inference_url: Where predictions go; None: where the settings say.
    """
    base_url = inference_url or plane.settings.inference_url

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[dict[str, Any]]:
        limits = httpx.Limits(max_connections=_CONNECTIONS, max_keepalive_connections=_CONNECTIONS)
        with httpx.Client(base_url=base_url, timeout=_PREDICT_TIMEOUT_S, limits=limits) as http:
            yield {"services": _services(plane, key=key, fetch_key=fetch_key, http=http)}

    app = FastAPI(
        title="conch",
        version=version("conch"),
        summary="The control plane between MLflow and NVIDIA Triton.",
        description=__doc__,
        lifespan=lifespan,
        docs_url="/docs",
        redoc_url=None,
        openapi_url="/openapi.json",
    )
    app.include_router(health.router)
    app.include_router(predictions.router)
    app.include_router(hooks.router)
    app.include_router(payloads.router)
    app.include_router(metrics.page)
    app.include_router(repositories.router)
    closed = APIRouter(
        prefix="/v1",
        dependencies=[Depends(require_administrator)],
        responses=documented(UnauthorizedError),
    )
    parts = (models, builds, deployments, releases, experiments, jobs, platform, mlflow, events)
    for part in (*parts, shadows, metrics):
        closed.include_router(part.router)
    app.include_router(closed)
    handle_problems(app)
    describe(app)
    return app


def _services(
    plane: ControlPlane, *, key: str, fetch_key: str | None, http: httpx.Client
) -> Services:
    settings = plane.settings
    reading = Reading(database=plane.database, target=plane.target)
    return Services(
        plane=plane,
        reading=reading,
        experiments=ReadingExperiments(plane.database),
        differing=Differing(database=plane.database, registry=plane.registry),
        overview=Overview(
            reading=reading,
            target=plane.target,
            environment=settings.serving.environment,
            inference_url=settings.inference_url,
            mlflow_url=settings.mlflow_uri,
            sweep_s=settings.mlflow.sweep_s,
        ),
        predictor=Predictor(database=plane.database, http=http),
        key=key,
        fetch_key=fetch_key,
        hook_places=asyncio.Semaphore(hooks.AT_ONCE),
    )
