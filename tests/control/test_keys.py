"""The administrator key is made once, is the owner's alone, and is not read otherwise."""

from __future__ import annotations

import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from conch.control.keys import (
    NAME,
    KeyMissingError,
    KeyUnsafeError,
    ensure_key,
    read_key,
    same_key,
)


def test_a_key_is_made_once(tmp_path: Path) -> None:
    """The second call returns the first one's key, which only its owner can read."""
    home = tmp_path / "home"
    key = ensure_key(home)
    assert len(key) > 40
    assert ensure_key(home) == read_key(home) == key
    assert stat.S_IMODE((home / NAME).stat().st_mode) == 0o600
    assert [path.name for path in home.iterdir()] == [NAME]


def test_two_that_make_it_at_once_agree(tmp_path: Path) -> None:
    """However many begin together, one key comes out."""
    with ThreadPoolExecutor(8) as pool:
        keys = list(pool.map(lambda _: ensure_key(tmp_path), range(32)))
    assert len(set(keys)) == 1


def test_a_missing_key_says_what_to_do(tmp_path: Path) -> None:
    """Reading makes none."""
    with pytest.raises(KeyMissingError, match="conch up"):
        read_key(tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604])
def test_a_key_that_others_can_read_is_not_used(tmp_path: Path, mode: int) -> None:
    """A key that may have been seen is refused, with the cure."""
    ensure_key(tmp_path)
    (tmp_path / NAME).chmod(mode)
    with pytest.raises(KeyUnsafeError, match="chmod 600"):
        read_key(tmp_path)


def test_an_empty_key_is_not_used(tmp_path: Path) -> None:
    """An empty file would let everybody in."""
    (tmp_path / NAME).touch(mode=0o600)
    with pytest.raises(KeyUnsafeError, match="empty"):
        ensure_key(tmp_path)


@pytest.mark.parametrize(
    ("given", "same"), [("key", True), ("kex", False), ("", False), ("é", False)]
)
def test_keys_are_compared_whole(given: str, same: bool) -> None:
    """Only the same text passes, and text outside ASCII is no error."""
    assert same_key(given, "key") is same
