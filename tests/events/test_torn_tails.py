"""What opening does with the end of a log after a crash, and with damage that no crash makes."""

from __future__ import annotations

from pathlib import Path

import pytest
from event_makers import exposure

from conch.events import EventLog, LogCorruptError, LogReader

HELD = 3


def written(directory: Path, last: int = 2) -> tuple[Path, int]:
    """Write three frames of one event and one of `last`; return the file and where that begins."""
    with EventLog(directory) as log:
        for number in range(HELD):
            log.append([exposure(number)])
        path = next(directory.glob("*.seg"))
        begins = path.stat().st_size
        log.append([exposure(number) for number in range(HELD, HELD + last)])
    return path, begins


def reopened_ids(directory: Path) -> list[str]:
    """Return the ids of all events after reopening."""
    with EventLog(directory) as log:
        return [stored.event.event_id for stored in log.read(0)]


def test_every_torn_length(tmp_path: Path) -> None:
    """Wherever the last write is torn, its events go whole, the others stay, and it is said."""
    path, begins = written(tmp_path)
    whole = path.read_bytes()
    for length in range(begins + 1, len(whole)):
        path.write_bytes(whole[:length])

        with EventLog(tmp_path) as log:
            assert log.report.cut_bytes == length - begins
            assert log.report.cut_segment == path
            assert log.report.next_offset == HELD
            assert log.append([exposure(HELD)]).repeated == (False,)  # it was never stored

        assert reopened_ids(tmp_path) == ["e0", "e1", "e2", "e3"]


def test_whole_log_reports_no_cut(tmp_path: Path) -> None:
    """A log that was closed or killed between writes loses nothing."""
    written(tmp_path)

    with EventLog(tmp_path) as log:
        assert (log.report.cut_bytes, log.report.cut_segment) == (0, None)
        assert log.report.next_offset == HELD + 2


@pytest.mark.parametrize(
    "tail", [b"\0" * 4096, b"CEL1" * 40, b"x"], ids=["zeros", "magic words", "one byte"]
)
def test_garbage_after_the_end(tmp_path: Path, tail: bytes) -> None:
    """What a file system leaves after the last frame is cut off."""
    path, _ = written(tmp_path)
    with path.open("ab") as file:
        file.write(tail)

    with EventLog(tmp_path) as log:
        assert log.report.cut_bytes == len(tail)
        assert log.next_offset == HELD + 2


def test_damaged_byte_of_the_last_write(tmp_path: Path) -> None:
    """One wrong byte anywhere in the last frame takes the whole frame, never a part of it."""
    path, begins = written(tmp_path)
    whole = path.read_bytes()
    for at in range(begins, len(whole), 7):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 0x20]) + whole[at + 1 :])

        with EventLog(tmp_path) as log:
            assert log.next_offset == HELD
        path.write_bytes(whole)


def test_damage_before_the_end_is_no_torn_tail(tmp_path: Path) -> None:
    """A broken frame before a whole one had been durable: opening refuses and cuts nothing."""
    path, begins = written(tmp_path)
    whole = path.read_bytes()
    damaged = whole[: begins - 9] + b"\0" + whole[begins - 8 :]
    path.write_bytes(damaged)

    with pytest.raises(LogCorruptError) as refused:
        EventLog(tmp_path)

    assert refused.value.details["segment"] == str(path)
    assert path.read_bytes() == damaged
    with pytest.raises(LogCorruptError):
        LogReader(tmp_path)
    path.write_bytes(whole)
    assert len(reopened_ids(tmp_path)) == HELD + 2  # the refusal let go of the lock


def test_damage_in_a_sealed_segment(tmp_path: Path) -> None:
    """Reading into a damaged sealed segment fails with its place; what is before it is readable."""
    with EventLog(tmp_path) as log:
        log.append([exposure(0)])
        path = next(tmp_path.glob("*.seg"))
        begins = path.stat().st_size
        log.append([exposure(1)])
        log.seal()
        log.append([exposure(2)])
        content = bytearray(path.read_bytes())
        content[begins + 40] ^= 1
        path.write_bytes(content)

        assert [s.event.event_id for s in log.read(0, limit=1)] == ["e0"]
        with pytest.raises(LogCorruptError) as damaged:
            log.read(1)
        assert damaged.value.details["position"] == begins
        assert [s.event.event_id for s in log.read(2)] == ["e2"]


def test_missing_segment(tmp_path: Path) -> None:
    """A segment that is missing between two others is found when it is read over."""
    with EventLog(tmp_path) as log:
        for number in range(3):
            log.append([exposure(number)])
            log.seal()
        sorted(tmp_path.glob("*.seg"))[1].unlink()

    reader = LogReader(tmp_path)
    with pytest.raises(LogCorruptError, match="ends at offset 1, not 2"):
        reader.read(0)


def test_unfinished_segment_is_removed(tmp_path: Path) -> None:
    """A segment that a crash left under its temporary name is removed at open."""
    written(tmp_path)
    leftover = tmp_path / f"{99:020d}.seg.tmp"
    leftover.write_bytes(b"half")

    with EventLog(tmp_path) as log:
        assert log.next_offset == HELD + 2

    assert not leftover.exists()
