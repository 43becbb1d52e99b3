"""What goes wrong between conch and an API server, each on a real one."""

from __future__ import annotations

import asyncio
import base64
import json
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml
from kube_apiserver import ADMIN, ApiServer, Etcd, require_programs
from kube_clients import Connect, write_kubeconfig
from kube_objects import config_map, service

from conch.kserve.cluster import (
    AdmissionRefusedError,
    BusyError,
    ClusterError,
    Connection,
    ConnectionInvalidError,
    CredentialsError,
    Key,
    KindMissingError,
    KubernetesCluster,
    Mirror,
    NamespaceMissingError,
    ObjectInvalidError,
    PermissionMissingError,
    QuotaExceededError,
    Resource,
    SlowError,
    UnreachableError,
    WebhookUnavailableError,
)
from conch.kserve.cluster.resources import CONFIG_MAP

pytestmark = pytest.mark.real


def failing(client: KubernetesCluster, ask: Callable[[KubernetesCluster], Any]) -> ClusterError:
    """Return the error that a request ends in."""

    async def story() -> ClusterError:
        async with client:
            with pytest.raises(ClusterError) as caught:
                await ask(client)
            return caught.value

    return asyncio.run(story())


def test_a_permission_that_is_missing_is_named_with_what_grants_it(
    connect: Connect, apiserver: ApiServer, namespace: str
) -> None:
    """The error's YAML, applied as it stands, makes the same request succeed."""
    body = config_map(namespace)
    error = failing(connect("stranger-token"), lambda it: it.apply(body))
    assert isinstance(error, PermissionMissingError)
    named = {name: error.details[name] for name in ("user", "verb", "resource", "group")}
    assert named == {"user": "stranger", "verb": "patch", "resource": "configmaps", "group": ""}
    for granted in yaml.safe_load_all(error.details["grant"]):
        base = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{namespace}"
        plural = f"{granted['kind'].lower()}s"
        apiserver.apply(f"{base}/{plural}/{granted['metadata']['name']}", granted)

    async def again() -> ClusterError | None:
        """Wait until the authorizer has seen the role; a new object also needs `create`."""
        async with connect("stranger-token") as client:
            for _ in range(100):
                try:
                    await client.apply(body)
                except PermissionMissingError as missing:
                    if missing.details["verb"] != "patch":
                        return missing
                await asyncio.sleep(0.05)
        return None

    missing = asyncio.run(again())
    assert missing is not None
    assert missing.details["verb"] == "create"


def test_an_object_that_the_schema_refuses_names_its_fields(
    connect: Connect, namespace: str
) -> None:
    """422 arrives as the field and the reason."""
    error = failing(connect(), lambda it: it.apply(service(namespace, minReplicas="two")))
    assert isinstance(error, ObjectInvalidError)
    assert error.details["causes"][0]["field"] == "spec.predictor.minReplicas"


def test_a_namespace_that_is_missing(connect: Connect) -> None:
    """It is said that the namespace is missing, and not that the object is."""
    error = failing(connect(), lambda it: it.apply(service("nowhere")))
    assert isinstance(error, NamespaceMissingError)
    assert "kubectl create namespace nowhere" in error.hint


def test_a_kind_that_is_missing(connect: Connect, namespace: str) -> None:
    """An operator that is not installed is another thing than an object that does not exist."""
    unknown = Resource(group="keda.sh", version="v9", plural="scaledobjects", kind="ScaledObject")
    error = failing(connect(), lambda it: it.list(unknown, namespace))
    assert isinstance(error, KindMissingError)


def test_credentials_that_are_refused(
    connect: Connect, apiserver: ApiServer, tmp_path: Path, namespace: str
) -> None:
    """A token that the server does not know, and one that it signed itself and that has ended."""
    for token in ("nobody-token", expired_token(apiserver)):
        path = write_kubeconfig(
            tmp_path / "config", url=apiserver.url, ca=apiserver.ca, token=token
        )
        client = KubernetesCluster(Connection(kubeconfig=path))
        error = failing(client, lambda it: it.list(CONFIG_MAP, namespace))
        assert isinstance(error, CredentialsError)


def test_a_token_that_was_renewed_is_read_again(
    apiserver: ApiServer, tmp_path: Path, namespace: str
) -> None:
    """An expired token is no error where the file holds a new one by then."""
    where: dict[str, Any] = {"url": apiserver.url, "ca": apiserver.ca}

    async def story() -> None:
        path = write_kubeconfig(tmp_path / "config", token=ADMIN, **where)
        async with KubernetesCluster(Connection(kubeconfig=path)) as cluster:
            await cluster.list(CONFIG_MAP, namespace)
            await cluster.close()
            write_kubeconfig(path, token=expired_token(apiserver), **where)
            with pytest.raises(CredentialsError):
                await cluster.list(CONFIG_MAP, namespace)
            write_kubeconfig(path, token=ADMIN, **where)
            await cluster.list(CONFIG_MAP, namespace)

    asyncio.run(story())


def expired_token(server: ApiServer) -> str:
    """Return a service account's token that ended an hour ago, signed by the server's own key."""
    now = int(time.time())
    claims = {
        "iss": "https://kubernetes.default.svc",
        "aud": ["https://kubernetes.default.svc"],
        "sub": "system:serviceaccount:default:conch",
        "iat": now - 7200,
        "nbf": now - 7200,
        "exp": now - 3600,
        "kubernetes.io": {"namespace": "default", "serviceaccount": {"name": "conch", "uid": "1"}},
    }
    head = ".".join(_part(json.dumps(each).encode()) for each in ({"alg": "RS256"}, claims))
    signature = subprocess.run(
        ["openssl", "dgst", "-sha256", "-sign", str(server.signing_key)],
        input=head.encode(),
        check=True,
        capture_output=True,
    ).stdout
    return f"{head}.{_part(signature)}"


def _part(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def test_a_quota_that_is_used_up(connect: Connect, apiserver: ApiServer, namespace: str) -> None:
    """The error says which quota and what it leaves."""
    path = f"/api/v1/namespaces/{namespace}/resourcequotas/small"
    quota: dict[str, Any] = {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": {"name": "small"},
        "spec": {"hard": {"count/configmaps": "0"}},
    }
    apiserver.apply(path, quota)
    with apiserver.client() as client:  # its controller, which does not run here, would write this
        client.patch(
            f"{path}/status",
            headers={"content-type": "application/merge-patch+json"},
            content=json.dumps(
                {"status": {"hard": {"count/configmaps": "0"}, "used": {"count/configmaps": "0"}}}
            ),
        ).raise_for_status()

    async def until_known() -> ClusterError:
        async with connect() as cluster:
            for number in range(200):
                try:
                    await cluster.apply(config_map(namespace, f"n{number}"))
                except ClusterError as error:
                    return error
                await asyncio.sleep(0.05)
        raise AssertionError("the quota was never enforced")

    error = asyncio.run(until_known())
    assert isinstance(error, QuotaExceededError)
    assert "small" in error.message


def test_a_webhook_that_refuses_and_one_that_is_away(
    connect: Connect, apiserver: ApiServer, namespace: str, tmp_path: Path
) -> None:
    """A refusal is shown in the webhook's words; one that cannot be asked is named, and passes."""
    with refusing_webhook(tmp_path, "minReplicas is too small") as (url, ca):
        register_webhook(apiserver, namespace, url, ca)
        error = until_refused(connect, namespace)
        assert isinstance(error, AdmissionRefusedError)
        assert error.message.endswith("minReplicas is too small")
        assert error.details["webhook"] == "rules.conch.test"
    error = failing(connect(), lambda it: it.apply(service(namespace, "later")))
    assert isinstance(error, WebhookUnavailableError)
    assert error.retryable


def until_refused(connect: Connect, namespace: str) -> ClusterError:
    """Apply until the API server has seen the webhook's configuration."""

    async def story() -> ClusterError:
        async with connect() as cluster:
            for number in range(200):
                try:
                    await cluster.apply(service(namespace, f"n{number}"), dry_run=True)
                except ClusterError as error:
                    return error
                await asyncio.sleep(0.05)
        raise AssertionError("the webhook was never asked")

    return asyncio.run(story())


def register_webhook(apiserver: ApiServer, namespace: str, url: str, ca: bytes) -> None:
    """Have the server ask a webhook about the InferenceServices of one namespace."""
    apiserver.apply(
        f"/api/v1/namespaces/{namespace}",
        {
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": {"name": namespace, "labels": {"asked": namespace}},
        },
    )
    apiserver.apply(
        f"/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations/{namespace}",
        {
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": "ValidatingWebhookConfiguration",
            "metadata": {"name": namespace},
            "webhooks": [
                {
                    "name": "rules.conch.test",
                    "clientConfig": {"url": url, "caBundle": base64.b64encode(ca).decode()},
                    "rules": [
                        {
                            "apiGroups": ["serving.kserve.io"],
                            "apiVersions": ["v1beta1"],
                            "operations": ["CREATE", "UPDATE"],
                            "resources": ["inferenceservices"],
                        }
                    ],
                    "namespaceSelector": {"matchLabels": {"asked": namespace}},
                    "admissionReviewVersions": ["v1"],
                    "sideEffects": "None",
                    "timeoutSeconds": 5,
                }
            ],
        },
    )


@contextmanager
def refusing_webhook(folder: Path, why: str) -> Iterator[tuple[str, bytes]]:
    """Run an admission webhook that refuses everything."""
    import ssl

    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"),
            *("-keyout", str(folder / "key"), "-out", str(folder / "crt"), "-subj", "/CN=webhook"),
            *("-addext", "subjectAltName=IP:127.0.0.1"),
        ],
        check=True,
        capture_output=True,
    )

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            review = json.loads(self.rfile.read(int(self.headers["content-length"])))
            review["response"] = {
                "uid": review.pop("request")["uid"],
                "allowed": False,
                "status": {"code": 400, "message": why},
            }
            data = json.dumps(review).encode()
            self.send_response(200)
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "crt", folder / "key")
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield f"https://127.0.0.1:{server.server_port}/", (folder / "crt").read_bytes()
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_a_server_that_nobody_answers_at(
    apiserver: ApiServer, tmp_path: Path, unused_port: int
) -> None:
    """Down: an error that passes by itself."""
    path = write_kubeconfig(
        tmp_path / "config",
        url=f"https://127.0.0.1:{unused_port}",
        ca=apiserver.ca,
        token=ADMIN,
    )
    client = KubernetesCluster(Connection(kubeconfig=path))
    error = failing(client, lambda it: it.list(CONFIG_MAP, "default"))
    assert isinstance(error, UnreachableError)
    assert error.retryable


def test_a_server_that_does_not_answer_in_time(apiserver: ApiServer, tmp_path: Path) -> None:
    """Slow: told apart from down, since what was asked may have been done."""
    import socket

    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"https://127.0.0.1:{silent.getsockname()[1]}"
        path = write_kubeconfig(tmp_path / "config", url=url, ca=apiserver.ca, token=ADMIN)
        client = KubernetesCluster(Connection(kubeconfig=path, timeout_s=0.3))
        error = failing(client, lambda it: it.list(CONFIG_MAP, "default"))
    assert isinstance(error, SlowError)
    assert error.retryable


def test_a_file_that_names_no_cluster(tmp_path: Path) -> None:
    """A kubeconfig that is missing or broken is named, with what to set."""
    broken = tmp_path / "broken"
    broken.write_text("contexts: 7")
    for path in (tmp_path / "missing", broken):
        client = KubernetesCluster(Connection(kubeconfig=path))
        error = failing(client, lambda it: it.list(CONFIG_MAP, "default"))
        assert isinstance(error, ConnectionInvalidError)
        assert str(path) in error.message


@pytest.fixture(scope="module")
def small_server(etcd: Etcd, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    """A server of its own that takes one request at a time and may be killed."""
    server = ApiServer(
        tmp_path_factory.mktemp("small"),
        require_programs(),
        etcd.url,
        tokens={"stranger-token": "stranger"},
        flags=[
            "--etcd-prefix=/small",
            "--max-requests-inflight=1",
            "--max-mutating-requests-inflight=1",
            "--feature-gates=APIPriorityAndFairness=false",
        ],
    )
    try:
        server.start()
        yield server
    finally:
        server.stop()


def test_a_server_with_too_much_to_do(small_server: ApiServer, tmp_path: Path) -> None:
    """429 carries how long to wait, and passes by itself."""
    path = write_kubeconfig(
        tmp_path / "config", url=small_server.url, ca=small_server.ca, token="stranger-token"
    )
    with occupied(small_server):
        client = KubernetesCluster(Connection(kubeconfig=path))
        error = failing(client, lambda it: it.apply(config_map("default")))
    assert isinstance(error, BusyError)
    assert error.retryable
    assert error.details["retry_after_s"] > 0


@contextmanager
def occupied(server: ApiServer) -> Iterator[None]:
    """Hold the server's one place for changes by a request whose body never comes."""
    import socket
    import ssl

    context = ssl.create_default_context(cafile=str(server.ca))
    host, port = "127.0.0.1", int(server.url.rpartition(":")[2])
    with (
        socket.create_connection((host, port)) as plain,
        context.wrap_socket(plain, server_hostname=host) as secure,
    ):
        head = [
            "POST /api/v1/namespaces/default/configmaps HTTP/1.1",
            f"Host: {host}",
            f"Authorization: Bearer {ADMIN}",
            "Content-Type: application/json",
            "Content-Length: 1000",
            "Expect: 100-continue",
        ]
        secure.sendall(("\r\n".join(head) + "\r\n\r\n").encode())
        assert b"100 Continue" in secure.recv(100)  # the handler waits for the body now
        yield


def test_a_mirror_outlives_the_server(small_server: ApiServer, tmp_path: Path) -> None:
    """Killed and started again: the copy stays, says that it may be behind, and then goes on."""
    path = write_kubeconfig(
        tmp_path / "config", url=small_server.url, ca=small_server.ca, token=ADMIN
    )
    first, second = config_map("default", "first"), config_map("default", "second")

    async def story() -> None:
        async with KubernetesCluster(Connection(kubeconfig=path)) as cluster:
            await cluster.apply(first)
            mirror = Mirror(cluster, CONFIG_MAP, "default")
            running = asyncio.create_task(mirror.run())
            try:
                assert await mirror.until(lambda: Key.of(first) in mirror.objects, timeout_s=30)
                small_server.kill()
                assert await mirror.until(lambda: mirror.error is not None, timeout_s=30)
                assert Key.of(first) in mirror.objects
                assert not mirror.followed
                await asyncio.to_thread(small_server.start)
                await cluster.apply(second)
                assert await mirror.until(lambda: Key.of(second) in mirror.objects, timeout_s=60)
                assert mirror.followed
            finally:
                running.cancel()

    asyncio.run(story())
