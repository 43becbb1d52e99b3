"""Fetching over a network that breaks, from somebody who is not to be trusted."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
from archive_servers import (
    FILES,
    Reply,
    address_of,
    answering_with,
    archive,
    lines_of,
    plain,
    repository,
    special,
)
from platform_fixtures import until

from conch.kserve.fetching import (
    LISTING,
    ArchiveError,
    BuildAddress,
    ControlPlaneAccess,
    DigestError,
    DiskError,
    FetchError,
    InterruptedFetchError,
    RefusedFetchError,
    fetch,
)
from conch.kserve.fetching.downloading import WAITS_S
from conch.kserve.fetching.placing import MARK

WHOLE = archive(repository())
ADDRESS = address_of()


class Watched:
    """What a fetch said and how long it would have waited."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.waits: list[float] = []

    def fetch(
        self, url: str, folder: Path, *, address: BuildAddress = ADDRESS, silence_s: float = 5.0
    ) -> bool:
        access = ControlPlaneAccess(url=url, key="k", silence_s=silence_s)
        return fetch(address, folder, access, told=self.said.append, sleep=self.waits.append)


def _fetched(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != MARK
    }


NATIVE = {
    name.removeprefix("native/"): body for name, body in FILES.items() if name.startswith("native/")
}


@pytest.mark.parametrize("flavour", ["native", "portable"])
def test_one_flavour_arrives_and_no_more_of_the_build(tmp_path: Path, flavour: str) -> None:
    """Whichever the control plane gives, it is proved without the other files."""
    with answering_with(Reply(body=archive(repository(flavour)))) as server:
        assert Watched().fetch(server.url, tmp_path)
    assert set(_fetched(tmp_path)) == {
        name.partition("/")[2] for name in FILES if name.startswith(flavour)
    }
    assert server.asked == [("/v1/builds/digits-b1/repository", "Bearer k")]


@pytest.mark.parametrize(
    "broken",
    [
        pytest.param(Reply(status=0), id="closed without an answer"),
        pytest.param(Reply(body=WHOLE[:3000], missing=9000), id="cut in the listing's files"),
        pytest.param(Reply(body=b"", missing=9000), id="cut before the first byte"),
        pytest.param(Reply(body=WHOLE[:512], missing=9000), id="cut after a header"),
        pytest.param(Reply.problem(503, "not-leader", retryable=True), id="not ready"),
        pytest.param(Reply(status=502, body=b"<html>"), id="a proxy's own error"),
    ],
)
def test_what_breaks_is_tried_again(tmp_path: Path, broken: Reply) -> None:
    """Two failed attempts, then the whole: the folder holds the build and nothing of the others."""
    watched = Watched()
    with answering_with(broken, broken, Reply(body=WHOLE)) as server:
        assert watched.fetch(server.url, tmp_path)
    assert _fetched(tmp_path) == NATIVE
    assert {path.name for path in tmp_path.iterdir()} == {"digits", MARK}
    assert watched.waits == list(WAITS_S[:2])
    assert [line for line in watched.said if line.startswith("attempt 2 of 5 failed")]


def test_the_attempts_are_bounded_and_the_next_run_ends_it(tmp_path: Path) -> None:
    """Five attempts; nothing is left behind; a later run of the container fetches it."""
    watched = Watched()
    cut = Reply(body=WHOLE[:2000], missing=50_000)
    with answering_with(cut) as server:
        with pytest.raises(InterruptedFetchError, match="5 times") as caught:
            watched.fetch(server.url, tmp_path)
        assert len(server.asked) == 5
    assert caught.value.retryable
    assert watched.waits == list(WAITS_S)
    assert list(tmp_path.iterdir()) == []
    with answering_with(Reply(body=WHOLE)) as server:
        assert Watched().fetch(server.url, tmp_path)
    assert _fetched(tmp_path) == NATIVE


def test_silence_is_an_interruption(tmp_path: Path) -> None:
    """A server that takes the request and says nothing is given up after a stated time."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(InterruptedFetchError, match="timed out"):
            Watched().fetch(url, tmp_path, silence_s=0.05)


def test_a_pod_that_is_told_to_end_waits_for_nothing(tmp_path: Path) -> None:
    """SIGTERM in the middle of the archive: the program ends, and nothing of it stays."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "conch.kserve.fetching", str(ADDRESS), str(tmp_path)],
            env={**os.environ, "CONCH_URL": url, "CONCH_API_KEY": "k"},
        )
        connection, _ = listener.accept()
        with connection:
            connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 99999\r\n\r\n" + WHOLE[:4096])
            until(lambda: any(tmp_path.iterdir()))
            process.terminate()
            assert process.wait(timeout=20) == 143
    assert list(tmp_path.iterdir()) == []


def test_nobody_listens(tmp_path: Path, unused_port: int) -> None:
    """The address that was tried is in the message."""
    with pytest.raises(InterruptedFetchError, match=rf"127.0.0.1:{unused_port}: .*refused"):
        Watched().fetch(f"http://127.0.0.1:{unused_port}", tmp_path)


@pytest.mark.parametrize(
    "reply",
    [
        pytest.param(Reply.problem(404, "not-found"), id="no such build"),
        pytest.param(Reply.problem(500, "build-digest-mismatch"), id="a damaged build"),
        pytest.param(
            Reply(status=302, headers={"location": "http://127.0.0.1:9/"}), id="a redirect"
        ),
    ],
)
def test_what_will_not_pass_is_asked_once(tmp_path: Path, reply: Reply) -> None:
    """A refusal ends the run; the key is never taken to where a redirect leads."""
    with answering_with(reply) as server:
        with pytest.raises(RefusedFetchError) as caught:
            Watched().fetch(server.url, tmp_path)
        assert len(server.asked) == 1
    assert caught.value.details["status"] == reply.status


TRAVELLING = {**FILES, "native/../../evil": b"x"}
ABSOLUTE = {**FILES, "/native/evil": b"x"}
CASES: dict[str, tuple[bytes, BuildAddress, type[FetchError]]] = {
    "a path that leads out": (
        archive([plain("native/../../evil", b"x"), *repository()]),
        ADDRESS,
        ArchiveError,
    ),
    "an absolute path": (archive([*repository(), plain("/etc/evil", b"x")]), ADDRESS, ArchiveError),
    "a listing with a path that leads out": (
        archive(repository(files=TRAVELLING), files=TRAVELLING),
        address_of(TRAVELLING),
        ArchiveError,
    ),
    "a listing with an absolute path": (
        archive(repository(), files=ABSOLUTE),
        address_of(ABSOLUTE),
        ArchiveError,
    ),
    "a symbolic link": (
        archive([*repository()[:1], special("native/digits/config.pbtxt", tarfile.SYMTYPE, "/x")]),
        ADDRESS,
        ArchiveError,
    ),
    "a hard link": (
        archive([*repository()[:1], special("native/digits/config.pbtxt", tarfile.LNKTYPE, "/x")]),
        ADDRESS,
        ArchiveError,
    ),
    "a device": (
        archive([*repository()[:1], special("native/digits/config.pbtxt", tarfile.CHRTYPE)]),
        ADDRESS,
        ArchiveError,
    ),
    "a file twice": (archive([*repository(), *repository()[:1]]), ADDRESS, ArchiveError),
    "a file that is not listed": (
        archive([*repository(), plain("native/digits/1/more", b"x")]),
        ADDRESS,
        ArchiveError,
    ),
    "two flavours": (archive([*repository(), *repository("portable")]), ADDRESS, ArchiveError),
    "a file too few": (archive(repository()[:1]), ADDRESS, ArchiveError),
    "no file": (archive([]), ADDRESS, ArchiveError),
    "no flavour": (archive([plain("golden.npz", b"rows")]), ADDRESS, ArchiveError),
    "another model": (WHOLE, address_of(model="letters"), ArchiveError),
    "no listing": (archive(repository())[2048:], ADDRESS, ArchiveError),
    "no tar": (b"<html>it works</html>" * 100, ADDRESS, ArchiveError),
    "nothing": (b"", ADDRESS, ArchiveError),
    "another build's listing": (
        archive(repository(), files={**FILES, "golden.npz": b"other"}),
        ADDRESS,
        DigestError,
    ),
    "a changed file": (
        archive([plain(name, b"evil") for name in FILES if name.startswith("native/")]),
        ADDRESS,
        DigestError,
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_what_is_not_the_build_is_refused_and_leaves_nothing(tmp_path: Path, case: str) -> None:
    """One attempt, no file within the folder, none beside it."""
    body, address, kind = CASES[case]
    folder = tmp_path / "mnt" / "models"
    with answering_with(Reply(body=body)) as server:
        with pytest.raises(kind):
            Watched().fetch(server.url, folder, address=address)
        assert len(server.asked) == 1
    assert list(folder.iterdir()) == []
    assert list(tmp_path.rglob("*")) == [folder.parent, folder]


def test_the_cases_would_pass_but_for_their_fault(tmp_path: Path) -> None:
    """The tools that make the hostile archives make a good one, too."""
    assert lines_of(FILES).count(b"\n") == len(FILES)
    assert LISTING.encode() in WHOLE
    with answering_with(Reply(body=WHOLE)) as server:
        assert Watched().fetch(server.url, tmp_path)


def test_a_full_disk_is_not_the_networks_fault(tmp_path: Path) -> None:
    """A file that may not grow is told as that, at the first attempt, and nothing is left."""
    code = (
        "import os, resource, sys; from conch.kserve.fetching.__main__ import main; "
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000)); "
        "sys.exit(main(sys.argv[1:], os.environ))"
    )
    with answering_with(Reply(body=WHOLE)) as server:
        done = subprocess.run(
            [sys.executable, "-P", "-c", code, str(ADDRESS), str(tmp_path)],
            env={**os.environ, "CONCH_URL": server.url, "CONCH_API_KEY": "k"},
            capture_output=True,
            text=True,
        )
        assert len(server.asked) == 1
    assert done.returncode == 1
    assert "error [fetch-disk-failed]" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_none_is_told(tmp_path: Path) -> None:
    """A destination that cannot be one is the disk's matter, too."""
    folder = tmp_path / "models"
    folder.write_text("a file where the folder should be")
    watched = Watched()
    with answering_with(Reply(body=WHOLE)) as server, pytest.raises(DiskError, match="models"):
        watched.fetch(server.url, folder)
    assert watched.waits == []


def test_progress_is_told_by_the_clock(tmp_path: Path) -> None:
    """A line every five seconds, however many blocks arrive."""
    ticks = iter(range(0, 1000, 3))
    said: list[str] = []
    with answering_with(Reply(body=WHOLE)) as server:
        access = ControlPlaneAccess(url=server.url, key="k")
        fetch(ADDRESS, tmp_path, access, told=said.append, now=lambda: float(next(ticks)))
    assert any(line.startswith("received ") for line in said)
    assert said[-1].startswith("placed 2 files, 0.0 MiB")
