"""How fast variants answer on this machine: medians of single runs, one thread, taken in turns.

Runs of all candidates alternate in short rounds, so that what else the machine does meets all of
them alike; most single runs are too short to be interrupted, so that their median holds on a busy
machine too. The ratios are what decides, not the absolute times.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping, Sequence
from typing import Final, Protocol, runtime_checkable

import numpy as np

from .output_reports import Answered
from .sources import Arrays
from .variants import Session

_ROUNDS: Final = 7
_ROUND_S: Final = 0.0015
_SLOW_S: Final = 0.25


@runtime_checkable
class SelfTiming(Protocol):
    """A session in another process, which times a run where it happens."""

    def seconds(self, inputs: Arrays) -> float:
        """Run once and return the seconds that it took there."""


Times = Mapping[int, float]
"""Median microseconds of one run, by batch size in rows."""


def timed_batches(max_batch_size: int) -> tuple[int, ...]:
    """Return the batch sizes to time: one row, eight, the most that the server joins.

    >>> timed_batches(64), timed_batches(4), timed_batches(0)
    ((1, 8, 64), (1, 4), (1,))
    """
    high = max(1, max_batch_size)
    return tuple(sorted({1, min(8, high), high}))


def batches_of(
    answered: Sequence[Answered], sizes: Sequence[int], *, batched: bool
) -> dict[int, Arrays]:
    """Return rows that the source answers, repeated to each batch size.

    Args:
        answered: See `verifying`.
        sizes: Rows wanted.
        batched: Whether the first dimension is the batch; without it, one case is asked as it is.
    """
    largest = max(answered, key=lambda item: item.case.rows).case.inputs
    if not batched:
        return {sizes[0]: answered[0].case.inputs}
    return {
        size: {
            name: np.take(array, np.arange(size), axis=0, mode="wrap")
            for name, array in largest.items()
        }
        for size in sizes
    }


def time_sessions(
    sessions: Mapping[str, Session], batches: Mapping[int, Arrays]
) -> dict[str, dict[int, float]]:
    """Time every session on every batch.

    Args:
        sessions: By name.
        batches: See `batches_of`.

    Returns:
        `Times` by the session's name.
    """
    found: dict[str, dict[int, float]] = {name: {} for name in sessions}
    for size, inputs in batches.items():
        first = {name: _run(session, inputs) for name, session in sessions.items()}
        rounds = 3 if max(first.values()) > _SLOW_S else _ROUNDS
        samples: dict[str, list[float]] = {name: [] for name in sessions}
        for number in range(rounds):
            names = list(sessions)
            turn = number % len(names)
            for name in names[turn:] + names[:turn]:
                samples[name] += _round(sessions[name], inputs)
        for name, values in samples.items():
            found[name][size] = round(statistics.median(values) * 1e6, 1)
    return found


def _round(session: Session, inputs: Arrays) -> list[float]:
    """Return the seconds of each run within a short while, one run at least."""
    taken: list[float] = []
    while sum(taken) < _ROUND_S:
        taken.append(_run(session, inputs))
    return taken


def _run(session: Session, inputs: Arrays) -> float:
    """Return the seconds of one run: the session's own measure where it has one."""
    if isinstance(session, SelfTiming):
        return session.seconds(inputs)
    begun = time.perf_counter()
    session.run(inputs)
    return time.perf_counter() - begun
