"""Manifests and digests: what was published can be told from what was changed."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conch.core import DType, Ordinal, Signature, TensorSpec, TritonName
from conch.model_repo_builder import (
    BuildRequest,
    CorruptArtefactError,
    DigestMismatchError,
    Manifest,
    VerificationReport,
    build,
    check_digest,
    read_manifest,
    read_report,
    rows,
)
from conch.model_repo_builder.digests import folder_digest
from conch.model_repo_builder.manifests import write_manifest

names = st.text(st.characters(codec="utf-8", exclude_characters="/\0\n\\"), min_size=1, max_size=8)
trees = st.dictionaries(names.filter(lambda n: n not in (".", "..")), st.binary(max_size=40))


def written(files: dict[str, bytes], folder: Path) -> Path:
    """Write files into a folder."""
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder


@given(trees, trees)
def test_digests_are_equal_exactly_for_equal_files(
    left: dict[str, bytes], right: dict[str, bytes]
) -> None:
    """Names and contents count, and nothing else."""
    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as two:
        digests = [
            folder_digest(written(left, Path(one))),
            folder_digest(written(right, Path(two))),
        ]
    assert (digests[0] == digests[1]) == (left == right)


def test_a_digest_can_be_reproduced_with_sha256sum(tmp_path: Path) -> None:
    """It is the SHA-256 of what `sha256sum` prints for the files in order."""
    (tmp_path / "b").mkdir()
    written({"c": b"3", "a": b"1"}, tmp_path)
    written({"x": b"2"}, tmp_path / "b")
    printed = subprocess.run(
        ["sha256sum", "a", "b/x", "c"], cwd=tmp_path, capture_output=True, check=True
    ).stdout
    assert folder_digest(tmp_path) == hashlib.sha256(printed).hexdigest()


def test_a_link_has_no_digest(tmp_path: Path) -> None:
    """What it points to could change, or be anywhere."""
    (tmp_path / "link").symlink_to("/etc/hostname")
    with pytest.raises(CorruptArtefactError, match="link"):
        folder_digest(tmp_path)


@given(
    st.builds(
        Manifest,
        build_id=st.text(min_size=1),
        registered_name=st.text(min_size=1),
        model=st.just(TritonName("m")),
        ordinal=st.integers(1, 99).map(Ordinal),
        path=st.just(Path("x")),
        digest=st.text("0123456789abcdef", min_size=64, max_size=64),
        signature=st.just(
            Signature(
                inputs=(TensorSpec(name="x", dtype=DType.FP32, shape=(-1, 2)),),
                outputs=(TensorSpec(name="y", dtype=DType.BYTES, shape=()),),
            )
        ),
        max_batch_size=st.integers(0, 4096),
        flavour=st.sampled_from(["onnx", "pytorch"]),
        graph_digest=st.text(),
        source_digest=st.text(),
        verification=st.text(),
        strong=st.booleans(),
        weaknesses=st.lists(st.text(), max_size=3).map(tuple),
        steps=st.just(({"name": "keep-onnx", "taken": True, "reason": "because"},)),
        timings_s=st.dictionaries(st.text(), st.floats(0, 1e3)),
        tools=st.dictionaries(st.text(), st.text()),
    )
)
def test_a_manifest_is_read_as_it_was_written(manifest: Manifest) -> None:
    """Whatever its texts are."""
    with tempfile.TemporaryDirectory() as folder:
        write_manifest(manifest, Path(folder))
        found = read_manifest(Path(folder))
    assert found.as_dict() == manifest.as_dict()
    assert found.path == Path(folder)


def test_a_changed_build_is_found_out(
    linear: Path, request_for: Callable[..., BuildRequest], tmp_path: Path
) -> None:
    """One byte more, a file more, a file less: each is another build; a copy is the same."""
    output = build(request_for(linear)).path
    changes: tuple[Callable[[Path], object], ...] = (
        lambda path: os.truncate(path / "portable/digits/1/model.onnx", 100),
        lambda path: (path / "portable" / "more").write_text(""),
        lambda path: (path / "golden.npz").unlink(),
    )
    for number, change in enumerate(changes):
        copy = tmp_path / f"copy-{number}"
        shutil.copytree(output, copy)
        assert check_digest(copy) == check_digest(output)
        change(copy)
        with pytest.raises(DigestMismatchError):
            check_digest(copy)


def test_a_report_is_read_as_it_was_written(
    linear: Path, request_for: Callable[..., BuildRequest]
) -> None:
    """The report survives JSON, and its table has one row per output."""
    report = read_report(build(request_for(linear)).path)
    assert VerificationReport.from_dict(report.as_dict()) == report
    ((name, dtype, *_, verdict),) = rows(report)
    assert (name, dtype, verdict) == ("z", "FP32", "agrees")


def test_requests_cross_a_process_boundary(
    linear: Path, request_for: Callable[..., BuildRequest]
) -> None:
    """A request is equal after JSON."""
    request = request_for(linear, seed=5, refuse_weak_evidence=True)
    assert BuildRequest.from_dict(request.as_dict()) == request
