"""Emitted manifests on a real API server, under the definitions of every KServe version."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import replace
from typing import Any

import pytest
from kserve_profiles import CANARY, KNATIVE, LOGGED, ON_CPU, ONE, STANDARD, TWO
from kube_apiserver import NEWEST, ApiServer
from kube_clients import Connect

from conch.kserve import (
    Autoscaler,
    Environment,
    KServeVersion,
    Monitoring,
    Networking,
    Profile,
    Storage,
    Workload,
    manifests,
    refusals,
)
from conch.kserve.applying import Update, carry_out, decide, observe

pytestmark = [pytest.mark.real, pytest.mark.timeout(900)]
SEEN = Monitoring(prometheus_url="http://p:9090", labels={"release": "p"})
EVERYWHERE = Storage(
    schemes=frozenset({"s3", "pvc", "oci", "conch"}),
    conch_image="conch:1",
    conch_url="http://conch.conch:8090",
)


@pytest.fixture(scope="module")
def versioned(apiserver: ApiServer) -> Iterator[ApiServer]:
    """The server whose KServe is replaced by other versions, and put back in the end."""
    yield apiserver
    apiserver.install(NEWEST)


def emitted(version: KServeVersion) -> Iterator[tuple[Profile, Workload]]:
    """Yield what differs in the objects that it makes, for a version."""
    bases = (
        KNATIVE,
        replace(
            KNATIVE,
            monitoring=SEEN,
            knative_features=frozenset({"tolerations"}),
            payloads=LOGGED,
        ),
        STANDARD,
        replace(STANDARD, autoscaler=Autoscaler.HPA, payloads=LOGGED),
        replace(STANDARD, autoscaler=Autoscaler.NONE, environment=Environment.DEV),
        replace(STANDARD, networking=Networking.INGRESS, gateway=None),
        replace(CANARY, payloads=LOGGED),
    )
    conch = tuple(replace(each, storage_uri="conch://digits/1/x") for each in ONE.slots)
    for base in bases:
        profile = replace(base, version=version, storage=EVERYWHERE)
        for workload in (ONE, TWO, ON_CPU, replace(ONE, slots=conch)):
            if not refusals(profile) and not refusals(profile, workload):
                yield profile, workload


@pytest.mark.parametrize("version", list(KServeVersion))
def test_what_is_emitted_applies(
    version: KServeVersion, versioned: ApiServer, connect: Connect, namespace: str
) -> None:
    """Dry run and real: everything is taken, word for word, and a second apply finds no change.

    `policy/v1` is not served by 1.20; its objects are applied as `policy/v1beta1`, which has the
    same fields.
    """
    versioned.install(version)
    pairs = list(emitted(version))
    assert len(pairs) >= 8

    async def story() -> None:
        async with connect() as cluster:
            for number, (profile, workload) in enumerate(pairs):
                named = replace(workload, name=f"w{number}", namespace=namespace)
                bodies = list(manifests(profile, named).values())
                for body in [body for body in bodies if body["apiVersion"] == "policy/v1"]:
                    bodies.remove(body)
                    assert_kept(body["spec"], apply_as_beta(versioned, body)["spec"])
                for body in bodies:
                    answer = await cluster.apply(body, dry_run=True, force=True)
                    assert_kept(body, answer)
                for body in bodies:
                    assert_kept(body, await cluster.apply(body, force=True))

    asyncio.run(story())


def apply_as_beta(server: ApiServer, body: dict[str, Any]) -> dict[str, Any]:
    """Apply a disruption budget in the API version that the server knows."""
    meta = body["metadata"]
    folder = f"/apis/policy/v1beta1/namespaces/{meta['namespace']}/poddisruptionbudgets"
    return server.apply(f"{folder}/{meta['name']}", {**body, "apiVersion": "policy/v1beta1"})


def assert_kept(wanted: Any, found: Any, path: str = "") -> None:
    """Assert that nothing stated was dropped or changed: a server prunes what it does not know."""
    if isinstance(wanted, dict):
        for name, value in wanted.items():
            assert name in found, f"{path}.{name} was dropped"
            assert_kept(value, found[name], f"{path}.{name}")
    elif isinstance(wanted, list):
        assert len(wanted) == len(found), path
        for index, (one, other) in enumerate(zip(wanted, found, strict=True)):
            assert_kept(one, other, f"{path}[{index}]")
    else:
        assert wanted == found, path


def test_a_workload_is_applied_seen_drifted_and_pruned(
    connect: Connect, apiserver: ApiServer, namespace: str
) -> None:
    """Applied once there is nothing to do; a person's edit is shown and not overwritten; what is
    no longer meant goes; what others made stays, even under conch's labels."""
    profile = replace(STANDARD, environment=Environment.DEV, version=NEWEST)
    workload = replace(ON_CPU, namespace=namespace)

    async def story() -> None:
        async with connect() as cluster, connect(manager="kubectl-edit") as person:

            async def plan(bodies: list[dict[str, Any]]) -> Any:
                found = await observe(
                    cluster, workload="digits", namespace=namespace, intended=bodies
                )
                return decide(bodies, found)

            bodies = list(manifests(profile, workload).values())
            first = await plan(bodies)
            assert len(first.writes) == len(bodies)
            await carry_out(cluster, first, dry_run=True)
            assert (await plan(bodies)).kept == 0
            await carry_out(cluster, first)
            assert (await plan(bodies)).empty

            route = next(body for body in bodies if body["kind"] == "HTTPRoute")
            edited = deepcopy(route)
            edited["spec"]["rules"][2]["backendRefs"][0]["weight"] = 5000
            await person.apply(edited, force=True)
            drift = await plan(bodies)
            (change,) = drift.writes
            assert isinstance(change, Update)
            assert any(
                "kubectl-edit" in str(each) or "5000" in str(each) for each in change.changes
            )
            with pytest.raises(Exception, match="kubectl-edit"):
                await carry_out(cluster, drift)
            await carry_out(cluster, drift, force=True)
            assert (await plan(bodies)).empty

            copied = deepcopy(next(b for b in bodies if b["kind"] == "ServiceAccount"))
            copied["metadata"]["name"] = "copied-by-hand"
            await person.apply(copied)
            less = [body for body in bodies if body["kind"] != "PrometheusRule"]
            gone = await plan(less)
            assert [each.key.kind for each in gone.removals] == ["PrometheusRule"]
            await carry_out(cluster, gone)
            nothing = await plan([])
            assert {each.key.name for each in nothing.removals}.isdisjoint({"copied-by-hand"})
            await carry_out(cluster, nothing)
            assert (await plan([])).empty

    asyncio.run(story())
