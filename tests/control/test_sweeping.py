"""The sweep records what the registry shows, and nothing that serves is lost by it."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from memory_platform import write_scaling
from memory_registry import MemoryRegistry

from conch.control.registry import (
    RegisteredVersion,
    RegistryUnavailableError,
    TakeUpMode,
    TakeUpPolicy,
)
from conch.control.reporting import Reporter, tags_of
from conch.control.state import Database, Version, VersionStatus
from conch.control.sweeping import Sweeper

NOW = datetime(2026, 1, 2, tzinfo=UTC)


@pytest.fixture
def registry(tmp_path: Path) -> MemoryRegistry:
    """An empty registry."""
    (tmp_path / "registry").mkdir()
    return MemoryRegistry(tmp_path / "registry")


def register(registry: MemoryRegistry, tmp_path: Path, name: str = "digits") -> RegisteredVersion:
    path = tmp_path / "model.onnx"
    write_scaling(path, factor=2.0)
    return registry.register_path(name, path)


def sweeper(
    database: Database, registry: MemoryRegistry, mode: TakeUpMode = TakeUpMode.ALL
) -> Sweeper:
    policy = TakeUpPolicy(mode=mode)
    return Sweeper(database=database, registry=registry, policy=policy, now=lambda: NOW)


def versions(database: Database) -> list[Version]:
    with database.begin() as tx:
        return tx.versions.find()


def test_a_registered_version_is_known_and_wanted(
    database: Database, registry: MemoryRegistry, tmp_path: Path
) -> None:
    """Policy `all` takes it up; a second look changes nothing."""
    register(registry, tmp_path)
    assert sweeper(database, registry).run()
    (version,) = versions(database)
    assert (version.version, version.wanted, version.present) == (1, True, True)
    assert not sweeper(database, registry).run()
    assert versions(database) == [version]


def test_without_its_alias_a_version_is_known_but_not_wanted(
    database: Database, registry: MemoryRegistry, tmp_path: Path
) -> None:
    """Policy `alias` waits for the person's word."""
    register(registry, tmp_path)
    sweeper(database, registry, TakeUpMode.ALIAS).run()
    assert [version.wanted for version in versions(database)] == [False]


def test_what_is_gone_is_kept_and_marked(
    database: Database, registry: MemoryRegistry, tmp_path: Path
) -> None:
    """Absence orphans; the same version seen again is present again, and still wanted."""
    seen = register(registry, tmp_path)
    sweeper(database, registry).run()
    registry.delete_version("digits", 1)
    sweeper(database, registry).run()
    assert [(v.present, v.wanted) for v in versions(database)] == [(False, True)]
    registry._versions["digits", 1] = seen
    sweeper(database, registry).run()
    assert [(v.present, v.wanted) for v in versions(database)] == [(True, True)]


def test_another_version_under_the_same_number_starts_over(
    database: Database, registry: MemoryRegistry, tmp_path: Path
) -> None:
    """A number that was given again names something that was never verified."""
    register(registry, tmp_path)
    sweeper(database, registry).run()
    with database.begin() as tx:
        (version,) = tx.versions.find()
        tx.versions.change(version, status=VersionStatus.VERIFIED, semantic_version="1.0.0")
    registry.delete_version("digits", 1)
    again = register(registry, tmp_path)
    sweeper(database, registry).run()
    (found,) = versions(database)
    assert found.id == version.id
    assert found.identity == again.identity != version.identity
    assert (found.status, found.semantic_version) == (VersionStatus.REGISTERED, None)


def test_a_name_that_no_server_can_carry_is_passed_over(
    database: Database, registry: MemoryRegistry, tmp_path: Path
) -> None:
    """It does not keep the others from being seen."""
    register(registry, tmp_path, "bell\x07")
    register(registry, tmp_path, "digits")
    sweeper(database, registry).run()
    assert [version.name for version in versions(database)] == ["digits"]


def test_a_registry_that_is_away_changes_nothing(
    database: Database, registry: MemoryRegistry, tmp_path: Path
) -> None:
    """The error says so, and what was known stays known."""
    register(registry, tmp_path)
    looking = sweeper(database, registry)
    looking.run()
    before = versions(database)
    registry.available = False
    with pytest.raises(RegistryUnavailableError):
        looking.run()
    assert versions(database) == before


def test_tags_are_written_once_and_again_only_when_they_change(
    database: Database, registry: MemoryRegistry, tmp_path: Path
) -> None:
    """What a refusal says stands in the registry, and goes when it is no longer true."""
    register(registry, tmp_path)
    looking = sweeper(database, registry)
    looking.run()
    reporter = Reporter(database=database, registry=registry)
    assert reporter.run() == 1
    assert reporter.run() == 0
    reason = {"code": "unverified", "message": "Output 'y' differs.", "hint": "Look."}
    with database.begin() as tx:
        (version,) = tx.versions.find()
        tx.versions.change(version, status=VersionStatus.REFUSED, reason=reason)
    assert reporter.run() == 1
    tags = registry.version("digits", 1).tags
    assert tags["conch.status"] == "refused"
    assert tags["conch.reason"] == "unverified: Output 'y' differs. Look."
    assert not looking.run(), "conch's own tags are no change"
    with database.begin() as tx:
        (version,) = tx.versions.find()
        tx.versions.change(version, status=VersionStatus.REGISTERED, reason=None)
    reporter.run()
    assert set(registry.version("digits", 1).tags) == {"conch.status"}


def test_a_verified_version_says_its_semantic_version() -> None:
    """People read it beside the registry's integer."""
    version = Version(
        id="v",
        model_id="m",
        name="digits",  # type: ignore[arg-type]
        version=3,
        created_at=NOW,
        identity="i",
        status=VersionStatus.VERIFIED,
        semantic_version="1.2.0",
    )
    assert tags_of(version, build=None, deployment=None, release=None) == {
        "conch.status": "verified",
        "conch.version": "1.2.0",
    }
