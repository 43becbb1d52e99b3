"""Rows where an ensemble of trees changes its answer: on either side of every split.

A tree fails differently from a network. Rounding moves a network's answers a little everywhere; it
moves a tree's answers on the few rows that lie next to a threshold, by as much as two leaves
differ, and nowhere else. Random rows do not find those. So rows are put there: for each split, one
at the threshold and its neighbours to both sides in the type of the wire, and in float32.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np

from conch.core import DType

from .rows import Case
from .sources import Arrays
from .tables import BATCH
from .tabular_models import TabularModel
from .tree_ensembles import Split, splits

_MOST_SPLITS: Final = 3000
_FEW_ROWS: Final = 8
_CASE_ROWS: Final = 1024
_MADE_ROWS: Final = 64
_BISECTIONS: Final = 70
_FARTHEST: Final = 1e300
"""LightGBM writes an infinite threshold as this, and reads it back an odd step away from it."""

_FLOATS: Final = frozenset({DType.FP32, DType.FP64})


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitRows:
    """The rows that were made.

    Attributes:
        cases: Named `splits-1`, `splits-2`, ...; `missing` where NaN is a value.
        note: How many splits they cover.
    """

    cases: tuple[Case, ...]
    note: str


def split_rows(source: TabularModel, *, seed: int) -> SplitRows | None:
    """Make rows at the splits of a model's trees; None if it has none that can be reached.

    Splits behind other steps of a pipeline are found by bisection: between two rows that differ in
    one column and fall on different sides, the neighbouring pair where the side changes.

    Args:
        source: The model.
        seed: Of the choice of splits, where there are very many, and of the rows around them.
    """
    if source.trees is None or not any(port.dtype in _FLOATS for port in source.inputs):
        return None
    random = np.random.default_rng(seed)
    known = list(splits(source.trees))
    total = len(known)
    if total > _MOST_SPLITS:
        known = [known[i] for i in np.sort(random.permutation(total)[:_MOST_SPLITS])]
    base = base_rows(source, _MADE_ROWS, random)
    if source.before is None:
        reached, rows = len(known), _at_columns(source, known, base)
    else:
        reached, rows = _behind_steps(source, known, base, random)
    if not reached:
        return None
    cases = _cases(rows, "splits")
    if source.missing:
        cases += _cases(_with_missing(source, base, random), "missing")
    return SplitRows(
        cases=cases, note=f"rows lie on both sides of {reached} of the trees' {total} splits"
    )


def column_rows(source: TabularModel, *, seed: int) -> tuple[Case, ...]:
    """Make rows whose columns follow the example one by one, each in its own range.

    Args:
        source: The model.
        seed: Of the choice.
    """
    if source.example is None and source.trees is None:
        return ()
    random = np.random.default_rng(seed)
    return _cases(base_rows(source, _MADE_ROWS, random), "columns")


def base_rows(source: TabularModel, count: int, random: np.random.Generator) -> Arrays:
    """Make rows whose every column is drawn on its own: from the example, or around the splits."""
    found: dict[str, np.ndarray] = {}
    for port in source.inputs:
        width = int(port.dims[1])
        known = None if source.example is None else source.example[port.name]
        if known is None or not len(known):
            known = _around_splits(source, width)
        picks = random.integers(0, len(known), size=(count, width))
        drawn = known[picks, np.arange(width)]
        if port.dtype in _FLOATS:
            spread = np.nan_to_num(np.nanstd(known.astype(np.float64), axis=0))
            drawn = drawn + 0.1 * spread * random.standard_normal(drawn.shape)
            drawn = np.nan_to_num(drawn.astype(np.float64))
        found[port.name] = drawn.astype(port.dtype.numpy)
    return found


def _around_splits(source: TabularModel, width: int) -> np.ndarray:
    """Thresholds of each column, float64[n, width]; a few round numbers for columns without."""
    columns: list[list[float]] = [[-1.0, 0.0, 1.0] for _ in range(width)]
    if source.trees is not None and source.before is None:
        for split in splits(source.trees):
            columns[split.feature].append(split.threshold)
    longest = max(map(len, columns))
    return np.stack([np.resize(np.array(column), longest) for column in columns], axis=1)


def _at_columns(source: TabularModel, known: Sequence[Split], base: Arrays) -> Arrays:
    """Rows that reach each split through the splits above it, at and beside its threshold."""
    (port,) = source.inputs
    wire = port.dtype.numpy
    rows: list[np.ndarray] = []
    for number, split in enumerate(known):
        row = base[port.name][number % len(base[port.name])].astype(np.float64)
        for column in {*split.low, *split.high}:
            row[column] = _between(
                row[column], split.low.get(column, -np.inf), split.high.get(column, np.inf)
            )
        for value in _neighbours(split.threshold, wire):
            one = row.astype(wire)
            one[split.feature] = value
            rows.append(one)
    return {port.name: np.array(rows, dtype=wire)}


def _neighbours(threshold: float, wire: np.dtype[np.generic]) -> list[float]:
    """The wire's numbers at and beside a threshold, and the float32 numbers around it."""
    found: set[float] = set()
    for kind in (wire.type, np.float32):
        with np.errstate(over="ignore"):
            at = kind(threshold)
            for value in (at, np.nextafter(at, kind(np.inf)), np.nextafter(at, kind(-np.inf))):
                found.add(float(value))
    # Just beside the middle of two float32 numbers: rounding to float32 crosses the threshold.
    single = float(np.float32(threshold))
    found |= {(single + threshold) / 2, 2 * threshold - single}
    return sorted(value for value in found if abs(value) < _FARTHEST)


def _between(value: float, low: float, high: float) -> float:
    if low < value < high:
        return value
    if np.isfinite(low) and np.isfinite(high):
        return (low + high) / 2
    return low + max(1.0, abs(low)) * 0.1 if np.isfinite(low) else high - max(1.0, abs(high)) * 0.1


def _behind_steps(
    source: TabularModel, known: Sequence[Split], base: Arrays, random: np.random.Generator
) -> tuple[int, Arrays]:
    """Neighbouring rows between which a column of the trees crosses a threshold."""
    wanted: dict[int, set[float]] = {}
    for split in known:
        wanted.setdefault(split.feature, set()).add(split.threshold)
    found: list[Arrays] = []
    done: set[tuple[int, float]] = set()
    start = source.seen_by_trees(base)
    for port in source.inputs:
        if port.dtype not in _FLOATS:
            continue
        for column in range(int(port.dims[1])):
            for moved in _moved(base, port.name, column):
                changed = np.flatnonzero(np.any(source.seen_by_trees(moved) != start, axis=0))
                for feature in changed.tolist():
                    due = sorted(wanted.get(feature, set()) - {t for f, t in done if f == feature})
                    reached, rows = _bisected(
                        source, base, moved, port.name, column, feature, due, random
                    )
                    done |= {(feature, threshold) for threshold in reached}
                    found += rows
    number = sum((split.feature, split.threshold) in done for split in known)
    if not found:
        return 0, {}
    return number, {
        port.name: np.concatenate([rows[port.name] for rows in found]) for port in source.inputs
    }


def _moved(base: Arrays, name: str, column: int) -> list[Arrays]:
    """The base rows with one column far below, and far above, all that it has there."""
    values = base[name][:, column].astype(np.float64)
    reach = 4 * max(float(np.ptp(values)), 1.0)
    found: list[Arrays] = []
    for value in (values.min() - reach, values.max() + reach):
        array = base[name].copy()
        array[:, column] = value
        found.append({**base, name: array})
    return found


def _bisected(
    source: TabularModel,
    base: Arrays,
    moved: Arrays,
    name: str,
    column: int,
    feature: int,
    thresholds: Sequence[float],
    random: np.random.Generator,
) -> tuple[list[float], list[Arrays]]:
    """Bisect one column for many thresholds of one feature at once."""
    if not thresholds:
        return [], []
    picks = random.integers(0, len(base[name]), size=len(thresholds))
    rows = {key: array[picks] for key, array in base.items()}
    low = rows[name][:, column].copy()
    high = moved[name][picks, column].copy()
    limit = np.array(thresholds)

    def above(values: np.ndarray) -> np.ndarray:
        array = rows[name].copy()
        array[:, column] = values
        seen = source.seen_by_trees({**rows, name: array})[:, feature]
        return _compared(source)(seen) > limit

    first = above(low)
    crossing = first != above(high)
    if not crossing.any():
        return [], []
    for _ in range(_BISECTIONS):
        middle = (low.astype(np.float64) + high.astype(np.float64)) / 2
        middle = middle.astype(low.dtype)
        if np.all((middle == low) | (middle == high)):
            break
        same = above(middle) == first
        low, high = np.where(same, middle, low), np.where(same, high, middle)
    ends = [low, high, np.nextafter(low, 2 * low - high), np.nextafter(high, 2 * high - low)]
    made: list[Arrays] = []
    for values in ends:
        array = rows[name].copy()
        array[:, column] = values
        made.append({key: part[crossing] for key, part in {**rows, name: array}.items()})
    return [t for t, hit in zip(thresholds, crossing, strict=True) if hit], made


def _compared(source: TabularModel) -> Callable[[np.ndarray], np.ndarray]:
    """What becomes of a column before it is compared."""
    single = source.trees is not None and source.trees.single
    if single:
        return lambda seen: seen.astype(np.float32).astype(np.float64)
    return lambda seen: seen


def _with_missing(source: TabularModel, base: Arrays, random: np.random.Generator) -> Arrays:
    found = dict(base)
    for port in source.inputs:
        if port.dtype in _FLOATS:
            gone = random.random(base[port.name].shape) < 0.3
            found[port.name] = np.where(gone, np.nan, base[port.name]).astype(port.dtype.numpy)
    return found


def _cases(rows: Arrays, name: str) -> tuple[Case, ...]:
    """Cut rows into cases, the first small enough to become golden rows."""
    total = len(next(iter(rows.values())))
    begins = [0, *range(_FEW_ROWS, total, _CASE_ROWS)]
    cases = []
    for number, (begin, end) in enumerate(pairwise([*begins, total]), start=1):
        part = {key: array[begin:end] for key, array in rows.items()}
        size = end - begin
        cases.append(Case(name=f"{name}-{number}", inputs=part, sizes={BATCH: size}, rows=size))
    return tuple(cases)
