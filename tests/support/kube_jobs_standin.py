"""A stand-in for the Job controller, the scheduler and one node's kubelet, on a real API server.

It makes the pod of each Job, really runs the container's command as a process of this machine, with
the claim's folder in place of the mount, writes the statuses that those three write, and gives logs
to the API server as a kubelet does, over HTTPS. Whatever is not in `ROWS` is not played.
"""

from __future__ import annotations

import asyncio
import os
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from enum import StrEnum
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

from kube_apiserver import ApiServer
from kube_clients import Connect
from standin_threads import in_a_thread

from conch.kserve.cluster import Key, KubernetesCluster, Mirror, ObjectMissingError
from conch.kserve.cluster.resources import JOB, POD

ROWS: Final = (
    ("pod-made", "a pod per Job, owned by it, with the template's labels", "Job controller"),
    ("running", "containerStatuses[].state.running once the command runs", "kubelet"),
    ("succeeded", "exit code 0: pod Succeeded; Job Complete", "kubelet; Job controller"),
    ("failed", "another: pod Failed, Job Failed, BackoffLimitExceeded", "kubelet; Job controller"),
    ("out-of-memory", "terminated with exit code 137 and the reason OOMKilled", "kubelet"),
    ("image", "waiting: ErrImagePull, then ImagePullBackOff", "kubelet"),
    ("unschedulable", "PodScheduled False, Unschedulable, with the scheduler's words", "scheduler"),
    ("deadline", "activeDeadlineSeconds: Job Failed, DeadlineExceeded", "Job controller"),
    ("gone", "a deleted Job's pod is deleted and its process ended", "garbage collector; kubelet"),
    ("log", "/containerLogs/NAMESPACE/POD/CONTAINER, with follow to its end", "kubelet's API"),
)
"""What is played: a name, what happens, and who does it on a cluster."""


class Fault(StrEnum):
    """What happens to a Job's pod."""

    IMAGE = "image"
    UNSCHEDULABLE = "unschedulable"
    OUT_OF_MEMORY = "out-of-memory"
    EVICTED = "evicted"


class JobsStandIn:
    """Plays `ROWS` in one namespace until closed.

    Args:
        cluster: A client of its own.
        server: The API server, for what a client of conch's cannot ask.
        namespace: Where.
        claims: The folder that stands for each claim.
        logs: Where logs are kept.
        node: The node that pods are on.

    Attributes:
        faults: What happens to the pod of a Job, by the Job's name.
        started: Names of Jobs, once for each time that a command was started.
        errors: What did not go as played; a test's fault.
    """

    def __init__(
        self,
        cluster: KubernetesCluster,
        server: ApiServer,
        namespace: str,
        *,
        claims: dict[str, Path],
        logs: Path,
        node: str,
    ) -> None:
        self._cluster, self._server = cluster, server
        self._namespace, self._node = namespace, node
        self._claims, self._logs = claims, logs
        self._jobs = Mirror(cluster, JOB, namespace)
        self._tasks: dict[tuple[Key, str], asyncio.Task[None]] = {}
        self._pods: dict[str, Key] = {}
        self.faults: dict[str, Fault] = {}
        self.started: list[str] = []
        self.errors: list[str] = []

    async def run(self) -> None:
        """Play until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._jobs.run())
            while True:
                await self._jobs.until(self._changed, timeout_s=3600)
                there = self._there()
                for one in set(self._tasks) - set(there):
                    task = self._tasks.pop(one)
                    task.cancel()
                    await asyncio.wait([task])
                    self._collect(one[1])
                for one in set(there) - set(self._tasks):
                    self._tasks[one] = group.create_task(self._play(one[0], there[one]))

    def _there(self) -> dict[tuple[Key, str], dict[str, Any]]:
        return {(key, body["metadata"]["uid"]): body for key, body in self._jobs.objects.items()}

    def _changed(self) -> bool:
        return set(self._tasks) != set(self._there())

    async def _play(self, key: Key, job: dict[str, Any]) -> None:
        if (job.get("status") or {}).get("conditions"):
            return
        pod = await self._cluster.create(self._pod(job))
        self._pods[job["metadata"]["uid"]] = Key.of(pod)
        try:
            async with asyncio.timeout(job["spec"]["activeDeadlineSeconds"]):
                await self._live(key, job, Key.of(pod))
        except TimeoutError:
            words = "Job was active longer than specified deadline"
            await self._end(key, "Failed", reason="DeadlineExceeded", message=words)
        except ObjectMissingError:
            pass  # it is gone meanwhile
        except Exception as error:
            self.errors.append(f"{type(error).__name__}: {error}")

    async def _live(self, key: Key, job: dict[str, Any], pod: Key) -> None:
        match self.faults.get(key.name):
            case Fault.UNSCHEDULABLE:
                await self._tell(pod, "Pending", conditions=[_UNSCHEDULABLE])
                await asyncio.Event().wait()
            case Fault.IMAGE:
                for reason in ("ErrImagePull", "ImagePullBackOff"):
                    waiting = {"reason": reason, "message": "not found"}
                    await self._tell(pod, "Pending", state={"waiting": waiting})
                await asyncio.Event().wait()
            case Fault.OUT_OF_MEMORY:
                ended = {"exitCode": 137, "reason": "OOMKilled"}
                await self._tell(pod, "Failed", state={"terminated": ended})
                await self._end(key, "Failed", reason="BackoffLimitExceeded")
            case Fault.EVICTED:
                words = "The node was low on resource: memory."
                await self._tell(pod, "Failed", reason="Evicted", message=words)
                await self._end(key, "Failed", reason="BackoffLimitExceeded")
            case None:
                await self._run_command(key, job, pod)

    async def _run_command(self, key: Key, job: dict[str, Any], pod: Key) -> None:
        spec = job["spec"]["template"]["spec"]
        (container,) = spec["containers"]
        mounts = self._mounts(spec, container)
        command = [mounts.get(word, word) for word in container["command"]]
        if command[0] in ("python", "python3"):
            command[0:1] = [sys.executable, "-P"]
        self.started.append(key.name)
        env = {**os.environ, **{one["name"]: one["value"] for one in container.get("env", ())}}
        with (self._logs / pod.name).open("wb") as out:
            process = await asyncio.create_subprocess_exec(
                *command, stdout=out, stderr=subprocess.STDOUT, env=env, start_new_session=True
            )
        try:
            await self._tell(pod, "Running", state={"running": {"startedAt": _now()}})
            code = await process.wait()
        except asyncio.CancelledError:
            process.terminate()
            await process.wait()
            raise
        finally:
            (self._logs / f"{pod.name}.ended").touch()
        ended = {"exitCode": code, "reason": "Completed" if code == 0 else "Error"}
        phase = "Succeeded" if code == 0 else "Failed"
        await self._tell(pod, phase, state={"terminated": ended})
        if code == 0:
            await self._end(key, "Complete", succeeded=1)
        else:
            await self._end(key, "Failed", reason="BackoffLimitExceeded", failed=1)

    def _collect(self, uid: str) -> None:
        """Delete a Job's pod at once, as the kubelet does when its containers have ended."""
        pod = self._pods.pop(uid, None)
        if pod is None:
            return
        with self._server.client() as client:
            path = POD.path(pod.namespace, pod.name)
            client.request("DELETE", path, json={"gracePeriodSeconds": 0})

    def _mounts(self, spec: dict[str, Any], container: dict[str, Any]) -> dict[str, str]:
        claims = {
            volume["name"]: volume["persistentVolumeClaim"]["claimName"]
            for volume in spec["volumes"]
            if "persistentVolumeClaim" in volume
        }
        return {
            mount["mountPath"]: str(self._claims[claims[mount["name"]]] / mount.get("subPath", ""))
            for mount in container["volumeMounts"]
            if mount["name"] in claims
        }

    def _pod(self, job: dict[str, Any]) -> dict[str, Any]:
        meta, template = job["metadata"], job["spec"]["template"]
        owner = {"apiVersion": JOB.api_version, "kind": JOB.kind, "name": meta["name"]}
        return {
            "apiVersion": POD.api_version,
            "kind": POD.kind,
            "metadata": {
                "name": f"{meta['name'][:57]}-{meta['uid'][:5]}",
                "namespace": self._namespace,
                "labels": template["metadata"]["labels"],
                "ownerReferences": [{**owner, "uid": meta["uid"], "controller": True}],
            },
            "spec": {**template["spec"], "nodeName": self._node},
        }

    async def _tell(
        self,
        pod: Key,
        phase: str,
        *,
        state: dict[str, Any] | None = None,
        conditions: list[dict[str, Any]] | None = None,
        **more: Any,
    ) -> None:
        status: dict[str, Any] = {"phase": phase, "conditions": conditions or [], **more}
        if state is not None:
            one = {"name": "work", "image": "", "imageID": "", "ready": False, "restartCount": 0}
            status["containerStatuses"] = [{**one, "state": state}]
        await self._cluster.patch_status(pod, status)

    async def _end(self, key: Key, kind: str, **more: Any) -> None:
        counts: dict[str, Any] = {
            name: more.pop(name) for name in ("succeeded", "failed") if name in more
        }
        condition = {"type": kind, "status": "True", "lastTransitionTime": _now(), **more}
        await self._cluster.patch_status(key, {"conditions": [condition], **counts})


_UNSCHEDULABLE: Final = {
    "type": "PodScheduled",
    "status": "False",
    "reason": "Unschedulable",
    "message": "0/3 nodes are available: 3 Insufficient nvidia.com/gpu.",
}


def _now() -> str:
    return f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"


@contextmanager
def running_jobs(
    connect: Connect, server: ApiServer, namespace: str, folder: Path, claims: dict[str, Path]
) -> Iterator[JobsStandIn]:
    """Run the stand-in and its node's log server for the block."""
    logs = folder / "logs"
    logs.mkdir()
    node = f"node-{namespace}"

    def make(cluster: KubernetesCluster) -> JobsStandIn:
        return JobsStandIn(cluster, server, namespace, claims=claims, logs=logs, node=node)

    with _log_server(logs, folder) as port:
        _register(server, node, port)
        with in_a_thread(connect, make, manager="kubelet") as standin:
            yield standin
        assert standin.errors == []


def claim(server: ApiServer, namespace: str) -> None:
    """Make the claim `conch-home`."""
    body = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "conch-home", "namespace": namespace},
        "spec": {
            "accessModes": ["ReadWriteMany"],
            "resources": {"requests": {"storage": "1Gi"}},
        },
    }
    path = f"/api/v1/namespaces/{namespace}/persistentvolumeclaims/conch-home"
    server.apply(path, body)


def _register(server: ApiServer, name: str, port: int) -> None:
    """Make the node known, with the port where its logs are asked for."""
    node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}}
    server.apply(f"/api/v1/nodes/{name}", node)
    status = {
        "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}],
        "daemonEndpoints": {"kubeletEndpoint": {"Port": port}},
    }
    with server.client() as client:
        answer = client.patch(
            f"/api/v1/nodes/{name}/status",
            headers={"content-type": "application/merge-patch+json"},
            json={"status": status},
        )
        assert answer.is_success, answer.text


@contextmanager
def _log_server(logs: Path, folder: Path) -> Iterator[int]:
    """Answer as a kubelet does about logs; the API server does not check its certificate here."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            pod = parts.path.split("/")[3]
            follow = parse_qs(parts.query).get("follow") == ["true"]
            self.send_response(200)
            self.send_header("Content-Type", "text/plain")
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            with (logs / pod).open("rb") as file:
                while True:
                    ended = (logs / f"{pod}.ended").exists()
                    if data := file.read():
                        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
                        self.wfile.flush()
                    elif ended or not follow:
                        break
                    else:
                        threading.Event().wait(0.02)
            self.wfile.write(b"0\r\n\r\n")

        def log_message(self, format: str, *args: Any) -> None:
            pass

    key, certificate = folder / "kubelet.key", folder / "kubelet.crt"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"),
            *("-subj", "/CN=kubelet", "-keyout", str(key), "-out", str(certificate)),
        ],
        check=True,
        capture_output=True,
    )
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield int(server.server_address[1])
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
