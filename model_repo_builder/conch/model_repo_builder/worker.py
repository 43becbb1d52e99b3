"""The process that builds: `python -m conch.model_repo_builder.worker`.

It reads one JSON object per line from its standard input, `{"build": <request>}`, and writes one
per line to its standard output: `{"ready": ...}` once, then for each build `{"progress": [part,
text]}` any number of times and `{"manifest": ...}` or `{"error": ...}` at the end. Whatever
libraries print goes to standard error. When its input ends, its parent is gone, and it ends too.
"""

from __future__ import annotations

import argparse
import faulthandler
import importlib
import json
import os
import queue
import resource
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Mapping
from typing import IO, Any

from conch.core import ConchError

from . import pytorch_models
from .building import build
from .errors import BuildError, disk_full
from .loading import LOADERS, Loader
from .requests import BuildRequest
from .warming import warm

Say = Callable[[dict[str, Any]], None]


def main() -> None:
    """Serve builds until the input ends."""
    faulthandler.enable()
    say = _take_over_stdout()
    parser = argparse.ArgumentParser(prog="python -m conch.model_repo_builder.worker")
    parser.add_argument("--loaders", default="", help="module:mapping to use instead")
    loaders = _loaders(parser.parse_args().loaders)
    requests = _requests(sys.stdin.buffer)
    say({"ready": {"torch": pytorch_models.FLAVOUR in loaders and warm()}})
    while True:
        _serve(requests.get(), say, loaders)


def _serve(message: dict[str, Any], say: Say, loaders: Mapping[str, Loader]) -> None:
    try:
        request = BuildRequest.from_dict(message["build"])
        _limit_files(request.limits.disk_bytes)
        manifest = build(
            request,
            progress=lambda part, text: say({"progress": [part, text]}),
            loaders=loaders,
        )
    except ConchError as error:
        say({"error": (disk_full(error) or error).as_dict()})
    except Exception as error:  # a bug of ours or of a framework's must not end the worker
        traceback.print_exc()
        lines = str(error).strip().splitlines() or [""]
        unexpected = BuildError(
            f"The build failed unexpectedly: {type(error).__name__}: {lines[0]:.300}",
            hint="The builder's log has the traceback.",
        )
        say({"error": (disk_full(error) or unexpected).as_dict()})
    else:
        say({"manifest": manifest.as_dict()})


def _limit_files(largest_bytes: int) -> None:
    """Let no file grow beyond what a build may write at all: a write beyond fails with EFBIG.

    Set here, since a parent without CAP_SYS_RESOURCE may not set it for another user's process.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (largest_bytes, hard))


def _take_over_stdout() -> Say:
    """Keep standard output for messages, and send what anything else prints to standard error."""
    channel = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def say(message: dict[str, Any]) -> None:
        channel.write(json.dumps(message, default=str) + "\n")
        channel.flush()

    return say


def _requests(stream: IO[bytes]) -> queue.Queue[dict[str, Any]]:
    """Read requests in a thread of its own, which also notices the parent's end during a build."""
    found: queue.Queue[dict[str, Any]] = queue.Queue()

    def read() -> None:
        for line in stream:
            found.put(json.loads(line))
        if os.getpgrp() == os.getpid():  # with whatever compilers a framework started
            os.killpg(0, signal.SIGKILL)
        os._exit(0)

    threading.Thread(target=read, name="requests", daemon=True).start()
    return found


def _loaders(named: str) -> Mapping[str, Loader]:
    if not named:
        return LOADERS
    module, _, attribute = named.partition(":")
    loaders: Mapping[str, Loader] = getattr(importlib.import_module(module), attribute)
    return loaders


if __name__ == "__main__":
    main()
