"""Request bodies, and answers that are no views."""

from __future__ import annotations

from typing import Annotated, Any, Final

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from ..registry import (
    Change,
    ChangedModel,
    ChangedVersion,
    NewModel,
    NewVersion,
    Orphaned,
    Replaced,
    Returned,
    SweepPlan,
    TakeUp,
)

_PER_PERCENT = 100
_SLACK = 1e-6


def _two_decimals(value: float) -> float:
    if abs(value * _PER_PERCENT - round(value * _PER_PERCENT)) > _SLACK:
        raise ValueError("a weight has at most two decimals")
    return value


Percent = Annotated[
    float,
    Field(ge=0, le=100, description="Share of the traffic in percent, at most two decimals."),
    AfterValidator(_two_decimals),
]


def basis_points(percent: float) -> int:
    """Return percent as basis points.

    >>> basis_points(12.5)
    1250
    """
    return round(percent * _PER_PERCENT)


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class RegisterBody(_Body):
    """A model on the control plane's machine that is to become the next version of a name."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "name": "digits",
                "path": "/srv/models/digits.pt2",
                "framework": "pytorch",
                "tags": {"team": "vision", "triton.max_batch_size": "32"},
                "example": "/srv/models/digits-rows.npy",
            }
        }
    )

    name: str = Field(min_length=1, max_length=256, description="The registered model.")
    path: str = Field(
        min_length=1,
        description="Absolute path of an MLflow model folder, a SavedModel folder, or a model "
        "file: `.onnx`, `.pt2`, TorchScript `.pt`, `.keras`, XGBoost `.ubj`, LightGBM text.",
    )
    framework: str | None = Field(
        default=None, description="MLflow's flavour, to insist; null to go by the file."
    )
    tags: dict[str, str] = Field(default_factory=dict, description="Tags of the version.")
    description: str = Field(default="", max_length=5000)
    example: str | None = Field(
        default=None, description="Absolute path of input rows: `.npy`, or `.npz` by input name."
    )
    metrics: dict[str, float] = Field(default_factory=dict, description="Logged with the run.")


class Registration(_Body):
    """A version that the registry has accepted; conch builds it as its policy says."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {"name": "digits", "version": 3, "model_path": "models:/m-6c1f8a"}
        }
    )

    name: str
    version: int
    model_path: str


ALL_SLOTS: Final = "all"


class ScaleBody(_Body):
    """How many servers a slot is to have."""

    model_config = ConfigDict(json_schema_extra={"example": {"slot": "all", "replicas": 2}})

    slot: str = Field(default=ALL_SLOTS, description="A slot's name, or `all`.")
    replicas: int = Field(ge=1, le=16, description="Model servers.")


class ScaleShown(_Body):
    """How many servers each slot should have now."""

    model_config = ConfigDict(json_schema_extra={"example": {"slots": {"a": 2, "b": 2}}})

    slots: dict[str, int]


class PredictBody(_Body):
    """Rows to predict for."""

    model_config = ConfigDict(
        json_schema_extra={"example": {"inputs": {"x": [[5.1, 3.5, 1.4, 0.2]]}, "unit": "user-7"}}
    )

    inputs: dict[str, Any] | list[Any] = Field(
        description="Nested lists by tensor name; one nested list for a model with one input; or "
        "a list of objects, one per row."
    )
    version: int | str = Field(
        default="latest",
        description="`latest` for the version that the traffic split gives the unit, or the "
        "registry's integer to pin one.",
    )
    unit: str | None = Field(
        default=None,
        min_length=1,
        max_length=256,
        pattern=r"^[^\x00-\x1f\x7f]+$",
        description="Whom it is for; sticks to its version. The header `x-conch-unit` likewise.",
    )


class StartReleaseBody(_Body):
    """A version that is to be released."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "version": 2,
                "plan": "canary",
                "set": {"steps": [5, 50, 100], "bake_s": 600},
                "note": "retrained on March",
            }
        }
    )

    version: int = Field(ge=1, description="The registry's integer.")
    plan: str | dict[str, Any] | None = Field(
        default=None,
        description="A preset (`canary`, `linear`, `blue-green`, `hot`), `manual`, or the body of "
        "a plan; null: what the model's tag or the settings say, else by hand.",
    )
    set: dict[str, Any] | None = Field(
        default=None, description="Single fields on top of the plan, nested as in its body."
    )
    weight: Percent = 0
    bake_s: int | None = Field(
        default=None,
        ge=0,
        description="Seconds that the version that loses stays loaded; null: the setting.",
    )
    note: str = Field(default="", max_length=2000, description="Why; kept with the release.")


class ArmBody(_Body):
    """One arm of an experiment beside the live version: a version, or one build of it."""

    version: int | None = Field(
        default=None, ge=1, description="The registry's integer: its newest verified build."
    )
    build_id: str | None = Field(
        default=None, description="Or a build, where a version was built in several forms."
    )
    share: Percent | None = Field(
        default=None, description="Percent of the traffic; null for all: equal shares."
    )


class StartExperimentBody(_Body):
    """Arms that are to be compared with the live version."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "arms": [{"version": 2}, {"version": 3}],
                "plan": {
                    "goals": {
                        "purchase": {
                            "source": "events:purchase",
                            "direction": "higher-is-better",
                        }
                    },
                    "deadline_s": 1_209_600,
                },
                "note": "which recommender sells more",
            }
        }
    )

    arms: list[ArmBody] = Field(min_length=1, max_length=7)
    name: str = Field(default="", max_length=200, description="What people call it.")
    plan: dict[str, Any] | None = Field(
        default=None,
        description="The body of a plan without steps: guardrails, goals, error levels, times.",
    )
    set: dict[str, Any] | None = Field(
        default=None, description="Single fields on top of the plan, nested as in its body."
    )
    note: str = Field(default="", max_length=2000, description="Why; kept with the experiment.")


class ArmResults(_Body):
    """What the newest look at an experiment shows of one arm against the control."""

    version: int
    build_id: str
    action: str = Field(description="What `conch.ab.decide` makes of it.")
    checks: list[dict[str, Any]]
    results: list[dict[str, Any]]


class ReadingShown(_Body):
    """A number over the window, or the reason why there is none."""

    value: float | None
    covered_s: float = Field(description="Seconds between the first and the last sample.")
    trouble: str | None = Field(description="Why not, for machines.")
    because: str = Field(description="Why not, in words.")


class ArmMetricsShown(_Body):
    """What one arm of a model's traffic did in the last window."""

    version: int | None
    ordinal: int
    slot: str
    weight: float = Field(description="Share of the traffic in percent.")
    readings: dict[str, ReadingShown] = Field(
        description="`requests_per_s`, `failure_share`, `mean_ms` and `queue_ms` of the version as "
        "Triton counts; `slot_p50_ms` and `slot_p99_ms` of its slot as the gateway does."
    )


class WeightBody(_Body):
    """A new share of the traffic for the candidate."""

    model_config = ConfigDict(json_schema_extra={"example": {"weight": 12.5}})

    weight: Percent


class RollbackBody(_Body):
    """Why a release is taken back."""

    model_config = ConfigDict(json_schema_extra={"example": {"reason": "wrong on night images"}})

    reason: str = Field(default="", max_length=2000)


class ReasonBody(_Body):
    """Why a person steps in."""

    model_config = ConfigDict(json_schema_extra={"example": {"reason": "wait for the weekend"}})

    reason: str = Field(default="", max_length=2000)


class PlanBody(_Body):
    """A plan that is to be tried on what was recorded of a release."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {"plan": "canary", "set": {"guardrails": {"error-rate": {"margin": 0.1}}}}
        }
    )

    plan: str | dict[str, Any] = Field(description="A preset, or the body of a plan.")
    set: dict[str, Any] | None = Field(default=None, description="Single fields on top of it.")


class PlanShown(_Body):
    """The plan that a release would get."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {"name": "hot", "digest": "4b" * 32, "plan": {"name": "hot", "road": "flip"}}
        }
    )

    name: str
    digest: str
    plan: dict[str, Any] | None = Field(description="Null: by hand.")


class PresetShown(_Body):
    """A plan that conch brings along, in the form of a plan file."""

    model_config = ConfigDict(
        json_schema_extra={"example": {"name": "hot", "body": {"name": "hot", "flip": True}}}
    )

    name: str
    body: dict[str, Any]


class Explained(_Body):
    """A release in sentences."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "sentences": ["It was rolled back at 2026-03-01 12:00:00 UTC. error-rate: harmed."]
            }
        }
    )

    sentences: list[str]


class SimulatedLookShown(_Body):
    """One recorded look, taken with another plan."""

    at_s: float
    candidate_units: int
    recorded: str
    action: str
    message: str


class SimulationShown(_Body):
    """What another plan makes of what was recorded of a release."""

    model_config = ConfigDict(
        json_schema_extra={"example": {"outcome": "open", "unknown": [], "looks": []}}
    )

    outcome: str = Field(description="`promote`, `roll-back`, or `open` where the data end first.")
    unknown: list[str] = Field(description="Metrics of the plan that were not recorded.")
    looks: list[SimulatedLookShown]


class Health(_Body):
    """The process answers."""

    model_config = ConfigDict(json_schema_extra={"example": {"status": "ok", "version": "0.1.0"}})

    status: str
    version: str


class Readiness(_Body):
    """Everything that the control plane needs answers."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "status": "ready",
                "checks": {"database": "ok", "gateway": "ok", "sweep": "ok"},
            }
        }
    )

    status: str
    checks: dict[str, str]


class ChangeShown(_Body):
    """One thing that a look at the registry found changed."""

    kind: str
    name: str
    version: int | None


class SweepShown(_Body):
    """A look at the registry."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "done": True,
                "changes": [{"kind": "NewVersion", "name": "digits", "version": 2}],
            }
        }
    )

    done: bool = Field(description="False where it was only asked for.")
    changes: list[ChangeShown]


def shown_plan(plan: SweepPlan) -> SweepShown:
    """Return what a sweep changed."""
    return SweepShown(done=True, changes=[_shown(change) for change in plan])


def _shown(change: Change) -> ChangeShown:
    kind = type(change).__name__
    match change:
        case NewModel(model=model) | ChangedModel(model=model):
            return ChangeShown(kind=kind, name=model.name, version=None)
        case NewVersion(version=seen) | ChangedVersion(version=seen) | Replaced(version=seen):
            return ChangeShown(kind=kind, name=seen.name, version=seen.number)
        case Orphaned() | Returned() | TakeUp():
            return ChangeShown(kind=kind, name=change.name, version=change.number)
