"""A registry that loses what it had, and one that gets two things at once; MLflow for real."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from inflicting import ROWS, subject, watched
from whole_platform import Platform, perceptron, register

pytestmark = pytest.mark.real


def test_what_the_registry_forgets_is_never_undeployed(whole_platform: Platform) -> None:
    """A model deleted from MLflow goes on answering; it is shown as orphaned, also later on."""
    from mlflow.tracking import MlflowClient

    client = whole_platform.client
    it = subject(whole_platform, "forgotten", seed=21)
    with watched(it.load()) as load:
        uri = whole_platform.settings.mlflow_uri
        MlflowClient(tracking_uri=uri, registry_uri=uri).delete_registered_model("forgotten")
        for _ in range(2):
            client.sweep(wait=True)
        assert client.deployment("forgotten")["status"] == "orphaned"
        assert client.deployment("forgotten")["live_version"] == 1
    assert load.tally.failed == []
    assert load.tally.wrong == []


def test_of_two_registrations_of_one_name_at_once_neither_is_lost(whole_platform: Platform) -> None:
    """Both are known; the newer one goes live, and the older one is built when a person says so."""
    import mlflow
    from mlflow.tracking import MlflowClient

    client, name = whole_platform.client, "at once"
    uri = whole_platform.settings.mlflow_uri
    made = register(perceptron(31), "made before", uri, rows=ROWS)
    client.sweep()
    client.wait_verified("made before", made, timeout_s=120)
    registry = MlflowClient(tracking_uri=uri, registry_uri=uri)
    source = registry.get_model_version("made before", str(made)).source
    with ThreadPoolExecutor(2) as pool:
        both = list(pool.map(lambda _: mlflow.register_model(source, name), range(2)))
    client.sweep()
    assert sorted(int(one.version) for one in both) == [1, 2]
    assert client.wait_live(name, 2, timeout_s=120) == 2
    assert {v["version"]: v["taken_up"] for v in client.versions(name)} == {2: True, 1: False}
    client.retry_build(name, 1)
    older = client.wait_verified(name, 1, timeout_s=120)
    assert (client.version(name, 2)["ordinal"], older["ordinal"]) == (1, 2)
    assert client.model(name)["live_version"] == 2
