"""How conch is tied to MLflow, as the control plane sees it."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, Field

from . import examples
from .services import Given

router = APIRouter(tags=["platform"])


class MlflowView(BaseModel):
    """The registry, the last look at it, and the webhooks that came from it."""

    mlflow_url: str
    swept_at: datetime | None = Field(description="When the registry was last seen whole.")
    webhook_url: str = Field(description="Where MLflow is to send its webhooks.")
    webhooks: str = Field(description="The setting `mlflow.webhooks`.")
    kept: bool = Field(description="Whether the control plane keeps the webhook by itself.")
    kept_at: datetime | None = Field(description="When the webhook was last seen in order.")
    problem: dict[str, Any] | None = Field(description="Why it could not be kept, as an error.")
    deliveries: int = Field(description="Deliveries taken within about the last hour.")
    last_delivery_at: datetime | None


@router.get("/mlflow", summary="How conch is tied to MLflow", responses=examples.answers("mlflow"))
def show_mlflow(given: Given) -> MlflowView:
    """Return how the registry is followed; MLflow itself is not asked."""
    plane, settings = given.plane, given.plane.settings
    subscription = plane.subscription
    with plane.database.begin() as tx:
        count = tx.deliveries.count()
        last = tx.deliveries.find(newest_first=True, limit=1)
    problem = subscription.problem if subscription else None
    return MlflowView(
        mlflow_url=settings.mlflow_uri,
        swept_at=plane.last_sweep,
        webhook_url=settings.webhook_url,
        webhooks=settings.mlflow.webhooks,
        kept=subscription is not None,
        kept_at=subscription.kept_at if subscription else None,
        problem=problem.as_dict() if problem else None,
        deliveries=count,
        last_delivery_at=last[0].created_at if last else None,
    )
