"""The program: `python -m conch.kserve.fetching conch://MODEL/BUILD/DIGEST FOLDER`."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from .addresses import BuildAddress
from .downloading import KEY_VARIABLE, URL_VARIABLE, ControlPlaneAccess
from .errors import FetchError
from .fetches import fetch

_FAILED = 1
_LATER = 4
_ENDED = 128 + signal.SIGTERM


def main(arguments: Sequence[str], environment: Mapping[str, str]) -> int:
    """Fetch and return the exit code: 0 done, 1 refused or failed, 4 cut off at every attempt.

    Arguments that are not understood exit with 2.
    """
    parser = argparse.ArgumentParser(
        prog="python -m conch.kserve.fetching",
        description="Fetches a build from conch's control plane, proves it and places it.",
        epilog=f"{URL_VARIABLE} says where the control plane is, {KEY_VARIABLE} its fetch key.",
    )
    parser.add_argument("address", help="conch://MODEL/BUILD/DIGEST")
    parser.add_argument("folder", type=Path, help="takes the Triton repository")
    given = parser.parse_args(arguments)
    try:
        address = BuildAddress.parse(given.address)
        fetch(address, given.folder, ControlPlaneAccess.read(environment), told=_tell)
    except FetchError as error:
        print(f"error [{error.code}]: {error.message}", file=sys.stderr)
        if error.hint:
            print(f"hint: {error.hint}", file=sys.stderr)
        return _LATER if error.retryable else _FAILED
    return 0


def _tell(line: str) -> None:
    print(line, flush=True)


def _end(*_: object) -> None:
    """End at once and in order: as process 1 of a container Python would ignore the signal."""
    sys.exit(_ENDED)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _end)
    sys.exit(main(sys.argv[1:], os.environ))
