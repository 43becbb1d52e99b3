"""The ranges of values that training has seen, where whoever logged the model recorded them.

An input example is a few rows; training saw more. MLflow keeps no ranges of its own, so they are
read from the model's metadata: `log_model(..., metadata={"conch.ranges": {"age": [18, 95]}})`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

from conch.core import DType

from .errors import RangesInvalidError
from .sources import Port

KEY: Final = "conch.ranges"

Ranges = Mapping[str, tuple[float, float]]
"""Smallest and largest value by input name."""


def recorded_ranges(
    metadata: Mapping[str, Any], inputs: tuple[Port, ...], columns: tuple[str, ...]
) -> Ranges:
    """Return what was recorded, by the name of a tensor on the wire.

    Args:
        metadata: MLflow's metadata of the model.
        inputs: The tensors on the wire. Where there is one, it takes what is said of any column,
            and of the empty name, which MLflow gives to a single tensor.
        columns: The names of the columns that are packed into it; empty where none are.

    Raises:
        RangesInvalidError: An entry is no range, or of no input that has one.
    """
    found: dict[str, tuple[float, float]] = {}
    value = metadata.get(KEY, {})
    if not isinstance(value, Mapping):
        raise _invalid(f"it is a {type(value).__name__}, not a table of ranges by input")
    numbers = {port.name for port in inputs if port.dtype not in (DType.BYTES, DType.BOOL)}
    for name, ends in value.items():
        port = inputs[0].name if len(inputs) == 1 and name in ("", *columns) else name
        if port not in numbers:
            known = ", ".join(sorted(numbers | set(columns))) or "none"
            raise _invalid(f"{name!r} is no input of numbers; those are: {known}")
        low, high = _ends(name, ends)
        before = found.get(port, (math.inf, -math.inf))
        found[port] = (min(low, before[0]), max(high, before[1]))
    return found


def _ends(name: object, ends: object) -> tuple[float, float]:
    if not (isinstance(ends, list | tuple) and len(ends) == 2):
        raise _invalid(f"the range of {name!r} is {ends!r}, not [smallest, largest]")
    low, high = ends
    plain = all(isinstance(end, int | float) and not isinstance(end, bool) for end in ends)
    if not plain or not (math.isfinite(low) and math.isfinite(high) and low <= high):
        raise _invalid(f"the range of {name!r} is {ends!r}, not [smallest, largest]")
    return float(low), float(high)


def _invalid(what: str) -> RangesInvalidError:
    return RangesInvalidError(
        f"The model's metadata {KEY!r} cannot be used: {what}.",
        hint=f'Log it again with metadata={{"{KEY}": {{"<input>": [smallest, largest]}}}}.',
    )
