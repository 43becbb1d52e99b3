"""TorchScript by scripting, where neither torch.export nor ONNX can express the model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from conch.core import ModelFormat, ServingSpec
from conch.model_repo_builder import BuildRequest, RuntimeCaps, UnsupportedGraphError, build
from conch.model_repo_builder.portable_model import Script
from conch.triton_configs import lint, parse

Requests = Callable[..., BuildRequest]
ROWS = 4 * np.random.default_rng(0).standard_normal((6, 4)).astype(np.float32)


class Halving(torch.nn.Module):
    """float32[n, 4] -> float32[n, 4]: halves a batch until nothing in it is above one."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        left = 40  # infinity is asked too, and would never get there
        while bool(x.abs().max() > 1) and left > 0:
            x = x / 2
            left -= 1
        return x + 1


class Unscriptable(torch.nn.Module):
    """Halves too, and asks something of Python that TorchScript does not have."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        left = 40
        while bool(x.abs().max() > 1) and left > 0:
            try:
                x = x / 2
            except ValueError:
                break
            left -= 1
        return x + 1


@pytest.fixture
def pickled(log_torch: Callable[..., Path], make_schema: Callable[..., Any]) -> Any:
    """Log a module as a pickle."""

    def log(module: torch.nn.Module) -> Path:
        schema = make_schema(("x", "float32", (-1, 4)))
        return log_torch(module.eval(), ROWS, schema, serialization_format="pickle")

    return log


def test_a_loop_on_values_is_scripted(pickled: Any, request_for: Requests) -> None:
    """Export and ONNX say why they cannot; scripting keeps the loop, and rows are not batched."""
    caps = RuntimeCaps(engines=("onnxruntime", "torch"))
    manifest = build(request_for(pickled(Halving()), trust_pickles=True, caps=caps))
    assert manifest.variant == "torchscript:fp32"
    assert manifest.max_batch_size == 0
    steps = {step["name"]: step for step in manifest.steps}
    assert not steps["onnx:fp32"]["taken"]
    assert manifest.flavours == {
        "portable": "torchscript:fp32",
        "native": "torchscript:fp32 pytorch",
    }
    config = parse((manifest.path / "native/digits/config.pbtxt").read_text())
    assert lint(config, triton="26.05-py3", folder="digits", versions=(1,)) == ()
    assert (config.backend, config.platform) == ("pytorch", "pytorch_libtorch")
    engine = Script(str(manifest.path / "portable/digits/1/model.pt"))
    for rows in (ROWS, ROWS / 100, 50 * ROWS[:1]):
        (answer,) = engine.run({"x": rows}, ["output"])
        expected = Halving()(torch.from_numpy(rows)).numpy()
        np.testing.assert_array_equal(answer, expected)


def test_a_runtime_without_pytorch_gets_no_portable_flavour(
    pickled: Any, request_for: Requests
) -> None:
    """Said in the steps, rather than laid out and failing at the load."""
    manifest = build(request_for(pickled(Halving()), trust_pickles=True))
    assert manifest.flavours == {"native": "torchscript:fp32 pytorch"}
    reasons = {step["name"]: step["reason"] for step in manifest.steps}
    assert reasons["portable"] == "torchscript:fp32: the serving runtime has no torch"


def test_what_cannot_be_scripted_is_refused(pickled: Any, request_for: Requests) -> None:
    """With the words of what was tried; nothing is traced instead."""
    spec = ServingSpec(max_batch_size=16, format=ModelFormat.TORCHSCRIPT)
    request = request_for(pickled(Unscriptable()), trust_pickles=True)
    with pytest.raises(UnsupportedGraphError, match="PyTorch cannot script"):
        build(replace(request, spec=spec))
