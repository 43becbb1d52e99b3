"""A PyTorch module whose loop depends on values: no ONNX graph can express it, scripting can."""

from __future__ import annotations

from pathlib import Path

import mlflow
import numpy as np
import torch
from mlflow.models import ModelSignature
from mlflow.types import Schema, TensorSpec


class Halving(torch.nn.Module):
    """float32[n, 4] -> float32[n, 4]: halves each number until it is at most one."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        left = 40  # infinity is asked too, and would never get there
        while bool(x.abs().max() > 1) and left > 0:
            x = torch.where(x.abs() > 1, x / 2, x)
            left -= 1
        return x


def log_loop(path: Path) -> Path:
    """Log it as a pickle, which has to be trusted; returns the folder."""
    mlflow.pytorch.save_model(
        Halving().eval(),
        path=str(path),
        input_example=np.linspace(-4, 4, 24, dtype=np.float32).reshape(6, 4),
        signature=ModelSignature(Schema([TensorSpec(np.dtype(np.float32), (-1, 4), "x")])),
        pip_requirements=[],
        serialization_format="pickle",
    )
    return path
