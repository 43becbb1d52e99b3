"""A registry that loses what it had, and one that gets two things at once; MLflow for real."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from inflicting import ROWS, subject, watched
from whole_platform import Platform, fresh, perceptron, register

pytestmark = pytest.mark.real


def test_what_the_registry_forgets_is_never_undeployed(whole_platform: Platform) -> None:
    """A model deleted from MLflow goes on answering; it is shown as orphaned, also later on."""
    from mlflow.tracking import MlflowClient

    client = whole_platform.client
    it = subject(whole_platform, fresh("forgotten"), seed=21, baked=False)
    with watched(it.load()) as load:
        uri = whole_platform.settings.mlflow_uri
        MlflowClient(tracking_uri=uri, registry_uri=uri).delete_registered_model(it.model)
        for _ in range(2):
            client.sweep(wait=True)
        assert client.deployment(it.model)["status"] == "orphaned"
        assert client.deployment(it.model)["live_version"] == 1
    assert load.tally.failed == []
    assert load.tally.wrong == []


def test_of_two_registrations_of_one_name_at_once_neither_is_lost(whole_platform: Platform) -> None:
    """Both are known; one goes live, the newer is built, the older at the latest on a word.

    Which goes live is open: of two that one look finds the newer, and the older one where a webhook
    let a look come between them.
    """
    import mlflow
    from mlflow.tracking import MlflowClient

    client, name, before = whole_platform.client, fresh("at once"), fresh("made before")
    uri = whole_platform.settings.mlflow_uri
    made = register(perceptron(31), before, uri, rows=ROWS)
    client.sweep()
    client.wait_verified(before, made, timeout_s=120)
    registry = MlflowClient(tracking_uri=uri, registry_uri=uri)
    source = registry.get_model_version(before, str(made)).source
    with ThreadPoolExecutor(2) as pool:
        both = list(pool.map(lambda _: mlflow.register_model(source, name), range(2)))
    client.sweep()
    assert sorted(int(one.version) for one in both) == [1, 2]
    live = client.wait_live(name, timeout_s=120)
    taken_up = {one["version"]: one["taken_up"] for one in client.versions(name)}
    assert taken_up == {2: True, 1: live == 1}
    if live == 2:
        client.retry_build(name, 1)
    ordinals = {one: client.wait_verified(name, one, timeout_s=120)["ordinal"] for one in (1, 2)}
    assert ordinals == {live: 1, 3 - live: 2}
    assert client.model(name)["live_version"] == live
