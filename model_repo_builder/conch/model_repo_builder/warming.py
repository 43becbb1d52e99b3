"""What a fresh worker does before its first build, so that the build does not wait for it."""

from __future__ import annotations

import io

import numpy as np

from .onnx_sessions import OnnxSession
from .pytorch_models import PytorchModel
from .requests import RuntimeCaps
from .sources import AxisRange, Port
from .torch_export import TorchExporter


def warm() -> bool:
    """Export and run a model of one layer, which imports and initialises all that a build needs.

    Returns:
        Whether PyTorch is there; without it there is nothing to warm.
    """
    try:
        import torch
    except ImportError:
        return False
    from conch.core import DType

    layer = torch.nn.Linear(2, 2).eval()
    rows = torch.zeros(2, 2)
    shapes = ({0: torch.export.Dim.AUTO},)
    stored = io.BytesIO()
    torch.export.save(torch.export.export(layer, (rows,), dynamic_shapes=shapes), stored)
    stored.seek(0)
    program = torch.export.load(stored)
    source = PytorchModel(
        program=program,
        module=program.module(),
        inputs=(Port(name="x", dtype=DType.FP32, dims=("n", 2)),),
        axes={"n": AxisRange()},
        output_names=("y",),
        example=None,
    )
    inputs = {"x": np.zeros((1, 2), dtype=np.float32)}
    source.run(inputs)
    graph = TorchExporter().convert(source, caps=RuntimeCaps())
    OnnxSession(graph.SerializeToString()).run(inputs)
    return True
