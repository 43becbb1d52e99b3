"""A typed client of the control API, for programs and for the command line."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self, TypeVar
from urllib.parse import quote

import httpx

from conch.core import ConchError

Json = dict[str, Any]
Watch = Callable[[Json], None]
T = TypeVar("T")

_POLL_S: Final = 0.1
_TIMEOUT_S: Final = 120.0


class ApiError(ConchError):
    """The control API refused a request, or an object came to the end that was not waited for.

    Attributes:
        code: The problem's own code, such as `not-verified`.
    """

    code: str = "api-error"  # type: ignore[misc]  # each instance carries its problem's code

    def __init__(
        self,
        message: str,
        *,
        code: str,
        hint: str = "",
        retryable: bool = False,
        details: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(message, hint=hint, **dict(details or {}))
        self.code = code
        self.retryable = retryable  # type: ignore[misc]  # as above

    @classmethod
    def from_reason(cls, reason: Mapping[str, Any] | None, *, otherwise: str) -> Self:
        """Return the error for a recorded reason (`ConchError.as_dict`)."""
        reason = reason or {}
        return cls(
            str(reason.get("message") or otherwise),
            code=str(reason.get("code") or cls.code),
            hint=str(reason.get("hint") or ""),
            details=reason.get("details"),
        )


class UnreachableError(ConchError):
    """Nobody answers at the control API's address."""

    code = "not-running"
    retryable = True


class WaitTimeoutError(ConchError):
    """Something did not happen in the time that the caller gave it; it may still."""

    code = "wait-timed-out"
    retryable = True


class Client:
    """The control API as methods. Answers are the API's JSON objects, as its reference names them.

    Every method raises `ApiError` with the problem's code where the API refuses, and
    `UnreachableError` where nobody answers.

    Args:
        url: Where the control API is, such as `http://127.0.0.1:8090`.
        key: The administrator key; None for predictions and health only.
        timeout_s: Longest wait for one answer, in seconds.
    """

    def __init__(self, url: str, key: str | None = None, *, timeout_s: float = _TIMEOUT_S) -> None:
        headers = {} if key is None else {"authorization": f"Bearer {key}"}
        self._url = url
        self._http = httpx.Client(base_url=url, headers=headers, timeout=timeout_s)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close all connections."""
        self._http.close()

    # --- the platform

    def healthy(self) -> Json:
        """Return the answer of `/healthz`."""
        return self._object("GET", "/healthz")

    def ready(self) -> Json:
        """Return the checks of `/readyz`; `ApiError` with `not-ready` where one fails."""
        return self._object("GET", "/readyz")

    def status(self) -> Json:
        """Return the platform at a glance."""
        return self._object("GET", "/v1/status")

    def sweep(self, *, wait: bool = True) -> Json:
        """Have the registry looked at now; with `wait`, return what changed."""
        return self._object("POST", "/v1/sweep", params={"wait": wait})

    def scale(self, replicas: int, *, slot: str = "all") -> Json:
        """Change how many model servers a slot has, or every slot; return the wanted numbers."""
        body = {"slot": slot, "replicas": replicas}
        return self._object("POST", "/v1/platform/scale", json=body)

    def mlflow(self) -> Json:
        """Return how MLflow is followed, and which webhooks came from it."""
        return self._object("GET", "/v1/mlflow")

    # --- models

    def models(self, *, tags: Sequence[str] = (), metrics: Sequence[str] = ()) -> list[Json]:
        """Return the models; filters as `key=value` and `name>=number`."""
        params = {"tag": list(tags), "metric": list(metrics)}
        return self._list("GET", "/v1/models", params=params)

    def model(self, name: str) -> Json:
        """Return one model."""
        return self._object("GET", _model(name))

    def versions(self, name: str) -> list[Json]:
        """Return a model's versions, the newest first."""
        return self._list("GET", f"{_model(name)}/versions")

    def version(self, name: str, number: int) -> Json:
        """Return one version."""
        return self._object("GET", f"{_model(name)}/versions/{number}")

    def register(
        self,
        name: str,
        path: Path,
        *,
        framework: str | None = None,
        tags: Mapping[str, str] | None = None,
        description: str = "",
        example: Path | None = None,
        metrics: Mapping[str, float] | None = None,
    ) -> Json:
        """Register a model file on the control plane's machine as the next version of a name."""
        body = {
            "name": name,
            "path": str(path.absolute()),
            "framework": framework,
            "tags": dict(tags or {}),
            "description": description,
            "example": None if example is None else str(example.absolute()),
            "metrics": dict(metrics or {}),
        }
        return self._object("POST", "/v1/models/register", json=body)

    def diff(self, name: str, old: int, new: int) -> Json:
        """Return two versions of a model side by side."""
        return self._object("GET", f"{_model(name)}/diff", params={"old": old, "new": new})

    def retry_build(self, name: str, number: int, *, pin: str | None = None) -> Json:
        """Build a version again, refused or, with a pin, in another form; return the version."""
        return self._object(
            "POST", f"{_model(name)}/versions/{number}/build", params=_given(pin=pin)
        )

    def predict(
        self,
        name: str,
        inputs: Mapping[str, Any] | Sequence[Any],
        *,
        version: int | None = None,
        unit: str | None = None,
    ) -> Json:
        """Ask a model.

        Args:
            name: The registered name.
            inputs: Nested lists by tensor name; one nested list for a model with one input; or a
                list of objects, one per row.
            version: The registry's integer, to pin one; None for the traffic split's choice.
            unit: Whom it is for; the same unit gets the same version.
        """
        body: Json = {"inputs": inputs, "version": "latest" if version is None else version}
        if unit is not None:
            body["unit"] = unit
        return self._object("POST", f"{_model(name)}/predict", json=body)

    # --- builds and deployments

    def builds(self, *, model: str | None = None, limit: int = 100) -> list[Json]:
        """Return builds without their reports, the newest first."""
        return self._list("GET", "/v1/builds", params=_given(model=model, limit=limit))

    def build(self, build_id: str) -> Json:
        """Return one build with its verification report."""
        return self._object("GET", f"/v1/builds/{quote(build_id, safe='')}")

    def report(self, build_id: str) -> Json:
        """Return a build's verification report; a refused build's too, if it got that far."""
        return self._object("GET", f"/v1/builds/{quote(build_id, safe='')}/report")

    def report_page(self, build_id: str) -> str:
        """Return a build's verification report as one HTML page."""
        return self._ask("GET", f"/v1/builds/{quote(build_id, safe='')}/report.html").text

    def deployments(self) -> list[Json]:
        """Return every deployment."""
        return self._list("GET", "/v1/deployments")

    def deployment(self, name: str) -> Json:
        """Return one deployment by its own name or by its model's."""
        return self._object("GET", f"/v1/deployments/{quote(name, safe='')}")

    # --- releases

    def releases(self, *, model: str | None = None, limit: int = 100) -> list[Json]:
        """Return releases, the newest first."""
        return self._list("GET", "/v1/releases", params=_given(model=model, limit=limit))

    def release(self, release_id: str) -> Json:
        """Return one release."""
        return self._object("GET", f"/v1/releases/{quote(release_id, safe='')}")

    def start_release(
        self,
        name: str,
        version: int,
        *,
        weight: float = 0,
        bake_s: int | None = None,
        note: str = "",
        plan: str | Mapping[str, Any] | None = None,
        changes: Mapping[str, Any] | None = None,
    ) -> Json:
        """Start a release.

        Args:
            name: The registered model.
            version: The registry's integer.
            weight: By hand: percent, taken once the candidate is ready.
            bake_s: By hand: how long the version that loses stays loaded, in seconds.
            note: Why; needed for a version that was rolled back before.
            plan: The name of a preset, or the body of a plan; None: what the settings say.
            changes: Single fields on top of the plan, nested as in its body.
        """
        body = {
            "version": version,
            "weight": weight,
            "bake_s": bake_s,
            "note": note,
            "plan": plan,
            "set": changes,
        }
        return self._object("POST", f"{_model(name)}/releases", json=body)

    def plan_release(
        self,
        name: str,
        version: int,
        *,
        plan: str | Mapping[str, Any] | None = None,
        changes: Mapping[str, Any] | None = None,
    ) -> Json:
        """Return the plan that `start_release` would give the release; changes nothing."""
        body = {"version": version, "plan": plan, "set": changes}
        return self._object("POST", f"{_model(name)}/releases/plan", json=body)

    def plans(self, *, model: str | None = None) -> list[Json]:
        """Return the presets in the form of plan files."""
        return self._list("GET", "/v1/plans", params=_given(model=model))

    def pause(self, name: str, *, reason: str = "") -> Json:
        """Keep a planned release where it is; proven harm still rolls it back."""
        return self._steer(name, "pause", {"reason": reason})

    def resume(self, name: str) -> Json:
        """Let a paused release go on."""
        return self._steer(name, "resume")

    def approve(self, name: str) -> Json:
        """Open the gate at which a release waits for a person."""
        return self._steer(name, "approve")

    def abort(self, name: str, *, reason: str = "") -> Json:
        """End the open release; whatever it had goes back to the version before."""
        return self._steer(name, "abort", {"reason": reason})

    def decisions(self, release_id: str, *, records: bool = False, limit: int = 100) -> list[Json]:
        """Return what was decided about a release, the newest first."""
        path = f"/v1/releases/{quote(release_id, safe='')}/decisions"
        return self._list("GET", path, params={"records": records, "limit": limit})

    def explain(self, release_id: str) -> Json:
        """Return a release in sentences."""
        return self._object("GET", f"/v1/releases/{quote(release_id, safe='')}/explain")

    def simulate(
        self,
        release_id: str,
        plan: str | Mapping[str, Any],
        *,
        changes: Mapping[str, Any] | None = None,
    ) -> Json:
        """Return what another plan would have decided on what was recorded of a release."""
        body = {"plan": plan, "set": changes}
        path = f"/v1/releases/{quote(release_id, safe='')}/simulate"
        return self._object("POST", path, json=body)

    def set_weight(self, name: str, weight: float) -> Json:
        """Give the candidate a share of the traffic, in percent."""
        return self._object("PATCH", f"{_model(name)}/releases/current", json={"weight": weight})

    def promote(self, name: str) -> Json:
        """Give the candidate all traffic."""
        return self._object("POST", f"{_model(name)}/releases/current/promote")

    def rollback(self, name: str, *, reason: str = "") -> Json:
        """Give all traffic back to the version that was live before."""
        body = {"reason": reason}
        return self._object("POST", f"{_model(name)}/releases/current/rollback", json=body)

    def arm_metrics(self, name: str) -> list[Json]:
        """Return what each arm of a model's traffic did lately."""
        return self._list("GET", f"/v1/deployments/{quote(name, safe='')}/metrics")

    # --- experiments

    def experiments(self, *, model: str | None = None, limit: int = 100) -> list[Json]:
        """Return experiments, the newest first."""
        return self._list("GET", "/v1/experiments", params=_given(model=model, limit=limit))

    def experiment(self, experiment_id: str) -> Json:
        """Return one experiment with its arms."""
        return self._object("GET", f"/v1/experiments/{experiment_id}")

    def start_experiment(
        self,
        name: str,
        arms: Sequence[Mapping[str, Any]],
        *,
        title: str = "",
        plan: Mapping[str, Any] | None = None,
        changes: Mapping[str, Any] | None = None,
        note: str = "",
    ) -> Json:
        """Compare arms with the live version.

        Args:
            name: The registered model.
            arms: Objects with `version` or `build_id`, and `share` in percent or not at all.
            title: What people call it.
            plan: The body of a plan without steps.
            changes: Single fields on top of it.
            note: Why; kept with the experiment.
        """
        body = {"arms": arms, "name": title, "plan": plan, "set": changes, "note": note}
        return self._object("POST", f"{_model(name)}/experiments", json=body)

    def plan_experiment(
        self,
        name: str,
        arms: Sequence[Mapping[str, Any]],
        *,
        plan: Mapping[str, Any] | None = None,
        changes: Mapping[str, Any] | None = None,
    ) -> Json:
        """Return the plan that `start_experiment` would give the experiment; changes nothing."""
        body = {"arms": arms, "plan": plan, "set": changes}
        return self._object("POST", f"{_model(name)}/experiments/plan", json=body)

    def stop_experiment(self, name: str, *, reason: str = "") -> Json:
        """End a model's open experiment."""
        path = f"{_model(name)}/experiments/current/stop"
        return self._object("POST", path, json={"reason": reason})

    def findings(
        self, experiment_id: str, *, records: bool = False, limit: int = 100
    ) -> list[Json]:
        """Return what was found in an experiment, the newest first."""
        path = f"/v1/experiments/{experiment_id}/decisions"
        return self._list("GET", path, params=_given(records=records, limit=limit))

    def experiment_results(self, experiment_id: str) -> list[Json]:
        """Return what the newest look shows of each arm."""
        return self._list("GET", f"/v1/experiments/{experiment_id}/results")

    def explain_experiment(self, experiment_id: str) -> Json:
        """Return an experiment in sentences."""
        return self._object("GET", f"/v1/experiments/{experiment_id}/explain")

    def wait_experiment(
        self,
        experiment_id: str,
        *,
        status: str = "ended",
        timeout_s: float = 86_400.0,
        watch: Watch = lambda seen: None,
    ) -> Json:
        """Wait until an experiment is `running` with its routes in force, or `ended`; return it.

        Raises:
            ApiError: It ended before it ran.
            WaitTimeoutError: Not in time.
        """

        def look() -> Json | None:
            seen = self.experiment(experiment_id)
            watch(seen)
            if seen["status"] == "ended":
                if status != "ended":
                    raise ApiError.from_reason(seen["outcome"], otherwise="It ended.")
                return seen
            return seen if seen["status"] == status and self._divided(seen) else None

        return _wait(look, f"Experiment {experiment_id} to be {status}", timeout_s)

    def shadow(self, release_id: str) -> Json:
        """Return how a release's candidate answered copies of requests."""
        return self._object("GET", f"/v1/releases/{quote(release_id, safe='')}/shadow")

    # --- events

    def send_events(self, events: Iterable[Mapping[str, Any]]) -> Json:
        """Store metrics and feedback; returns once they are durable, all of them or none.

        Args:
            events: At most 10,000, each as in `docs/reference/api.md`. With an `id` of its own an
                event may be sent again until it was answered.
        """
        lines = "".join(json.dumps(event) + "\n" for event in events)
        headers = {"content-type": "application/x-ndjson"}
        return self._object("POST", "/v1/events", content=lines.encode(), headers=headers)

    def events(
        self, *, after: int | None = None, kind: str | None = None, limit: int = 100
    ) -> Json:
        """Return stored events from an offset on (None: the newest), and where to go on."""
        return self._object("GET", "/v1/events", params=_given(after=after, kind=kind, limit=limit))

    def event_stats(self) -> Json:
        """Return how the event log stands."""
        return self._object("GET", "/v1/events/stats")

    def _steer(self, name: str, action: str, body: Json | None = None) -> Json:
        return self._object("POST", f"{_model(name)}/releases/current/{action}", json=body)

    # --- jobs

    def jobs(self, *, unfinished: bool = False, limit: int = 100) -> list[Json]:
        """Return jobs, the newest first."""
        params = {"unfinished": unfinished, "limit": limit}
        return self._list("GET", "/v1/jobs", params=params)

    def job(self, job_id: str) -> Json:
        """Return one job."""
        return self._object("GET", f"/v1/jobs/{quote(job_id, safe='')}")

    def cancel_job(self, job_id: str) -> Json:
        """Ask for the end of a job."""
        return self._object("POST", f"/v1/jobs/{quote(job_id, safe='')}/cancel")

    # --- waiting

    def wait_verified(
        self,
        name: str,
        version: int,
        *,
        timeout_s: float = 600.0,
        watch: Watch = lambda seen: None,
    ) -> Json:
        """Wait until a version is verified and return it; `watch` sees it at every look.

        Raises:
            ApiError: It was refused; with the reason's code.
            WaitTimeoutError: Not in time.
        """

        def look() -> Json | None:
            seen = self._version_if_known(name, version)
            if seen is None:
                return None
            watch(seen)
            if seen["status"] == "refused":
                raise ApiError.from_reason(seen["reason"], otherwise="The version was refused.")
            return seen if seen["status"] == "verified" else None

        return _wait(look, f"Version {version} of {name!r} to be verified", timeout_s)

    def wait_live(
        self,
        name: str,
        version: int | None = None,
        *,
        timeout_s: float = 600.0,
        watch: Watch = lambda seen: None,
    ) -> int:
        """Wait until a model answers and return its live version.

        Args:
            name: The registered name.
            version: Wait until this one is live; None for any.
            timeout_s: How long, in seconds.
            watch: Sees the version (or, without one, the model) at every look.

        Raises:
            ApiError: The version was refused or could not be loaded; with the reason's code.
            WaitTimeoutError: Not in time.
        """

        def any_version() -> int | None:
            seen = self._known(lambda: self.model(name))
            if seen is None:
                return None
            watch(seen)
            live: int | None = seen["live_version"]
            return live if live is not None and self._routed(name, live) else None

        def this_version() -> int | None:
            assert version is not None
            seen = self._version_if_known(name, version)
            if seen is None:
                return None
            watch(seen)
            if seen["status"] == "refused" or seen["serving"] == "failed":
                raise ApiError.from_reason(seen["reason"], otherwise="The version cannot serve.")
            return version if seen["live"] and self._routed(name, version) else None

        if version is None:
            return _wait(any_version, f"{name!r} to answer", timeout_s)
        return _wait(this_version, f"Version {version} of {name!r} to be live", timeout_s)

    def wait_release_running(
        self, name: str, *, timeout_s: float = 300.0, watch: Watch = lambda seen: None
    ) -> Json:
        """Wait until the candidate of a model's newest release can be asked; return the release.

        Its weight is in force by then, which may be 0.

        Raises:
            ApiError: The release ended instead; with the reason's code.
            WaitTimeoutError: Not in time.
        """

        def look() -> Json | None:
            newest = self.releases(model=name, limit=1)
            if not newest:
                raise ApiError(f"{name!r} has no release.", code="no-release")
            release = newest[0]
            watch(release)
            if release["status"] in ("rolled-back", "failed"):
                words = f"The release ended: {release['status']}."
                raise ApiError.from_reason(release["reason"], otherwise=words)
            ready = release["status"] != "preparing" and self._in_force(name, release)
            return release if ready else None

        return _wait(look, f"The candidate of {name!r} to be ready", timeout_s)

    def wait_release_ended(
        self, name: str, *, timeout_s: float = 86_400.0, watch: Watch = lambda seen: None
    ) -> Json:
        """Wait until a model's newest release ended, well or not; return it.

        Raises:
            ApiError: The model has no release.
            WaitTimeoutError: Not in time.
        """

        def look() -> Json | None:
            newest = self.releases(model=name, limit=1)
            if not newest:
                raise ApiError(f"{name!r} has no release.", code="no-release")
            watch(newest[0])
            return newest[0] if newest[0]["finished_at"] is not None else None

        return _wait(look, f"The release of {name!r} to end", timeout_s)

    def wait_job(
        self, job_id: str, *, timeout_s: float = 600.0, watch: Watch = lambda seen: None
    ) -> Json:
        """Wait until a job ended well; return it.

        Raises:
            ApiError: It failed or was cancelled; with the outcome's code.
            WaitTimeoutError: Not in time.
        """

        def look() -> Json | None:
            seen = self.job(job_id)
            watch(seen)
            if seen["status"] in ("failed", "cancelled"):
                words = f"Job {seen['label']!r} {seen['status']}."
                raise ApiError.from_reason(seen["outcome"], otherwise=words)
            return seen if seen["status"] == "succeeded" else None

        return _wait(look, f"Job {job_id} to end", timeout_s)

    def _routed(self, name: str, version: int) -> bool:
        """Whether the routes in force name a version: rows say so a moment before they do."""
        deployment = self._known(lambda: self.deployment(name))
        return deployment is not None and any(
            arm["version"] == version for arm in deployment["arms"]
        )

    def _in_force(self, name: str, release: Json) -> bool:
        """Whether the routes in force name a release's candidate, while it is open at its weight.

        Routes that name it at 0 may be there before those of its first step.
        """
        deployment = self._known(lambda: self.deployment(name)) or {}
        if deployment.get("status") == "failed":
            return True  # the live version cannot answer: the routes stay until it is replaced
        given = _routed_weights(deployment).get(release["candidate_build_id"])
        moving = release["status"] in ("shadowing", "running")
        return given == release["weight"] if moving else given is not None

    def _divided(self, experiment: Json) -> bool:
        """Whether the routes in force divide the traffic as an experiment says."""
        deployment = self._known(lambda: self.deployment(experiment["model_name"])) or {}
        routed = _routed_weights(deployment)
        return all(routed.get(arm["build_id"]) == arm["weight"] for arm in experiment["arms"])

    def _version_if_known(self, name: str, version: int) -> Json | None:
        return self._known(lambda: self.version(name, version))

    def _known(self, ask: Callable[[], Json]) -> Json | None:
        """Return an object, or None while the registry has not been seen with it."""
        try:
            return ask()
        except ApiError as error:
            if error.code != "not-found":
                raise
            return None

    # --- the wire

    def _object(self, method: str, path: str, **given: Any) -> Json:
        value = self._send(method, path, **given)
        assert isinstance(value, dict)
        return value

    def _list(self, method: str, path: str, **given: Any) -> list[Json]:
        value = self._send(method, path, **given)
        assert isinstance(value, list)
        return value

    def _send(self, method: str, path: str, **given: Any) -> Any:
        return self._ask(method, path, **given).json()

    def _ask(self, method: str, path: str, **given: Any) -> httpx.Response:
        try:
            response = self._http.request(method, path, **given)
        except httpx.TimeoutException as error:
            raise WaitTimeoutError(
                f"The control API at {self._url} took too long over {method} {path}.",
                hint="It may still be done; look before you repeat it.",
            ) from error
        except httpx.TransportError as error:
            raise UnreachableError(
                f"Nobody answers at {self._url}: {error}.", hint="`conch up` starts the platform."
            ) from error
        if response.is_success:
            return response
        raise _problem(response)


def _problem(response: httpx.Response) -> ApiError:
    try:
        value = response.json()
        return ApiError(
            value["detail"],
            code=value["code"],
            hint=value.get("hint", ""),
            retryable=value.get("retryable", False),
            details=value.get("details"),
        )
    except (ValueError, KeyError, TypeError):
        return ApiError(
            f"{response.request.method} {response.request.url} was answered with "
            f"{response.status_code} {response.reason_phrase}, not by conch.",
            code=ApiError.code,
            hint="Is the address that of conch's control API?",
        )


def _model(name: str) -> str:
    return f"/v1/models/{quote(name, safe='')}"


def _given(**params: Any) -> dict[str, Any]:
    return {key: value for key, value in params.items() if value is not None}


def _routed_weights(deployment: Json) -> dict[str, float]:
    """Return the weights in force by build, in percent; empty where nothing is routed."""
    return {arm["build_id"]: arm["weight"] for arm in deployment.get("arms", ())}


def _wait(look: Callable[[], T | None], what: str, timeout_s: float) -> T:
    deadline = time.monotonic() + timeout_s
    while True:
        found = look()
        if found is not None:
            return found
        if time.monotonic() >= deadline:
            raise WaitTimeoutError(
                f"{what} took longer than {timeout_s:g} s.",
                hint="It may still happen: `conch jobs list` shows what is being done.",
            )
        time.sleep(_POLL_S)
