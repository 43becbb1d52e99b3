"""The adapter against a real MLflow server: listing, fetching, marking, registering."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import onnx
import pytest
from mlflow_fixtures import MlflowServer, free_port, log_onnx, log_torch_mlp, scaling_onnx

from conch.control.registry import (
    ArtifactMissingError,
    ChangedVersion,
    KnownVersion,
    MlflowRegistry,
    ModelFileError,
    RegisteredVersion,
    RegistryRefusedError,
    RegistrySnapshot,
    RegistryUnavailableError,
    Replaced,
    TakeUpPolicy,
    VersionNotFoundError,
    diff,
)
from conch.core import InvalidValueError

pytestmark = pytest.mark.real


@pytest.fixture(scope="module")
def registry(mlflow_server: MlflowServer) -> MlflowRegistry:
    return MlflowRegistry(mlflow_server.uri)


@pytest.fixture(scope="module")
def torch_model(mlflow_server: MlflowServer) -> str:
    """The name of a model with one PyTorch version."""
    name = f"torch {uuid.uuid4().hex[:8]}"
    log_torch_mlp(mlflow_server, name, metrics={"accuracy": 0.9})
    return name


@pytest.fixture
def onnx_file(tmp_path: Path) -> Path:
    path = tmp_path / "scaling.onnx"
    onnx.save(scaling_onnx(), str(path))
    return path


def only(shown: RegistrySnapshot, name: str) -> RegistrySnapshot:
    """Leave out what other tests registered on the shared server."""
    return RegistrySnapshot(
        models=tuple(model for model in shown.models if model.name == name),
        versions=tuple(version for version in shown.versions if version.name == name),
        taken_at=shown.taken_at,
    )


def seen(version: RegisteredVersion) -> KnownVersion:
    return KnownVersion(
        name=version.name,
        number=version.number,
        identity=version.identity,
        tags=version.tags,
        aliases=version.aliases,
        taken_up=True,
    )


def test_a_snapshot_shows_models_versions_tags_and_aliases(
    mlflow_server: MlflowServer, torch_model: str
) -> None:
    """Everything that MLflow lists over several calls comes together, page by page."""
    client = mlflow_server.client
    log_torch_mlp(mlflow_server, torch_model, seed=1)
    client.set_registered_model_tag(torch_model, "team", "fraud")
    client.set_model_version_tag(torch_model, "2", "triton.max_batch_size", "8")
    client.set_registered_model_alias(torch_model, "champion", "2")
    client.set_registered_model_alias(torch_model, "shadow", "2")
    client.register_prompt(name=f"prompt-{uuid.uuid4().hex}", template="Say {{what}}.")
    paged = MlflowRegistry(mlflow_server.uri, page_size=1).snapshot()
    whole = MlflowRegistry(mlflow_server.uri).snapshot()
    assert (paged.models, paged.versions) == (whole.models, whole.versions)
    assert not [model for model in whole.models if model.name.startswith("prompt-")]
    shown = only(whole, torch_model)
    assert shown.models[0].tags == {"team": "fraud"}
    assert shown.models[0].aliases == {"champion": 2, "shadow": 2}
    first, second = shown.versions
    assert (first.number, second.number) == (1, 2)
    assert (first.aliases, second.aliases) == ((), ("champion", "shadow"))
    assert second.tags == {"triton.max_batch_size": "8"}
    assert second.status == "READY"
    assert second.run_id
    assert second.source == f"models:/{second.model_id}"
    assert timedelta() <= datetime.now(UTC) - second.created_at < timedelta(minutes=5)


def test_one_version_is_the_same_alone_as_in_the_snapshot(
    registry: MlflowRegistry, torch_model: str
) -> None:
    """Whichever call it comes from, a version is equal, identity and aliases included."""
    for version in only(registry.snapshot(), torch_model).versions:
        assert registry.version(torch_model, version.number) == version


def test_fetching_a_pytorch_model(
    registry: MlflowRegistry, torch_model: str, tmp_path: Path
) -> None:
    """The program, its signature, example and the run's metrics arrive; nothing else stays."""
    fetched = registry.fetch(registry.version(torch_model, 1), tmp_path / "into")
    assert fetched.framework == "pytorch"
    assert fetched.flavors == ("python_function", "pytorch")
    assert (fetched.path / "data" / "model.pt2").is_file()
    assert fetched.has_signature
    assert fetched.has_input_example
    assert fetched.metrics == {"accuracy": 0.9}
    assert fetched.size_bytes == sum(
        path.stat().st_size for path in fetched.path.rglob("*") if path.is_file()
    )
    assert [path.name for path in tmp_path.iterdir()] == ["into"]


def test_fetching_an_onnx_model(
    mlflow_server: MlflowServer, registry: MlflowRegistry, tmp_path: Path
) -> None:
    """The ONNX flavour is told by name, and the file is the model that was logged."""
    name = f"onnx-{uuid.uuid4().hex[:8]}"
    log_onnx(mlflow_server, name)
    fetched = registry.fetch(registry.version(name, 1), tmp_path / "into")
    assert fetched.framework == "onnx"
    onnx.checker.check_model(str(fetched.path / "model.onnx"))


def test_fetching_a_copied_version(
    mlflow_server: MlflowServer, registry: MlflowRegistry, torch_model: str, tmp_path: Path
) -> None:
    """A version copied under another name, whose source is a version, leads to the same files."""
    name = f"copy-{uuid.uuid4().hex[:8]}"
    mlflow_server.client.copy_model_version(f"models:/{torch_model}/1", name)
    fetched = registry.fetch(registry.version(name, 1), tmp_path / "into")
    assert fetched.framework == "pytorch"


def test_fetching_many_at_once(registry: MlflowRegistry, torch_model: str, tmp_path: Path) -> None:
    """Threads share one registry object and do not disturb one another."""
    version = registry.version(torch_model, 1)
    with ThreadPoolExecutor(4) as pool:
        fetched = list(pool.map(lambda n: registry.fetch(version, tmp_path / str(n)), range(8)))
    assert len({model.size_bytes for model in fetched}) == 1


def test_deleted_artifacts_are_missing(
    mlflow_server: MlflowServer, registry: MlflowRegistry, onnx_file: Path, tmp_path: Path
) -> None:
    """A version whose files are gone is told from a registry that is away, and leaves nothing."""
    version = registry.register_path(f"gone-{uuid.uuid4().hex[:8]}", onnx_file)
    for path in (mlflow_server.root / "artifacts").rglob(f"{version.model_id}/artifacts/*"):
        path.unlink()
    with pytest.raises(ArtifactMissingError):
        registry.fetch(version, tmp_path / "into")
    assert not (tmp_path / "into").exists()


def test_absent_versions_are_not_found(registry: MlflowRegistry, torch_model: str) -> None:
    """Reading, marking and unmarking what does not exist is one error with one code."""
    for call in (
        lambda: registry.version("no such model", 1),
        lambda: registry.version(torch_model, 999),
        lambda: registry.write_tags(torch_model, 999, {"conch.status": "built"}),
        lambda: registry.delete_tags(torch_model, 999, ("conch.status",)),
    ):
        with pytest.raises(VersionNotFoundError) as caught:
            call()
        assert caught.value.code == "version-not-found"


def test_tags_written_back_are_ignored_by_the_next_sweep(
    mlflow_server: MlflowServer, registry: MlflowRegistry, onnx_file: Path
) -> None:
    """conch's own words in the registry cause no work; a person's word does."""
    version = registry.register_path(f"marked-{uuid.uuid4().hex[:8]}", onnx_file)
    registry.write_tags(version.name, 1, {"conch.status": "serving", "conch.build": "b-1"})
    shown = only(registry.snapshot(), version.name)
    assert shown.versions[0].tags == {"conch.status": "serving", "conch.build": "b-1"}
    assert not diff(shown, [seen(version)], TakeUpPolicy())
    registry.delete_tags(version.name, 1, ("conch.build", "conch.never-set"))
    assert registry.version(version.name, 1).tags == {"conch.status": "serving"}
    mlflow_server.client.set_model_version_tag(version.name, "1", "triton.instances", "2")
    plan = diff(only(registry.snapshot(), version.name), [seen(version)], TakeUpPolicy())
    assert [type(change) for change in plan] == [ChangedVersion]


def test_conch_writes_nobody_elses_tags(registry: MlflowRegistry, torch_model: str) -> None:
    """A key outside `conch.` is refused before anything is sent."""
    with pytest.raises(InvalidValueError, match="deploy"):
        registry.write_tags(torch_model, 1, {"conch.status": "x", "deploy": "no"})
    with pytest.raises(InvalidValueError, match="deploy"):
        registry.delete_tags(torch_model, 1, ("deploy",))
    assert "conch.status" not in registry.version(torch_model, 1).tags


def test_a_model_made_anew_is_another_version(
    mlflow_server: MlflowServer, registry: MlflowRegistry, onnx_file: Path
) -> None:
    """Deleting and registering again gives number 1 again, and the sweep tells them apart."""
    name = f"again-{uuid.uuid4().hex[:8]}"
    before = registry.register_path(name, onnx_file)
    mlflow_server.client.delete_registered_model(name)
    after = registry.register_path(name, onnx_file)
    assert (before.number, after.number) == (1, 1)
    plan = diff(only(registry.snapshot(), name), [seen(before)], TakeUpPolicy())
    assert plan.changes[0] == Replaced(version=after, previous_identity=before.identity)


def test_registering_an_onnx_file(
    mlflow_server: MlflowServer, registry: MlflowRegistry, onnx_file: Path, tmp_path: Path
) -> None:
    """A file becomes the next version of a name, and MLflow itself loads and runs it."""
    import mlflow

    name = f"by path {uuid.uuid4().hex[:8]}"
    rows = np.ones((2, 4), np.float32)
    np.savez(tmp_path / "example.npz", x=rows)
    registry.register_path(name, onnx_file)
    version = registry.register_path(
        name,
        onnx_file,
        framework="onnx",
        tags={"deploy": "triton"},
        description="Scales.",
        input_example=tmp_path / "example.npz",
        metrics={"accuracy": 0.5},
    )
    assert (version.number, version.status) == (2, "READY")
    assert (version.tags, version.description) == ({"deploy": "triton"}, "Scales.")
    fetched = registry.fetch(version, tmp_path / "into")
    assert fetched.metrics == {"accuracy": 0.5}
    assert fetched.has_signature
    assert fetched.has_input_example
    loaded = mlflow.pyfunc.load_model(str(fetched.path))
    np.testing.assert_array_equal(loaded.predict({"x": rows})["y"], 2 * rows)


def test_registering_a_pt2_file(registry: MlflowRegistry, tmp_path: Path) -> None:
    """An exported program is registered without PyTorch, and MLflow loads and runs it."""
    import mlflow
    import torch

    network = torch.nn.Linear(4, 2).eval()
    rows = torch.ones(3, 4)
    program = torch.export.export(network, (rows,), dynamic_shapes=({0: torch.export.Dim.AUTO},))
    torch.export.save(program, str(tmp_path / "network.pt2"))
    np.save(tmp_path / "example.npy", rows.numpy())
    version = registry.register_path(
        f"pt2-{uuid.uuid4().hex[:8]}",
        tmp_path / "network.pt2",
        input_example=tmp_path / "example.npy",
    )
    fetched = registry.fetch(version, tmp_path / "into")
    loaded = mlflow.pytorch.load_model(str(fetched.path))
    torch.testing.assert_close(loaded(rows), network(rows))


def test_registering_an_mlflow_folder(
    registry: MlflowRegistry, torch_model: str, tmp_path: Path
) -> None:
    """A folder fetched from one model can be registered as another, flavours and all."""
    fetched = registry.fetch(registry.version(torch_model, 1), tmp_path / "into")
    version = registry.register_path(f"folder-{uuid.uuid4().hex[:8]}", fetched.path)
    again = registry.fetch(version, tmp_path / "again")
    assert again.mlmodel["flavors"] == fetched.mlmodel["flavors"]
    assert again.mlmodel["model_id"] == version.model_id
    assert (again.path / "data" / "model.pt2").read_bytes() == (
        fetched.path / "data" / "model.pt2"
    ).read_bytes()


def test_nothing_is_registered_where_the_file_is_no_model(
    registry: MlflowRegistry, tmp_path: Path
) -> None:
    """A refusal happens before MLflow hears of the model."""
    name = f"never-{uuid.uuid4().hex[:8]}"
    (tmp_path / "model.onnx").write_bytes(b"no")
    with pytest.raises(ModelFileError):
        registry.register_path(name, tmp_path / "model.onnx")
    assert only(registry.snapshot(), name).models == ()


def test_what_mlflow_refuses_is_not_retried(registry: MlflowRegistry, onnx_file: Path) -> None:
    """A name that MLflow does not take is a refusal with MLflow's reason in it."""
    with pytest.raises(RegistryRefusedError) as caught:
        registry.register_path("a/b", onnx_file)
    assert not caught.value.retryable


def test_no_framework_enters_the_process(
    mlflow_server: MlflowServer, torch_model: str, tmp_path: Path
) -> None:
    """Listing, fetching and registering work where no framework is ever imported, and no
    tracking URI, database or message is left behind in the process and its folder."""
    program = f"""
import sys
from pathlib import Path
from conch.control.registry import MlflowRegistry
assert "mlflow" not in sys.modules
registry = MlflowRegistry({mlflow_server.uri!r})
registry.snapshot()
fetched = registry.fetch(registry.version({torch_model!r}, 1), Path("into"))
registry.register_path("in a child", fetched.path / "data" / "model.pt2")
print(sorted({{"torch", "tensorflow", "sklearn"}} & sys.modules.keys()))
"""
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("MLFLOW_", "GIT_"))}
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "[]\n", "")
    assert [path.name for path in tmp_path.iterdir()] == ["into"]


def test_a_server_that_is_away_is_noticed_at_once() -> None:
    """A closed port is an error that may pass, within seconds rather than MLflow's minutes."""
    registry = MlflowRegistry(f"http://user:secret@127.0.0.1:{free_port()}")
    started = time.monotonic()
    with pytest.raises(RegistryUnavailableError) as caught:
        registry.snapshot()
    assert time.monotonic() - started < 5
    assert caught.value.retryable
    assert "secret" not in str(caught.value)


def test_a_server_that_is_silent_is_noticed_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that takes the connection and never answers costs two timeouts."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        registry = MlflowRegistry(f"http://127.0.0.1:{silent.getsockname()[1]}")
        started = time.monotonic()
        with pytest.raises(RegistryUnavailableError):
            registry.version("m", 1)
        assert 1 <= time.monotonic() - started < 6
