"""Verification reports and differences between versions, over the API and on the command line."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest
from command_line import CommandLine
from memory_platform import MemoryPlatform

from conch.control.client import ApiError
from conch.control.registry import RunFacts


def test_a_report_is_json_or_a_page(memory_platform: MemoryPlatform, tmp_path: Path) -> None:
    """By `Accept`, by name, and written by `conch builds`; one and the same report."""
    memory_platform.live("report shown")
    build = memory_platform.client.version("report shown", 1)["build_id"]
    report = memory_platform.client.report(build)
    assert report == memory_platform.client.build(build)["report"]
    address = f"{memory_platform.url}/v1/builds/{build}/report"
    headers = {"authorization": f"Bearer {memory_platform.key}"}
    page = httpx.get(address, headers={**headers, "accept": "text/html,*/*;q=0.8"})
    assert page.headers["content-type"].startswith("text/html")
    assert page.text == memory_platform.client.report_page(build)
    assert "report shown, version 1" in page.text
    assert "The answers agree on" in page.text
    conch = CommandLine(home=memory_platform.folder)
    conch.run("builds", "report", "report shown", "1", "--html", str(tmp_path / "report.html"))
    assert (tmp_path / "report.html").read_text() == page.text
    assert conch.json("builds", "report", "report shown", "1") == report


def test_the_manifest_names_the_report(memory_platform: MemoryPlatform) -> None:
    """`report_digest` is the SHA-256 of the published file."""
    import hashlib

    memory_platform.live("sealed")
    build = memory_platform.client.build(memory_platform.client.version("sealed", 1)["build_id"])
    payload = (Path(build["path"]) / "report.json").read_bytes()
    assert build["manifest"]["report_digest"] == hashlib.sha256(payload).hexdigest()


def test_a_build_without_a_report_says_why(memory_platform: MemoryPlatform) -> None:
    """One that was refused before anything was compared."""
    number = memory_platform.register("reportless", tags={"triton.instances": "none"})
    with pytest.raises(ApiError, match=r"triton\.instances"):
        memory_platform.client.wait_verified("reportless", number, timeout_s=30)
    (build,) = memory_platform.client.builds(model="reportless")
    with pytest.raises(ApiError, match=r"triton\.instances") as error:
        memory_platform.client.report(build["id"])
    assert error.value.code == "not-found"


def test_two_versions_are_shown_side_by_side(memory_platform: MemoryPlatform) -> None:
    """Weights that changed, data of the runs, and the version that follows; as a table too."""
    memory_platform.live("compared", metrics={"accuracy": 0.5})
    second = memory_platform.verified("compared", factor=3.0)
    digests = {1: "old data", second: "new data"}
    for number, digest in digests.items():
        memory_platform.registry.origins["compared", number] = RunFacts(
            params={"epochs": str(number)},
            datasets=({"name": "rows", "digest": digest, "context": ""},),
        )
    found = memory_platform.client.diff("compared", 1, second)
    assert found["signature"]["same"]
    assert len(found["parameters"]["changed"]) == 1
    assert found["semantic_version"]["follows"] == "1.0.1"
    assert found["data"]["datasets"][0]["new"] == "new data"
    conch = CommandLine(home=memory_platform.folder)
    words = ("models", "diff", "compared", "1", str(second))
    assert conch.json(*words) == found
    table = conch.run(*words).out
    for word in ("only weights changed", "old data", "epochs", "other values", "the same"):
        assert word in table


def test_a_version_that_is_not_there_is_named(memory_platform: MemoryPlatform) -> None:
    """The other side of a comparison must exist."""
    memory_platform.live("report of one")
    with pytest.raises(ApiError, match="no version 7") as error:
        memory_platform.client.diff("report of one", 1, 7)
    assert error.value.code == "not-found"
