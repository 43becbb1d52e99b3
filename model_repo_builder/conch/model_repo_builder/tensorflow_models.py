"""MLflow's `tensorflow` and `keras` flavours: `.keras` files and SavedModel folders.

Both become one function of tensors in a known order. Nothing here imports TensorFlow before a model
of its own comes: the import takes ten seconds and half a gigabyte.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from conch.core import DType, InvalidValueError

from .errors import (
    CorruptArtefactError,
    FrameworkMissingError,
    PickledModelError,
    SignatureMismatchError,
    UnsupportedGraphError,
)
from .mlflow_models import DeclaredTensor, MlflowModel
from .onnx_models import fitted
from .sources import Arrays, AxisRange, Port

TENSORFLOW: Final = "tensorflow"
KERAS: Final = "keras"
BATCH: Final = "batch"
_CUSTOM_OBJECTS: Final = ("custom_objects.cloudpickle", "global_custom_objects.cloudpickle")
_SERVING: Final = "serving_default"
_KERAS_FILES: Final = ("model.keras", "model.h5")
_AUTOMATIC: Final = re.compile(r"(keras_tensor|input_layer|input|inputs)(_\d+)?")
"""Names that Keras gives by itself; they count up, so two trainings would differ in them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorflowModel:
    """A Keras model or a SavedModel's signature.

    Attributes:
        flavour: MLflow's name of the framework.
        call: From tensors in the order of `inputs` to tensors in the order of `output_names`.
        specs: The `tf.TensorSpec` of every input, in order.
        inputs: See `SourceModel`.
        axes: See `SourceModel`.
        output_names: Names of the tensors that it returns.
        example: See `SourceModel`.
    """

    flavour: str
    call: Callable[..., Sequence[Any]]
    specs: tuple[Any, ...]
    inputs: tuple[Port, ...]
    axes: Mapping[str, AxisRange]
    output_names: tuple[str, ...]
    example: Arrays | None

    def run(self, inputs: Arrays) -> dict[str, np.ndarray]:
        """Answer rows on the CPU, in inference mode."""
        import tensorflow as tf

        tensors = [
            tf.constant(_text(inputs[port.name]), dtype=spec.dtype)
            for port, spec in zip(self.inputs, self.specs, strict=True)
        ]
        answers = self.call(*tensors)
        return {
            name: np.asarray(tensor.numpy())
            for name, tensor in zip(self.output_names, answers, strict=True)
        }


def load_tensorflow(model: MlflowModel) -> TensorflowModel:
    """Load the `tensorflow` flavour of an MLflow model: a Keras model, or a SavedModel.

    Raises:
        FrameworkMissingError: TensorFlow is not installed.
        PickledModelError: It holds Python code, and models are not trusted.
        CorruptArtefactError: It cannot be read.
        SignatureMismatchError: MLflow's signature does not fit it.
        UnsupportedGraphError: It takes or returns something that is not a plain tensor.
    """
    config = model.flavours[TENSORFLOW]
    data = model.file(str(config.get("data") or config.get("saved_model_dir", "data")))
    return _loaded(model, TENSORFLOW, data, config.get("signature_def_key"))


def load_keras(model: MlflowModel) -> TensorflowModel:
    """Load the `keras` flavour of an MLflow model; see `load_tensorflow`."""
    config = model.flavours[KERAS]
    return _loaded(model, KERAS, model.file(str(config.get("data", "data"))), None)


def _loaded(model: MlflowModel, flavour: str, data: Path, key: str | None) -> TensorflowModel:
    try:
        import tensorflow  # noqa: F401
        import tf2onnx  # noqa: F401  a build needs it later
    except ImportError as error:
        raise FrameworkMissingError(
            f"TensorFlow or tf2onnx is not installed, and the model is of the flavour {flavour}.",
            hint="Install them: pip install 'conch[tensorflow]'.",
        ) from error
    file = _keras_file(data)
    if file is not None:
        return _keras(model, flavour, file)
    return _saved_model(model, flavour, _saved_folder(data), key)


def _keras_file(data: Path) -> Path | None:
    if data.is_file():
        return data
    return next((data / name for name in _KERAS_FILES if (data / name).is_file()), None)


def _saved_folder(data: Path) -> Path:
    for folder in (data, *sorted(path for path in data.iterdir() if path.is_dir())):
        if (folder / "saved_model.pb").is_file():
            return folder
    raise CorruptArtefactError(
        f"{data.name!r} holds neither a .keras file nor a SavedModel.",
        hint="Log the model again, or check that the download was complete.",
    )


def _keras(model: MlflowModel, flavour: str, file: Path) -> TensorflowModel:
    import keras
    import tensorflow as tf

    if keras.config.backend() != "tensorflow":
        raise UnsupportedGraphError(
            f"Keras runs on {keras.config.backend()} here; conch converts through TensorFlow.",
            hint="Unset KERAS_BACKEND where conch runs.",
        )
    held = [name for name in _CUSTOM_OBJECTS if (file.parent / name).exists()]
    custom = _custom_objects([file.parent / name for name in held], trusted=model.trusted)
    try:
        network = keras.saving.load_model(
            file, custom_objects=custom, compile=False, safe_mode=not model.trusted
        )
    except Exception as error:  # Keras raises what zip files, JSON, HDF5 and layers raise
        words = _last_words(error)
        if "unsafe deserialization" in words or "safe_mode" in words:
            raise PickledModelError(
                "The model holds a Lambda layer: loading it would run code that is stored in it.",
                hint="Use layers of Keras' own instead of Lambda, or let the operator trust the "
                "model.",
            ) from error
        raise CorruptArtefactError(
            f"{file.name} cannot be read by Keras {keras.__version__}: {words}",
            hint="Log it with the versions that conch has; layers of your own need to be in "
            "custom_objects, which the operator has to trust.",
        ) from error
    inputs, outputs = getattr(network, "inputs", None), getattr(network, "outputs", None)
    if not inputs or not outputs:
        raise UnsupportedGraphError(
            f"{type(network).__name__} does not say what it takes.",
            hint="Build it before logging, with keras.Input, or log model.export()'s SavedModel.",
        )
    names = _input_names([tensor.name.partition(":")[0] for tensor in inputs], model.inputs)
    structure = network._inputs_struct if hasattr(network, "_inputs_struct") else None
    specs = tuple(
        tf.TensorSpec(tuple(tensor.shape), tensor.dtype, name=name)
        for tensor, name in zip(inputs, names, strict=True)
    )

    def answer(*tensors: Any) -> list[Any]:
        given: Any = list(tensors)
        if structure is not None:
            given = tf.nest.pack_sequence_as(structure, given)
        elif len(given) == 1:
            given = given[0]
        return list(tf.nest.flatten(network(given, training=False)))

    call = tf.function(answer, input_signature=specs, autograph=False)
    answers = tf.nest.flatten(call.get_concrete_function().structured_outputs)
    said = list(getattr(network, "output_names", None) or [])
    described = network.output if isinstance(getattr(network, "output", None), Mapping) else None
    if isinstance(described, Mapping):
        said = sorted(str(key) for key in described)  # the order in which a mapping is flattened
    return _described(
        model, flavour, call, specs, names, _output_names(said, len(answers), model.outputs)
    )


def _custom_objects(paths: list[Path], *, trusted: bool) -> dict[str, Any] | None:
    if not paths:
        return None
    if not trusted:
        raise PickledModelError(
            f"The model brings layers as pickled code: {', '.join(path.name for path in paths)}.",
            hint="Log it without custom_objects (layers of Keras' own, or a SavedModel by "
            "model.export()), or let the operator trust the model.",
        )
    import cloudpickle

    found: dict[str, Any] = {}
    for path in paths:
        try:
            found.update(cloudpickle.loads(path.read_bytes()))
        except Exception as error:  # unpickling raises whatever the stored code raises
            raise CorruptArtefactError(
                f"{path.name} cannot be unpickled: {_last_words(error)}",
                hint="Install what the model's own modules need.",
            ) from error
    return found


def _saved_model(
    model: MlflowModel, flavour: str, folder: Path, key: str | None
) -> TensorflowModel:
    import tensorflow as tf

    try:
        loaded = tf.saved_model.load(str(folder))
        signatures = dict(loaded.signatures)
    except Exception as error:  # TensorFlow's errors share no class
        raise CorruptArtefactError(
            f"The SavedModel in {folder.name!r} cannot be read by TensorFlow {tf.__version__}: "
            f"{_last_words(error)}",
            hint="Log the model again, or check that the download was complete.",
        ) from error
    chosen = key or (_SERVING if _SERVING in signatures else next(iter(signatures), None))
    if chosen not in signatures or (not key and _SERVING not in signatures and len(signatures) > 1):
        raise UnsupportedGraphError(
            f"The SavedModel has the signature(s) {', '.join(sorted(signatures)) or 'none'}; "
            f"conch serves {key or _SERVING!r}.",
            hint="Save it with signatures={'serving_default': ...}, or by keras' model.export().",
        )
    function = signatures[chosen]
    given = function.structured_input_signature[1]
    wanted = sorted(function.structured_outputs)
    names = sorted(given)
    specs = tuple(tf.TensorSpec(given[n].shape, given[n].dtype, name=n) for n in names)

    def answer(*tensors: Any) -> list[Any]:
        found = function(**dict(zip(names, tensors, strict=True)))
        return [found[name] for name in wanted]

    call = tf.function(answer, input_signature=specs, autograph=False)
    call.keeps = loaded  # its variables live as long as somebody holds the object
    outputs = ["output"] if wanted == ["output_0"] else wanted  # Keras' export calls it so
    shown = _input_names(names, model.inputs)
    return _described(model, flavour, call, specs, shown, tuple(outputs))


def _described(
    model: MlflowModel,
    flavour: str,
    call: Any,
    specs: tuple[Any, ...],
    names: Sequence[str],
    outputs: tuple[str, ...],
) -> TensorflowModel:
    axes: dict[str, AxisRange] = {}
    ports = tuple(_port(spec, name, axes) for spec, name in zip(specs, names, strict=True))
    return TensorflowModel(
        flavour=flavour,
        call=call,
        specs=specs,
        inputs=ports,
        axes=axes,
        output_names=outputs,
        example=fitted(model.example, ports),
    )


def _port(spec: Any, name: str, axes: dict[str, AxisRange]) -> Port:
    try:
        dtype = DType.BYTES if spec.dtype.name == "string" else DType.from_numpy(spec.dtype.name)
    except (TypeError, InvalidValueError) as error:
        raise UnsupportedGraphError(
            f"Input {name!r} is of type {spec.dtype.name}, which cannot be served.",
            hint="Cast it inside the model; bfloat16 has no form on the wire.",
        ) from error
    if spec.shape.rank is None:
        raise UnsupportedGraphError(
            f"Input {name!r} does not say how many dimensions it has.",
            hint="Give it a shape; sizes may be None.",
        )
    dims: list[int | str] = []
    for place, size in enumerate(spec.shape):
        if size is None:
            axis = BATCH if place == 0 else f"{name}_{place}"
            axes[axis] = AxisRange()
            dims.append(axis)
        else:
            dims.append(int(size))
    return Port(name=name, dtype=dtype, dims=tuple(dims))


def _input_names(own: list[str], declared: tuple[DeclaredTensor, ...] | None) -> list[str]:
    """Name the inputs: by MLflow's signature, else by the model, where a person named them."""
    if declared is not None and len(declared) != len(own):
        raise SignatureMismatchError(
            f"The signature names {len(declared)} input(s), the model takes {len(own)}: "
            f"{', '.join(own)}.",
            hint="Log the model again with a signature that fits it.",
        )
    said = [tensor.name for tensor in declared or ()]
    if len(own) == 1:
        if said and said[0]:
            return said
        return ["input"] if _AUTOMATIC.fullmatch(own[0]) else own
    if said and all(said) and set(said) != set(own):
        raise SignatureMismatchError(
            f"The signature names the inputs {', '.join(said)}; the model takes {', '.join(own)}.",
            hint="Name them by keras.Input(name=...), and log the example under these names.",
        )
    return own


def _output_names(
    own: list[str], number: int, declared: tuple[DeclaredTensor, ...] | None
) -> tuple[str, ...]:
    said = [tensor.name for tensor in declared or ()]
    if len(said) == number and all(said) and len(set(said)) == number:
        return tuple(said) if number == 1 or set(said) != set(own) else tuple(own)
    if number == 1:
        return ("output",)
    if len(own) == number and len(set(own)) == number:
        return tuple(own)
    return tuple(f"output_{position}" for position in range(number))


def _text(array: np.ndarray) -> np.ndarray:
    if array.dtype.kind != "O":
        return array
    flat = [v if isinstance(v, bytes) else str(v).encode() for v in array.reshape(-1)]
    return np.array(flat, dtype=object).reshape(array.shape)


def _last_words(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0] if lines else ''}"[:500]
