"""Compaction into Parquet: each event once, whatever moment a crash comes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet
import pytest
from event_makers import exposure
from hypothesis import given
from hypothesis import strategies as st

from conch.events import Compactor, EventLog, Keep, LogFullError, LogSettings, ManifestError
from conch.events.compacting import Step, kept_parts
from conch.events.manifests import Part, load_manifest


class Crash(BaseException):
    """Ends a run as a kill would: nothing catches it."""


def filled(directory: Path, segments: int = 3) -> EventLog:
    """Return a log with sealed segments of five events and an open one of two."""
    log = EventLog(directory)
    for segment in range(segments):
        log.append([exposure(segment * 5 + number) for number in range(5)])
        log.seal()
    log.append([exposure(segments * 5), exposure(segments * 5 + 1)])
    return log


def rows(directory: Path) -> list[tuple[int, str]]:
    """Return offset and id of all rows of the files that the manifest names."""
    found: list[tuple[int, str]] = []
    for part in load_manifest(directory).parts:
        table = pyarrow.parquet.read_table(directory / part.file)
        found += zip(table["offset"].to_pylist(), table["event_id"].to_pylist(), strict=True)
    return found


def test_sealed_segments_are_compacted_once(tmp_path: Path) -> None:
    """A run compacts every sealed segment, the next run only what was sealed since."""
    parquet = tmp_path / "parquet"
    with filled(tmp_path / "log") as log:
        compactor = Compactor(log, parquet)
        first = compactor.run()
        second = compactor.run()
        log.seal()
        third = compactor.run()

    assert (first.parts, first.events) == (3, 15)
    assert (second.parts, second.events) == (0, 0)
    assert (third.parts, third.events) == (1, 2)
    assert rows(parquet) == [(number, f"e{number}") for number in range(17)]


@pytest.mark.parametrize("step", Step)
@pytest.mark.parametrize("segment", [0, 2], ids=["first segment", "last segment"])
def test_any_crash_converges(tmp_path: Path, step: Step, segment: int) -> None:
    """A crash between any two effects, then another run: every event once, nothing left over."""
    parquet = tmp_path / "parquet"
    seen = []

    def crash(reached: Step) -> None:
        if reached == step:
            seen.append(reached)
            if len(seen) == segment + 1:
                raise Crash

    with filled(tmp_path / "log") as log:
        with pytest.raises(Crash):
            Compactor(log, parquet, reached=crash).run()
        assert rows(parquet) == [(n, f"e{n}") for n in range(len(rows(parquet)))]

        Compactor(log, parquet).run()

    assert rows(parquet) == [(number, f"e{number}") for number in range(15)]
    named = {part.file for part in load_manifest(parquet).parts}
    assert {path.name for path in parquet.iterdir()} == {*named, "manifest.json", "lock"}


KILLED = """
import os, pathlib, signal, sys
from conch.events import Compactor, EventLog

root = pathlib.Path(sys.argv[1])

def kill(step):
    if step == sys.argv[2]:
        os.kill(os.getpid(), signal.SIGKILL)

Compactor(EventLog(root / "log"), root / "parquet", reached=kill).run()
"""


@pytest.mark.parametrize("step", Step)
def test_killed_process_converges(tmp_path: Path, step: Step) -> None:
    """The same with `kill -9` of a real process."""
    filled(tmp_path / "log", segments=1).close()
    killed = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path), step], check=False)
    assert killed.returncode == -signal.SIGKILL

    with EventLog(tmp_path / "log") as log:
        Compactor(log, tmp_path / "parquet").run()

    assert rows(tmp_path / "parquet") == [(number, f"e{number}") for number in range(5)]


def test_compaction_holds_the_log(tmp_path: Path) -> None:
    """What is not compacted is never dropped; after compaction the log has room again."""
    bounds = LogSettings(segment_bytes=400, max_bytes=2000)
    with EventLog(tmp_path / "log", settings=bounds) as log:
        compactor = Compactor(log, tmp_path / "parquet")
        with pytest.raises(LogFullError):
            for number in range(60):
                log.append([exposure(number)])
        stored = log.next_offset

        compactor.run()

        for number in range(stored, stored + 3):
            log.append([exposure(number)])
        assert log.first_offset > 0
        log.seal()
        assert compactor.run().missed == 0
    assert rows(tmp_path / "parquet") == [(n, f"e{n}") for n in range(stored + 3)]


def test_missed_events_are_counted(tmp_path: Path) -> None:
    """Events that the log dropped while nobody compacted are said to be missed."""
    bounds = LogSettings(segment_bytes=400, max_bytes=2000)
    with EventLog(tmp_path / "log", settings=bounds) as log:
        for number in range(60):
            log.append([exposure(number)])
        log.seal()
        gone = log.first_offset
        done = Compactor(log, tmp_path / "parquet").run()
    assert (done.missed, done.events) == (gone, 60 - gone)
    assert gone > 0


def test_old_parts_go_one_run_later(tmp_path: Path) -> None:
    """A part out of retention leaves the manifest at once and the disk in the next run."""
    parquet = tmp_path / "parquet"
    with filled(tmp_path / "log") as log:
        now = 1.7e9 + 104.0 + 0.5  # the newest of the first part was received at 1.7e9 + 4
        compactor = Compactor(log, parquet, keep=Keep(max_age_s=100.0), clock=lambda: now)
        assert compactor.run().dropped == 1
        assert [offset for offset, _ in rows(parquet)] == list(range(5, 15))
        assert len(list(parquet.glob("*.parquet"))) == 3

        assert compactor.run().dropped == 0

        assert len(list(parquet.glob("*.parquet"))) == 2
        log.seal()
        compactor.run()  # dropping went on no further back: nothing is compacted twice
    assert [offset for offset, _ in rows(parquet)] == list(range(5, 17))


@pytest.mark.parametrize("harm", ["missing", "short", "no json", "no format"])
def test_damaged_directory(tmp_path: Path, harm: str) -> None:
    """A missing or cut part, or a manifest that cannot be read, is said and not worked around."""
    parquet = tmp_path / "parquet"
    with filled(tmp_path / "log") as log:
        compactor = Compactor(log, parquet)
        compactor.run()
        part = parquet / load_manifest(parquet).parts[1].file
        match harm:
            case "missing":
                part.unlink()
            case "short":
                os.truncate(part, 10)
            case "no json":
                (parquet / "manifest.json").write_text("{")
            case "no format":
                (parquet / "manifest.json").write_text("{}")
        with pytest.raises(ManifestError):
            compactor.run()


@given(
    sizes=st.lists(st.tuples(st.integers(1, 99), st.integers(0, 99)), max_size=8),
    max_bytes=st.none() | st.integers(0, 300),
    max_age_s=st.none() | st.integers(0, 100),
)
def test_kept_parts(
    sizes: list[tuple[int, int]], max_bytes: int | None, max_age_s: int | None
) -> None:
    """The parts that stay are the longest run of newest ones within the bounds of size and age."""
    parts = tuple(
        Part(
            file=f"{index}",
            first_offset=index,
            end_offset=index + 1,
            size_bytes=size,
            newest_at=newest_at,
        )
        for index, (size, newest_at) in enumerate(sizes)
    )

    kept = kept_parts(parts, Keep(max_bytes=max_bytes, max_age_s=max_age_s), now=100)

    def fits(run: tuple[Part, ...]) -> bool:
        small = max_bytes is None or sum(part.size_bytes for part in run) <= max_bytes
        young = max_age_s is None or not run or 100 - run[0].newest_at <= max_age_s
        return small and young

    assert kept == next(parts[at:] for at in range(len(parts) + 1) if fits(parts[at:]))
