"""Choosing what serves among the proven variants, for each flavour, and laying it out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .choosing import Chosen, choose, table
from .proving import Proof, Question
from .repository import NATIVE, PORTABLE, Layout, native_problem, write_native, write_portable
from .sources import SourceModel
from .steps import Step
from .tabular_models import PROBABILITIES, TabularModel
from .timing import batches_of, time_sessions, timed_batches
from .variants import NativeForm, PortableForm

SOURCE = "source"
"""The row of the registered model itself among the timings."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """What serves.

    Attributes:
        order: The proofs that may serve, the chosen one first.
        chosen: The choice, with its reason.
        timings: Rows of `choosing.table`.
    """

    order: tuple[Proof, ...]
    chosen: Chosen
    timings: tuple[dict[str, Any], ...]


def select(proofs: Sequence[Proof], question: Question) -> Selection:
    """Time the proven variants beside the source, and choose.

    Args:
        proofs: In the order of the plan.
        question: What they were proven with.
    """
    pin = question.request.spec.pin
    by_name = {one.variant.name: one for one in proofs}
    rows = min(one.batching.rows for one in proofs)
    batched = question.batch is not None
    batches = batches_of(question.answered, timed_batches(rows), batched=batched)
    sessions = {name: one.variant.session for name, one in by_name.items()}
    times = time_sessions({**sessions, SOURCE: question.source}, batches)
    able = [
        n for n, one in by_name.items() if pin.allows(one.variant.format, one.variant.precision)
    ]
    chosen = choose(times, order=able)
    order = [chosen.name, *(name for name in able if name != chosen.name)]
    return Selection(
        order=tuple(by_name[name] for name in order),
        chosen=chosen,
        timings=table(times, chosen, against=proofs[0].variant.name),
    )


def column_labels(source: SourceModel) -> dict[str, tuple[str, ...]]:
    """Return the classes of a classifier by the output that has one column for each."""
    if not isinstance(source, TabularModel) or source.classes is None:
        return {}
    if PROBABILITIES not in source.answers:
        return {}
    return {PROBABILITIES: tuple(str(item) for item in source.classes)}


def lay_out(
    folder: Path, layout: Layout, selection: Selection, proofs: Sequence[Proof]
) -> tuple[dict[str, str], tuple[Step, ...]]:
    """Write both flavours, each of the best variant that has it.

    A flavour that the choice does not have is made of the next variant that may serve, and then of
    any that was proven; the steps say so.

    Returns:
        See `Manifest.flavours`, and the steps.
    """
    ranked = (*selection.order, *(one for one in proofs if one not in selection.order))
    flavours: dict[str, str] = {}
    steps: list[Step] = []
    for one in ranked:
        portable, name = one.variant.portable, one.variant.name
        if isinstance(portable, PortableForm):
            write_portable(folder, layout, portable, one.variant.files)
            flavours[PORTABLE] = name
            steps.append(Step(name=PORTABLE, taken=True, reason=f"{name} by the Python backend"))
            break
        steps.append(Step(name=PORTABLE, taken=False, reason=f"{name}: {portable}"))
    for one in ranked:
        native, name = one.variant.native, one.variant.name
        problem = native_problem(layout, native)
        if not problem and isinstance(native, NativeForm):
            write_native(folder, layout, native)
            flavours[NATIVE] = f"{name} {native.backend}"
            reason = f"{name} by the backend {native.backend}: {native.note}"
            steps.append(Step(name=NATIVE, taken=True, reason=reason))
            break
        steps.append(Step(name=NATIVE, taken=False, reason=f"{name}: {problem}"))
    return flavours, tuple(steps)
