"""A control plane that misbehaves: answers given in advance, over real HTTP."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from conch.kserve.fetching import LISTING, BuildAddress


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """One answer.

    Attributes:
        body: What is sent.
        status: The HTTP status; 0 closes the connection without an answer.
        missing: Bytes that are announced after the body and never sent.
        headers: Further headers.
    """

    body: bytes = b""
    status: int = 200
    missing: int = 0
    headers: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def problem(cls, status: int, code: str, *, retryable: bool = False) -> Reply:
        """Return a problem document, as the control plane's errors are."""
        body = {"code": code, "detail": f"It is {code}.", "hint": "", "retryable": retryable}
        return cls(status=status, body=json.dumps(body).encode())


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchiveServer:
    """Where the answers are given, and what was asked: paths and keys."""

    url: str
    asked: list[tuple[str, str]]


@contextmanager
def answering_with(*replies: Reply) -> Iterator[ArchiveServer]:
    """Give the replies one after the other, the last for ever."""
    asked: list[tuple[str, str]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:  # the name that http.server looks for
            reply = replies[min(len(asked), len(replies) - 1)]
            asked.append((self.path, self.headers.get("authorization", "")))
            self.close_connection = True
            if not reply.status:
                return
            self.send_response(reply.status)
            self.send_header("content-length", str(len(reply.body) + reply.missing))
            for name, value in reply.headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(reply.body)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield ArchiveServer(url=f"http://127.0.0.1:{server.server_port}", asked=asked)
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


FILES: Mapping[str, bytes] = {
    "golden.npz": b"rows",
    "native/digits/1/model.onnx": b"weights" * 1000,
    "native/digits/config.pbtxt": b'name: "digits"',
    "portable/digits/1/model.py": b"import os",
    "portable/digits/config.pbtxt": b'name: "digits"\nbackend: "python"',
}


def lines_of(files: Mapping[str, bytes]) -> bytes:
    """Return the lines whose SHA-256 is the digest of these files."""
    lines = [
        f"{hashlib.sha256(files[name]).hexdigest()}  {name}\n"
        for name in sorted(files, key=str.encode)
    ]
    return "".join(lines).encode()


def address_of(files: Mapping[str, bytes] = FILES, *, model: str = "digits") -> BuildAddress:
    """Return the address of a build with these files."""
    digest = hashlib.sha256(lines_of(files)).hexdigest()
    return BuildAddress(model=model, build_id="digits-b1", digest=digest)


def plain(name: str, body: bytes) -> tuple[tarfile.TarInfo, bytes]:
    """Return a member that is a plain file."""
    info = tarfile.TarInfo(name)
    info.size = len(body)
    return info, body


def special(name: str, kind: bytes, target: str = "") -> tuple[tarfile.TarInfo, bytes]:
    """Return a member that is no plain file."""
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info, b""


def archive(
    members: Sequence[tuple[tarfile.TarInfo, bytes]], *, files: Mapping[str, bytes] = FILES
) -> bytes:
    """Return a tar with the listing of some files and then these members."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        for info, body in (plain(LISTING, lines_of(files)), *members):
            tar.addfile(info, io.BytesIO(body))
    return packed.getvalue()


def repository(
    flavour: str = "native", *, files: Mapping[str, bytes] = FILES
) -> list[tuple[tarfile.TarInfo, bytes]]:
    """Return the members of a flavour."""
    return [plain(name, body) for name, body in files.items() if name.startswith(f"{flavour}/")]
