"""Asking the registered model: every row that verification needs, with its answers.

What comes out is all that verification knows of the source. The converted model, and every variant
of it, is compared with these answers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from .boundary_rows import boundary_rows
from .edge_rows import beyond_cases, text_cases
from .labelling import Labelled, labelled_rows
from .output_reports import Answered
from .pyfunc_models import PyfuncModel
from .recorded_ranges import recorded_ranges
from .references import reference_rows
from .requests import BuildRequest
from .rows import Case, RowPlan, batch_sizes, make_cases, row_bytes
from .sources import Arrays, AxisRange, SourceModel, batch_axis
from .split_rows import column_rows, split_rows
from .steps import Step
from .tabular_models import TabularModel
from .ties import untied
from .trained_rows import trained_rows
from .verifying import ask_source


@dataclass(frozen=True, slots=True, kw_only=True)
class Questions:
    """What the registered model was asked and answered.

    Attributes:
        answered: Cases with the source's answers.
        batch: The batch axis, if the model takes one row of it.
        notes: Remarks for the report.
        doubts: Why agreement on these rows proves little; empty if nothing is known.
        labelled: The rows of a reference data set with a task metric; None where there is none.
    """

    answered: tuple[Answered, ...]
    batch: str | None
    notes: tuple[str, ...]
    doubts: tuple[str, ...]
    labelled: Labelled | None = None


def ask(
    source: SourceModel, request: BuildRequest, *, metadata: Mapping[str, Any] | None = None
) -> Questions:
    """Make the rows, and ask the source.

    Args:
        source: The registered model.
        request: The build.
        metadata: What was logged beside the model, see `recorded_ranges`; None for nothing.

    Raises:
        RangesInvalidError: The ranges in it cannot be used.
        MissingInputExampleError: It takes text, and there is no example.
        UnverifiedError: It answers no row, or not the same twice.
    """
    batch = served_batch(source)
    plan = _plan(source, batch, request, metadata or {})

    def accepts(inputs: Arrays) -> bool:
        try:
            source.run(inputs)
        except Exception:  # whatever a framework raises for rows that it does not take
            return False
        return True

    conform: Callable[[Arrays], Arrays] = lambda rows: rows  # noqa: E731
    cases = make_cases(plan, accepts) + text_cases(plan)
    notes: tuple[str, ...] = ()
    if isinstance(source, TabularModel):
        table, notes = _table_cases(source, request.seed)
        cases += table
        if source.trees is None or source.before is not None:
            conform = source.table.conform
    elif isinstance(source, PyfuncModel) and source.table is not None:
        conform = source.table.conform
    labelled: Labelled | None = None
    if request.reference is not None:
        named = reference_rows(
            request.reference,
            source,
            batch=batch,
            largest=plan.batch_sizes[-1],
            task=request.task,
        )
        cases += named.cases
        labelled = labelled_rows(request.task, named.labels)
    cases += beyond_cases(plan)
    cases = tuple(replace(one, inputs=conform(one.inputs)) for one in cases)
    answered, refused = ask_source(source.run, cases)
    border = boundary_rows(
        source.run,
        answered,
        batch=batch,
        most=None if batch is None else source.axes[batch].high,
        seed=request.seed,
        conform=conform,
    )
    if border:
        more, also_refused = ask_source(source.run, border)
        answered, refused = (*answered, *more), (*refused, *also_refused)
    return Questions(
        answered=untied(answered),
        batch=batch,
        notes=(*notes, *refused),
        doubts=_doubts(source),
        labelled=labelled,
    )


def served_batch(source: SourceModel) -> str | None:
    """Return the batch axis, if the model takes one row of it."""
    batch = batch_axis(source.inputs)
    return batch if batch is not None and source.axes[batch].low <= 1 else None


def column_steps(source: SourceModel) -> tuple[Step, ...]:
    """Say how the columns of a table travel, which callers have to know."""
    if not isinstance(source, (TabularModel, PyfuncModel)) or source.table is None:
        return ()
    return (Step(name="pack-columns", taken=source.table.packed, reason=source.table.note),)


def _table_cases(source: TabularModel, seed: int) -> tuple[tuple[Case, ...], tuple[str, ...]]:
    """Rows by column, of what training has seen, and beside every split of its trees."""
    cases = column_rows(source, seed=seed) + trained_rows(source, seed=seed)
    found = split_rows(source, seed=seed)
    return (cases, ()) if found is None else (cases + found.cases, (found.note,))


def _plan(
    source: SourceModel, batch: str | None, request: BuildRequest, metadata: Mapping[str, Any]
) -> RowPlan:
    table = source.table if isinstance(source, (TabularModel, PyfuncModel)) else None
    allowed = source.axes[batch] if batch is not None else AxisRange(high=1)
    return RowPlan(
        ports=source.inputs,
        axes=source.axes,
        batch=batch,
        batch_sizes=batch_sizes(request.spec.max_batch_size, allowed, row_bytes(source.inputs)),
        example=source.example,
        seed=request.seed,
        ranges=recorded_ranges(metadata, source.inputs, () if table is None else table.columns),
    )


def _doubts(source: SourceModel) -> tuple[str, ...]:
    found = () if source.example else ("no input example was logged, so all rows are made up",)
    if isinstance(source, TabularModel) and source.doubt:
        found = (*found, source.doubt)
    return found
