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


def test_two_registrations_of_one_name_at_once_are_both_built(whole_platform: Platform) -> None:
    """Both versions are verified under ordinals of their own, and one of them is live."""
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
    numbers = sorted(int(one.version) for one in both)
    found = [client.wait_verified(name, number, timeout_s=120) for number in numbers]
    assert numbers == [1, 2]
    assert sorted(version["ordinal"] for version in found) == [1, 2]
    assert client.wait_live(name, timeout_s=60) in numbers
