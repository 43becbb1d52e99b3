"""Linting files: KServe's own samples, pairs of old and new, exit codes, text."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from kserve_manifests import as_text, manifest

from conch.kserve import DeploymentMode, KServeVersion, Severity, render_lint, run

DATA = Path(__file__).parent / "data"
V20, V21 = KServeVersion.V0_20, KServeVersion.V0_21
KNATIVE = DeploymentMode.KNATIVE
FAULTY = {
    "rollout-strategy-rollout-strategy-example.yaml": {
        "schema-unknown-field",
        "one-implementation",
    },
    "storage-pvc-mnist-pvc.yaml": {"document-api-version"},
}


def written(path: Path, change: dict[str, object]) -> Path:
    path.write_text(as_text(manifest("InferenceService", change, version=V20, mode=KNATIVE)))
    return path


def test_the_samples_of_kserve_are_clean_but_for_the_two_faulty_ones() -> None:
    """The linter accepts what KServe publishes, and refuses exactly its two faults."""
    files = sorted((DATA / "samples").glob("*.yaml"))
    outcome = run(files, kserve_version=V21, mode=KNATIVE)
    bad = {
        file.path.name: {f.code for f in file.findings if f.severity is not Severity.NOTE}
        for file in outcome.files
    }
    assert len(files) == 39
    assert {name: codes for name, codes in bad.items() if codes} == FAULTY
    assert outcome.exit_code == 1


@pytest.mark.parametrize("version", list(KServeVersion))
def test_the_built_in_runtimes_are_clean_in_every_version(version: KServeVersion) -> None:
    """KServe's own serving runtimes carry no error and no warning."""
    files = sorted((DATA / "runtimes").glob("*.yaml"))
    outcome = run(files, kserve_version=version, mode=KNATIVE)
    assert len(files) == 15
    assert outcome.exit_code == 0, render_lint(outcome, notes=False)


def test_new_beside_old_is_an_update(tmp_path: Path) -> None:
    """`NAME.new.yaml` is compared with `NAME.old.yaml`, which is not linted by itself."""
    old = written(tmp_path / "m.old.yaml", {"spec": {"predictor": {"minReplica": 1}}})
    new = written(
        tmp_path / "m.new.yaml",
        {"spec": {"predictor": {"canaryTrafficPercent": 5, "model": {"storageUri": "s3://b/2"}}}},
    )
    outcome = run([old, new], kserve_version=V20, mode=KNATIVE)
    (file,) = outcome.files
    assert file.compared_with == old
    assert [f.code for f in file.findings] == ["update-canary-jump"]
    assert run([new], kserve_version=V20, mode=KNATIVE) == outcome


def test_exit_codes(tmp_path: Path) -> None:
    """0 is clean (notes are clean), 1 has findings, 2 could not be read."""
    clean = written(tmp_path / "a.yaml", {"spec": {"predictor": {"nodeSelector": {"a": "b"}}}})
    faulty = written(tmp_path / "b.yaml", {"metadata": {"name": "1"}})
    broken = tmp_path / "c.yaml"
    broken.write_text("a: [")
    binary = tmp_path / "d.yaml"
    binary.write_bytes(b"\xff\xfe\x00")
    for files, code in (
        ([clean], 0),
        ([clean, faulty], 1),
        ([faulty, broken], 2),
        ([binary], 2),
        ([tmp_path / "absent.yaml"], 2),
    ):
        assert run(files, kserve_version=V20, mode=KNATIVE).exit_code == code


def test_the_outcome_is_json_and_text(tmp_path: Path) -> None:
    """People read one line per finding with its place; programs read the same as JSON."""
    faulty = written(tmp_path / "b.yaml", {"metadata": {"name": "1"}})
    outcome = run([faulty], kserve_version=V21, mode=KNATIVE)
    value = json.loads(json.dumps(outcome.as_dict()))
    (finding,) = value["files"][0]["findings"]
    assert (finding["code"], finding["path"], value["exit_code"]) == (
        "name-format",
        "metadata.name",
        1,
    )
    first, summary, origin = render_lint(outcome).splitlines()
    assert first.startswith(f"{faulty}:{finding['line']}: error name-format: ")
    assert summary.startswith("1 file(s) against KServe 0.21, knative mode: 1 error(s)")
    assert "between 0.20.0 and 0.21.0" in origin
