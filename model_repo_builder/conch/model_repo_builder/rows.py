"""The rows that a model is asked: the logged example, and rows made from what the inputs take.

Deterministic for a seed. Values follow the example where there is one (its range, its mean and
spread, its strings), because rows far from what a model was made for prove little about it; plain
standard-normal rows and edge values come in addition.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np

from conch.core import DType

from .errors import MissingInputExampleError
from .sources import Arrays, AxisRange, Port

_INTEGER_CEILINGS: Final = (1000, 100, 10, 1)
_DEFAULT_SIZES: Final = (5, 8)
_LARGEST_CASE_BYTES: Final = 64 * 1024**2
_TYPICAL_ROWS: Final = 256
_TYPICAL_CASES: Final = 8
_TYPICAL_BYTES: Final = 2 * 1024**2
_ENOUGH_ROWS: Final = 8
_LARGEST_TABLE: Final = 2**20
_FLOATS: Final = frozenset({DType.FP16, DType.FP32, DType.FP64})

Kind = str
EXAMPLE, NORMAL, RANGED, EDGES, MIXED = "example", "normal", "ranged", "edges", "mixed"
NEAR, TYPICAL = "near", "typical"


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One question to a model.

    Attributes:
        name: Such as `mixed-64`, unique among a model's cases.
        inputs: Every input.
        sizes: The size of every dynamic axis.
        rows: The size of the batch axis; 1 for a model without one.
        typical: Whether the rows are like those that the model was made for.
        beyond: Whether they lie outside of that: a difference is reported, and refuses nothing.
    """

    name: str
    inputs: Arrays
    sizes: Mapping[str, int]
    rows: int
    typical: bool = False
    beyond: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class RowPlan:
    """What rows to make.

    Attributes:
        ports: The model's inputs.
        axes: The range of every dynamic axis.
        batch: The axis that is the batch; None if there is none.
        batch_sizes: Sizes of the batch axis to ask, ascending.
        example: Logged rows by input name, if any.
        seed: Seed of the random values.
        ranges: The range of an input's values that was recorded in training, by input name; it
            widens what the example shows.
    """

    ports: tuple[Port, ...]
    axes: Mapping[str, AxisRange]
    batch: str | None
    batch_sizes: tuple[int, ...]
    example: Arrays | None
    seed: int
    ranges: Mapping[str, tuple[float, float]] = field(default_factory=dict)


def batch_sizes(largest: int, allowed: AxisRange, row_bytes: int) -> tuple[int, ...]:
    """Return up to three batch sizes to ask: the smallest, an odd one, the largest.

    Args:
        largest: The largest batch that will be served; 0 if no server forms batches, and then
            callers may send any size.
        allowed: The sizes that the model takes.
        row_bytes: Size of one row's inputs; very large rows are asked in smaller batches.

    >>> batch_sizes(64, AxisRange(), 64)
    (1, 7, 64)
    >>> batch_sizes(2, AxisRange(), 64)
    (1, 2)
    """
    high = min(largest or 8, max(1, _LARGEST_CASE_BYTES // max(1, row_bytes)))
    if allowed.high is not None:
        high = min(high, allowed.high)
    high = max(high, allowed.low)
    odd = min(7, max(1, (high - 1) | 1 if high > 1 else 1))
    middle = odd if allowed.low <= odd < high else max(allowed.low, high // 2)
    return tuple(sorted({allowed.low, middle, high}))


def other_sizes(plan: RowPlan) -> tuple[dict[str, int], ...]:
    """Return two settings of all dynamic axes but the batch; one if there are none."""
    names = [name for name in plan.axes if name != plan.batch]
    if not names:
        return ({},)
    first, second = {}, {}
    for number, name in enumerate(names):
        known = _example_size(plan, name)
        allowed = plan.axes[name]
        first[name] = _within(known or _DEFAULT_SIZES[0] + number, allowed)
        longer = _within(first[name] + 3 + number, allowed)
        second[name] = longer if longer != first[name] else _within(first[name] - 1, allowed)
    return (first, second) if first != second else (first,)


def make_cases(plan: RowPlan, accepts: Callable[[Arrays], bool]) -> tuple[Case, ...]:
    """Make the rows.

    Args:
        plan: What to make.
        accepts: Whether the source model answers such rows; asked to find the range of integers
            that no example shows.

    Raises:
        MissingInputExampleError: An input takes text, and there is no example of it.
    """
    random = np.random.default_rng(plan.seed)
    settings = other_sizes(plan)
    plan = _widened(plan, settings[0], accepts)
    ceiling = _integer_ceiling(plan, settings[0], accepts)
    cases: list[Case] = []

    def add(kind: Kind, rows: int, setting: Mapping[str, int], name: str) -> None:
        sizes = setting if plan.batch is None else {plan.batch: rows, **setting}
        inputs = {
            port.name: _filled(port, kind, _shape(port, sizes), plan, ceiling, random)
            for port in plan.ports
        }
        typical = kind in (EXAMPLE, RANGED, TYPICAL) or (plan.example is None and kind == NORMAL)
        cases.append(Case(name=name, inputs=inputs, sizes=sizes, rows=rows, typical=typical))

    for number, setting in enumerate(settings):
        suffix = "" if number == 0 else f"-axes{number + 1}"
        for rows in plan.batch_sizes:
            kinds: Sequence[Kind] = (MIXED,)
            if rows == plan.batch_sizes[0] or plan.batch is None:
                kinds = (EXAMPLE, NORMAL, RANGED, EDGES) if plan.example else (NORMAL, EDGES)
            for kind in kinds:
                add(kind, rows, setting, f"{kind}-{rows}{suffix}")
    for number, rows in enumerate(_typical_sizes(plan), start=1):
        add(TYPICAL, rows, settings[0], f"{TYPICAL}-{number}")
    return tuple(cases)


def filled_case(plan: RowPlan, kind: Kind, rows: int, name: str) -> Case:
    """Make one case of rows of a kind, at the first setting of all other dynamic axes."""
    random = np.random.default_rng((plan.seed, rows))
    setting = other_sizes(plan)[0]
    sizes = setting if plan.batch is None else {plan.batch: rows, **setting}
    inputs = {
        port.name: _filled(port, kind, _shape(port, sizes), plan, 1, random) for port in plan.ports
    }
    return Case(name=name, inputs=inputs, sizes=sizes, rows=rows)


def row_bytes(ports: Sequence[Port]) -> int:
    """Estimate the size of one row's inputs in bytes, counting dynamic axes as 64."""
    sizes = [[64 if isinstance(size, str) else size for size in port.dims[1:]] for port in ports]
    return sum(8 * int(np.prod(dims)) for dims in sizes)


def _typical_sizes(plan: RowPlan) -> tuple[int, ...]:
    """How many typical rows to ask, in batches that the model takes."""
    if plan.batch is None:
        return ()
    rows = min(_TYPICAL_ROWS, _TYPICAL_BYTES // max(1, row_bytes(plan.ports)))
    one = min(rows, plan.batch_sizes[-1])
    return (one,) * min(_TYPICAL_CASES, rows // one) if one >= 1 else ()


def _example_size(plan: RowPlan, name: str) -> int | None:
    for port in plan.ports:
        if plan.example is not None and port.name in plan.example:
            for place, size in enumerate(port.dims):
                if size == name:
                    return int(plan.example[port.name].shape[place])
    return None


def _within(size: int, allowed: AxisRange) -> int:
    size = max(size, allowed.low)
    return size if allowed.high is None else min(size, allowed.high)


def _shape(port: Port, sizes: Mapping[str, int]) -> tuple[int, ...]:
    return tuple(sizes[size] if isinstance(size, str) else size for size in port.dims)


def _filled(
    port: Port,
    kind: Kind,
    shape: tuple[int, ...],
    plan: RowPlan,
    ceiling: int,
    random: np.random.Generator,
) -> np.ndarray:
    known = None if plan.example is None else plan.example.get(port.name)
    kinds: tuple[Kind, ...]
    if kind == MIXED:
        kinds = (RANGED, NORMAL, EXAMPLE, RANGED, EDGES) if known is not None else (NORMAL, EDGES)
        parts = [_filled(port, part, shape, plan, ceiling, random) for part in kinds]
        return np.stack([parts[row % len(parts)][row] for row in range(shape[0])])
    if kind == TYPICAL:
        kinds = (NEAR, RANGED, EXAMPLE) if known is not None else (NORMAL,)
        found: list[np.ndarray | None] = [None] * shape[0]
        for place, part in enumerate(kinds):
            mine = range(place, shape[0], len(kinds))
            made = _filled(port, part, (len(mine), *shape[1:]), plan, ceiling, random)
            for row, values in zip(mine, made, strict=True):
                found[row] = values
        return np.stack([values for values in found if values is not None])
    if kind == EXAMPLE and known is not None:
        return _wrapped(known, shape)
    if port.dtype is DType.BYTES:
        if known is None or known.size == 0:
            raise MissingInputExampleError(
                f"Input {port.name!r} takes text, and the model was logged without an example.",
                hint="Log it again with input_example= set to a few typical rows.",
            )
        return random.choice(known.reshape(-1), size=shape)
    if port.dtype is DType.BOOL:
        return random.random(shape) < 0.5
    if port.dtype in _FLOATS:
        return _floats(port, kind, shape, known, plan.ranges.get(port.name), random)
    low, high = (0, ceiling) if known is None or not known.size else (known.min(), known.max())
    if port.name in plan.ranges:
        low, high = (int(end) for end in plan.ranges[port.name])
    if kind == EDGES:
        return random.choice(np.array([low, high]), size=shape).astype(port.dtype.numpy)
    if (
        kind in (NEAR, RANGED, NORMAL) and math.prod(shape) > high - low
    ):  # every value at least once
        every = np.resize(np.arange(low, high + 1), math.prod(shape))
        return random.permutation(every).reshape(shape).astype(port.dtype.numpy)
    return random.integers(low, high, size=shape, endpoint=True).astype(port.dtype.numpy)


def _floats(
    port: Port,
    kind: Kind,
    shape: tuple[int, ...],
    known: np.ndarray | None,
    recorded: tuple[float, float] | None,
    random: np.random.Generator,
) -> np.ndarray:
    normal = np.asarray(random.standard_normal(shape))
    values = known[np.isfinite(known)] if known is not None else np.array([-1.0, 1.0])
    if values.size == 0:
        values = np.array([-1.0, 1.0])
    values = values.astype(np.float64)
    if recorded is not None:
        values = np.concatenate([values, np.array(recorded)])
    if kind == NEAR and known is not None and shape and len(known):
        picks = known.astype(np.float64)[random.integers(0, len(known), size=shape[0])]
        near = _wrapped(picks, shape) + 0.1 * values.std() * normal
        close: np.ndarray = np.nan_to_num(near).astype(port.dtype.numpy)
        return close
    if kind in (RANGED, NEAR):
        mean, spread = _spread(known, values, shape)
        drawn: np.ndarray = (mean + spread * normal).astype(port.dtype.numpy)
        return drawn
    if kind == EDGES:
        reach = 10 * max(1.0, float(np.abs(values).max()))
        edges = np.array([0.0, 1.0, -1.0, values.min(), values.max(), reach, -reach])
        if shape:  # row by row one value, then values at random: both kinds of edge
            constant = edges[np.arange(shape[0]) % len(edges)]
            constant = np.broadcast_to(constant.reshape(-1, *[1] * (len(shape) - 1)), shape)
            mixed = random.choice(edges, size=shape)
            return np.where(random.random(shape) < 0.5, constant, mixed).astype(port.dtype.numpy)
        return random.choice(edges, size=shape).astype(port.dtype.numpy)
    return normal.astype(port.dtype.numpy)


def _spread(
    known: np.ndarray | None, values: np.ndarray, shape: tuple[int, ...]
) -> tuple[np.ndarray | float, np.ndarray | float]:
    """Mean and spread to draw from: of each place in a row where there are rows enough."""
    if known is None or known.ndim < 2 or len(known) < _ENOUGH_ROWS or not shape:
        return float(values.mean()), float(values.std()) or 1.0
    wide = np.where(np.isfinite(known), known, np.nan).astype(np.float64)
    with np.errstate(invalid="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a place without any number
        mean, spread = np.nanmean(wide, axis=0), np.nanstd(wide, axis=0)
    spread = np.where(spread > 0, spread, float(values.std()) or 1.0)
    return _wrapped(np.nan_to_num(mean), shape[1:]), _wrapped(np.nan_to_num(spread), shape[1:])


def _wrapped(known: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Return the example in another shape: repeated or cut along every axis."""
    found = known
    for place, size in enumerate(shape):
        found = np.take(found, np.arange(size), axis=place, mode="wrap")
    return found


def _widened(
    plan: RowPlan, setting: Mapping[str, int], accepts: Callable[[Arrays], bool]
) -> RowPlan:
    """Learn how long the tables are that integers point into, where the example shows less.

    An embedding of 1,000 rows takes 0 to 999 and refuses 1,000; an integer that is a number takes
    anything, and stays in the range of the example.
    """
    if plan.example is None:
        return plan
    sizes = setting if plan.batch is None else {plan.batch: plan.batch_sizes[0], **setting}
    plain = {
        port.name: _wrapped(plan.example[port.name], _shape(port, sizes))
        for port in plan.ports
        if plan.example[port.name].size
    }
    ranges = dict(plan.ranges)
    for port in plan.ports:
        if port.dtype in _FLOATS | {DType.BOOL, DType.BYTES} or port.name not in plain:
            continue
        if port.name in ranges or len(plain) < len(plan.ports):
            continue
        most = min(_LARGEST_TABLE, int(np.iinfo(port.dtype.numpy).max))

        def taken(value: int, port: Port = port) -> bool:
            return accepts({**plain, port.name: np.full_like(plain[port.name], value)})

        low, high = int(plan.example[port.name].max()), most
        if low < 0 or low >= high or taken(high):
            continue
        while high - low > 1:
            middle = min(2 * max(low, 1), high - 1) if high == most else (low + high) // 2
            low, high = (middle, high) if taken(middle) else (low, middle)
        first = min(0, int(plan.example[port.name].min())) if taken(0) else None
        ranges[port.name] = (plan.example[port.name].min() if first is None else first, low)
    return replace(plan, ranges=ranges)


def _integer_ceiling(
    plan: RowPlan, setting: Mapping[str, int], accepts: Callable[[Arrays], bool]
) -> int:
    """Return the largest integer of a few that the model takes everywhere it takes integers."""
    free = [
        port
        for port in plan.ports
        if port.dtype not in _FLOATS | {DType.BOOL, DType.BYTES}
        and not (plan.example is not None and plan.example[port.name].size)
    ]
    if not free:
        return 0
    sizes = setting if plan.batch is None else {plan.batch: plan.batch_sizes[0], **setting}
    random = np.random.default_rng(plan.seed)
    for ceiling in _INTEGER_CEILINGS:
        inputs = {
            port.name: np.full(_shape(port, sizes), ceiling, dtype=port.dtype.numpy)
            if port in free and ceiling <= np.iinfo(port.dtype.numpy).max
            else _filled(port, NORMAL, _shape(port, sizes), plan, 0, random)
            for port in plan.ports
        }
        if accepts(inputs):
            return ceiling
    return 0
