"""Jobs on a cluster: asked for once, followed, their log read, cancelled, and failures told apart.

The API server is real; what makes and runs pods is a stand-in that really runs their commands.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from kube_apiserver import ApiServer
from kube_clients import Connect
from kube_jobs_standin import Fault, JobsStandIn, claim, running_jobs

from conch.control.cluster_building import BuilderUnavailableError, JobWorkshop
from conch.control.jobs import CancelledError
from conch.core import Ordinal, TritonName
from conch.kserve import Builds, Resources
from conch.kserve.cluster import KubernetesCluster, PermissionMissingError
from conch.kserve.cluster.resources import JOB, POD
from conch.kserve.jobs import (
    ClusterJob,
    JobCancelledError,
    JobChangedError,
    JobDeadlineError,
    JobFailedError,
    JobLostError,
    JobMemoryError,
    JobNeverRanError,
    JobUnstartableError,
    Volume,
    job_manifest,
    run_job,
)
from conch.kserve.jobs.running import remove, submit
from conch.model_repo_builder import (
    BuildCancelledError,
    BuildError,
    BuildRequest,
    Limits,
    MemoryLimitError,
    UnknownFlavourError,
    check_digest,
)

pytestmark = [pytest.mark.real, pytest.mark.timeout(300)]
GREETING = ("python", "-c", "print('one', flush=True); print('two')")


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """The claim's folder."""
    (tmp_path / "claim" / "builds").mkdir(parents=True)
    return tmp_path / "claim"


@pytest.fixture
def standin(
    connect: Connect, apiserver: ApiServer, namespace: str, tmp_path: Path, home: Path
) -> Iterator[JobsStandIn]:
    """What runs Jobs; `conch-home` is the one claim."""
    claim(apiserver, namespace)
    with running_jobs(connect, apiserver, namespace, tmp_path, {"conch-home": home}) as it:
        yield it


def job(namespace: str, **given: Any) -> ClusterJob:
    """Return a Job that greets."""
    stated: dict[str, Any] = {
        "name": "greeting",
        "image": "conch:1",
        "command": GREETING,
        "deadline_s": 60,
    }
    return ClusterJob(namespace=namespace, **(stated | given))


def within(connect: Connect, work: Callable[[KubernetesCluster], Coroutine[Any, Any, Any]]) -> Any:
    """Run a story with a client of its own."""

    async def story() -> Any:
        async with connect() as cluster:
            return await work(cluster)

    return asyncio.run(story())


def test_a_job_runs_once_and_each_line_of_its_log_comes_once(
    standin: JobsStandIn, connect: Connect, namespace: str
) -> None:
    """Asked for again, it is not run again; the log is read all the same."""
    for _ in range(2):
        lines: list[str] = []
        within(connect, lambda cluster: run_job(cluster, job(namespace), line=lines.append))  # noqa: B023
        assert lines == ["one", "two"]
    assert standin.started == ["greeting"]


def test_another_job_of_the_same_name_is_refused(
    standin: JobsStandIn, connect: Connect, namespace: str
) -> None:
    """A Job cannot be changed, and what runs may be somebody's."""
    within(connect, lambda cluster: run_job(cluster, job(namespace)))
    other = job(namespace, env={"A": "another"})
    with pytest.raises(JobChangedError, match="greeting"):
        within(connect, lambda cluster: run_job(cluster, other))
    within(connect, lambda cluster: remove(cluster, other))
    within(connect, lambda cluster: run_job(cluster, other))


def test_a_job_of_somebody_else_is_neither_run_nor_deleted(
    standin: JobsStandIn, connect: Connect, apiserver: ApiServer, namespace: str
) -> None:
    """Its name alone does not make it conch's."""
    theirs = job_manifest(job(namespace))
    del theirs["metadata"]["labels"]
    apiserver.apply(f"{JOB.path(namespace)}/greeting", theirs)
    with pytest.raises(JobChangedError, match="greeting"):
        within(connect, lambda cluster: run_job(cluster, job(namespace)))
    within(connect, lambda cluster: remove(cluster, job(namespace)))
    assert [one["metadata"]["name"] for one in objects(apiserver, JOB.path(namespace))] == [
        "greeting"
    ]


@pytest.mark.parametrize(
    ("fault", "given", "kind", "words"),
    [
        (None, {"command": ("python", "-c", "raise SystemExit(3)")}, JobFailedError, "code 3"),
        (Fault.OUT_OF_MEMORY, {}, JobMemoryError, "memory"),
        (Fault.EVICTED, {}, JobFailedError, "Evicted"),
        (Fault.IMAGE, {}, JobUnstartableError, "ImagePullBackOff"),
        (Fault.UNSCHEDULABLE, {"deadline_s": 1}, JobNeverRanError, "nvidia.com/gpu"),
        (
            None,
            {"deadline_s": 1, "command": ("python", "-c", "import time; time.sleep(60)")},
            JobDeadlineError,
            "deadline",
        ),
    ],
    ids=["exit-code", "memory", "evicted", "image", "no-node", "too-long"],
)
def test_why_it_failed(
    standin: JobsStandIn,
    connect: Connect,
    namespace: str,
    fault: Fault | None,
    given: dict[str, Any],
    kind: type[JobFailedError],
    words: str,
) -> None:
    """Each kind of failure is an error of its own; what is waited for is told meanwhile."""
    if fault is not None:
        standin.faults["greeting"] = fault
    waited: list[str] = []
    with pytest.raises(JobFailedError, match=words) as caught:
        within(
            connect,
            lambda cluster: run_job(cluster, job(namespace, **given), waits=waited.append),
        )
    assert type(caught.value) is kind
    assert fault is not Fault.UNSCHEDULABLE or any("nvidia.com/gpu" in one for one in waited)


def test_cancelling_ends_the_program(
    standin: JobsStandIn, connect: Connect, apiserver: ApiServer, namespace: str
) -> None:
    """Once it is said, the Job is gone, its pod too, and the program has ended."""
    lines: list[str] = []
    program = (
        "import signal, time\n"
        "def slowly(*_):\n    time.sleep(1)\n    raise SystemExit\n"
        "signal.signal(signal.SIGTERM, slowly)\n"
        "print('on', flush=True)\ntime.sleep(600)"
    )
    with pytest.raises(JobCancelledError):
        within(
            connect,
            lambda cluster: run_job(
                cluster,
                job(namespace, command=("python", "-c", program)),
                line=lines.append,
                cancelled=lambda: bool(lines),
            ),
        )
    for resource in (JOB, POD):
        assert objects(apiserver, resource.path(namespace)) == []


def test_a_job_that_somebody_deletes_is_lost(
    standin: JobsStandIn, connect: Connect, namespace: str
) -> None:
    """And said so, instead of waiting for ever."""
    lines: list[str] = []
    stated = job(
        namespace,
        command=("python", "-c", "import time; print('on', flush=True); time.sleep(600)"),
    )

    async def story(cluster: KubernetesCluster) -> None:
        following = asyncio.create_task(run_job(cluster, stated, line=lines.append))
        while not lines:
            await asyncio.sleep(0.02)
        await remove(cluster, stated)
        await following

    with pytest.raises(JobLostError):
        within(connect, story)


def test_what_is_asked_for(connect: Connect, apiserver: ApiServer, namespace: str) -> None:
    """The API server takes every field, nothing is dropped, and nothing runs as root."""
    stated = job(
        namespace,
        resources=Resources(cpu="4", memory="16Gi", gpus=1, shared_memory="1Gi"),
        node_labels={"nvidia.com/gpu.product": "NVIDIA-L4"},
        volumes=(Volume(claim="conch-home", path="/work", folder="builds/x"),),
        account="builder",
    )
    within(connect, lambda cluster: submit(cluster, stated))
    (body,) = objects(apiserver, JOB.path(namespace))
    pod = body["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert body["spec"]["backoffLimit"] == 0
    assert pod["nodeSelector"] == {"nvidia.com/gpu.product": "NVIDIA-L4"}
    assert pod["tolerations"][0]["key"] == "nvidia.com/gpu"
    assert container["resources"]["limits"]["nvidia.com/gpu"] == "1"
    assert container["resources"]["limits"] == container["resources"]["requests"]
    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["serviceAccountName"] == "builder"
    assert {"name": "claim-0", "mountPath": "/work", "subPath": "builds/x"} in container[
        "volumeMounts"
    ]


def test_what_may_not_be_done_is_named(
    standin: JobsStandIn, connect: Connect, namespace: str
) -> None:
    """With the YAML that allows it."""

    async def story() -> None:
        async with connect("conch-token") as cluster:
            await run_job(cluster, job(namespace))

    with pytest.raises(PermissionMissingError, match="jobs") as caught:
        asyncio.run(story())
    assert "batch" in str(caught.value.details["grant"])


# --- builds


@pytest.fixture
def workshop(standin: JobsStandIn, connect: Connect, namespace: str, home: Path) -> JobWorkshop:
    """A workshop whose Jobs the stand-in runs."""
    return JobWorkshop(
        connect=connect,
        builds=Builds(
            image="conch:1",
            claim="conch-home",
            namespace=namespace,
            resources=Resources(),
            wait_s=0,
        ),
        folder=home / "builds",
    )


def request(home: Path, model: Path) -> BuildRequest:
    """Return the request of a build whose files are on the claim."""
    return BuildRequest(
        build_id="7f9c1d52-5f7e-4a3e-b0b2-7f3b8f7c2a11",
        registered_name="scaling",
        model=TritonName("scaling"),
        ordinal=Ordinal(1),
        source=model,
        output=home / "builds" / "scaling" / "1",
        limits=Limits(time_s=60),
    )


def test_a_build_runs_in_a_job(
    workshop: JobWorkshop, standin: JobsStandIn, apiserver: ApiServer, home: Path, scaling: Path
) -> None:
    """It is verified and published as anywhere; its Job belongs to the claim and is gone after."""
    told: list[tuple[float, str]] = []
    owners: list[Any] = []

    def progress(part: float, words: str) -> None:
        told.append((part, words))
        for body in objects(apiserver, JOB.path(workshop.builds.namespace)):
            owners.extend(body["metadata"]["ownerReferences"])

    manifest = workshop.build(request(home, scaling), progress=progress, cancelled=lambda: False)
    assert manifest.path == home / "builds" / "scaling" / "1"
    check_digest(manifest.path)
    assert max(part for part, _ in told) > 0.5
    assert {owner["name"] for owner in owners} == {"conch-home"}
    assert objects(apiserver, JOB.path(workshop.builds.namespace)) == []
    assert list((home / "builds" / ".jobs").iterdir()) == []


def test_a_refused_build_is_refused_in_the_same_words(
    workshop: JobWorkshop, home: Path, tmp_path: Path
) -> None:
    """A refusal is an answer of the Job, not its failure."""
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "MLmodel").write_text("flavors: {nothing: {}}\n")
    with pytest.raises(BuildError) as caught:
        workshop.build(
            request(home, tmp_path / "empty"),
            progress=lambda part, words: None,
            cancelled=lambda: False,
        )
    assert isinstance(caught.value, UnknownFlavourError)


def test_a_control_plane_that_starts_again_follows_the_job_that_runs(
    workshop: JobWorkshop, standin: JobsStandIn, home: Path, scaling: Path
) -> None:
    """The first one vanishes while the Job runs; the second asks for the same and gets its answer.

    What it fetched anew does not disturb the one at work.
    """

    class Vanished(BaseException):
        """The process ended."""

    vanishing = replace(workshop)
    asked = request(home, scaling)
    seen = threading.Event()

    def first() -> None:
        from conch.control.jobs import LeaseLostError

        def progress(part: float, words: str) -> None:
            if standin.started:
                seen.set()
                raise LeaseLostError("Another process has it.")

        with pytest.raises(LeaseLostError):
            vanishing.build(asked, progress=progress, cancelled=lambda: bool(standin.started))

    first()
    assert seen.is_set()
    manifest = workshop.build(asked, progress=lambda part, words: None, cancelled=lambda: False)
    check_digest(manifest.path)
    assert len(standin.started) == 1


def test_what_ends_a_job_ends_the_build_in_its_own_words(
    workshop: JobWorkshop, standin: JobsStandIn, home: Path, scaling: Path
) -> None:
    """Memory is the build's limit; an image that is missing is not the version's fault."""
    asked = request(home, scaling)
    name = f"conch-build-{asked.build_id}"
    for fault, kind in (
        (Fault.OUT_OF_MEMORY, MemoryLimitError),
        (Fault.IMAGE, BuilderUnavailableError),
    ):
        standin.faults[name] = fault
        with pytest.raises(kind):
            workshop.build(asked, progress=lambda part, words: None, cancelled=lambda: False)
    del standin.faults[name]
    with pytest.raises(BuildCancelledError):
        workshop.build(
            asked, progress=lambda part, words: None, cancelled=lambda: bool(standin.started)
        )
    assert not asked.output.exists()


def test_a_build_that_is_cancelled_has_ended_once_that_is_said(
    workshop: JobWorkshop, standin: JobsStandIn, apiserver: ApiServer, home: Path, scaling: Path
) -> None:
    """A job's context says it through `progress`; nothing writes to the folder any more."""

    def progress(part: float, words: str) -> None:
        if part > 0:  # the Job's program said so: it is in the midst of its work
            raise CancelledError("A person asked for it.")

    with pytest.raises(CancelledError):
        workshop.build(request(home, scaling), progress=progress, cancelled=lambda: False)
    for resource in (JOB, POD):
        assert objects(apiserver, resource.path(workshop.builds.namespace)) == []
    assert list((home / "builds" / ".jobs").iterdir()) == []


def test_a_build_that_found_no_node_is_built_later(
    workshop: JobWorkshop, standin: JobsStandIn, home: Path, scaling: Path
) -> None:
    """That the GPUs were taken says nothing about the version; what it waited for is said."""
    asked = replace(request(home, scaling), limits=Limits(time_s=1))
    standin.faults[f"conch-build-{asked.build_id}"] = Fault.UNSCHEDULABLE
    with pytest.raises(BuilderUnavailableError, match=r"nvidia\.com/gpu") as caught:
        workshop.build(asked, progress=lambda part, words: None, cancelled=lambda: False)
    assert caught.value.retryable


def test_a_job_of_somebody_else_outlives_the_build_that_has_its_name(
    workshop: JobWorkshop, standin: JobsStandIn, apiserver: ApiServer, home: Path, scaling: Path
) -> None:
    """The build is told, and what it did not make it does not clear away."""
    asked = request(home, scaling)
    namespace, name = workshop.builds.namespace, f"conch-build-{asked.build_id}"
    theirs = job_manifest(job(namespace, name=name))
    del theirs["metadata"]["labels"]
    apiserver.apply(f"{JOB.path(namespace)}/{name}", theirs)
    with pytest.raises(BuilderUnavailableError, match="something else"):
        workshop.build(asked, progress=lambda part, words: None, cancelled=lambda: False)
    assert [one["metadata"]["name"] for one in objects(apiserver, JOB.path(namespace))] == [name]


@pytest.fixture
def scaling(tmp_path: Path) -> Path:
    """A registered ONNX model as it is downloaded."""
    from memory_platform import write_scaling
    from memory_registry import MemoryRegistry

    folder = tmp_path / "registry"
    folder.mkdir()
    write_scaling(tmp_path / "scaling.onnx", factor=2.0)
    registry = MemoryRegistry(folder)
    version = registry.register_path("scaling", tmp_path / "scaling.onnx")
    return registry.fetch(registry.version("scaling", version.number), tmp_path / "got").path


def objects(server: ApiServer, path: str) -> list[dict[str, Any]]:
    """Return the objects under a path."""
    with server.client() as client:
        found: list[dict[str, Any]] = client.get(path).json()["items"]
    return found
