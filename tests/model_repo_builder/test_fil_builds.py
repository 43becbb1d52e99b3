"""Trees for the FIL backend: the frameworks' own file, checked by treelite, within an ensemble."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from logged_tables import GAPS, RECIPES, log_table

from conch.core import ModelFormat, Ordinal, ServingSpec, TritonName
from conch.model_repo_builder import BuildRequest, UnverifiedError, build
from conch.model_repo_builder.onnx_sessions import OnnxSession
from conch.model_repo_builder.single_trees import single_answers
from conch.model_repo_builder.tree_ensembles import Link, Rule, Tree, TreeEnsemble
from conch.triton_configs import ModelConfig, lint, parse

treelite = pytest.importorskip("treelite", reason="treelite is not installed")


def request(source: Path, output: Path) -> BuildRequest:
    """A build that insists on FIL."""
    return BuildRequest(
        build_id="b",
        registered_name="trees",
        model=TritonName("trees"),
        ordinal=Ordinal(3),
        source=source,
        output=output,
        spec=ServingSpec(max_batch_size=16, format=ModelFormat.FIL),
    )


def configs(path: Path) -> dict[str, ModelConfig]:
    """The native flavour's configurations by folder."""
    native = path / "native"
    return {
        folder.name: parse((folder / "config.pbtxt").read_text()) for folder in native.iterdir()
    }


def test_xgboost_becomes_an_ensemble_around_its_own_file(tmp_path: Path) -> None:
    """The ensemble has the model's own tensors; the file's trees, by treelite, its answers."""
    source, estimator = log_table(tmp_path / "model", RECIPES["xgboost"])
    manifest = build(request(source, tmp_path / "out"))
    assert manifest.flavours == {"portable": "onnx:fp32", "native": "fil:fp32 ensemble"}
    found = configs(manifest.path)
    members = {name: one for name, one in found.items() if name != "trees"}
    assert set(members) == {"trees__columns", "trees__trees", "trees__labels"}
    for name, one in found.items():
        assert lint(one, triton="26.05-py3", folder=name, versions=(3,), members=found) == ()
    assert [tensor.name for tensor in found["trees"].output] == ["label", "probabilities"]
    steps = {step["name"]: step for step in manifest.steps}
    assert steps["fil-file"]["taken"], steps["fil-file"]
    assert "does not run here" in steps["native"]["reason"]

    rows = GAPS.to_numpy()[:40]
    native = manifest.path / "native"
    file = native / "trees__trees/3/xgboost.ubj"
    model = treelite.frontend.load_xgboost_model(str(file), format_choice="ubjson")
    columns = OnnxSession((native / "trees__columns/3/model.onnx").read_bytes())
    labels = OnnxSession((native / "trees__labels/3/model.onnx").read_bytes())
    single = columns.run({"input": rows})["input__0"]
    assert single.dtype == np.float32
    scores = np.asarray(treelite.gtil.predict(model, single)).reshape(len(rows), -1)
    if scores.shape[1] == 1:
        scores = np.concatenate([1 - scores, scores], axis=1)
    answer = labels.run({"output__0": scores.astype(np.float32)})
    np.testing.assert_allclose(
        answer["probabilities"], estimator.predict_proba(rows), rtol=1e-5, atol=1e-6
    )
    assert answer["label"][:, 0].tolist() == list(estimator.predict(rows))


def test_trees_of_wider_numbers_are_refused_where_a_row_flips(tmp_path: Path) -> None:
    """LightGBM's thresholds are float64: beside one of them FP32 takes the other branch."""
    source, _ = log_table(tmp_path / "model", RECIPES["lightgbm"])
    with pytest.raises(UnverifiedError, match="splits-"):
        build(request(source, tmp_path / "out"))
    plain = replace(request(source, tmp_path / "plain"), spec=ServingSpec(max_batch_size=16))
    manifest = build(plain)
    assert manifest.flavours["native"] == "onnx:fp32 onnxruntime"
    reasons = {step["name"]: step["reason"] for step in manifest.steps}
    assert reasons["fil:fp32"] == "only where triton.format is fil"


@pytest.mark.parametrize("rule", list(Rule))
def test_thresholds_are_rounded_as_columns_are(rule: Rule) -> None:
    """In FP32 a column beside a threshold is equal to it, and goes where equals go."""
    tree = Tree(
        feature=np.array([0, -1, -1]),
        threshold=np.array([0.1, 0.0, 0.0]),
        left=np.array([1, 0, 0]),
        right=np.array([2, 0, 0]),
        missing_left=np.array([True, False, False]),
        value=np.array([[0.0], [1.0], [2.0]]),
    )
    ensemble = TreeEnsemble(trees=(tree,), rule=rule, base=np.zeros(1), link=Link.IDENTITY)
    columns = np.array([[np.nextafter(0.1, 1)], [np.nextafter(0.1, 0)], [0.2], [np.nan]])
    equal = 1.0 if rule is Rule.AT_MOST else 2.0
    assert single_answers(ensemble, columns)[:, 0].tolist() == [equal, equal, 2.0, 1.0]
