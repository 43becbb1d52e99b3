"""Exit codes, and what is printed where when something is not as it should be."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from command_line import CommandLine
from memory_platform import MemoryPlatform, write_scaling

from conch.control.cli import Exit


@pytest.fixture
def conch(memory_platform: MemoryPlatform) -> CommandLine:
    """The command line with the platform's home."""
    return CommandLine(home=memory_platform.folder)


def test_a_refused_request_exits_with_1(conch: CommandLine) -> None:
    """Code, message and hint go to standard error, and nothing to standard output."""
    said = conch.run("models", "show", "nobody")
    assert said.code == Exit.FAILED
    assert said.out == ""
    assert said.err.startswith("error [not-found]: There is no model 'nobody'.")
    assert "hint: " in said.err


def test_a_refused_request_as_json(conch: CommandLine) -> None:
    """With JSON the problem is the one object on standard output."""
    said = conch.run("models", "show", "nobody", "--output", "json")
    assert said.code == Exit.FAILED
    assert json.loads(said.out)["error"]["code"] == "not-found"
    assert said.err == ""


@pytest.mark.parametrize(
    "words",
    [
        ("nothing",),
        ("predict", "x"),
        ("predict", "x", "--data", "{"),
        ("predict", "x", "--data", "/absent/file.json"),
        ("release", "set-weight", "x", "101"),
        ("models", "register", "x", "x.onnx", "--tag", "novalue"),
        ("models", "list", "--output", "yaml"),
    ],
    ids=" ".join,
)
def test_wrong_usage_exits_with_2(conch: CommandLine, words: tuple[str, ...]) -> None:
    """What cannot be understood is refused before anything is asked."""
    assert conch.run(*words).code == Exit.USAGE


@pytest.mark.parametrize(
    "words",
    [("models",), ("sweep",), ("status",), ("jobs", "list"), ("release", "show", "x")],
    ids=" ".join,
)
def test_a_platform_that_does_not_run_exits_with_3(
    tmp_path: Path, unused_port: int, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    """Nothing is started by asking; the hint says how to."""
    monkeypatch.setenv("CONCH_API__CONTROL_PORT", str(unused_port))
    said = CommandLine(home=tmp_path).run(*words)
    assert said.code == Exit.NOT_RUNNING
    assert "conch up" in said.err or "Nothing runs." in said.out


def test_waiting_too_long_exits_with_4(
    conch: CommandLine, memory_platform: MemoryPlatform, tmp_path: Path
) -> None:
    """A wait that runs out is told apart from a failure."""
    path = tmp_path / "model.onnx"
    write_scaling(path, factor=2.0)
    memory_platform.workshop.open.clear()
    try:
        words = ("models", "register", "too slow", str(path), "--wait", "--timeout", "0.2")
        said = conch.run(*words)
    finally:
        memory_platform.workshop.open.set()
    assert said.code == Exit.TIMED_OUT
    assert "error [wait-timed-out]" in said.err
    memory_platform.client.wait_live("too slow", timeout_s=60)


def test_options_may_stand_before_or_after_the_command(
    conch: CommandLine, memory_platform: MemoryPlatform, tmp_path: Path
) -> None:
    """`--output` works in both places, and a command's own `--home` wins."""
    memory_platform.live("listed twice")
    before = conch.run("--output", "json", "models", "show", "listed twice")
    after = conch.run("models", "show", "listed twice", "--output", "json")
    assert json.loads(before.out)["id"] == json.loads(after.out)["id"]
    elsewhere = CommandLine(home=tmp_path)
    found = elsewhere.json("models", "list", "--home", str(memory_platform.folder))
    assert isinstance(found, list)


def test_a_setting_that_is_wrong_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bad `conch.toml` is an error with the setting's name, not a traceback."""
    (tmp_path / "conch.toml").write_text("[api]\ncontrol_port = 0\n")
    said = CommandLine(home=tmp_path).run("models")
    assert said.code == Exit.FAILED
    assert "error [settings-invalid]" in said.err
    assert "api.control_port" in said.err


def test_bringing_up_without_the_runtime_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`up` and `runtime path` name the command that installs it; `down` has nothing to do."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    conch = CommandLine(home=tmp_path / "home")
    for words in (("up",), ("runtime", "path"), ("runtime", "check")):
        said = conch.run(*words)
        assert said.code == Exit.FAILED
        assert "error [runtime-missing]" in said.err
        assert "conch runtime install" in said.err
    assert conch.json("down") == {"stopped": False}
    status = conch.run("status", "--output", "json")
    assert status.code == Exit.NOT_RUNNING
    assert json.loads(status.out)["running"] is False
