"""`conch experiment`: the road of one, as a table for people and as JSON for programs."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from command_line import CommandLine
from memory_platform import MemoryPlatform

from conch.control.cli import Exit

GOAL = "goals.buys.source=events:buys"


@pytest.fixture
def conch(memory_platform: MemoryPlatform) -> CommandLine:
    """The command line with the platform's home."""
    return CommandLine(home=memory_platform.folder)


def test_an_experiment_from_start_to_stop(
    conch: CommandLine, memory_platform: MemoryPlatform, tmp_path: Path
) -> None:
    """Shown before it starts, divided when `start` returns, read in words, and stopped."""
    memory_platform.live("put beside", factor=2.0)
    memory_platform.verified("put beside", factor=3.0)
    plan = tmp_path / "plan.yaml"
    plan.write_text("goals: {buys: {source: 'events:buys@1d'}}\nrecord_every_s: 0.1\n")
    start = ("experiment", "start", "put beside", "--arm", "2=20", "--plan", str(plan))
    table = conch.run(*start, "--dry-run").out
    assert "events:buys@1d" in table
    assert conch.json("experiment", "list", "put beside") == []
    found = conch.json(*start, "--name", "who buys")
    assert (found["status"], found["name"]) == ("running", "who buys")
    assert [arm["weight"] for arm in found["arms"]] == [80.0, 20.0]
    while not conch.json("experiment", "show", "put beside")["results"]:
        time.sleep(0.05)
    shown = conch.run("experiment", "show", "put beside").out
    for word in ("who buys", "running", "version 2 (treatment) 20 %", "buys", "goal"):
        assert word in shown
    assert "beside version 1" in conch.run("experiment", "explain", "put beside").out
    assert conch.run("experiment", "stop", "put beside", "--reason", "seen enough").code == Exit.OK
    watched = conch.run("experiment", "watch", "put beside")
    assert (watched.code, "seen enough" in watched.out) == (Exit.FAILED, True)
    looks = conch.json("experiment", "decisions", "put beside", "--records")
    assert looks[-1]["action"] == "start"
    assert any(one["records"] for one in looks)
    assert "seen enough" in conch.run("experiment", "list").out


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("start", "unasked", "--arm", "x=y"), Exit.USAGE, "no percentage"),
        (("start", "unasked", "--arm", "2", "--plan", "canary"), Exit.USAGE, "a file"),
        (("start", "unasked", "--arm", "2", "--set", GOAL), Exit.FAILED, "not-found"),
        (("show", "unasked"), Exit.FAILED, "not-found"),
        (("stop", "unasked"), Exit.FAILED, "not-found"),
    ],
    ids=["share", "plan", "unknown model", "show", "stop"],
)
def test_what_cannot_be_done_is_told(
    conch: CommandLine, words: tuple[str, ...], code: Exit, said: str
) -> None:
    """With the exit code of its kind."""
    result = conch.run("experiment", *words, "--output", "json")
    assert result.code == code
    assert said in result.out + result.err
