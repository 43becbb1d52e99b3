"""TensorRT plans, built from the proven ONNX graph on the GPU of this machine.

A plan belongs to one kind of GPU and one version of TensorRT; both are part of the build. Where
there is no GPU nothing stands in for it: the ONNX graph is laid out for Triton's TensorRT execution
accelerator instead (`tensorrt_accelerator`), and the report says so.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import weakref
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from conch.core import DType, ModelFormat, Precision
from conch.triton_configs import BuildFacts, native_tensorrt

from .calibrating import FEWEST, calibration_batches, calibration_rows
from .errors import UnsupportedGraphError
from .formats import Making
from .onnx_format import FILE as GRAPH
from .onnx_precisions import write_eight_bits, write_half
from .sources import Arrays
from .steps import Step
from .tensorrt_probe import tensorrt_problem
from .tensorrt_worker import ANSWER, PLAN
from .variants import NativeForm, NativeModel, Variant

_MODULE: Final = "conch.model_repo_builder.tensorrt_worker"
_REFUSED: Final = frozenset({DType.BYTES, DType.FP64})


@dataclass(frozen=True, slots=True)
class TensorrtFormat:
    """A TensorRT plan in FP32 (without TF32), FP16 or INT8."""

    name: ModelFormat = ModelFormat.TENSORRT

    def refusal(self, making: Making, precision: Precision) -> str:
        """Say why the format does not take the model, or this machine cannot make it."""
        base = making.onnx
        if base is None:
            return "it starts from the ONNX graph, and there is none"
        if problem := tensorrt_problem():
            return problem
        ports = (*base.inputs, *base.outputs)
        if found := sorted({port.dtype.value for port in ports if port.dtype in _REFUSED}):
            return f"TensorRT takes no {', '.join(found)}"
        if precision is Precision.BF16:
            return "nothing here writes graphs in bfloat16, and TensorRT takes graphs as typed"
        if precision is Precision.INT8 and (rows := calibration_rows(making)) < FEWEST:
            return f"calibration wants {FEWEST} rows or more, and there are {rows}"
        return ""

    def make(self, making: Making, precision: Precision) -> tuple[Variant, tuple[Step, ...]]:
        """Build the plan in a child process, which then answers its rows too.

        Raises:
            UnsupportedGraphError: TensorRT does not take the graph, or the child ended.
        """
        base = making.onnx
        assert base is not None
        graph = base.files[GRAPH]
        typed = making.folder / GRAPH
        if precision is Precision.FP16:
            write_half(graph, typed)
        elif precision is Precision.INT8:
            write_eight_bits(graph, typed, calibration_batches(making))
        else:
            typed = graph
        session = TensorrtSession(making.folder)
        profile = shape_profile(making)
        cache = making.request.output.parent.parent / ".tensorrt" / "timing.cache"
        facts = session.build(typed, profile, cache)
        files = {PLAN: making.folder / PLAN}
        step = Step(
            name="tensorrt-plan",
            taken=True,
            reason=f"TensorRT {facts['tensorrt']} on {facts['gpu']} "
            f"(compute capability {facts['compute-capability']}); shapes {json.dumps(profile)}",
        )
        identity = f"tensorrt {precision} {facts} {base.structure}"
        return (
            replace(
                base,
                format=self.name,
                precision=precision,
                files=files,
                structure=hashlib.sha256(identity.encode()).hexdigest(),
                session=session,
                portable="a plan runs on its GPU by TensorRT, not by the Python backend",
                native=_native(files, facts),
                tools=facts,
            ),
            (step,),
        )


def shape_profile(making: Making) -> dict[str, list[list[int]]]:
    """Return the smallest, usual and largest shape of every input, of the rows asked.

    The batch goes from one row to what the server joins, eight being usual; other sizes are those
    that the registered model was asked.
    """
    batch = making.request.spec.max_batch_size
    found: dict[str, list[list[int]]] = {}
    for port in making.source.inputs:
        shapes = [one.case.inputs[port.name].shape for one in making.answered]
        low, high = np.min(shapes, axis=0), np.max(shapes, axis=0)
        usual = np.median(shapes, axis=0).astype(int)
        if port.dims and isinstance(port.dims[0], str):
            low[0], high[0] = 1, max(1, batch, int(high[0]))
            usual[0] = min(8, high[0])
        found[port.name] = [[int(size) for size in shape] for shape in (low, usual, high)]
    return found


class TensorrtSession:
    """A plan in a child process, asked through files.

    Args:
        folder: Where the plan and the rows lie.

    The child ends with this object, or when this process does.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._child = subprocess.Popen(
            [sys.executable, "-P", "-m", _MODULE, str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        weakref.finalize(self, self._child.kill)

    def build(
        self, graph: Path, profile: Mapping[str, list[list[int]]], timing_cache: Path
    ) -> dict[str, str]:
        """Build the plan; return what it is tied to."""
        task = {"graph": str(graph), "profile": profile, "timing_cache": str(timing_cache)}
        facts: dict[str, str] = self._ask({"build": task})["built"]
        return facts

    def run(self, inputs: Arrays) -> dict[str, np.ndarray]:
        """Answer rows; raises where the plan has no profile for them."""
        self.seconds(inputs)
        with np.load(self._folder / ANSWER, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}

    def seconds(self, inputs: Arrays) -> float:
        """Answer rows and return the seconds that the GPU took, with the transfers."""
        path = self._folder / "rows.npz"
        np.savez(path, **inputs)  # type: ignore[arg-type]
        return float(self._ask({"run": str(path)})["seconds"])

    def _ask(self, message: dict[str, Any]) -> dict[str, Any]:
        assert self._child.stdin is not None
        assert self._child.stdout is not None
        try:
            self._child.stdin.write(json.dumps(message) + "\n")
            self._child.stdin.flush()
            line = self._child.stdout.readline()
        except BrokenPipeError:
            line = ""
        answer: dict[str, Any] = json.loads(line) if line else {}
        if "error" in answer or not answer:
            words = answer.get("error") or f"its process ended with {self._child.poll()}"
            raise UnsupportedGraphError(
                f"TensorRT does not take the graph: {words}", hint="The ONNX graph is served."
            )
        return answer


def _native(files: Mapping[str, Path], facts: Mapping[str, str]) -> NativeForm:
    def models(given: BuildFacts) -> tuple[NativeModel, ...]:
        return (NativeModel(config=native_tensorrt(**given), files=files),)

    note = (
        f"the plan answered the rows on {facts['gpu']}; it loads in TensorRT {facts['tensorrt']} "
        f"on compute capability {facts['compute-capability']} only"
    )
    return NativeForm(backend="tensorrt", models=models, note=note)
