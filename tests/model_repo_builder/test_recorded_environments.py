"""A pickled model of another scikit-learn, built in the environment that it was logged with."""

from __future__ import annotations

import subprocess
import textwrap
from collections.abc import Callable
from pathlib import Path

import mlflow
import numpy as np
import pytest
from mlflow.models import infer_signature
from sklearn.linear_model import LogisticRegression

from conch.model_repo_builder import BuildRequest, Workbench
from conch.model_repo_builder.environments import ensure, environments_root
from conch.model_repo_builder.recorded_requirements import read_recorded

pytestmark = [pytest.mark.real, pytest.mark.timeout(900)]

ROWS = np.random.default_rng(0).standard_normal((60, 4))
RECORDED = ["scikit-learn==1.6.1", "cloudpickle==3.1.1", "numpy==2.2.6", "scipy==1.15.3"]
FIT = """
    import pathlib, sys
    import cloudpickle, numpy, sklearn
    from sklearn.linear_model import LogisticRegression
    rows = numpy.load(sys.argv[1])
    model = LogisticRegression().fit(rows, rows[:, 0] > 0)
    pathlib.Path(sys.argv[2]).write_bytes(cloudpickle.dumps(model))
    print(sklearn.__version__)
"""


def test_a_pickle_is_built_with_what_it_was_logged_with(
    tmp_path: Path, request_for: Callable[..., BuildRequest]
) -> None:
    """The scikit-learn here cannot load it; the recorded one does, and its answers are kept."""
    source = tmp_path / "model"
    here = LogisticRegression().fit(ROWS, ROWS[:, 0] > 0)
    mlflow.sklearn.save_model(
        here,
        path=str(source),
        serialization_format="cloudpickle",
        input_example=ROWS[:30],
        signature=infer_signature(ROWS, here.predict(ROWS)),
        pip_requirements=RECORDED,
    )
    recorded = read_recorded(source)
    assert recorded is not None
    environment = ensure(recorded, root=environments_root())
    np.save(tmp_path / "rows.npy", ROWS)
    program = [str(environment.python), "-c", textwrap.dedent(FIT)]
    arguments = [str(tmp_path / "rows.npy"), str(source / "model.pkl")]
    done = subprocess.run([*program, *arguments], check=True, capture_output=True, text=True)
    assert done.stdout == "1.6.1\n"
    request = request_for(source, trust_pickles=True, trusted_because="a test says so")
    with Workbench(log_dir=tmp_path / "log") as bench:
        manifest = bench.build(request)
    assert manifest.tools["scikit-learn"] == "1.6.1"
    (step,) = [one for one in manifest.steps if one["name"] == "recorded-environment"]
    assert step["taken"]
    assert environment.path.name in step["reason"]
