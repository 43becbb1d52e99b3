"""Logs stay bounded, and the access log loses no line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from platform_fixtures import A, Traffic, all_to, running_platform, until

from conch.local import Home, LocalSettings, Runtime
from conch.local.log_rotating import rotate


def test_large_logs_move_up_and_the_oldest_goes(tmp_path: Path) -> None:
    """Former contents are numbered; no more than asked for are kept; small logs stay."""
    home = Home(tmp_path)
    home.create()
    log, small = home.logs / "triton-a-0.log", home.logs / "envoy.log"
    small.write_text("s")
    with log.open("a") as writer:  # a process keeps its handle over a rotation
        for text in ("one", "two", "three", "four"):
            writer.write(text * 10)
            writer.flush()
            assert rotate(home, limit_bytes=5, files=2, reopen=lambda: None) == [log]
            assert log.read_text() == ""
        writer.write("now")
    assert (home.logs / "triton-a-0.log.1").read_text() == "four" * 10
    assert (home.logs / "triton-a-0.log.2").read_text() == "three" * 10
    assert log.read_text() == "now"
    assert sorted(path.name for path in home.logs.iterdir()) == [
        "envoy.log",
        "triton-a-0.log",
        "triton-a-0.log.1",
        "triton-a-0.log.2",
    ]


@pytest.mark.real
def test_the_access_log_is_rotated_without_losing_a_line(
    tmp_path: Path, serving_runtime: Runtime
) -> None:
    """Every request under load is in the log or its rotated files, exactly once."""
    settings = LocalSettings(inference_port=0, log_bytes=20_000, log_files=500)
    with running_platform(tmp_path, serving_runtime, settings) as platform:
        build = platform.build("logged", 1)
        platform.target.load(build, A, timeout_s=60)
        platform.target.set_routes([all_to("logged", "a", build)])
        logs = Home(tmp_path).logs
        with Traffic(platform, "logged", grpc=0) as traffic:
            until(lambda: len(list(logs.glob("access.log.*"))) >= 2)
        assert traffic.failures == []

        def lines() -> list[str]:
            return [
                line["request_id"]
                for path in logs.glob("access.log*")
                for line in map(json.loads, path.read_text().rpartition("\n")[0].splitlines())
                if line["model"] == "logged"
            ]

        until(lambda: len(lines()) >= len(traffic.answers))
        assert len(lines()) == len(set(lines())) == len(traffic.answers)
