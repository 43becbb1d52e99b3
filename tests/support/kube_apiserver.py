"""A real kube-apiserver with its etcd for tests: no nodes, no controllers, every definition.

The server is real; what no part of it does is to run anything. Whoever needs an InferenceService to
become ready starts the stand-in of `kserve_standin`.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
import yaml

from conch.kserve import KServeVersion

ADMIN: Final = "admin-token"
NEWEST: Final = KServeVersion.V0_21
_CRDS: Final = Path(__file__).parents[1] / "kserve" / "data" / "crds"
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_START_S: Final = 120.0
_CACHE: Final = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "conch"


@dataclass(frozen=True, slots=True, kw_only=True)
class Programs:
    """The two programs that make an API server."""

    apiserver: Path
    etcd: Path


def find_programs() -> Programs | str:
    """Return the programs, or why there are none."""
    assets = os.environ.get("KUBEBUILDER_ASSETS")
    folders = [Path(assets)] if assets else sorted(_CACHE.glob("kube-apiserver-*"), reverse=True)
    apiserver = next(
        (f / "kube-apiserver" for f in folders if (f / "kube-apiserver").exists()), None
    )
    if apiserver is None:
        return "there is no kube-apiserver: run `make apiserver`, or set KUBEBUILDER_ASSETS"
    beside = apiserver.with_name("etcd")
    etcd = str(beside) if beside.exists() else shutil.which("etcd")
    if etcd is None:
        return "etcd is not installed (Debian: apt-get install etcd-server)"
    return Programs(apiserver=apiserver, etcd=Path(etcd))


def require_programs() -> Programs:
    """Return the programs; without them the test is skipped, or fails where that is demanded."""
    found = find_programs()
    if isinstance(found, Programs):
        return found
    if os.environ.get("CONCH_REQUIRE_APISERVER"):
        pytest.fail(found)
    pytest.skip(found)


class Etcd:
    """A private etcd in a folder of its own."""

    def __init__(self, folder: Path, program: Path) -> None:
        self._folder, self._program = folder, program
        self._process: subprocess.Popen[bytes] | None = None
        self.url = ""

    def start(self) -> None:
        """Start it on free ports; `url` says where."""
        self._folder.mkdir(parents=True, exist_ok=True)
        client, peer = (f"http://127.0.0.1:{port}" for port in _free_ports(2))
        self.url = client
        self._process = subprocess.Popen(
            [
                str(self._program),
                f"--data-dir={self._folder / 'data'}",
                f"--listen-client-urls={client}",
                f"--advertise-client-urls={client}",
                f"--listen-peer-urls={peer}",
                f"--initial-advertise-peer-urls={peer}",
                f"--initial-cluster=default={peer}",
                "--unsafe-no-fsync",
            ],
            stdout=subprocess.DEVNULL,
            stderr=(self._folder / "etcd.log").open("wb"),
        )
        _wait_for(lambda: httpx.get(f"{client}/health").json()["health"] == "true", self._process)

    def stop(self) -> None:
        """End it."""
        _end(self._process)


class ApiServer:
    """A kube-apiserver with RBAC on a free port.

    Args:
        folder: Where its certificates, keys and log lie.
        programs: What to run.
        etcd: Where its objects are kept.
        tokens: Further users by token, beside the administrator.
        flags: Further flags.

    Attributes:
        url: Where it answers.
        ca: The certificate that it shows.
        signing_key: What service account tokens are signed with.
    """

    def __init__(
        self,
        folder: Path,
        programs: Programs,
        etcd: str,
        *,
        tokens: Mapping[str, str] | None = None,
        flags: Sequence[str] = (),
    ) -> None:
        self._folder, self._programs, self._etcd = folder, programs, etcd
        self._flags = tuple(flags)
        self._process: subprocess.Popen[bytes] | None = None
        self._port = 0
        self.ca = folder / "certs" / "apiserver.crt"
        self.signing_key = folder / "sa.key"
        folder.mkdir(parents=True, exist_ok=True)
        users = {ADMIN: ("admin", "system:masters")}
        users |= {token: (user, "") for token, user in (tokens or {}).items()}
        (folder / "tokens.csv").write_text(
            "".join(f"{t},{user},{user},{group}\n" for t, (user, group) in users.items())
        )
        subprocess.run(
            ["openssl", "genrsa", "-out", str(self.signing_key), "2048"],
            check=True,
            capture_output=True,
        )

    @classmethod
    def kept(cls, folder: Path) -> ApiServer:
        """Return a server that `python tests/support/kube_apiserver.py FOLDER` keeps running."""
        server = cls.__new__(cls)
        server._folder, server._process = folder, None
        server._port = int((folder / "port").read_text())
        server.ca = folder / "certs" / "apiserver.crt"
        server.signing_key = folder / "sa.key"
        return server

    @property
    def url(self) -> str:
        """Where it answers; the port stays over a restart."""
        return f"https://127.0.0.1:{self._port}"

    def start(self) -> None:
        """Start it and wait until it is ready."""
        self.launch()
        self.wait_ready()

    def launch(self) -> None:
        """Start it without waiting."""
        if not self._port:
            (self._port,) = _free_ports(1)
        self._process = subprocess.Popen(
            [
                str(self._programs.apiserver),
                f"--etcd-servers={self._etcd}",
                "--bind-address=127.0.0.1",
                f"--secure-port={self._port}",
                "--insecure-port=0",
                f"--cert-dir={self._folder / 'certs'}",
                "--service-cluster-ip-range=10.0.0.0/24",
                "--service-account-issuer=https://kubernetes.default.svc",
                f"--service-account-key-file={self.signing_key}",
                f"--service-account-signing-key-file={self.signing_key}",
                f"--token-auth-file={self._folder / 'tokens.csv'}",
                "--authorization-mode=RBAC",
                "--disable-admission-plugins=ServiceAccount",
                "--event-ttl=5m",
                "--request-timeout=5m",  # definitions are large and machines busy
                *self._flags,
            ],
            stdout=subprocess.DEVNULL,
            stderr=(self._folder / "kube-apiserver.log").open("ab"),
        )

    def wait_ready(self) -> None:
        """Wait until it says that it is ready."""
        assert self._process is not None
        _wait_for(self._ready, self._process)

    def kill(self) -> None:
        """End it at once, as a crash does."""
        _end(self._process, kill=True)

    def stop(self) -> None:
        """End it."""
        _end(self._process)

    def client(self) -> httpx.Client:
        """Return a client of the administrator, for what tests set up."""
        return httpx.Client(
            base_url=self.url,
            verify=False,
            headers={"authorization": f"Bearer {ADMIN}"},
            timeout=300,
        )

    def apply(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Create or change an object as the administrator, by server-side apply."""
        with self.client() as client:
            answer = client.patch(
                path,
                params={"fieldManager": "setup", "force": "true"},
                headers={"content-type": "application/apply-patch+yaml"},
                content=json.dumps(body),
            )
        assert answer.is_success, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def namespace(self, name: str) -> str:
        """Make a namespace; they are never removed, since no controller would empty them."""
        self.apply(
            f"/api/v1/namespaces/{name}",
            {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}},
        )
        return name

    def define(self, definitions: Sequence[Mapping[str, Any]]) -> None:
        """Install custom resource definitions and wait until their kinds are served."""
        base = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
        with self.client() as client:
            for definition in definitions:
                path = f"{base}/{definition['metadata']['name']}"
                found = client.get(path)
                if found.is_success:
                    version = found.json()["metadata"]["resourceVersion"]
                    meta = {**definition["metadata"], "resourceVersion": version}
                    answer = client.put(path, json={**definition, "metadata": meta})
                else:
                    answer = client.post(base, json=definition)
                assert answer.is_success, answer.text
            for definition in definitions:
                self._wait_served(client, definition)

    def install(self, version: KServeVersion) -> None:
        """Make the cluster have another version of KServe: its definitions, in place."""
        self.define(kserve_definitions(version))

    def _ready(self) -> bool:
        with self.client() as client:
            return client.get("/readyz").status_code == 200

    def _wait_served(self, client: httpx.Client, definition: Mapping[str, Any]) -> None:
        spec = definition["spec"]
        for version in spec["versions"]:
            if version["served"]:
                path = f"/apis/{spec['group']}/{version['name']}/{spec['names']['plural']}?limit=1"
                _wait_for(lambda path=path: client.get(path).is_success, self._process)


def kserve_definitions(version: KServeVersion) -> list[dict[str, Any]]:
    """Return KServe's own definitions of a version."""
    return _read(_CRDS / f"kserve-{version}")


def other_definitions() -> list[dict[str, Any]]:
    """Return the definitions of Gateway API, Knative, KEDA and the Prometheus Operator."""
    return _read(_CRDS / "others")


def _read(folder: Path) -> list[dict[str, Any]]:
    return [body for path in sorted(folder.glob("*.yaml.gz")) for body in _parsed(path)]


def _parsed(path: Path) -> list[dict[str, Any]]:
    """Read a file of definitions, without descriptions, which are two thirds of the text.

    Parsing two megabytes of YAML takes seconds, so that the outcome is kept.
    """
    data = path.read_bytes()
    kept = _CACHE / "definitions" / f"{hashlib.sha256(data).hexdigest()[:16]}-bare.json"
    if kept.exists():
        found: list[dict[str, Any]] = json.loads(kept.read_text())
        return found
    bodies = [body for body in yaml.load_all(gzip.decompress(data), Loader=_LOADER) if body]
    definitions = [b for b in bodies if b.get("kind") == "CustomResourceDefinition"]
    for definition in definitions:
        definition.pop("status", None)
        definition["metadata"].pop("creationTimestamp", None)
        for each in definition["spec"]["versions"]:
            _drop_descriptions(each["schema"]["openAPIV3Schema"])
    kept.parent.mkdir(parents=True, exist_ok=True)
    fresh = kept.with_suffix(f".{os.getpid()}")
    fresh.write_text(json.dumps(definitions))
    fresh.replace(kept)
    return definitions


def _drop_descriptions(schema: Any) -> None:
    if isinstance(schema, list):
        for part in schema:
            _drop_descriptions(part)
    elif isinstance(schema, dict):
        if isinstance(schema.get("description"), str):
            del schema["description"]
        for part in schema.values():
            _drop_descriptions(part)


def _free_ports(count: int) -> list[int]:
    holders = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [int(holder.getsockname()[1]) for holder in holders]
    for holder in holders:
        holder.close()
    return ports


def _wait_for(there: Any, process: subprocess.Popen[bytes] | None) -> None:
    until = time.monotonic() + _START_S
    while True:
        try:
            if there():
                return
        except (httpx.HTTPError, KeyError, ValueError):
            pass
        assert process is None or process.poll() is None, "the server ended by itself"
        assert time.monotonic() < until, "the server did not become ready"
        time.sleep(0.05)


def _end(process: subprocess.Popen[bytes] | None, *, kill: bool = False) -> None:
    if process is None or process.poll() is not None:
        return
    if kill:
        process.kill()
    else:
        process.terminate()
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


@pytest.fixture(scope="session")
def etcd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Etcd]:
    """The session's etcd."""
    server = Etcd(tmp_path_factory.mktemp("etcd"), require_programs().etcd)
    try:
        server.start()
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="session")
def apiserver(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ApiServer]:
    """The session's API server, with the newest KServe; every test has a namespace of its own.

    While developing, one that is kept running saves its start: CONCH_KEPT_APISERVER names its
    folder.
    """
    kept = os.environ.get("CONCH_KEPT_APISERVER")
    if kept:
        yield ApiServer.kept(Path(kept))
        return
    etcd: Etcd = request.getfixturevalue("etcd")
    with keeping(tmp_path_factory.mktemp("apiserver"), etcd.url) as server:
        yield server


@contextmanager
def keeping(folder: Path, etcd: str) -> Iterator[ApiServer]:
    """Run a server with every definition and the tests' users for the block."""
    tokens = {f"{name}-token": name for name in ("conch", "stranger", "second")}
    server = ApiServer(folder, require_programs(), etcd, tokens=tokens)
    try:
        server.start()
        server.define([*kserve_definitions(NEWEST), *other_definitions()])
        yield server
    finally:
        server.stop()


@pytest.fixture
def namespace(apiserver: ApiServer) -> str:
    """A namespace for one test."""
    return apiserver.namespace(f"t-{uuid.uuid4().hex[:12]}")


if __name__ == "__main__":
    place = Path(sys.argv[1]).absolute()
    store = Etcd(place / "etcd", require_programs().etcd)
    try:
        store.start()
        with keeping(place, store.url) as running:
            (place / "port").write_text(running.url.rpartition(":")[2])
            print(f"kept: CONCH_KEPT_APISERVER={place}", flush=True)
            signal.pause()
    finally:
        store.stop()
