"""A tree ensemble as a file that the FIL backend reads, and what treelite says of that file.

Treelite is the library by which FIL itself reads models. Where it is installed, every file that is
written is read back by it, and its answers to the rows are compared with the registered model's.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .booster_models import LIGHTGBM, XGBOOST
from .errors import UnsupportedGraphError
from .output_reports import Answered
from .steps import Step
from .tabular_models import TabularModel

_SPLITS = "splits-"


def file_problem(source: TabularModel) -> str:
    """Say why there is no file of a model that FIL reads; empty if there is one."""
    if source.flavour in (XGBOOST, LIGHTGBM) or _treelite():
        return ""
    return f"{source.flavour} trees become a checkpoint by treelite: pip install 'conch[fil]'"


def write_file(source: TabularModel, folder: Path) -> tuple[str, Path]:
    """Write the file; return FIL's `model_type` and the file, whose name FIL expects.

    Raises:
        UnsupportedGraphError: Treelite does not take the estimator.
    """
    estimator: Any = source.estimator
    if source.flavour == XGBOOST:
        booster = estimator.get_booster() if hasattr(estimator, "get_booster") else estimator
        stopped = booster.attr("best_iteration")
        path = folder / "xgboost.ubj"
        (booster if stopped is None else booster[: int(stopped) + 1]).save_model(str(path))
        return "xgboost_ubj", path
    if source.flavour == LIGHTGBM:
        path = folder / "model.txt"
        getattr(estimator, "booster_", estimator).save_model(str(path))
        return "lightgbm", path
    import treelite

    path = folder / "checkpoint.tl"
    try:
        treelite.sklearn.import_model(estimator).serialize(str(path))
    except Exception as error:  # treelite's errors share no class with anything
        raise UnsupportedGraphError(
            f"Treelite does not take the estimator: {str(error).splitlines()[0]:.300}",
            hint="The ONNX graph is served instead.",
        ) from error
    return "treelite_checkpoint", path


def checked_by_treelite(
    kind: str, path: Path, answered: Sequence[Answered], name: str, answers: str
) -> Step:
    """Let treelite answer the rows from the file, where it is installed.

    Args:
        kind: FIL's `model_type`.
        path: The file.
        answered: Rows with the registered model's answers.
        name: The input.
        answers: The output that the trees give.

    Raises:
        UnsupportedGraphError: It reads another model from the file than was registered.
    """
    if not _treelite():
        reason = "treelite is not installed, so that nothing here has read the file back"
        return Step(name="fil-file", taken=False, reason=reason)
    import treelite

    model = _read(kind, path)
    rows = 0
    for item in answered:
        if item.case.name.startswith(_SPLITS):
            continue  # those are compared as FIL computes, in FP32
        # Triton's rows are FP32; a model of float64 thresholds is asked what its source was asked.
        with np.errstate(over="ignore"):
            columns = np.ascontiguousarray(item.case.inputs[name], dtype=_columns_type(model))
        found = np.asarray(treelite.gtil.predict(model, columns)).reshape(len(columns), -1)
        expected = item.expected[answers]
        if found.shape[1] == 1 and expected.shape[1] == 2:
            found = np.concatenate([1 - found, found], axis=1)
        close = np.isclose(found, expected, rtol=1e-4, atol=1e-5 * np.abs(expected).max(initial=1))
        if found.shape != expected.shape or not close.all():
            raise UnsupportedGraphError(
                f"Treelite reads another model from {path.name}: it answers {item.case.name} "
                "otherwise than the registered model.",
                hint="The ONNX graph is served instead.",
            )
        rows += len(columns)
    reason = f"treelite {treelite.__version__} reads {path.name} and answers {rows} rows alike"
    return Step(name="fil-file", taken=True, reason=reason)


def _read(kind: str, path: Path) -> Any:
    import treelite

    if kind == "xgboost_ubj":
        return treelite.frontend.load_xgboost_model(str(path), format_choice="ubjson")
    if kind == "lightgbm":
        return treelite.frontend.load_lightgbm_model(str(path))
    return treelite.Model.deserialize(str(path))


def _columns_type(model: Any) -> Any:
    return np.float32 if str(getattr(model, "input_type", "float32")) == "float32" else np.float64


def _treelite() -> bool:
    return importlib.util.find_spec("treelite") is not None
