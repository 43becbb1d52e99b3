"""Putting a packed model into an MLflow run, as a logged model."""

from __future__ import annotations

import os
import posixpath
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from .connecting import Client
from .downloading import MLMODEL
from .packing import Pack, mlmodel_text

EXPERIMENT: Final = "conch"

_UPLOAD_TIMEOUT_S: Final = 600
"""For one file's answer: a server that keeps files elsewhere answers after it has passed one on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoggedModel:
    """A model that MLflow holds and that no registered version points to yet."""

    model_id: str
    run_id: str

    @property
    def uri(self) -> str:
        """The source to register a version from."""
        return f"models:/{self.model_id}"


def upload(
    client: Client,
    tracking_uri: str,
    packed: Pack,
    scratch: Path,
    *,
    run_name: str,
    metrics: Mapping[str, float] | None = None,
) -> LoggedModel:
    """Log a packed model in a run of its own.

    A failure leaves the run and the logged model marked as failed, and nothing registered.
    """
    experiment_id = _experiment(client)
    run_id = client.create_run(experiment_id, run_name=f"register {run_name}").info.run_id
    try:
        model = client.create_logged_model(experiment_id, name="model", source_run_id=run_id)
        try:
            _send(packed, model, run_id, tracking_uri, scratch)
            for key, value in (metrics or {}).items():
                client.log_metric(run_id, key, value, model_id=model.model_id)
        except BaseException:
            client.finalize_logged_model(model.model_id, "FAILED")
            raise
        client.finalize_logged_model(model.model_id, "READY")
    except BaseException:
        client.set_terminated(run_id, "FAILED")
        raise
    client.set_terminated(run_id)
    return LoggedModel(model_id=model.model_id, run_id=run_id)


def _experiment(client: Client) -> str:
    found = client.get_experiment_by_name(EXPERIMENT)
    if found is not None and found.lifecycle_stage == "active":
        return str(found.experiment_id)
    return str(client.create_experiment(EXPERIMENT))


def _send(packed: Pack, model: Any, run_id: str, tracking_uri: str, scratch: Path) -> None:
    """Upload each file under its name in the folder, and `MLmodel` last."""
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    location = str(model.artifact_location)
    mlmodel = {
        **packed.mlmodel,
        "artifact_path": location,
        "model_id": model.model_id,
        "model_uuid": model.model_id,
        "run_id": run_id,
    }
    (scratch / MLMODEL).write_text(mlmodel_text(mlmodel))
    repository = get_artifact_repository(location, tracking_uri=tracking_uri)
    for name, file in [*sorted(packed.files.items()), (MLMODEL, scratch / MLMODEL)]:
        _send_file(repository, file, name, scratch)


def _send_file(repository: Any, file: Path, name: str, scratch: Path) -> None:
    from mlflow.store.artifact.http_artifact_repo import HttpArtifactRepository
    from mlflow.utils.credentials import get_default_host_creds
    from mlflow.utils.rest_utils import augmented_raise_for_status, http_request

    if isinstance(repository, HttpArtifactRepository):
        # MLflow's own call, with a longer wait than a registry request may take.
        creds = get_default_host_creds(repository.artifact_uri)
        with file.open("rb") as content:
            answer = http_request(creds, f"/{name}", "PUT", data=content, timeout=_UPLOAD_TIMEOUT_S)
        augmented_raise_for_status(answer)
        return
    folder, base = posixpath.split(name)
    if file.name != base:  # a repository names a file as it is named here
        link = scratch / "renamed" / base
        link.parent.mkdir(exist_ok=True)
        link.unlink(missing_ok=True)
        os.symlink(file.resolve(), link)
        file = link
    repository.log_artifact(str(file), folder or None)
