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
                max_batch_size=16,
                preferred_batch_sizes=(4, 8),
                queue_size=32,
                queue_timeout_us=50_000,
                priority_levels=3,
                response_cache=True,
                instances=2,
            ),
            id="all options",
        ),
        pytest.param(ServingSpec(max_batch_size=1), id="no batches"),
    ],
)
def test_the_configuration_is_without_fault(
    linear: Path, request_for: Callable[..., BuildRequest], spec: ServingSpec
) -> None:
    """The linter finds nothing in either flavour, and the batches that are aimed for are warmed."""
    request = replace(request_for(linear), spec=spec)
    build(request)
    for flavour, triton in (("portable", "2.51.0-python"), ("native", "26.05-py3")):
        config = parse((request.output / flavour / "digits" / "config.pbtxt").read_text())
        found = lint(config, triton=triton, folder="digits", versions=(1,))
        # That a cache is the server's business too is a remark, not a fault.
        assert [finding.code for finding in found if finding.code != "cache-needs-flag"] == []
        warmed = {sample.batch_size for sample in config.model_warmup}
        assert warmed == {1, *spec.preferred_batch_sizes, spec.max_batch_size}
