"""The unit for systemd says what the supervisor needs, and systemd can read it."""

from __future__ import annotations

import configparser
import shutil
import subprocess
from pathlib import Path

import pytest
import typer

from conch.control.cli import app

ROOT = Path(__file__).resolve().parents[1]
UNIT = ROOT / "packaging" / "conch.service"


class _Unit(configparser.RawConfigParser):
    """A unit file: keys keep their case."""

    def optionxform(self, optionstr: str) -> str:
        return optionstr


@pytest.fixture
def unit() -> configparser.RawConfigParser:
    """The unit, by section; of keys that stand twice the last."""
    parser = _Unit(strict=False)
    parser.read(UNIT)
    return parser


def test_the_supervisor_may_die_without_taking_anything_along(
    unit: configparser.RawConfigParser,
) -> None:
    """Only the main process is signalled, it is always started again, memory ends one process."""
    service = unit["Service"]
    assert (service["KillMode"], service["Restart"]) == ("process", "always")
    assert service["OOMPolicy"] == "continue"
    assert unit["Unit"]["StartLimitIntervalSec"] == "0"


def test_the_unit_calls_what_the_command_line_has(unit: configparser.RawConfigParser) -> None:
    """`conch up --foreground` is a command with that option."""
    program, command, option = unit["Service"]["ExecStart"].split()
    assert program.endswith("/conch")
    root = typer.main.get_command(app)
    found = getattr(root, "commands", {})[command]
    assert option in [name for parameter in found.params for name in parameter.opts]


def test_systemd_can_read_the_unit(tmp_path: Path) -> None:
    """`systemd-analyze verify` finds nothing wrong, with a program and a user that exist here."""
    if shutil.which("systemd-analyze") is None:
        pytest.skip("no systemd-analyze on this machine")
    here = tmp_path / "conch.service"
    text = UNIT.read_text().replace("/opt/conch/bin/conch", "/bin/true")
    here.write_text(text.replace("=conch\nGroup=conch", "=root\nGroup=root"))
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(here)], capture_output=True, text=True
    )
    problems = [line for line in done.stderr.splitlines() if "conch" in line]
    assert (done.returncode, problems) == (0, []), done.stderr
