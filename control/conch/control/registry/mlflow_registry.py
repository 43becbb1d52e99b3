"""MLflow's model registry behind conch's port, through a tracking server."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from conch.core import InvalidValueError, Signature

from .connecting import Client, open_client, speaking_to
from .deliveries import EVENTS
from .downloading import bring
from .errors import (
    ArtifactMissingError,
    RegistryRefusedError,
    RegistryUnavailableError,
    VersionNotFoundError,
)
from .packing import pack
from .registered import (
    OWN_PREFIX,
    FetchedModel,
    RegisteredModel,
    RegisteredVersion,
    RegistrySnapshot,
    RunFacts,
)
from .uploading import upload
from .webhooks import WebhookAction, WebhookSeen, ensure_webhook, find_webhook

_PROMPT_TAG: Final = "mlflow.prompt.is_prompt"
_LOGGED_MODEL: Final = "models:/m-"
_LARGEST_PAGE: Final = 1000
_ADDRESS_HINT: Final = (
    "MLflow calls only https addresses on public networks unless its server is started with "
    "MLFLOW_WEBHOOK_ALLOWED_SCHEMES=http,https and MLFLOW_WEBHOOK_ALLOW_PRIVATE_IPS=true."
)
_KEY_HINT: Final = (
    "If the server runs, it may have lost the key of its webhook secrets: start it with a fixed "
    "MLFLOW_WEBHOOK_SECRET_ENCRYPTION_KEY, and remove webhooks made without it."
)


class MlflowRegistry:
    """The registry of one MLflow tracking server; safe to share between threads.

    Args:
        tracking_uri: Such as `http://127.0.0.1:5000`. Credentials come from the environment
            variables that MLflow documents (`MLFLOW_TRACKING_USERNAME`, `_PASSWORD`, `_TOKEN`).
        timeout: For a connection and for each wait for data, in seconds. A request is tried
            twice, so a silent server is noticed after about double that. MLflow keeps one such
            value per process: the first registry's wins, and `MLFLOW_HTTP_REQUEST_TIMEOUT` over it.
        page_size: Items per listing request, up to 1000.
        now: The clock that dates snapshots.
    """

    def __init__(
        self,
        tracking_uri: str,
        *,
        timeout: float = 5.0,
        page_size: int = _LARGEST_PAGE,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._uri = tracking_uri.rstrip("/")
        self._timeout_s = timeout
        self._page_size = page_size
        self._now = now

    def snapshot(self) -> RegistrySnapshot:
        """List every model and version; prompts are left out.

        Aliases come from the models: the versions that MLflow lists carry none.
        """
        taken_at = self._now()
        client = self._client()
        with speaking_to(self._uri, "list registered models"):
            models = {
                model.name: _model(model)
                for model in self._pages(client.search_registered_models)
                if not _is_prompt(model)
            }
        with speaking_to(self._uri, "list model versions"):
            listed = [
                version
                for version in self._pages(client.search_model_versions)
                if version.name in models and not _is_prompt(version)
            ]
        versions = [
            _version(item, _aliases(models[item.name], int(item.version))) for item in listed
        ]
        return RegistrySnapshot(
            models=tuple(models[name] for name in sorted(models)),
            versions=tuple(sorted(versions, key=lambda item: (item.name, item.number))),
            taken_at=taken_at,
        )

    def version(self, name: str, number: int) -> RegisteredVersion:
        """Return one version as it is now; see `Registry.version`."""
        with speaking_to(self._uri, f"read {name!r}", absent=_no_version(name, number)):
            found = self._client().get_model_version(name, str(number))
        return _version(found, tuple(sorted(found.aliases)))

    def origin(self, name: str, number: int) -> RunFacts:
        """Return the parameters and data sets of a version's run; see `Registry.origin`."""
        version = self.version(name, number)
        if not version.run_id:
            return RunFacts()
        try:
            absent = VersionNotFoundError("gone")
            with speaking_to(self._uri, "read a run", absent=absent):
                run = self._client().get_run(version.run_id)
        except VersionNotFoundError:
            return RunFacts()  # a run may be deleted under a version that lives on
        return RunFacts(
            params=dict(run.data.params),
            datasets=tuple(_dataset(one) for one in run.inputs.dataset_inputs),
        )

    def fetch(self, version: RegisteredVersion, into: Path) -> FetchedModel:
        """Copy a version's files to `into`; see `Registry.fetch`."""
        what = f"{version.name!r} version {version.number}"
        location = self._location(version)
        metrics = self._metrics(version)
        gone = ArtifactMissingError(f"{what} has no files at {location}.")
        with speaking_to(self._uri, f"hand out the files of {what}", absent=gone):
            return bring(location, self._uri, into, version=version, metrics=metrics)

    def write_tags(self, name: str, number: int, tags: Mapping[str, str]) -> None:
        """Set tags under `conch.`; see `Registry.write_tags`."""
        _check_own(tags)
        present = self.version(name, number).tags
        client = self._client()
        for key, value in sorted(tags.items()):
            if present.get(key) != value:
                with speaking_to(self._uri, f"tag {name!r}", absent=_no_version(name, number)):
                    client.set_model_version_tag(name, str(number), key, value)

    def delete_tags(self, name: str, number: int, keys: tuple[str, ...]) -> None:
        """Remove tags under `conch.`; see `Registry.delete_tags`."""
        _check_own(keys)
        present = self.version(name, number).tags
        client = self._client()
        for key in sorted(set(keys) & present.keys()):
            with speaking_to(self._uri, f"untag {name!r}", absent=_no_version(name, number)):
                client.delete_model_version_tag(name, str(number), key)

    def register_path(
        self,
        name: str,
        path: Path,
        *,
        framework: str | None = None,
        tags: Mapping[str, str] | None = None,
        description: str = "",
        signature: Signature | None = None,
        input_example: Path | None = None,
        metrics: Mapping[str, float] | None = None,
    ) -> RegisteredVersion:
        """Register a model that lies on this machine; see `Registry.register_path`.

        The model is logged in a run of its own in the experiment `conch`.
        """
        with tempfile.TemporaryDirectory(prefix="conch-register-") as scratch:
            packed = pack(
                path,
                Path(scratch),
                framework=framework,
                signature=signature,
                input_example=input_example,
            )
            with speaking_to(self._uri, f"take the model {name!r}"):
                logged = upload(
                    self._client(), self._uri, packed, Path(scratch), run_name=name, metrics=metrics
                )
        with speaking_to(self._uri, f"register {name!r}"):
            client = self._client()
            _create_model(client, name)
            created = client.create_model_version(
                name,
                source=logged.uri,
                run_id=logged.run_id,
                model_id=logged.model_id,
                tags=dict(tags or {}),
                description=description or None,
                await_creation_for=0,
            )
        return self.version(name, int(created.version))

    def ensure_webhook(
        self, url: str, secret: str, events: Iterable[str] = EVENTS
    ) -> WebhookAction:
        """Make the server send its events to `url`; see `conch.control.registry.ensure_webhook`.

        Raises:
            InvalidValueError: The secret is too short.
            RegistryRefusedError: The server may not call such an address, or conch may not ask.
            RegistryUnavailableError: The server is away, or cannot read the webhooks it has.
        """
        try:
            with speaking_to(self._uri, "keep a webhook"):
                return ensure_webhook(self._client(), url, secret, events)
        except RegistryRefusedError as error:
            raise RegistryRefusedError(error.message, hint=_ADDRESS_HINT) from error
        except RegistryUnavailableError as error:
            raise RegistryUnavailableError(error.message, hint=_KEY_HINT) from error

    def webhook(self, url: str, secret: str, events: Iterable[str] = EVENTS) -> WebhookSeen | None:
        """Return the webhook that `ensure_webhook` would keep; None where there is none.

        Raises:
            RegistryRefusedError: conch may not ask.
            RegistryUnavailableError: The server is away, or cannot read the webhooks it has.
        """
        try:
            with speaking_to(self._uri, "list webhooks"):
                return find_webhook(self._client(), url, secret, events)
        except RegistryUnavailableError as error:
            raise RegistryUnavailableError(error.message, hint=_KEY_HINT) from error

    def try_webhook(self, webhook_id: str) -> str:
        """Have the server make a test delivery; return why it failed, empty where it did not.

        Raises:
            RegistryRefusedError: conch may not ask.
            RegistryUnavailableError: The server is away.
        """
        with speaking_to(self._uri, "test a webhook"):
            result = self._client().test_webhook(webhook_id)
        if result.success:
            return ""
        return str(result.error_message or f"the answer was {result.response_status}")

    def _client(self) -> Client:
        return open_client(self._uri, timeout_s=self._timeout_s)

    def _pages(self, search: Callable[..., Any]) -> Iterator[Any]:
        token: str | None = None
        while True:
            page = search(max_results=self._page_size, page_token=token)
            yield from page
            token = page.token
            if not token:
                return

    def _location(self, version: RegisteredVersion) -> str:
        """Return where a version's files are; the server resolves runs and copied versions."""
        absent = _no_version(version.name, version.number)
        client = self._client()
        with speaking_to(self._uri, f"locate {version.name!r}", absent=absent):
            location = str(client.get_model_version_download_uri(version.name, str(version.number)))
            if location.startswith(_LOGGED_MODEL):
                model = client.get_logged_model(location.removeprefix("models:/"))
                location = str(model.artifact_location)
        if location.startswith("models:/"):
            raise ArtifactMissingError(
                f"{version.name!r} version {version.number} points at {location}, not at files.",
                hint="Register it from a run or a logged model.",
            )
        return location

    def _metrics(self, version: RegisteredVersion) -> dict[str, float]:
        """Return the run's last metrics, and the logged model's own over them."""
        client = self._client()
        found: dict[str, float] = {}
        nothing = VersionNotFoundError("gone")
        try:
            with speaking_to(self._uri, "read metrics", absent=nothing):
                if version.run_id:
                    found |= client.get_run(version.run_id).data.metrics
                if version.model_id:
                    logged = client.get_logged_model(version.model_id).metrics or []
                    latest = sorted(logged, key=lambda metric: (metric.timestamp, metric.step))
                    found |= {metric.key: metric.value for metric in latest}
        except VersionNotFoundError:
            return found  # a run may be deleted under a version that lives on
        return {key: float(value) for key, value in sorted(found.items())}


def _dataset(found: Any) -> dict[str, str]:
    tags = {tag.key: str(tag.value) for tag in found.tags}
    return {
        "name": str(found.dataset.name),
        "digest": str(found.dataset.digest),
        "context": tags.get("mlflow.data.context", ""),
    }


def _model(found: Any) -> RegisteredModel:
    return RegisteredModel(
        name=found.name,
        tags=dict(found.tags),
        aliases={alias: int(number) for alias, number in sorted(found.aliases.items())},
        description=found.description or "",
    )


def _version(found: Any, aliases: tuple[str, ...]) -> RegisteredVersion:
    source = found.source or ""
    logged = source.removeprefix("models:/") if source.startswith(_LOGGED_MODEL) else None
    return RegisteredVersion(
        name=found.name,
        number=int(found.version),
        status=str(found.status),
        run_id=found.run_id or None,
        model_id=found.model_id or logged,
        source=source,
        tags=dict(found.tags),
        aliases=aliases,
        created_by=found.user_id or "",
        created_at=datetime.fromtimestamp(found.creation_timestamp / 1000, tz=UTC),
        description=found.description or "",
    )


def _aliases(model: RegisteredModel, number: int) -> tuple[str, ...]:
    return tuple(alias for alias, target in sorted(model.aliases.items()) if target == number)


def _is_prompt(found: Any) -> bool:
    return str(found.tags.get(_PROMPT_TAG, "")).lower() == "true"


def _no_version(name: str, number: int) -> VersionNotFoundError:
    return VersionNotFoundError(
        f"The registry has no version {number} of {name!r}.",
        hint="It may have been deleted there.",
        name=name,
        number=number,
    )


def _check_own(keys: Iterable[str]) -> None:
    if strange := sorted(key for key in keys if not key.startswith(OWN_PREFIX)):
        raise InvalidValueError(
            f"conch writes only tags under {OWN_PREFIX!r}, not {', '.join(strange)}."
        )


def _create_model(client: Client, name: str) -> None:
    """Create a registered model, unless there is one."""
    from mlflow.exceptions import MlflowException

    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
