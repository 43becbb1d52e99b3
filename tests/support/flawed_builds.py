"""A workshop whose versions misbehave on purpose, in ways that no verification can foresee.

Builds are real. Then the model's code is replaced by a small one that answers rightly, until
callers come: their rows are told by the first number, which golden rows never have.
"""

from __future__ import annotations

import os
import py_compile
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from conch.model_repo_builder import BuildRequest, Manifest, build
from conch.model_repo_builder.digests import folder_digest
from conch.model_repo_builder.manifests import MANIFEST, write_manifest

CALLED: Final = 1000.0
"""The first number of a caller's row. The second is uniform in [0, 1)."""

FACTOR: Final = 2.0
"""What every version multiplies by."""

_CODE: Final = """
import os
import time

import numpy as np
import triton_python_backend_utils as pb_utils

FAILING, WRONG, DELAY_S, CRASH_FILE = {failing!r}, {wrong!r}, {delay_s!r}, {crash_file!r}


class TritonPythonModel:
    def execute(self, requests):
        rows = [pb_utils.get_input_tensor_by_name(r, "x").as_numpy() for r in requests]
        called = [x[0, 0] == {called!r} for x in rows]
        if any(called):
            if CRASH_FILE and os.path.exists(CRASH_FILE):
                self.crash()
            time.sleep(DELAY_S)
        return [self.answer(x, x[0, 1] if c else 1.0) for x, c in zip(rows, called)]

    def answer(self, x, chance):
        if chance < FAILING:
            return pb_utils.InferenceResponse(error=pb_utils.TritonError("no luck"))
        y = (x * {factor!r}).astype(np.float32)
        if chance < WRONG:
            y = -y
        return pb_utils.InferenceResponse(output_tensors=[pb_utils.Tensor("y", y)])

    def crash(self):
        pid = os.getppid()
        while open(f"/proc/{{pid}}/comm").read().strip() != "tritonserver":
            pid = int(open(f"/proc/{{pid}}/stat").read().rpartition(")")[2].split()[1])
        os.kill(pid, 11)
        time.sleep(60)
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Flaw:
    """How a version misbehaves once callers ask it.

    Attributes:
        failing: Share of requests that fail.
        wrong: Share of requests whose answer is wrong.
        delay_s: How long an execution takes longer.
        crash_file: While there is such a file, its server dies of a request.
    """

    failing: float = 0.0
    wrong: float = 0.0
    delay_s: float = 0.0
    crash_file: str = ""


@dataclass(slots=True)
class FlawedWorkshop:
    """The `Workshop` protocol: the real builder, in this process, then the flaw.

    Attributes:
        flaws: By model and ordinal; what is not there is as good as it can be.
    """

    flaws: dict[tuple[str, int], Flaw] = field(default_factory=dict)

    def build(
        self,
        request: BuildRequest,
        *,
        progress: Callable[[float, str], None],
        cancelled: Callable[[], bool],
    ) -> Manifest:
        manifest = build(request, progress=progress)
        flaw = self.flaws.get((request.model, int(request.ordinal)), Flaw())
        return _spoiled(request.output, manifest, flaw)


def _spoiled(folder: Path, manifest: Manifest, flaw: Flaw) -> Manifest:
    (code,) = folder.glob("portable/*/*/model.py")
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
    for compiled in code.parent.rglob("*.pyc"):
        compiled.unlink()
    text = _CODE.format(
        failing=flaw.failing,
        wrong=flaw.wrong,
        delay_s=flaw.delay_s,
        crash_file=flaw.crash_file,
        called=CALLED,
        factor=FACTOR,
    )
    os.unlink(code)  # it may be a hard link
    code.write_text(text)
    py_compile.compile(str(code), doraise=True)
    fresh = replace(manifest, digest=folder_digest(folder, without=(MANIFEST,)))
    os.unlink(folder / MANIFEST)
    write_manifest(fresh, folder)
    return fresh
