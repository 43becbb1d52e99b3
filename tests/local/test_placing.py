"""A slot's repository: placing, going back, and what a killed process leaves."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from handmade_builds import make_build

from conch.core import SlotName
from conch.local import BuildIncompleteError, Flavour, Home, flavour_of, installed_backends
from conch.local.desired import DesiredLoad
from conch.local.repositories import held, place, remove, settle, tidy, undo

A = SlotName("a")
PYTHON = {"python"}


def _load(tmp_path: Path, ordinal: int) -> DesiredLoad:
    return DesiredLoad.of(make_build(tmp_path / "builds", "m", ordinal))


def _files(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_a_placed_model_is_the_published_folder(tmp_path: Path) -> None:
    """The repository then holds exactly the files of the build, one version."""
    home, load = Home(tmp_path / "home"), _load(tmp_path, 3)
    placement = place(home, A, load, PYTHON)
    assert _files(placement.folder) == _files(load.path / "portable" / "m")
    assert held(home, A, load.model) == 3
    assert placement.previous is None


def test_replacing_keeps_the_former_aside_until_settled(tmp_path: Path) -> None:
    """`undo` brings back the very files that were there; `settle` removes them."""
    home = Home(tmp_path / "home")
    one, two = _load(tmp_path, 1), _load(tmp_path, 2)
    settle(place(home, A, one, PYTHON))
    before = (home.repository(A) / "m" / "1").stat().st_ino
    placement = place(home, A, two, PYTHON)
    assert held(home, A, one.model) == 2
    undo(placement)
    assert held(home, A, one.model) == 1
    assert (home.repository(A) / "m" / "1").stat().st_ino == before
    settle(place(home, A, two, PYTHON))
    assert held(home, A, one.model) == 2
    assert list(home.staging(A).iterdir()) == []


def test_placing_what_is_there_touches_nothing(tmp_path: Path) -> None:
    """File times stay, by which Triton tells whether a version changed."""
    home, load = Home(tmp_path / "home"), _load(tmp_path, 1)
    settle(place(home, A, load, PYTHON))
    folder = home.repository(A) / "m"
    before = [(path, path.stat().st_mtime_ns, path.stat().st_ino) for path in folder.rglob("*")]
    assert place(home, A, load, PYTHON).changed is False
    assert before == [(p, p.stat().st_mtime_ns, p.stat().st_ino) for p in folder.rglob("*")]


def test_other_versions_of_a_published_folder_stay_out(tmp_path: Path) -> None:
    """A slot holds one version even where the build's folder has several."""
    home, load = Home(tmp_path / "home"), _load(tmp_path, 2)
    (load.path / "portable" / "m" / "1").mkdir()
    (load.path / "portable" / "m" / "warmup").mkdir()
    folder = place(home, A, load, PYTHON).folder
    assert sorted(path.name for path in folder.iterdir()) == ["2", "config.pbtxt", "warmup"]


def test_a_read_only_build_can_be_placed_and_removed(tmp_path: Path) -> None:
    """A sealed build stays as it is; its copy in the slot is writable by Triton's backend."""
    home, load = Home(tmp_path / "home"), _load(tmp_path, 1)
    for directory, _, _ in os.walk(load.path):
        os.chmod(directory, 0o555)
    folder = place(home, A, load, PYTHON).folder
    assert (folder / "1").stat().st_mode & 0o200
    assert not (load.path / "portable" / "m" / "1").stat().st_mode & 0o222
    remove(home, A, load.model)
    assert held(home, A, load.model) is None
    for directory, _, _ in os.walk(load.path):
        os.chmod(directory, 0o755)


@pytest.mark.parametrize("missing", ["config.pbtxt", "1"])
def test_an_incomplete_build_is_refused_and_the_former_stays(tmp_path: Path, missing: str) -> None:
    """Nothing in the repository changes when the build lacks a file."""
    home, good, bad = Home(tmp_path / "home"), _load(tmp_path, 2), _load(tmp_path, 1)
    settle(place(home, A, good, PYTHON))
    path = bad.path / "portable" / "m" / missing
    path.rename(path.with_name("gone"))
    with pytest.raises(BuildIncompleteError):
        place(home, A, bad, PYTHON)
    assert held(home, A, good.model) == 2


def test_removing_and_tidying_leave_nothing(tmp_path: Path) -> None:
    """`remove` is idempotent; `tidy` ends what a killed process left half done."""
    home, load = Home(tmp_path / "home"), _load(tmp_path, 1)
    settle(place(home, A, load, PYTHON))
    remove(home, A, load.model)
    remove(home, A, load.model)
    assert list(home.repository(A).iterdir()) == []
    (home.staging(A) / "m.123.new" / "1").mkdir(parents=True)
    tidy(home, A)
    assert list(home.staging(A).iterdir()) == []


NATIVE = """
name: "m"
backend: "onnxruntime"
max_batch_size: 8
input [ { name: "x" data_type: TYPE_FP32 dims: [ 4 ] } ]
output [ { name: "y" data_type: TYPE_FP32 dims: [ 4 ] } ]
"""


def _with_native(load: DesiredLoad) -> DesiredLoad:
    folder = load.path / "native" / load.model
    (folder / str(load.ordinal)).mkdir(parents=True)
    (folder / "config.pbtxt").write_text(NATIVE)
    return load


@pytest.mark.parametrize(
    ("backends", "flavour"),
    [
        ({"python"}, Flavour.PORTABLE),
        ({"python", "onnxruntime"}, Flavour.NATIVE),
        ({"onnxruntime"}, Flavour.NATIVE),
        ({"python", "openvino"}, Flavour.PORTABLE),
    ],
    ids=["python alone", "both", "native alone", "another native one"],
)
def test_the_flavour_follows_what_the_runtime_offers(
    tmp_path: Path, backends: set[str], flavour: Flavour
) -> None:
    """The native one where its backend is there; else the portable one."""
    load = _with_native(_load(tmp_path, 1))
    assert flavour_of(load.path, load.model, backends) is flavour


def test_a_runtime_without_any_backend_of_the_build_is_told(tmp_path: Path) -> None:
    """Both sides are named: what the build has, and what there is."""
    load = _with_native(_load(tmp_path, 1))
    with pytest.raises(BuildIncompleteError, match=r"native \(backend onnxruntime\).*offers fil"):
        flavour_of(load.path, load.model, {"fil"})


def test_another_runtime_gets_the_same_version_in_its_flavour(tmp_path: Path) -> None:
    """What the repository holds is replaced where only the flavour changed, and kept otherwise."""
    home, load = Home(tmp_path / "home"), _with_native(_load(tmp_path, 1))
    settle(place(home, A, load, PYTHON))
    both = {"python", "onnxruntime"}
    settle(place(home, A, load, both))
    folder = home.repository(A) / "m"
    assert (folder / "config.pbtxt").read_text() == NATIVE
    assert place(home, A, load, both).changed is False
    assert place(home, A, load, PYTHON).changed is True


def test_backends_are_found_where_they_are_installed(tmp_path: Path) -> None:
    """A folder is one with its library or, for those written in Python, its model; else not."""
    for name, file in (
        ("onnxruntime", "libtriton_onnxruntime.so"),
        ("vllm", "model.py"),
        ("docs", "README.md"),
    ):
        (tmp_path / name).mkdir()
        (tmp_path / name / file).touch()
    assert installed_backends(tmp_path) == {"onnxruntime", "vllm"}
    assert installed_backends(tmp_path / "missing") == frozenset()
