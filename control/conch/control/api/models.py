"""Registered models and their versions."""

from __future__ import annotations

from http import HTTPStatus
from pathlib import Path
from typing import Annotated
from urllib.parse import quote

from fastapi import APIRouter, Query, Response

from conch.core import InvalidValueError, NotFoundError

from ..reading import ModelView, VersionView, read_metric_filter, read_tag_filter
from ..registry import ModelFileError, RegistryUnavailableError
from ..requesting import BuildNotNeededError, request_build
from . import examples
from .bodies import RegisterBody, Registration
from .problems import documented
from .services import Given

router = APIRouter(prefix="/models", tags=["models"])


@router.post(
    "/register",
    status_code=HTTPStatus.ACCEPTED,
    summary="Register a model file as the next version",
    responses=documented(ModelFileError, RegistryUnavailableError),
)
def register(body: RegisterBody, given: Given, response: Response) -> Registration:
    """Log a model that lies on the control plane's machine into MLflow, under a registered name.

    Answers once MLflow has it; building, verifying and, for a model's first version, serving
    follow by themselves. `Location` tells where to watch.
    """
    version = given.plane.registry.register_path(
        body.name,
        _absolute("path", body.path),
        framework=body.framework,
        tags=body.tags,
        description=body.description,
        input_example=None if body.example is None else _absolute("example", body.example),
        metrics=body.metrics,
    )
    given.plane.nudge_sweep()
    where = f"/v1/models/{quote(version.name, safe='')}/versions/{version.number}"
    response.headers["location"] = where
    return Registration(name=version.name, version=version.number, model_path=version.source)


@router.get(
    "",
    summary="List the models",
    responses={**examples.answers("models"), **documented(InvalidValueError)},
)
def list_models(
    given: Given,
    tag: Annotated[list[str], Query(description="`key=value`, or `key`; repeat to narrow.")] = [],  # noqa: B006  # FastAPI copies defaults
    metric: Annotated[
        list[str], Query(description="`name>=number`, also `<=`, `>`, `<`, `=`; repeat to narrow.")
    ] = [],  # noqa: B006
) -> list[ModelView]:
    """List the models; with filters, those of which one version passes all of them."""
    return given.reading.models(
        tags=[read_tag_filter(text) for text in tag],
        metrics=[read_metric_filter(text) for text in metric],
    )


@router.get(
    "/{name}",
    summary="One model",
    responses={**examples.answers("model"), **documented(NotFoundError)},
)
def show_model(name: str, given: Given) -> ModelView:
    """Return one model by its registered name."""
    return given.reading.model(name)


@router.get(
    "/{name}/versions",
    summary="A model's versions, the newest first",
    responses={**examples.answers("versions"), **documented(NotFoundError)},
)
def list_versions(name: str, given: Given) -> list[VersionView]:
    """List what the registry has shown of a model, and how far each version has come."""
    return given.reading.versions(name)


@router.get(
    "/{name}/versions/{version}",
    summary="One version",
    responses={**examples.answers("version"), **documented(NotFoundError)},
)
def show_version(name: str, version: int, given: Given) -> VersionView:
    """Return one version; `reason` says why it was refused, `job` what is being done for it."""
    return given.reading.version(name, version)


@router.post(
    "/{name}/versions/{version}/build",
    status_code=HTTPStatus.ACCEPTED,
    summary="Build a refused version again",
    responses={
        **examples.answers("version being built", HTTPStatus.ACCEPTED),
        **documented(NotFoundError, BuildNotNeededError),
    },
)
def retry_build(name: str, version: int, given: Given) -> VersionView:
    """Queue a build of a version that was refused, or that policy did not take up."""
    with given.plane.database.begin() as tx:
        given.plane.leadership.prove(tx)
        request_build(tx, name, version, now=given.plane.now())
    given.plane.nudge()
    return given.reading.version(name, version)


def _absolute(member: str, text: str) -> Path:
    path = Path(text)
    if not path.is_absolute():
        raise InvalidValueError(
            f"{member!r} is {text!r}, which is not an absolute path.",
            hint="The path is read on the control plane's machine.",
        )
    return path
