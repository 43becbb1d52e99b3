"""The published configuration is one that Triton takes whole, with every batch size warmed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from conch.core import ServingSpec
from conch.model_repo_builder import BuildRequest, build
from conch.triton_configs import lint, parse


@pytest.mark.parametrize(
    "spec",
    [
        pytest.param(ServingSpec(), id="defaults"),
        pytest.param(
            ServingSpec(
                max_batch_size=16, preferred_batch_sizes=(4, 8), queue_size=32, instances=2
            ),
            id="all options",
        ),
        pytest.param(ServingSpec(max_batch_size=1), id="no batches"),
    ],
)
def test_the_configuration_is_without_fault(
    linear: Path, request_for: Callable[..., BuildRequest], spec: ServingSpec
) -> None:
    """The linter finds nothing, and the batches that the server aims for are all warmed."""
    request = replace(request_for(linear), spec=spec)
    build(request)
    config = parse((request.output / "portable" / "digits" / "config.pbtxt").read_text())
    assert lint(config, triton="2.51.0-python", folder="digits", versions=(1,)) == ()
    warmed = {sample.batch_size for sample in config.model_warmup}
    assert warmed == {1, *spec.preferred_batch_sizes, spec.max_batch_size}
