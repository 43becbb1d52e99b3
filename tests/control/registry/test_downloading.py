"""Artifacts arrive whole or not at all, and only as plain files in their own folder."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlparse

import pytest

from conch.control.registry import (
    ArtifactMissingError,
    FetchedModel,
    RegisteredVersion,
    RegistryRefusedError,
    RegistryUnavailableError,
)
from conch.control.registry.connecting import open_client, speaking_to
from conch.control.registry.downloading import bring
from conch.core import InvalidValueError

VERSION = RegisteredVersion(name="m", number=1, created_at=datetime(2026, 11, 23, tzinfo=UTC))
MLMODEL = "flavors:\n  onnx: {data: model.onnx}\n  python_function: {loader_module: mlflow.onnx}\n"


@contextmanager
def artifact_server(listings: dict[str, list[str]], files: dict[str, bytes]) -> Iterator[str]:
    """Serve MLflow's artifact protocol over real HTTP, also with answers that it would not give."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            parsed = urlparse(self.path)
            name = parsed.path.partition("/artifacts/")[2]
            if name:
                self._answer(200 if name in files else 404, files.get(name, b"{}"))
                return
            folder = parse_qs(parsed.query).get("path", [""])[0]
            listed = [
                {"path": item.rstrip("/"), "is_dir": item.endswith("/"), "file_size": 1}
                for item in listings.get(folder, [])
            ]
            self._answer(200, json.dumps({"files": listed}).encode())

        def _answer(self, status: int, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def fetch(uri: str, into: Path, location: str = "mlflow-artifacts:/1/m") -> FetchedModel:
    open_client(uri, timeout_s=5)
    with speaking_to(uri, "hand out files", absent=ArtifactMissingError("no files")):
        return bring(location, uri, into, version=VERSION, metrics={"accuracy": 0.9})


def left_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_folder_arrives_with_its_description(tmp_path: Path) -> None:
    """Files in folders arrive as they are; flavours, size and framework are told."""
    files = {"1/m/MLmodel": MLMODEL.encode(), "1/m/data/model.onnx": b"12345"}
    listings = {"1/m": ["MLmodel", "data/"], "1/m/data": ["model.onnx"]}
    with artifact_server(listings, files) as uri:
        fetched = fetch(uri, tmp_path / "into")
    assert (tmp_path / "into" / "data" / "model.onnx").read_bytes() == b"12345"
    assert fetched.path == tmp_path / "into"
    assert fetched.flavors == ("onnx", "python_function")
    assert fetched.framework == "onnx"
    assert fetched.size_bytes == 5 + len(MLMODEL)
    assert (fetched.has_signature, fetched.has_input_example) == (False, False)
    assert fetched.metrics == {"accuracy": 0.9}
    assert left_in(tmp_path) == ["into"]


@pytest.mark.parametrize("name", ["../evil", "/etc/evil", "a/../../evil", "%2e%2e/evil"])
def test_a_path_outside_the_folder_is_refused(name: str, tmp_path: Path) -> None:
    """A server cannot write beside the folder, however it spells the way out."""
    files = {"1/m/MLmodel": MLMODEL.encode(), f"1/m/{name}": b"x", name: b"x"}
    with (
        artifact_server({"1/m": ["MLmodel", name]}, files) as uri,
        pytest.raises(RegistryRefusedError),
    ):
        fetch(uri, tmp_path / "a" / "into")
    assert left_in(tmp_path / "a") == []
    assert left_in(tmp_path) == ["a"]


def test_a_file_that_does_not_arrive_leaves_nothing(tmp_path: Path) -> None:
    """Half a model is never seen: the listing promises a file that the server does not give."""
    files = {"1/m/MLmodel": MLMODEL.encode()}
    with (
        artifact_server({"1/m": ["MLmodel", "model.onnx"]}, files) as uri,
        pytest.raises(RegistryUnavailableError),
    ):
        fetch(uri, tmp_path / "into")
    assert left_in(tmp_path) == []


@pytest.mark.parametrize("listing", [[], ["model.onnx"]], ids=["empty", "no MLmodel"])
def test_a_folder_without_a_model_is_missing(listing: list[str], tmp_path: Path) -> None:
    """Deleted artifacts are told from a server in trouble."""
    with (
        artifact_server({"1/m": listing}, {"1/m/model.onnx": b"x"}) as uri,
        pytest.raises(ArtifactMissingError, match="'m' version 1"),
    ):
        fetch(uri, tmp_path / "into")
    assert left_in(tmp_path) == []


@pytest.mark.parametrize("mlmodel", [b"", b"\xff", b"flavors: []", b"flavors: {}", b"!!python/x 1"])
def test_a_description_that_is_none_is_refused(mlmodel: bytes, tmp_path: Path) -> None:
    """An MLmodel file that lists no flavours leaves nothing behind, and runs nothing."""
    with (
        artifact_server({"1/m": ["MLmodel"]}, {"1/m/MLmodel": mlmodel}) as uri,
        pytest.raises(RegistryRefusedError),
    ):
        fetch(uri, tmp_path / "into")
    assert left_in(tmp_path) == []


@pytest.fixture
def local(tmp_path: Path) -> Path:
    """A model folder on this machine, as a server without an artifact proxy names it."""
    folder = tmp_path / "art ifacts"
    (folder / "data").mkdir(parents=True)
    (folder / "MLmodel").write_text(MLMODEL)
    (folder / "data" / "model.onnx").write_bytes(b"123")
    return folder


@pytest.mark.parametrize("as_uri", [True, False], ids=["uri", "path"])
def test_a_folder_on_this_machine_is_copied(as_uri: bool, local: Path, tmp_path: Path) -> None:
    """Without an artifact proxy the folder is read straight from the disk."""
    location = local.as_uri() if as_uri else str(local)
    fetched = fetch("http://127.0.0.1:9", tmp_path / "into", location)
    assert (fetched.path / "data" / "model.onnx").read_bytes() == b"123"


@pytest.mark.parametrize("target", ["/etc/passwd", "/etc", "absent"])
def test_links_are_refused(target: str, local: Path, tmp_path: Path) -> None:
    """A link in an artifact folder cannot bring another file of this machine into a build."""
    (local / "data" / "link").symlink_to(target)
    with pytest.raises(RegistryRefusedError, match="data/link"):
        fetch("http://127.0.0.1:9", tmp_path / "into", str(local))
    assert not (tmp_path / "into").exists()


def test_a_folder_in_use_is_not_written_to(local: Path, tmp_path: Path) -> None:
    """Two fetches cannot mix their files."""
    (tmp_path / "into").mkdir()
    (tmp_path / "into" / "other").touch()
    with pytest.raises(InvalidValueError, match="not empty"):
        fetch("http://127.0.0.1:9", tmp_path / "into", str(local))
    assert left_in(tmp_path / "into") == ["other"]
