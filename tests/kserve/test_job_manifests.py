"""Jobs as values: the manifest as a person has read it, and who runs builds for which device."""

from __future__ import annotations

from pathlib import Path

import pytest

from conch.control.clusters import workshop_of
from conch.core import Profile as Device
from conch.kserve import ProfileError, Resources, read_site
from conch.kserve.cluster import Connection
from conch.kserve.jobs import ClusterJob, Owner, Volume, job_manifest
from conch.kserve.manifests.rendering import as_yaml

FILE = """\
name: main
environment: staging
kserve: {version: "0.19", mode: standard}
network: {kind: gateway-api, gateway: {name: g, namespace: g, domain: models.example.org}}
autoscaler: none
gpus: [{name: NVIDIA-L4}]
"""
GOLDEN = Path(__file__).parent / "golden" / "job" / "job.yaml"
JOB = ClusterJob(
    name="conch-build-7f9c1d52",
    namespace="conch",
    image="registry.example.org/conch:0.1.0",
    command=("python3", "-m", "conch.model_repo_builder.once", "/work"),
    env={"HOME": "/tmp", "CONCH_REQUEST": "ab" * 32},
    resources=Resources(cpu="4", memory="16Gi", gpus=1, gpu_product="NVIDIA-L4"),
    node_labels={"nvidia.com/gpu.product": "NVIDIA-L4"},
    volumes=(Volume(claim="conch-home", path="/work", folder="builds/.jobs/7f9c1d52"),),
    deadline_s=2400,
    account="builder",
    owner=Owner(api_version="v1", kind="PersistentVolumeClaim", name="conch-home", uid="u-1"),
)


def test_the_reviewed_text() -> None:
    """Everything that a Job can state, in full."""
    assert as_yaml(job_manifest(JOB)) == GOLDEN.read_text()


@pytest.mark.parametrize(
    "wrong", [{"name": "Upper"}, {"name": "x" * 64}, {"image": ""}, {"command": ()}]
)
def test_what_is_no_job(wrong: dict[str, object]) -> None:
    """It is refused before anything is asked of a cluster."""
    given: dict[str, object] = {
        "name": "job",
        "namespace": "conch",
        "image": "i:1",
        "command": ("true",),
    }
    with pytest.raises(ProfileError):
        ClusterJob(**(given | wrong))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("jobs", "servers", "device"),
    [("1", "1", Device.GPU), ("1", "0", Device.CPU), ("0", "1", Device.CPU)],
)
def test_builds_are_for_a_gpu_where_both_have_one(
    jobs: str, servers: str, device: Device, tmp_path: Path
) -> None:
    """A Job without one could not measure it, and servers without one could not load it."""
    gpu = ", gpu_product: NVIDIA-L4"
    text = (
        f"{FILE}serve:\n  namespace: models\n  uri: s3://models\n"
        f"  resources: {{gpus: {servers}{gpu if servers == '1' else ''}}}\n"
        f"builds:\n  image: i:1\n  namespace: conch\n  claim: conch-home\n"
        f"  resources: {{gpus: {jobs}{gpu if jobs == '1' else ''}}}\n"
    )
    workshop = workshop_of(read_site(text), Connection(), tmp_path)
    assert workshop is not None
    assert workshop.device is device
    labels = (("nvidia.com/gpu.product", "NVIDIA-L4"),) if jobs == "1" else ()
    assert workshop.node_labels == labels
