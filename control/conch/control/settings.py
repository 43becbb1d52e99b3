"""Settings: one frozen tree, read once where the program is put together.

Sources, the later winning: defaults, `<home>/conch.toml`, environment variables such as
`CONCH_MLFLOW__URI`, arguments of the command line.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from conch.core import ConchError

CONFIG_NAME = "conch.toml"
RUNNING_NAME = "running.json"


class SettingsInvalidError(ConchError):
    """A setting is unknown or out of range."""

    code = "settings-invalid"


class _Group(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ApiSettings(_Group):
    """Where the control API and the inference entry listen; loopback unless told otherwise."""

    host: str = "127.0.0.1"
    control_port: int = Field(default=8090, ge=1, le=65535, description="Control API and docs.")
    inference_port: int = Field(
        default=8080, ge=1, le=65535, description="Inference over HTTP and gRPC (Envoy)."
    )


class MlflowSettings(_Group):
    """The registry that conch follows."""

    uri: str | None = Field(
        default=None, description="Tracking server. None: conch starts one of its own."
    )
    port: int = Field(default=5000, ge=1, le=65535, description="Port of conch's own server.")
    sweep_s: float = Field(
        default=10.0, gt=0, le=3600, description="Seconds between two looks at the whole registry."
    )
    timeout_s: float = Field(default=10.0, gt=0, le=300, description="Seconds for one request.")
    webhooks: Literal["auto", "on", "off"] = Field(
        default="auto",
        description="`auto`: take webhooks, and keep one in conch's own server. `on`: keep one in "
        "the server named by `uri`, too. `off`: take none.",
    )
    webhook_url: str | None = Field(
        default=None,
        pattern=r"^https?://",
        description="Where MLflow reaches the control API. None: where it listens.",
    )


class TakeUpSettings(_Group):
    """Which registered versions conch builds and, a model's first one, serves."""

    mode: Literal["all", "alias", "tag"] = "all"
    alias: str = Field(default="champion", description="For mode `alias`.")
    tag_key: str = Field(default="deploy", description="For mode `tag`.")
    tag_value: str = Field(default="triton", description="For mode `tag`.")
    include: tuple[str, ...] = Field(default=("*",), description="Globs of model names.")
    exclude: tuple[str, ...] = Field(default=(), description="Globs of model names.")


class BuildSettings(_Group):
    """What one build may take, and what it must show."""

    time_s: float = Field(default=600.0, gt=0, description="Seconds, then it is ended.")
    memory_bytes: int = Field(default=8 * 2**30, gt=0, description="Resident bytes, likewise.")
    refuse_weak_evidence: bool = Field(
        default=False, description="Refuse a version whose rows prove little, instead of saying so."
    )


class ServingSettings(_Group):
    """The data plane on this machine."""

    slots: tuple[str, ...] = Field(default=("a", "b"), min_length=2, max_length=8)
    replicas: int = Field(default=1, ge=1, le=16, description="Triton servers per slot.")
    load_timeout_s: float = Field(default=120.0, gt=0, description="One load with its warm-up.")
    environment: str = Field(default="local", pattern=r"^[a-z0-9][a-z0-9-]{0,31}$")


class ReleaseSettings(_Group):
    """Releases."""

    bake_s: int = Field(
        default=3600, ge=0, description="Seconds that the version that lost stays loaded."
    )


def default_home() -> Path:
    """Return `$CONCH_HOME`, or `~/.conch`."""
    return Path(os.environ.get("CONCH_HOME", "~/.conch")).expanduser().absolute()


class Settings(BaseSettings):
    """Everything that can be set."""

    model_config = SettingsConfigDict(
        env_prefix="CONCH_", env_nested_delimiter="__", extra="forbid", frozen=True
    )

    home: Path = Field(default_factory=default_home, description="Where conch keeps its files.")
    database_url: str | None = Field(
        default=None, description="SQLAlchemy URL. None: SQLite in the home folder."
    )
    api: ApiSettings = ApiSettings()
    mlflow: MlflowSettings = MlflowSettings()
    take_up: TakeUpSettings = TakeUpSettings()
    build: BuildSettings = BuildSettings()
    serving: ServingSettings = ServingSettings()
    release: ReleaseSettings = ReleaseSettings()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Put the home folder's `conch.toml` under the environment."""
        given: dict[str, Any] = init_settings()
        home = Path(given.get("home") or default_home())
        toml = TomlConfigSettingsSource(settings_cls, toml_file=home / CONFIG_NAME)
        return init_settings, env_settings, toml

    def save(self) -> None:
        """Keep these settings in the home folder, readable by the owner alone, for `running`."""
        path = self.home / RUNNING_NAME
        fresh = path.with_suffix(".new")
        fresh.touch(mode=0o600)
        fresh.write_text(self.model_dump_json(indent=1))
        fresh.replace(path)

    @property
    def database(self) -> str:
        """The control database's URL."""
        return self.database_url or f"sqlite:///{self.home / 'conch.db'}"

    @property
    def mlflow_uri(self) -> str:
        """The tracking server's address."""
        return self.mlflow.uri or f"http://127.0.0.1:{self.mlflow.port}"

    @property
    def keeps_webhook(self) -> bool:
        """Whether the control plane keeps a webhook in MLflow by itself."""
        return self.mlflow.webhooks == "on" or (
            self.mlflow.webhooks == "auto" and self.mlflow.uri is None
        )

    @property
    def webhook_url(self) -> str:
        """Where MLflow sends its webhooks."""
        return webhook_address(self.mlflow.webhook_url or self.control_url)

    @property
    def control_url(self) -> str:
        """Where the control API is called."""
        return f"http://{self.api.host}:{self.api.control_port}"

    @property
    def inference_url(self) -> str:
        """Where inference is called."""
        return f"http://{self.api.host}:{self.api.inference_port}"


def webhook_address(control_url: str) -> str:
    """Return where the control API at an address takes webhooks.

    >>> webhook_address("https://conch.example.org/")
    'https://conch.example.org/v1/hooks/mlflow'
    """
    return f"{control_url.rstrip('/')}/v1/hooks/mlflow"


def read_settings(**given: Any) -> Settings:
    """Read the settings from every source.

    Raises:
        SettingsInvalidError: A setting is unknown or out of range; the message names it.
    """
    try:
        return Settings(**given)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise SettingsInvalidError(
            f"Setting {where!r}: {first['msg']}.",
            hint="docs/reference/settings.md lists them all.",
        ) from error


def running_settings(home: Path) -> Settings | None:
    """Return the settings that the platform of a home was last brought up with, if it ever was.

    Whoever talks to a running platform needs these, not what the environment says now.
    """
    try:
        text = (home / RUNNING_NAME).read_text()
    except FileNotFoundError:
        return None
    return Settings.model_validate_json(text)
