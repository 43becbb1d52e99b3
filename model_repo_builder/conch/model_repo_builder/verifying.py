"""Proving that a converted model answers what its source answers; always on.

Both get the same rows at several batch sizes and several sizes of every dynamic axis. The source's
answers are the truth. How good the evidence is, is judged apart from whether the answers agree.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from itertools import compress
from typing import Final

import numpy as np

from conch.core import DType, Precision

from .comparing import differences, scale_of, tolerance_for
from .diagnosing import WORDS, FaultKind
from .errors import UnverifiedError
from .evidence import weaknesses_of
from .labelling import Labelled, metric_report
from .output_reports import Answered as Answered
from .output_reports import compared_outputs, differences_beyond
from .reports import MetricReport, VerificationReport
from .rows import Case
from .sources import Arrays

Run = Callable[[Arrays], dict[str, np.ndarray]]

_MATE_ROWS: Final = 8


def ask_source(run: Run, cases: Sequence[Case]) -> tuple[tuple[Answered, ...], tuple[str, ...]]:
    """Ask the source every case.

    Returns:
        The answered cases, and in words those within what it was made for that it refused.

    Raises:
        UnverifiedError: It answers none, or answers the same rows differently each time.
    """
    answered: list[Answered] = []
    refused: list[str] = []
    for case in cases:
        try:
            with warnings.catch_warnings():
                if case.beyond:  # frameworks warn of overflows that are asked for here
                    warnings.simplefilter("ignore", RuntimeWarning)
                answered.append(Answered(case=case, expected=run(case.inputs)))
        except Exception as error:  # whatever a framework raises for rows it does not take
            if case.beyond:  # nobody said that it takes these
                continue
            words = str(error).strip().splitlines() or [""]
            refused.append(
                f"the source refuses {case.name}: {type(error).__name__}: {words[0]:.160}"
            )
    if not answered:
        raise UnverifiedError(
            f"The registered model answers no row that conch asks: {'; '.join(refused[:1])}.",
            hint="Log it with an input_example that it answers.",
        )
    last = next((one for one in reversed(answered) if not one.case.beyond), answered[-1])
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
    precision: Precision = Precision.FP32,
    labelled: Labelled | None = None,
) -> VerificationReport:
    """Ask the converted model what the source answered, and report.

    Args:
        answered: Cases with the source's answers, one at least.
        run: The converted model.
        coarsest: See `tolerance_for`.
        seed: What the rows were made with, for the report.
        batch: The batch axis, for the report.
        notes: Further remarks for the report; they do not weaken the evidence.
        precision: What the converted model computes in.
        labelled: Rows with labels, and the task metric to judge by.
    """
    found = [_asked(run, item.case) for item in answered]
    inside = [not item.case.beyond for item in answered]
    asked = tuple(compress(answered, inside))
    outputs = compared_outputs(
        asked, tuple(compress(found, inside)), coarsest=coarsest, precision=precision
    )
    beyond = tuple(
        difference
        for item, answer in zip(answered, found, strict=True)
        if item.case.beyond
        for difference in differences_beyond(item, answer, outputs)
    )
    weaknesses = tuple(weak for output in outputs for weak in weaknesses_of(output, asked))
    axes: dict[str, set[int]] = {}
    for item in asked:
        for axis, size in item.case.sizes.items():
            axes.setdefault(axis, set()).add(size)
    sizes = sorted(axes.pop(batch, set())) if batch is not None else []
    return VerificationReport(
        rows=sum(item.case.rows for item in asked),
        cases=tuple(item.case.name for item in answered),
        batch_sizes=tuple(sizes),
        axes={axis: tuple(sorted(sizes)) for axis, sizes in axes.items()},
        outputs=outputs,
        strong=not weaknesses,
        weaknesses=weaknesses,
        notes=notes,
        seed=seed,
        precision=precision.value,
        beyond=beyond,
        metric=None if labelled is None else metric_report(labelled, answered, found),
    )


def refuse_unless_passed(report: VerificationReport) -> None:
    """Raise where an output does not agree, naming the worst row of the worst output.

    Raises:
        UnverifiedError: An output does not agree.
    """
    failed = [output for output in report.outputs if not output.passed]
    if not failed:
        if report.metric is not None and not report.metric.passed:
            raise _metric_refusal(report.metric, report)
        return
    output = max(failed, key=lambda one: float(one.worst[0].excess) if one.worst else np.inf)
    case, row = None, None
    if output.worst and not output.problem:
        worst = output.worst[0]
        case, row = worst.case, worst.row
        what = (
            f"{output.failures[0]}; worst is row {worst.row} of {worst.case}, element "
            f"{list(worst.index)}: {worst.found} instead of {worst.expected}"
        )
    else:
        what = output.problem or output.failures[0]
    looks = f" It looks like: {WORDS[FaultKind(output.kind)]}." if output.kind else ""
    raise UnverifiedError(
        f"The converted model does not answer what the registered one does: output "
        f"{output.name!r} {what}.{looks}",
        hint="This version is not served. Compare the two on this row; a custom operator, or a "
        "branch on values, is the usual reason.",
        output=output.name,
        case=case,
        row=row,
        kind=output.kind,
        report=report.as_dict(),
    )


def _metric_refusal(metric: MetricReport, report: VerificationReport) -> UnverifiedError:
    return UnverifiedError(
        f"The converted model loses {metric.loss:.4g} of {metric.name} on {metric.rows} labelled "
        f"rows ({metric.converted:.4g} instead of {metric.source:.4g}); allowed is "
        f"{metric.allowed_loss:g}.",
        hint="Serve it in full precision, or allow more loss.",
        output=metric.output,
        kind="metric",
        report=report.as_dict(),
    )


def batching_problem(
    answered: Sequence[Answered],
    run: Run,
    *,
    coarsest: DType,
    precision: Precision = Precision.FP32,
) -> str:
    """Say why a server must not batch this model; empty if it may.

    A server puts rows of different callers into one batch. That is right only if every output has
    one row per input row, and no row's answer depends on the others.
    """
    answered = [item for item in answered if not item.case.beyond]
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
            tolerance = tolerance_for(
                DType.from_numpy(array.dtype), coarsest=coarsest, precision=precision
            )
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


def _equal(left: np.ndarray, right: np.ndarray) -> bool:
    """Equal up to what threads that sum in another order may change."""
    if left.shape != right.shape or left.dtype.kind not in "f":
        return bool(np.array_equal(left, right))
    return bool(
        np.allclose(left, right, rtol=1e-4, atol=1e-5 * (scale_of([left]) or 1.0), equal_nan=True)
    )
