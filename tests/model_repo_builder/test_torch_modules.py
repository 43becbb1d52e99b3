"""TorchScript archives and pickled modules: asked as they are, exported, compared."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from conch.core import DYNAMIC
from conch.model_repo_builder import (
    BuildRequest,
    CorruptArtefactError,
    PickledModelError,
    UnsupportedGraphError,
    build,
    read_report,
)
from conch.model_repo_builder.torch_modules import is_torchscript

Requests = Callable[..., BuildRequest]
ROWS = np.random.default_rng(0).standard_normal((6, 4)).astype(np.float32)


class Branching(torch.nn.Module):
    """float32[n, 4] -> float32[n, 4]: twice a row, or its third where the batch sums below zero.

    Tracing would bake one branch in.
    """

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if bool(x.sum() > 0):
            return x * 2
        return x / 3


class Pair(torch.nn.Module):
    """float32[n, 4] -> {"left": float32[n, 3], "right": float32[n, 2]}, with a dropout."""

    def __init__(self) -> None:
        super().__init__()
        self.left = torch.nn.Linear(4, 3)
        self.right = torch.nn.Sequential(torch.nn.Dropout(0.5), torch.nn.Linear(4, 2))

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"left": self.left(x), "right": self.right(x)}


@pytest.fixture
def scripted(log_torch: Callable[..., Path], make_schema: Callable[..., Any]) -> Any:
    """Log a module after scripting it, as MLflow keeps ScriptModules."""

    def log(module: torch.nn.Module) -> Path:
        path = log_torch(
            torch.jit.script(module.eval()),
            ROWS,
            make_schema(("", "float32", (-1, 4))),
            serialization_format="pickle",
        )
        assert is_torchscript(path / "data" / "model.pth"), "MLflow pickled it: the test is void"
        return path

    return log


def test_torchscript_needs_no_trust(scripted: Any, request_for: Requests) -> None:
    """It runs no Python; it is exported and verified against itself, at every batch size."""
    torch.manual_seed(0)
    request = request_for(scripted(Pair()))
    manifest = build(request)
    assert [t.name for t in manifest.signature.outputs] == ["left", "right"]
    assert manifest.signature.inputs[0].name == "x"
    assert manifest.max_batch_size == 16
    assert read_report(request.output).batch_sizes == (1, 7, 16)


def test_both_branches_of_a_script_are_kept(scripted: Any, request_for: Requests) -> None:
    """A branch on values becomes a branch of the graph, and its rows must not be batched."""
    manifest = build(request_for(scripted(Branching())))
    assert manifest.max_batch_size == 0
    assert manifest.signature.inputs[0].shape == (DYNAMIC, 4)


def test_a_pickled_module_is_taken_where_it_is_trusted(
    log_torch: Callable[..., Path], make_schema: Callable[..., Any], request_for: Requests
) -> None:
    """It is put into inference mode, as MLflow's serving does, and its open sizes stay open."""
    torch.manual_seed(1)
    path = log_torch(
        Pair().train(),
        ROWS,
        make_schema(("rows", "float32", (-1, 4))),
        serialization_format="pickle",
    )
    with pytest.raises(PickledModelError, match="pt2"):
        build(request_for(path))
    manifest = build(request_for(path, trust_pickles=True))
    assert manifest.signature.inputs[0].name == "rows"
    assert manifest.max_batch_size == 16


def test_weights_without_a_network_are_refused(
    log_torch: Callable[..., Path], make_schema: Callable[..., Any], request_for: Requests
) -> None:
    """A state dict is a common mistake, and named."""
    path = log_torch(
        torch.nn.Linear(4, 3),
        ROWS,
        make_schema(("", "float32", (-1, 4))),
        serialization_format="pickle",
    )
    torch.save(torch.nn.Linear(4, 3).state_dict(), path / "data" / "model.pth")
    with pytest.raises(UnsupportedGraphError, match="OrderedDict"):
        build(request_for(path, trust_pickles=True))


def test_half_of_a_script_is_refused(scripted: Any, request_for: Requests) -> None:
    """What is left of a cut archive is no TorchScript, and so needs trust before it is opened."""
    path = scripted(Pair())
    file = path / "data" / "model.pth"
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    with pytest.raises(PickledModelError):
        build(request_for(path))
    with pytest.raises(CorruptArtefactError, match=r"model\.pth"):
        build(request_for(path, trust_pickles=True))
