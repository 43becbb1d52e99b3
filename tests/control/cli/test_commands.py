"""Every command: as a table for people, as JSON for programs."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from command_line import CommandLine
from memory_platform import MemoryPlatform, write_scaling

from conch.control.cli import Exit


@pytest.fixture
def conch(memory_platform: MemoryPlatform) -> CommandLine:
    """The command line with the platform's home."""
    return CommandLine(home=memory_platform.folder)


def test_models_are_listed_and_shown(conch: CommandLine, memory_platform: MemoryPlatform) -> None:
    """`models`, `models list`, `models show` and `models versions` show one and the same model."""
    memory_platform.live("shown model", tags={"team": "cli"})
    assert conch.run("models").out == conch.run("models", "list").out
    assert "shown model" in conch.run("models").out
    (listed,) = conch.json("models", "list", "--tag", "team=cli")
    assert listed == memory_platform.client.model("shown model")
    shown = conch.json("models", "show", "shown model")
    assert shown["version_list"] == conch.json("models", "versions", "shown model")
    assert shown["deployment"]["arms"][0]["weight"] == 100.0
    table = conch.run("models", "show", "shown model").out
    for word in ("shown model", "verified", "1.0.0", "100 %", listed["endpoint_url"]):
        assert word in table


def test_a_file_is_registered_and_waited_for(conch: CommandLine, tmp_path: Path) -> None:
    """`models register --wait` ends when the version is verified."""
    path = tmp_path / "model.onnx"
    write_scaling(path, factor=2.5)
    words = ("models", "register", "from the shell", str(path), "--tag", "team=x", "--wait")
    found = conch.json(*words)
    assert (found["status"], found["tags"]) == ("verified", {"team": "x"})


def test_builds_show_their_verification(
    conch: CommandLine, memory_platform: MemoryPlatform
) -> None:
    """A build is found by its id, or by name and version; the table holds the comparison."""
    memory_platform.live("built")
    by_version = conch.json("builds", "show", "built", "1")
    assert conch.json("builds", "show", by_version["id"]) == by_version
    assert [one["id"] for one in conch.json("builds", "list", "built")] == [by_version["id"]]
    table = conch.run("builds", "show", "built", "1").out
    for word in ("keep-onnx", "rows compared", "mismatches", "FP32", by_version["digest"][:20]):
        assert word in table


def test_a_refusal_shows_its_reason_and_can_be_retried(
    conch: CommandLine, memory_platform: MemoryPlatform
) -> None:
    """Code and message of a refusal are in the list of versions; `builds retry` queues a build."""
    number = memory_platform.register("turned down", tags={"triton.instances": "none"})
    with pytest.raises(Exception, match=r"triton\.instances"):
        memory_platform.client.wait_verified("turned down", number, timeout_s=30)
    assert "serving-tag-invalid" in conch.run("models", "versions", "turned down").out
    memory_platform.registry.set_tags("turned down", number, {"triton.instances": "1"})
    memory_platform.client.sweep()
    assert conch.json("builds", "retry", "turned down", "1")["status"] == "building"
    memory_platform.client.wait_live("turned down", number, timeout_s=60)


def test_predict_reads_json_files_and_standard_input(
    conch: CommandLine, memory_platform: MemoryPlatform, tmp_path: Path
) -> None:
    """The three ways to give data give the same answer, and the table names the version."""
    memory_platform.live("asked", factor=2.0)
    data = json.dumps({"x": [[1, 2, 3, 4]]})
    (tmp_path / "rows.json").write_text(data)
    answers = [
        conch.json("predict", "asked", "--data", data),
        conch.json("predict", "asked", "--data", str(tmp_path / "rows.json")),
        conch.json("predict", "asked", "--data", "-", stdin=data),
        conch.json("predict", "asked", "--data", data, "--version", "1", "--unit", "user-7"),
    ]
    assert [one["prediction"] for one in answers] == [[[2.0, 4.0, 6.0, 8.0]]] * 4
    table = conch.run("predict", "asked", "--data", data).out
    assert "1 (1.0.0)" in table
    assert "[[2.0, 4.0, 6.0, 8.0]]" in table


def test_a_release_from_start_to_rollback(
    conch: CommandLine, memory_platform: MemoryPlatform
) -> None:
    """`release start` waits until the candidate is ready; every step says where traffic is."""
    memory_platform.live("let go", factor=2.0)
    second = memory_platform.verified("let go", factor=3.0)
    started = conch.json("release", "start", "let go", "--version", str(second), "--weight", "5")
    assert (started["status"], started["weight"]) == ("running", 5.0)
    assert "12.5 %" in conch.run("release", "set-weight", "let go", "12.5").out
    assert conch.json("release", "show", "let go")["weight"] == 12.5
    assert "is promoted" in conch.run("release", "promote", "let go").out
    back = conch.json("release", "rollback", "let go", "--reason", "a test")
    assert back["reason"]["message"] == "a test"
    assert conch.json("release", "list", "let go") == [back]
    assert "rolled-back" in conch.run("release", "list").out
    assert "a test" in conch.run("release", "show", "let go").out


def test_a_release_may_be_started_without_waiting(
    conch: CommandLine, memory_platform: MemoryPlatform
) -> None:
    """With `--no-wait` the answer comes while the candidate is being loaded."""
    memory_platform.live("hasty", factor=2.0)
    second = memory_platform.verified("hasty", factor=3.0)
    found = conch.json("release", "start", "hasty", "--version", str(second), "--no-wait")
    assert found["status"] in ("preparing", "running")


def test_jobs_are_watched_and_cancelled(
    conch: CommandLine, memory_platform: MemoryPlatform
) -> None:
    """A job is seen while it works, ends when it is cancelled, and watching then returns."""
    memory_platform.workshop.open.clear()
    try:
        number = memory_platform.register("called off")
        label = f"build called off version {number}"
        job = _unfinished(memory_platform, label)
        assert label in conch.run("jobs", "list", "--unfinished").out
        assert conch.json("jobs", "cancel", job)["cancel_requested"]
        said = conch.run("jobs", "watch", job, "--timeout", "30")
        assert said.code == Exit.FAILED
        assert said.err.splitlines()[-1].startswith(("error", "hint"))
    finally:
        memory_platform.workshop.open.set()
    assert conch.json("jobs", "show", job)["status"] in ("failed", "cancelled")
    assert job in conch.run("jobs", "show", job).out
    assert conch.json("jobs", "watch", "--timeout", "30") == []
    done = memory_platform.client.jobs(limit=100)
    ended = next(one["id"] for one in done if one["status"] == "succeeded")
    assert conch.json("jobs", "watch", ended, "--timeout", "30")["status"] == "succeeded"


def test_sweep_shows_what_changed(conch: CommandLine, memory_platform: MemoryPlatform) -> None:
    """The changes of one look are listed; the next one finds none."""
    path = memory_platform.folder / "swept from the shell.onnx"
    write_scaling(path, factor=2.0)
    memory_platform.registry.register_path("swept from the shell", path)
    assert "NewVersion" in conch.run("sweep").out
    assert "Nothing changed." in conch.run("sweep").out
    assert conch.json("sweep") == {"done": True, "changes": []}


def _unfinished(platform: MemoryPlatform, label: str) -> str:
    """Wait until a job is being worked on and return its id."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        for job in platform.client.jobs(unfinished=True):
            if job["label"] == label and job["status"] == "running":
                return str(job["id"])
    raise AssertionError(f"{label!r} never began")
