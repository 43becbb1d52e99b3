"""Asking a live server the golden rows before anybody else asks it anything."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .diagnosing import WORDS, FaultKind
from .errors import PreflightError
from .golden import GoldenCase, read_golden
from .output_reports import Answered, judged_outputs
from .reports import OutputReport
from .rows import Case

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
    answered = [
        Answered(
            case=Case(
                name=case.name, inputs=case.inputs, sizes={}, rows=case.rows, typical=case.typical
            ),
            expected=case.expected,
        )
        for case in golden.cases
    ]
    found = [_asked(case, infer, batched=golden.batched) for case in golden.cases]
    outputs = judged_outputs(answered, found, golden.tolerances, golden.scales)
    failed = [output for output in outputs if not output.passed]
    if failed:
        raise _refusal(max(failed, key=_excess))
    return PreflightResult(
        rows=sum(case.rows for case in golden.cases),
        batch_sizes=tuple(sorted({case.rows for case in golden.cases})),
        max_abs=max((output.max_abs for output in outputs), default=0.0),
    )


def _asked(case: GoldenCase, infer: Infer, *, batched: bool) -> dict[str, np.ndarray]:
    """Ask one case; answers in the source's shapes, where the number of elements fits."""
    answer = infer(_on_the_wire(case.inputs, batched=batched))
    return {
        name: array.reshape(case.expected[name].shape)
        if array.size == case.expected[name].size
        else array
        for name, array in answer.items()
        if name in case.expected
    }


def _excess(output: OutputReport) -> float:
    return float(output.worst[0].excess) if output.worst and not output.problem else float("inf")


def _on_the_wire(arrays: Mapping[str, np.ndarray], *, batched: bool) -> Mapping[str, np.ndarray]:
    """A server that batches wants a dimension beside the batch (`Reshape` in the configuration)."""
    if not batched:
        return arrays
    return {name: array[:, None] if array.ndim == 1 else array for name, array in arrays.items()}


def _refusal(output: OutputReport) -> PreflightError:
    case, row, what = None, None, output.problem
    if not what:
        worst = output.worst[0]
        case, row = worst.case, worst.row
        what = (
            f"{output.failures[0]}; worst is row {row} of golden case {case}: {worst.found} "
            f"instead of {worst.expected}"
        )
    looks = f" It looks like: {WORDS[FaultKind(output.kind)]}." if output.kind else ""
    return PreflightError(
        f"The server's answer to the golden rows: output {output.name!r} {what}.{looks}",
        hint="The build is taken off this server. Check that the server runs the stated version.",
        output=output.name,
        case=case,
        row=row,
        kind=output.kind,
    )
