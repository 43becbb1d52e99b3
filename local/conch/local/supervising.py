"""The supervisor: keeps Triton servers, Envoy and further services running on one machine.

`python -m conch.local.supervising --home H` follows `desired.json` and writes `observed.json`.
It may be killed at any moment: what it started goes on, and the next supervisor of this home takes
it over by process number, start time and the mark in its environment.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import math
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from conch.core import ConchError, SlotName

from . import commands
from .atomic_files import try_lock
from .deciding import Assert, DrainGateway, Effect, End, Plan, Start, Sweep, decide
from .deciding import Crashes as CrashCounts
from .desired import DesiredFile
from .envoy import Endpoint, EnvoyAdmin
from .errors import SupervisorRunningError
from .gateways import Gateway
from .homes import Home
from .identities import Identity, identify
from .instances import Instance, Phase
from .log_rotating import rotate
from .observed import Observed, read_observed, write_observed
from .observing import Observer, identity_of
from .ports import allocate
from .processes import Processes, clear_shared_memory
from .repositories import tidy
from .settings import LocalSettings

_BUSY_TICK_S: Final = 0.05
_IDLE_TICK_S: Final = 0.25
_ROTATE_PERIOD_S: Final = 5.0
_AFTER_FAILURE_S: Final = 1.0
_LONGEST_STOP_S: Final = 30.0

log = logging.getLogger(__name__)


class Supervisor:
    """The supervisor of one home; observes, decides, applies, until it is told to stop.

    Args:
        home: The home, whose lock the caller holds.
        clock: Seconds since the epoch.
    """

    def __init__(self, home: Home, *, clock: Callable[[], float] = time.time) -> None:
        self._home = home
        self._clock = clock
        self._file = DesiredFile(home)
        self._desired = self._file.require()
        self._desired_stamp: tuple[int, int, int] | None = None
        self._processes = Processes(home.root)
        self._observer = Observer(home=home, processes=self._processes, clock=clock)
        self._gateway = Gateway(home)
        self._instances: dict[str, Instance] = {}
        self._crashes = CrashCounts(counts={}, reasons={})
        self._port: int | None = None
        self._configured: LocalSettings | None = None
        self._written: dict[str, Any] | None = None
        self._rotated = 0.0
        self._stopping = False
        self._stop_by = math.inf
        self._wake = asyncio.Event()

    def stop(self) -> None:
        """Drain and end everything, then return from `run`."""
        self._stopping = True
        self._stop_by = self._clock() + _LONGEST_STOP_S
        self._wake.set()

    def hint(self) -> None:
        """Look again at once: a child ended."""
        self._wake.set()

    async def run(self) -> None:
        """Take over what runs, then keep it as desired until told to stop; then end it."""
        self._adopt()
        while True:
            try:
                plan = await self._round()
            except Exception:  # a full disk, say: what runs must stay watched
                log.exception("a round failed; the next one follows")
                if self._beyond_hope():
                    log.error("ending everything at once")
                    self._processes.sweep(lambda name, pid: True)
                    break
                await asyncio.sleep(_AFTER_FAILURE_S)
                continue
            if self._stopping and not plan.instances:
                break
            await self._pause(plan)

    def _beyond_hope(self) -> bool:
        """Tell whether rounds cannot succeed again: the home was removed, or stopping fails."""
        return not self._home.root.exists() or self._clock() > self._stop_by

    async def _round(self) -> Plan:
        self._read_desired()
        self._configure_gateway()
        wanted = commands.wanted(self._desired, self._home)
        seen = await self._observer.look(self._instances, self._desired)
        plan = decide(
            desired=self._desired,
            wanted=wanted,
            instances=self._instances,
            seen=seen,
            crashes=self._crashes,
            stopping=self._stopping,
            now=self._clock(),
        )
        self._log_changes(plan)
        self._instances, self._crashes = dict(plan.instances), plan.crashes
        # Servers leave the gateway's lists before anything is done to them.
        self._publish_endpoints()
        for effect in plan.effects:
            await self._apply(effect)
        await self._rotate_logs()
        self._write()
        return plan

    async def _rotate_logs(self) -> None:
        now, settings = self._clock(), self._desired.settings
        if now - self._rotated < _ROTATE_PERIOD_S:
            return
        self._rotated = now
        try:
            await asyncio.to_thread(
                rotate,
                self._home,
                limit_bytes=settings.log_bytes,
                files=settings.log_files,
                reopen=EnvoyAdmin(self._home.envoy).reopen_logs,
            )
        except (OSError, ConchError) as error:
            log.warning("cannot rotate logs: %s", error)

    def _adopt(self) -> None:
        """Take over what the previous supervisor of this home left; end what it did not record."""
        before = read_observed(self._home)
        if before is not None:
            self._crashes, self._port = before.crashes, before.inference_port
            for name, instance in before.instances.items():
                phase = Phase.STARTING if instance.phase is Phase.LOADING else instance.phase
                identity = identity_of(instance)
                if identity is None and phase is not Phase.WAITING:
                    continue
                alive = identity is not None and self._processes.exit_reason(identity) is None
                if alive:
                    log.info("took over %s (pid %s)", name, instance.pid)
                changed = {**instance.as_dict(), "phase": phase}
                self._instances[name] = Instance.from_dict(changed)
        known = {one.name for one in self._instances.values() if self._alive(one)}
        if ended := self._processes.sweep(lambda name, pid: name not in known):
            log.warning("ended processes that nobody watched: %s", ended)
        for slot in self._desired.settings.slots:
            self._home.create_slot(SlotName(slot))
            lock = try_lock(self._home.slot_lock(SlotName(slot)))
            if lock is not None:  # nobody is loading: what is left in staging is from a crash
                tidy(self._home, SlotName(slot))
                os.close(lock)

    def _read_desired(self) -> None:
        status = self._home.desired.stat()
        stamp = (status.st_mtime_ns, status.st_ino, status.st_size)
        if stamp == self._desired_stamp:
            return
        self._desired_stamp = stamp
        desired = self._file.read()
        if desired is not None:
            self._desired = desired
            for slot in desired.settings.slots:
                self._home.create_slot(SlotName(slot))

    def _configure_gateway(self) -> None:
        settings = self._desired.settings
        if self._configured == settings:
            return
        self._port = settings.inference_port or self._any_port()
        self._publish_endpoints()
        self._gateway.write_configuration(settings, port=self._port)
        self._configured = settings

    def _any_port(self) -> int:
        """Return the port that the gateway has or had, or a free one where that is taken."""
        gateway = self._instances.get(commands.ENVOY)
        if self._port is not None and gateway is not None and self._alive(gateway):
            return self._port
        kept = {} if self._port is None else {"inference": self._port}
        return self._allocate(("inference",), kept)["inference"]

    def _publish_endpoints(self) -> None:
        nobody: dict[SlotName, list[Endpoint]] = {
            SlotName(slot): [] for slot in self._desired.settings.slots
        }
        self._gateway.write_endpoints(nobody | self._observed().in_service())

    async def _apply(self, effect: Effect) -> None:
        one = self._instances.get(effect.name)
        match effect:
            case Start():
                assert one is not None
                self._instances[effect.name] = self._start(one)
            case Sweep():
                self._observer.forget(effect.name)
                await asyncio.to_thread(self._processes.kill, effect.name, None)
                prefix = commands.shared_memory_prefix(self._home, effect.name)
                clear_shared_memory(prefix)
            case End(kill=kill):
                identity = None if one is None else identity_of(one)
                if kill:
                    await asyncio.to_thread(self._processes.kill, effect.name, identity)
                elif identity is not None:
                    self._processes.terminate(identity)
            case DrainGateway():
                await asyncio.to_thread(self._drain_gateway)
            case Assert():
                assert one is not None
                self._observer.begin(effect, one, self._desired)

    def _start(self, one: Instance) -> Instance:
        command = commands.command_of(one, self._desired, self._home)
        ports = self._allocate(command.ports, one.ports) if command.ports else {}
        argv = [word.format(**ports) if ports else word for word in command.argv]
        changed = {**one.as_dict(), "ports": ports}
        try:
            identity = self._processes.spawn(
                one.name,
                argv,
                environment=command.full_environment,
                directory=command.directory,
                log=self._home.logs / f"{one.name}.log",
            )
        except OSError as error:
            log.error("cannot start %s: %s", one.name, error)
            reason = f"cannot be started: {error}"
            waiting = {"phase": Phase.WAITING, "pid": None, "last_exit": reason}
            later = {"failures": one.failures + 1, "retry_at": self._clock() + 5.0}
            return Instance.from_dict({**changed, **waiting, **later})
        log.info("started %s (pid %s)", one.name, identity.pid)
        return Instance.from_dict({**changed, "pid": identity.pid, "started": identity.started})

    def _allocate(self, names: tuple[str, ...], kept: Any) -> dict[str, int]:
        mine = set(kept.values())
        taken = {port for one in self._instances.values() for port in one.ports.values()} - mine
        if self._port is not None and self._port not in mine:
            taken.add(self._port)
        return allocate(names, kept=kept, taken=taken, home=self._home.root)

    def _drain_gateway(self) -> None:
        try:
            EnvoyAdmin(self._home.envoy).post("/drain_listeners?graceful&skip_exit")
        except ConchError as error:
            log.warning("cannot drain the gateway: %s", error)

    def _alive(self, one: Instance) -> bool:
        identity = identity_of(one)
        return identity is not None and self._processes.exit_reason(identity) is None

    def _write(self) -> None:
        observed = self._observed()
        value = observed.as_dict()
        if value != self._written:
            write_observed(self._home, observed)
            self._written = value

    def _observed(self) -> Observed:
        return Observed(
            supervisor=_ourselves(),
            instances=self._instances,
            crashes=self._crashes,
            inference_port=self._port,
        )

    async def _pause(self, plan: Plan) -> None:
        steady = all(one.phase in (Phase.READY, Phase.WAITING) for one in plan.instances.values())
        busy = not steady or self._observer.busy or bool(plan.effects)
        tick = _BUSY_TICK_S if busy else _IDLE_TICK_S
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(tick):
                await self._wake.wait()
        self._wake.clear()

    def _log_changes(self, plan: Plan) -> None:
        for name in {*plan.instances, *self._instances}:
            before, after = self._instances.get(name), plan.instances.get(name)
            if after is None:
                log.info("%s is gone", name)
            elif before is None or before.phase is not after.phase:
                exit_ = f": {after.last_exit}" if after.phase is Phase.WAITING else ""
                log.info("%s is %s%s", name, after.phase.value, exit_)
        for build in plan.crashes.reasons.keys() - self._crashes.reasons.keys():
            log.error("build %s is quarantined: %s", build, plan.crashes.reasons[build])


def _ourselves() -> Identity:
    identity = identify(os.getpid())
    assert identity is not None, "this process runs"
    return identity


async def supervise(home: Home) -> None:
    """Run the supervisor of a home, whose lock the caller holds, until SIGTERM or SIGINT."""
    supervisor = Supervisor(home)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, supervisor.stop)
    loop.add_signal_handler(signal.SIGCHLD, supervisor.hint)
    await supervisor.run()


def main(argv: list[str] | None = None) -> int:
    """Run the supervisor of a home until SIGTERM or SIGINT; the exit status is 0 then.

    Raises:
        SupervisorRunningError: Another one runs for this home.
    """
    parser = argparse.ArgumentParser(prog="conch.local.supervising", description=__doc__)
    parser.add_argument("--home", type=Path, required=True, help="folder of the local target")
    home = Home(parser.parse_args(argv).home.resolve())
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    home.create()
    if (handle := try_lock(home.lock)) is None:
        raise SupervisorRunningError(f"Another supervisor runs for {home.root}.")
    try:
        asyncio.run(supervise(home))
    finally:
        os.close(handle)
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except ConchError as error:
        sys.stderr.write(f"{error.code}: {error}\n")
        sys.exit(1)
