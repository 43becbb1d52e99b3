"""`kill -9` of a real writer process: what it acknowledged is there, once."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from conch.events import EventLog

# Four threads append one event each time and print its number once it is acknowledged; every
# third event is sent twice. The file of a previous life is taken up with new numbers.
WRITER = """
import pathlib, sys, threading
from conch.events import EventLog, LogSettings
from event_makers import exposure

log = EventLog(pathlib.Path(sys.argv[1]), settings=LogSettings(segment_bytes=20_000))
start = int(sys.argv[2])

def work(lane):
    number = start + lane
    while True:
        event = exposure(number)
        log.append([event])
        if number % 3 == 0:
            log.append([event])
        sys.stdout.write(f"{number}\\n")
        sys.stdout.flush()
        number += 4

for lane in range(4):
    threading.Thread(target=work, args=(lane,), daemon=True).start()
threading.Event().wait()
"""


@pytest.mark.parametrize("seed", range(3))
def test_nothing_acknowledged_is_lost(tmp_path: Path, seed: int) -> None:
    """Killed at random moments in four lives, the log holds every acknowledged event, each once."""
    chance = random.Random(seed)
    support = Path(__file__).parents[1] / "support"
    acknowledged: list[int] = []
    for life in range(4):
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(tmp_path), str(life * 1_000_000)],
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(support)},
        )
        assert writer.stdout is not None
        for _ in range(chance.randrange(1, 200)):
            acknowledged.append(int(writer.stdout.readline()))
        writer.send_signal(signal.SIGKILL)
        rest = writer.stdout.read()
        acknowledged += [int(line) for line in rest.splitlines(keepends=True) if b"\n" in line]
        assert writer.wait() == -signal.SIGKILL

    with EventLog(tmp_path) as log:
        stored: list[str] = []
        while events := log.read(len(stored)):
            stored += [item.event.event_id for item in events]

    assert len(acknowledged) >= 4
    assert len(stored) == len(set(stored))
    assert {f"e{number}" for number in acknowledged} <= set(stored)
