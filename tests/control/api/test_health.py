"""Liveness, readiness and the platform at a glance."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from memory_platform import MemoryPlatform, write_scaling

from conch.control.client import ApiError
from conch.control.reading import NotReadyError, Overview, Reading


def test_a_platform_that_works_is_ready(memory_platform: MemoryPlatform) -> None:
    """Database, inference entry and the last look at the registry are checked by name."""
    memory_platform.client.sweep()
    assert memory_platform.client.ready() == {
        "status": "ready",
        "checks": {"database": "ok", "gateway": "ok", "sweep": "ok"},
    }


def test_an_entry_that_is_away_makes_it_unready(memory_platform: MemoryPlatform) -> None:
    """Readiness names the check that fails; liveness goes on."""
    memory_platform.client.sweep()
    memory_platform.target.gateway_ready = False
    try:
        with pytest.raises(ApiError) as caught:
            memory_platform.client.ready()
    finally:
        memory_platform.target.gateway_ready = True
    assert caught.value.code == "not-ready"
    assert caught.value.details["checks"]["database"] == "ok"
    assert caught.value.details["checks"]["gateway"] != "ok"
    assert memory_platform.client.healthy()["status"] == "ok"


@pytest.mark.parametrize(
    ("age_s", "ready"), [(None, False), (1, True), (59, True), (61, False)], ids=str
)
def test_a_registry_that_was_not_seen_for_long_makes_it_unready(
    memory_platform: MemoryPlatform, age_s: float | None, ready: bool
) -> None:
    """The last look may be six periods old, and no older."""
    overview = Overview(
        reading=Reading(
            database=memory_platform.plane.database, target=memory_platform.plane.target
        ),
        target=memory_platform.plane.target,
        environment="test",
        inference_url="",
        mlflow_url="",
        sweep_s=10,
    )
    now = datetime(2026, 3, 1, tzinfo=UTC)
    swept_at = None if age_s is None else now - timedelta(seconds=age_s)
    if ready:
        assert overview.check(swept_at=swept_at, now=now)["sweep"] == "ok"
    else:
        with pytest.raises(NotReadyError, match="registry"):
            overview.check(swept_at=swept_at, now=now)


def test_the_status_shows_servers_routes_and_counts(memory_platform: MemoryPlatform) -> None:
    """One request shows what every server holds and how much there is."""
    memory_platform.live("glanced at")
    status = memory_platform.client.status()
    assert status["problem"] is None
    assert status["sweep_age_s"] >= 0
    assert status["counts"]["live"] >= 1
    wire = memory_platform.client.model("glanced at")["triton_name"]
    held = [one["model"] for server in status["target"]["servers"] for one in server["models"]]
    assert wire in held
    assert status["target"]["routes"][wire][0]["weight"] == 10_000


def test_a_target_that_cannot_be_seen_is_shown_as_such(memory_platform: MemoryPlatform) -> None:
    """The status answers without the target, and says why it is missing."""
    memory_platform.target.visible = False
    try:
        status = memory_platform.client.status()
        arms = [one["arms"] for one in memory_platform.client.deployments()]
    finally:
        memory_platform.target.visible = True
    assert status["target"] is None
    assert status["problem"]["code"] == "gateway-unavailable"
    assert all(one == [] for one in arms)


def test_a_sweep_answers_with_what_changed(memory_platform: MemoryPlatform) -> None:
    """A look that is waited for names the changes; one that is asked for does not wait."""
    path = memory_platform.folder / "swept.onnx"
    write_scaling(path, factor=2.0)
    memory_platform.registry.register_path("swept", path)
    found = memory_platform.client.sweep()
    assert found["done"]
    kinds = {(one["kind"], one["name"], one["version"]) for one in found["changes"]}
    assert {
        ("NewModel", "swept", None),
        ("NewVersion", "swept", 1),
        ("TakeUp", "swept", 1),
    } == kinds
    assert memory_platform.client.sweep()["changes"] == []
    assert memory_platform.client.sweep(wait=False) == {"done": False, "changes": []}
