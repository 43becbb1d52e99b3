"""Who notices a changed graph: conch's verification, and two checks that others make."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from conch.core import ConchError, DType, Ordinal, ServingSpec, TritonName
from conch.model_repo_builder.asking import Questions, ask
from conch.model_repo_builder.converting import convert
from conch.model_repo_builder.loading import load_source
from conch.model_repo_builder.mlflow_models import read_mlflow_model
from conch.model_repo_builder.onnx_sessions import OnnxSession
from conch.model_repo_builder.requests import BuildRequest, RuntimeCaps
from conch.model_repo_builder.signatures import coarsest_float
from conch.model_repo_builder.sources import Arrays, SourceModel
from conch.model_repo_builder.verifying import compare

from .subjects import Subject

MEAN_ERROR: Final = 1e-3
"""The threshold of the mean-error check: mean absolute difference over all numbers of an output."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """A model with all that verification asks it.

    Attributes:
        source: The registered model.
        graph: Its conversion, an `onnx.ModelProto`.
        questions: The rows with the source's answers.
        coarsest: See `comparing.tolerance_for`.
        held_back: Rows that verification does not see, by input name.
        labels: int64[rows], what the source predicts for them.
        seed: Of the rows.
    """

    source: SourceModel
    graph: Any
    questions: Questions
    coarsest: DType
    held_back: Arrays
    labels: np.ndarray
    seed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """What became of one graph.

    Attributes:
        loads: Whether ONNX Runtime takes it at all.
        changed: Share of held-back rows whose label is another one, or that get no answer.
        refused: Whether conch's verification refuses it.
        kind: What conch says the difference looks like.
        finite: Whether a check of shapes and finiteness on the example would refuse it.
        mean: Whether a threshold on the mean error on the example would.
    """

    loads: bool
    changed: float = 0.0
    refused: bool = True
    kind: str = ""
    finite: bool = True
    mean: bool = True


def prove(subject: Subject, *, seed: int) -> Proof:
    """Load, convert and ask a model, as a build does."""
    source = load_source(read_mlflow_model(subject.path))
    request = BuildRequest(
        build_id="benchmark",
        registered_name="benchmark",
        model=TritonName("benchmark"),
        ordinal=Ordinal(1),
        source=subject.path,
        output=Path("/nowhere"),
        spec=ServingSpec(),
        seed=seed,
    )
    questions = ask(source, request)
    graph, _ = convert(source, caps=RuntimeCaps())
    held = {
        port.name: subject.held_back[port.name if port.name in subject.held_back else ""]
        for port in source.inputs
    }
    return Proof(
        source=source,
        graph=graph,
        questions=questions,
        coarsest=coarsest_float(graph),
        held_back=held,
        labels=labels_of(source.run(held)),
        seed=seed,
    )


def judge(proof: Proof, graph: Any) -> Judged:
    """Ask a graph what verification and the two other checks ask, and what it does to labels."""
    try:
        session = OnnxSession(graph.SerializeToString())
    except ConchError:
        return Judged(loads=False)
    report = compare(
        proof.questions.answered,
        session.run,
        coarsest=proof.coarsest,
        seed=proof.seed,
        batch=proof.questions.batch,
    )
    kinds = [output.kind for output in report.outputs if output.kind]
    finite, mean = _others(proof, session)
    return Judged(
        loads=True,
        changed=_changed(proof, session),
        refused=not report.passed,
        kind=kinds[0] if kinds else "",
        finite=finite,
        mean=mean,
    )


def labels_of(answer: Arrays) -> np.ndarray:
    """Return what an answer predicts: its label, or its best column."""
    first = answer["label"] if "label" in answer else next(iter(answer.values()))
    if first.ndim == 2 and first.shape[1] > 1:
        best: np.ndarray = first.argmax(axis=1)
        return best
    return first.reshape(-1)


def _changed(proof: Proof, session: OnnxSession) -> float:
    try:
        found = labels_of(session.run(proof.held_back))
    except Exception:  # ONNX Runtime's errors share no public class
        return 1.0
    if found.shape != proof.labels.shape:
        return 1.0
    return float(np.mean(found != proof.labels))


def _others(proof: Proof, session: OnnxSession) -> tuple[bool, bool]:
    """What a check of finiteness and shape, and one of the mean error, say on the example."""
    example = proof.source.example
    assert example is not None
    expected = proof.source.run(example)
    try:
        found = session.run(example)
    except Exception:  # as above
        return True, True
    if any(found[name].shape != array.shape for name, array in expected.items()):
        return True, True
    numbers = [
        (array.astype(np.float64), found[name].astype(np.float64))
        for name, array in expected.items()
        if array.dtype.kind in "fiub"
    ]
    finite = not all(np.isfinite(have).all() for _, have in numbers)
    errors = [float(np.mean(np.abs(have - want))) for want, have in numbers]
    return finite, any(not error <= MEAN_ERROR for error in errors)
