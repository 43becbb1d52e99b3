"""ONNX Runtime's TensorRT execution accelerator, for GPU builds that were made without a GPU."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from conch.triton_configs import (
    Accelerator,
    ExecutionAccelerators,
    ModelConfig,
    OptimizationPolicy,
)

_WORKSPACE_BYTES: Final = 1 << 30


def accelerated(config: ModelConfig) -> ModelConfig:
    """Return a configuration whose ONNX graph Triton compiles with TensorRT as it loads.

    The precision is FP32: another one would have to be proven first, which needs the GPU. Source:
    the server's `docs/user_guide/optimization.md`, "ONNX with TensorRT Optimization".
    """
    tensorrt = Accelerator(
        name="tensorrt",
        parameters={
            "precision_mode": "FP32",
            "max_workspace_size_bytes": str(_WORKSPACE_BYTES),
        },
    )
    accelerators = ExecutionAccelerators(gpu_execution_accelerator=(tensorrt,))
    policy = config.optimization or OptimizationPolicy()
    return replace(config, optimization=replace(policy, execution_accelerators=accelerators))
