"""The first format: one ONNX graph, from whichever converter takes the source."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import onnx

from conch.core import ModelFormat, Precision, Profile
from conch.triton_configs import BuildFacts, InstanceKind, native_onnx

from .converting import CONVERTERS, Converter, convert
from .errors import UnsupportedGraphError
from .formats import Making
from .onnx_graphs import graph_digest, input_ports, output_ports
from .onnx_sessions import OnnxSession
from .pyfunc_models import PyfuncModel
from .signatures import coarsest_float
from .steps import Step
from .tensorrt_accelerator import accelerated
from .variants import NativeForm, NativeModel, Variant, portable_with

FILE: Final = "model.onnx"


@dataclass(frozen=True, slots=True)
class OnnxFormat:
    """ONNX, run by ONNX Runtime."""

    converters: tuple[Converter, ...] = CONVERTERS
    name: ModelFormat = ModelFormat.ONNX

    def refusal(self, making: Making, precision: Precision) -> str:
        """Say why the format does not take the model: but for code, only the converters know."""
        del precision
        return "the model is Python code" if isinstance(making.source, PyfuncModel) else ""

    def make(self, making: Making, precision: Precision) -> tuple[Variant, tuple[Step, ...]]:
        """Convert by the first converter that takes the source.

        Raises:
            UnsupportedGraphError: No converter takes it, or the one that does fails.
            RuntimeCapsError: The graph is newer than what the serving runtime reads.
        """
        graph, steps = convert(making.source, caps=making.request.caps, converters=self.converters)
        payload = _checked(graph)
        path = making.folder / FILE
        path.write_bytes(payload)
        return (
            Variant(
                format=self.name,
                precision=precision,
                files={FILE: path},
                inputs=input_ports(graph),
                outputs=output_ports(graph),
                coarsest=coarsest_float(graph),
                structure=graph_digest(graph),
                session=OnnxSession(payload),
                portable=portable_with("onnxruntime", making.request.caps),
                native=_native(making.request.profile, {FILE: path}),
            ),
            steps,
        )


def _native(profile: Profile, files: dict[str, Any]) -> NativeForm:
    def on_the_cpu(facts: BuildFacts) -> tuple[NativeModel, ...]:
        return (NativeModel(config=native_onnx(**facts), files=files),)

    def on_a_gpu(facts: BuildFacts) -> tuple[NativeModel, ...]:
        config = accelerated(native_onnx(kind=InstanceKind.GPU, **facts))
        return (NativeModel(config=config, files=files),)

    if profile is Profile.CPU:
        note = "the same file answered the rows here in ONNX Runtime on the CPU"
        return NativeForm(backend="onnxruntime", models=on_the_cpu, note=note)
    note = (
        "Triton's TensorRT execution accelerator compiles the graph on the server's GPU when it "
        "loads; the file answered the rows here on the CPU only, the golden rows prove the rest"
    )
    return NativeForm(backend="onnxruntime", models=on_a_gpu, note=note)


def _checked(graph: Any) -> bytes:
    try:
        onnx.checker.check_model(graph)
        return bytes(graph.SerializeToString())
    except Exception as error:  # the checker's and protobuf's errors share no class
        words = str(error).strip().splitlines() or [type(error).__name__]
        raise UnsupportedGraphError(
            f"The converted graph is not a valid ONNX file: {words[0]:.300}",
            hint="One file holds up to 2 GiB; a larger model needs half precision or a split.",
        ) from error
