"""Bodies of plans: read from files, and laid one on top of another."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from .values import PlanInvalidError


def completed(
    body: Mapping[str, Any], *, presets: Mapping[str, Mapping[str, Any]]
) -> dict[str, Any]:
    """Return a body on top of the preset that it names; mappings are merged key by key.

    A key with null in it is taken out: `guardrails: {slow-share: null}` does without that one.

    Raises:
        PlanInvalidError: There is no such preset.
    """
    given = dict(body)
    base = given.pop("plan", None)
    if base is None:
        return _without_nulls(given)
    if not isinstance(base, str) or base not in presets:
        raise PlanInvalidError(
            f"plan: there is no preset {base!r}.", hint=f"Known are: {', '.join(sorted(presets))}."
        )
    return _without_nulls(merged(presets[base], given))


def merged(under: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Return one body with another on top of it; lists are replaced whole."""
    both = dict(under)
    for key, value in over.items():
        old = both.get(key)
        both[key] = (
            merged(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
        )
    return both


def read_plan_file(path: Path) -> dict[str, Any]:
    """Return the body in a YAML or JSON file.

    Raises:
        PlanInvalidError: The file cannot be read, or holds something else.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise PlanInvalidError(f"The plan file {path} cannot be read: {error}.") from error
    return read_plan_text(text, name=str(path))


def read_plan_text(text: str, *, name: str) -> dict[str, Any]:
    """Return the body in a YAML or JSON text.

    Raises:
        PlanInvalidError: It is neither, or no mapping.
    """
    try:
        value = json.loads(text) if text.lstrip().startswith("{") else yaml.safe_load(text)
    except (ValueError, yaml.YAMLError) as error:
        raise PlanInvalidError(f"The plan in {name} cannot be read: {error}") from error
    if not isinstance(value, dict):
        raise PlanInvalidError(f"The plan in {name} is no mapping of fields.")
    return value


def _without_nulls(body: Mapping[str, Any]) -> dict[str, Any]:
    """Take out what was set to null in the metric groups; null elsewhere means what it says."""
    found = dict(body)
    for group in ("guardrails", "goals", "diagnostics"):
        if isinstance(parts := found.get(group), Mapping):
            found[group] = {name: one for name, one in parts.items() if one is not None}
    return found
