"""Archives within a model: refused before a framework unpacks what would fill memory or leave it.

Sizes stand in a zip file's directory, so nothing is unpacked to look at them.
"""

from __future__ import annotations

import zipfile
from pathlib import Path, PurePosixPath
from typing import Final

from .errors import CorruptArtefactError

_LARGEST_RATIO: Final = 200
"""Weights hardly shrink, and configuration in JSON by ten to thirty; a bomb by a thousand."""

_HARMLESS_BYTES: Final = 64 * 1024**2


def check_archives(folder: Path) -> None:
    """Make sure that no archive in a model's folder is a trap.

    Raises:
        CorruptArtefactError: One unpacks to far more than it is, or to files outside of it.
    """
    for path in sorted(folder.rglob("*")):
        if path.is_symlink() or not path.is_file() or not zipfile.is_zipfile(path):
            continue
        try:
            with zipfile.ZipFile(path) as archive:
                members = archive.infolist()
        except (OSError, ValueError, zipfile.BadZipFile):
            continue  # whoever is to read it says so in better words
        unpacked, size = sum(member.file_size for member in members), path.stat().st_size
        if unpacked > max(_HARMLESS_BYTES, _LARGEST_RATIO * size):
            raise CorruptArtefactError(
                f"{path.name} is {size / 1024**2:.1f} MiB and unpacks to "
                f"{unpacked / 1024**2:.0f}: no model shrinks like that.",
                hint="If it is one, log it without compression.",
            )
        for member in members:
            name = PurePosixPath(member.filename.replace("\\", "/"))
            if name.is_absolute() or ".." in name.parts:
                raise CorruptArtefactError(
                    f"{path.name} holds {member.filename!r}, which unpacks outside of it.",
                    hint="Log the model again with its framework.",
                )
