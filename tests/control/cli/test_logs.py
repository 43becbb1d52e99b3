"""`conch logs`: the last lines of every process, and what comes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from command_line import CommandLine

from conch.control.cli import Exit
from conch.control.cli.logs import following


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home with the logs of two processes."""
    folder = tmp_path / "serving" / "logs"
    folder.mkdir(parents=True)
    (folder / "control.log").write_text("one\ntwo\nthree é\n")
    (folder / "envoy.log").write_text("up\n")
    return tmp_path


def test_the_last_lines_of_one_log_or_all(home: Path) -> None:
    """One log is printed as it is; of several, each line says whose it is."""
    conch = CommandLine(home=home)
    assert conch.run("logs", "control", "-n", "2").out == "two\nthree é\n"
    assert conch.run("logs", "-n", "1").out == "control: three é\nenvoy: up\n"
    lines = conch.run("logs", "envoy", "--output", "json").out.splitlines()
    assert [json.loads(line) for line in lines] == [{"log": "envoy", "line": "up"}]


def test_an_unknown_log_is_wrong_usage(home: Path) -> None:
    """The message lists the logs that there are."""
    said = CommandLine(home=home).run("logs", "nobody")
    assert said.code == Exit.USAGE
    assert "control, envoy" in said.err


def test_what_comes_is_followed_line_by_line(home: Path) -> None:
    """Only whole lines are given, and a log that is begun anew is read from its beginning."""
    path = home / "serving" / "logs" / "envoy.log"
    lines = following({"envoy": path}, {"envoy": path.stat().st_size})
    with path.open("a") as file:
        file.write("half")
        file.flush()
        file.write(" a line\nnext\nunfinished")
    assert [next(lines), next(lines)] == [("envoy", "half a line"), ("envoy", "next")]
    path.write_text("anew\n")
    assert next(lines) == ("envoy", "anew")
