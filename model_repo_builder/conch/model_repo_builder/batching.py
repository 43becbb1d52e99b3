"""Whether a server may join rows of different callers, and how many."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from .output_reports import Answered
from .requests import BuildRequest
from .sources import SourceModel
from .steps import Step
from .variants import Variant
from .verifying import batching_problem

_STATIC_BATCH: Final = (
    "not every input starts with one dynamic axis, so the model is served without batching; log it "
    "with an input example of two rows or more, and -1 first in the signature, to have it"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Batching:
    """How many rows the server may join (0: none), and the step that says why."""

    rows: int
    step: Step


def batching_of(
    source: SourceModel,
    batch: str | None,
    request: BuildRequest,
    answered: Sequence[Answered],
    variant: Variant,
) -> Batching:
    """Decide by the serving options, the model's axes, and a row's answer alone and in company."""
    wanted = request.spec.max_batch_size
    reason, rows = "", wanted
    if not wanted:
        reason = "the serving options set max_batch_size to 0"
    elif batch is None:
        reason = _STATIC_BATCH
    else:
        reason = batching_problem(
            answered,
            variant.session.run,
            coarsest=variant.coarsest,
            precision=variant.precision,
        )
        high = source.axes[batch].high
        rows = wanted if high is None else min(wanted, high)
    if reason:
        return Batching(rows=0, step=Step(name="batching", taken=False, reason=reason))
    taken = f"up to {rows} rows; no row's answer depends on its batch"
    return Batching(rows=rows, step=Step(name="batching", taken=True, reason=taken))
