"""Views are plain values: what a program reads here is what the API answers."""

from __future__ import annotations

import json
from dataclasses import FrozenInstanceError

import pytest
from memory_platform import MemoryPlatform

from conch.control.reading import Reading, View


def test_a_view_is_what_the_api_answers(memory_platform: MemoryPlatform) -> None:
    """`as_dict` is JSON-compatible and equal to the API's answer, for every kind of view."""
    client = memory_platform.client
    memory_platform.live("viewed", tags={"team": "x"}, metrics={"accuracy": 0.5})
    second = memory_platform.verified("viewed", factor=3.0)
    release = client.start_release("viewed", second)
    client.wait_release_running("viewed", timeout_s=30)
    job = client.jobs(limit=1)[0]
    client.wait_job(job["id"], timeout_s=30)
    reading = Reading(database=memory_platform.plane.database, target=memory_platform.plane.target)
    build = client.version("viewed", 1)["build_id"]
    pairs: list[tuple[View, object]] = [
        (reading.model("viewed"), client.model("viewed")),
        (reading.version("viewed", 1), client.version("viewed", 1)),
        (reading.deployment("viewed"), client.deployment("viewed")),
        (reading.release(release["id"]), client.release(release["id"])),
        (reading.job(job["id"]), client.job(job["id"])),
        (reading.build(build), client.build(build)),
        (reading.counts(), client.status()["counts"]),
    ]
    for view, answer in pairs:
        assert view.as_dict() == answer
        assert json.loads(json.dumps(view.as_dict())) == answer


def test_a_view_cannot_be_changed(memory_platform: MemoryPlatform) -> None:
    """A view is a value, not a way into the database."""
    memory_platform.live("unchanging")
    view = Reading(
        database=memory_platform.plane.database, target=memory_platform.plane.target
    ).model("unchanging")
    with pytest.raises(FrozenInstanceError):
        view.name = "other"  # type: ignore[misc]


def test_a_version_that_left_the_registry_is_shown_as_such(
    memory_platform: MemoryPlatform,
) -> None:
    """Absence is shown and takes nothing down."""
    memory_platform.live("gone")
    memory_platform.registry.delete_version("gone", 1)
    memory_platform.client.sweep()
    version = memory_platform.client.version("gone", 1)
    assert (version["present"], version["live"], version["serving"]) == (False, True, "ready")
    assert memory_platform.client.predict("gone", [[1, 1, 1, 1]])["model_version"] == 1
