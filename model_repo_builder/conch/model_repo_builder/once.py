"""One build in a process of its own: `python -m conch.model_repo_builder.once FOLDER`.

What a pod on a cluster runs; the folder is a `parcels` one. Standard output has
`{"progress": [part, text]}`, a line each. A refused build is an answer: the exit code is 0 wherever
there is one. Where an answer lies already nothing is done; what was cut off begins anew.
"""

from __future__ import annotations

import argparse
import json
import shutil
import signal
import threading
from pathlib import Path
from typing import Any

from conch.core import ConchError

from . import parcels
from .workbench import Workbench


def main() -> None:
    """Build what the folder asks for."""
    parser = argparse.ArgumentParser(prog="python -m conch.model_repo_builder.once")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--loaders", default="", help="module:mapping to use instead")
    given = parser.parse_args()
    folder: Path = given.folder
    if parcels.answered(folder):
        return
    ended = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: ended.set())
    request = parcels.unpack(folder)
    shutil.rmtree(request.output, ignore_errors=True)
    answer: dict[str, Any]
    with Workbench(log_dir=folder, loaders=given.loaders) as workbench:
        try:
            manifest = workbench.build(request, progress=_say, cancelled=ended.is_set)
        except ConchError as error:
            answer = {"error": error.as_dict()}
        else:
            answer = {"manifest": manifest.as_dict()}
    if not ended.is_set():
        parcels.reply(folder, answer)


def _say(part: float, text: str) -> None:
    print(json.dumps({"progress": [part, text]}), flush=True)


if __name__ == "__main__":
    main()
