"""The reference pages name what there is: error codes, settings, operations, commands."""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import typer
from memory_platform import MemoryPlatform
from pydantic import BaseModel

import conch
from conch.control.api import STATUSES, status_of
from conch.control.cli import app
from conch.control.settings import Settings
from conch.core import ConchError

REFERENCE = Path(__file__).resolve().parents[2] / "docs" / "reference"


def test_every_error_is_listed_as_it_is() -> None:
    """`errors.md` has a row for each code in the code base, with its status, and no other."""
    for name in _modules():
        importlib.import_module(name)
    known = {}
    kinds: list[type[ConchError]] = [ConchError, *_below(ConchError)]
    for kind in kinds:
        if "code" in vars(kind) and kind.__module__.startswith("conch."):
            listed = any(parent in STATUSES for parent in kind.__mro__ if parent is not ConchError)
            http = str(status_of(kind).value) if listed or kind.code == "internal" else ""
            known[kind.code] = (http, "yes" if kind.retryable else "")
    row = re.compile(r"^\| `([a-z-]+)` \| .+ \| ?(\d*) \| ?(yes|) ?\|$", re.MULTILINE)
    page = (REFERENCE / "errors.md").read_text()
    found = {code: (http, again) for code, http, again in row.findall(page)}
    missing = sorted(known.keys() - found.keys())
    gone = sorted(found.keys() - known.keys())
    assert not missing, f"errors.md lacks: {missing}"
    assert not gone, f"errors.md lists codes that no class has: {gone}"
    assert found == known


def test_every_setting_is_listed_with_its_default() -> None:
    """`settings.md` has a row for each setting, with the default that it has."""
    row = re.compile(r"^\| `([a-z_.]+)` \| (.+?) \| .+ \|$", re.MULTILINE)
    found = dict(row.findall((REFERENCE / "settings.md").read_text()))
    known = dict(_settings(Settings, ""))
    assert found.keys() == known.keys()
    for name, default in known.items():
        if name != "home":  # the user's own
            assert found[name].strip("`") == _written(default), name


def test_every_operation_is_listed(memory_platform: MemoryPlatform) -> None:
    """`api.md` has a row for each method and path."""
    schema = httpx.get(f"{memory_platform.url}/openapi.json", timeout=60).json()
    known = {
        f"{method.upper()} {path}"
        for path, methods in schema["paths"].items()
        for method in methods
    }
    page = (REFERENCE / "api.md").read_text()
    found = set(re.findall(r"^\| `([A-Z]+ /[^`]+)` \|", page, re.MULTILINE))
    assert found == known


def test_every_command_is_listed() -> None:
    """`cli.md` names each command, and no other."""
    page = (REFERENCE / "cli.md").read_text()
    for words in _commands(typer.main.get_command(app), "conch"):
        assert words in page, words


@pytest.mark.parametrize("name", ["cli", "api", "errors", "settings"])
def test_a_page_says_nothing_of_other_commands(name: str) -> None:
    """A command that a page names exists."""
    known = set(_commands(typer.main.get_command(app), "conch"))
    groups = {words.rpartition(" ")[0] for words in known} - {"conch"}
    page = (REFERENCE / f"{name}.md").read_text()
    for line in re.findall(r"`(conch [^`]+)`", page):
        words = [word for word in line.split() if re.fullmatch(r"[a-z-]+", word)]
        two, three = " ".join(words[:2]), " ".join(words[:3])
        assert {two, three} & (known | groups), line


def _modules() -> Iterator[str]:
    for module in pkgutil.walk_packages(conch.__path__, "conch."):
        # The first runs inside Triton, the second inside Alembic.
        if not module.name.endswith(".portable_model") and ".migrations" not in module.name:
            yield module.name


def _below(kind: type[ConchError]) -> Iterator[type[ConchError]]:
    for child in kind.__subclasses__():
        yield child
        yield from _below(child)


def _settings(model: type[BaseModel], prefix: str) -> Iterator[tuple[str, Any]]:
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from _settings(field.annotation, f"{prefix}{name}.")
        else:
            yield prefix + name, field.default


def _written(default: Any) -> str:
    match default:
        case None:
            return "none"
        case bool():
            return str(default).lower()
        case tuple():
            return "[" + ", ".join(f'"{item}"' for item in default) + "]"
    return str(default)


def _commands(command: Any, words: str) -> Iterator[str]:
    below = getattr(command, "commands", None)
    if below is None:
        yield words
        return
    for name, child in below.items():
        yield from _commands(child, f"{words} {name}")
