"""The event log of this home: open, followed, counted, compacted, closed."""

from __future__ import annotations

import importlib.util
import json
import logging
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

from conch.core import ConchError
from conch.events import (
    AccessLogReader,
    Compacted,
    Compactor,
    EventLog,
    EventQueries,
    Keep,
    Kind,
    LogLockedError,
    LogSettings,
    encode,
    load_manifest,
)

from .capturing.reading import read_captured
from .capturing.spooling import SPOOL_NAME
from .evidence.following import Follower, RequestReader
from .evidence.questions import EvidenceUnavailableError
from .settings import EventSettings

log = logging.getLogger(__name__)

_SEGMENT_BYTES: Final = 32 * 1024 * 1024
_EXTRAS: Final = ("pyarrow", "duckdb")
_DAY_S: Final = 86_400.0


class EventsUnavailableError(ConchError):
    """The event log is not open in this process."""

    code = "events-unavailable"
    retryable = True


@dataclass(frozen=True, slots=True, kw_only=True)
class _Opened:
    log: EventLog
    follower: Follower
    captured: AccessLogReader
    compactor: Compactor | None


class Recording:
    """Everything that concerns the event log of one home. `run` and `compact` are called by loops.

    The log has one writer. Where a former process still holds it, opening is tried again by every
    pass, and until then whatever needs it is unavailable.

    Args:
        home: The control plane's folder.
        access_log: The gateway's access log.
        settings: Bounds and periods.
        reader: Makes what reads requests into the log; None: the access log is read.
        clock: Unix seconds.
    """

    def __init__(
        self,
        *,
        home: Path,
        access_log: Path,
        settings: EventSettings,
        reader: Callable[[EventLog], RequestReader] | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.folder = home / "events"
        self._reader = reader or partial(AccessLogReader, access_log)
        self._settings = settings
        self._clock = clock
        self._opened: _Opened | None = None
        self._sealed_s = clock()
        self._said = False

    @property
    def log(self) -> EventLog:
        """The open log.

        Raises:
            EventsUnavailableError: It is not open.
        """
        return self._open_now().log

    def follower(self) -> Follower:
        """Return what counts releases.

        Raises:
            EvidenceUnavailableError: The log is not open.
        """
        if self._opened is None:
            raise EvidenceUnavailableError("The event log is not open yet.", hint="Try again.")
        return self._opened.follower

    def queries(self) -> EventQueries:
        """Return SQL over all events.

        Raises:
            EventsUnavailableError: The log is not open.
        """
        return EventQueries(self.log, self.folder / "compacted", memory_mb=512)

    @property
    def compacts(self) -> bool:
        """Whether old events are moved into Parquet files (the extra `events` is installed)."""
        return self._opened is not None and self._opened.compactor is not None

    def open(self) -> None:
        """Open the log and recover it after a crash, unless it is open.

        Raises:
            EventError: It is damaged, or another process has it.
        """
        if self._opened is not None:
            return
        opened = EventLog(
            self.folder / "log",
            settings=LogSettings(
                segment_bytes=min(_SEGMENT_BYTES, self._settings.log_bytes // 4),
                max_bytes=self._settings.log_bytes,
            ),
        )
        if opened.report.cut_bytes:
            log.warning(
                "event log: cut %d bytes of a write that nobody was told about",
                opened.report.cut_bytes,
            )
        follower = Follower(
            log=opened,
            reader=self._reader(opened),
            folder=self.folder / "counted",
            clock=self._clock,
        )
        compactor = None
        if all(importlib.util.find_spec(name) is not None for name in _EXTRAS):
            keep = Keep(
                max_bytes=self._settings.keep_bytes, max_age_s=self._settings.keep_days * _DAY_S
            )
            compactor = Compactor(opened, self.folder / "compacted", keep=keep)
        captured = AccessLogReader(
            self.folder / "captured" / SPOOL_NAME, opened, name="captured", read=read_captured
        )
        self._opened = _Opened(
            log=opened, follower=follower, captured=captured, compactor=compactor
        )

    def run(self) -> None:
        """Read what the gateway wrote, and count it.

        Raises:
            EventError: The log takes nothing now; the next pass goes on.
        """
        try:
            self.open()
        except LogLockedError as error:
            if not self._said:
                log.warning("%s", error)
            self._said = True
            return
        self.follower().run()
        assert self._opened is not None
        report = self._opened.captured.poll()
        if report.malformed:
            log.warning("captured: %d bad lines: %s", report.malformed, report.malformed_example)

    def keep(self, kept: Collection[str]) -> None:
        """Remove the counts of all but these releases and experiments.

        Raises:
            EvidenceUnavailableError: The log is not open.
        """
        self.follower().keep(kept)

    def compact(self) -> Compacted | None:
        """Move what is old enough into Parquet files and drop what is too old.

        Raises:
            EventError: It cannot be done now; the next pass tries again.
        """
        opened = self._opened
        if opened is None:
            return None
        if self._clock() - self._sealed_s >= self._settings.compact_s:
            opened.log.seal()
            self._sealed_s = self._clock()
        return None if opened.compactor is None else opened.compactor.run()

    def read(
        self, after: int | None, *, kind: Kind | None = None, limit: int = 100
    ) -> tuple[list[dict[str, Any]], int]:
        """Return events as they are stored, and the offset to go on from.

        Args:
            after: Where to begin, or the oldest that is kept; None: the newest events.
            kind: Only this kind.
            limit: The most events to look at.

        Raises:
            EventsUnavailableError: The log is not open.
        """
        opened = self.log
        first, end = opened.first_offset, opened.next_offset
        begin = max(first, end - limit if after is None else min(after, end))
        stored = opened.read(begin, limit=limit)
        found = [
            {"offset": one.offset, **json.loads(encode(one.event))}
            for one in stored
            if kind is None or one.event.kind is kind
        ]
        return found, stored[-1].offset + 1 if stored else begin

    def counts(self) -> tuple[int, int, dict[str, int], dict[str, int]]:
        """Return Parquet files, events in them, and events kept by kind and metrics by name.

        Without the extra `events` only the files of an earlier time can be counted.

        Raises:
            EventsUnavailableError: The log is not open.
        """
        manifest = load_manifest(self.folder / "compacted")
        parts = manifest.parts
        compacted = sum(part.end_offset - part.first_offset for part in parts)
        if not self.compacts:
            return len(parts), compacted, {}, {}
        query = "SELECT kind, name, count(*) AS n FROM events GROUP BY kind, name"
        kinds: dict[str, int] = {}
        metrics: dict[str, int] = {}
        for row in self.queries().query(query).to_pylist():
            kinds[row["kind"]] = kinds.get(row["kind"], 0) + row["n"]
            if row["name"] is not None:
                metrics[row["name"]] = row["n"]
        return len(parts), compacted, kinds, metrics

    def close(self) -> None:
        """Store what was submitted and let go of the log. Closing twice does nothing."""
        if self._opened is not None:
            opened, self._opened = self._opened, None
            opened.follower.close()
            opened.log.close()

    def _open_now(self) -> _Opened:
        if self._opened is None:
            raise EventsUnavailableError(
                "The event log is not open in this control plane.",
                hint="Another process may still hold it; send the same events again.",
            )
        return self._opened
