"""What single backends refuse or ignore.

Sources: the data type table and the naming conventions of the server's `model_configuration.md`,
the README files and sources of the backends' repositories.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Final

from conch.core import DType

from ..optimization import Accelerator, ModelPriority
from ..placement import InstanceKind
from ..tensors import Input, Output
from .books import Problem, RuleBook, Subject

book = RuleBook()

_UNSUPPORTED: Final[dict[str, frozenset[DType]]] = {
    "tensorrt": frozenset(
        {
            DType.UINT16,
            DType.UINT32,
            DType.UINT64,
            DType.INT16,
            DType.FP64,
            DType.BYTES,
        }
    ),
    "onnxruntime": frozenset({DType.BF16}),
    "pytorch": frozenset({DType.UINT16, DType.UINT32, DType.UINT64, DType.BF16}),
    "openvino": frozenset({DType.FP64, DType.BF16, DType.BYTES}),
    "fil": frozenset(DType) - {DType.FP32},
}
FIL_FILES: Final = {
    "xgboost": "xgboost.model",
    "xgboost_json": "xgboost.json",
    "xgboost_ubj": "xgboost.ubj",
    "lightgbm": "model.txt",
    "treelite_checkpoint": "checkpoint.tl",
}
"""The file that the FIL backend expects, by the parameter `model_type`."""

_ORT_ACCELERATORS: Final = {
    "gpu_execution_accelerator": ("cuda", "tensorrt"),
    "cpu_execution_accelerator": ("openvino",),
}
_BOOLEANS: Final = ("is_classifier", "predict_proba")
_INDEXED = re.compile(r".+__\d+")


@book.error("dtype-unsupported")
def dtype_unsupported(subject: Subject) -> Iterator[Problem]:
    """The backend has no such data type."""
    refused = _UNSUPPORTED.get(subject.backend, frozenset())
    sides: dict[str, Sequence[Input | Output]] = {
        "input": subject.config.input,
        "output": subject.config.output,
    }
    for side, tensors in sides.items():
        for index, tensor in enumerate(tensors):
            if tensor.data_type is not None and tensor.data_type in refused:
                yield Problem(
                    f"{side}[{index}].data_type",
                    f"{subject.backend!r} takes no {tensor.data_type.triton}.",
                    "Cast in the graph, or in a Python model before or after.",
                )


@book.error("aoti-batching")
def aoti_batching(subject: Subject) -> Iterator[Problem]:
    """An AOTInductor package is asked to take batches or sequences."""
    if subject.config.platform != "torch_aoti":
        return
    if subject.config.max_batch_size > 1:
        yield Problem("max_batch_size", "Batches above 1 are not supported.", "Use 0 or 1.")
    if subject.config.sequence_batching is not None:
        yield Problem("sequence_batching", "Sequences are not supported.", "Remove it.")


@book.warning("torchscript-names")
def torchscript_names(subject: Subject) -> Iterator[Problem]:
    """Some of a TorchScript model's outputs are named by index, some not: their order decides."""
    if subject.backend != "pytorch" or subject.config.platform == "torch_aoti":
        return
    indexed = [bool(_INDEXED.fullmatch(output.name)) for output in subject.config.output]
    if any(indexed) and not all(indexed):
        yield Problem(
            "output",
            "Only some names end in __<index>, so that the order in the text decides.",
            "Name all outputs NAME__<index>.",
        )


@book.error("openvino-output-unnamed")
def openvino_output_unnamed(subject: Subject) -> Iterator[Problem]:
    """OpenVINO finds outputs by name, in the model as well as in the text."""
    if subject.backend != "openvino":
        return
    for index, output in enumerate(subject.config.output):
        if not output.name:
            yield Problem(
                f"output[{index}].name",
                "The backend refuses a model with unnamed outputs.",
                "Convert from ONNX, which names them, and repeat the names here.",
            )


@book.error("fil-model-type")
def fil_model_type(subject: Subject) -> Iterator[Problem]:
    """The format of the trees is not one that FIL reads."""
    if subject.backend != "fil":
        return
    found = subject.config.parameters.get("model_type", "xgboost")
    if found not in FIL_FILES:
        yield Problem(
            "parameters['model_type']",
            f"{found!r} is no format.",
            f"Use one of: {', '.join(FIL_FILES)}.",
        )


@book.warning("fil-model-type-implicit")
def fil_model_type_implicit(subject: Subject) -> Iterator[Problem]:
    """The format of the trees is not stated, which means XGBoost's old binary format."""
    if subject.backend == "fil" and "model_type" not in subject.config.parameters:
        yield Problem(
            "parameters['model_type']",
            "FIL reads xgboost.model, a format that XGBoost no longer writes by default.",
            f"Use one of: {', '.join(FIL_FILES)}.",
        )


@book.error("fil-names")
def fil_names(subject: Subject) -> Iterator[Problem]:
    """FIL's tensors are always called `input__0` and `output__0`."""
    if subject.backend != "fil":
        return
    expected: dict[str, tuple[Sequence[Input | Output], str]] = {
        "input": (subject.config.input, "input__0"),
        "output": (subject.config.output, "output__0"),
    }
    for side, (tensors, name) in expected.items():
        if tensors and tensors[0].name != name:
            yield Problem(
                f"{side}[0].name", f"{tensors[0].name!r} is not {name!r}.", f"Name it {name!r}."
            )


@book.error("fil-shape")
def fil_shape(subject: Subject) -> Iterator[Problem]:
    """FIL takes one row of features, with a batch dimension."""
    if subject.backend != "fil":
        return
    if subject.config.max_batch_size == 0:
        yield Problem("max_batch_size", "FIL always takes batches.", "State the largest one.")
    for index, tensor in enumerate(subject.config.input):
        if len(tensor.dims) != 1:
            yield Problem(
                f"input[{index}].dims",
                f"{list(tensor.dims)} is not one row of features.",
                "State dims: [ <number of features> ].",
            )


@book.error("fil-boolean")
def fil_boolean(subject: Subject) -> Iterator[Problem]:
    """A switch of FIL is neither `true` nor `false`."""
    if subject.backend != "fil":
        return
    for name in _BOOLEANS:
        value = subject.config.parameters.get(name, "true")
        if value not in ("true", "false"):
            yield Problem(f"parameters['{name}']", f"{value!r} is no switch.", "Use true or false.")


@book.warning("accelerator-ignored")
def accelerator_ignored(subject: Subject) -> Iterator[Problem]:
    """Execution accelerators are given to a backend that has none."""
    optimization = subject.config.optimization
    given = optimization and optimization.execution_accelerators
    if given and subject.backend not in ("onnxruntime", "tensorflow", ""):
        yield Problem(
            "optimization.execution_accelerators",
            f"{subject.backend!r} ignores them.",
            "Remove them.",
        )


@book.error("accelerator-unknown")
def accelerator_unknown(subject: Subject) -> Iterator[Problem]:
    """ONNX Runtime has no such accelerator for that device."""
    if subject.backend != "onnxruntime":
        return
    for side, index, accelerator in _accelerators(subject):
        known = _ORT_ACCELERATORS[side]
        if accelerator.name not in known:
            yield Problem(
                f"optimization.execution_accelerators.{side}[{index}].name",
                f"{accelerator.name!r} is none.",
                f"Use one of: {', '.join(known)}.",
            )


@book.warning("accelerator-device")
def accelerator_device(subject: Subject) -> Iterator[Problem]:
    """An accelerator for GPUs is given, and every instance is on the CPU."""
    groups = subject.config.instance_group
    on_cpu = bool(groups) and all(group.kind is InstanceKind.CPU for group in groups)
    for side, index, accelerator in _accelerators(subject):
        if side == "gpu_execution_accelerator" and on_cpu:
            yield Problem(
                f"optimization.execution_accelerators.{side}[{index}]",
                f"No instance on a GPU can use {accelerator.name!r}.",
                "Remove it, or place instances on a GPU.",
            )


@book.warning("graph-level-unknown")
def graph_level_unknown(subject: Subject) -> Iterator[Problem]:
    """ONNX Runtime has no such level of graph optimisation."""
    optimization = subject.config.optimization
    graph = optimization.graph if optimization else None
    if subject.backend == "onnxruntime" and graph and graph.level not in (-1, 0, 1, 2):
        yield Problem(
            "optimization.graph.level",
            f"{graph.level} is no level.",
            "-1 is basic, 1 extended, 2 off; leave it out for everything.",
        )


@book.warning("optimization-ignored")
def optimization_ignored(subject: Subject) -> Iterator[Problem]:
    """A setting has an effect in TensorRT only: CUDA graphs, priority, eager batches, gathering."""
    optimization = subject.config.optimization
    if optimization is None or subject.backend in ("tensorrt", ""):
        return
    graphs = optimization.cuda is not None and optimization.cuda.graphs
    given = {
        "cuda.graphs": graphs,
        "priority": optimization.priority is not ModelPriority.DEFAULT,
        "eager_batching": optimization.eager_batching,
        "gather_kernel_buffer_threshold": optimization.gather_kernel_buffer_threshold > 0,
    }
    for name, there in given.items():
        if there:
            yield Problem(f"optimization.{name}", f"{subject.backend!r} ignores it.", "Remove it.")


def _accelerators(subject: Subject) -> Iterator[tuple[str, int, Accelerator]]:
    optimization = subject.config.optimization
    given = optimization.execution_accelerators if optimization else None
    if given is None:
        return
    for side in _ORT_ACCELERATORS:
        for index, accelerator in enumerate(getattr(given, side)):
            yield side, index, accelerator
