"""A stand-in for the controllers of KServe, Knative Serving and a gateway, on a real API server.

It runs nothing. It watches objects and writes the statuses that those controllers write, after
seeded delays and in seeded orders, and it keeps what a data plane would do: `history` has every
division of traffic that was ever in force, by build. `ROWS` is everything that it does, each with
the place where the behaviour is documented or was read; what is not in it is not played.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

from conch.kserve.cluster import Key, KubernetesCluster, Mirror, ObjectMissingError
from conch.kserve.cluster.failures import ClusterError
from conch.kserve.cluster.resources import DEPLOYMENT, HTTP_ROUTE, INFERENCE_SERVICE

BUILDS: Final = "conch.dev/builds"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One behaviour that is played, and where it is from."""

    name: str
    does: str
    source: str


ROWS: Final = (
    Row(
        name="revision-made",
        does="a change of anything but the percentage makes a new revision",
        source="Knative: a revision per change of the template; KServe fills the template from "
        "the predictor and the InferenceService's own labels and annotations",
    ),
    Row(
        name="revision-ready",
        does="latestReadyRevision follows latestCreatedRevision, later or never",
        source="Knative: latestReadyRevisionName",
    ),
    Row(
        name="all-to-latest-ready",
        does="without a percentage, or before anything was rolled out, all goes to latest ready",
        source="KServe: knative ksvc reconciler; a percentage on a first deploy does nothing",
    ),
    Row(
        name="split",
        does="N % to the latest *ready* revision, the rest pinned to latestRolledoutRevision",
        source="KServe: knative ksvc reconciler; issue 2130",
    ),
    Row(
        name="rolled-out",
        does="latestRolledoutRevision moves when the latest ready revision has 100 %",
        source="KServe: status propagation of the predictor",
    ),
    Row(
        name="ready-unknown",
        does="Ready is Unknown while a revision is on its way; the one before serves",
        source="KServe issue 5443",
    ),
    Row(
        name="blocked",
        does="a model that does not load: BlockedByFailedLoad with lastFailureInfo",
        source="KServe: InferenceService modelStatus",
    ),
    Row(
        name="failure-left-over",
        does="lastFailureInfo is not cleared by a later success",
        source="KServe: InferenceService modelStatus",
    ),
    Row(
        name="deployment-rolls",
        does="a changed template: new pods beside the old ones, which serve until then; Ready and "
        "UpToDate stay",
        source="Kubernetes: RollingUpdate; KServe issue 4626",
    ),
    Row(
        name="canary-ready",
        does="a canary that is not ready is left out of the split; stable has the rest",
        source="KServe pull requests 5672, 5912, 5984 (0.21)",
    ),
    Row(
        name="canary-promoted",
        does="a canary whose name becomes the stable predictor's keeps its Deployment",
        source="KServe: spec.canary, predictor.name",
    ),
    Row(
        name="route-accepted",
        does="a route is in force, and Accepted with its generation, some time after it is written",
        source="Gateway API: HTTPRoute status.parents[].conditions",
    ),
)


class Fault(StrEnum):
    """What can be wrong with a build's servers."""

    NEVER_READY = "never-ready"
    BLOCKED = "blocked"


@dataclass(slots=True)
class Revision:
    """A Knative revision."""

    name: str
    build: str
    uri: str
    ready: bool = False


@dataclass(slots=True)
class Service:
    """What the controllers know of one InferenceService."""

    template: str = ""
    revisions: list[Revision] = field(default_factory=list)
    rolled_out: str = ""
    previous: str = ""
    failure: dict[str, Any] = field(default_factory=dict)
    blocked: bool = False
    spec: dict[str, Any] = field(default_factory=dict)

    def latest_ready(self) -> Revision | None:
        return next((each for each in reversed(self.revisions) if each.ready), None)


@dataclass(slots=True)
class Pods:
    """What the Deployment of a predictor runs."""

    template: str
    build: str
    uri: str
    serving: str = ""
    serving_uri: str = ""


class StandIn:
    """Plays `ROWS` in one namespace until closed.

    Args:
        cluster: A client of its own.
        namespace: Where.
        seed: Of all delays and orders.
        slowest_s: Longest delay.

    Attributes:
        faults: What is wrong with which build.
        history: Every division of traffic that was in force: shares in percent by build.
        errors: What the API server did not take from it; a test's fault.
        hosts: Where each host name leads: the storage URI of what answers there.
    """

    def __init__(
        self, cluster: KubernetesCluster, namespace: str, *, seed: int = 0, slowest_s: float = 0.03
    ) -> None:
        self._cluster = cluster
        self._namespace = namespace
        self._random = random.Random(seed)
        self._slowest_s = slowest_s
        self._services: dict[str, Service] = {}
        self._pods: dict[str, Pods] = {}
        self._routes: dict[str, dict[str, int]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._mirrors = {
            resource: Mirror(cluster, resource, namespace)
            for resource in (INFERENCE_SERVICE, HTTP_ROUTE)
        }
        self._told: dict[Key, str] = {}
        self._turns: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self.faults: dict[str, Fault] = {}
        self.history: list[dict[str, float]] = []
        self.hosts: dict[str, str] = {}
        self.errors: list[str] = []

    async def run(self) -> None:
        """Play until cancelled."""
        async with asyncio.TaskGroup() as group:
            for mirror in self._mirrors.values():
                group.create_task(mirror.run())
                group.create_task(self._follow(mirror))

    async def _follow(self, mirror: Mirror) -> None:
        while True:
            await mirror.until(lambda: self._changed(mirror) is not None, timeout_s=3600)
            key = self._changed(mirror)
            if key is None:
                continue
            body = mirror.objects.get(key)
            if body is None:
                self._told.pop(key)
                self._forget(key)
                continue
            self._told[key] = str(body["metadata"]["generation"])
            if key.kind == HTTP_ROUTE.kind:
                self._later(self._accept, key, body)
            else:
                self._take(key, body)

    def _changed(self, mirror: Mirror) -> Key | None:
        for key, body in mirror.objects.items():
            if self._told.get(key) != str(body["metadata"]["generation"]):
                return key
        kind = next(k.kind for k, m in self._kinds() if m is mirror)
        return next((k for k in self._told if k.kind == kind and k not in mirror.objects), None)

    def _kinds(self) -> Iterator[tuple[Any, Mirror]]:
        yield from self._mirrors.items()

    def _later(self, act: Callable[..., Any], *given: Any) -> None:
        async def wait() -> None:
            await asyncio.sleep(self._random.uniform(0, self._slowest_s))
            try:
                await act(*given)
            except ObjectMissingError:
                return  # it is gone meanwhile
            except ClusterError as error:
                self.errors.append(str(error))

        task = asyncio.create_task(wait())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def pods(self) -> dict[str, tuple[str, str, str]]:
        """Return by build a pod that serves it: InferenceService, pod, and where its logger sends.

        A pod is called after its Deployment: `DEPLOYMENT-HASH-FIVE` (Kubernetes).
        """
        found = {}
        for name, service in self._services.items():
            by_name = {revision.name: revision for revision in service.revisions}
            for target in self._split(service):
                revision = by_name[target["revisionName"]]
                found[revision.build] = name, f"{revision.name}-deployment", service
        for deployment, pods in self._pods.items():
            stem = deployment.removesuffix("-predictor")
            name = stem if stem in self._services else stem.rpartition("-")[0]
            if pods.serving and name in self._services:
                found[pods.serving] = name, deployment, self._services[name]
        return {
            build: (name, f"{deployment}-5d8f7c9b64-x7k2p", _sink(service))
            for build, (name, deployment, service) in found.items()
        }

    # --- InferenceServices

    def _take(self, key: Key, body: dict[str, Any]) -> None:
        service = self._services.setdefault(key.name, Service())
        service.spec = body["spec"]
        notes = body["metadata"].get("annotations") or {}
        knative = notes.get("serving.kserve.io/deploymentMode") in ("Knative", "Serverless")
        if knative:
            self._take_knative(key, body, service)
        else:
            self._take_standard(key, body, service)

    def _take_knative(self, key: Key, body: dict[str, Any], service: Service) -> None:
        predictor = {
            name: value
            for name, value in body["spec"]["predictor"].items()
            if name != "canaryTrafficPercent"
        }
        template = _template(predictor, body)
        if template != service.template:
            service.template = template
            number = len(service.revisions) + 1
            name = f"{key.name}-predictor-{number:05d}"
            build, uri = _build(predictor), predictor["model"]["storageUri"]
            self._later(self._make_revision, key, service, Revision(name, build, uri))
        self._record(service)
        self._later(self._tell_knative, key, service)

    async def _make_revision(self, key: Key, service: Service, revision: Revision) -> None:
        service.revisions.append(revision)
        self._later(self._tell_knative, key, service)
        fault = self.faults.get(revision.build)
        if fault is None:
            self._later(self._make_ready, key, service, revision)
        elif fault is Fault.BLOCKED:
            self._later(self._block, key, service)

    async def _make_ready(self, key: Key, service: Service, revision: Revision) -> None:
        revision.ready = True
        service.blocked = False
        self._record(service)
        self._later(self._tell_knative, key, service)

    async def _block(self, key: Key, service: Service) -> None:
        service.blocked = True
        service.failure = {
            "reason": "ModelLoadFailed",
            "message": "unable to load model: weights are broken",
            "exitCode": 1,
        }
        self._later(self._tell_knative, key, service)

    def _split(self, service: Service) -> list[dict[str, Any]]:
        """Rows `all-to-latest-ready` and `split`."""
        latest = service.latest_ready()
        if latest is None:
            return []
        percent = service.spec["predictor"].get("canaryTrafficPercent")
        if percent is None or not service.rolled_out:
            percent = 100
        traffic = [_target(latest, percent, "latest", self._namespace, latest=True)]
        if percent < 100:
            pinned = next(r for r in service.revisions if r.name == service.rolled_out)
            traffic.append(_target(pinned, 100 - percent, "prev", self._namespace))
        return traffic

    def _record(self, service: Service) -> None:
        """Put a division in force, and move what was rolled out (row `rolled-out`)."""
        traffic = self._split(service)
        by_name = {revision.name: revision for revision in service.revisions}
        shares: dict[str, float] = {}
        for target in traffic:
            revision = by_name[target["revisionName"]]
            shares[revision.build] = shares.get(revision.build, 0.0) + target["percent"]
            self.hosts[target["url"].removeprefix("http://")] = revision.uri
        if traffic:
            self.history.append(shares)
        for target in traffic:
            name = target["revisionName"]
            whole = target["percent"] == 100 and target["latestRevision"]
            if whole and name != service.rolled_out:
                service.previous, service.rolled_out = service.rolled_out, name

    async def _tell_knative(self, key: Key, service: Service) -> None:
        async with self._turns[key.name]:  # an older status never overwrites a newer one
            await self._cluster.patch_status(key, self._knative_status(key, service))

    def _knative_status(self, key: Key, service: Service) -> dict[str, Any]:
        self._record(service)
        latest = service.latest_ready()
        created = service.revisions[-1].name if service.revisions else ""
        settled = latest is not None and created == latest.name
        traffic = self._split(service)
        predictor = {
            "latestCreatedRevision": created,
            "latestReadyRevision": latest.name if latest else "",
            "latestRolledoutRevision": service.rolled_out,
            "previousRolledoutRevision": service.previous,
            "traffic": traffic,
        }
        ready = "True" if settled else ("False" if service.blocked else "Unknown")
        status = _status(ready, service, loaded=settled)
        status["components"] = {"predictor": predictor}
        status["url"] = f"http://{key.name}.{self._namespace}.example.test"
        return status

    def _take_standard(self, key: Key, body: dict[str, Any], service: Service) -> None:
        predictor = body["spec"]["predictor"]
        name = predictor.get("name")
        stem = f"{key.name}-{name}" if name else key.name
        wanted = {f"{stem}-predictor": predictor}
        for canary in body["spec"].get("canary") or ():
            merged = {**predictor, **canary["predictor"]}
            wanted[f"{key.name}-{merged['name']}-predictor"] = merged
        for deployment, each in wanted.items():
            self._later(self._roll, key, service, deployment, _pod_template(each, body), each)
        for deployment in [d for d in self._pods if d.startswith(f"{key.name}-")]:
            if deployment not in wanted and service.spec.get("predictor", {}).get("name"):
                self._later(self._end, deployment)
        self._record_standard(key, service)
        self._later(self._tell_standard, key, service)

    async def _roll(
        self,
        key: Key,
        service: Service,
        deployment: str,
        template: dict[str, Any],
        predictor: dict[str, Any],
    ) -> None:
        """Row `deployment-rolls`."""
        text = json.dumps(template, sort_keys=True)
        pods = self._pods.get(deployment)
        if pods is not None and pods.template == text:
            return
        build, uri = _build(predictor), predictor["model"]["storageUri"]
        if pods is None:
            pods = self._pods[deployment] = Pods(text, build, uri)
        else:
            pods.template, pods.build, pods.uri = text, build, uri
        replicas = predictor.get("minReplicas", 1)
        body = await self._cluster.apply(
            {
                "apiVersion": DEPLOYMENT.api_version,
                "kind": DEPLOYMENT.kind,
                "metadata": {
                    "name": deployment,
                    "namespace": self._namespace,
                    "labels": {"serving.kserve.io/inferenceservice": key.name},
                },
                "spec": {
                    "replicas": replicas,
                    "selector": {"matchLabels": {"app": deployment}},
                    "template": template
                    | {"metadata": {**template["metadata"], "labels": {"app": deployment}}},
                },
            },
            force=True,
        )
        await self._tell_deployment(deployment, body, updated=0, available=1 if pods.serving else 0)
        fault = self.faults.get(build)
        if fault is None:
            self._later(self._available, key, service, deployment, body, build)
        elif fault is Fault.BLOCKED:
            service.blocked = True
            service.failure = {"reason": "ModelLoadFailed", "message": "weights are broken"}
            self._later(self._tell_standard, key, service)

    async def _available(
        self, key: Key, service: Service, deployment: str, body: dict[str, Any], build: str
    ) -> None:
        pods = self._pods.get(deployment)
        if pods is None or pods.build != build:
            return
        pods.serving, pods.serving_uri = build, pods.uri
        service.blocked = False
        self.hosts[f"{deployment}.{self._namespace}.svc.cluster.local"] = pods.uri
        self._record_routes()
        self._record_standard(key, service)
        replicas = body["spec"]["replicas"]
        await self._tell_deployment(deployment, body, updated=replicas, available=replicas)
        self._later(self._tell_standard, key, service)

    async def _tell_deployment(
        self, name: str, body: dict[str, Any], *, updated: int, available: int
    ) -> None:
        status = {
            "observedGeneration": body["metadata"]["generation"],
            "replicas": max(updated, body["spec"]["replicas"]),
            "updatedReplicas": updated,
            "readyReplicas": available,
            "availableReplicas": available,
        }
        await self._cluster.patch_status(Key.of(body), status)

    async def _end(self, deployment: str) -> None:
        self._pods.pop(deployment, None)
        self.hosts.pop(f"{deployment}.{self._namespace}.svc.cluster.local", None)
        key = Key(
            api_version=DEPLOYMENT.api_version,
            kind=DEPLOYMENT.kind,
            namespace=self._namespace,
            name=deployment,
        )
        await self._cluster.delete(key)

    async def _tell_standard(self, key: Key, service: Service) -> None:
        async with self._turns[key.name]:
            await self._cluster.patch_status(key, self._standard_status(key, service))

    def _standard_status(self, key: Key, service: Service) -> dict[str, Any]:
        own = [pods for name, pods in self._pods.items() if name.startswith(f"{key.name}-")]
        up = bool(own) and all(pods.serving for pods in own)
        ready = "False" if service.blocked and not up else ("True" if up else "Unknown")
        status = _status(ready, service, loaded=up)
        status["url"] = f"http://{key.name}-predictor.{self._namespace}.svc.cluster.local"
        status["canaryStatuses"] = self._canaries(key, service)
        self._record_standard(key, service)
        return status

    def _canaries(self, key: Key, service: Service) -> list[dict[str, Any]]:
        """Row `canary-ready`."""
        found = []
        for canary in service.spec.get("canary") or ():
            name = canary["predictor"]["name"]
            pods = self._pods.get(f"{key.name}-{name}-predictor")
            ready = pods is not None and pods.serving != ""
            percent = canary["trafficPercent"] if ready else 0
            found.append({"name": name, "ready": ready, "trafficPercent": percent})
        return found

    def _record_standard(self, key: Key, service: Service) -> None:
        """Put a division by `spec.canary` in force."""
        name = service.spec["predictor"].get("name")
        if not name:
            return
        shares: dict[str, float] = {}
        rest = 100
        for canary in self._canaries(key, service):
            pods = self._pods.get(f"{key.name}-{canary['name']}-predictor")
            if pods is not None and canary["trafficPercent"]:
                rest -= canary["trafficPercent"]
                shares[pods.serving] = canary["trafficPercent"]
        stable = self._pods.get(f"{key.name}-{name}-predictor")
        if stable is not None and stable.serving and rest:
            shares[stable.serving] = shares.get(stable.serving, 0) + rest
        if shares:
            self.history.append(shares)

    def _forget(self, key: Key) -> None:
        if key.kind == HTTP_ROUTE.kind:
            self._routes.pop(key.name, None)
            return
        self._services.pop(key.name, None)
        for deployment in [d for d in self._pods if d.startswith(f"{key.name}-")]:
            self._later(self._end, deployment)

    # --- routes

    async def _accept(self, key: Key, body: dict[str, Any]) -> None:
        """Row `route-accepted`."""
        rules = {
            rule["matches"][0]["path"]["value"]: rule["backendRefs"]
            for rule in body["spec"]["rules"]
        }
        shares: dict[str, int] = {}
        for path, backends in rules.items():
            if path.startswith("/v2/models/") and "/versions/" not in path:
                for each in backends:
                    shares[each["name"]] = each.get("weight", 1)
        self._routes[key.name] = shares
        self._record_routes()
        condition = {
            "status": "True",
            "reason": "Accepted",
            "message": "",
            "observedGeneration": body["metadata"]["generation"],
            "lastTransitionTime": "2026-01-01T00:00:00Z",
        }
        parent = {
            "parentRef": body["spec"]["parentRefs"][0],
            "controllerName": "example.test/stand-in",
            "conditions": [{"type": kind, **condition} for kind in ("Accepted", "ResolvedRefs")],
        }
        await self._cluster.patch_status(key, {"parents": [parent]})

    def _record_routes(self) -> None:
        for shares in self._routes.values():
            by_build: dict[str, float] = {}
            for name, weight in shares.items():
                pods = self._pods.get(name)
                if weight:
                    build = pods.serving if pods and pods.serving else "nothing"
                    by_build[build] = by_build.get(build, 0) + weight / 100
            self.history.append(by_build)


def _template(predictor: Mapping[str, Any], body: Mapping[str, Any]) -> str:
    """Row `revision-made`."""
    meta = body["metadata"]
    own = [predictor, meta.get("labels"), meta.get("annotations")]
    return json.dumps(own, sort_keys=True)


def _pod_template(predictor: Mapping[str, Any], body: Mapping[str, Any]) -> dict[str, Any]:
    notes = {**(body["metadata"].get("annotations") or {}), **(predictor.get("annotations") or {})}
    notes["stand-in/model"] = json.dumps(predictor["model"], sort_keys=True)
    return {
        "metadata": {"annotations": notes},
        "spec": {"containers": [{"name": "kserve-container", "image": "triton"}]},
    }


def _sink(service: Service) -> str:
    logger = service.spec["predictor"].get("logger") or {}
    return str(logger.get("url", ""))


def _build(predictor: Mapping[str, Any]) -> str:
    return str(predictor["annotations"][BUILDS]).partition("=")[2]


def _target(
    revision: Revision, percent: int, tag: str, namespace: str, *, latest: bool = False
) -> dict[str, Any]:
    host = f"{tag}-{revision.name.rpartition('-')[0]}.{namespace}.example.test"
    found = {"revisionName": revision.name, "percent": percent, "tag": tag, "url": f"http://{host}"}
    return {**found, "latestRevision": latest}


def _status(ready: str, service: Service, *, loaded: bool) -> dict[str, Any]:
    """Rows `ready-unknown`, `blocked` and `failure-left-over`."""
    moment = "2026-01-01T00:00:00Z"
    model: dict[str, Any] = {
        "transitionStatus": "UpToDate" if loaded else "InProgress",
        "states": {"activeModelState": "Loaded" if loaded else "", "targetModelState": "Loading"},
    }
    if service.blocked:
        model["transitionStatus"] = "BlockedByFailedLoad"
        model["states"]["targetModelState"] = "FailedToLoad"
    elif loaded:
        model["states"]["targetModelState"] = "Loaded"
    if service.failure:
        model["lastFailureInfo"] = service.failure
    return {
        "conditions": [
            {"type": kind, "status": ready, "lastTransitionTime": moment}
            for kind in ("Ready", "PredictorReady")
        ],
        "modelStatus": model,
    }
