"""Builds' files, for servers on a cluster: opened by the fetch key, which opens nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from fastapi import APIRouter, Depends
from fastapi.responses import StreamingResponse

from conch.core import NotFoundError
from conch.model_repo_builder import DigestMismatchError

from ..handing_out import HandedOut
from .problems import UnauthorizedError, documented
from .services import Given, require_fetching

MEDIA_TYPE: Final = "application/x-tar"

router = APIRouter(
    prefix="/v1/builds",
    tags=["builds"],
    dependencies=[Depends(require_fetching)],
    responses=documented(UnauthorizedError),
)


@router.get(
    "/{build_id}/repository",
    summary="A build's Triton repository",
    response_class=StreamingResponse,
    responses={
        200: {
            "description": "A tar: `digests.txt`, then the files.",
            "content": {MEDIA_TYPE: {"schema": {"type": "string", "format": "binary"}}},
        },
        **documented(NotFoundError, DigestMismatchError),
    },
)
def fetch_repository(build_id: str, given: Given) -> StreamingResponse:
    """Return the flavour that a cluster's servers are given (native, else portable) as a tar.

    Its first file, `digests.txt`, has a line for every file of the build; the SHA-256 of that file
    is the build's digest. The others have their paths within the build. The files are checked
    before the answer begins.
    """
    build = given.reading.published(build_id)
    found = HandedOut.of(Path(build.path), build.digest)
    return StreamingResponse(
        found.blocks(),
        media_type=MEDIA_TYPE,
        headers={"content-length": str(found.size), "etag": f'"{build.digest}"'},
    )
