"""Comparing the answers of two models output by output, over all cases."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from conch.core import DType, Precision

from .comparing import (
    Differences,
    Tolerance,
    differences,
    is_classifier,
    label_agreement,
    scale_of,
    tolerance_for,
)
from .decisions import are_probabilities, drift, near_border, rank_correlation
from .diagnosing import Compared, FaultKind, fault_kind
from .reports import HISTOGRAM, BeyondReport, OutputReport, WorstRow
from .rows import Case
from .sources import Arrays

Answer = Mapping[str, np.ndarray] | str
"""What the converted model answered to a case, or why it did not."""

_WORST: Final = 5
_SHOWN: Final = 12
_SCALE_FLOOR: Final = 1e-30


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """A case and the source's answer to it."""

    case: Case
    expected: Arrays


@dataclass(frozen=True, slots=True, kw_only=True)
class _Pair:
    """One output of one case, of both models."""

    case: Case
    want: np.ndarray
    have: np.ndarray
    diff: Differences


def compared_outputs(
    answered: Sequence[Answered],
    found: Sequence[Answer],
    *,
    coarsest: DType,
    precision: Precision = Precision.FP32,
) -> tuple[OutputReport, ...]:
    """Compare every output of every case.

    Args:
        answered: Cases with the source's answers, one at least.
        found: The other model's answers, one for each.
        coarsest: See `tolerance_for`.
        precision: What the other model computes in.
    """
    tolerances = {
        name: tolerance_for(DType.from_numpy(array.dtype), coarsest=coarsest, precision=precision)
        for name, array in answered[0].expected.items()
    }
    scales = {name: scale_of([item.expected[name] for item in answered]) for name in tolerances}
    return judged_outputs(answered, found, tolerances, scales)


def judged_outputs(
    answered: Sequence[Answered],
    found: Sequence[Answer],
    tolerances: Mapping[str, Tolerance],
    scales: Mapping[str, float],
) -> tuple[OutputReport, ...]:
    """Compare every output of every case by stated tolerances; see `compared_outputs`."""
    joined: dict[str, Compared] = {}
    reports: list[OutputReport] = []
    for name, tolerance in tolerances.items():
        pairs, problem = _paired(name, answered, found, tolerance, scales[name])
        reports.append(_report(name, pairs, problem, tolerance, scales[name], answered))
        if not problem and (one := _joined(pairs, tolerance, scales[name])) is not None:
            joined[name] = one
    return tuple(
        one if one.passed else replace(one, kind=_kind(one, joined).value) for one in reports
    )


def differences_beyond(
    item: Answered, answer: Answer, outputs: Sequence[OutputReport]
) -> tuple[BeyondReport, ...]:
    """Say how the answers to a case beyond what the model was made for differ."""
    if isinstance(answer, str):
        return (BeyondReport(case=item.case.name, output="", what=answer),)
    found: list[BeyondReport] = []
    for output in outputs:
        want, have = item.expected[output.name], answer.get(output.name)
        trouble = _trouble(want, have, item.case.name)
        if not trouble and have is not None and want.size:
            diff = differences(want, have, output.tolerance, scale=output.scale)
            if diff.mismatches:
                place = np.unravel_index(
                    int(np.nan_to_num(diff.excess, nan=np.inf).argmax()), want.shape
                )
                trouble = (
                    f"differs in {diff.mismatches} of {want.size} values, such as "
                    f"{have[place]} instead of {want[place]}"
                )
        if trouble:
            found.append(BeyondReport(case=item.case.name, output=output.name, what=trouble))
    return tuple(found)


def _paired(
    name: str,
    answered: Sequence[Answered],
    found: Sequence[Answer],
    tolerance: Tolerance,
    scale: float,
) -> tuple[list[_Pair], str]:
    pairs: list[_Pair] = []
    problem = ""
    for item, answer in zip(answered, found, strict=True):
        want = item.expected[name]
        have = answer if isinstance(answer, str) else answer.get(name)
        trouble = _trouble(want, have, item.case.name)
        if trouble or not isinstance(have, np.ndarray):
            problem = problem or trouble
            continue
        diff = differences(want, have, tolerance, scale=scale)
        pairs.append(_Pair(case=item.case, want=want, have=have, diff=diff))
    return pairs, problem


def _report(
    name: str,
    pairs: Sequence[_Pair],
    problem: str,
    tolerance: Tolerance,
    scale: float,
    answered: Sequence[Answered],
) -> OutputReport:
    judged = [pair for pair in pairs if pair.case.typical] if tolerance.typical else list(pairs)
    judged = judged or list(pairs)
    labelled = [pair for pair in judged if is_classifier(pair.want)]
    every = [pair for pair in pairs if is_classifier(pair.want)]
    agreeing = sum(label_agreement(p.want, p.have, tolerance, scale=scale) for p in labelled)
    total = sum(len(pair.want) for pair in labelled)
    labels = {int(label) for pair in every for label in np.unique(pair.want.argmax(axis=1))}
    joined = _joined([pair for pair in judged if pair.case.typical], tolerance, scale)
    moved = ranks = None
    if joined is not None and joined.expected.dtype.kind == "f":
        ranks = rank_correlation(joined.expected, joined.found)
        if are_probabilities(joined.expected):
            moved = drift(joined.expected, joined.found)
    report = OutputReport(
        name=name,
        dtype=DType.from_numpy(answered[0].expected[name].dtype).value,
        tolerance=tolerance,
        scale=scale,
        values=sum(pair.want.size for pair in pairs),
        max_abs=_largest([pair.diff.absolute for pair in pairs]),
        max_rel=_largest([pair.diff.relative for pair in pairs]),
        mismatches=sum(pair.diff.mismatches for pair in pairs),
        non_finite=sum(pair.diff.non_finite for pair in pairs),
        label_agreement=agreeing / total if total else None,
        labels_seen=len(labels) if every else None,
        worst=_worst(judged),
        problem=problem,
        rows=sum(_rows(pair.want) for pair in judged),
        rows_outside=sum(_rows_outside(pair) for pair in judged),
        rank_correlation=ranks,
        drift=moved,
        near_border=sum(near_border(pair.want) for pair in every) if every else None,
        histogram=_histogram(pairs, scale),
    )
    return replace(report, failures=_failures(report, judged))


def _failures(report: OutputReport, judged: Sequence[_Pair]) -> tuple[str, ...]:
    """Why an output does not agree, the hardest reason first."""
    allowed = report.tolerance
    found: list[str] = []
    wrong = sum(pair.diff.mismatches for pair in judged)
    values = sum(pair.want.size for pair in judged)
    if allowed.outside and report.rows_outside > allowed.outside * report.rows:
        found.append(
            f"differs in {report.rows_outside} of {report.rows} rows; allowed is "
            f"{allowed.outside:.0%}"
        )
    elif wrong and not allowed.outside:
        found.append(f"differs in {wrong} of {values} values")
    if report.label_agreement is not None and report.label_agreement < allowed.labels:
        found.append(
            f"predicts another class in {1 - report.label_agreement:.2%} of the rows; allowed is "
            f"{1 - allowed.labels:.0%}"
        )
    ranks = report.rank_correlation
    if allowed.rank is not None and ranks is not None and ranks < allowed.rank:
        found.append(
            f"orders rows differently: rank correlation {ranks:.3f}, {allowed.rank} is asked for"
        )
    if allowed.drift is not None and report.drift is not None and report.drift > allowed.drift:
        found.append(f"moves {report.drift:.2%} of the probability; allowed is {allowed.drift:.0%}")
    return tuple(found)


def _kind(report: OutputReport, joined: Mapping[str, Compared]) -> FaultKind:
    return FaultKind.NO_ANSWER if report.problem else fault_kind(report.name, joined)


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


def _joined(pairs: Sequence[_Pair], tolerance: Tolerance, scale: float) -> Compared | None:
    """The rows of all cases as two arrays; None where shapes do not go together."""
    if not pairs or pairs[0].want.ndim == 0:
        return None
    shape = pairs[0].want.shape[1:]
    alike = [pair for pair in pairs if pair.want.shape[1:] == shape]
    return Compared(
        expected=np.concatenate([pair.want for pair in alike]),
        found=np.concatenate([pair.have for pair in alike]),
        tolerance=tolerance,
        scale=scale,
    )


def _rows(array: np.ndarray) -> int:
    return len(array) if array.ndim else 1


def _rows_outside(pair: _Pair) -> int:
    excess = pair.diff.excess
    return int(np.count_nonzero((excess.reshape(_rows(excess), -1) > 1).any(axis=1)))


def _largest(arrays: Sequence[np.ndarray]) -> float:
    finite = [array[np.isfinite(array)] for array in arrays]
    return max((float(array.max()) for array in finite if array.size), default=0.0)


def _histogram(pairs: Sequence[_Pair], scale: float) -> tuple[int, ...]:
    """Count differences over the scale: none, up to each bound, above; see `reports.HISTOGRAM`."""
    counts = np.zeros(len(HISTOGRAM) + 2, dtype=np.int64)
    for pair in pairs:
        shares = pair.diff.absolute.reshape(-1) / max(scale, _SCALE_FLOOR)
        places = np.where(shares == 0, 0, 1 + np.searchsorted(HISTOGRAM, shares))
        counts += np.bincount(places, minlength=len(counts))
    return tuple(int(count) for count in counts)


def _worst(pairs: Sequence[_Pair]) -> tuple[WorstRow, ...]:
    found: list[tuple[float, WorstRow]] = []
    for pair in pairs:
        if pair.want.size == 0:
            continue
        lead, inner = _rows(pair.want), pair.want.shape[1:]
        excess = pair.diff.excess.reshape(lead, -1)
        for row in np.argsort(excess.max(axis=1))[::-1][:_WORST]:
            place = int(excess[row].argmax())
            value = float(excess[row, place])
            index = tuple(int(i) for i in np.unravel_index(place, inner)) if inner else ()
            worst = WorstRow(
                case=pair.case.name,
                row=int(row),
                index=index,
                expected=str(pair.want.reshape(lead, -1)[row, place]),
                found=str(pair.have.reshape(lead, -1)[row, place]),
                excess=f"{value:.3g}",
                inputs=_shown(pair.case, int(row)) if value > 0 else {},
            )
            found.append((value, worst))
    found.sort(key=lambda one: one[0], reverse=True)
    return tuple(row for _, row in found[:_WORST])


def _shown(case: Case, row: int) -> dict[str, str]:
    """The row that was asked, as a person reads it."""
    found: dict[str, str] = {}
    for name, array in case.inputs.items():
        one = array[row] if array.ndim and len(array) == case.rows else array
        flat = np.asarray(one).reshape(-1)
        items = [_text(item) for item in flat[:_SHOWN]]
        found[name] = ", ".join(items) + (f", ... ({flat.size})" if flat.size > _SHOWN else "")
    return found


def _text(item: object) -> str:
    if isinstance(item, bytes):
        return repr(item.decode(errors="replace"))[:80]
    return f"{item:.9g}" if isinstance(item, float | np.floating) else str(item)
