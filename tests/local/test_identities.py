"""Which process is which, by facts that setting the clock does not change."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

from conch.local import Identity, identify, runs


def test_an_identity_does_not_change_while_its_process_runs() -> None:
    """Two looks at a process agree, and say that it runs."""
    first, second = identify(os.getpid()), identify(os.getpid())
    assert first is not None
    assert first == second
    assert runs(first)


def test_an_identity_is_made_of_ticks_and_the_boot_and_of_no_time_of_day() -> None:
    """What is kept is field 22 of `/proc/PID/stat` and the boot's identity."""
    identity = identify(os.getpid())
    assert identity is not None
    fields = Path("/proc/self/stat").read_text().split()  # the interpreter's name has no space
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    assert identity == Identity(pid=os.getpid(), started=f"{fields[21]}@{boot}")
    assert re.fullmatch(r"\d+@[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", identity.started)


def test_another_process_of_the_same_number_is_another_one() -> None:
    """Later ticks or another boot mean that the number was given anew."""
    identity = identify(os.getpid())
    assert identity is not None
    ticks, _, boot = identity.started.partition("@")
    assert not runs(replace(identity, started=f"{int(ticks) + 1}@{boot}"))
    assert not runs(replace(identity, started=f"{ticks}@another-boot"))


def test_a_process_that_ended_does_not_run_even_before_it_is_waited_for() -> None:
    """A zombie still has its identity, but does not run; a reaped process has neither."""
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    identity = identify(child.pid)
    assert identity is not None
    assert runs(identity)
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert identify(child.pid) == identity
    assert not runs(identity)
    child.communicate()
    assert identify(child.pid) is None
    assert not runs(identity)


def test_a_command_with_spaces_and_parentheses_is_read_rightly(tmp_path: Path) -> None:
    """The name of a program cannot shift the fields that are read."""
    program = tmp_path / "a ) R 1 (b"
    program.symlink_to(os.path.realpath("/bin/sleep"))
    plain = subprocess.Popen(["/bin/sleep", "60"])
    strange = subprocess.Popen([str(program), "60"])
    try:
        before, after = identify(plain.pid), identify(strange.pid)
        assert before is not None
        assert after is not None
        assert runs(after)
        assert int(after.started.partition("@")[0]) >= int(before.started.partition("@")[0])
    finally:
        for child in (plain, strange):
            child.kill()
            child.wait()
