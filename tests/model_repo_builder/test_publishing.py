"""Publication is whole or not at all."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from conch.model_repo_builder import OutputExistsError
from conch.model_repo_builder.publishing import STAGING_PREFIX, remove_leftovers, staged


def test_a_folder_appears_with_all_its_files(tmp_path: Path) -> None:
    """Nothing is at the output until the block has ended."""
    output = tmp_path / "deep" / "7"
    with staged(output) as folder:
        (folder / "a").mkdir()
        (folder / "a" / "file").write_text("x")
        assert not output.exists()
        assert folder.name.startswith(".")
    assert (output / "a" / "file").read_text() == "x"
    assert [path.name for path in output.parent.iterdir()] == ["7"]


def test_an_error_publishes_nothing(tmp_path: Path) -> None:
    """And leaves nothing behind."""

    class Boom(Exception):
        pass

    with pytest.raises(Boom), staged(tmp_path / "7") as folder:
        (folder / "file").write_text("x")
        raise Boom
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("early", [True, False], ids=["before", "meanwhile"])
def test_a_taken_output_is_left_alone(tmp_path: Path, early: bool) -> None:
    """Whoever came first is not overwritten."""
    output = tmp_path / "7"

    def take() -> None:
        output.mkdir()
        (output / "mine").write_text("first")

    if early:
        take()
    with pytest.raises(OutputExistsError), staged(output) as folder:
        (folder / "file").write_text("second")
        take()
    assert [path.name for path in output.iterdir()] == ["mine"]
    assert [path.name for path in tmp_path.iterdir()] == ["7"]


def test_a_dead_process_leaves_what_the_next_one_removes(tmp_path: Path) -> None:
    """A live build's staging folder stays, a killed one's goes with the next publication."""
    script = textwrap.dedent(
        f"""
        import sys
        from pathlib import Path
        from conch.model_repo_builder.publishing import staged
        with staged(Path({str(tmp_path)!r}) / "1") as folder:
            (folder / "half").write_text("x")
            print("filled", flush=True)
            sys.stdin.read()
        """
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "filled\n"
    assert remove_leftovers(tmp_path) == ()
    assert len(list(tmp_path.glob(f"{STAGING_PREFIX}*"))) == 1
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    with staged(tmp_path / "2") as folder:
        (folder / "file").write_text("x")
    assert [path.name for path in tmp_path.iterdir()] == ["2"]
