"""Outcomes that come late: which units may be counted at a moment."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .errors import InvalidStatisticError


def mature(assigned_s: ArrayLike, *, window_s: float, cut_s: float) -> NDArray[np.bool_]:
    """Return which units' windows have closed: bool[n].

    The same cut goes for both arms: counting outcomes as they come would favour the arm whose
    outcomes come sooner.

    Args:
        assigned_s: float64[n], when each unit was first exposed, Unix seconds.
        window_s: How long after that its outcome may still come.
        cut_s: Up to when data are complete, Unix seconds.

    >>> mature([0.0, 50.0, 60.0], window_s=50.0, cut_s=100.0).tolist()
    [True, True, False]
    """
    if window_s < 0:
        raise InvalidStatisticError(f"A window of {window_s} s is negative.")
    return np.asarray(np.asarray(assigned_s, dtype=np.float64) + window_s <= cut_s)
