"""The demonstration's story, step by step, with what it took and what to look at."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

import numpy as np

from conch import local
from conch.core import ConchError

from .. import platform
from ..client import Client
from ..keys import read_key
from ..settings import Settings
from .load import Load
from .training import Digits, Trained, accuracy, load_digits, register, train

NAME: Final = "digits"
_SOAK_S: Final = 1.5
_BATCH: Final = 50


class DemoFailedError(ConchError):
    """The demonstration saw something that must not happen."""

    code = "demo-failed"


Say = Callable[[str], None]


def run(settings: Settings, *, once: bool, say: Say) -> int:
    """Tell the whole story; return 0 when every promise held.

    Args:
        settings: Where to run; ports that are taken are replaced by free ones.
        once: Whether to stop the platform at the end.
        say: Takes one line of plain text at a time.

    Raises:
        DemoFailedError: A request failed, or an answer was wrong.
    """
    if not platform.status(settings).running:
        settings = platform.with_free_ports(settings)
    story = _Story(settings, say)
    try:
        story.tell()
    finally:
        if once:
            with story.step("stop the platform"):
                platform.down(settings)
    if not once:
        story.what_next()
    return 0


class _Story:
    def __init__(self, settings: Settings, say: Say) -> None:
        self._settings = settings
        self._say = say
        self._took: list[tuple[str, float]] = []

    @contextmanager
    def step(self, title: str) -> Iterator[None]:
        """Time a step and say what it took."""
        start = time.perf_counter()
        yield
        took = time.perf_counter() - start
        self._took.append((title, took))
        self._say(f"{took:7.2f} s  {title}")

    def tell(self) -> None:
        with self.step("serving runtime installed (Triton and Envoy)"):
            local.install(
                spec=platform.runtime_spec(self._settings),
                progress=lambda line: self._say(f"           {line}"),
            )
        with self.step("platform up: MLflow, control plane, 2 Triton servers, Envoy"):
            platform.up(self._settings, on_progress=lambda line: self._say(f"           {line}"))
        with self.step("two versions trained on scikit-learn's digits"):
            digits = load_digits()
            first = train(digits, seed=1, epochs=1)
            second = train(digits, seed=2, epochs=6)
        key = read_key(self._settings.home)
        with Client(self._settings.control_url, key=key) as client:
            self._play(client, digits, first, second)

    def _play(self, client: Client, digits: Digits, first: Trained, second: Trained) -> None:
        number = self._register(first, digits, "version registered in MLflow")
        with self.step(f"registered version {number} built, verified, loaded, checked, live"):
            client.sweep()
            self._live(client, number)
        expected = {self._ordinal(client, number): first.logits}
        inputs = client.version(NAME, number)["signature"]
        names = inputs["inputs"][0]["name"], inputs["outputs"][0]["name"]
        with self.step("held-out accuracy over HTTP, gRPC and predict"):
            self._compare(client, digits, first, names)
        if self._ordinal(client, number) != 1:
            self._say("           (an earlier run left versions behind; they keep serving)")
        load = Load(
            url=self._settings.inference_url,
            model=NAME,
            rows=digits.held_out,
            expected=expected,
            input_name=names[0],
            output_name=names[1],
            threads=2,
            grpc_threads=1,
        )
        with load:
            following = self._register(second, digits, "next version registered, under load")
            with self.step(f"version {following} built and verified beside it"):
                client.sweep()
                client.wait_verified(NAME, following, timeout_s=120)
            expected[self._ordinal(client, following)] = second.logits
            self._release(client, load, following)
        self._judge(load)

    def _register(self, trained: Trained, digits: Digits, title: str) -> int:
        with self.step(f"{title} (held-out accuracy {trained.accuracy:.3f})"):
            return register(trained, digits, name=NAME, tracking_uri=self._settings.mlflow_uri)

    def _release(self, client: Client, load: Load, number: int) -> None:
        with self.step(f"release of version {number} started: loaded, warmed, preflight passed"):
            client.start_release(NAME, number, note="the demonstration")
            client.wait_release_running(NAME, timeout_s=60)
        for percent in (10, 50):
            with self.step(f"{percent} % of the users"):
                client.set_weight(NAME, percent)
            self._watch(load)
        with self.step("promoted: 100 %"):
            client.promote(NAME)
        self._watch(load)
        with self.step("rolled back, without a load"):
            client.rollback(NAME, reason="the demonstration shows how")
        self._watch(load)
        with self.step("released again on a person's word, and promoted"):
            client.start_release(NAME, number, note="rolled back only to show it")
            client.wait_release_running(NAME, timeout_s=60)
            client.promote(NAME)
        self._watch(load)

    def _watch(self, load: Load) -> None:
        start = time.perf_counter()
        time.sleep(_SOAK_S)
        seen = load.tally.versions(since=start)
        total = max(1, seen.total())
        shares = ", ".join(
            f"Triton version {v}: {100 * n / total:.1f} %" for v, n in sorted(seen.items())
        )
        self._say(f"           {total} answers, {shares}")

    def _compare(
        self, client: Client, digits: Digits, trained: Trained, names: tuple[str, str]
    ) -> None:
        ways = {
            "HTTP": self._over_http(digits, names),
            "gRPC": self._over_grpc(digits, names),
            "predict": np.concatenate(
                [
                    np.asarray(client.predict(NAME, rows.tolist())["outputs"][names[1]])
                    for rows in _batches(digits.held_out)
                ]
            ),
        }
        for way, logits in ways.items():
            found = accuracy(logits, digits.labels)
            self._say(f"           {way}: {found:.3f}, the source model {trained.accuracy:.3f}")
            if found != trained.accuracy:
                raise DemoFailedError(f"The accuracy over {way} is not the source model's.")

    def _over_http(self, digits: Digits, names: tuple[str, str]) -> np.ndarray:
        from tritonclient import http

        address = self._settings.inference_url.removeprefix("http://")
        with http.InferenceServerClient(address) as client:
            answers = []
            for rows in _batches(digits.held_out):
                tensor = http.InferInput(names[0], list(rows.shape), "FP32")
                tensor.set_data_from_numpy(rows)
                answers.append(client.infer(NAME, [tensor]).as_numpy(names[1]))
        return np.concatenate(answers)

    def _over_grpc(self, digits: Digits, names: tuple[str, str]) -> np.ndarray:
        from tritonclient import grpc

        address = self._settings.inference_url.removeprefix("http://")
        with grpc.InferenceServerClient(address) as client:
            answers = []
            for rows in _batches(digits.held_out):
                tensor = grpc.InferInput(names[0], list(rows.shape), "FP32")
                tensor.set_data_from_numpy(rows)
                answers.append(client.infer(NAME, [tensor]).as_numpy(names[1]))
        return np.concatenate(answers)

    def _live(self, client: Client, number: int) -> None:
        """Wait for the first version; where an earlier run left one live, release this one."""
        client.wait_verified(NAME, number, timeout_s=120)
        live = client.wait_live(NAME, timeout_s=60)
        if live != number:
            client.start_release(NAME, number, note="the demonstration runs again")
            client.wait_release_running(NAME, timeout_s=60)
            client.promote(NAME)

    def _ordinal(self, client: Client, number: int) -> int:
        return int(client.version(NAME, number)["ordinal"])

    def _judge(self, load: Load) -> None:
        tally = load.tally
        self._say("")
        self._say(
            f"{len(tally.answers)} answers under load, {len(tally.failed)} failed, "
            f"{len(tally.wrong)} wrong."
        )
        if tally.failed or tally.wrong:
            raise DemoFailedError(
                f"{len(tally.failed)} requests failed and {len(tally.wrong)} answers were wrong; "
                f"the first: {(tally.failed + tally.wrong)[0]}"
            )

    def what_next(self) -> None:
        """Say what a person can look at now."""
        home = f"--home {self._settings.home}"
        self._say("")
        self._say("It is all still running:")
        self._say(f"  MLflow             {self._settings.mlflow_uri}   (see the tags conch.*)")
        self._say(f"  control API        {self._settings.control_url}/docs")
        self._say(f"  inference          {self._settings.inference_url}/v2/models/{NAME}")
        self._say("Try:")
        self._say(f"  conch {home} models show {NAME}")
        self._say(f"  conch {home} release rollback {NAME}")
        self._say(f"  conch {home} down")


def _batches(rows: np.ndarray) -> list[np.ndarray]:
    return [rows[start : start + _BATCH] for start in range(0, len(rows), _BATCH)]
