"""A release or an experiment as the records of its decisions, and where they come from."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from conch.ab import DecisionRecord, ReleasePlan, as_json, from_json, replays
from conch.core import ConchError


class NotebookError(ConchError):
    """A story cannot be read, or does not hold what is asked of it."""

    code = "notebook-unreadable"


@dataclass(frozen=True, slots=True, kw_only=True)
class Story:
    """Every recorded look, the oldest first.

    Attributes:
        name: What it is about, for titles.
        records: What each look was taken from, and what it decided; at least one.
    """

    name: str
    records: tuple[DecisionRecord, ...]

    def __post_init__(self) -> None:
        if not self.records:
            raise NotebookError(
                f"{self.name}: no look at any evidence is recorded.",
                hint="A release by hand decides nothing; one that just began has seen nothing yet.",
            )

    @property
    def plan(self) -> ReleasePlan:
        """The plan of the last look."""
        return self.records[-1].plan

    @property
    def last(self) -> DecisionRecord:
        """The last look."""
        return self.records[-1]

    def replays(self) -> bool:
        """Take every decision again with `conch.ab.decide`; tell whether all come out the same."""
        return all(replays(record) for record in self.records)


def read_api(url: str, *, key: str, release: str, timeout_s: float = 30.0) -> Story:
    """Read a release's decisions from the control API.

    Args:
        url: Where the control API is, such as `http://127.0.0.1:8090`.
        key: The administrator key, from `<home>/admin.key`.
        release: The release's id.
        timeout_s: Longest wait.

    Raises:
        NotebookError: The API does not answer, refuses, or has no look on record.
    """
    path = f"/v1/releases/{release}/decisions"
    found = _get(url, path, key=key, timeout_s=timeout_s, records="true", limit=1000)
    newest_first = [one["record"] for one in found if one.get("record") is not None]
    return _story(f"release {release}", reversed(newest_first))


def read_experiment(
    url: str, *, key: str, experiment: str, timeout_s: float = 30.0
) -> dict[str, Story]:
    """Read an experiment's findings from the control API: a story for each treatment.

    Args:
        url: Where the control API is, such as `http://127.0.0.1:8090`.
        key: The administrator key, from `<home>/admin.key`.
        experiment: The experiment's id.
        timeout_s: Longest wait, for each of two requests.

    Returns:
        By the treatment's name, such as `version 3 (build 5)`.

    Raises:
        NotebookError: The API does not answer, refuses, or has no look on record.
    """
    path = f"/v1/experiments/{experiment}"
    arms = _get(url, path, key=key, timeout_s=timeout_s)["arms"]
    found = _get(url, f"{path}/decisions", key=key, timeout_s=timeout_s, records="true", limit=1000)
    looks = [one["records"] for one in reversed(found) if one.get("records")]
    stories = {}
    for arm in arms:
        if arm["role"] == "treatment":
            name = f"version {arm['version']} (build {arm['ordinal']})"
            own = [records[arm["build_id"]] for records in looks if arm["build_id"] in records]
            stories[name] = _story(name, own)
    return stories


def read_file(path: Path) -> Story:
    """Read what `write_file` wrote.

    Raises:
        NotebookError: The file cannot be read or holds something else.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
        return _story(path.stem, [json.loads(line) for line in lines if line.strip()])
    except (OSError, ValueError) as error:
        raise NotebookError(f"{path} was not read: {error}.") from error


def write_file(story: Story, path: Path) -> None:
    """Keep a story in a file, one record a line: whoever has it can decide again."""
    text = "".join(json.dumps(as_json(record)) + "\n" for record in story.records)
    path.write_text(text, encoding="utf-8")


def _get(url: str, path: str, *, key: str, timeout_s: float, **params: Any) -> Any:
    headers = {"authorization": f"Bearer {key}"}
    try:
        with httpx.Client(base_url=url, headers=headers, timeout=timeout_s) as http:
            answer = http.get(path, params=params)
            answer.raise_for_status()
            return answer.json()
    except httpx.HTTPError as error:
        raise NotebookError(f"{url}{path} was not read: {error}.") from error


def _story(name: str, values: Iterable[object]) -> Story:
    return Story(name=name, records=tuple(from_json(DecisionRecord, value) for value in values))
