"""`--set FIELD=VALUE`: single fields of a plan, changed on the command line."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import yaml

from .bodies import merged
from .values import PlanInvalidError


def overrides(assignments: Sequence[str]) -> dict[str, Any]:
    """Return a plan body with the given fields.

    Values are YAML; commas make a list where the value is not already something else.

    Raises:
        PlanInvalidError: An assignment has another form, or a value is not YAML.

    >>> overrides(["bake_s=60", "steps=1,10,50", "guardrails.error-rate.margin=0.5"])
    {'bake_s': 60, 'steps': [1, 10, 50], 'guardrails': {'error-rate': {'margin': 0.5}}}
    """
    found: dict[str, Any] = {}
    for assignment in assignments:
        path, equals, text = assignment.partition("=")
        parts = path.strip().split(".")
        if not equals or not all(parts):
            raise PlanInvalidError(
                f"{assignment!r} is no assignment.", hint="Write it as `field=value`."
            )
        value: Any = _value(path, text)
        for part in reversed(parts):
            value = {part: value}
        found = merged(found, value)
    return found


def _value(path: str, text: str) -> Any:
    try:
        value = yaml.safe_load(text)
        if isinstance(value, str) and "," in value:
            value = [yaml.safe_load(part) for part in value.split(",")]
    except yaml.YAMLError as error:
        raise PlanInvalidError(f"{path}: {text!r} is not YAML.") from error
    return value
