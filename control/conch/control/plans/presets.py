"""The plans that conch brings along, in the form of a plan file."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from typing import Any, Final

from .files import SLOW

_GUARDRAILS: Final = {
    # Margins of the rule that was simulated; below `tolerated` a share is fine whatever the ratio,
    # else two versions without any error could never be told from each other, nor promoted.
    "error-rate": {"margin": 0.25, "tolerated": 0.002},
    SLOW: {"margin": 0.2, "tolerated": 0.01},
}

_CANARY: Final = {
    "name": "canary",
    "steps": [1, 5, 25, 50, 100],
    "step_minimum_s": 300,
    "step_minimum_units": 100,
    "guardrails": _GUARDRAILS,
    "bake_s": 3600,
    "holdback": 5,
    "deadline_s": 86_400,
}

_LINEAR: Final = {
    **_CANARY,
    "name": "linear",
    "steps": [10, 20, 30, 40, 50, 60, 70, 80, 90, 100],
}

_BLUE_GREEN: Final = {
    "name": "blue-green",
    "flip": True,
    "guardrails": _GUARDRAILS,
    "bake_s": 3600,
    "holdback": 5,
    "deadline_s": None,
}

_HOT: Final = {
    **_BLUE_GREEN,
    "name": "hot",
    "patch_only": True,
    "bake_s": 600,
}

_PRESETS: Final[Mapping[str, Mapping[str, Any]]] = {
    str(body["name"]): body for body in (_CANARY, _LINEAR, _BLUE_GREEN, _HOT)
}

MANUAL: Final = "manual"
"""No plan: a person moves the traffic."""

NAMES: Final = (*_PRESETS, MANUAL)


def presets(*, slo_ms: float | None) -> dict[str, dict[str, Any]]:
    """Return the presets' bodies by name.

    Args:
        slo_ms: What counts as a slow answer, in milliseconds. None: nobody said, so the presets
            do not guard latency.
    """
    found = {name: deepcopy(dict(body)) for name, body in _PRESETS.items()}
    for body in found.values():
        if slo_ms is None:
            del body["guardrails"][SLOW]
        else:
            body["guardrails"][SLOW]["slower_than_ms"] = slo_ms
    return found
