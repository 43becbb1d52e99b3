"""Compaction of sealed segments into Parquet, once each, whatever moment a crash comes.

For each sealed segment: write the part under a temporary name, make it durable, rename it, then
replace the manifest. The manifest's rename is the one moment at which the segment counts as
compacted. Before it, the next run writes the same part again over what was left; after it, the
segment is behind `next_offset` and is never read again.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Final

from .disks import PosixDisk, make_directory, sync_directory, write_all
from .errors import LogLockedError
from .log import EventLog
from .manifests import FILE_NAME, Manifest, Part, dump_manifest, load_manifest
from .tables import extra, schema, to_table

_ROWS: Final = 10_000


class Step(StrEnum):
    """The moments between two effects of a compaction, in order."""

    PART_WRITTEN = "part-written"
    PART_NAMED = "part-named"
    MANIFEST_WRITTEN = "manifest-written"
    MANIFEST_NAMED = "manifest-named"


@dataclass(frozen=True, slots=True, kw_only=True)
class Keep:
    """How long compacted events are kept; None is for ever.

    Attributes:
        max_bytes: The most bytes of all parts; the oldest go first.
        max_age_s: A part whose newest event was received longer ago than this goes.
    """

    max_bytes: int | None = None
    max_age_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Compacted:
    """What one run did.

    Attributes:
        parts: Files written.
        events: Events in them.
        dropped: Parts that retention took out of the manifest. Their files go in the next run,
            so that a query that began before still finds them.
        missed: Events that the log had dropped before they were compacted.
    """

    parts: int = 0
    events: int = 0
    dropped: int = 0
    missed: int = 0


class Compactor:
    """Moves sealed segments of one log into one directory of Parquet files.

    While it lives it holds the log's uncompacted events against retention.
    """

    def __init__(
        self,
        log: EventLog,
        directory: Path,
        *,
        keep: Keep | None = None,
        clock: Callable[[], float] = time.time,
        reached: Callable[[Step], None] = lambda step: None,
    ) -> None:
        """Take up a directory, which is made when missing.

        Args:
            log: Where events come from.
            directory: Where Parquet files and the manifest lie.
            keep: Bounds of the compacted files.
            clock: Unix seconds.
            reached: Called at each moment between two effects.
        """
        self._log = log
        self._directory = directory
        self._keep = keep or Keep()
        self._clock = clock
        self._reached = reached
        self._disk = PosixDisk()
        make_directory(self._disk, directory)
        self._hold(load_manifest(directory))

    def run(self) -> Compacted:
        """Compact every sealed segment that is not yet compacted. Running again does nothing.

        Raises:
            LogLockedError: Another compaction of this directory runs.
            ManifestError: The directory is damaged.
            MissingExtraError: pyarrow is not installed.
        """
        with _locked(self._directory):
            manifest = load_manifest(self._directory)
            self._sweep(manifest)
            done = Compacted()
            for segment, end_offset in self._log.sealed():
                if end_offset <= manifest.next_offset:
                    continue
                first = max(segment.first_offset, manifest.next_offset)
                missed = first - manifest.next_offset
                part = self._write_part(first, end_offset)
                manifest = Manifest(next_offset=end_offset, parts=(*manifest.parts, part))
                self._publish(manifest)
                done = replace(
                    done,
                    parts=done.parts + 1,
                    events=done.events + end_offset - first,
                    missed=done.missed + missed,
                )
            return replace(done, dropped=self._drop_old(manifest))

    def _write_part(self, first: int, end: int) -> Part:
        parquet = extra("pyarrow.parquet")
        path = self._directory / f"events-{first:020d}-{end:020d}.parquet"
        temporary = path.with_name(path.name + ".tmp")
        newest_at = 0.0
        with parquet.ParquetWriter(temporary, schema(), compression="zstd") as writer:
            at = first
            while at < end:
                events = self._log.read(at, limit=min(_ROWS, end - at))
                writer.write_table(to_table(events))
                newest_at = max(newest_at, *(stored.event.received_at for stored in events))
                at = events[-1].offset + 1
        fd = os.open(temporary, os.O_RDONLY)
        try:
            self._disk.sync(fd)
            size = os.fstat(fd).st_size
        finally:
            os.close(fd)
        self._reached(Step.PART_WRITTEN)
        temporary.replace(path)
        sync_directory(self._disk, self._directory)
        self._reached(Step.PART_NAMED)
        return Part(
            file=path.name,
            first_offset=first,
            end_offset=end,
            size_bytes=size,
            newest_at=newest_at,
        )

    def _publish(self, manifest: Manifest) -> None:
        path = self._directory / FILE_NAME
        temporary = path.with_name(path.name + ".tmp")
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        try:
            write_all(self._disk, fd, dump_manifest(manifest))
            self._disk.sync(fd)
        finally:
            os.close(fd)
        self._reached(Step.MANIFEST_WRITTEN)
        temporary.replace(path)
        sync_directory(self._disk, self._directory)
        self._reached(Step.MANIFEST_NAMED)
        self._hold(manifest)

    def _sweep(self, manifest: Manifest) -> None:
        """Delete what a crash or retention left: every part that the manifest does not name."""
        named = {part.file for part in manifest.parts}
        for path in self._directory.glob("events-*.parquet*"):
            if path.name not in named:
                path.unlink()

    def _drop_old(self, manifest: Manifest) -> int:
        kept = kept_parts(manifest.parts, self._keep, now=self._clock())
        dropped = len(manifest.parts) - len(kept)
        if dropped:
            self._publish(replace(manifest, parts=kept))
        return dropped

    def _hold(self, manifest: Manifest) -> None:
        self._log.hold(f"compaction:{self._directory}", manifest.next_offset)


def kept_parts(parts: tuple[Part, ...], keep: Keep, *, now: float) -> tuple[Part, ...]:
    """Return the parts that stay: dropped are the oldest, while they are too old or too many."""
    size = sum(part.size_bytes for part in parts)
    for index, part in enumerate(parts):
        too_old = keep.max_age_s is not None and now - part.newest_at > keep.max_age_s
        too_large = keep.max_bytes is not None and size > keep.max_bytes
        if not (too_old or too_large):
            return parts[index:]
        size -= part.size_bytes
    return ()


@contextmanager
def _locked(directory: Path) -> Iterator[None]:
    fd = os.open(directory / "lock", os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError as error:
        raise LogLockedError(f"Another compaction of {directory} runs.") from error
    finally:
        os.close(fd)
