"""Settings: one frozen tree, read once where the program is put together.

Sources, the later winning: defaults, `<home>/conch.toml`, environment variables such as
`CONCH_MLFLOW__URI`, arguments of the command line.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
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


class TrustSettings(_Group):
    """One line of the policy on models that hold code; see `conch.control.trusting`."""

    models: tuple[str, ...] = Field(min_length=1, description="Globs of registered names.")
    users: tuple[str, ...] = Field(
        default=(), description="Globs of the registry's users. Empty: whoever registered it."
    )


class ReferenceSettings(_Group):
    """A data set that the versions of some models are verified with."""

    models: tuple[str, ...] = Field(min_length=1, description="Globs of registered names.")
    path: Path = Field(description="An `.npz`, `.csv` or `.parquet` file of the model's inputs.")
    metric: Literal["accuracy", "f1_macro", "roc_auc", "log_loss", "rmse", "mae", "r2"] | None = (
        Field(default=None, description="A task metric that the converted model must keep.")
    )
    labels: str = Field(default="label", description="The column of the right answers.")
    allowed_loss: float = Field(
        default=0.0, ge=0, description="How much worse than the registered model it may be."
    )


class BuildSettings(_Group):
    """What one build may take, and what it must show."""

    time_s: float = Field(default=600.0, gt=0, description="Seconds, then it is ended.")
    memory_bytes: int = Field(default=8 * 2**30, gt=0, description="Resident bytes, likewise.")
    disk_bytes: int = Field(default=16 * 2**30, gt=0, description="Bytes on disk, likewise.")
    refuse_weak_evidence: bool = Field(
        default=False, description="Refuse a version whose rows prove little, instead of saying so."
    )
    trust: tuple[TrustSettings, ...] = Field(
        default=(), description="Whose pickled and Python models may run their code. Nobody's."
    )
    references: tuple[ReferenceSettings, ...] = Field(
        default=(), description="Data sets that versions are verified with, by model."
    )


class GivenServer(_Group):
    """A Triton server that somebody else runs; it sees the slot's folder under the same path."""

    http: str = Field(
        pattern=r"^http://[^/]+:\d+/?$", description="Such as `http://127.0.0.1:8000`."
    )
    grpc_port: int | None = Field(
        default=None, ge=1, le=65535, description="None: the HTTP port and 1, as Triton has it."
    )


class ServingSettings(_Group):
    """The data plane on this machine."""

    slots: tuple[str, ...] = Field(default=("a", "b"), min_length=2, max_length=8)
    replicas: int = Field(default=1, ge=1, le=16, description="Triton servers per slot.")
    tritonserver: Path | None = Field(
        default=None, description="Another `tritonserver` to run. None: the runtime's."
    )
    backend_directory: Path | None = Field(
        default=None, description="Its backends. None: `backends` beside its `bin`."
    )
    engines: tuple[Literal["torch"], ...] = Field(
        default=(),
        description="What Triton's Python backend has beside ONNX Runtime and OpenVINO; `conch "
        "runtime install` adds it.",
    )
    servers: dict[str, tuple[GivenServer, ...]] = Field(
        default={}, description="By slot, servers that somebody else runs, instead of `replicas`."
    )
    load_timeout_s: float = Field(default=120.0, gt=0, description="One load with its warm-up.")
    environment: str = Field(default="local", pattern=r"^[a-z0-9][a-z0-9-]{0,31}$")

    @model_validator(mode="after")
    def _servers_have_slots(self) -> Self:
        if unknown := sorted(set(self.servers) - set(self.slots)):
            raise ValueError(f"there is no slot {unknown[0]!r}")
        return self


class KServeSettings(_Group):
    """A cluster with KServe that serves instead of this machine."""

    profile: Path | None = Field(
        default=None, description="The file that states the cluster. None: this machine serves."
    )
    kubeconfig: Path | None = Field(
        default=None, description="None: the pod's service account, else `$KUBECONFIG`."
    )
    context: str | None = Field(default=None, description="A context of the kubeconfig file.")


class ReleaseSettings(_Group):
    """Releases."""

    bake_s: int = Field(
        default=3600, ge=0, description="Seconds that the version that lost stays loaded."
    )
    plan: str = Field(
        default="wait",
        min_length=1,
        description="What a newly verified version does by itself: `wait`, `manual` (loaded, and "
        "a person moves the traffic), a preset (`canary`, `linear`, `blue-green`, `hot`), or the "
        "path of a plan file. A registered model's tag `conch.release.plan` wins.",
    )
    patch_plan: str | None = Field(
        default=None,
        min_length=1,
        description="Likewise for a version of the same graph with other weights. None: as `plan`.",
    )
    slo_ms: float | None = Field(
        default=None,
        gt=0,
        description="Above how many milliseconds an answer is slow. None: presets do not guard "
        "latency. A registered model's tag `conch.release.slo_ms` wins.",
    )
    look_s: float = Field(
        default=1.0, gt=0, le=60, description="Seconds between two looks at a planned release."
    )


class EventSettings(_Group):
    """The event log: exposures, predictions, metrics and feedback."""

    poll_s: float = Field(
        default=0.25, gt=0, le=60, description="Seconds between two looks at the access log."
    )
    log_bytes: int = Field(
        default=2**30,
        ge=2**20,
        description="The most bytes of the log itself; what is older is in Parquet files, or gone.",
    )
    compact_s: float = Field(
        default=300.0, gt=0, description="Seconds after which events move into a Parquet file."
    )
    keep_days: float = Field(default=90.0, gt=0, description="How long Parquet files are kept.")
    keep_bytes: int = Field(
        default=20 * 2**30, gt=0, description="The most bytes of all Parquet files."
    )


class MetricsSettings(_Group):
    """What is counted by Triton and Envoy, for people to see beside a release."""

    prometheus_url: str | None = Field(
        default=None,
        pattern=r"^https?://",
        description="A Prometheus that scrapes `/metrics`. None: conch looks itself.",
    )
    every_s: float = Field(
        default=10.0, gt=0, le=300, description="Seconds between two looks, or two scrapes."
    )
    window_s: float = Field(
        default=120.0, gt=0, le=86_400, description="Seconds that readings are taken over."
    )


class CaptureSettings(_Group):
    """Keeping inputs and outputs of a share of the requests."""

    enabled: bool = Field(
        default=False, description="Whether the capture process runs; shadowing needs it."
    )
    percent: float = Field(
        default=0.0,
        ge=0,
        le=100,
        description="Share of each model's requests; a model's tag `conch.capture` goes before it.",
    )
    redact: tuple[str, ...] = Field(
        default=(), description="Tensors whose values are not kept: `name` or `model/name`."
    )
    largest_bytes: int = Field(
        default=2**20, ge=1024, description="A larger body is not kept; the request is counted."
    )
    spool_bytes: int = Field(
        default=256 * 2**20, ge=2**20, description="What may wait for the event log at most."
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
    kserve: KServeSettings = KServeSettings()
    release: ReleaseSettings = ReleaseSettings()
    events: EventSettings = EventSettings()
    metrics: MetricsSettings = MetricsSettings()
    capture: CaptureSettings = CaptureSettings()

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
    def serves_here(self) -> bool:
        """Whether this machine serves, not a cluster."""
        return self.kserve.profile is None

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
