"""Rows beside borders, at the edges of types, of what training left, and of reference data sets."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from conch.core import DType, Ordinal, TritonName
from conch.model_repo_builder import BuildRequest, ReferenceDataError, TaskMetric
from conch.model_repo_builder.asking import Questions, ask
from conch.model_repo_builder.boundary_rows import boundary_rows
from conch.model_repo_builder.output_reports import Answered
from conch.model_repo_builder.rows import Case
from conch.model_repo_builder.sources import Arrays, AxisRange, Port
from conch.model_repo_builder.verifying import compare

Run = Callable[[Arrays], dict[str, np.ndarray]]
WEIGHTS: NDArray[np.float32] = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)


def scores(inputs: Arrays) -> dict[str, np.ndarray]:
    """A linear classifier of three classes."""
    with np.errstate(over="ignore", invalid="ignore"):  # rows of the largest numbers
        return {"y": inputs["x"] @ WEIGHTS}


def lookup(inputs: Arrays) -> dict[str, np.ndarray]:
    """A table of 37 rows; refuses numbers beyond it."""
    table = np.random.default_rng(1).normal(size=(37, 3)).astype(np.float32)
    if inputs["ids"].min() < 0:
        raise IndexError("negative")
    return {"y": table[inputs["ids"]].mean(axis=1)}


def source(run: Run, port: Port, example: Arrays | None) -> Any:
    return SimpleNamespace(
        flavour="plain",
        inputs=(port,),
        axes={"n": AxisRange()},
        example=example,
        run=run,
    )


def request(**more: Any) -> BuildRequest:
    return BuildRequest(
        build_id="b",
        registered_name="m",
        model=TritonName("m"),
        ordinal=Ordinal(1),
        source=Path("/nowhere"),
        output=Path("/nowhere"),
        **more,
    )


NUMBERS = Port(name="x", dtype=DType.FP32, dims=("n", 5))
IDS = Port(name="ids", dtype=DType.INT64, dims=("n", 4))
EXAMPLE = {"x": np.random.default_rng(2).normal(size=(12, 5)).astype(np.float32)}


def asked(run: Run, port: Port, example: Arrays | None, **more: Any) -> Questions:
    return ask(source(run, port, example), request(**more))


def rows_of(questions: Questions, start: str) -> list[Answered]:
    return [item for item in questions.answered if item.case.name.startswith(start)]


@pytest.mark.parametrize(
    ("run", "port", "example"),
    [
        pytest.param(scores, NUMBERS, EXAMPLE, id="numbers"),
        pytest.param(lookup, IDS, {"ids": np.arange(12).reshape(3, 4)}, id="tokens"),
    ],
)
def test_rows_lie_on_both_sides_of_borders(run: Run, port: Port, example: Arrays) -> None:
    """Each pair has two labels; between numbers the best two scores nearly tie."""
    found = rows_of(asked(run, port, example), "boundary-1")
    answers = np.concatenate([item.expected["y"] for item in found])
    labels = answers.argmax(axis=1)
    half = len(labels) // 2
    assert half >= 10
    assert (labels[:half] != labels[half:]).all()
    if port is NUMBERS:
        best = np.sort(answers, axis=1)
        assert np.median(best[:, -1] - best[:, -2]) < 1e-3


def test_a_model_of_one_class_has_no_border() -> None:
    """Nothing is made, rather than something that looks like it."""
    case = Case(name="mixed-4", inputs={"x": np.ones((4, 5), np.float32)}, sizes={}, rows=4)
    answered = [Answered(case=case, expected=scores(case.inputs))]
    assert boundary_rows(scores, answered, batch="n", most=None, seed=0) == ()


def test_every_row_of_a_lookup_table_is_asked() -> None:
    """Its length is found by asking, beyond what the example shows."""
    questions = asked(lookup, IDS, {"ids": np.array([[3, 5, 8, 4]])})
    seen = {int(v) for item in questions.answered for v in item.case.inputs["ids"].reshape(-1)}
    assert seen == set(range(37))


def test_what_lies_beyond_refuses_nothing() -> None:
    """NaN and infinity are compared and told; the verdict stands on the other rows."""
    questions = asked(scores, NUMBERS, EXAMPLE)

    def careless(inputs: Arrays) -> dict[str, np.ndarray]:
        return {"y": np.nan_to_num(scores(inputs)["y"])}

    report = compare(
        questions.answered, careless, coarsest=DType.FP32, seed=0, batch=questions.batch
    )
    assert report.passed
    assert {"nan", "infinite"} <= {one.case for one in report.beyond}
    assert "empty" in report.cases


def test_a_reference_data_set_is_asked_and_judged(tmp_path: Path) -> None:
    """Rows of a CSV file with labels; a loss of accuracy above what is allowed refuses."""
    rows = np.random.default_rng(3).normal(size=(90, 5)).astype(np.float32)
    labels = (rows @ WEIGHTS).argmax(axis=1)
    np.savez(tmp_path / "rows.npz", x=rows, target=labels)
    task = TaskMetric(name="accuracy", labels="target", allowed_loss=0.05)
    questions = asked(scores, NUMBERS, EXAMPLE, reference=tmp_path / "rows.npz", task=task)
    assert sum(item.case.rows for item in rows_of(questions, "reference-")) == 90

    def judged(run: Run) -> Any:
        return compare(
            questions.answered,
            run,
            coarsest=DType.FP32,
            seed=0,
            batch="n",
            labelled=questions.labelled,
        )

    right = judged(scores)
    assert right.passed
    assert (right.metric.source, right.metric.loss, right.metric.rows) == (1.0, 0.0, 90)
    wrong = judged(lambda inputs: {"y": scores(inputs)["y"][:, [1, 0, 2]]})
    assert wrong.metric.loss > 0.3
    assert not wrong.metric.passed


@pytest.mark.parametrize(
    ("write", "words"),
    [
        pytest.param(lambda p: p.write_bytes(b"nothing"), "cannot be read", id="corrupt"),
        pytest.param(
            lambda p: np.savez(p, x=np.ones((4, 7))), "does not fit the model's inputs", id="unlike"
        ),
        pytest.param(
            lambda p: np.savez(p, x=np.ones((4, 5))), "has no column 'label'", id="without-labels"
        ),
    ],
)
def test_a_reference_that_cannot_be_used_is_named(
    write: Callable[[Path], object], words: str, tmp_path: Path
) -> None:
    """Which file, and what it has."""
    path = tmp_path / "rows.npz"
    write(path)
    task = TaskMetric(name="accuracy") if "column" in words else None
    with pytest.raises(ReferenceDataError, match=words):
        asked(scores, NUMBERS, EXAMPLE, reference=path, task=task)
