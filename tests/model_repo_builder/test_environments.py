"""Stored code is loaded with what it was logged with: the rule, the making, the end."""

from __future__ import annotations

import json
import os
import threading
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conch.model_repo_builder import BuildCancelledError, CorruptArtefactError
from conch.model_repo_builder.environments import (
    Environment,
    Kept,
    conch_path,
    digest_of,
    ensure,
    look,
    remove,
    requirements_of,
    superfluous,
)
from conch.model_repo_builder.errors import EnvironmentFailedError
from conch.model_repo_builder.recorded_requirements import (
    Recorded,
    holds_code,
    judge,
    read_recorded,
)

HERE = {"scikit-learn": "1.9.1", "mlflow-skinny": "3.17.2", "torch": "2.13.0+cpu", "numpy": "2.4.6"}


@pytest.mark.parametrize(
    ("line", "near"),
    [
        ("scikit-learn==1.9.0", True),
        ("scikit-learn==1.8.2", False),
        ("scikit_learn==1.9.1", True),
        ("mlflow==3.17.0", True),
        ("torch==2.13.0", True),
        ("torch==2.13.0+cu130", True),
        ("torch==2.12.0", False),
        ("numpy>=1.26", True),
        ("numpy<2", False),
        ("numpy~=2.4.0", True),
        ("xgboost==3.2.0", False),
        ("pywin32==1; sys_platform == 'win32'", True),
    ],
)
def test_the_rule(line: str, near: bool) -> None:
    """Major and minor version for a pin, as written for anything else, absent is too far."""
    found = judge(Recorded(python="3.11.2", lines=(line,)), python="3.11.9", installed=HERE.get)
    assert found.near is near
    assert near or line in found.note


def test_another_python_is_too_far() -> None:
    """Pickled code objects are of one minor version."""
    found = judge(Recorded(python="3.10.4", lines=()), python="3.11.9", installed=HERE.get)
    assert found.differences == ("Python 3.10.4 was recorded, 3.11.9 is here",)


@pytest.mark.parametrize(
    "line",
    [
        "-r other.txt",
        "--index-url https://example.org",
        "torch @ https://example.org/torch.whl",
        "git+https://example.org/x.git",
        "./wheels/own.whl",
    ],
)
def test_only_packages_by_name_are_installed(line: str, tmp_path: Path) -> None:
    """An address or an option in the file would let a model choose what pip runs."""
    (tmp_path / "requirements.txt").write_text(f"numpy\n{line}\n")
    with pytest.raises(EnvironmentFailedError, match="by its name"):
        read_recorded(tmp_path)


def test_what_is_recorded_is_read(tmp_path: Path) -> None:
    """Comments and empty lines are not requirements; a broken file is told."""
    assert read_recorded(tmp_path) is None
    (tmp_path / "requirements.txt").write_text("# made by MLflow\n\nnumpy==2.4.6 # why\nmlflow\n")
    (tmp_path / "python_env.yaml").write_text("python: 3.11.7\n")
    assert read_recorded(tmp_path) == Recorded(python="3.11.7", lines=("mlflow", "numpy==2.4.6"))
    (tmp_path / "python_env.yaml").write_text("{")
    with pytest.raises(CorruptArtefactError):
        read_recorded(tmp_path)


@pytest.mark.parametrize(
    ("name", "code"),
    [("model.pkl", True), ("model.pth", True), ("x.cloudpickle", True), ("model.skops", False)],
)
def test_what_holds_code(name: str, code: bool, tmp_path: Path) -> None:
    """By what is in the folder, wherever it lies."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / name).write_bytes(b"x")
    assert holds_code(tmp_path) is code


def test_conversion_gets_what_it_needs_beside_what_was_recorded() -> None:
    """What was recorded is never asked for twice, so that the pin stands."""
    recorded = Recorded(python="3.11.7", lines=("numpy==2.3.0", "scikit-learn==1.8.0"))
    found = requirements_of(recorded)
    assert found[:2] == recorded.lines
    assert "numpy" not in found
    assert {"onnxruntime", "skl2onnx", "skops"} <= set(found)
    other = Recorded(python="3.11.9", lines=recorded.lines)
    assert digest_of(recorded) == digest_of(other) != digest_of(Recorded(python="3.12", lines=()))


def test_another_interpreter_sees_three_parts_of_conch(tmp_path: Path) -> None:
    """And nothing else that is installed here."""
    folder = conch_path(tmp_path)
    assert conch_path(tmp_path) == folder
    assert sorted(path.name for path in (folder / "conch").iterdir()) == [
        "core",
        "model_repo_builder",
        "triton_configs",
    ]


def made(root: Path, name: str, *, size_bytes: int = 10) -> Environment:
    """Lay out a finished environment by hand."""
    path = root / name
    path.mkdir()
    (path / "complete.json").write_text(json.dumps({"size_bytes": size_bytes}))
    return Environment(path=path)


def test_a_failed_installation_tells_pips_last_words(tmp_path: Path) -> None:
    """The second attempt starts anew: half of an environment is none."""
    recorded = Recorded(python="", lines=("conch-no-such-package-for-tests==9.9.9",))
    lines: list[str] = []
    with pytest.raises(EnvironmentFailedError, match="No matching distribution") as error:
        ensure(recorded, root=tmp_path, progress=lines.append)
    assert "conch-no-such-package-for-tests" in error.value.details["last_words"]
    assert any("installing" in line for line in lines)
    assert look(tmp_path, now=time.time()) == ()


def test_a_python_that_is_not_here_is_named(tmp_path: Path) -> None:
    """Nothing is made for it."""
    with pytest.raises(EnvironmentFailedError, match=r"no python2\.9"):
        ensure(Recorded(python="2.9.1", lines=()), root=tmp_path)


def test_making_can_be_cancelled(tmp_path: Path) -> None:
    """pip and what it started end with it, and the next caller can begin."""
    recorded = Recorded(python="", lines=("conch-no-such-package-for-tests==9.9.9",))
    with pytest.raises(BuildCancelledError):
        ensure(recorded, root=tmp_path, cancelled=lambda: True)
    with pytest.raises(EnvironmentFailedError, match="not made within"):
        ensure(recorded, root=tmp_path, limit_s=1e-6)


def test_a_second_caller_waits_for_the_first(tmp_path: Path) -> None:
    """It holds no turn while it waits, and can be cancelled."""
    recorded = Recorded(python="", lines=())
    path = tmp_path / digest_of(recorded)
    environment = Environment(path=path)
    path.mkdir()
    (path / "complete.json").write_text('{"size_bytes": 1}')
    asked = threading.Event()

    def cancelled() -> bool:
        asked.set()
        return True

    with environment.used(), pytest.raises(BuildCancelledError):
        ensure(recorded, root=tmp_path, cancelled=cancelled)
    assert asked.is_set()
    assert ensure(recorded, root=tmp_path) == environment


def test_what_is_used_or_served_from_stays(tmp_path: Path) -> None:
    """A lock keeps an environment while a worker runs in it, a build's folder while it exists."""
    served, used, idle = (made(tmp_path, name) for name in ("served", "used", "idle"))
    build = tmp_path / "builds" / "1"
    build.mkdir(parents=True)
    served.keep_for(build)
    for one in (served, used, idle):
        os.utime(one.path / "complete.json", (0, 0))
    with used.used():
        os.utime(used.path / "complete.json", (0, 0))
        gone = remove(superfluous(look(tmp_path, now=time.time())))
    assert gone == (idle.path,)
    assert not idle.path.exists()
    assert used.path.exists()
    build.rmdir()
    assert {one.path for one in look(tmp_path, now=time.time()) if not one.needed} == {
        served.path,
        used.path,
    }


@given(st.lists(st.tuples(st.floats(0, 1e7), st.integers(0, 100), st.booleans()), max_size=8))
def test_pruning_keeps_within_its_size(facts: list[tuple[float, int, bool]]) -> None:
    """Whatever is there: nothing needed goes, and what stays fits unless it is needed."""
    kept = tuple(
        sorted(
            (
                Kept(path=Path(str(n)), unused_s=unused, size_bytes=size, needed=needed)
                for n, (unused, size, needed) in enumerate(facts)
            ),
            key=lambda one: -one.unused_s,
        )
    )
    gone = superfluous(kept, unused_s=1e6, largest_bytes=150)
    left = [one for one in kept if one.path not in gone]
    assert not [one for one in kept if one.needed and one.path in gone]
    assert not [one for one in left if not one.needed and one.unused_s > 1e6]
    assert sum(one.size_bytes for one in left) <= 150 or all(one.needed for one in left)
