"""Builds as Jobs on a cluster, such as on nodes with a GPU: the Workshop where a profile says so.

Each build has a folder on a volume that the control plane and the Job share, and the Job sees that
folder and nothing else of it. A control plane that starts again finds the Job by the build's id and
goes on following it.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from conch.core import ConchError, Profile
from conch.kserve import Builds
from conch.kserve.cluster import Cluster, ClusterError
from conch.kserve.cluster.resources import CLAIM, Key
from conch.kserve.jobs import (
    ClusterJob,
    JobCancelledError,
    JobChangedError,
    JobDeadlineError,
    JobFailedError,
    JobMemoryError,
    JobNeverRanError,
    JobUnstartableError,
    Owner,
    Volume,
    run_job,
)
from conch.kserve.jobs.running import GONE_S, remove
from conch.model_repo_builder import (
    BuildCancelledError,
    BuildRequest,
    Manifest,
    MemoryLimitError,
    TimeLimitError,
    WorkerCrashedError,
    answered,
    pack,
    receive,
)

from .jobs import LeaseLostError

log = logging.getLogger(__name__)

FOLDER: Final = ".jobs"
_MOUNT: Final = "/work"
_TMP: Final = "/tmp"  # in the container


class BuilderUnavailableError(ConchError):
    """No Job could be run on the cluster for a build; the version is not to blame."""

    code = "builder-unavailable"
    retryable = True


@dataclass(frozen=True, slots=True, kw_only=True)
class JobWorkshop:
    """The `Workshop` protocol by Jobs; safe to use from several threads.

    Attributes:
        connect: Makes a client of the cluster, within an event loop.
        builds: What Jobs get, as the profile states it.
        folder: The control plane's folder of builds, on the claim under the same name.
        gpu_resource: As what the cluster offers GPUs.
        node_labels: What nodes of the stated GPU have.
        device: What is built for: a GPU where Jobs and servers both have one.
    """

    connect: Callable[[], Cluster]
    builds: Builds
    folder: Path
    gpu_resource: str = "nvidia.com/gpu"
    node_labels: tuple[tuple[str, str], ...] = ()
    device: Profile = Profile.CPU

    def build(
        self,
        request: BuildRequest,
        *,
        progress: Callable[[float, str], None],
        cancelled: Callable[[], bool],
    ) -> Manifest:
        """Build and verify in a Job.

        Raises:
            BuildError: Why there is no build, as where builds run in this process' own workers.
            BuilderUnavailableError: The cluster ran no Job for it.
        """
        request = replace(request, profile=self.device)
        place = self.folder / FOLDER / request.build_id
        digest = pack(request, place)
        try:
            if not answered(place):
                self._run(request, digest, progress, cancelled)
            if not answered(place):
                raise WorkerCrashedError(
                    f"The Job that built {request.registered_name!r} ended without an answer.",
                    hint="`kubectl logs` of its pod may tell more.",
                )
            made = receive(place, request)
        except LeaseLostError:
            raise  # another process has the build, and goes on with this Job and folder
        except BaseException:
            shutil.rmtree(place, ignore_errors=True)
            raise
        shutil.rmtree(place, ignore_errors=True)
        return made

    def _run(
        self,
        request: BuildRequest,
        digest: str,
        progress: Callable[[float, str], None],
        cancelled: Callable[[], bool],
    ) -> None:
        name = request.registered_name
        try:
            asyncio.run(self._job(request, digest, progress, cancelled))
        except JobCancelledError as error:
            raise BuildCancelledError(f"The build of {name!r} was cancelled.") from error
        except JobMemoryError as error:
            raise MemoryLimitError(
                f"The build of {name!r} was ended for its memory: the Job has "
                f"{self.builds.resources.memory}.",
                hint="Raise `builds.resources.memory` in the profile.",
            ) from error
        except JobDeadlineError as error:
            raise TimeLimitError(
                f"The build of {name!r} took too long: {error.message}",
                hint="Raise the time limit, or `builds.wait_s` where it waited long for a node.",
            ) from error
        except (JobUnstartableError, JobNeverRanError, JobChangedError, ClusterError) as error:
            raise BuilderUnavailableError(
                f"No Job could build {name!r}: {error.message}", hint=error.hint
            ) from error
        except JobFailedError as error:
            raise WorkerCrashedError(
                f"The Job that built {name!r} failed: {error.message}", hint=error.hint
            ) from error

    async def _job(
        self,
        request: BuildRequest,
        digest: str,
        progress: Callable[[float, str], None],
        cancelled: Callable[[], bool],
    ) -> None:
        told = (0.0, "asking for a Job")

        def tell(part: float, words: str) -> None:
            nonlocal told
            told = (part, words)
            progress(part, words)

        def line(text: str) -> None:
            with contextlib.suppress(ValueError, KeyError, TypeError):
                part, words = json.loads(text)["progress"]
                tell(float(part), str(words))

        def stopped() -> bool:
            if cancelled():
                progress(*told)  # raises what it is: cancelled, or another process has the build
                return True
            return False

        cluster = self.connect()
        try:
            job = self._stated(request, digest, await self._owner(cluster))
            try:
                await run_job(
                    cluster,
                    job,
                    line=line,
                    waits=lambda words: tell(0.0, words),
                    cancelled=stopped,
                )
            except LeaseLostError:
                raise
            except BaseException:
                await self._remove(cluster, job, gone_s=GONE_S)  # it may still be at work
                raise
            await self._remove(cluster, job)
        finally:
            close = getattr(cluster, "close", None)
            if close is not None:
                await close()

    async def _remove(self, cluster: Cluster, job: ClusterJob, *, gone_s: float = 0.0) -> None:
        """Delete a Job; where that fails it goes by itself after a while."""
        try:
            await remove(cluster, job, gone_s=gone_s)
        except ClusterError as error:
            log.warning("job %s stays for now: %s", job.name, error)

    def _stated(self, request: BuildRequest, digest: str, owner: Owner) -> ClusterJob:
        builds = self.builds
        return ClusterJob(
            name=f"conch-build-{request.build_id}"[:63].rstrip("-"),
            namespace=builds.namespace,
            image=builds.image,
            command=("python3", "-m", "conch.model_repo_builder.once", _MOUNT),
            env={"CONCH_REQUEST": digest, "HOME": _TMP, "PYTHONUNBUFFERED": "1"},
            resources=builds.resources,
            gpu_resource=self.gpu_resource,
            node_labels=dict(self.node_labels),
            volumes=(
                Volume(
                    claim=builds.claim,
                    path=_MOUNT,
                    folder=f"{builds.claim_folder}/{FOLDER}/{request.build_id}".lstrip("/"),
                ),
            ),
            deadline_s=round(request.limits.time_s) + builds.wait_s,
            account=builds.account,
            owner=owner,
        )

    async def _owner(self, cluster: Cluster) -> Owner:
        """Return the claim: whoever deletes it deletes what works on it."""
        body = await cluster.get(
            Key(
                api_version=CLAIM.api_version,
                kind=CLAIM.kind,
                namespace=self.builds.namespace,
                name=self.builds.claim,
            )
        )
        return Owner(
            api_version=CLAIM.api_version,
            kind=CLAIM.kind,
            name=self.builds.claim,
            uid=str(body["metadata"]["uid"]),
        )
