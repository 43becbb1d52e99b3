"""The installation's roles are enough, and least: asked of a real API server with RBAC.

Every operation of the target runs as a user with exactly these roles, and each request is noted.
The server is then asked about the same request without the one verb that allows it. `policy/v1` is
not known to 1.20: that its objects are written is not seen here.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from kserve_clusters import STRATEGIES, A, B, build, divided, playing
from kserve_profiles import STANDARD
from kube_apiserver import ApiServer
from kube_clients import Connect
from kube_jobs_standin import claim, running_jobs

from conch.control.cluster_building import JobWorkshop
from conch.core import Ordinal, TritonName
from conch.kserve import (
    Autoscaler,
    Builds,
    Environment,
    KServeVersion,
    Monitoring,
    Profile,
    Storage,
    Traffic,
)
from conch.kserve.cluster import ClusterLease, KubernetesCluster
from conch.kserve.serving.operating import Blueprint
from conch.kserve.serving.storing import ConchStore
from conch.kserve.serving.target import KServeTarget
from conch.model_repo_builder import BuildRequest, UnknownFlavourError

pytestmark = [pytest.mark.real, pytest.mark.timeout(300)]
PACKAGING = Path(__file__).parents[3] / "packaging" / "kubernetes"
RBAC = "/apis/rbac.authorization.k8s.io/v1"
ROUTES = "/apis/gateway.networking.k8s.io/v1/namespaces/{}/httproutes"
STORAGE_CONTAINERS = "/apis/serving.kserve.io/v1alpha1/clusterstoragecontainers"
USER = {"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": "conch"}
UNSEEN = {("policy", "poddisruptionbudgets", verb) for verb in ("create", "delete", "patch", "get")}
Right = tuple[str, str, str]
"""API group, plural and verb."""

_SEEN = Monitoring(prometheus_url="http://p:9090", labels={"release": "p"})
_STORE = Storage(
    schemes=frozenset({"conch"}), conch_image="conch:1", conch_url="http://conch.conch:8090"
)
PROFILES: dict[str, Profile] = {
    "slots": replace(
        STANDARD,
        environment=Environment.DEV,
        version=KServeVersion.V0_21,
        autoscaler=Autoscaler.KEDA,
        monitoring=_SEEN,
        storage=_STORE,
    ),
    "percent": replace(STRATEGIES[Traffic.PERCENT], storage=_STORE, monitoring=_SEEN),
}


class Noting(KubernetesCluster):
    """A client that notes what it was allowed to do, in the words of RBAC."""

    used: set[Right]

    async def _send(self, asked: Any, method: str, *given: Any, **named: Any) -> Any:
        response = await super()._send(asked, method, *given, **named)
        plural = "/".join(filter(None, (asked.resource.plural, asked.subresource)))
        right = (asked.resource.group, plural)
        if response.status < 400 or response.status == 404:
            self.used.add((*right, asked.verb))
        if response.status == 201:
            self.used.add((*right, "create"))  # which an apply of a new object needs as well
        return response


def read(name: str) -> dict[str, Any]:
    """Return an object of the installation."""
    body: dict[str, Any] = yaml.safe_load((PACKAGING / name).read_text())
    return body


def rights_of(role: Mapping[str, Any]) -> Iterator[Right]:
    """Yield every single right of a role."""
    for rule in role["rules"]:
        for group in rule["apiGroups"]:
            for plural in rule["resources"]:
                for verb in rule["verbs"]:
                    yield group, plural, verb


ROLE = read("models/role.yaml")
CLUSTER_ROLE = read("storage-container/cluster-role.yaml")
RIGHTS = sorted({*rights_of(ROLE), *rights_of(CLUSTER_ROLE)})
BUILDS_ROLE = read("builds/role.yaml")
OF_BUILDS = sorted(rights_of(BUILDS_ROLE))


@pytest.fixture
def granted(apiserver: ApiServer, namespace: str) -> None:
    """The roles of the installation, for the user `conch` and the test's namespace."""
    grant(apiserver, namespace, "conch", ROLE["rules"], CLUSTER_ROLE["rules"])


def grant(server: ApiServer, namespace: str, user: str, rules: Any, everywhere: Any) -> None:
    """Give a user rules in a namespace, and others everywhere."""
    subjects = [{**USER, "name": user}]
    for kind, base, given in (
        ("Role", f"{RBAC}/namespaces/{namespace}", rules),
        ("ClusterRole", RBAC, everywhere),
    ):
        meta: dict[str, Any] = {"name": f"{namespace}-{user}"}
        if kind == "Role":
            meta["namespace"] = namespace
        head = {"apiVersion": "rbac.authorization.k8s.io/v1", "metadata": meta}
        name = meta["name"]
        server.apply(f"{base}/{kind.lower()}s/{name}", {**head, "kind": kind, "rules": given})
        ref = {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": name}
        binding = {**head, "kind": f"{kind}Binding", "roleRef": ref, "subjects": subjects}
        server.apply(f"{base}/{kind.lower()}bindings/{name}", binding)


def test_the_roles_are_enough_and_every_right_is_used(
    granted: None, connect: Connect, apiserver: ApiServer, namespace: str, tmp_path: Path
) -> None:
    """Load, divide, promote, unload and see drift, with a lease, by both kinds of strategy."""
    used: set[Right] = set()
    allowed(apiserver, "conch", namespace, RIGHTS[0])
    delete_all(apiserver, STORAGE_CONTAINERS)  # of the tests before: they have no namespace

    def client() -> KubernetesCluster:
        made = Noting(connect("conch-token")._connection)
        made.used = used
        return made

    with playing(connect, namespace, seed=5):
        for number, profile in enumerate(PROFILES.values()):
            one, two = (build(tmp_path, each, model=f"m{number}") for each in (1, 2))
            with KServeTarget(
                connect=client,
                namespace=namespace,
                blueprint=Blueprint(profile=profile),
                store=ConchStore(),
                lease=lambda cluster: ClusterLease(
                    cluster=cluster,
                    namespace=namespace,
                    name="conch",
                    holder="test",
                    clock=time.monotonic,
                ),
            ) as target:
                target.load(one, A, timeout_s=30)
                target.set_routes([divided((one, A, 100))])
                delete_all(apiserver, ROUTES.format(namespace))  # as a person may
                target.load(one, A, timeout_s=30)  # which brings a deleted route back
                target.load(two, B, timeout_s=30)
                target.set_routes([divided((two, B, 10), (one, A, 90))])
                target.set_routes([divided((two, B, 100), (one, A, 0))])
                target.unload(one.model, A)
                assert all(plan.empty for plan in target.drift().values())
                target.unload(two.model, B)
    assert used - set(RIGHTS) == set()
    assert set(RIGHTS) - used == UNSEEN


def delete_all(server: ApiServer, path: str) -> None:
    """Delete the objects of a collection."""
    with server.client() as client:
        for body in client.get(path).json()["items"]:
            assert client.delete(f"{path}/{body['metadata']['name']}").is_success


def test_a_build_in_a_job_needs_every_right_of_its_role_and_no_other(
    connect: Connect, apiserver: ApiServer, namespace: str, tmp_path: Path
) -> None:
    """Its Job is made, followed, read and deleted, beside the claim that it works on."""
    grant(apiserver, namespace, "conch", BUILDS_ROLE["rules"], [])
    assert allowed(apiserver, "conch", namespace, OF_BUILDS[0])
    used: set[Right] = set()
    claim(apiserver, namespace)

    def client() -> KubernetesCluster:
        made = Noting(connect("conch-token")._connection)
        made.used = used
        return made

    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "MLmodel").write_text("flavors: {nothing: {}}\n")
    with running_jobs(connect, apiserver, namespace, tmp_path, {"conch-home": tmp_path}):
        workshop = JobWorkshop(
            connect=client,
            builds=Builds(image="conch:1", claim="conch-home", namespace=namespace),
            folder=tmp_path / "builds",
        )
        with pytest.raises(UnknownFlavourError):
            workshop.build(
                BuildRequest(
                    build_id="b1",
                    registered_name="nothing",
                    model=TritonName("nothing"),
                    ordinal=Ordinal(1),
                    source=tmp_path / "model",
                    output=tmp_path / "builds" / "nothing" / "1",
                ),
                progress=lambda part, words: None,
                cancelled=lambda: False,
            )
    assert used == set(OF_BUILDS)


@pytest.mark.parametrize("right", [*RIGHTS, *OF_BUILDS], ids=" ".join)
def test_without_any_right_its_request_is_refused(
    right: Right, apiserver: ApiServer, namespace: str
) -> None:
    """The server allows it with the roles, and refuses it without this one right of them."""
    user = f"without-{[*RIGHTS, *OF_BUILDS].index(right)}"
    own = BUILDS_ROLE if right in OF_BUILDS else ROLE
    grant(apiserver, namespace, f"{user}-all", own["rules"], CLUSTER_ROLE["rules"])
    grant(apiserver, namespace, user, without(own, right), without(CLUSTER_ROLE, right))
    role = next(role for role in (own, CLUSTER_ROLE) if right in set(rights_of(role)))
    other = next(each for each in rights_of(role) if each != right)
    assert allowed(apiserver, f"{user}-all", namespace, right)
    assert allowed(apiserver, user, namespace, other)  # the server has seen the new role
    assert not allowed(apiserver, user, namespace, right, patient=False)


def without(role: Mapping[str, Any], right: Right) -> list[dict[str, Any]]:
    """Return a role's rules but for one right, one rule for each."""
    return [
        {"apiGroups": [group], "resources": [plural], "verbs": [verb]}
        for group, plural, verb in rights_of(role)
        if (group, plural, verb) != right
    ]


def allowed(
    server: ApiServer, user: str, namespace: str, right: Right, *, patient: bool = True
) -> bool:
    """Ask the server whether a user may do something; patient: until it has seen the new role."""
    group, plural, verb = right
    clustered = plural == "clusterstoragecontainers"
    body = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SubjectAccessReview",
        "spec": {
            "user": user,
            "resourceAttributes": {
                "namespace": "" if clustered else namespace,
                "group": group,
                "resource": plural.partition("/")[0],
                "subresource": plural.partition("/")[2],
                "verb": verb,
            },
        },
    }
    with server.client() as client:
        for _ in range(200 if patient else 1):
            answer = client.post("/apis/authorization.k8s.io/v1/subjectaccessreviews", json=body)
            assert answer.is_success, answer.text
            if answer.json()["status"]["allowed"]:
                return True
            time.sleep(0.02)
    return False
