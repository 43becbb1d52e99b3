"""What should run on this machine and be loaded: the file that the supervisor follows.

Whoever brings the platform up writes settings and services; the target writes what each slot
should hold. The supervisor only reads it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from conch.core import BuildRef, Ordinal, SlotName, TritonName

from .atomic_files import locked, read_json, write_json
from .errors import SupervisorMissingError
from .homes import Home
from .runtime import Runtime
from .settings import LocalSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class DesiredLoad:
    """A build that a slot's servers should hold.

    Attributes:
        model: The model on the wire.
        ordinal: Its version directory.
        build_id: Identity of the build.
        path: The published build's folder.
    """

    model: TritonName
    ordinal: Ordinal
    build_id: str
    path: Path

    @classmethod
    def of(cls, build: BuildRef) -> DesiredLoad:
        """Return what is needed of a build in order to load it again later."""
        return cls(
            model=build.model, ordinal=build.ordinal, build_id=build.build_id, path=build.path
        )

    def as_dict(self) -> dict[str, Any]:
        """Return a JSON-compatible form; `from_dict` reads it back."""
        return {
            "model": self.model,
            "ordinal": self.ordinal,
            "build_id": self.build_id,
            "path": str(self.path),
        }

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> DesiredLoad:
        """Read what `as_dict` wrote."""
        return cls(
            model=TritonName(value["model"]),
            ordinal=Ordinal(value["ordinal"]),
            build_id=value["build_id"],
            path=Path(value["path"]),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceSpec:
    """A further process under supervision, such as the control plane or an MLflow server.

    Attributes:
        name: Its name, unique; letters, digits and dashes.
        argv: Program and arguments.
        environment: Variables on top of the supervisor's own.
        directory: Working directory; None: the supervisor's.
        ready_url: `http://host:port/path` that answers below 400 once it is ready.
        ready_port: Loopback TCP port that accepts once it is ready; used without `ready_url`.
            With neither, a running process counts as ready.
        start_timeout_s: How long it may take to become ready; None: as the settings say.
    """

    name: str
    argv: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    directory: Path | None = None
    ready_url: str | None = None
    ready_port: int | None = None
    start_timeout_s: float | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return a JSON-compatible form; `from_dict` reads it back."""
        return {
            "name": self.name,
            "argv": list(self.argv),
            "environment": dict(self.environment),
            "directory": None if self.directory is None else str(self.directory),
            "ready_url": self.ready_url,
            "ready_port": self.ready_port,
            "start_timeout_s": self.start_timeout_s,
        }

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> ServiceSpec:
        """Read what `as_dict` wrote."""
        directory = value["directory"]
        return cls(
            name=value["name"],
            argv=tuple(value["argv"]),
            environment=dict(value["environment"]),
            directory=None if directory is None else Path(directory),
            ready_url=value["ready_url"],
            ready_port=value["ready_port"],
            start_timeout_s=value["start_timeout_s"],
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadInProgress:
    """The build that is being loaded into a server; what a crash of that process is blamed on."""

    load: DesiredLoad
    pid: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LatestLoad:
    """The build that a slot took last, whether or not it still holds it.

    Attributes:
        load: The build.
        at: When, in seconds since the epoch.
    """

    load: DesiredLoad
    at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Desired:
    """What the supervisor should bring about.

    Attributes:
        settings: Of the local target; `slots` says how many servers each slot has.
        runtime: The programs.
        services: Further processes.
        loads: By slot, what its servers hold; at most one version of a model.
        loading: By slot, the load that is under way.
        latest: By slot, the build that it took last; what a crash soon after is blamed on.
        pardoned: Builds whose crashes are forgotten, on a person's word.
    """

    settings: LocalSettings
    runtime: Runtime
    services: tuple[ServiceSpec, ...] = ()
    loads: Mapping[SlotName, tuple[DesiredLoad, ...]] = field(default_factory=dict)
    loading: Mapping[SlotName, LoadInProgress] = field(default_factory=dict)
    latest: Mapping[SlotName, LatestLoad] = field(default_factory=dict)
    pardoned: tuple[str, ...] = ()

    def load_of(self, slot: SlotName, model: TritonName) -> DesiredLoad | None:
        """Return what a slot should hold of a model."""
        return next((load for load in self.loads.get(slot, ()) if load.model == model), None)

    def with_load(self, slot: SlotName, load: DesiredLoad, *, at: float) -> Desired:
        """Return it with a build, taken at a moment, in the place of the model's previous one."""
        kept = tuple(one for one in self.loads.get(slot, ()) if one.model != load.model)
        return replace(
            self,
            loads={**self.loads, slot: (*kept, load)},
            latest={**self.latest, slot: LatestLoad(load=load, at=at)},
        )

    def without_load(self, slot: SlotName, model: TritonName) -> Desired:
        """Return it without a model in a slot."""
        kept = tuple(one for one in self.loads.get(slot, ()) if one.model != model)
        return replace(self, loads={**self.loads, slot: kept})

    def with_loading(self, slot: SlotName, progress: LoadInProgress | None) -> Desired:
        """Return it with the load that is under way in a slot, or none."""
        others = {name: one for name, one in self.loading.items() if name != slot}
        return replace(self, loading=others if progress is None else {**others, slot: progress})

    def with_replicas(self, slot: SlotName, replicas: int) -> Desired:
        """Return it with another number of servers in a slot."""
        slots = {**self.settings.slots, slot: replicas}
        return replace(self, settings=replace(self.settings, slots=slots))

    def as_dict(self) -> dict[str, Any]:
        """Return a JSON-compatible form; `from_dict` reads it back."""
        return {
            "settings": self.settings.as_dict(),
            "runtime": {
                "root": str(self.runtime.root),
                "library_directory": str(self.runtime.library_directory),
            },
            "services": [service.as_dict() for service in self.services],
            "loads": {
                slot: [load.as_dict() for load in loads] for slot, loads in self.loads.items()
            },
            "loading": {
                slot: {"load": one.load.as_dict(), "pid": one.pid}
                for slot, one in self.loading.items()
            },
            "latest": {
                slot: {"load": one.load.as_dict(), "at": one.at}
                for slot, one in self.latest.items()
            },
            "pardoned": list(self.pardoned),
        }

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> Desired:
        """Read what `as_dict` wrote."""
        runtime = value["runtime"]
        return cls(
            settings=LocalSettings.from_dict(value["settings"]),
            runtime=Runtime(
                root=Path(runtime["root"]), library_directory=Path(runtime["library_directory"])
            ),
            services=tuple(ServiceSpec.from_dict(item) for item in value["services"]),
            loads={
                SlotName(slot): tuple(DesiredLoad.from_dict(load) for load in loads)
                for slot, loads in value["loads"].items()
            },
            loading={
                SlotName(slot): LoadInProgress(
                    load=DesiredLoad.from_dict(one["load"]), pid=one["pid"]
                )
                for slot, one in value["loading"].items()
            },
            latest={
                SlotName(slot): LatestLoad(load=DesiredLoad.from_dict(one["load"]), at=one["at"])
                for slot, one in value.get("latest", {}).items()  # older files have none
            },
            pardoned=tuple(value["pardoned"]),
        )


class DesiredFile:
    """The desired state of one home on disk; changed under a lock, replaced as a whole."""

    def __init__(self, home: Home) -> None:
        self._path = home.desired
        self._lock = home.root / "desired.lock"

    def read(self) -> Desired | None:
        """Return the desired state; None before anything was desired."""
        value = read_json(self._path)
        return None if value is None else Desired.from_dict(value)

    def require(self) -> Desired:
        """Return the desired state.

        Raises:
            SupervisorMissingError: Nothing was ever desired in this home.
        """
        if (desired := self.read()) is None:
            raise SupervisorMissingError(
                f"Nothing was set up in {self._path.parent}.", hint="Run 'conch up'."
            )
        return desired

    def change(self, change: Callable[[Desired], Desired]) -> Desired:
        """Replace the desired state by what a function makes of it, and return that."""
        with locked(self._lock):
            before = self.require()
            after = change(before)
            if after != before:
                write_json(self._path, after.as_dict(), durable=True)
            return after

    def set_up(
        self, *, settings: LocalSettings, runtime: Runtime, services: tuple[ServiceSpec, ...]
    ) -> Desired:
        """Write settings, runtime and services; what should be loaded is kept."""
        with locked(self._lock):
            before = self.read() or Desired(settings=settings, runtime=runtime)
            after = replace(before, settings=settings, runtime=runtime, services=services)
            write_json(self._path, after.as_dict(), durable=True)
            return after
