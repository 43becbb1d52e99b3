"""The structure of a graph: equal for other weights, different for another architecture."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from conch.model_repo_builder import BuildRequest, build

Make = Callable[[torch.nn.Module], str]


@pytest.fixture
def digest_of(
    log_torch: Callable[..., Path],
    make_schema: Callable[..., object],
    request_for: Callable[..., BuildRequest],
) -> Make:
    """Build a module of 6 inputs and return its graph's digest."""
    ordinals = iter(range(1, 100))

    def make(module: torch.nn.Module) -> str:
        example = np.random.default_rng(0).standard_normal((4, 6)).astype(np.float32)
        path = log_torch(module.eval(), example, make_schema(("", "float32", (-1, 6))))
        return build(request_for(path, ordinal=next(ordinals))).graph_digest

    return make


def net(width: int = 8, *, activation: type[torch.nn.Module] = torch.nn.ReLU) -> torch.nn.Module:
    """A small network."""
    return torch.nn.Sequential(torch.nn.Linear(6, width), activation(), torch.nn.Linear(width, 3))


def test_other_weights_are_the_same_graph(digest_of: Make) -> None:
    """Continual learning makes patch versions."""
    torch.manual_seed(0)
    first = digest_of(net())
    torch.manual_seed(1)
    assert digest_of(net()) == first


def test_another_architecture_is_another_graph(digest_of: Make) -> None:
    """A width, an activation or a layer changed."""
    deeper = torch.nn.Sequential(net(), torch.nn.Tanh())
    digests = {
        digest_of(module) for module in (net(), net(9), net(activation=torch.nn.Tanh), deeper)
    }
    assert len(digests) == 4
