"""Rows that quantisation may look at: real ones, never made up ones.

The ranges of a quantised network are those of the rows that it was calibrated with. Rows made up by
verification would set them wrong, so only the logged input example and the reference rows count.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from .formats import Making
from .references import CASE
from .sources import Arrays

FEWEST: Final = 32
"""Rows below which no range is believed."""
MOST: Final = 512
_BATCH: Final = 8


def calibration_rows(making: Making) -> int:
    """Return how many different rows there are."""
    rows = _rows(making)
    if rows is None:
        return 0
    joined = [np.ascontiguousarray(array).reshape(len(array), -1) for array in rows.values()]
    return len({b"".join(part[row].tobytes() for part in joined) for row in range(len(joined[0]))})


def calibration_batches(making: Making) -> list[dict[str, np.ndarray]]:
    """Return the rows in small batches, `MOST` rows at most, spread over what there is."""
    rows = _rows(making)
    assert rows is not None
    count = len(next(iter(rows.values())))
    places = np.unique(np.linspace(0, count - 1, min(count, MOST)).astype(int))
    return [
        {name: array[places[start : start + _BATCH]] for name, array in rows.items()}
        for start in range(0, len(places), _BATCH)
    ]


def _rows(making: Making) -> Arrays | None:
    """Return the reference rows where there are some, else the example; None without either."""
    named = [one.case.inputs for one in making.answered if one.case.name.startswith(CASE)]
    found = making.source.example
    if named:
        found = {name: np.concatenate([one[name] for one in named]) for name in named[0]}
    if found is None:
        return None
    batched = all(
        port.dims and isinstance(port.dims[0], str) and found[port.name].ndim == len(port.dims)
        for port in making.source.inputs
    )
    return found if batched else None
