"""The demonstration holds every promise that it makes, on real data and real servers."""

from __future__ import annotations

import pytest
from whole_platform import Platform

from conch.control import demo

pytestmark = pytest.mark.real


def test_the_whole_story_without_a_failed_or_wrong_answer(whole_platform: Platform) -> None:
    """Registration to rollback under load; accuracies equal the source's on all three ways."""
    said: list[str] = []
    assert demo.run(whole_platform.settings, once=False, say=said.append) == 0
    text = "\n".join(said)
    assert ", 0 failed, 0 wrong." in text
    for way in ("HTTP", "gRPC", "predict"):
        line = next(line for line in said if line.strip().startswith(f"{way}:"))
        found, source = line.partition(":")[2].split(", the source model ")
        assert float(found) == float(source) > 0.5
