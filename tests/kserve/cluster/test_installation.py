"""The installation's kustomizations: whole, read by what reads them, taken by a real API server."""

from __future__ import annotations

import json
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from kube_apiserver import ApiServer

from conch.control.cluster_building import JobWorkshop
from conch.control.serving import assemble, surroundings
from conch.control.settings import CaptureSettings, KServeSettings, Settings, read_settings
from conch.core import ConchError
from conch.kserve import read_site, refusals

PACKAGING = Path(__file__).parents[3] / "packaging" / "kubernetes"
FOLDERS = sorted(path.parent for path in PACKAGING.rglob("kustomization.yaml"))
LATER = ".spec.ttlSecondsAfterFinished"
"""Served from Kubernetes 1.21 on (gate TTLAfterFinished); 1.20 drops it."""
PLACES = {
    "ConfigMap": "/api/v1/namespaces/{namespace}/configmaps",
    "ClusterRole": "/apis/rbac.authorization.k8s.io/v1/clusterroles",
    "ClusterRoleBinding": "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings",
    "Deployment": "/apis/apps/v1/namespaces/{namespace}/deployments",
    "Job": "/apis/batch/v1/namespaces/{namespace}/jobs",
    "Namespace": "/api/v1/namespaces",
    "PersistentVolumeClaim": "/api/v1/namespaces/{namespace}/persistentvolumeclaims",
    "Role": "/apis/rbac.authorization.k8s.io/v1/namespaces/{namespace}/roles",
    "RoleBinding": "/apis/rbac.authorization.k8s.io/v1/namespaces/{namespace}/rolebindings",
    "Service": "/api/v1/namespaces/{namespace}/services",
    "ServiceAccount": "/api/v1/namespaces/{namespace}/serviceaccounts",
}


def loaded(path: Path) -> dict[str, Any]:
    """Return the one object in a file."""
    body: dict[str, Any] = yaml.safe_load(path.read_text())
    return body


def objects_of(folder: Path) -> Iterator[dict[str, Any]]:
    """Yield the objects that a kustomization lists, without its patches."""
    for name in loaded(folder / "kustomization.yaml")["resources"]:
        path = (folder / name).resolve()
        if path.is_dir():
            yield from objects_of(path)
        else:
            yield loaded(path)


def identity(body: dict[str, Any]) -> tuple[str, str, str]:
    """Return what tells an object from others."""
    meta = body["metadata"]
    return body["kind"], meta.get("namespace", ""), meta["name"]


def named(kind: str, name: str) -> dict[str, Any]:
    """Return an object of the base."""
    return next(b for b in objects_of(PACKAGING / "base") if identity(b)[::2] == (kind, name))


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda path: str(path.relative_to(PACKAGING)))
def test_a_kustomization_is_whole(folder: Path) -> None:
    """Every file is listed, nothing twice, every patch meets an object; `kubectl` agrees."""
    body = loaded(folder / "kustomization.yaml")
    listed = {*body["resources"], *(each["path"] for each in body.get("patches", ()))}
    present = {path.name for path in folder.glob("*.yaml")} - {"kustomization.yaml"}
    assert {name for name in listed if name.endswith(".yaml")} == present
    found = [identity(each) for each in objects_of(folder)]
    assert len(set(found)) == len(found)
    for patch in body.get("patches", ()):
        assert identity(loaded(folder / patch["path"])) in found
    if shutil.which("kubectl"):
        ran = subprocess.run(
            ["kubectl", "kustomize", str(folder)], capture_output=True, text=True, check=True
        )
        rendered = [each for each in yaml.safe_load_all(ran.stdout) if each]
        assert sorted(map(identity, rendered)) == sorted(found)


def test_what_the_pods_name_is_there() -> None:
    """Settings, volumes and accounts that a pod refers to are objects of the base."""
    there = {identity(body) for body in objects_of(PACKAGING / "base")}
    for kind, name in (("Deployment", "conch"), ("Job", "conch-migrations")):
        pod = named(kind, name)["spec"]["template"]["spec"]
        (container,) = pod["containers"]
        for source in container["envFrom"]:
            assert ("ConfigMap", "conch", source["configMapRef"]["name"]) in there
        mounts = {mount["name"] for mount in container["volumeMounts"]}
        assert mounts == {volume["name"] for volume in pod["volumes"]}
        for volume in pod["volumes"]:
            if "configMap" in volume:
                assert ("ConfigMap", "conch", volume["configMap"]["name"]) in there
            if "persistentVolumeClaim" in volume:
                claim = volume["persistentVolumeClaim"]["claimName"]
                assert ("PersistentVolumeClaim", "conch", claim) in there
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    role = named("RoleBinding", "conch")
    (subject,) = role["subjects"]
    assert ("ServiceAccount", subject["namespace"], subject["name"]) in there


@pytest.mark.parametrize("patched", [False, True], ids=["base", "example"])
def test_the_settings_are_settings(patched: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every variable names a setting with a possible value; the profile states a whole site."""
    stated = dict(named("ConfigMap", "conch-settings")["data"])
    if patched:
        stated |= loaded(PACKAGING / "overlays" / "example" / "settings.yaml")["data"]
    for name, value in stated.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("CONCH_DATABASE_URL", "postgresql+psycopg://conch:x@postgres/conch")
    settings = read_settings()
    for name in stated:
        field: Any = Settings
        for part in name.removeprefix("CONCH_").lower().split("__"):
            assert part in field.model_fields, name
            field = field.model_fields[part].annotation
    assert settings.home == Path("/var/lib/conch")
    assert settings.api.host == "0.0.0.0"
    site = read_site(named("ConfigMap", "conch-profile")["data"]["profile.yaml"])
    assert refusals(site.profile) == ()
    assert site.namespace == named("Role", "conch")["metadata"]["namespace"]


@pytest.mark.real
def test_the_objects_are_taken_by_an_api_server(apiserver: ApiServer) -> None:
    """Applied as they are, and nothing that they state is dropped."""
    bodies = [*objects_of(PACKAGING / "base"), *objects_of(PACKAGING / "storage-container")]
    for body in sorted(bodies, key=lambda each: each["kind"] != "Namespace"):
        place = PLACES[body["kind"]].format(namespace=body["metadata"].get("namespace"))
        assert_kept(body, apiserver.apply(f"{place}/{body['metadata']['name']}", body))


def assert_kept(wanted: Any, found: Any, path: str = "") -> None:
    """Assert that all that is wanted was found; quantities are written in several ways."""
    if isinstance(wanted, dict):
        for name, value in wanted.items():
            if f"{path}.{name}" == LATER:
                continue
            assert name in found, f"{path}.{name}"
            assert_kept(value, found[name], f"{path}.{name}")
    elif isinstance(wanted, list):
        assert len(wanted) == len(found), path
        for index, pair in enumerate(zip(wanted, found, strict=True)):
            assert_kept(*pair, f"{path}[{index}]")
    else:
        assert str(wanted) == str(found), path


@pytest.mark.real
def test_the_control_plane_serves_on_the_cluster_of_its_profile(
    kubeconfigs: Callable[..., Path], namespace: str, tmp_path: Path
) -> None:
    """With `kserve.profile` the target is that cluster, and this process acts there."""
    text = named("ConfigMap", "conch-profile")["data"]["profile.yaml"]
    profile = tmp_path / "profile.yaml"
    profile.write_text(text.replace("namespace: models", f"namespace: {namespace}"))
    stated = KServeSettings(profile=profile, kubeconfig=kubeconfigs())
    with surroundings(read_settings(home=tmp_path, kserve=stated)) as around:
        state = around.target.observe()
    assert [server.slot for server in state.servers] == ["a", "b"]
    assert (state.gateway_ready, dict(state.routes)) == (True, {})


@pytest.mark.real
def test_a_control_plane_for_a_cluster_is_what_its_profile_states(
    kubeconfigs: Callable[..., Path], namespace: str, tmp_path: Path
) -> None:
    """Payload events are counted, builds run as Jobs, and nothing is compared in a shadow."""
    text = named("ConfigMap", "conch-profile")["data"]["profile.yaml"]
    text = text.replace("namespace: models", f"namespace: {namespace}")
    text += "payloads: {url: 'http://conch.conch:8090', token: 0123456789abcdef}\n"
    text += "builds: {image: 'conch:1', namespace: conch, claim: conch-home}\n"
    (tmp_path / "profile.yaml").write_text(text)
    stated = KServeSettings(profile=tmp_path / "profile.yaml", kubeconfig=kubeconfigs())
    settings = read_settings(
        home=tmp_path / "home", kserve=stated, capture=CaptureSettings(enabled=True)
    )
    with surroundings(settings) as around:
        plane, workbench = assemble(settings, around)
        assert plane.intake is not None
        assert plane.intake.source.token == "0123456789abcdef"
        assert "HTTPRoute" in plane.intake.source.counted
        assert plane.intake.source.routes() == {}
        assert plane.intake.source.arm_of("nobody", "nobody-predictor-1-2") is None
        assert isinstance(around.workshop, JobWorkshop)
        assert workbench is None
        with pytest.raises(ConchError, match="shadow"):
            plane.plans.plan("canary", changes={"shadow": True}, tags={})
        plane.database.close()


def test_a_database_is_migrated(tmp_path: Path) -> None:
    """The job's command makes every table; again it does nothing."""
    path = tmp_path / "conch.db"
    for _ in range(2):
        ran = subprocess.run(
            [sys.executable, "-P", "-m", "conch.control.migrating"],
            env={
                "PATH": "/usr/bin:/bin",
                "CONCH_HOME": str(tmp_path),
                "CONCH_DATABASE_URL": f"sqlite:///{path}",
            },
            capture_output=True,
            text=True,
            check=False,
        )
        assert ran.returncode == 0, ran.stderr
    with sqlite3.connect(path) as database:
        tables = {name for (name,) in database.execute("select name from sqlite_master")}
    assert {"alembic_version", "models", "builds", "releases"} <= tables, json.dumps(sorted(tables))
