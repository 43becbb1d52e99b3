"""Asking a live server the golden rows before anybody else asks it anything."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .comparing import differences
from .errors import PreflightError
from .golden import GoldenCase, read_golden

Infer = Callable[[Mapping[str, np.ndarray]], Mapping[str, np.ndarray]]


@dataclass(frozen=True, slots=True, kw_only=True)
class PreflightResult:
    """A live server that answered every golden row as the source did.

    Attributes:
        rows: Rows asked.
        batch_sizes: Batch sizes asked, ascending.
        max_abs: The largest absolute difference from the source, over all outputs.
    """

    rows: int
    batch_sizes: tuple[int, ...]
    max_abs: float


def preflight(path: Path, infer: Infer) -> PreflightResult:
    """Send a build's golden rows to a live server and compare its answers with the source's.

    Args:
        path: The published build's folder.
        infer: Asks the server, tensors by name with the batch dimension first.

    Raises:
        PreflightError: An answer does not agree; it names the output and the row.
        Exception: Whatever `infer` raises.
    """
    golden = read_golden(path)
    largest = 0.0
    for case in golden.cases:
        answer = infer(_on_the_wire(case.inputs, batched=golden.batched))
        for name, expected in case.expected.items():
            found = answer.get(name)
            if found is None or found.size != expected.size:
                shape = None if found is None else list(found.shape)
                raise _refusal(case, name, f"has shape {shape} instead of {list(expected.shape)}")
            diff = differences(
                expected,
                found.reshape(expected.shape),
                golden.tolerances[name],
                scale=golden.scales[name],
            )
            if diff.mismatches:
                worst = np.unravel_index(int(diff.excess.argmax()), expected.shape)
                row = int(worst[0]) if worst else 0
                raise _refusal(
                    case,
                    name,
                    f"differs in {diff.mismatches} value(s); worst is row {row}: "
                    f"{found.reshape(expected.shape)[worst]} instead of {expected[worst]}",
                    row=row,
                )
            finite = diff.absolute[np.isfinite(diff.absolute)]
            largest = max(largest, float(finite.max()) if finite.size else 0.0)
    return PreflightResult(
        rows=sum(case.rows for case in golden.cases),
        batch_sizes=tuple(sorted({case.rows for case in golden.cases})),
        max_abs=largest,
    )


def _on_the_wire(arrays: Mapping[str, np.ndarray], *, batched: bool) -> Mapping[str, np.ndarray]:
    """A server that batches wants a dimension beside the batch (`Reshape` in the configuration)."""
    if not batched:
        return arrays
    return {name: array[:, None] if array.ndim == 1 else array for name, array in arrays.items()}


def _refusal(case: GoldenCase, output: str, what: str, *, row: int | None = None) -> PreflightError:
    return PreflightError(
        f"The server's answer to golden case {case.name}: output {output!r} {what}.",
        hint="The build is taken off this server. Check that the server runs the stated version.",
        output=output,
        case=case.name,
        row=row,
    )
