"""What the servers and the gateway count: as a page for Prometheus, and by arm for people."""

from __future__ import annotations

from dataclasses import asdict
from typing import Final

from fastapi import APIRouter
from fastapi.responses import PlainTextResponse

from conch.core import ConflictError, NotFoundError, TritonName

from ..metrics import Metrics
from . import examples
from .bodies import ArmMetricsShown
from .problems import documented
from .services import Given, Services

page = APIRouter()
router = APIRouter(tags=["deployments"])

TEXT: Final = "text/plain; version=0.0.4"


class MetricsUnavailableError(ConflictError):
    """Nobody here can tell what was counted."""

    code = "metrics-unavailable"


@page.get("/metrics", include_in_schema=False)
def metrics(given: Given) -> PlainTextResponse:
    """Answer in Prometheus's text format: conch's counts, every Triton server's page, the slots'.

    Series of Triton have the labels `slot` and `server`.
    """
    text = _metrics(given).page(given.reading.counts())
    return PlainTextResponse(text, media_type=TEXT)


@router.get(
    "/deployments/{name}/metrics",
    summary="What each arm did lately",
    responses={
        **examples.answers("arm metrics"),
        **documented(NotFoundError, MetricsUnavailableError),
    },
)
def arm_metrics(name: str, given: Given) -> list[ArmMetricsShown]:
    """Return, for each arm of a model's traffic, a number or the reason why there is none.

    Diagnostics: requests of one unit go together, so these numbers decide nothing.
    """
    deployment = given.reading.deployment(name)
    model = given.reading.model(deployment.model_name)
    versions = {arm.build_id: arm.version for arm in deployment.arms}
    split = given.plane.target.routes().get(TritonName(model.triton_name))
    if split is None:
        return []
    return [
        ArmMetricsShown(
            version=versions.get(arm.build_id),
            ordinal=arm.ordinal,
            slot=arm.slot,
            weight=arm.weight / 100,
            readings=asdict(arm.readings),
        )
        for arm in _metrics(given).arms(split)
    ]


def _metrics(given: Services) -> Metrics:
    if given.plane.metrics is None:
        raise MetricsUnavailableError(
            "Nothing is counted here.",
            hint="On a cluster the servers' own Prometheus has their metrics.",
        )
    return given.plane.metrics
