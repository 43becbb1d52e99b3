"""What the supervisor does next: a pure function of what is desired, what is, and the time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from .desired import Desired, DesiredLoad
from .instances import Instance, Kind, Phase, Seen

CRASHES_UNTIL_QUARANTINE: Final = 2
PROBATION_S: Final = 600.0
"""How long after its load a build is suspected when a server of its slot crashes."""
_FIRST_DELAY_S: Final = 0.5
_LONGEST_DELAY_S: Final = 30.0
_STEADY_S: Final = 60.0
_HUNG_S: Final = 60.0
_KILL_GRACE_S: Final = 5.0
_REFUSAL_RETRY_S: Final = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """Start an instance's process."""

    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class End:
    """Signal an instance's process: SIGTERM, or SIGKILL to all that it started."""

    name: str
    kill: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Sweep:
    """End what a dead instance left behind: its children, its shared memory."""

    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Assert:
    """Ask a server to hold `loads` and to let go of the models in `unloads`."""

    name: str
    loads: tuple[DesiredLoad, ...]
    unloads: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class DrainGateway:
    """Let the gateway finish its requests and take no new connection."""

    name: str


Effect = Start | End | Sweep | Assert | DrainGateway


@dataclass(frozen=True, slots=True, kw_only=True)
class Crashes:
    """How often a build was being loaded when its server crashed.

    Attributes:
        counts: By build.
        reasons: By quarantined build, why.
    """

    counts: Mapping[str, int]
    reasons: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What to do, and what every instance is afterwards.

    Attributes:
        instances: By name; an instance that is gone is left out.
        effects: In order.
        crashes: The new counts.
    """

    instances: Mapping[str, Instance]
    effects: tuple[Effect, ...]
    crashes: Crashes


def decide(
    *,
    desired: Desired,
    wanted: Mapping[str, Instance],
    instances: Mapping[str, Instance],
    seen: Mapping[str, Seen],
    crashes: Crashes,
    stopping: bool,
    now: float,
) -> Plan:
    """Return what to do next.

    Args:
        desired: The desired state.
        wanted: By name, the instances that should exist, fresh (see `commands.wanted`).
        instances: By name, those that exist.
        seen: By name, what was observed of each in this round.
        crashes: Counts so far.
        stopping: Whether everything should end: first the gateway, then the rest.
        now: Seconds since the epoch.
    """
    effects: list[Effect] = []
    after: dict[str, Instance] = {}
    counts = {build: n for build, n in crashes.counts.items() if build not in desired.pardoned}
    reasons = {build: why for build, why in crashes.reasons.items() if build in counts}
    gateway_there = any(one.kind is Kind.ENVOY for one in instances.values())
    for name, fresh in wanted.items():
        if name not in instances and not stopping:
            instances = {**instances, name: fresh}
    for name, instance in instances.items():
        spec = wanted.get(name)
        if stopping and (instance.kind is Kind.ENVOY or not gateway_there):
            spec = None
        what = seen.get(name, Seen())
        culprit, when = _blamed(instance, what, desired, now=now)
        if culprit is not None:
            build = culprit.build_id
            counts[build] = counts.get(build, 0) + 1
            if counts[build] >= CRASHES_UNTIL_QUARANTINE:
                reasons[build] = (
                    f"{name} crashed {counts[build]} times {when} this build: {what.exit}"
                )
        # Nobody sends to a server once the gateway has ended, and to services it does not matter.
        drained = stopping and not gateway_there
        drain_s = 0.0 if drained or instance.kind is Kind.SERVICE else desired.settings.drain_s
        step = _step(
            instance, spec, what, desired=desired, barred=reasons, drain_s=drain_s, now=now
        )
        if step.instance is not None:
            after[name] = step.instance
        effects += step.effects
    return Plan(
        instances=after, effects=tuple(effects), crashes=Crashes(counts=counts, reasons=reasons)
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Step:
    instance: Instance | None
    effects: tuple[Effect, ...] = ()


def _step(
    one: Instance,
    spec: Instance | None,
    seen: Seen,
    *,
    desired: Desired,
    barred: Mapping[str, str],
    drain_s: float,
    now: float,
) -> _Step:
    if spec is not None and spec.given != one.given:
        spec = None  # what runs makes way; the other one comes in the next round
    if one.given:
        return _given(one, spec, seen, desired=desired, barred=barred, now=now)
    keep = spec is not None and spec.command == one.command
    if one.phase is Phase.WAITING:
        if spec is None:
            return _Step(instance=None)
        if now < one.retry_at:
            return _Step(instance=replace(one, command=spec.command))
        started = replace(one, command=spec.command, phase=Phase.STARTING, since=now)
        return _Step(instance=started, effects=(Start(name=one.name),))
    if not seen.alive:
        return _ended(one, spec, seen, now=now)
    if one.phase is Phase.STOPPING:
        if now - one.since > desired.settings.exit_timeout_s + _KILL_GRACE_S:
            return _Step(instance=one, effects=(End(name=one.name, kill=True),))
        return _Step(instance=one)
    if one.phase is Phase.DRAINING:
        if seen.idle or now - one.since >= drain_s:
            leaving = replace(one, phase=Phase.STOPPING, since=now)
            return _Step(instance=leaving, effects=(End(name=one.name, kill=False),))
        return _Step(instance=one)
    if not keep:
        leaving = replace(one, phase=Phase.DRAINING, since=now)
        drain = (DrainGateway(name=one.name),) if one.kind is Kind.ENVOY else ()
        return _Step(instance=leaving, effects=drain)
    if one.phase is Phase.STARTING:
        return _starting(one, seen, desired=desired, barred=barred, now=now)
    return _running(one, seen, desired=desired, barred=barred, now=now)


def _given(
    one: Instance,
    spec: Instance | None,
    seen: Seen,
    *,
    desired: Desired,
    barred: Mapping[str, str],
    now: float,
) -> _Step:
    """Return what follows for a server that somebody else runs: it is asked and told, no more.

    It gets traffic once it was examined and holds what it should. One that does not answer may have
    been started again meanwhile, and then holds nothing; so was one that lost what it held.
    """
    if spec is None or spec.command != one.command:
        return _Step(instance=None)
    if one.phase is Phase.WAITING:
        return _Step(instance=replace(one, phase=Phase.STARTING, since=now))
    if one.phase is not Phase.STARTING:
        if seen.ready is not False and not seen.emptied:
            return _running(one, seen, desired=desired, barred=barred, now=now)
        why = "It was started again." if seen.emptied else "It does not answer."
        away = replace(one, phase=Phase.STARTING, since=now, last_exit=why)
        return _Step(instance=replace(away, asserted={}, refused={}, restarts=one.restarts + 1))
    if seen.ready:
        known = replace(one, backends=seen.backends or one.backends, last_exit="")
        return _starting(known, seen, desired=desired, barred=barred, now=now)
    return _Step(instance=replace(one, last_exit=seen.exit or one.last_exit))


def _crashed(one: Instance, seen: Seen) -> bool:
    return (
        one.phase in (Phase.STARTING, Phase.LOADING, Phase.READY)
        and one.pid is not None
        and not seen.alive
    )


def _blamed(
    one: Instance, seen: Seen, desired: Desired, *, now: float
) -> tuple[DesiredLoad | None, str]:
    """Return the build that a crash is blamed on, and when it came.

    A server that crashes while it loads a build crashes over that. One that crashes by itself
    while it serves is taken to crash over what its slot took last, if that was not long ago.
    """
    if not _crashed(one, seen):
        return None, ""
    if seen.culprit is not None:
        return seen.culprit, "while it loaded"
    latest = None if one.slot is None else desired.latest.get(one.slot)
    if seen.fault and latest is not None and now - latest.at <= PROBATION_S:
        return latest.load, "soon after it took"
    return None, ""


def _ended(one: Instance, spec: Instance | None, seen: Seen, *, now: float) -> _Step:
    """Return what follows the end of a process, whether it was told to or not."""
    sweep = (Sweep(name=one.name),)
    if spec is None:
        return _Step(instance=None, effects=sweep)
    told = one.phase in (Phase.DRAINING, Phase.STOPPING)
    steady = one.phase is Phase.READY and now - one.since >= _STEADY_S
    failures = 0 if told else 1 if steady else one.failures + 1
    delay = 0.0 if failures <= 1 else min(_FIRST_DELAY_S * 2 ** (failures - 2), _LONGEST_DELAY_S)
    waiting = replace(
        one,
        command=spec.command,
        phase=Phase.WAITING,
        since=now,
        pid=None,
        started="",
        restarts=one.restarts + (not told),
        failures=failures,
        retry_at=now + delay,
        unready_since=None,
        last_exit="stopped" if told else seen.exit,
        asserted={},
        refused={},
    )
    return _Step(instance=waiting, effects=sweep)


def _starting(
    one: Instance, seen: Seen, *, desired: Desired, barred: Mapping[str, str], now: float
) -> _Step:
    if seen.ready:
        if one.kind is not Kind.TRITON:
            return _Step(instance=replace(one, phase=Phase.READY, since=now))
        loading = replace(one, phase=Phase.LOADING, since=now)
        order = _assertion(loading, desired=desired, barred=barred, now=now)
        if order is None:
            return _Step(instance=replace(loading, phase=Phase.READY))
        return _Step(instance=loading, effects=(order,))
    if now - one.since > _start_timeout(one, desired):
        return _Step(instance=one, effects=(End(name=one.name, kill=True),))
    return _Step(instance=one)


def _running(
    one: Instance, seen: Seen, *, desired: Desired, barred: Mapping[str, str], now: float
) -> _Step:
    if seen.assertion is not None:
        asserted = {**one.asserted, **seen.assertion.asserted}
        held = {model: n for model, n in asserted.items() if n > 0}
        one = replace(one, asserted=held, refused=seen.assertion.refused)
    if seen.ready is False and one.phase is Phase.READY:
        since = one.unready_since if one.unready_since is not None else now
        one = replace(one, unready_since=since)
        if now - since > _HUNG_S:
            return _Step(instance=one, effects=(End(name=one.name, kill=True),))
    elif seen.ready:
        one = replace(one, unready_since=None)
    if one.kind is Kind.TRITON and not seen.asserting:
        order = _assertion(one, desired=desired, barred=barred, now=now)
        if order is not None:
            return _Step(instance=one, effects=(order,))
        if one.phase is Phase.LOADING:
            one = replace(one, phase=Phase.READY, since=now)
    return _Step(instance=one)


def _assertion(
    one: Instance, *, desired: Desired, barred: Mapping[str, str], now: float
) -> Assert | None:
    """Return what a server still has to load or to let go; None where it holds what it should."""
    assert one.slot is not None
    due = []
    for load in desired.loads.get(one.slot, ()):
        if one.asserted.get(load.model) == load.ordinal or load.build_id in barred:
            continue
        refusal = one.refused.get(load.model)
        fresh = refusal is not None and now - refusal.at < _REFUSAL_RETRY_S
        if refusal is not None and refusal.ordinal == load.ordinal and fresh:
            continue
        due.append(load)
    named = {load.model for load in desired.loads.get(one.slot, ())}
    gone = tuple(sorted(model for model in one.asserted if model not in named))
    if not due and not gone:
        return None
    return Assert(name=one.name, loads=tuple(due), unloads=gone)


def _start_timeout(one: Instance, desired: Desired) -> float:
    for service in desired.services:
        if service.name == one.name and service.start_timeout_s is not None:
            return service.start_timeout_s
    return desired.settings.start_timeout_s
