"""The gateway's files: written by rename, acknowledged by Envoy.

The supervisor writes everything but the routing table; the target writes that, and what was
acknowledged last is kept in a form of its own, from which the table is written again after a
restart or a change of settings.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from conch.core import Arm, Mirror, Ordinal, SlotName, TrafficSplit, TritonName

from .atomic_files import locked, read_json, write_json
from .envoy import (
    Endpoint,
    EnvoyAdmin,
    bootstrap,
    cluster_name,
    clusters,
    endpoints,
    listeners,
    route_configuration,
    shadow_configuration,
)
from .errors import GatewayUnavailableError, RoutesRejectedError
from .homes import Home
from .settings import LocalSettings

_POLL_S: Final = 0.002
_LONGEST_POLL_S: Final = 0.05


class Gateway:
    """The gateway of one home.

    Args:
        home: The home.
        clock: Monotonic seconds.
        sleep: Waits for so many seconds.
    """

    def __init__(
        self,
        home: Home,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._home = home
        self._clock = clock
        self._sleep = sleep
        self._admin = EnvoyAdmin(home.envoy)

    def write_configuration(self, settings: LocalSettings, *, port: int) -> None:
        """Write everything that follows from settings, and the routing table in their terms."""
        folder, log = self._home.envoy, str(self._home.access_log)
        write_json(folder / "bootstrap.json", bootstrap())
        write_json(folder / "clusters.json", clusters(settings))
        write_json(folder / "listeners.json", listeners(settings, port=port, access_log=log))
        with locked(self._routes_lock):
            splits = self.acknowledged()
            write_json(folder / "shadow-routes.json", shadow_configuration(splits, settings))
            write_json(folder / "routes.json", route_configuration(splits, settings))

    def write_endpoints(self, in_service: Mapping[SlotName, Sequence[Endpoint]]) -> None:
        """Say which servers get traffic."""
        for name, document in endpoints(in_service).items():
            path = self._home.endpoints / f"{name}.json"
            if read_json(path) != document:
                write_json(path, document)

    def acknowledged(self) -> tuple[TrafficSplit, ...]:
        """Return the routing table that Envoy acknowledged last."""
        value = read_json(self._home.routes)
        return () if value is None else tuple(_split(item) for item in value["splits"])

    def live(self) -> bool:
        """Tell whether Envoy serves."""
        return self._admin.live()

    def serves(self, in_service: Mapping[SlotName, Sequence[Endpoint]]) -> bool:
        """Tell whether Envoy would send to all these servers: its own checks have passed."""
        try:
            healthy = self._admin.healthy_ports()
        except GatewayUnavailableError:
            return False
        for slot, servers in in_service.items():
            tried = [one for one in servers if one.on_trial]
            for trial, expected in ((False, servers), (True, tried)):
                over_http = healthy.get(cluster_name(slot, "http", trial=trial), set())
                over_grpc = healthy.get(cluster_name(slot, "grpc", trial=trial), set())
                for one in expected:
                    if one.http_port not in over_http or one.grpc_port not in over_grpc:
                        return False
        return True

    def apply(
        self, splits: Sequence[TrafficSplit], settings: LocalSettings, *, timeout_s: float
    ) -> None:
        """Put a whole routing table in force and wait until Envoy says so. Idempotent.

        When this fails the previous table is in force, here and after a restart.

        Raises:
            RoutesRejectedError: Envoy refused it.
            GatewayUnavailableError: Envoy does not answer, or did not say so in time.
        """
        path = self._home.envoy / "routes.json"
        document = route_configuration(splits, settings)
        version = document["version_info"]
        with locked(self._routes_lock):
            current, refused_before = self._admin.routes_version()
            if current != version:
                previous = read_json(path)
                # Copies need a place to go to before the first of them is made.
                shadows = shadow_configuration(splits, settings)
                write_json(self._home.envoy / "shadow-routes.json", shadows)
                write_json(path, document)
                try:
                    self._wait(version, refused_before, timeout_s=timeout_s)
                except BaseException:
                    if previous is not None:
                        write_json(path, previous)
                    raise
            value = {"version": version, "splits": [_as_dict(split) for split in splits]}
            write_json(self._home.routes, value, durable=True)

    def _wait(self, version: str, refused_before: int, *, timeout_s: float) -> None:
        deadline = self._clock() + timeout_s
        pause = _POLL_S
        while True:
            current, refused = self._admin.routes_version()
            if current == version:
                return
            if refused > refused_before:
                raise RoutesRejectedError(
                    f"The gateway refused the routing table {version}: {self._last_warning()}",
                    hint="The previous table is in force. The slots named must exist.",
                )
            if self._clock() >= deadline:
                raise GatewayUnavailableError(
                    f"The gateway did not acknowledge the routing table within {timeout_s} s.",
                    hint="The previous table is kept; try again.",
                )
            self._sleep(pause)
            pause = min(pause * 2, _LONGEST_POLL_S)

    def _last_warning(self) -> str:
        """Return Envoy's own words on what it refused last."""
        try:
            lines = (self._home.logs / "envoy.log").read_text(errors="replace").splitlines()
        except OSError:
            return "see envoy.log."
        words = [line for line in lines[-50:] if "[warning]" in line and "reject" in line.lower()]
        return words[-1].rpartition("] ")[2] if words else "see envoy.log."

    @property
    def _routes_lock(self) -> Path:
        return self._home.envoy / "routes.lock"


def _as_dict(split: TrafficSplit) -> dict[str, Any]:
    return {
        "model": split.model,
        "salt": split.salt,
        "release": split.release,
        "stage": split.stage,
        "captured": split.captured,
        "mirror": split.mirror and asdict(split.mirror),
        "arms": [
            {
                "slot": arm.slot,
                "ordinal": arm.ordinal,
                "build_id": arm.build_id,
                "weight": arm.weight,
                "baked": arm.baked,
            }
            for arm in split.arms
        ],
    }


def _split(value: Mapping[str, Any]) -> TrafficSplit:
    return TrafficSplit(
        model=TritonName(value["model"]),
        salt=value["salt"],
        release=value.get("release", ""),  # older files have neither
        stage=value.get("stage", 0),
        captured=value.get("captured", 0),
        mirror=_mirror(value.get("mirror")),
        arms=tuple(
            Arm(
                slot=SlotName(arm["slot"]),
                ordinal=Ordinal(arm["ordinal"]),
                build_id=arm["build_id"],
                weight=arm["weight"],
                baked=arm.get("baked", True),
            )
            for arm in value["arms"]
        ),
    )


def _mirror(value: Mapping[str, Any] | None) -> Mirror | None:
    return None if value is None else Mirror(**value)
