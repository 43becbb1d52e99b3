"""OpenVINO's intermediate representation, read from the proven ONNX graph.

Made and loaded with the OpenVINO that the Triton images carry (the extra pins it), so that what
loads here loads there.
"""

from __future__ import annotations

import hashlib
import importlib.util
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import onnx

from conch.core import DType, ModelFormat, Precision
from conch.triton_configs import BuildFacts, native_openvino

from .calibrating import FEWEST, calibration_batches, calibration_rows
from .errors import UnsupportedGraphError
from .formats import Making
from .onnx_format import FILE as GRAPH
from .openvino_sessions import OpenvinoSession, refused
from .portable_model import OPENVINO_FILE
from .quantizing import quantized
from .steps import Step
from .variants import NativeForm, NativeModel, Variant, portable_with

_WEIGHTS: Final = "model.bin"
_TREES: Final = "ai.onnx.ml"
_REFUSED: Final = frozenset({DType.BYTES, DType.FP64, DType.BF16})


@dataclass(frozen=True, slots=True)
class OpenvinoFormat:
    """OpenVINO IR in FP32, with weights in FP16, or in INT8."""

    name: ModelFormat = ModelFormat.OPENVINO

    def refusal(self, making: Making, precision: Precision) -> str:
        """Say why the format does not take the model."""
        onnx_variant = making.onnx
        if onnx_variant is None:
            return "it starts from the ONNX graph, and there is none"
        missing = [name for name in _modules(precision) if importlib.util.find_spec(name) is None]
        if missing:
            return f"{', '.join(missing)} is not installed: pip install 'conch[openvino]'"
        ports = (*onnx_variant.inputs, *onnx_variant.outputs)
        if found := sorted({port.dtype.value for port in ports if port.dtype in _REFUSED}):
            return f"OpenVINO in Triton takes no {', '.join(found)}"
        if onnx_variant.coarsest is DType.FP64:
            return "OpenVINO computes float64 in float32"
        if precision is not Precision.FP32 and onnx_variant.coarsest is DType.FP16:
            return "the model is in FP16 already"
        if precision is Precision.INT8:
            rows = calibration_rows(making)
            if rows < FEWEST:
                return (
                    f"calibration wants {FEWEST} rows or more, and there are {rows}: log a larger "
                    "input example, or name reference rows"
                )
        return ""

    def make(self, making: Making, precision: Precision) -> tuple[Variant, tuple[Step, ...]]:
        """Read the ONNX graph, compress or quantise it, and write `model.xml` with its weights.

        Raises:
            UnsupportedGraphError: OpenVINO lacks an operator, or quantisation fails.
        """
        import openvino

        base = making.onnx
        assert base is not None
        path = making.folder / OPENVINO_FILE
        steps: tuple[Step, ...] = ()
        _refuse_trees(base.files[GRAPH])
        try:
            model = openvino.Core().read_model(base.files[GRAPH])
            if precision is Precision.INT8:
                batches = calibration_batches(making)
                model = quantized(model, batches)
                rows = sum(len(next(iter(one.values()))) for one in batches)
                reason = f"NNCF on {rows} rows in {len(batches)} batches"
                steps = (Step(name="calibration", taken=True, reason=reason),)
            _name_by_order(model)
            _keep_names(model, base)
            openvino.save_model(model, path, compress_to_fp16=precision is Precision.FP16)
        except UnsupportedGraphError:
            raise
        except Exception as error:  # OpenVINO's errors share no public class
            raise refused("does not take the graph", error) from error
        files = {OPENVINO_FILE: path, _WEIGHTS: path.with_suffix(".bin")}
        made = replace(
            base,
            format=self.name,
            precision=precision,
            files=files,
            structure=_structure(base.structure, precision),
            session=OpenvinoSession(path),
            portable=portable_with("openvino", making.request.caps),
            native=_native(files, precision),
        )
        return made, steps


def _modules(precision: Precision) -> tuple[str, ...]:
    return ("openvino", "nncf") if precision is Precision.INT8 else ("openvino",)


def _refuse_trees(path: Path) -> None:
    """OpenVINO's own message for trees is a page long."""
    model = onnx.load(str(path), load_external_data=False)
    found = sorted({node.op_type for node in model.graph.node if node.domain == _TREES})
    if found:
        raise UnsupportedGraphError(f"OpenVINO has no {', '.join(found)}.")


def _name_by_order(model: Any) -> None:
    """OpenVINO numbers operators over the life of the process, so that no two files are equal."""
    for number, operator in enumerate(model.get_ordered_ops()):
        if operator.get_type_name() not in ("Parameter", "Result"):
            operator.set_friendly_name(f"{operator.get_type_name()}_{number}")


def _keep_names(model: Any, base: Variant) -> None:
    """Leave each input and output the graph's one name.

    OpenVINO takes identities out and gives the tensor all the names that it had on the way, of
    which it calls it by any; ports are in the order of the graph's.
    """
    for found, given in ((model.inputs, base.inputs), (model.outputs, base.outputs)):
        for port, named in zip(found, given, strict=True):
            port.get_tensor().set_names({named.name})


def _structure(base: str, precision: Precision) -> str:
    """The same graph in another form is another structure: MINOR, not PATCH."""
    return hashlib.sha256(f"openvino {precision} {base}".encode()).hexdigest()


def _native(files: dict[str, Path], precision: Precision) -> NativeForm:
    def models(facts: BuildFacts) -> tuple[NativeModel, ...]:
        options = {
            "INFERENCE_NUM_THREADS": "1",
            "NUM_STREAMS": "1",
            "SKIP_OV_DYNAMIC_BATCHSIZE": "YES",  # the batch axis is dynamic in the file already
        }
        facts = {**facts, "parameters": {**facts.get("parameters", {}), **options}}
        return (NativeModel(config=native_openvino(**facts), files=files),)

    note = (
        "the same files answered the rows here in OpenVINO with float32 arithmetic; Triton's "
        "backend has no option for that, so on a CPU with bfloat16 the golden rows decide"
    )
    return NativeForm(backend="openvino", models=models, note=note)
