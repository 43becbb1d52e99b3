"""An installed runtime of which a file was changed: found before it serves anything."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from conch import local

pytestmark = pytest.mark.real


def test_a_changed_file_of_the_runtime_is_found(
    tmp_path: Path, serving_runtime: local.Runtime
) -> None:
    """One flipped byte in Envoy's program is told with the file's name; so is a lost file."""
    copy = tmp_path / "runtime"
    shutil.copytree(serving_runtime.root, copy, symlinks=True, copy_function=_linked)
    broken = local.Runtime(root=copy, library_directory=serving_runtime.library_directory)
    content = bytearray(broken.envoy.read_bytes())
    content[len(content) // 2] ^= 1
    broken.envoy.unlink()  # the link, not what it was linked to
    broken.envoy.write_bytes(content)
    assert local.check(broken) == [f"{broken.envoy} is not the file that was installed."]
    broken.envoy.unlink()
    assert local.check(broken) == [f"{broken.envoy} is missing."]


def _linked(source: str, target: str) -> str:
    try:
        os.link(source, target)
    except OSError:  # another file system
        shutil.copy2(source, target)
    return target
