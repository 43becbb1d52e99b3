"""The whole platform for tests: real MLflow, control plane, Triton and Envoy, once per session."""

from __future__ import annotations

import itertools
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest

from conch import local
from conch.control import platform
from conch.control.client import Client
from conch.control.demo.registering import answers, register_network
from conch.control.keys import read_key
from conch.control.settings import MlflowSettings, Settings, read_settings

__all__ = [
    "Platform",
    "answers",
    "fresh",
    "perceptron",
    "platform_settings",
    "register",
    "running_whole_platform",
    "whole_platform",
]


_NUMBERS: Final = itertools.count(1)


def fresh(name: str) -> str:
    """Return a model name that nobody on the session's platform has: a test may run again."""
    return f"{name}-{next(_NUMBERS)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Platform:
    """A platform that runs."""

    settings: Settings
    client: Client


def platform_settings(home: Path, **given: Any) -> Settings:
    """Return settings for a platform on free ports."""
    return platform.with_free_ports(
        read_settings(home=home, mlflow=MlflowSettings(sweep_s=60, timeout_s=30), **given)
    )


@pytest.fixture(scope="session")
def whole_platform() -> Iterator[Platform]:
    """The session's platform."""
    with running_whole_platform() as found:
        yield found


@contextmanager
def running_whole_platform(**given: Any) -> Iterator[Platform]:
    """Run a platform for the block. Its home has a short path, because of Unix sockets.

    Args:
        given: Groups of settings over those of the tests.
    """
    home = Path(tempfile.mkdtemp(prefix="conch-e2e-"))
    settings = platform_settings(home, **given)
    local.install()
    try:
        platform.up(settings)
        with Client(settings.control_url, key=read_key(home)) as client:
            yield Platform(settings=settings, client=client)
    finally:
        platform.down(settings)
    shutil.rmtree(home)


def perceptron(seed: int, *, inputs: int = 16, outputs: int = 4) -> Any:
    """Return a small network with random weights, a `torch.nn.Module` in evaluation mode."""
    import torch
    from torch import nn

    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(inputs, 32), nn.ReLU(), nn.Linear(32, outputs)).eval()


def register(module: Any, name: str, uri: str, *, rows: np.ndarray) -> int:
    """Log a network with MLflow's pytorch flavour and register it; return the version's number."""
    return register_network(module, name=name, tracking_uri=uri, rows=rows, experiment="tests")
