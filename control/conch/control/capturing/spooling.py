"""Captured lines on their way to the event log: a bounded queue, and files of bounded size.

Whoever offers a line never waits. What does not fit into the queue, and what the disk does not
take, is dropped and counted.
"""

from __future__ import annotations

import json
import logging
import queue
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

log = logging.getLogger(__name__)

SPOOL_NAME: Final = "captured.log"
STATUS_NAME: Final = "status.json"
_TOLD_EVERY_S: Final = 1.0
_WAIT_S: Final = 0.2


@dataclass(slots=True, kw_only=True)
class Tally:
    """What became of the copies, since the process started.

    Attributes:
        seen: Requests whose copies began to arrive.
        stored: Written to the spool.
        incomplete: Whose answer never became whole.
        unreadable: That no version answered, or whose copy could not be read.
        dropped: That the queue or the disk did not take.
    """

    seen: int = 0
    stored: int = 0
    incomplete: int = 0
    unreadable: int = 0
    dropped: int = 0


class Spool:
    """Writes lines in a thread of its own.

    Attributes:
        tally: What became of the copies; written to `status.json` every second.
    """

    def __init__(
        self,
        folder: Path,
        *,
        file_bytes: int,
        files: int,
        waiting: int,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Take up a folder, which is made when missing.

        Args:
            folder: Where the files lie.
            file_bytes: A file above this size is rotated: `captured.log` becomes `captured.log.1`.
            files: How many rotated files are kept; the oldest goes, read or not.
            waiting: The most lines that may wait for the disk.
            clock: Unix seconds.
        """
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._file_bytes = file_bytes
        self._files = files
        self._clock = clock
        self._lines: queue.Queue[bytes] = queue.Queue(waiting)
        self._ending = threading.Event()
        self._told_s = 0.0
        self.tally = Tally()
        self._thread = threading.Thread(target=self._write, name="spool", daemon=True)
        self._thread.start()

    def offer(self, line: bytes) -> bool:
        """Take a line to be written, or drop it; never waits."""
        try:
            self._lines.put_nowait(line)
        except queue.Full:
            self.tally.dropped += 1
            return False
        return True

    def close(self) -> None:
        """Write what waits, and end."""
        self._ending.set()
        self._thread.join()

    def _write(self) -> None:
        while not (self._ending.is_set() and self._lines.empty()):
            lines = self._waiting()
            if lines:
                try:
                    self._append(lines)
                    self.tally.stored += len(lines)
                except OSError as error:
                    log.warning("cannot write captured requests: %s", error)
                    self.tally.dropped += len(lines)
            self._tell()
        self._tell(now=True)

    def _waiting(self) -> list[bytes]:
        try:
            lines = [self._lines.get(timeout=_WAIT_S)]
        except queue.Empty:
            return []
        while len(lines) < 1000:
            try:
                lines.append(self._lines.get_nowait())
            except queue.Empty:
                break
        return lines

    def _append(self, lines: list[bytes]) -> None:
        path = self._folder / SPOOL_NAME
        with path.open("ab") as file:
            file.write(b"".join(lines))
            size = file.tell()
        if size > self._file_bytes:
            for number in range(self._files - 1, 0, -1):
                former = path.with_name(f"{SPOOL_NAME}.{number}")
                if former.exists():
                    former.replace(path.with_name(f"{SPOOL_NAME}.{number + 1}"))
            path.replace(path.with_name(f"{SPOOL_NAME}.1"))

    def _tell(self, *, now: bool = False) -> None:
        if not now and self._clock() - self._told_s < _TOLD_EVERY_S:
            return
        self._told_s = self._clock()
        path = self._folder / STATUS_NAME
        try:
            fresh = path.with_suffix(".new")
            fresh.write_text(json.dumps(asdict(self.tally)))
            fresh.replace(path)
        except OSError as error:
            log.warning("cannot write the status of capture: %s", error)
