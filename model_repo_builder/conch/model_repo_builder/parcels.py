"""A build as a folder that travels: the request with the model in it, and later the answer.

request.json    the request; its paths are below the folder
source/         the model
reference.npz   rows that a person trusts, where there are any
out/            where the build appears
answer.json     `{"manifest": ...}` or `{"error": ...}`, once the build has ended
builder.log     what the frameworks printed
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from .errors import OutputExistsError, error_from_dict
from .handing_over import lay_out, lay_out_file, take_over
from .manifests import Manifest
from .requests import BuildRequest

_REQUEST: Final = "request.json"
_ANSWER: Final = "answer.json"
_SOURCE: Final = Path("source")
_REFERENCE: Final = Path("reference.npz")
_OUTPUT: Final = Path("out/build")


def pack(request: BuildRequest, folder: Path) -> str:
    """Lay a build out in a folder and return the digest of what is asked for.

    A folder that holds the same request is left as it is: somebody may be at work in it. Files are
    linked where that is possible, so that the originals may go.

    Raises:
        OutputExistsError: `request.output` exists.
        CorruptArtefactError: The model holds something that is not a file.
    """
    if request.output.exists():
        raise OutputExistsError(
            f"{request.output} exists already.", hint="A version directory is never written twice."
        )
    reference = None if request.reference is None else _REFERENCE
    inner = replace(request, source=_SOURCE, output=_OUTPUT, reference=reference)
    text = json.dumps(inner.as_dict(), sort_keys=True)
    with contextlib.suppress(FileNotFoundError):
        if (folder / _REQUEST).read_text(encoding="utf-8") == text:
            return _digest(text)
    shutil.rmtree(folder, ignore_errors=True)
    (folder / _OUTPUT).parent.mkdir(parents=True)
    lay_out(request.source, folder / _SOURCE)
    if request.reference is not None:
        lay_out_file(request.reference, folder / _REFERENCE)
    _write_whole(folder / _REQUEST, text)
    return _digest(text)


def unpack(folder: Path) -> BuildRequest:
    """Return what a folder asks for, with whole paths."""
    inner = BuildRequest.from_dict(json.loads((folder / _REQUEST).read_text(encoding="utf-8")))
    reference = None if inner.reference is None else folder / inner.reference
    return replace(
        inner,
        source=folder / inner.source,
        output=folder / inner.output,
        reference=reference,
    )


def answered(folder: Path) -> bool:
    """Tell whether a folder holds an answer."""
    return (folder / _ANSWER).exists()


def reply(folder: Path, answer: dict[str, Any]) -> None:
    """Put the answer into a folder, whole."""
    _write_whole(folder / _ANSWER, json.dumps(answer, default=str))


def receive(folder: Path, request: BuildRequest) -> Manifest:
    """Publish what was built in a folder where it was asked for.

    Args:
        folder: It holds an answer.
        request: What it was packed from.

    Raises:
        BuildError: The answer is that there is no build; or what is there is not whole.
    """
    answer = json.loads((folder / _ANSWER).read_text(encoding="utf-8"))
    if "error" in answer:
        raise error_from_dict(answer["error"])
    take_over(folder / _OUTPUT, request.output)
    return Manifest.from_dict(answer["manifest"], path=request.output)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _write_whole(path: Path, text: str) -> None:
    """Make a file appear with all of its text, on the disk."""
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    with fresh.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)
