"""A whole control plane killed after a write to the cluster: the next one ends the release.

The database, the engine, the reconciler and the API server are real; controllers and servers are
the stand-in. `test_crash_points` kills the target alone, after every write; here the kill falls
into a release that the engine drives, so that rows and cluster have to agree again.
"""

from __future__ import annotations

import contextlib
import threading
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from kserve_clusters import Lab, lab
from kube_apiserver import ApiServer
from kube_clients import Connect
from memory_platform import MemoryPlatform, running_memory_platform
from memory_registry import MemoryRegistry
from mortal_clients import Mortal
from platform_fixtures import until

from conch.control.settings import ServingSettings
from conch.core import ConchError
from conch.kserve import Traffic

pytestmark = [
    pytest.mark.real,
    pytest.mark.timeout(300),
    # Threads of the killed control plane end by what kills it.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning"),
]
NAME = "digits"
PLAN: dict[str, Any] = {
    "steps": [5, 50],
    "step_minimum_s": 0,
    "bake_s": 0.2,
    "record_every_s": 0.1,
}
WRITES = (6, 11)
"""After which of its writes the control plane is killed; every story has more."""


@pytest.mark.parametrize("strategy", list(Traffic))
def test_the_next_control_plane_ends_what_was_begun(
    strategy: Traffic, connect: Connect, apiserver: ApiServer, namespace: str, tmp_path: Path
) -> None:
    """Wherever it fell: the candidate is promoted by its steps, and had nothing before them."""
    connection = connect()._connection
    for last in WRITES:
        folder = tmp_path / str(last)
        folder.mkdir()
        inside = apiserver.namespace(f"{namespace}-{last}")
        with lab(connect, inside, strategy, folder, seed=last) as it:
            registry = MemoryRegistry(folder)
            mortal = Mortal(connection, last=last)
            with started(it, registry, mortal) as platform:
                telling = threading.Thread(target=partial(told, platform), daemon=True)
                telling.start()
                while telling.is_alive() and mortal.writes <= last:
                    time.sleep(0.02)
                assert mortal.writes > last, "the story ended before the kill"
            telling.join(60)
            with started(it, registry, None) as platform:
                ended = tell(platform)
                assert ended["status"] == "promoted", (last, ended)
                two = str(platform.client.version(NAME, 2)["build_id"])
                until(partial(serves_alone, it, two))
            had = [shares.get(two, 0) for shares in it.standin.history]
            assert had == sorted(had), (last, had)
            assert set(had) <= {0, 5, 50, 95, 100}, (last, had)


def tell(platform: MemoryPlatform) -> dict[str, Any]:
    """Register two versions and release the second; what is there already is left as it is."""
    client = platform.client
    known = {one.number for one in platform.registry.snapshot().versions}
    if 1 not in known:
        platform.register(NAME, factor=2.0)
    client.sweep()
    if 2 not in known:  # else its release may have taken the first one's place already
        client.wait_live(NAME, 1, timeout_s=60)
        platform.register(NAME, factor=3.0)
    client.sweep()
    client.wait_verified(NAME, 2, timeout_s=60)
    if not client.releases(model=NAME, limit=1):
        client.start_release(NAME, 2, plan="canary", changes=PLAN)
    return client.wait_release_ended(NAME, timeout_s=90)


def told(platform: MemoryPlatform) -> None:
    """Tell it until the control plane is gone."""
    with contextlib.suppress(ConchError, RuntimeError):  # its client is closed under it
        tell(platform)


@contextlib.contextmanager
def started(it: Lab, registry: MemoryRegistry, mortal: Mortal | None) -> Any:
    """Run a control plane of the home, with a target of its own."""
    given = {} if mortal is None else {"connect": lambda: mortal}
    home = it.folder / "home"
    home.mkdir(exist_ok=True)
    serving = ServingSettings(load_timeout_s=10)
    with (
        it.new_target(**given) as target,
        running_memory_platform(home, on=target, registry=registry, serving=serving) as platform,
    ):
        yield platform


def serves_alone(it: Lab, build: str) -> bool:
    """Tell whether a build has all of the traffic now."""
    return {name: share for name, share in it.standin.history[-1].items() if share} == {build: 100}
