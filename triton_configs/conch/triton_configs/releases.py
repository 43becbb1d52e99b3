"""Which Triton a configuration is meant for: its release, its backends, whether it has GPUs.

Sources: the `VERSION` maps and backend lists of `build.py` in the server's tags v2.37.0 to v2.71.0.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from .errors import UnknownTritonError

KNOWN_BACKENDS: Final = frozenset(
    {
        "dali",
        "fil",
        "identity",
        "onnxruntime",
        "openvino",
        "python",
        "pytorch",
        "repeat",
        "square",
        "tensorflow",
        "tensorrt",
        "tensorrtllm",
        "vllm",
    }
)
"""Backends that NVIDIA has ever shipped under these names."""

TENSORFLOW_REMOVED: Final = (25, 3)
"""The first release without the TensorFlow backend: `build.py` of v2.56.0."""

_FULL = KNOWN_BACKENDS - {"tensorflow", "tensorrtllm", "vllm"}
_FLAVOURS: dict[str, tuple[frozenset[str], bool]] = {
    "py3": (_FULL, True),
    "pyt-python-py3": (frozenset({"python", "pytorch"}), True),
    "vllm-python-py3": (frozenset({"python", "vllm"}), True),
    "trtllm-python-py3": (frozenset({"python", "tensorrtllm"}), True),
    "cpu-only": (_FULL - {"dali", "tensorrt"}, False),
    "python": (frozenset({"python"}), False),
}
_TAG = re.compile(r"(?P<year>\d\d)\.(?P<month>0[1-9]|1[0-2])(?:-(?P<flavour>.+))?")
_SERVER = re.compile(r"2\.(?P<minor>\d+)(?:\.(?P<patch>\d+))?(?:-(?P<flavour>.+))?")


@dataclass(frozen=True, slots=True, kw_only=True)
class TritonRelease:
    """A Triton server as far as a configuration depends on it.

    Attributes:
        text: How it was named.
        release: Year and month of its container, `(26, 5)`.
        backends: The backends that it has.
        has_gpu: Whether it can use GPUs.
    """

    text: str
    release: tuple[int, int]
    backends: frozenset[str]
    has_gpu: bool


def triton_release(text: str) -> TritonRelease:
    """Read the name of a Triton: a container tag or a server version, with a flavour.

    A container tag is `26.05` or `26.05-py3`, a server version `2.69` or `2.69.0`. The flavours
    are those of the containers (`py3`, which is the default, `pyt-python-py3`, `vllm-python-py3`,
    `trtllm-python-py3`), `cpu-only` for a build without GPU support, and `python` for a server
    that has the Python backend alone, such as the one within `nvidia-pytriton`.

    Raises:
        UnknownTritonError: The text is neither, or its flavour is unknown.

    >>> triton_release("2.51.0-python").release
    (24, 10)
    >>> "tensorflow" in triton_release("25.02-py3").backends
    True
    """
    if found := _TAG.fullmatch(text):
        release = (int(found["year"]), int(found["month"]))
    elif found := _SERVER.fullmatch(text):
        release = _released(int(found["minor"]), int(found["patch"] or 0))
    if not found or release < (22, 1):
        raise UnknownTritonError(
            f"{text!r} does not name a Triton release.",
            hint="Name a container (26.05-py3) or a server (2.69.0) from 22.01 (2.18.0) on.",
        )
    flavour = found["flavour"] or "py3"
    if flavour not in _FLAVOURS:
        raise UnknownTritonError(
            f"{text!r} has the unknown flavour {flavour!r}.",
            hint=f"Known are: {', '.join(sorted(_FLAVOURS))}.",
        )
    backends, has_gpu = _FLAVOURS[flavour]
    if release < TENSORFLOW_REMOVED and backends >= _FULL - {"dali", "tensorrt"}:
        backends |= {"tensorflow"}
    return TritonRelease(text=text, release=release, backends=backends, has_gpu=has_gpu)


def _released(minor: int, patch: int) -> tuple[int, int]:
    """Return the container of server 2.`minor`.`patch`.

    One minor version a month since 2.42.0 in 24.01, but for 25.07, which is 2.59.1.
    """
    months = 24 * 12 + minor - 42
    if (minor, patch) > (59, 0):
        months += 1
    year, month = divmod(months, 12)
    return year, month + 1
