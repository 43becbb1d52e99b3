"""Builds made by hand: a small Python model that answers with its version."""

from __future__ import annotations

import py_compile
from pathlib import Path

from conch.core import BuildRef, DType, Ordinal, Signature, TensorSpec, TritonName

MODEL = """
import os
import numpy as np
import triton_python_backend_utils as pb_utils

BEHAVIOUR = {behaviour!r}


def kill_server(number):
    import signal, time
    pid = os.getppid()
    while open(f"/proc/{{pid}}/comm").read().strip() != "tritonserver":
        pid = int(open(f"/proc/{{pid}}/stat").read().rpartition(")")[2].split()[1])
    os.kill(pid, getattr(signal, number))
    time.sleep(60)


class TritonPythonModel:
    def initialize(self, args):
        self.asked = 0
        self.version = int(args["model_version"])
        if BEHAVIOUR == "refuse":
            raise RuntimeError("these weights are broken")
        if BEHAVIOUR == "crash":
            kill_server("SIGKILL")
        if BEHAVIOUR.startswith("gate-"):
            import time
            while not os.path.exists(BEHAVIOUR[5:]):
                time.sleep(0.02)
        if BEHAVIOUR == "hang":
            import time
            time.sleep(3600)

    def execute(self, requests):
        self.asked += 1
        if BEHAVIOUR.startswith("fault-at-") and self.asked >= int(BEHAVIOUR[9:]):
            kill_server("SIGSEGV")
        responses = []
        for request in requests:
            x = pb_utils.get_input_tensor_by_name(request, "x").as_numpy()
            s = pb_utils.get_input_tensor_by_name(request, "s")
            outputs = [pb_utils.Tensor("y", (x * 2 + self.version).astype(np.float32))]
            if s is not None:
                outputs.append(pb_utils.Tensor("t", s.as_numpy()))
            responses.append(pb_utils.InferenceResponse(output_tensors=outputs))
        return responses
"""

CONFIG = """
name: "{model}"
backend: "python"
max_batch_size: 8
input [ {{ name: "x" data_type: TYPE_FP32 dims: [ 4 ] }},
        {{ name: "s" data_type: TYPE_STRING dims: [ 1 ] optional: true }} ]
output [ {{ name: "y" data_type: TYPE_FP32 dims: [ 4 ] }},
         {{ name: "t" data_type: TYPE_STRING dims: [ 1 ] }} ]
instance_group [ {{ count: 1 kind: KIND_CPU }} ]
"""

SIGNATURE = Signature(
    inputs=(
        TensorSpec(name="x", dtype=DType.FP32, shape=(4,)),
        TensorSpec(name="s", dtype=DType.BYTES, shape=(1,), optional=True),
    ),
    outputs=(
        TensorSpec(name="y", dtype=DType.FP32, shape=(4,)),
        TensorSpec(name="t", dtype=DType.BYTES, shape=(1,)),
    ),
)


def make_build(folder: Path, model: str, ordinal: int, *, behaviour: str = "answer") -> BuildRef:
    """Write a build that doubles `x` and adds its version, or misbehaves.

    Args:
        folder: Where builds go.
        model: The model.
        ordinal: Its version.
        behaviour: `answer`; `refuse` to load; `crash` the server while it loads (SIGKILL); `hang`
            for an hour while it loads; `gate-PATH`: load once that path exists; `fault-at-N`:
            crash the server (SIGSEGV) at the N-th execution.
    """
    build_id = f"{model}-b{ordinal}"
    path = folder / build_id
    version = path / "portable" / model / str(ordinal)
    version.mkdir(parents=True)
    (version / "model.py").write_text(MODEL.format(behaviour=behaviour))
    py_compile.compile(str(version / "model.py"), doraise=True)
    (version.parent / "config.pbtxt").write_text(CONFIG.format(model=model))
    return BuildRef(
        build_id=build_id,
        model=TritonName(model),
        ordinal=Ordinal(ordinal),
        path=path,
        digest=f"{ordinal:064x}",
        signature=SIGNATURE,
        max_batch_size=8,
    )
