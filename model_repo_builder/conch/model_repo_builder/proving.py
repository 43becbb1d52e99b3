"""Going down a plan: make a variant, prove it, go on; every step with its reason.

A variant that cannot be made or is not proven is a line in the report, and the next one is tried.
The build is refused only where none is proven, with the words of the first that failed, or where
the one that a person asked for is not.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from conch.core import ModelFormat, Pin, Precision

from .batching import Batching, batching_of
from .errors import BuildError, UnsupportedGraphError
from .formats import Making
from .labelling import Labelled
from .mlflow_models import MlflowModel
from .output_reports import Answered
from .planning import Candidate, Plan, unwanted
from .pyfunc_models import PyfuncModel
from .reports import VerificationReport
from .requests import BuildRequest
from .signatures import check_declared
from .sources import SourceModel
from .steps import Step
from .tabular_models import TabularModel
from .variants import Variant
from .verifying import compare, refuse_unless_passed

Stage = Callable[[str, str], AbstractContextManager[None]]
"""Times a stage under a name, and announces what is being done."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """A variant that answers what the source answers.

    Attributes:
        variant: The variant.
        report: The comparison.
        batching: Whether and how far a server may batch it.
    """

    variant: Variant
    report: VerificationReport
    batching: Batching


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What every variant is proven with.

    Attributes:
        source: The registered model.
        logged: Its MLflow model.
        request: What was asked for.
        answered: Rows with the source's answers.
        batch: The batch axis; None if there is none.
        notes: Remarks for every report.
        labelled: Rows with labels, and the task metric to judge by.
    """

    source: SourceModel
    logged: MlflowModel
    request: BuildRequest
    answered: tuple[Answered, ...]
    batch: str | None
    notes: tuple[str, ...]
    labelled: Labelled | None = None


def prove(
    plan: Plan, question: Question, *, scratch: Path, stage: Stage
) -> tuple[tuple[Proof, ...], tuple[Step, ...]]:
    """Go down the plan.

    Args:
        plan: Candidates in order.
        question: What they are proven with.
        scratch: A folder for the variants' files.
        stage: See `Stage`.

    Returns:
        What was proven, in the order of the plan (one at least), and the steps.

    Raises:
        BuildError: Nothing was proven, or not what a person asked for.
    """
    proofs: list[Proof] = []
    made: dict[tuple[ModelFormat, Precision], Variant] = {}
    steps: list[Step] = []
    failures: dict[tuple[ModelFormat, Precision], BuildError] = {}
    spec = question.request.spec
    for candidate in plan:
        making = Making(
            source=question.source,
            request=question.request,
            answered=question.answered,
            folder=scratch / candidate.name.replace(":", "-"),
            made=made,
        )
        reason = unwanted(candidate, spec, proven=bool(proofs))
        reason = reason or candidate.format.refusal(making, candidate.precision)
        if reason:
            steps.append(Step(name=candidate.name, taken=False, reason=reason))
            continue
        begun = time.perf_counter()
        try:
            proof, said = _proven(candidate, making, question, stage)
        except BuildError as error:
            failures[candidate.key] = error
            steps.append(Step(name=candidate.name, taken=False, reason=error.message))
            continue
        proofs.append(proof)
        made[candidate.key] = proof.variant
        seconds = time.perf_counter() - begun
        steps += [*said, Step(name=candidate.name, taken=True, reason="proven", seconds=seconds)]
    _refuse_unless_served(proofs, steps, failures, question)
    return tuple(proofs), tuple(steps)


def _proven(
    candidate: Candidate, making: Making, question: Question, stage: Stage
) -> tuple[Proof, tuple[Step, ...]]:
    making.folder.mkdir(parents=True)
    notes = question.notes
    with stage("convert", f"converting to {candidate.name}"):
        variant, steps = candidate.format.make(making, candidate.precision)
        if not isinstance(question.source, (TabularModel, PyfuncModel)):  # made from the signature
            logged = question.logged
            said = check_declared(variant.inputs, variant.outputs, logged.inputs, logged.outputs)
            notes = (*said, *notes)
    with stage("verify", f"comparing the answers of {candidate.name}"):
        report = compare(
            question.answered,
            variant.session.run,
            coarsest=variant.coarsest,
            seed=question.request.seed,
            batch=question.batch,
            notes=notes,
            precision=candidate.precision,
            labelled=question.labelled,
        )
        refuse_unless_passed(report)
        batching = batching_of(
            question.source, question.batch, question.request, question.answered, variant
        )
    return Proof(variant=variant, report=report, batching=batching), steps


def _asked_for(pin: Pin) -> list[tuple[ModelFormat, Precision]]:
    """Return what a pin names: in the model's own precision, unless it names another."""
    precision = pin.precision or Precision.FP32
    return [(name, precision) for name in ModelFormat if pin.allows(name, precision)]


def _refuse_unless_served(
    proofs: list[Proof],
    steps: list[Step],
    failures: dict[tuple[ModelFormat, Precision], BuildError],
    question: Question,
) -> None:
    pin = question.request.spec.pin
    allowed = [one for one in proofs if pin.allows(one.variant.format, one.variant.precision)]
    if allowed:
        return
    wanted = {f"{name}:{precision}" for name, precision in _asked_for(pin)}
    reasons = "; ".join(
        f"{step.name}: {step.reason}" for step in steps if not step.taken and step.name in wanted
    )
    for (name, precision), error in failures.items():
        if pin.allows(name, precision):
            raise error
    if failures and not proofs:  # what others start from could not be made
        raise next(iter(failures.values()))
    raise UnsupportedGraphError(
        f"No variant of the model can be served ({reasons}).",
        hint="Remove the tag or the pin that asks for one form, or register a model that it fits."
        if str(pin) != "any"
        else "Export the model to ONNX yourself and log the file with mlflow.onnx.log_model.",
    )
