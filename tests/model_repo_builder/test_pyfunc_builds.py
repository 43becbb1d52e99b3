"""Python models: refused unless trusted, served as they are, proven through what serves them."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from logged_code import ORDERS, Halving, Pricing, log_code

from conch.core import DType, ModelFormat
from conch.model_repo_builder import (
    BuildRequest,
    CorruptArtefactError,
    MissingInputExampleError,
    PickledModelError,
    UnsupportedGraphError,
    build,
    read_report,
)
from conch.model_repo_builder.pyfunc_model import Child, flattened, read_message, write_message

Requests = Callable[..., BuildRequest]
NUMBERS = np.random.default_rng(0).standard_normal((5, 4)).astype(np.float32)


def test_a_python_model_needs_trust(tmp_path: Path, request_for: Requests) -> None:
    """It is code; the error says what to do instead."""
    path = log_code(tmp_path / "model", Halving(), NUMBERS)
    with pytest.raises(PickledModelError, match="Python code"):
        build(request_for(path))


def test_a_table_with_text_is_served_as_it_is(tmp_path: Path, request_for: Requests) -> None:
    """One tensor per column, each of MLflow's type; the answer's columns are outputs."""
    request = request_for(
        log_code(tmp_path / "model", Pricing(), ORDERS),
        trust_pickles=True,
        trusted_because="a test says so",
    )
    manifest = build(request)
    assert manifest.flavours == {"portable": f"{ModelFormat.PYTHON}:fp32"}
    assert [(t.name, t.dtype) for t in manifest.signature.inputs] == [
        ("price", DType.FP64),
        ("count", DType.INT64),
        ("country", DType.BYTES),
    ]
    assert [(t.name, t.dtype) for t in manifest.signature.outputs] == [
        ("total", DType.FP64),
        ("label", DType.BYTES),
    ]
    steps = {step["name"]: step for step in manifest.steps}
    assert steps["stored-code"]["reason"] == "a test says so"
    assert not steps["recorded-environment"]["taken"]
    assert not steps["onnx:fp32"]["taken"]
    assert read_report(request.output).batch_sizes == (1, 7, 16)
    version = request.output / "portable" / "digits" / "1"
    assert (version / "mlflow_model" / "python_model.pkl").exists()
    assert sys.executable in (version.parent / "config.pbtxt").read_text()


def test_whole_columns_in_a_packed_table_stay_whole(tmp_path: Path, request_for: Requests) -> None:
    """Numbers travel as one FP64 tensor; MLflow's integer column is asked integers only."""

    rows = ORDERS[["price", "count"]]

    class Total(Pricing):
        def predict(self, context: object, model_input: object, params: object = None) -> object:
            assert model_input["count"].dtype == np.int64  # type: ignore[index]
            return (model_input["price"] * model_input["count"]).to_numpy()  # type: ignore[index]

    request = request_for(log_code(tmp_path / "model", Total(), rows), trust_pickles=True)
    manifest = build(request)
    assert manifest.signature.inputs[0].shape == (2,)
    refused = [note for note in read_report(request.output).notes if "refuses" in note]
    assert not [note for note in refused if "nan" not in note and "inf" not in note]


def test_a_child_that_ends_is_started_again(tmp_path: Path, request_for: Requests) -> None:
    """The request that ended it gets an error; the next one an answer."""
    request = request_for(log_code(tmp_path / "model", Halving(), NUMBERS), trust_pickles=True)
    build(request)
    child = Child(sys.executable, str(request.output / "portable" / "digits" / "1"))
    try:
        poison = np.full((1, 4), 7777, np.float32)
        with pytest.raises(RuntimeError, match="ended with status 3"):
            child.run({child.inputs[0]: poison})
        (answer,) = child.run({child.inputs[0]: NUMBERS})
        np.testing.assert_array_equal(answer, NUMBERS / 2)
        with pytest.raises(RuntimeError, match=r"Incompatible|shape|expected"):
            child.run({child.inputs[0]: NUMBERS[:, :2]})
    finally:
        child.close()


def test_a_model_that_lacks_its_module_is_refused(tmp_path: Path, request_for: Requests) -> None:
    """What unpickling raised is told."""
    path = log_code(tmp_path / "model", Halving(), NUMBERS)
    (path / "python_model.pkl").write_bytes(b"cno_such_module_here\nThing\n.")
    with pytest.raises(CorruptArtefactError, match="no_such_module_here"):
        build(request_for(path, trust_pickles=True))


def test_without_an_example_nobody_knows_what_it_answers(
    tmp_path: Path, request_for: Requests
) -> None:
    """Its answers have no types before it was asked."""
    path = log_code(tmp_path / "model", Halving(), NUMBERS)
    (path / "input_example.json").unlink()
    text = (path / "MLmodel").read_text()
    (path / "MLmodel").write_text(text.replace("saved_input_example_info", "without"))
    with pytest.raises(MissingInputExampleError):
        build(request_for(path, trust_pickles=True))


def test_an_answer_that_is_no_tensor_is_refused(tmp_path: Path, request_for: Requests) -> None:
    """Dates have no form on the wire."""

    class Dates(Pricing):
        def predict(self, context: object, model_input: object, params: object = None) -> object:
            return np.full(len(model_input), "2026-01-01", dtype="datetime64[D]")  # type: ignore[arg-type]

    path = log_code(tmp_path / "model", Halving(), NUMBERS)
    log_code(tmp_path / "dates", Halving(), NUMBERS)
    import cloudpickle

    (path / "python_model.pkl").write_bytes(cloudpickle.dumps(Dates()))
    with pytest.raises(UnsupportedGraphError, match="no tensor"):
        build(request_for(path, trust_pickles=True))


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ([1, 2], {"prediction": np.array([[1], [2]])}),
        (["a"], {"prediction": np.array([[b"a"]], dtype=object)}),
        ([{"x": 1.5, "y": True}], {"x": np.array([[1.5]]), "y": np.array([[True]])}),
        ({"z": np.ones((2, 3))}, {"z": np.ones((2, 3))}),
        (np.float32(4), {"output": np.array([[4]], np.float32)}),
        (ORDERS["count"], {"prediction": ORDERS["count"].to_numpy()[:, None]}),
    ],
    ids=["list", "texts", "records", "mapping", "scalar", "series"],
)
def test_every_kind_of_answer_becomes_tensors(
    answer: object, expected: dict[str, np.ndarray]
) -> None:
    """Rows first, two dimensions at least, text as bytes."""
    found = flattened(answer)
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        assert found[name].dtype == array.dtype
        np.testing.assert_array_equal(found[name], array)


def test_a_message_arrives_as_it_was_sent() -> None:
    """Empty arrays, text with zeros and newlines in it, every type of number."""
    import io

    arrays = {
        "text": np.array([[b"a\n\0b", b""]], dtype=object),
        "none": np.zeros((0, 3), np.float32),
        "flag": np.array([True, False]),
        "big": np.array([2**62], np.int64),
    }
    stream = io.BytesIO()
    write_message(stream, {"kind": "x"}, arrays)
    stream.seek(0)
    header, found = read_message(stream)
    assert header["kind"] == "x"
    assert json.dumps(header)
    for name, array in arrays.items():
        assert found[name].dtype == array.dtype
        np.testing.assert_array_equal(found[name], array)
    with pytest.raises(EOFError):
        read_message(stream)


def test_what_is_only_importable_where_it_is_built_is_refused(
    tmp_path: Path, request_for: Requests, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It answers in the process that builds, and would not where it is served."""
    (tmp_path / "near_by.py").write_text(
        "import mlflow\nclass Near(mlflow.pyfunc.PythonModel):\n"
        "    def predict(self, context, model_input, params=None):\n        return model_input\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    import near_by  # type: ignore[import-not-found]

    path = log_code(tmp_path / "model", near_by.Near(), NUMBERS)
    with pytest.raises(UnsupportedGraphError, match="No module named 'near_by'"):
        build(request_for(path, trust_pickles=True))
