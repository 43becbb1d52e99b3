"""Databases for tests: the same suite runs on every engine that conch supports."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from conch.control.state import Database


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    """A fresh, migrated control database."""
    database = Database(f"sqlite:///{tmp_path / 'conch.db'}")
    database.migrate()
    yield database
    database.close()
