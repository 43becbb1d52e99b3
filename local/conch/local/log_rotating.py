"""Keeping log files bounded: the access log by renaming, the others by copying and truncating.

Envoy opens its access log again when asked to, so no line is lost. Other logs are the standard
output of processes that cannot be asked; what is written between copy and truncation is lost.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

from .homes import Home


def rotate(home: Home, *, limit_bytes: int, files: int, reopen: Callable[[], None]) -> list[Path]:
    """Rotate every log that is larger than the limit; return those that were.

    The former content of `x.log` is then `x.log.1`, that of `x.log.1` is `x.log.2`, and so on.

    Args:
        home: The home.
        limit_bytes: A log above this size is rotated.
        files: How many former contents are kept of each, at least 1.
        reopen: Tells Envoy to open its access log again.
    """
    large = [path for path in home.logs.glob("*.log") if path.stat().st_size > limit_bytes]
    for path in large:
        for number in range(files - 1, 0, -1):
            former = _numbered(path, number)
            if former.exists():
                former.replace(_numbered(path, number + 1))
        if path == home.access_log:
            path.rename(_numbered(path, 1))
            reopen()
        else:
            shutil.copyfile(path, _numbered(path, 1))
            os.truncate(path, 0)
    return large


def _numbered(path: Path, number: int) -> Path:
    return path.with_name(f"{path.name}.{number}")
