"""The source roots stay as the architecture says, in every place where they are listed."""

from __future__ import annotations

import importlib
import tomllib
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]
ROOTS = sorted(path.parent.name for path in ROOT.glob("*/conch"))


@pytest.fixture(scope="module")
def project() -> dict[str, Any]:
    """The parsed `pyproject.toml`."""
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def test_the_roots_are_found() -> None:
    """There are ten source roots; a glob that finds none would let every other test pass."""
    assert len(ROOTS) == 10
    assert {"control", "kserve", "core"} <= set(ROOTS)


@pytest.mark.parametrize("root", ROOTS)
def test_a_root_holds_exactly_its_piece_of_the_namespace(root: str) -> None:
    """A stray `__init__.py` would hide all other roots, or shadow the kserve SDK."""
    assert not (ROOT / root / "__init__.py").exists()
    assert not (ROOT / root / "conch" / "__init__.py").exists()
    assert [path.name for path in (ROOT / root / "conch").iterdir() if path.is_dir()] == [root]
    assert (ROOT / root / "conch" / root / "py.typed").is_file()
    module = importlib.import_module(f"conch.{root}")
    assert module.__doc__
    assert module.__file__ is not None
    assert Path(module.__file__).is_relative_to(ROOT / root)


def test_every_list_of_roots_is_complete(project: dict[str, Any]) -> None:
    """The roots are listed in several places; they agree."""
    tool = project["tool"]
    mypy_path = [path.rpartition("/")[2] for path in tool["mypy"]["mypy_path"]]
    listed = {
        "hatch packages": [
            Path(path).parent.name
            for path in tool["hatch"]["build"]["targets"]["wheel"]["packages"]
        ],
        "dev-mode-dirs": tool["hatch"]["build"]["dev-mode-dirs"],
        "mypy_path": [name for name in mypy_path if name not in ("support", "benchmarks")],
        "mypy files": [n for n in tool["mypy"]["files"] if n not in ("tests", "benchmarks")],
        "pyright extraPaths": tool["pyright"]["extraPaths"],
        "pyright include": [name for name in tool["pyright"]["include"] if name != "tests"],
        "coverage source": tool["coverage"]["run"]["source"],
        "pytest testpaths": [
            n for n in tool["pytest"]["ini_options"]["testpaths"] if n not in ("tests", "docs")
        ],
    }
    assert {place: sorted(names) for place, names in listed.items()} == dict.fromkeys(listed, ROOTS)


def test_the_tests_hold_no_packages() -> None:
    """`tests/kserve/__init__.py` would shadow the kserve SDK."""
    assert not list((ROOT / "tests").rglob("__init__.py"))
