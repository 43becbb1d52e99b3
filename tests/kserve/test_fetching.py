"""`conch://` from a real control plane into a server's folder, by the program that pods run."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest
from archive_servers import Reply, address_of, answering_with
from given_servers import HandStarted
from handmade_builds import make_build
from memory_platform import MemoryPlatform

from conch.control.handing_out import HandedOut
from conch.control.shipping import read_build
from conch.core import BuildRef
from conch.kserve.fetching import ControlPlaneAccess, fetch
from conch.kserve.fetching.__main__ import main
from conch.kserve.fetching.placing import MARK
from conch.kserve.serving.storing import ConchStore
from conch.local import Runtime


@pytest.fixture(scope="module")
def build(memory_platform: MemoryPlatform) -> BuildRef:
    """A build that the control plane made and verified."""
    memory_platform.live("fetched")
    (found,) = memory_platform.client.builds(model="fetched")
    return read_build(Path(found["path"]))


def _environment(platform: MemoryPlatform, **given: str) -> Mapping[str, str]:
    return {"CONCH_URL": platform.url, "CONCH_API_KEY": platform.fetch_key, **given}


def _files(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != MARK
    }


def test_the_program_fetches_what_the_store_names(
    memory_platform: MemoryPlatform, build: BuildRef, tmp_path: Path
) -> None:
    """Run as a pod runs it: the folder then holds the native repository, byte for byte."""
    folder = tmp_path / "models"
    uri = ConchStore().address(build)
    done = subprocess.run(
        [sys.executable, "-P", "-m", "conch.kserve.fetching", uri, str(folder)],
        env={**os.environ, **_environment(memory_platform)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert _files(folder) == _files(build.path / "native")
    assert {path.name for path in folder.iterdir()} == {MARK, build.model}
    assert all(path.stat().st_mode & 0o444 == 0o444 for path in folder.rglob("*"))
    assert f"fetching {build.build_id}" in done.stdout
    assert f"placed {len(_files(folder))} files" in done.stdout
    assert memory_platform.fetch_key not in done.stdout + done.stderr


@pytest.mark.real
def test_triton_serves_a_fetched_folder(tmp_path: Path, serving_runtime: Runtime) -> None:
    """The listing beside the models is in nobody's way: Triton loads them and answers."""
    build = make_build(tmp_path, "fetched", 3).path
    files = {
        path.relative_to(build).as_posix(): path.read_bytes()
        for path in build.rglob("*")
        if path.is_file()
    }
    address = address_of(files, model="fetched")
    folder = tmp_path / "models"
    sent = b"".join(HandedOut.of(build, address.digest).blocks())
    with answering_with(Reply(body=sent)) as server:
        fetch(address, folder, ControlPlaneAccess(url=server.url, key="k"), told=print)
    assert (folder / MARK).is_file()
    served = HandStarted(
        runtime=serving_runtime, repository=folder, log=tmp_path / "triton.log", mode="none"
    )
    with served as triton:
        url = f"http://127.0.0.1:{triton.given.http_port}/v2"
        index = httpx.post(f"{url}/repository/index").json()
        assert [(one["name"], one["state"]) for one in index] == [("fetched", "READY")]
        tensor = {"name": "x", "shape": [1, 4], "datatype": "FP32", "data": [1.0] * 4}
        body = {"inputs": [tensor], "outputs": [{"name": "y"}]}
        answer = httpx.post(f"{url}/models/fetched/infer", json=body, timeout=30).json()
    assert answer["outputs"][0]["data"] == [5.0] * 4


def test_a_second_run_asks_nobody(
    memory_platform: MemoryPlatform,
    build: BuildRef,
    tmp_path: Path,
    unused_port: int,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Init containers run again: what is there is proved from the disk alone."""
    arguments = (ConchStore().address(build), str(tmp_path))
    assert main(arguments, _environment(memory_platform)) == 0
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    nowhere = _environment(memory_platform, CONCH_URL=f"http://127.0.0.1:{unused_port}")
    assert main(arguments, nowhere) == 0
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before
    assert "every file as published" in capsys.readouterr().out


@pytest.mark.parametrize("damage", ["changed", "removed", "added", "linked"])
def test_a_run_that_was_killed_is_put_right(
    memory_platform: MemoryPlatform, build: BuildRef, tmp_path: Path, damage: str
) -> None:
    """Whatever became of the files, the next run leaves the build whole and nothing else."""
    arguments = (ConchStore().address(build), str(tmp_path))
    assert main(arguments, _environment(memory_platform)) == 0
    config = tmp_path / build.model / "config.pbtxt"
    match damage:
        case "changed":
            config.write_text("cut o")
        case "removed":
            config.unlink()
        case "added":
            (config.parent / "more").touch()
        case "linked":
            config.unlink()
            config.symlink_to(build.path / "native" / build.model / "config.pbtxt")
    (tmp_path / ".conch-fetch-dead").mkdir()
    assert main(arguments, _environment(memory_platform)) == 0
    assert _files(tmp_path) == _files(build.path / "native")
    assert not config.is_symlink()
    assert {path.name for path in tmp_path.iterdir()} == {MARK, build.model}


def test_a_folder_with_something_else_is_left_alone(
    memory_platform: MemoryPlatform,
    build: BuildRef,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """What others put there is neither removed nor mixed with a build."""
    (tmp_path / build.model).mkdir()
    (tmp_path / build.model / "mine").write_text("keep")
    assert main((ConchStore().address(build), str(tmp_path)), _environment(memory_platform)) == 1
    assert "error [fetch-destination-taken]" in capsys.readouterr().err
    assert (tmp_path / build.model / "mine").read_text() == "keep"


def test_another_digest_is_refused_and_leaves_nothing(
    memory_platform: MemoryPlatform,
    build: BuildRef,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The control plane's word is not enough: the address says which bytes are meant."""
    uri = f"conch://{build.model}/{build.build_id}/{'0' * 64}"
    assert main((uri, str(tmp_path)), _environment(memory_platform)) == 1
    assert "error [fetch-digest-mismatch]" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_was_damaged_at_the_control_plane_is_not_served(
    memory_platform: MemoryPlatform, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The control plane notices before it sends; the program says its reason."""
    memory_platform.live("fetched-damaged")
    (found,) = memory_platform.client.builds(model="fetched-damaged")
    build = read_build(Path(found["path"]))
    (build.path / "native" / build.model / "config.pbtxt").write_text("other")
    assert main((ConchStore().address(build), str(tmp_path)), _environment(memory_platform)) == 1
    told = capsys.readouterr().err
    assert "error [fetch-refused]" in told
    assert "not the published ones" in told
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("given", "code", "words"),
    [
        ({"CONCH_API_KEY": "conch_fetch_wrong"}, "fetch-refused", "<home>/fetch.key"),
        ({"CONCH_API_KEY": ""}, "fetch-settings-missing", "CONCH_API_KEY is not set"),
        ({"CONCH_URL": ""}, "fetch-settings-missing", "CONCH_URL is not set"),
        ({"CONCH_URL": "conch:8090"}, "fetch-settings-missing", "not an http:// or https://"),
    ],
    ids=["wrong key", "no key", "no address", "no http address"],
)
def test_what_is_set_wrongly_is_said(
    memory_platform: MemoryPlatform,
    build: BuildRef,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    given: dict[str, str],
    code: str,
    words: str,
) -> None:
    """The last line of the log names the variable, and never the key."""
    arguments = (ConchStore().address(build), str(tmp_path))
    assert main(arguments, _environment(memory_platform, **given)) == 1
    told = capsys.readouterr().err
    assert f"error [{code}]" in told
    assert words in told
    assert "conch_fetch_" not in told
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "uri",
    [
        "s3://digits/b1/" + "0" * 64,
        "conch://digits/b1",
        "conch://digits/../" + "0" * 64,
        "conch://digits/b1/" + "0" * 63,
        "conch://digits/b1/" + "0" * 64 + "\n",
    ],
)
def test_what_is_no_address_is_refused(
    uri: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing is asked for it."""
    assert main((uri, str(tmp_path)), {}) == 1
    assert "error [fetch-address-invalid]" in capsys.readouterr().err


def test_an_unknown_build_is_refused_in_the_control_planes_words(
    memory_platform: MemoryPlatform, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A build of another platform."""
    assert main((f"conch://m/b1/{'0' * 64}", str(tmp_path)), _environment(memory_platform)) == 1
    told = capsys.readouterr().err
    assert "error [fetch-refused]: The control plane does not give m/b1:" in told


def test_the_image_installs_what_the_program_imports() -> None:
    """A process that imported the program holds no third-party package but those of the image."""
    text = (
        Path(__file__).parents[2] / "packaging" / "kubernetes" / "initializer.Dockerfile"
    ).read_text()
    (stated,) = re.findall(r"^RUN pip install .*--target /packages ([a-z ]+) ", text, re.MULTILINE)
    with_theirs = {"annotated-types", "pydantic_core", "typing_extensions", "typing-inspection"}
    code = (
        "import sys, conch.kserve.fetching.__main__; from importlib.metadata import "
        "packages_distributions as p; known = p(); "
        "print(*{d for m in sys.modules for d in known.get(m.partition('.')[0], ())})"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True
    )
    found: Any = {name.lower() for name in done.stdout.split()}
    assert found - {"conch", "setuptools"} - with_theirs == set(stated.split())
