"""The manifest of compacted files: which Parquet files hold which offsets.

Only what the manifest names exists. It is replaced by a rename, so that a reader and a crash see
either the state before a compaction or the state after it.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from .errors import ManifestError

FILE_NAME: Final = "manifest.json"
FORMAT: Final = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One Parquet file.

    Attributes:
        file: Its name within the directory.
        first_offset: Offset of its first event.
        end_offset: The offset after its last event.
        size_bytes: Its size.
        newest_at: The latest `received_at` of its events, Unix seconds.
    """

    file: str
    first_offset: int
    end_offset: int
    size_bytes: int
    newest_at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What is compacted.

    Attributes:
        next_offset: Every event below it is in `parts`, or was dropped by retention.
        parts: The files in the order of their offsets.
    """

    next_offset: int = 0
    parts: tuple[Part, ...] = ()


def load_manifest(directory: Path) -> Manifest:
    """Return a directory's manifest; an empty one where there is none yet.

    Raises:
        ManifestError: It cannot be read, or a file that it names is missing or has another size.
    """
    path = directory / FILE_NAME
    try:
        body = json.loads(path.read_bytes())
        if body["format"] != FORMAT:
            raise ManifestError(f"{path} has format {body['format']}, not {FORMAT}.")
        manifest = Manifest(
            next_offset=int(body["next_offset"]),
            parts=tuple(Part(**part) for part in body["parts"]),
        )
    except FileNotFoundError:
        return Manifest()
    except (ValueError, KeyError, TypeError) as error:
        raise ManifestError(f"{path} cannot be read: {error!r}.") from error
    for part in manifest.parts:
        file = directory / part.file
        if not file.is_file() or file.stat().st_size != part.size_bytes:
            raise ManifestError(
                f"{path} names {part.file}, which is missing or not of {part.size_bytes} bytes.",
                hint="Restore the file from a backup.",
                file=part.file,
            )
    return manifest


def dump_manifest(manifest: Manifest) -> bytes:
    """Return the manifest as the file's content."""
    body = {
        "format": FORMAT,
        "next_offset": manifest.next_offset,
        "parts": [asdict(part) for part in manifest.parts],
    }
    return json.dumps(body, indent=1).encode()
