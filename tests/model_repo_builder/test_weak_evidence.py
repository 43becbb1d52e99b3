"""Agreement on rows that do not exercise a model is called weak, and refused on request."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from conch.model_repo_builder import BuildRequest, WeakEvidenceError, build, read_report

Requests = Callable[..., BuildRequest]


class Biased(torch.nn.Module):
    """Scores whose first class always wins, by `bias`; `probabilities` saturates them."""

    def __init__(self, bias: float, *, probabilities: bool) -> None:
        super().__init__()
        self.net = torch.nn.Linear(4, 3)
        self.bias, self.probabilities = bias, probabilities

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        scores = self.net(torch.tanh(x)) + torch.tensor([self.bias, 0.0, 0.0])
        return scores.softmax(-1) if self.probabilities else scores


class Constant(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x[:, :1] * 0 + 3


@pytest.mark.parametrize(
    ("module", "why"),
    [
        pytest.param(Biased(50, probabilities=False), "predicts one class", id="one-class"),
        pytest.param(Biased(500, probabilities=True), "saturated", id="saturated"),
        pytest.param(Constant(), "the same on every row", id="constant"),
    ],
)
def test_rows_that_prove_little_are_called_weak(
    module: torch.nn.Module,
    why: str,
    log_torch: Callable[..., Path],
    request_for: Requests,
    make_schema: Callable[..., object],
) -> None:
    """The build goes on, marked; with the strict policy it is refused with the same words."""
    example = np.random.default_rng(0).standard_normal((4, 4)).astype(np.float32)
    path = log_torch(module.eval(), example, make_schema(("", "float32", (-1, 4))))
    manifest = build(request_for(path))
    report = read_report(manifest.path)
    assert report.passed
    assert not manifest.strong
    assert any(why in weakness for weakness in report.weaknesses)
    with pytest.raises(WeakEvidenceError, match=why):
        build(request_for(path, ordinal=2, refuse_weak_evidence=True))


def test_without_an_example_the_evidence_is_weak(
    log_onnx: Callable[..., Path], linear_graph: object, request_for: Requests
) -> None:
    """Rows that are all made up say less than the owner's own."""
    manifest = build(request_for(log_onnx(linear_graph)))
    assert manifest.weaknesses == ("no input example was logged, so all rows are made up",)
