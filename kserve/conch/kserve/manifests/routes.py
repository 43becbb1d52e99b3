"""The HTTPRoute whose weights conch owns, in Standard mode behind Gateway API.

Weights are basis points as in conch's own traffic splits; Gateway API takes up to 1,000,000. A
gateway divides by request and not by unit, and gRPC names its model in the message, which a route
cannot read: sticky units and gRPC by model need conch's own gateway in front.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from conch.core import TOTAL_WEIGHT, TrafficSplit, TritonName

from ..profiles import Profile
from ..workloads import Workload
from .objects import SERVICE_PORT, Manifest, metadata, predictor_name

_MODELS: Final = "/v2/models"


def http_route(profile: Profile, workload: Workload) -> Manifest:
    """Return the route of a workload: rules per version, per model, and for the server itself."""
    assert profile.gateway is not None
    gateway = profile.gateway
    splits = {split.model: split for split in workload.splits}
    rules = list(_versions(workload))
    for model in workload.models:
        rules.append(_rule(f"{_MODELS}/{model}", _backends(workload, model, splits.get(model))))
    rules.append(_rule("/v2", [_backend(workload, _stable(workload))]))
    return {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "HTTPRoute",
        "metadata": metadata(profile, workload, workload.name),
        "spec": {
            "parentRefs": [{"name": gateway.name, "namespace": gateway.namespace}],
            "hostnames": [f"{workload.name}.{gateway.domain}"],
            "rules": rules,
        },
    }


def _versions(workload: Workload) -> Iterator[Manifest]:
    """Yield a rule per version: a request that names one goes to the slot that holds it."""
    if len(workload.slots) < 2:
        return
    holders = {
        (served.model, served.ordinal): slot.slot
        for slot in reversed(workload.slots)
        for served in slot.models
    }
    for (model, ordinal), slot in sorted(holders.items()):
        yield _rule(f"{_MODELS}/{model}/versions/{ordinal}", [_backend(workload, slot)])


def _backends(workload: Workload, model: TritonName, split: TrafficSplit | None) -> list[Manifest]:
    if split is not None:
        return [_backend(workload, arm.slot, arm.weight) for arm in split.arms]
    holding = next(
        slot.slot for slot in workload.slots if any(m.model == model for m in slot.models)
    )
    return [_backend(workload, holding)]


def _stable(workload: Workload) -> str:
    """Return the slot with the most traffic, for requests that name no model."""
    arms = [arm for split in workload.splits for arm in split.arms]
    best = max(arms, key=lambda arm: arm.weight, default=None)
    return best.slot if best else workload.slots[0].slot


def _backend(workload: Workload, slot: str, weight: int = TOTAL_WEIGHT) -> Manifest:
    return {
        "name": predictor_name(f"{workload.name}-{slot}"),
        "port": SERVICE_PORT,
        "weight": weight,
    }


def _rule(prefix: str, backends: list[Manifest]) -> Manifest:
    """Return a rule by whole path elements; Gateway API prefers the longest match."""
    return {
        "matches": [{"path": {"type": "PathPrefix", "value": prefix}}],
        "backendRefs": backends,
    }
