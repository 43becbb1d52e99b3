"""Proving that a converted model answers what its source answers; always on.

Both get the same rows at several batch sizes and several sizes of every dynamic axis. The source's
answers are the truth. How good the evidence is, is judged apart from whether the answers agree.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from conch.core import DType

from .comparing import (
    Differences,
    differences,
    is_classifier,
    label_agreement,
    scale_of,
    tolerance_for,
)
from .errors import UnverifiedError
from .reports import OutputReport, VerificationReport, WorstRow
from .rows import Case
from .sources import Arrays

Run = Callable[[Arrays], dict[str, np.ndarray]]

_WORST: Final = 5
_MATE_ROWS: Final = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """A case and the source's answer to it."""

    case: Case
    expected: Arrays


def ask_source(run: Run, cases: Sequence[Case]) -> tuple[tuple[Answered, ...], tuple[str, ...]]:
    """Ask the source every case.

    Returns:
        The answered cases, and in words those that the source refused.

    Raises:
        UnverifiedError: It answers none, or answers the same rows differently each time.
    """
    answered: list[Answered] = []
    refused: list[str] = []
    for case in cases:
        try:
            answered.append(Answered(case=case, expected=run(case.inputs)))
        except Exception as error:  # whatever a framework raises for rows it does not take
            words = str(error).strip().splitlines() or [""]
            refused.append(
                f"the source refuses {case.name}: {type(error).__name__}: {words[0]:.160}"
            )
    if not answered:
        raise UnverifiedError(
            f"The registered model answers no row that conch asks: {'; '.join(refused[:1])}.",
            hint="Log it with an input_example that it answers.",
        )
    last = answered[-1]
    again = run(last.case.inputs)
    for name, expected in last.expected.items():
        if not _equal(expected, again[name]):
            raise UnverifiedError(
                f"The registered model answers the same rows differently each time "
                f"(output {name!r}).",
                hint="Log it in inference mode (model.eval()), without dropout or sampling.",
            )
    return tuple(answered), tuple(refused)


def compare(
    answered: Sequence[Answered],
    run: Run,
    *,
    coarsest: DType,
    seed: int,
    batch: str | None,
    notes: tuple[str, ...] = (),
) -> VerificationReport:
    """Ask the converted model what the source answered, and report.

    Args:
        answered: Cases with the source's answers, one at least.
        run: The converted model.
        coarsest: See `tolerance_for`.
        seed: What the rows were made with, for the report.
        batch: The batch axis, for the report.
        notes: Further remarks for the report; they do not weaken the evidence.
    """
    found = [_asked(run, item.case) for item in answered]
    outputs = tuple(
        _compare_output(name, answered, found, coarsest) for name in answered[0].expected
    )
    weaknesses = tuple(weak for output in outputs for weak in _weaknesses(output, answered))
    axes: dict[str, set[int]] = {}
    for item in answered:
        for axis, size in item.case.sizes.items():
            axes.setdefault(axis, set()).add(size)
    sizes = sorted(axes.pop(batch, set())) if batch is not None else []
    return VerificationReport(
        rows=sum(item.case.rows for item in answered),
        cases=tuple(item.case.name for item in answered),
        batch_sizes=tuple(sizes),
        axes={axis: tuple(sorted(sizes)) for axis, sizes in axes.items()},
        outputs=outputs,
        strong=not weaknesses,
        weaknesses=weaknesses,
        notes=notes,
        seed=seed,
    )


def refuse_unless_passed(report: VerificationReport) -> None:
    """Raise where an output does not agree, naming the worst row of the worst output.

    Raises:
        UnverifiedError: An output does not agree.
    """
    failed = [output for output in report.outputs if not output.passed]
    if not failed:
        return
    output = max(failed, key=lambda one: float(one.worst[0].excess) if one.worst else np.inf)
    if output.worst and not output.problem:
        worst = output.worst[0]
        what = (
            f"differs in {output.mismatches} of {output.values} values; worst is row {worst.row} "
            f"of {worst.case}, element {list(worst.index)}: {worst.found} instead of "
            f"{worst.expected}"
        )
    else:
        what = output.problem
    raise UnverifiedError(
        f"The converted model does not answer what the registered one does: output "
        f"{output.name!r} {what}.",
        hint="This version is not served. Compare the two on this row; a custom operator, or a "
        "branch on values, is the usual reason.",
        output=output.name,
        report=report.as_dict(),
    )


def batching_problem(answered: Sequence[Answered], run: Run, *, coarsest: DType) -> str:
    """Say why a server must not batch this model; empty if it may.

    A server puts rows of different callers into one batch. That is right only if every output has
    one row per input row, and no row's answer depends on the others.
    """
    largest = max(answered, key=lambda item: item.case.rows)
    for item in answered:
        for name, array in item.expected.items():
            if array.ndim == 0 or len(array) != item.case.rows:
                return (
                    f"output {name!r} has shape {list(array.shape)} for {item.case.rows} rows, "
                    "not one row per row"
                )
    together = run(largest.case.inputs)
    for row in range(min(_MATE_ROWS, largest.case.rows)):
        one = {name: array[row : row + 1] for name, array in largest.case.inputs.items()}
        try:
            alone = run(one)
        except Exception as error:  # ONNX Runtime's errors share no public class
            return f"it does not answer one row alone: {str(error).strip()[:200]}"
        for name, array in together.items():
            tolerance = tolerance_for(DType.from_numpy(array.dtype), coarsest=coarsest)
            scale = scale_of([array])
            try:
                diff = differences(array[row : row + 1], alone[name], tolerance, scale=scale)
            except ValueError as error:
                return f"output {name!r} has {error} when its row is asked alone"
            if diff.mismatches:
                return f"output {name!r} of a row depends on the other rows of its batch"
    return ""


def _asked(run: Run, case: Case) -> dict[str, np.ndarray] | str:
    try:
        return run(case.inputs)
    except Exception as error:  # ONNX Runtime's errors share no public class
        words = str(error).strip().splitlines() or [""]
        return f"fails on {case.name}, which the source answers: {words[0]:.300}"


def _compare_output(
    name: str,
    answered: Sequence[Answered],
    found: Sequence[dict[str, np.ndarray] | str],
    coarsest: DType,
) -> OutputReport:
    expected = [item.expected[name] for item in answered]
    dtype = DType.from_numpy(expected[0].dtype)
    tolerance = tolerance_for(dtype, coarsest=coarsest)
    scale = scale_of(expected)
    diffs: list[tuple[str, np.ndarray, np.ndarray, Differences]] = []
    agreeing = labelled = 0
    labels: set[int] = set()
    problem = ""
    for item, want, answer in zip(answered, expected, found, strict=True):
        have = answer if isinstance(answer, str) else answer.get(name)
        trouble = _trouble(want, have, item.case.name)
        if trouble or not isinstance(have, np.ndarray):
            problem = problem or trouble
            continue
        diffs.append((item.case.name, want, have, differences(want, have, tolerance, scale=scale)))
        if is_classifier(want):
            agreeing += label_agreement(want, have, tolerance, scale=scale)
            labelled += len(want)
            labels |= {int(label) for label in np.unique(want.argmax(axis=1))}
    return OutputReport(
        name=name,
        dtype=dtype.value,
        tolerance=tolerance,
        scale=scale,
        values=sum(want.size for _, want, _, _ in diffs),
        max_abs=_largest([diff.absolute for *_, diff in diffs]),
        max_rel=_largest([diff.relative for *_, diff in diffs]),
        mismatches=sum(diff.mismatches for *_, diff in diffs),
        non_finite=sum(diff.non_finite for *_, diff in diffs),
        label_agreement=agreeing / labelled if labelled else None,
        labels_seen=len(labels) if labelled else None,
        worst=_worst(diffs),
        problem=problem,
    )


def _trouble(want: np.ndarray, have: np.ndarray | str | None, case: str) -> str:
    if isinstance(have, str):
        return have
    if have is None:
        return "is missing"
    if have.shape != want.shape:
        return f"has shape {list(have.shape)} instead of {list(want.shape)} on {case}"
    if DType.from_numpy(have.dtype) is not DType.from_numpy(want.dtype):
        return f"has type {have.dtype} instead of {want.dtype}"
    return ""


def _largest(arrays: Sequence[np.ndarray]) -> float:
    finite = [array[np.isfinite(array)] for array in arrays]
    return max((float(array.max()) for array in finite if array.size), default=0.0)


def _worst(
    diffs: Sequence[tuple[str, np.ndarray, np.ndarray, Differences]],
) -> tuple[WorstRow, ...]:
    found: list[tuple[float, WorstRow]] = []
    for case, want, have, diff in diffs:
        if want.size == 0:
            continue
        lead = want.shape[0] if want.ndim else 1
        excess = diff.excess.reshape(lead, -1)
        inner = want.shape[1:]
        for row in np.argsort(excess.max(axis=1))[::-1][:_WORST]:
            place = int(excess[row].argmax())
            value = float(excess[row, place])
            found.append(
                (
                    value,
                    WorstRow(
                        case=case,
                        row=int(row),
                        index=tuple(int(i) for i in np.unravel_index(place, inner))
                        if inner
                        else (),
                        expected=str(want.reshape(lead, -1)[row, place]),
                        found=str(have.reshape(lead, -1)[row, place]),
                        excess=f"{value:.3g}",
                    ),
                )
            )
    found.sort(key=lambda pair: pair[0], reverse=True)
    return tuple(row for _, row in found[:_WORST])


def _weaknesses(output: OutputReport, answered: Sequence[Answered]) -> list[str]:
    """Say where the rows did not exercise an output."""
    arrays = [item.expected[output.name] for item in answered]
    if arrays[0].dtype.kind not in "fiub":
        texts = {bytes(value) for array in arrays for value in array.reshape(-1)}
        return [] if len(texts) > 1 else [f"output {output.name!r} is the same text on every row"]
    flat = np.concatenate([array.reshape(-1).astype(np.float64) for array in arrays])
    finite = flat[np.isfinite(flat)]
    if finite.size < flat.size / 2:
        return [f"output {output.name!r} is mostly NaN or infinite"]
    spread = float(np.ptp(finite)) if finite.size else 0.0
    if spread <= 1e-6 * max(output.scale, 1e-30):
        return [f"output {output.name!r} is the same on every row"]
    found = []
    if output.labels_seen == 1:
        found.append(f"output {output.name!r} predicts one class on every row")
    bounded = output.dtype.startswith("FP") and finite.min() >= 0 and finite.max() <= 1
    if bounded and np.mean(np.minimum(finite, 1 - finite) < 1e-6) > 0.99:
        found.append(f"output {output.name!r} is saturated at 0 or 1 on nearly every row")
    return found


def _equal(left: np.ndarray, right: np.ndarray) -> bool:
    """Equal up to what threads that sum in another order may change."""
    if left.shape != right.shape or left.dtype.kind not in "f":
        return bool(np.array_equal(left, right))
    return bool(
        np.allclose(left, right, rtol=1e-4, atol=1e-5 * (scale_of([left]) or 1.0), equal_nan=True)
    )
