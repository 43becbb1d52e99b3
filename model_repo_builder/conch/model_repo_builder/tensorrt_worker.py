"""TensorRT in a process of its own: `python -m conch.model_repo_builder.tensorrt_worker FOLDER`.

It reads one JSON object per line and answers each with one: `{"build": {...}}` writes `model.plan`
into the folder, `{"run": file}` answers the rows of an `.npz` file into `answer.npz` and says how
many seconds the GPU took with the transfers. An error is `{"error": text}`. It ends with its input.

Sources: TensorRT's Python API (`IBuilderConfig`, `IOptimizationProfile`, `IExecutionContext`) and
CUDA's driver API, called by ctypes so that no further package is needed.
"""

from __future__ import annotations

import ctypes
import json
import os
import sys
import time
from pathlib import Path
from typing import Any, Final

import numpy as np

PLAN: Final = "model.plan"
ANSWER: Final = "answer.npz"
_WORKSPACE_BYTES: Final = 4 << 30


def main() -> None:
    """Serve one build and its rows until the input ends."""
    folder = Path(sys.argv[1])
    channel = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what TensorRT prints is no answer
    gpu, engine = Gpu(), None
    for line in sys.stdin:
        message = json.loads(line)
        try:
            if "build" in message:
                engine, answer = _built(folder, message["build"], gpu)
            else:
                assert engine is not None
                answer = {"seconds": engine.answer(Path(message["run"]), folder / ANSWER)}
        except Exception as error:  # TensorRT's and CUDA's errors share no class
            answer = {"error": f"{type(error).__name__}: {error}"[:2000]}
        channel.write(json.dumps(answer) + "\n")
        channel.flush()
    channel.close()
    os._exit(0)  # TensorRT's destructors have crashed at the end of processes


class Gpu:
    """The first GPU, by CUDA's driver API."""

    def __init__(self) -> None:
        self._cuda = ctypes.CDLL("libcuda.so.1")
        self._call("cuInit", 0)
        device, context = ctypes.c_int(), ctypes.c_void_p()
        self._call("cuDeviceGet", ctypes.byref(device), 0)
        self._call("cuDevicePrimaryCtxRetain", ctypes.byref(context), device)
        self._call("cuCtxSetCurrent", context)
        name = ctypes.create_string_buffer(256)
        self._call("cuDeviceGetName", name, 256, device)
        major, minor = ctypes.c_int(), ctypes.c_int()
        self._call("cuDeviceGetAttribute", ctypes.byref(major), 75, device)
        self._call("cuDeviceGetAttribute", ctypes.byref(minor), 76, device)
        self.name = name.value.decode()
        self.capability = f"{major.value}.{minor.value}"
        stream = ctypes.c_void_p()
        self._call("cuStreamCreate", ctypes.byref(stream), 0)
        self.stream = int(stream.value or 0)

    def allocate(self, size: int) -> int:
        """Return the address of new device memory."""
        address = ctypes.c_uint64()
        self._call("cuMemAlloc_v2", ctypes.byref(address), ctypes.c_size_t(max(1, size)))
        return int(address.value)

    def free(self, address: int) -> None:
        """Give device memory back."""
        self._call("cuMemFree_v2", ctypes.c_uint64(address))

    def put(self, address: int, array: np.ndarray) -> None:
        """Copy an array to the device."""
        pointer = array.ctypes.data_as(ctypes.c_void_p)
        self._call("cuMemcpyHtoD_v2", ctypes.c_uint64(address), pointer, array.nbytes)

    def get(self, address: int, array: np.ndarray) -> None:
        """Copy device memory into an array."""
        pointer = array.ctypes.data_as(ctypes.c_void_p)
        self._call("cuMemcpyDtoH_v2", pointer, ctypes.c_uint64(address), array.nbytes)

    def wait(self) -> None:
        """Wait until the stream is done."""
        self._call("cuStreamSynchronize", ctypes.c_void_p(self.stream))

    def _call(self, name: str, *arguments: Any) -> None:
        if (code := getattr(self._cuda, name)(*arguments)) != 0:
            raise RuntimeError(f"{name} failed with CUDA error {code}")


class Engine:
    """A plan that is loaded and answers rows."""

    def __init__(self, plan: bytes, gpu: Gpu) -> None:
        import tensorrt as trt

        self._trt, self._gpu = trt, gpu
        self._runtime = trt.Runtime(trt.Logger(trt.Logger.ERROR))
        self._engine = self._runtime.deserialize_cuda_engine(plan)
        self._context = self._engine.create_execution_context()
        names = [self._engine.get_tensor_name(n) for n in range(self._engine.num_io_tensors)]
        modes = {name: self._engine.get_tensor_mode(name) for name in names}
        self._inputs = [name for name in names if modes[name] == trt.TensorIOMode.INPUT]
        self._outputs = [name for name in names if modes[name] == trt.TensorIOMode.OUTPUT]

    def answer(self, source: Path, target: Path) -> float:
        """Answer the rows of a file into another; return the seconds with the transfers."""
        with np.load(source, allow_pickle=False) as file:
            rows = {name: np.ascontiguousarray(file[name]) for name in self._inputs}
        for name, array in rows.items():
            if not self._context.set_input_shape(name, array.shape):
                raise ValueError(f"input {name!r} of shape {list(array.shape)} is in no profile")
        answers = {
            name: np.empty(
                tuple(self._context.get_tensor_shape(name)),
                dtype=self._trt.nptype(self._engine.get_tensor_dtype(name)),
            )
            for name in self._outputs
        }
        places = {
            name: self._gpu.allocate(array.nbytes) for name, array in {**rows, **answers}.items()
        }
        try:
            for name, address in places.items():
                self._context.set_tensor_address(name, address)
            begun = time.perf_counter()
            for name, array in rows.items():
                self._gpu.put(places[name], array)
            if not self._context.execute_async_v3(self._gpu.stream):
                raise RuntimeError("the engine did not run")
            self._gpu.wait()
            for name, array in answers.items():
                self._gpu.get(places[name], array)
            seconds = time.perf_counter() - begun
        finally:
            for address in places.values():
                self._gpu.free(address)
        np.savez(target, **answers)  # type: ignore[arg-type]
        return seconds


def _built(folder: Path, task: dict[str, Any], gpu: Gpu) -> tuple[Engine, dict[str, Any]]:
    import tensorrt as trt

    logger = trt.Logger(trt.Logger.ERROR)
    builder = trt.Builder(logger)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, logger)
    if not parser.parse_from_file(task["graph"]):
        raise ValueError("; ".join(str(parser.get_error(n)) for n in range(parser.num_errors)))
    config = builder.create_builder_config()
    config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, _WORKSPACE_BYTES)
    config.clear_flag(trt.BuilderFlag.TF32)  # which keeps 10 of FP32's 23 bits
    cached = Path(task["timing_cache"])
    cache = config.create_timing_cache(cached.read_bytes() if cached.exists() else b"")
    config.set_timing_cache(cache, ignore_mismatch=False)
    profile = builder.create_optimization_profile()
    for name, shapes in task["profile"].items():
        profile.set_shape(name, *(tuple(shape) for shape in shapes))
    config.add_optimization_profile(profile)
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise RuntimeError("TensorRT built no engine")
    cached.parent.mkdir(parents=True, exist_ok=True)
    cached.write_bytes(bytes(config.get_timing_cache().serialize()))
    payload = bytes(plan)
    (folder / PLAN).write_bytes(payload)
    facts = {"tensorrt": trt.__version__, "gpu": gpu.name, "compute-capability": gpu.capability}
    return Engine(payload, gpu), {"built": facts}


if __name__ == "__main__":
    main()
