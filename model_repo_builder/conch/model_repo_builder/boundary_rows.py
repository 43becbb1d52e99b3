"""Rows beside the border between two predicted classes, found by bisection.

A small error changes few labels, and those that it changes lie next to a decision boundary. Rows
that lie there show it. Between two rows of different labels leads a path: numbers move in a line,
integers, text and booleans change one element after the other from the first row's to the second's.
Halving the path where the label changes gives two rows close to the border, one on each side.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from .comparing import is_classifier
from .evidence import BOUNDARY
from .output_reports import Answered
from .rows import Case
from .sources import Arrays

Run = Callable[[Arrays], dict[str, np.ndarray]]

_PAIRS: Final = 48
_FEW_PAIRS: Final = 4
_STEPS: Final = 16
_OUTPUTS: Final = 4
_LARGEST_BYTES: Final = 4 * 1024**2


@dataclass(frozen=True, slots=True, kw_only=True)
class _Pool:
    """Rows to walk between, each array with the rows first; `labels` int64[rows]."""

    rows: Arrays
    labels: np.ndarray
    case: Case


def boundary_rows(
    run: Run,
    answered: Sequence[Answered],
    *,
    batch: str | None,
    most: int | None,
    seed: int,
    conform: Callable[[Arrays], Arrays] = lambda rows: rows,
) -> tuple[Case, ...]:
    """Make rows on both sides of the borders between the classes of every output of scores.

    Args:
        run: The source.
        answered: What it answered so far.
        batch: The batch axis; without one, each row is a case of its own.
        most: The largest batch that the source takes; None for any.
        seed: Of the choice of pairs.
        conform: Makes rows ones that the source takes, such as whole numbers where it wants them.

    Returns:
        Cases `boundary-<output>-<number>` for each output whose rows so far have two labels or
        more, none larger than those asked so far; without a batch axis one case for each row.
    """
    random = np.random.default_rng(seed)
    largest = max(item.case.rows for item in answered)
    names = [name for name, array in answered[0].expected.items() if is_classifier(array)]
    found: list[Case] = []
    for number, name in enumerate(names[:_OUTPUTS], start=1):
        pool = _pool(answered, name, batch)
        if pool is None:
            continue

        def label(rows: Arrays, pool: _Pool = pool, name: str = name) -> np.ndarray:
            return _labels(run, conform(rows), name, batched=batch is not None)

        rows = conform(_bisected(label, pool, random, most=_FEW_PAIRS if batch is None else most))
        found += _cases(rows, pool.case, batch, largest, f"{BOUNDARY}{number}")
    return tuple(found)


def _pool(answered: Sequence[Answered], name: str, batch: str | None) -> _Pool | None:
    """The most varied case of rows with two labels; without a batch, all cases of one shape."""
    inside = [item for item in answered if not item.case.beyond and item.case.rows]
    best: _Pool | None = None
    if batch is None:
        shape = {key: array.shape for key, array in inside[0].case.inputs.items()}
        alike = [
            item
            for item in inside
            if {key: array.shape for key, array in item.case.inputs.items()} == shape
        ]
        rows = {key: np.stack([item.case.inputs[key] for item in alike]) for key in shape}
        labels = np.array([int(item.expected[name][0].argmax()) for item in alike])
        return _Pool(rows=rows, labels=labels, case=alike[0].case) if len(set(labels)) > 1 else None
    most = 1
    for item in inside:
        scores = item.expected[name]
        if len(scores) != item.case.rows or item.case.rows < 2:
            continue
        kept = np.isfinite(scores).all(axis=1)
        for array in item.case.inputs.values():
            if array.dtype.kind == "f":
                kept &= np.isfinite(array.reshape(len(array), -1)).all(axis=1)
        labels = scores[kept].argmax(axis=1)
        # Of cases with equally many labels the one with typical rows, then the larger one.
        rank = len(set(labels.tolist()))
        if rank > most or (rank == most > 1 and item.case.typical and best is not None):
            most = rank
            rows = {key: array[kept] for key, array in item.case.inputs.items()}
            best = _Pool(rows=rows, labels=labels, case=item.case)
    return best


def _bisected(
    label: Callable[[Arrays], np.ndarray],
    pool: _Pool,
    random: np.random.Generator,
    *,
    most: int | None,
) -> Arrays:
    """Rows just before and just behind the place where the label changes between two rows."""
    size = sum(array.nbytes for array in pool.rows.values()) / len(pool.labels)
    count = max(1, min(_PAIRS, most or _PAIRS, int(_LARGEST_BYTES / max(size, 1) / 2)))
    first, second = _pairs(pool.labels, count, random)
    begin = {key: array[first] for key, array in pool.rows.items()}
    end = {key: array[second] for key, array in pool.rows.items()}
    order = {key: random.random(array.shape) for key, array in begin.items()}
    wanted = pool.labels[first]
    low, high = np.zeros(len(first)), np.ones(len(first))
    for _ in range(_STEPS):
        middle = (low + high) / 2
        same = label(_on_the_path(begin, end, order, middle)) == wanted
        low, high = np.where(same, middle, low), np.where(same, high, middle)
    before = _on_the_path(begin, end, order, low)
    behind = _on_the_path(begin, end, order, high)
    return {key: np.concatenate([before[key], behind[key]]) for key in begin}


def _pairs(
    labels: np.ndarray, count: int, random: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of rows of different labels; each pair of labels as often as any other."""
    kinds = np.unique(labels)
    borders = [(a, b) for a in kinds for b in kinds if a < b]
    random.shuffle(borders)
    first, second = [], []
    for number in range(count):
        one, other = borders[number % len(borders)]
        first.append(random.choice(np.flatnonzero(labels == one)))
        second.append(random.choice(np.flatnonzero(labels == other)))
    return np.array(first), np.array(second)


def _on_the_path(begin: Arrays, end: Arrays, order: Arrays, place: np.ndarray) -> Arrays:
    """The rows at a place of each path, from 0 at its beginning to 1 at its end."""
    found: dict[str, np.ndarray] = {}
    for key, first in begin.items():
        at = place.reshape(-1, *[1] * (first.ndim - 1))
        second = end[key]
        if first.dtype.kind == "f":
            wide = first.astype(np.float64)
            moved = wide + at * (second.astype(np.float64) - wide)
            found[key] = moved.astype(first.dtype)
        else:
            found[key] = np.where(order[key] < at, second, first)
    return found


def _labels(run: Run, rows: Arrays, name: str, *, batched: bool) -> np.ndarray:
    if batched:
        best: np.ndarray = run(rows)[name].argmax(axis=1)
        return best
    count = len(next(iter(rows.values())))
    answers = [run({key: array[row] for key, array in rows.items()}) for row in range(count)]
    return np.array([int(answer[name][0].argmax()) for answer in answers])


def _cases(rows: Arrays, like: Case, batch: str | None, largest: int, name: str) -> list[Case]:
    count = len(next(iter(rows.values())))
    found: list[Case] = []
    for number, begin in enumerate(range(0, count, largest if batch is not None else 1), start=1):
        end = min(count, begin + largest) if batch is not None else begin + 1
        inputs = {
            key: array[begin:end] if batch is not None else array[begin]
            for key, array in rows.items()
        }
        sizes = like.sizes if batch is None else {**like.sizes, batch: end - begin}
        found.append(Case(name=f"{name}-{number}", inputs=inputs, sizes=sizes, rows=end - begin))
    return found
