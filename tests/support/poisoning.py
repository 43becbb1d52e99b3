"""Making a published build crash its server later: what a faulty backend would do."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

from conch.model_repo_builder import read_manifest
from conch.model_repo_builder.digests import folder_digest
from conch.model_repo_builder.manifests import MANIFEST, write_manifest

_FAULT = """

def _crash():
    import os, signal, time
    pid = os.getppid()
    while open(f"/proc/{{pid}}/comm").read().strip() != "tritonserver":
        pid = int(open(f"/proc/{{pid}}/stat").read().rpartition(")")[2].split()[1])
    os.kill(pid, signal.SIGSEGV)
    time.sleep(60)


_execute = TritonPythonModel.execute


def _faulty(self, requests):
    self.asked = getattr(self, "asked", 0) + 1
    if self.asked >= {crash_at}:
        _crash()
    return _execute(self, requests)


TritonPythonModel.execute = _faulty
"""


def poison(build: Path, *, crash_at: int) -> None:
    """Let a build's program crash its server (SIGSEGV) at some execution, and seal it again."""
    manifest = read_manifest(build)
    (program,) = build.glob("portable/*/*/model.py")
    text = program.read_text()
    program.unlink()
    program.write_text(text + _FAULT.format(crash_at=crash_at))
    shutil.rmtree(program.parent / "__pycache__", ignore_errors=True)
    write_manifest(replace(manifest, digest=folder_digest(build, without=(MANIFEST,))), build)
