"""Keras models and SavedModels become verified builds; TensorFlow only where there is one."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import mlflow
import numpy as np
import pytest
import tensorflow as tf
from logged_networks import FORMS, Form, conv, dense, log_network, rows_of, two_in_two_out
from mlflow.models import ModelSignature, infer_signature

from conch.core import DYNAMIC, DType
from conch.model_repo_builder import (
    BuildRequest,
    CorruptArtefactError,
    PickledModelError,
    SignatureMismatchError,
    UnsupportedGraphError,
    build,
    read_report,
)

Requests = Callable[..., BuildRequest]


@pytest.mark.parametrize("form", FORMS)
def test_each_way_of_logging_gives_one_build(
    form: Form, tmp_path: Path, request_for: Requests
) -> None:
    """A `.keras` file of either flavour and an exported SavedModel are served alike."""
    manifest = build(request_for(log_network(tmp_path / "model", dense(), form=form)))
    assert manifest.flavour == ("tensorflow" if form == "tensorflow" else "keras")
    (taken,) = manifest.signature.inputs
    (given,) = manifest.signature.outputs
    assert (taken.name, taken.dtype, taken.shape) == ("input", DType.FP32, (8,))
    assert (given.name, given.shape) == ("output", (3,))
    assert manifest.max_batch_size == 16
    assert manifest.strong
    assert manifest.tools["tensorflow-cpu"] == tf.__version__


def test_a_batch_norm_is_asked_in_inference_mode(tmp_path: Path, request_for: Requests) -> None:
    """The statistics of training are used, on both sides, not those of the batch."""
    network = conv()
    request = request_for(log_network(tmp_path / "model", network))
    build(request)
    (output,) = read_report(request.output).outputs
    rows = rows_of(network, 4)
    assert not np.allclose(network(rows, training=True), network(rows)), "the test is void"
    assert output.passed


def test_names_of_inputs_and_of_a_mapping_are_kept(tmp_path: Path, request_for: Requests) -> None:
    """Several inputs keep the names of `keras.Input`, several outputs those of the mapping."""
    network = two_in_two_out()
    rows = {
        "pixels": np.random.default_rng(0).random((5, 6, 6, 1), dtype=np.float32),
        "facts": np.random.default_rng(1).random((5, 3), dtype=np.float32),
    }
    path = tmp_path / "model"
    path.mkdir()
    signature = infer_signature(rows, network.predict(rows, verbose=0))
    mlflow.keras.save_model(network, str(path), signature=signature, pip_requirements=[])
    manifest = build(request_for(path))
    assert {t.name: t.shape for t in manifest.signature.inputs} == {
        "pixels": (6, 6, 1),
        "facts": (3,),
    }
    assert {t.name: t.shape for t in manifest.signature.outputs} == {"label": (4,), "size": (1,)}


class _Plain(tf.Module):
    """`x` float32[n, length] -> {"doubled": the same, "largest": float32[n]}."""

    def serve(self, x: Any) -> dict[str, Any]:
        return {"largest": tf.reduce_max(x, axis=1), "doubled": x * 2.0}


def _saved(path: Path) -> Path:
    module = _Plain()
    taken = [tf.TensorSpec((None, None), tf.float32, name="x")]
    serve = tf.function(module.serve, input_signature=taken)
    tf.saved_model.save(module, str(path / "data" / "tf2model"), signatures=serve)
    (path / "MLmodel").write_text(
        "flavors:\n  tensorflow:\n    data: data\n    model_type: tf2-module\n"
    )
    return path


def test_a_saved_model_without_keras(tmp_path: Path, request_for: Requests) -> None:
    """Any `tf.function` with a signature is served, with every dynamic axis asked at two sizes."""
    request = request_for(_saved(tmp_path))
    manifest = build(request)
    assert manifest.signature.inputs[0].shape == (DYNAMIC,)
    assert [t.name for t in manifest.signature.outputs] == ["doubled", "largest"]
    assert len(read_report(request.output).axes["x_1"]) == 2


def _lambda_network() -> Any:
    keras.utils.set_random_seed(3)
    return keras.Sequential([keras.Input((8,)), keras.layers.Lambda(lambda x: x * 2.0)])


def test_a_lambda_layer_is_code(tmp_path: Path, request_for: Requests) -> None:
    """It is refused as pickles are, and taken where the operator trusts the model."""
    path = log_network(tmp_path / "model", _lambda_network())
    with pytest.raises(PickledModelError, match="Lambda"):
        build(request_for(path))
    assert build(request_for(path, trust_pickles=True)).flavour == "keras"


def test_pickled_layers_are_code(tmp_path: Path, request_for: Requests) -> None:
    """MLflow's `custom_objects` are a pickle beside the model; it is not even opened."""
    path = log_network(
        tmp_path / "model", dense(), form="tensorflow", custom_objects={"Own": keras.layers.Dense}
    )
    assert (path / "data" / "custom_objects.cloudpickle").exists()
    (path / "data" / "custom_objects.cloudpickle").write_bytes(b"not a pickle")
    with pytest.raises(PickledModelError, match="custom_objects"):
        build(request_for(path))


@pytest.mark.parametrize("form", ["keras", "exported"])
def test_a_cut_file_is_refused(form: Form, tmp_path: Path, request_for: Requests) -> None:
    """Half of a `.keras` archive, or of a SavedModel's weights, is told from a bug."""
    path = log_network(tmp_path / "model", dense(), form=form)
    file = next(path.rglob("*.keras" if form == "keras" else "saved_model.pb"))
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    with pytest.raises(CorruptArtefactError, match=r"cannot be read by (Keras|TensorFlow)"):
        build(request_for(path))


def test_a_folder_without_a_model_is_refused(tmp_path: Path, request_for: Requests) -> None:
    """A SavedModel that lost its graph is named as what it is."""
    shutil.rmtree(_saved(tmp_path) / "data" / "tf2model" / "variables")
    (tmp_path / "data" / "tf2model" / "saved_model.pb").unlink()
    with pytest.raises(CorruptArtefactError, match=r"neither a \.keras file nor a SavedModel"):
        build(request_for(tmp_path))


def test_text_in_a_network_is_refused_in_the_converters_words(
    tmp_path: Path, request_for: Requests
) -> None:
    """ONNX has no operators for it, and nothing falls back in silence."""
    words = keras.layers.TextVectorization(max_tokens=20, output_sequence_length=4)
    words.adapt(["a red fox", "a lazy dog"])
    network = keras.Sequential(
        [
            keras.Input((1,), dtype="string"),
            words,
            keras.layers.Embedding(20, 3),
            keras.layers.Flatten(),
            keras.layers.Dense(2),
        ]
    )
    path = tmp_path / "model"
    (path / "data").mkdir(parents=True)
    network.save(path / "data" / "model.keras")
    (path / "input_example.json").write_text('[["a red fox"], ["dog"]]')
    (path / "MLmodel").write_text(
        "flavors:\n  keras:\n    data: data\nsaved_input_example_info:\n"
        "  artifact_path: input_example.json\n  type: ndarray\n"
    )
    with pytest.raises(UnsupportedGraphError, match="StringSplit"):
        build(request_for(path))


def test_a_signature_of_another_network_is_refused(
    tmp_path: Path, request_for: Requests, make_schema: Callable[..., Any]
) -> None:
    """Callers read the registry: what it says must be what is served."""
    wrong = ModelSignature(inputs=make_schema(("", "float32", (-1, 9))))
    path = log_network(tmp_path / "model", dense(), signature=wrong, input_example=None)
    with pytest.raises(SignatureMismatchError, match="9"):
        build(request_for(path))


def test_without_tensorflow_the_extra_is_named(tmp_path: Path) -> None:
    """The error says what to install."""
    path = log_network(tmp_path / "model", dense())
    script = (
        "import sys; sys.modules['tensorflow'] = None\n"
        "from pathlib import Path\n"
        "from conch.model_repo_builder import FrameworkMissingError\n"
        "from conch.model_repo_builder.loading import load_source\n"
        "from conch.model_repo_builder.mlflow_models import read_mlflow_model\n"
        "try:\n"
        "    load_source(read_mlflow_model(Path(sys.argv[1])))\n"
        "except FrameworkMissingError as error:\n"
        "    print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(path)], capture_output=True, text=True, check=True
    )
    assert "conch[tensorflow]" in done.stdout


def test_nobody_pays_for_tensorflow_who_does_not_use_it() -> None:
    """Ten seconds and half a gigabyte: neither importing the part nor warming a worker takes it."""
    script = (
        "import sys\n"
        "import conch.model_repo_builder.worker\n"
        "from conch.model_repo_builder.warming import warm\n"
        "warm()\n"
        "print(sorted({'tensorflow', 'keras'} & set(sys.modules)))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "[]"
