"""Registered models and their versions."""

from __future__ import annotations

from http import HTTPStatus
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

from fastapi import APIRouter, Query, Response

from conch.core import InvalidValueError, NotFoundError, Pin

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
    "/{name}/diff",
    summary="Two versions side by side",
    responses={**examples.answers("diff"), **documented(NotFoundError)},
)
def diff_versions(
    name: str,
    given: Given,
    old: Annotated[int, Query(ge=1, description="The registry's integer of one version.")],
    new: Annotated[int, Query(ge=1, description="Of the other.")],
) -> dict[str, Any]:
    """Compare two versions: signature, parameters, data, metrics, size, latency, verification.

    `semantic_version.follows` is the version that would follow the old one from what changed.
    Null stands where one of the two does not say.
    """
    return given.differing.diff(name, old, new)


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
    summary="Build a version again: after a refusal, or in another form",
    responses={
        **examples.answers("version being built", HTTPStatus.ACCEPTED),
        **documented(NotFoundError, BuildNotNeededError, InvalidValueError),
    },
)
def retry_build(
    name: str,
    version: int,
    given: Given,
    pin: Annotated[
        str | None,
        Query(
            description="Build it in this form from now on, `FORMAT[:PRECISION]`, even if it is "
            "verified; `any` takes an earlier pin back."
        ),
    ] = None,
) -> VersionView:
    """Queue a build of a version that was refused, or not taken up, or is wanted in another form.

    A build in another form has an ordinal of its own. What serves goes on serving; the new build is
    released as any other.
    """
    form = None if pin is None else Pin() if pin == "any" else Pin.parse(pin)
    with given.plane.database.begin() as tx:
        given.plane.leadership.prove(tx)
        request_build(tx, name, version, now=given.plane.now(), pin=form)
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
