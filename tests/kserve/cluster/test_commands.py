"""`conch deploy`, `conch diff` and `conch cluster probe` on a real API server.

The builds are a real platform's; KServe's controllers are the stand-in.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from command_line import CommandLine
from kserve_clusters import playing
from kserve_profiles import SITE_FILE
from kube_apiserver import ApiServer
from kube_clients import Connect
from memory_platform import MemoryPlatform

from conch.control.cli import Exit

pytestmark = pytest.mark.real


@dataclass(frozen=True, slots=True, kw_only=True)
class Shell:
    """The command line with a platform, a profile and a cluster."""

    conch: CommandLine
    platform: MemoryPlatform
    profile: Path
    kubeconfig: Path
    namespace: str

    def words(self, command: str, *more: str) -> tuple[str, ...]:
        """Return a command that asks the cluster."""
        stated = ("--profile", str(self.profile), "--kubeconfig", str(self.kubeconfig))
        return (command, *more, *stated)


@pytest.fixture
def shell(
    memory_platform: MemoryPlatform,
    kubeconfigs: Callable[..., Path],
    namespace: str,
    tmp_path: Path,
) -> Shell:
    """A profile of the test's own namespace."""
    profile = tmp_path / "prod.yaml"
    profile.write_text(SITE_FILE.replace("NAMESPACE", namespace))
    return Shell(
        conch=CommandLine(home=memory_platform.folder),
        platform=memory_platform,
        profile=profile,
        kubeconfig=kubeconfigs(),
        namespace=namespace,
    )


@pytest.fixture
def controllers(connect: Connect, namespace: str) -> Iterator[None]:
    """The stand-in for KServe's controllers."""
    with playing(connect, namespace, seed=3):
        yield


def objects(apiserver: ApiServer, namespace: str) -> list[dict[str, Any]]:
    """Return the namespace's InferenceServices as they are on the cluster."""
    with apiserver.client() as client:
        path = f"/apis/serving.kserve.io/v1beta1/namespaces/{namespace}/inferenceservices"
        found: list[dict[str, Any]] = client.get(path).json()["items"]
        return found


def test_a_model_goes_to_the_cluster_and_back(
    shell: Shell, apiserver: ApiServer, controllers: None, tmp_path: Path
) -> None:
    """Tried, deployed, a second version beside it, moved, taken back; the difference is shown."""
    one = shell.platform.live("shipped")
    deploy = shell.words("deploy", "shipped")
    tried = shell.conch.json(*deploy, "--dry-run")
    assert any("InferenceService" in each for each in tried["plan"]["create"])
    assert objects(apiserver, shell.namespace) == []
    assert not (tmp_path / "builds").exists()

    said = shell.conch.run(*deploy, "--skip-preflight", "--output", "json")
    assert said.code == Exit.OK, said
    first = json.loads(said.out)
    assert first["plan"] == tried["plan"]
    assert first["shares"] == {first["build"]: 100.0}
    for word in ("create", "loading into slot a", "dividing the traffic: a 100 %"):
        assert word in said.err
    assert (tmp_path / "builds" / first["model"] / first["build"] / first["model"]).is_dir()
    assert shell.conch.run(*shell.words("diff")).code == Exit.OK

    two = shell.platform.verified("shipped", factor=3.0)
    beside = shell.conch.json(*deploy, "--version", str(two), "--skip-preflight")
    assert (beside["slot"], beside["shares"]) == ("b", {first["build"]: 100.0})
    moved = shell.conch.json(
        *deploy, "--version", str(two), "--skip-preflight", "--percent", "12.5"
    )
    assert moved["shares"] == {beside["build"]: 12.5, first["build"]: 87.5}
    assert moved["plan"]["create"] == []
    back = shell.conch.json(*deploy, "--version", str(one), "--skip-preflight", "--percent", "100")
    assert back["shares"] == {first["build"]: 100.0, beside["build"]: 0.0}


def test_what_a_person_changed_is_shown(
    shell: Shell, apiserver: ApiServer, controllers: None
) -> None:
    """`conch diff` ends with 1 and names the field and who set it; without it, with 0."""
    shell.platform.live("drifted")
    shell.conch.json(*shell.words("deploy", "drifted"), "--skip-preflight")
    (service,) = objects(apiserver, shell.namespace)
    path = f"/apis/serving.kserve.io/v1beta1/namespaces/{shell.namespace}/inferenceservices"
    with apiserver.client() as client:
        answer = client.patch(
            f"{path}/{service['metadata']['name']}",
            params={"fieldManager": "somebody"},
            headers={"content-type": "application/merge-patch+json"},
            content=json.dumps({"spec": {"predictor": {"minReplicas": 7}}}),
        )
    assert answer.is_success, answer.text
    said = shell.conch.run(*shell.words("diff", "drifted"))
    assert said.code == Exit.FAILED
    assert "spec.predictor.minReplicas: 7 -> 1  (set by somebody)" in said.out
    assert shell.conch.run(*shell.words("diff", "unheard-of")).code == Exit.FAILED
    said = shell.conch.run(*shell.words("deploy", "drifted"), "--skip-preflight")
    assert (said.code, "cluster-field-conflict" in said.err) == (Exit.FAILED, True)
    forced = shell.conch.run(*shell.words("deploy", "drifted"), "--skip-preflight", "--force")
    assert forced.code == Exit.OK, forced
    assert shell.conch.run(*shell.words("diff")).code == Exit.OK


def test_servers_that_do_not_answer_get_no_traffic(
    shell: Shell, apiserver: ApiServer, controllers: None
) -> None:
    """The golden rows are asked first; where nobody answers no route is written."""
    shell.platform.live("silent")
    said = shell.conch.run(*shell.words("deploy", "silent"))
    assert (said.code, "cluster-not-answering" in said.err) == (Exit.FAILED, True)
    with apiserver.client() as client:
        path = f"/apis/gateway.networking.k8s.io/v1/namespaces/{shell.namespace}/httproutes"
        assert client.get(path).json()["items"] == []


def test_servers_that_take_too_long_end_the_wait(shell: Shell) -> None:
    """Without a controller nothing gets ready: exit 4, and the same command may be given again."""
    shell.platform.live("slow to load")
    said = shell.conch.run(*shell.words("deploy", "slow to load"), "--timeout", "0.5")
    assert (said.code, "cluster-load-pending" in said.err) == (Exit.TIMED_OUT, True)


def test_a_share_without_anybody_for_the_rest_is_refused(shell: Shell, controllers: None) -> None:
    """The first version has all of the traffic, or none was divided."""
    shell.platform.live("alone")
    words = shell.words("deploy", "alone", "--skip-preflight", "--percent", "10")
    said = shell.conch.run(*words)
    assert (said.code, "has all of the traffic" in said.err) == (Exit.FAILED, True)


def test_a_cluster_that_is_not_there(shell: Shell, tmp_path: Path, unused_port: int) -> None:
    """Nobody at the address is exit 3; a file that says nothing is exit 1, with what to do."""
    text = shell.kubeconfig.read_text()
    config = json.loads(text)
    config["clusters"][0]["cluster"]["server"] = f"https://127.0.0.1:{unused_port}"
    away = tmp_path / "away.yaml"
    away.write_text(json.dumps(config))
    said = shell.conch.run("cluster", "probe", "--kubeconfig", str(away))
    assert (said.code, "cluster-unreachable" in said.err) == (Exit.NOT_RUNNING, True)
    shell.platform.live("nobody there")
    words = ("deploy", "nobody there", "--profile", str(shell.profile), "--kubeconfig", str(away))
    said = shell.conch.run(*words)
    assert (said.code, "cluster-unreachable" in said.err) == (Exit.NOT_RUNNING, True)
    missing = str(tmp_path / "missing.yaml")
    said = shell.conch.run("cluster", "probe", "--kubeconfig", missing)
    assert (said.code, "cluster-connection-invalid" in said.err) == (Exit.FAILED, True)


def test_what_is_not_allowed_is_named_with_what_grants_it(
    shell: Shell, kubeconfigs: Callable[..., Path]
) -> None:
    """Somebody without any right is told the first one that is missing, as YAML."""
    shell.platform.live("not allowed")
    stranger = ("--kubeconfig", str(kubeconfigs("stranger-token")), "--output", "json")
    for words in (("diff",), ("deploy", "not allowed"), ("deploy", "not allowed", "--dry-run")):
        said = shell.conch.run(*words, "--profile", str(shell.profile), *stranger)
        error = json.loads(said.out)["error"]
        assert (said.code, error["code"]) == (Exit.FAILED, "cluster-permission-missing")
        assert "kind: Role" in error["details"]["grant"]


def test_a_cluster_is_probed(shell: Shell, apiserver: ApiServer) -> None:
    """What is there is said with where it was seen; what cannot be seen, with the reason."""
    apiserver.namespace("kserve")
    apiserver.apply(
        "/api/v1/namespaces/kserve/configmaps/inferenceservice-config",
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": "inferenceservice-config", "namespace": "kserve"},
            "data": {
                "deploy": json.dumps({"defaultDeploymentMode": "RawDeployment"}),
                "ingress": json.dumps({"enableGatewayApi": True, "ingressDomain": "example.org"}),
            },
        },
    )
    words = ("cluster", "probe", "--kubeconfig", str(shell.kubeconfig))
    found = {each["name"]: each for each in shell.conch.json(*words)}
    assert found["kubernetes"]["value"].startswith("v")
    values = {name: found[name]["value"] for name in ("kserve", "kserve.mode", "network.kind")}
    assert values == {"kserve": "yes", "kserve.mode": "standard", "network.kind": "gateway-api"}
    assert found["kserve.version"]["value"] == ""
    assert "kserve-controller-manager" in found["kserve.version"]["source"]
    assert found["InferenceService (serving.kserve.io/v1beta1)"]["value"] == "yes"
    assert found["PodDisruptionBudget (policy/v1)"]["value"] == ""
    table = shell.conch.run(*words).out
    assert "gateway-api" in table
