"""Builds' files over the API: the served flavour as a tar, proved by its digest, in blocks."""

from __future__ import annotations

import hashlib
import io
import shutil
import tarfile
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
from handmade_builds import make_build
from memory_platform import MemoryPlatform

from conch.control.handing_out import FileChangedError, HandedOut
from conch.kserve.fetching import LISTING
from conch.model_repo_builder import DigestMismatchError, check_digest


@pytest.fixture(scope="module")
def build(memory_platform: MemoryPlatform) -> dict[str, Any]:
    """A build of the session's platform."""
    memory_platform.live("handed-out")
    (found,) = memory_platform.client.builds(model="handed-out")
    return found


def _asked(platform: MemoryPlatform, build_id: str, key: str | None = None) -> httpx.Response:
    headers = {"authorization": f"Bearer {platform.fetch_key if key is None else key}"}
    return httpx.get(f"{platform.url}/v1/builds/{build_id}/repository", headers=headers)


def _members(body: bytes) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(body)) as archive:
        assert all(member.isreg() for member in archive)
        return {one.name: archive.extractfile(one).read() for one in archive}  # type: ignore[union-attr]


def test_the_archive_is_the_native_repository_with_the_lines_of_the_digest(
    memory_platform: MemoryPlatform, build: dict[str, Any]
) -> None:
    """The listing comes first and hashes to the digest; the files are the published ones."""
    answer = _asked(memory_platform, build["id"])
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/x-tar")
    assert answer.headers["etag"] == f'"{build["digest"]}"'
    assert int(answer.headers["content-length"]) == len(answer.content)
    members = _members(answer.content)
    assert next(iter(members)) == LISTING
    assert hashlib.sha256(members.pop(LISTING)).hexdigest() == build["digest"]
    folder = Path(build["path"])
    native = {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in (folder / "native").rglob("*")
        if path.is_file()
    }
    assert members == native


def test_equal_builds_give_equal_bytes(
    memory_platform: MemoryPlatform, build: dict[str, Any]
) -> None:
    """Nothing in the archive depends on when or by whom it was asked for."""
    assert len({_asked(memory_platform, build["id"]).content for _ in range(2)}) == 1


def test_the_fetch_key_opens_builds_and_nothing_else(
    memory_platform: MemoryPlatform, build: dict[str, Any]
) -> None:
    """Whoever reads it in the models' namespace releases nothing with it."""
    assert _asked(memory_platform, build["id"], memory_platform.key).status_code == 200
    headers = {"authorization": f"Bearer {memory_platform.fetch_key}"}
    schema = httpx.get(f"{memory_platform.url}/openapi.json").json()
    closed = [
        (method, path.replace("{version}", "1"))
        for path, methods in schema["paths"].items()
        for method, operation in methods.items()
        if "administrator" in str(operation.get("security"))
    ]
    assert len(closed) > 15
    for method, path in closed:
        answer = httpx.request(method, memory_platform.url + path, headers=headers)
        assert answer.status_code == 401, (method, path)


def test_a_wrong_key_is_told_what_is_asked_for(
    memory_platform: MemoryPlatform, build: dict[str, Any]
) -> None:
    """The problem names both keys that open the builds."""
    answer = _asked(memory_platform, build["id"], "conch_fetch_wrong")
    assert (answer.status_code, answer.json()["code"]) == (401, "unauthorized")
    assert "fetch key" in answer.json()["detail"]


def test_what_has_no_files_is_not_found(memory_platform: MemoryPlatform) -> None:
    """A build that is not there, and one that is still being built."""
    assert _asked(memory_platform, "nothing").json()["code"] == "not-found"
    memory_platform.workshop.open.clear()
    try:
        number = memory_platform.register("handed-out-early")
        while not (builds := memory_platform.client.builds(model="handed-out-early")):
            time.sleep(0.02)
        answer = _asked(memory_platform, builds[0]["id"])
    finally:
        memory_platform.workshop.open.set()
    assert (answer.status_code, answer.json()["code"]) == (404, "not-found")
    assert "building" in answer.json()["detail"]
    memory_platform.client.wait_verified("handed-out-early", number, timeout_s=60)
    assert _asked(memory_platform, builds[0]["id"]).status_code == 200


def test_a_build_whose_files_changed_is_not_handed_out(
    build: dict[str, Any], tmp_path: Path
) -> None:
    """The files are compared with the digest in the database before a byte is sent."""
    copy = tmp_path / "copy"
    shutil.copytree(build["path"], copy)
    digest = check_digest(copy)
    assert HandedOut.of(copy, digest).size > 0
    next(copy.glob("portable/*/config.pbtxt")).write_text("name: 'other'")
    with pytest.raises(DigestMismatchError, match="not the published ones"):
        HandedOut.of(copy, digest)


def test_a_large_file_is_handed_out_in_blocks(tmp_path: Path) -> None:
    """No block is larger than a megabyte, though the file is; the size is known before."""
    folder = make_build(tmp_path, "large", 1).path
    (folder / "portable" / "large" / "1" / "weights").write_bytes(bytes(5 * 1024**2 + 17))
    found = HandedOut.of(folder, _digest(folder))
    sizes = [len(block) for block in found.blocks()]
    assert max(sizes) <= 1024**2
    assert sum(sizes) == found.size


def test_a_file_that_is_cut_short_meanwhile_ends_the_answer(tmp_path: Path) -> None:
    """Nothing is made up for bytes that are gone."""
    folder = make_build(tmp_path, "short", 1).path
    found = HandedOut.of(folder, _digest(folder))
    (folder / "portable" / "short" / "config.pbtxt").write_text("")
    with pytest.raises(FileChangedError):
        list(found.blocks())


def _digest(folder: Path) -> str:
    """Return a folder's digest as the documentation says to compute it."""
    names = sorted(
        (p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()),
        key=str.encode,
    )
    lines = [f"{hashlib.sha256((folder / n).read_bytes()).hexdigest()}  {n}\n" for n in names]
    return hashlib.sha256("".join(lines).encode()).hexdigest()
