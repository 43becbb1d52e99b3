"""Rows made from what a table model remembers of its training: categories, words, ranges.

An example of a few rows does not show every category. An encoder knows them all, and so does a
vocabulary; a weight behind a category that no row has would never be asked.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import numpy as np

from conch.core import DType

from .rows import Case
from .sources import Port
from .split_rows import base_rows
from .tables import BATCH
from .tabular_models import TabularModel

_MOST_ROWS: Final = 512
_FEWEST_ROWS: Final = 64
_WORDS_A_ROW: Final = 6
_MOST_WORDS: Final = 4096


def trained_rows(source: TabularModel, *, seed: int) -> tuple[Case, ...]:
    """Make rows with every category and word that the model's own steps remember.

    Args:
        source: The model.
        seed: Of what else stands in these rows.

    Returns:
        One case `trained`; none where the steps remember nothing, or there is no example.
    """
    if source.example is None:
        return ()
    random = np.random.default_rng(seed)
    known = dict(_remembered(source.estimator, source.table.columns))
    vocabulary = _vocabulary(source.estimator) if source.table.flat else []
    if not known and not vocabulary:
        return ()
    longest = max((len(values) for values in known.values()), default=0)
    if vocabulary:
        longest = -(-len(vocabulary) // _WORDS_A_ROW)
    count = min(_MOST_ROWS, max(_FEWEST_ROWS, 2 * longest))
    rows = dict(base_rows(source, count, random))
    place = 0
    for port in source.inputs:
        array = rows[port.name].copy()
        for column in range(int(port.dims[1])):
            if vocabulary:
                array[:, column] = _texts(vocabulary, count, random)
            elif place in known:
                array[:, column] = _every(known[place], count, port, random)
            place += 1
        rows[port.name] = array
    return (Case(name="trained", inputs=rows, sizes={BATCH: count}, rows=count, typical=True),)


def _every(values: np.ndarray, count: int, port: Port, random: np.random.Generator) -> np.ndarray:
    """Each value at least once where there is room, in random order."""
    found = random.permutation(np.resize(random.permutation(values), count))
    if port.dtype is not DType.BYTES:
        return found.astype(port.dtype.numpy)
    texts = np.empty(count, dtype=object)
    texts[:] = [str(value).encode() for value in found]
    return texts


def _texts(words: list[str], count: int, random: np.random.Generator) -> np.ndarray:
    drawn = random.permutation(np.resize(np.array(words, dtype=object), count * _WORDS_A_ROW))
    texts = np.empty(count, dtype=object)
    texts[:] = [" ".join(row).encode() for row in drawn.reshape(count, _WORDS_A_ROW)]
    return texts


def _remembered(
    estimator: Any, columns: tuple[str, ...], places: list[int] | None = None
) -> Iterator[tuple[int, np.ndarray]]:
    """The categories of every column that goes straight into an encoder, by the column's place."""
    steps = getattr(estimator, "steps", None)
    if steps:
        first = next((step for _, step in steps if not isinstance(step, str)), None)
        yield from _remembered(first, columns, places)
        return
    parts = getattr(estimator, "transformers_", None)
    if parts is not None and places is None:
        for _, part, chosen in parts:
            if not isinstance(part, str):
                yield from _remembered(part, columns, _places(chosen, columns))
        return
    categories = getattr(estimator, "categories_", None)
    if isinstance(categories, list):
        for number, values in enumerate(categories):
            place = number if places is None else places[number]
            if _usable(values):
                yield place, np.asarray(values)


def _places(chosen: Any, columns: tuple[str, ...]) -> list[int]:
    """The places of a transformer's columns, which scikit-learn keeps as names, places or masks."""
    if isinstance(chosen, slice):
        return list(range(*chosen.indices(len(columns))))
    items = [chosen] if isinstance(chosen, str | int) else list(chosen)
    if items and isinstance(items[0], bool | np.bool_):
        return [place for place, taken in enumerate(items) if taken]
    return [columns.index(item) if isinstance(item, str) else int(item) for item in items]


def _usable(values: Any) -> bool:
    array = np.asarray(values)
    if array.dtype.kind == "O":
        return all(isinstance(value, str) for value in array.tolist())
    return array.dtype.kind in "biufU" and not (array.dtype.kind == "f" and np.isnan(array).any())


def _vocabulary(estimator: Any) -> list[str]:
    """The words of the first step of a model of texts."""
    for _, step in getattr(estimator, "steps", ()):
        words = getattr(step, "vocabulary_", None)
        if isinstance(words, dict):
            return sorted(map(str, words))[:_MOST_WORDS]
    return []
