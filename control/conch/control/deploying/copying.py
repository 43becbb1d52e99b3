"""Which share of a model's requests is copied: for its own sake, or to compare two versions."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from conch.core import TOTAL_WEIGHT, Mirror, TrafficSplit

from ..settings import CaptureSettings
from ..state import ReleaseStatus, ServingStatus
from .moving import plan_in
from .world import World

TAG: Final = "conch.capture"
"""Tag of a registered model: percent of its requests that are captured."""


def copied(split: TrafficSplit, world: World, settings: CaptureSettings) -> TrafficSplit:
    """Return a split with the share of its requests that is captured, or mirrored.

    Args:
        split: How the model's traffic is divided.
        world: The model's world.
        settings: Of capture; while it is off nothing is copied.
    """
    if not settings.enabled:
        return split
    return replace(
        split,
        captured=captured_share(world.model.tags, otherwise=settings.percent),
        mirror=_mirror(world),
    )


def _mirror(world: World) -> Mirror | None:
    """Return where copies of requests go while a release compares before it divides any."""
    release = world.release
    if release is None or release.status is not ReleaseStatus.SHADOWING:
        return None
    plan, serving = plan_in(release), world.serving_of(release.candidate_build_id)
    if plan is None or plan.shadow is None or serving is None:
        return None
    if serving.status is not ServingStatus.READY:
        return None
    return Mirror(slot=serving.slot, share=plan.shadow.share, release=release.id)


def captured_share(tags: Mapping[str, Any], *, otherwise: float) -> int:
    """Return the share of a model's requests that is captured, in basis points.

    Args:
        tags: Of the registered model.
        otherwise: Percent, where the tag is missing or is none from 0 to 100.

    >>> captured_share({"conch.capture": "12.5"}, otherwise=0)
    1250
    >>> captured_share({"conch.capture": "all"}, otherwise=1)
    100
    """
    try:
        percent = float(tags.get(TAG, otherwise))
    except (TypeError, ValueError):
        percent = otherwise
    if not math.isfinite(percent) or not 0 <= percent <= 100:
        percent = otherwise
    return round(percent * TOTAL_WEIGHT / 100)
