"""Tabular builds in a real Triton answer what the registered models answer."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from logged_tables import GAPS, MIXED, PEOPLE, RECIPES, TEXTS, log_table
from platform_fixtures import A, LocalPlatform, local_platform, serving_runtime

from conch.core import BuildRef, Ordinal, ServingSpec, TritonName
from conch.model_repo_builder import BuildRequest, build, preflight

__all__ = ["local_platform", "serving_runtime"]

pytestmark = pytest.mark.real

INPUTS = {
    "columns-logistic": {
        name: MIXED[name].to_numpy(dtype=object if name == "city" else None)[:12, None]
        for name in MIXED.columns
    },
    "text": {"input": TEXTS[:12, None]},
    "scaled-forest": {"input": RECIPES["scaled-forest"].rows[:12]},
    "xgboost": {"input": GAPS.to_numpy()[:12]},
    "lightgbm": {"input": PEOPLE.to_numpy()[:12]},
    "boosting-regressor": {"input": PEOPLE.to_numpy()[:12]},
}


@pytest.mark.parametrize("name", INPUTS)
def test_a_live_server_answers_as_the_source(
    name: str, tmp_path: Path, local_platform: LocalPlatform
) -> None:
    """The golden rows, rows beside splits among them, and rows of training, text included."""
    recipe = RECIPES[name]
    source, estimator = log_table(tmp_path / "model", recipe)
    model = TritonName(name)
    manifest = build(
        BuildRequest(
            build_id=name,
            registered_name=name,
            model=model,
            ordinal=Ordinal(1),
            source=source,
            output=local_platform.home / "builds" / name / "1",
            spec=ServingSpec(max_batch_size=16),
        )
    )
    target = local_platform.target
    target.load(
        BuildRef(
            build_id=name,
            model=model,
            ordinal=manifest.ordinal,
            path=manifest.path,
            digest=manifest.digest,
            signature=manifest.signature,
            max_batch_size=manifest.max_batch_size,
        ),
        A,
        timeout_s=60,
    )
    result = preflight(manifest.path, lambda inputs: target.infer(model, A, inputs, timeout_s=20))
    assert result.rows >= 7
    found = target.infer(model, A, INPUTS[name], timeout_s=20)
    rows = recipe.rows[:12]
    if hasattr(estimator, "classes_"):
        labels = [v.decode() if isinstance(v, bytes) else v for v in found["label"][:, 0]]
        assert labels == list(estimator.predict(rows))
        np.testing.assert_allclose(
            found["probabilities"], estimator.predict_proba(rows), rtol=1e-5, atol=1e-6
        )
    else:
        np.testing.assert_allclose(found["prediction"][:, 0], estimator.predict(rows), rtol=1e-5)
