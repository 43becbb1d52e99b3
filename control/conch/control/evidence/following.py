"""From the data plane's access log to the counts of each release, one pass after the other.

A pass reads the access log into the event log and then counts what is new there. Both positions
are durable with what they cover, so a pass may end anywhere.
"""

from __future__ import annotations

import logging
import re
import threading
import time
from collections.abc import Callable, Collection
from contextlib import ExitStack
from dataclasses import dataclass, replace
from glob import escape
from itertools import pairwise
from pathlib import Path
from typing import Final, Protocol
from urllib.parse import unquote

from conch.events import EventLog, OffsetGoneError, PollReport, Prediction

from .comparing import Comparison
from .shadows import ShadowSummary
from .unit_tables import Definition, UnitTable, release_of

log = logging.getLogger(__name__)

WRITTEN_S: Final = 1.0
"""After so long the gateway has written a request that ended: it flushes every 0.5 s."""
_BATCH: Final = 2_000
_SLACK_S: Final = 60.0
_LOOK_BACK_S: Final = 3600.0
_COMPARED_BATCHES: Final = 5


class RequestReader(Protocol):
    """What reads requests into the event log: of the access log (`conch.events.AccessLogReader`),
    or of what a cluster tells (`conch.control.payloads.PayloadReader`).
    """

    def poll(self) -> PollReport:
        """Read everything that is there."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class FollowerStatus:
    """How far the follower has come, since the process started.

    Attributes:
        exposures: Requests that were read.
        malformed: Lines that could not be read.
        malformed_example: Why the last of them could not be.
        read_s: Up to when requests were read whole, in seconds since the Unix epoch; None before
            the first time.
        counted_offset: Everything in the event log below it was counted.
    """

    exposures: int = 0
    malformed: int = 0
    malformed_example: str = ""
    read_s: float | None = None
    counted_offset: int = 0


class Follower:
    """Counts releases from one event log.

    `run` is called by one thread; everything else by any.

    Attributes:
        lock: Held while a table changes; whoever reads one holds it.
    """

    def __init__(
        self,
        *,
        log: EventLog,
        reader: RequestReader,
        folder: Path,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Take up an event log.

        Args:
            log: The event log.
            reader: Puts requests into it.
            folder: Where the tables lie, one for each release.
            clock: Unix seconds.
        """
        self._log = log
        self._reader = reader
        self._folder = folder
        self._clock = clock
        self._tables: dict[str, UnitTable] = {}
        self._lost: dict[str, str] = {}
        self._comparisons: dict[str, Comparison] = {}
        self.lock = threading.Lock()
        self.status = FollowerStatus()

    def run(self) -> int:
        """Read what was served and count it; return how many requests were read.

        Raises:
            EventError: The event log takes nothing now; the next pass goes on.
        """
        began_s = self._clock()
        report = self._reader.poll()
        read_s = self.status.read_s
        if report.whole_s is not None:
            read_s = report.whole_s
        elif report.files:  # else nothing was written yet, or it was taken away
            read_s = began_s - WRITTEN_S
        if report.malformed:
            log.warning("access log: %d bad lines: %s", report.malformed, report.malformed_example)
        self._count(cut_s=read_s or 0.0)
        self._compare()
        self.status = replace(
            self.status,
            exposures=self.status.exposures + report.exposures,
            malformed=self.status.malformed + report.malformed,
            malformed_example=report.malformed_example or self.status.malformed_example,
            read_s=read_s,
            counted_offset=self._log.next_offset,
        )
        return report.exposures

    def follow(self, definition: Definition, *, since_s: float) -> UnitTable:
        """Return a release's table; it is counted from the log if it was not so far.

        Args:
            definition: What to count.
            since_s: When the release's first request may have been, Unix seconds.
        """
        with self.lock:
            table = self._tables.get(definition.key)
            if table is not None and table.definition == definition:
                return table
            if table is not None:
                table.close()
            begin = offset_before(self._log, since_s - _SLACK_S)
            path = self._folder / f"{_file_name(definition.key)}.db"
            table = UnitTable(path, definition, start_offset=begin)
            self._tables[definition.key] = table
            self._lost.pop(definition.key, None)
            return table

    def compare(self, release: str, model: str) -> Comparison:
        """Return the comparison of a release's mirrored requests, begun from the log if need be.

        It is kept in memory alone; after a restart it is made again from the event log's last
        hour, a few thousand events in each pass.
        """
        with self.lock:
            found = self._comparisons.get(release)
            if found is None:
                begin = offset_before(self._log, self._clock() - _LOOK_BACK_S)
                found = Comparison(release, model, next_offset=begin)
                self._comparisons[release] = found
            return found

    def shadow(self, release: str, model: str) -> ShadowSummary:
        """Return what the mirrored requests of a release come to."""
        comparison = self.compare(release, model)
        with self.lock:
            return comparison.summary(cut_s=self.status.read_s or 0.0)

    def lost(self, key: str) -> str:
        """Return why the counts of a table are not whole; empty when they are."""
        return self._lost.get(key, "")

    def forget(self, release: str) -> None:
        """Stop counting a release or experiment and remove its tables. Idempotent."""
        with self.lock:
            self._comparisons.pop(release, None)
            for key, table in list(self._tables.items()):
                if table.definition.release == release:
                    self._tables.pop(key).close()
            self._remove(lambda name: name == release)

    def keep(self, kept: Collection[str]) -> None:
        """Remove the tables of all but these releases and experiments.

        For those that ended while nobody looked.
        """
        with self.lock:
            self._remove(lambda name: name not in kept)

    def close(self) -> None:
        """Close every table."""
        with self.lock, ExitStack() as closing:
            for table in self._tables.values():
                closing.callback(table.close)
            self._tables = {}

    def _remove(self, which: Callable[[str], bool]) -> None:
        for path in list(self._folder.glob("*.db")):
            if which(release_of(unquote(path.stem))):
                for each in self._folder.glob(f"{escape(path.name)}*"):  # with what SQLite adds
                    each.unlink()

    def _count(self, *, cut_s: float) -> None:
        end = self._log.next_offset
        with self.lock:
            tables = list(self._tables.values())
        at = min((table.next_offset for table in tables), default=end)
        while at < end:
            try:
                events = self._log.read(at, limit=min(_BATCH, end - at))
            except OffsetGoneError as error:
                at = error.details["first"]
                self._lose([table for table in tables if table.next_offset < at], at, str(error))
                continue
            at = events[-1].offset + 1
            with self.lock:
                for table in self._tables.values():
                    if table.next_offset >= events[0].offset:  # else it began meanwhile
                        table.take(events, next_offset=at, cut_s=0.0)
        with self.lock:
            for table in self._tables.values():
                if table.next_offset >= end:  # one that is new since the tables were listed is not
                    table.take((), next_offset=end, cut_s=cut_s)
        self._log.hold("evidence", end)

    def _compare(self) -> None:
        end = self._log.next_offset
        with self.lock:
            comparisons = list(self._comparisons.values())
        for one in comparisons:
            for _ in range(_COMPARED_BATCHES):
                if one.next_offset >= end:
                    break
                begin = max(one.next_offset, self._log.first_offset)
                events = self._log.read(begin, limit=min(_BATCH, end - begin))
                with self.lock:
                    for stored in events:
                        if isinstance(stored.event, Prediction):
                            one.take(stored.event)
                    one.next_offset = events[-1].offset + 1 if events else end

    def _lose(self, tables: list[UnitTable], first: int, why: str) -> None:
        with self.lock:
            for table in tables:
                log.error("release %s: %s", table.definition.key, why)
                self._lost[table.definition.key] = why
                table.take((), next_offset=first, cut_s=0.0)


def offset_before(log: EventLog, at_s: float) -> int:
    """Return an offset below which all was received before a moment, as high as is cheap."""
    sealed = log.sealed()
    found = log.first_offset
    for (_, end_offset), (following, _) in pairwise(sealed):
        if following.created_at <= at_s:
            found = end_offset
    return found


def _file_name(release: str) -> str:
    """Return a release's identity as a file's name.

    >>> _file_name("r/../1")
    'r%2F..%2F1'
    """
    return re.sub(r"[^A-Za-z0-9._-]", lambda found: f"%{ord(found[0]):02X}", release)
