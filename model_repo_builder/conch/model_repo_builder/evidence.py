"""How much agreement proves: whether the rows exercised the model."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .output_reports import Answered
from .reports import OutputReport


def weaknesses_of(output: OutputReport, answered: Sequence[Answered]) -> list[str]:
    """Say where the rows did not exercise an output; empty if they did."""
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
    elif output.near_border == 0 and not _at_a_border(answered):
        found.append(f"no row lies near a border between two classes of output {output.name!r}")
    bounded = output.dtype.startswith("FP") and finite.min() >= 0 and finite.max() <= 1
    if bounded and np.mean(np.minimum(finite, 1 - finite) < 1e-6) > 0.99:
        found.append(f"output {output.name!r} is saturated at 0 or 1 on nearly every row")
    return found


def _at_a_border(answered: Sequence[Answered]) -> bool:
    """Whether bisection put rows on both sides of one: trees jump, and no margin is small."""
    return any(item.case.name.startswith(BOUNDARY) for item in answered)


BOUNDARY = "boundary-"
"""How cases of rows found by bisection are named."""
