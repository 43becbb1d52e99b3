"""The client on a real API server: apply, read, list, watch, delete."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from kube_apiserver import ApiServer
from kube_clients import Connect
from kube_objects import config_map, service

from conch.kserve.cluster import (
    Change,
    FieldConflictError,
    Key,
    Mirror,
    ObjectChangedError,
    ObjectMissingError,
    WatchExpiredError,
)
from conch.kserve.cluster.resources import CONFIG_MAP, INFERENCE_SERVICE

pytestmark = pytest.mark.real


def test_an_apply_states_the_whole_object(connect: Connect, namespace: str) -> None:
    """A field that a later apply lacks is gone; the same apply again changes nothing."""

    async def story() -> None:
        async with connect() as cluster:
            first = await cluster.apply(service(namespace, minReplicas=2))
            assert first["spec"]["predictor"]["minReplicas"] == 2
            second = await cluster.apply(service(namespace))
            assert "minReplicas" not in second["spec"]["predictor"]
            third = await cluster.apply(service(namespace))
            versions = [each["metadata"]["resourceVersion"] for each in (second, third)]
            assert versions[0] == versions[1]

    asyncio.run(story())


def test_a_share_of_zero_is_a_share(connect: Connect, namespace: str) -> None:
    """`canaryTrafficPercent: 0` reaches the cluster as 0 and not as nothing."""

    async def story() -> None:
        async with connect() as cluster:
            body = await cluster.apply(service(namespace, canaryTrafficPercent=0))
            assert body["spec"]["predictor"]["canaryTrafficPercent"] == 0

    asyncio.run(story())


def test_a_dry_run_leaves_nothing(connect: Connect, namespace: str) -> None:
    """The server checks a dry run in full and keeps nothing of it; so does a dry deletion."""

    async def story() -> None:
        async with connect() as cluster:
            body = service(namespace)
            await cluster.apply(body, dry_run=True)
            with pytest.raises(ObjectMissingError):
                await cluster.get(Key.of(body))
            await cluster.apply(body)
            await cluster.delete(Key.of(body), dry_run=True)
            await cluster.get(Key.of(body))

    asyncio.run(story())


def test_a_conflict_names_the_field_and_its_owner(connect: Connect, namespace: str) -> None:
    """What a person set is not overwritten unless that is asked for."""

    async def story() -> None:
        async with connect() as cluster, connect(manager="kubectl-edit") as person:
            await cluster.apply(service(namespace, minReplicas=1))
            await person.apply(service(namespace, minReplicas=3), force=True)
            with pytest.raises(FieldConflictError) as caught:
                await cluster.apply(service(namespace, minReplicas=1))
            assert caught.value.details["conflicts"] == [
                {"manager": "kubectl-edit", "field": ".spec.predictor.minReplicas"}
            ]
            kept = await cluster.get(Key.of(service(namespace)))
            assert kept["spec"]["predictor"]["minReplicas"] == 3
            taken = await cluster.apply(service(namespace, minReplicas=1), force=True)
            assert taken["spec"]["predictor"]["minReplicas"] == 1

    asyncio.run(story())


def test_an_apply_to_a_stated_version_is_refused_later(connect: Connect, namespace: str) -> None:
    """With a resource version an apply is for what was read, and for nothing newer."""

    async def story() -> None:
        async with connect() as cluster:
            first = await cluster.apply(service(namespace, minReplicas=1))
            await cluster.apply(service(namespace, minReplicas=2))
            late = service(namespace, minReplicas=3)
            late["metadata"]["resourceVersion"] = first["metadata"]["resourceVersion"]
            with pytest.raises(ObjectChangedError):
                await cluster.apply(late)

    asyncio.run(story())


def test_a_list_is_complete_and_selects(connect: Connect, namespace: str) -> None:
    """Items carry their kind, and a selector leaves others out."""

    async def story() -> None:
        async with connect() as cluster:
            for name in ("one", "two"):
                await cluster.apply(config_map(namespace, name))
            await cluster.apply(
                {**config_map(namespace), "metadata": {"name": "other", "namespace": namespace}}
            )
            every = await cluster.list(CONFIG_MAP, namespace)
            own = await cluster.list(
                CONFIG_MAP, namespace, labels="app.kubernetes.io/managed-by=conch"
            )
            assert {item["metadata"]["name"] for item in every.items} == {"one", "two", "other"}
            assert {str(Key.of(item)) for item in own.items} == {
                f"ConfigMap {namespace}/one",
                f"ConfigMap {namespace}/two",
            }

    asyncio.run(story())


def test_a_deletion_is_of_the_object_that_was_meant(connect: Connect, namespace: str) -> None:
    """A namesake made since is left alone; deleting what is gone is fine."""

    async def story() -> None:
        async with connect() as cluster:
            body = config_map(namespace)
            old = await cluster.apply(body)
            await cluster.delete(Key.of(body))
            await cluster.delete(Key.of(body))
            await cluster.apply(body)
            with pytest.raises(ObjectChangedError):
                await cluster.delete(Key.of(body), uid=old["metadata"]["uid"])
            await cluster.get(Key.of(body))

    asyncio.run(story())


def test_status_and_spec_do_not_touch_each_other(connect: Connect, namespace: str) -> None:
    """A controller's status does not change the generation, an apply does not change the status."""

    async def story() -> None:
        async with connect() as cluster:
            body = service(namespace)
            before = await cluster.apply(body)
            told = await cluster.patch_status(Key.of(body), {"url": "http://digits"})
            assert told["metadata"]["generation"] == before["metadata"]["generation"]
            after = await cluster.apply(service(namespace, minReplicas=2))
            assert after["status"]["url"] == "http://digits"

    asyncio.run(story())


def test_a_watch_reports_what_happens(connect: Connect, namespace: str) -> None:
    """From a list on, nothing is missed: created, changed, deleted, in that order."""

    async def story() -> list[Change]:
        async with connect() as cluster:
            since = (await cluster.list(CONFIG_MAP, namespace)).resource_version
            body = config_map(namespace)
            await cluster.apply(body)
            await cluster.apply(config_map(namespace, x="1"))
            await cluster.delete(Key.of(body))
            seen = []
            async for event in cluster.watch(CONFIG_MAP, namespace, since=since, timeout_s=20):
                seen.append(event.change)
                if event.change is Change.DELETED:
                    break
            return seen

    assert asyncio.run(story()) == [Change.ADDED, Change.MODIFIED, Change.DELETED]


def test_a_watch_from_long_ago_is_refused(connect: Connect, namespace: str) -> None:
    """410: the server no longer knows what happened since, and says so."""

    async def story() -> None:
        async with connect() as cluster:
            with pytest.raises(WatchExpiredError):
                async for _ in cluster.watch(INFERENCE_SERVICE, namespace, since="1", timeout_s=20):
                    pass

    asyncio.run(story())


class Forgetful:
    """A cluster whose first watch begins too long ago, as one does after hours of silence."""

    def __init__(self, cluster: Any) -> None:
        self._cluster = cluster
        self.watches = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._cluster, name)

    def watch(self, *args: Any, since: str, **kwargs: Any) -> Any:
        self.watches += 1
        since = "1" if self.watches == 1 else since
        return self._cluster.watch(*args, since=since, **kwargs)


def test_a_mirror_lists_again_after_410_and_goes_on(connect: Connect, namespace: str) -> None:
    """A mirror that fell behind is complete again after one more list, and then follows."""

    async def story() -> None:
        async with connect() as cluster:
            mirror = Mirror(Forgetful(cluster), INFERENCE_SERVICE, namespace)
            running = asyncio.create_task(mirror.run())
            try:
                assert await mirror.until(lambda: mirror.lists == 2, timeout_s=60)
                body = service(namespace)
                await cluster.apply(body)
                assert await mirror.until(lambda: Key.of(body) in mirror.objects, timeout_s=60)
                assert "managedFields" not in mirror.objects[Key.of(body)]["metadata"]
                await cluster.delete(Key.of(body))
                assert await mirror.until(lambda: not mirror.objects, timeout_s=60)
                assert mirror.followed
                assert mirror.lists == 2
            finally:
                running.cancel()

    asyncio.run(story())


def test_the_kinds_are_served_where_they_are_stated(
    connect: Connect, apiserver: ApiServer, namespace: str
) -> None:
    """Every stated path exists on the server, but policy/v1, which 1.20 does not know."""
    from conch.kserve.cluster import KindMissingError
    from conch.kserve.cluster.resources import OWNED

    async def story() -> set[str]:
        missing = set()
        async with connect() as cluster:
            for resource in OWNED:
                try:
                    await cluster.list(resource, namespace if resource.namespaced else "")
                except KindMissingError:
                    missing.add(resource.api_version)
        return missing

    assert asyncio.run(story()) == {"policy/v1"}
