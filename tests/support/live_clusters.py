"""A cluster that a person gives to the tests: KServe, its servers and a gateway, all of them real.

`make live PROFILE=prod.yaml` sets the variable below. The profile's `serve` says where builds go
(`folder`) and where slots answer (`gateway_url`), in a namespace without anything else of conch's.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from memory_platform import write_scaling

from conch.control.clusters import site_of, target_of
from conch.core import BuildRef, DType, Ordinal, Signature, TensorSpec, TritonName
from conch.kserve.cluster import Connection
from conch.kserve.serving.target import KServeTarget

VARIABLE = "CONCH_LIVE_PROFILE"
LOAD_S = float(os.environ.get("CONCH_LIVE_LOAD_S", "900"))
_CONFIG = """\
name: "{model}"
backend: "onnxruntime"
max_batch_size: 8
input [ {{ name: "x" data_type: TYPE_FP32 dims: [ 4 ] }} ]
output [ {{ name: "y" data_type: TYPE_FP32 dims: [ 4 ] }} ]
"""


def given() -> bool:
    """Tell whether somebody gave a cluster."""
    return bool(os.environ.get(VARIABLE))


@contextmanager
def live_target() -> Iterator[KServeTarget]:
    """Give the target of the given cluster, started; without one the test is skipped."""
    if not given():
        pytest.skip(f"no cluster was given: `make live PROFILE=FILE` sets {VARIABLE}")
    site = site_of(Path(os.environ[VARIABLE]))
    if site.folder is None:
        pytest.skip("the profile states no `serve.folder`, so that no build can be put there")
    with target_of(site, Connection(), leads=True) as target:
        yield target


def live_build(folder: Path, model: str, ordinal: int, *, loads: bool) -> BuildRef:
    """Return a build that multiplies by its ordinal, or one whose graph is no graph."""
    path = folder / "live" / f"{model}-{ordinal}"
    version = path / "native" / model / str(ordinal)
    version.mkdir(parents=True)
    (version.parent / "config.pbtxt").write_text(_CONFIG.format(model=model))
    if loads:
        write_scaling(version / "model.onnx", factor=float(ordinal))
    else:
        (version / "model.onnx").write_bytes(b"no graph")
    spec = TensorSpec(name="x", dtype=DType.FP32, shape=(4,))
    return BuildRef(
        build_id=f"{model}-b{ordinal}",
        model=TritonName(model),
        ordinal=Ordinal(ordinal),
        path=path,
        digest=f"{ordinal:064x}",
        signature=Signature(inputs=(spec,), outputs=()),
        max_batch_size=8,
    )
