"""A slot's Triton model repository: one folder for each model, one version in it.

The repository is a cache of what is desired. A model folder is prepared beside it, with hard links
to the published build where the file system allows, and moved into place as a whole; the previous
folder is kept until the servers have taken the new one.
"""

from __future__ import annotations

import filecmp
import os
import shutil
import uuid
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from conch.core import SlotName, TritonName

from .desired import DesiredLoad
from .errors import BuildIncompleteError
from .homes import Home
from .offers import CONFIG, flavour_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """A model folder that was put into a repository, and what it replaced.

    Attributes:
        folder: The model's folder in the repository.
        previous: The folder that was there before, kept aside; None where there was none.
        changed: Whether anything was moved at all.
    """

    folder: Path
    previous: Path | None
    changed: bool


def place(home: Home, slot: SlotName, load: DesiredLoad, backends: Collection[str]) -> Placement:
    """Put a build's model folder into a slot's repository; nothing is loaded by this.

    Idempotent: a repository that holds just this version in this flavour is left alone, so that
    file times, from which Triton tells whether a version changed, stay. The caller holds the slot's
    lock.

    Args:
        home: The home.
        slot: The slot.
        load: The build.
        backends: What the slot's servers offer; decides about the flavour.

    Raises:
        BuildIncompleteError: The build has no model folder for these servers with this version.
    """
    folder = home.repository(slot) / load.model
    kept = held(home, slot, load.model) == load.ordinal
    if kept and not load.path.is_dir():
        return Placement(folder=folder, previous=None, changed=False)
    source = load.path / flavour_of(load.path, load.model, backends) / load.model
    version = source / str(load.ordinal)
    if not version.is_dir():
        raise BuildIncompleteError(
            f"Build {load.build_id} has no {version.relative_to(load.path)}.",
            hint="Build the model again.",
        )
    if kept and _same(source / CONFIG, folder / CONFIG):
        return Placement(folder=folder, previous=None, changed=False)
    home.create_slot(slot)
    staged = home.staging(slot) / f"{load.model}.{uuid.uuid4().hex}.new"
    _copy_linked(source, staged, only_version=str(load.ordinal))
    previous: Path | None = staged.with_suffix(".old")
    assert previous is not None
    if folder.exists():
        folder.rename(previous)
    else:
        previous = None
    staged.rename(folder)
    return Placement(folder=folder, previous=previous, changed=True)


def undo(placement: Placement) -> None:
    """Put back what a placement replaced."""
    if not placement.changed:
        return
    shutil.rmtree(placement.folder)
    if placement.previous is not None:
        placement.previous.rename(placement.folder)


def settle(placement: Placement) -> None:
    """Remove what a placement replaced, for good."""
    if placement.previous is not None:
        shutil.rmtree(placement.previous, ignore_errors=True)


def remove(home: Home, slot: SlotName, model: TritonName) -> None:
    """Remove a model from a slot's repository; nothing is unloaded by this."""
    folder = home.repository(slot) / model
    if folder.exists():
        aside = home.staging(slot) / f"{model}.{uuid.uuid4().hex}.old"
        folder.rename(aside)
        shutil.rmtree(aside, ignore_errors=True)


def held(home: Home, slot: SlotName, model: TritonName) -> int | None:
    """Return the version of a model that a repository holds; None for no version or several."""
    try:
        names = [path.name for path in (home.repository(slot) / model).iterdir()]
    except FileNotFoundError:
        return None
    versions = [int(name) for name in names if name.isdecimal()]
    return versions[0] if len(versions) == 1 else None


def tidy(home: Home, slot: SlotName) -> None:
    """Remove what a killed process left in a slot's staging folder. Needs the slot's lock."""
    for path in home.staging(slot).glob("*"):
        shutil.rmtree(path, ignore_errors=True)


def _same(one: Path, other: Path) -> bool:
    try:
        return filecmp.cmp(one, other, shallow=False)
    except FileNotFoundError:
        return False


def _copy_linked(source: Path, target: Path, *, only_version: str) -> None:
    """Copy a model folder: links for files, of its version folders just one."""

    def others(directory: str, names: list[str]) -> list[str]:
        if Path(directory) != source:
            return []
        return [name for name in names if name.isdecimal() and name != only_version]

    shutil.copytree(source, target, ignore=others, copy_function=_link)
    # A sealed build may be read-only, and Triton's Python backend writes beside model.py.
    for directory, _, _ in os.walk(target):
        os.chmod(directory, 0o755)


def _link(source: str, target: str) -> str:
    try:
        os.link(source, target)
    except OSError:  # another file system, or one without links
        shutil.copy2(source, target)
    return target
