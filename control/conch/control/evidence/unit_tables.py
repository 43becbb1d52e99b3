"""One release's units on disk: what each did in each stage, their sums, how far the log is read.

A table is one SQLite file. Rows, sums and the position in the event log change in one transaction,
so that a restart goes on exactly where the last one ended: no event is counted twice or left out.
Memory is bounded by SQLite's page cache and one batch; disk takes 60 to 100 bytes for each unit and
stage (1.2 GB for ten million units in two stages).
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from conch.core import Ordinal, SlotName, TritonName
from conch.events import Exposure, Metric, StoredEvent

from .counting import Column, Contribution, Sums, UnitRow, contribution

CONTROL: Final = 0
CANDIDATE: Final = 1
_PENDING_S: Final = 900.0
"""How long a metric event waits for its unit's first exposure."""
_MATURE_EVERY_S: Final = 1.0
_CACHE_KIB: Final = 32 * 1024
_UNSIGNED: Final = 1 << 64
_SIGNED: Final = 1 << 63
_FORMAT: Final = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Definition:
    """What is counted. Another definition is another table.

    Attributes:
        release: `TrafficSplit.release`.
        model: The model on the wire.
        arms: Slot and version of the control and of the candidate.
        columns: The plan's metrics.
        part: Which comparison of an experiment with several; empty where there is one.
    """

    release: str
    model: TritonName
    arms: tuple[tuple[SlotName, Ordinal], tuple[SlotName, Ordinal]]
    columns: tuple[Column, ...]
    part: str = ""

    @property
    def key(self) -> str:
        """What the table is called."""
        return table_key(self.release, self.part)

    @property
    def text(self) -> str:
        """Equal for equal definitions, over restarts."""
        columns = [(c.metric, c.measure.value, repr(c.source)) for c in self.columns]
        return json.dumps([_FORMAT, self.release, self.model, self.arms, columns])

    def arm_of(self, exposure: Exposure) -> int | None:
        """Return the arm of an exposure; None where it is of neither."""
        for arm, (slot, ordinal) in enumerate(self.arms):
            if exposure.slot == slot and exposure.ordinal == ordinal:
                return arm
        return None


@dataclass(slots=True, kw_only=True)
class ArmCount:
    """One arm in one stage.

    Attributes:
        units: Units that met it first.
        requests: Their requests.
        sums: By column.
    """

    sums: list[Sums]
    units: int = 0
    requests: int = 0


@dataclass(slots=True, kw_only=True)
class StageCount:
    """One stage.

    Attributes:
        arms: Control, candidate.
        both: Units that met both.
    """

    arms: tuple[ArmCount, ArmCount]
    both: int = 0


@dataclass(slots=True)
class _Touched:
    """A row that the batch looked at, and what it was before: None where it is new."""

    row: UnitRow
    before: UnitRow | None


class UnitTable:
    """The units of one release. Not safe for use by two threads at once.

    Attributes:
        definition: What is counted.
        next_offset: The first offset of the event log that was not counted.
        cut_s: Up to when everything was counted.
        stages: By number of the stage.
        others: Requests of the release that met neither arm.
        early: Metric events from before their unit's first exposure.
    """

    next_offset: int
    cut_s: float
    stages: dict[int, StageCount]
    others: int
    early: int

    def __init__(self, path: Path, definition: Definition, *, start_offset: int) -> None:
        """Open a table, or begin one that reads the log from an offset."""
        self.definition = definition
        path.parent.mkdir(parents=True, exist_ok=True)
        self._connection = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        run = self._connection.execute
        run("PRAGMA journal_mode = WAL")
        run("PRAGMA synchronous = NORMAL")
        run(f"PRAGMA cache_size = -{_CACHE_KIB}")
        run("CREATE TABLE IF NOT EXISTS state (name TEXT PRIMARY KEY, value TEXT) WITHOUT ROWID")
        self._windows = any(c.source.window_s is not None for c in definition.columns)
        if self._state("definition") != definition.text:
            self._begin(start_offset)
        self._rows: dict[int, dict[int, _Touched]] = {}
        self._load()
        names = ", ".join(f"v{index}" for index in range(len(definition.columns)))
        holes = ", ".join("?" * (6 + len(definition.columns)))
        self._select = f"SELECT stage, arm, met_both, first_s, requests, {names} FROM units"
        self._put = f"INSERT OR REPLACE INTO units VALUES ({holes})"
        self._events: dict[str, list[int]] = {}
        for index, column in enumerate(definition.columns):
            if column.of_events:
                self._events.setdefault(column.source.name, []).append(index)

    def take(self, events: Sequence[StoredEvent], *, next_offset: int, cut_s: float) -> None:
        """Count events of the log from `next_offset` on, and make that durable.

        Args:
            events: Any events, in the order of their offsets; those already counted are passed
                over.
            next_offset: The offset after the last of them.
            cut_s: Up to when the log is complete with them.
        """
        due = [stored.event for stored in events if stored.offset >= self.next_offset]
        if not due and next_offset <= self.next_offset:
            if not self._windows:
                self.cut_s = max(self.cut_s, cut_s)
                return
            if cut_s < self.cut_s + _MATURE_EVERY_S:
                return
        self._connection.execute("BEGIN")
        try:
            for event in due:
                if isinstance(event, Exposure):
                    self._take_exposure(event)
                elif isinstance(event, Metric):
                    self._take_metric(event)
            self._settle()
            self._mature(max(self.cut_s, cut_s))
            self.next_offset = max(self.next_offset, next_offset)
            self._save()
            self._connection.execute("COMMIT")
        except BaseException:
            self._connection.execute("ROLLBACK")
            self._load()
            raise
        finally:
            self._rows = {}

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def _take_exposure(self, event: Exposure) -> None:
        if event.release != self.definition.release or event.model != self.definition.model:
            return
        arm, unit = self.definition.arm_of(event), _signed(event.unit_hash)
        if arm is None or unit is None:
            self.others += 1
            return
        touched = self._unit(unit)
        found = touched.get(event.stage)
        if found is None:
            row = UnitRow(
                arm=arm, first_s=event.occurred_at, values=[0.0] * len(self.definition.columns)
            )
            found = touched[event.stage] = _Touched(row, None)
        row = found.row
        row.first_s = min(row.first_s, event.occurred_at)
        stage = self._stage(event.stage)
        if row.arm != arm:
            stage.both += not row.both
            row.both = True
            return
        row.requests += 1
        counts = stage.arms[arm]
        counts.requests += 1
        for index, column in enumerate(self.definition.columns):
            if not column.of_events:
                row.values[index] += column.of_request(event)
        if found.before is None and row.requests == 1 and self._events:
            self._take_pending(unit)

    def _take_metric(self, event: Metric) -> None:
        indices = self._events.get(event.name)
        if indices is None or event.model not in ("", self.definition.model):
            return
        unit = _signed(event.unit_hash)
        if unit is None:
            return
        if not self._unit(unit):
            self._connection.execute(
                "INSERT INTO pending VALUES (?, ?, ?, ?, ?)",
                (unit, event.name, event.occurred_at, event.value, event.received_at),
            )
            return
        self._attribute(unit, event.name, event.occurred_at, event)

    def _attribute(self, unit: int, name: str, at_s: float, event: Metric) -> None:
        """Add an event to the stage that its unit was in when it happened."""
        rows = self._unit(unit)
        met = [(t.row.first_s, number) for number, t in rows.items() if t.row.first_s <= at_s]
        if not met:
            self.early += 1
            return
        row = rows[max(met)[1]].row
        for index in self._events[name]:
            column = self.definition.columns[index]
            window_s = column.source.window_s
            if window_s is None or at_s <= row.first_s + window_s:
                row.values[index] += column.of_event(event)

    def _take_pending(self, unit: int) -> None:
        query = "SELECT name, at_s, value, received_s FROM pending WHERE unit = ? ORDER BY rowid"
        waiting = self._connection.execute(query, (unit,)).fetchall()
        for name, at_s, value, received_s in waiting:
            event = Metric(
                event_id="pending",
                occurred_at=at_s,
                received_at=received_s,
                name=name,
                value=value,
                unit_hash=f"{unit % _UNSIGNED:016x}",
            )
            self._attribute(unit, name, at_s, event)
        if waiting:
            self._connection.execute("DELETE FROM pending WHERE unit = ?", (unit,))

    def _unit(self, unit: int) -> dict[int, _Touched]:
        """Return a unit's rows by stage, as the batch has left them."""
        found = self._rows.get(unit)
        if found is None:
            found = {}
            for stage, row in self._read("WHERE unit = ?", (unit,)):
                found[stage] = _Touched(row, replace(row, values=list(row.values)))
            self._rows[unit] = found
        return found

    def _read(self, where: str, values: Iterable[Any]) -> Iterable[tuple[int, UnitRow]]:
        for stage, arm, both, first_s, requests, *sums in self._connection.execute(
            f"{self._select} {where}", tuple(values)
        ):
            row = UnitRow(
                arm=arm, both=bool(both), first_s=first_s, requests=requests, values=list(sums)
            )
            yield stage, row

    def _settle(self) -> None:
        """Put the changed rows into the sums and the file."""
        changed = []
        for unit, stages in self._rows.items():
            for number, touched in stages.items():
                row, before = touched.row, touched.before
                if row == before:
                    continue
                counts = self._stage(number).arms[row.arm]
                counts.units += before is None
                for index, column in enumerate(self.definition.columns):
                    sums = counts.sums[index]
                    if before is not None:
                        sums.add(column, _contribution(column, index, before, self.cut_s), -1)
                    sums.add(column, _contribution(column, index, row, self.cut_s))
                changed.append(
                    (unit, number, row.arm, row.both, row.first_s, row.requests, *row.values)
                )
        self._connection.executemany(self._put, changed)

    def _mature(self, cut_s: float) -> None:
        """Move the cut, and put the units into the sums whose windows have closed by it."""
        for index, column in enumerate(self.definition.columns):
            window_s = column.source.window_s
            if window_s is None or cut_s <= self.cut_s:
                continue
            closed = (self.cut_s - window_s, cut_s - window_s)
            for stage, row in self._read("WHERE first_s > ? AND first_s <= ?", closed):
                one = _contribution(column, index, row, cut_s)
                self._stage(stage).arms[row.arm].sums[index].add(column, one)
        self.cut_s = cut_s

    def _stage(self, number: int) -> StageCount:
        found = self.stages.get(number)
        if found is None:
            found = self.stages[number] = _empty_stage(len(self.definition.columns))
        return found

    def _save(self) -> None:
        if self._events:
            oldest = self.cut_s - _PENDING_S
            self._connection.execute("DELETE FROM pending WHERE received_s < ?", (oldest,))
        for name, value in {
            "next_offset": self.next_offset,
            "cut_s": repr(self.cut_s),
            "others": self.others,
            "early": self.early,
            "stages": json.dumps(_write_stages(self.stages)),
        }.items():
            self._connection.execute("INSERT OR REPLACE INTO state VALUES (?, ?)", (name, value))

    def _load(self) -> None:
        """Take over what is durable."""
        self.next_offset = int(self._state("next_offset") or 0)
        self.cut_s = float(self._state("cut_s") or 0.0)
        self.others = int(self._state("others") or 0)
        self.early = int(self._state("early") or 0)
        stages = json.loads(self._state("stages") or "{}")
        self.stages = _read_stages(stages)

    def _state(self, name: str) -> str | None:
        query = "SELECT value FROM state WHERE name = ?"
        found = self._connection.execute(query, (name,)).fetchone()
        return None if found is None else str(found[0])

    def _begin(self, start_offset: int) -> None:
        values = "".join(f", v{index} REAL" for index in range(len(self.definition.columns)))
        self._connection.executescript(
            "BEGIN; DELETE FROM state; DROP TABLE IF EXISTS units; DROP TABLE IF EXISTS pending;"
            "CREATE TABLE units (unit INTEGER, stage INTEGER, arm INTEGER, met_both INTEGER,"
            f" first_s REAL, requests INTEGER{values}, PRIMARY KEY (unit, stage)) WITHOUT ROWID;"
            + ("CREATE INDEX units_first ON units (first_s);" if self._windows else "")
            + "CREATE TABLE pending (unit INTEGER, name TEXT, at_s REAL, value REAL,"
            " received_s REAL);"
            "CREATE INDEX pending_unit ON pending (unit); COMMIT;"
        )
        for name, value in (("definition", self.definition.text), ("next_offset", start_offset)):
            self._connection.execute("INSERT INTO state VALUES (?, ?)", (name, value))


def table_key(release: str, part: str) -> str:
    """Return what the table of a comparison is called."""
    return f"{release}~{part}" if part else release


def release_of(key: str) -> str:
    """Return the release or experiment of a table that is called so.

    >>> release_of(table_key("r-1", "b")), release_of("r-2")
    ('r-1', 'r-2')
    """
    return key.partition("~")[0]


def _contribution(
    column: Column, index: int, row: UnitRow, matured_s: float
) -> Contribution | None:
    return contribution(
        column,
        value=row.values[index],
        requests=row.requests,
        first_s=row.first_s,
        matured_s=matured_s,
    )


def _signed(unit_hash: str) -> int | None:
    """Return a unit's hash as SQLite holds it; None where it is none of the gateway's."""
    try:
        value = int(unit_hash, 16)
    except ValueError:
        return None
    return value - _UNSIGNED if value >= _SIGNED else value


def _empty_stage(columns: int) -> StageCount:
    control, candidate = (ArmCount(sums=[Sums() for _ in range(columns)]) for _ in range(2))
    return StageCount(arms=(control, candidate))


def _write_stages(stages: Mapping[int, StageCount]) -> dict[str, Any]:
    return {
        str(number): {
            "both": stage.both,
            "arms": [
                {
                    "units": arm.units,
                    "requests": arm.requests,
                    "sums": [sums.as_json() for sums in arm.sums],
                }
                for arm in stage.arms
            ],
        }
        for number, stage in stages.items()
    }


def _read_stages(value: Mapping[str, Any]) -> dict[int, StageCount]:
    found = {}
    for number, one in value.items():
        control, candidate = (
            ArmCount(
                units=arm["units"],
                requests=arm["requests"],
                sums=[Sums.from_json(sums) for sums in arm["sums"]],
            )
            for arm in one["arms"]
        )
        found[int(number)] = StageCount(arms=(control, candidate), both=one["both"])
    return found
