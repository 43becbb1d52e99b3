"""What every command shares: where the platform is, and in which form to answer."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from ..client import Client
    from ..settings import Settings


class Format(StrEnum):
    """How a command answers."""

    TABLE = "table"
    JSON = "json"


Home = Annotated[
    Path | None,
    typer.Option("--home", help="Where conch keeps its files.  [default: $CONCH_HOME or ~/.conch]"),
]
Output = Annotated[
    Format | None,
    typer.Option("--output", "-o", help="`json` puts JSON, and nothing else, on standard output."),
]


class Session:
    """The options that may stand before or after a command; the later ones win."""

    def __init__(self, home: Path | None, output: Format | None) -> None:
        self._home = home
        self._output = output

    @property
    def output(self) -> Format:
        """The form to answer in."""
        return self._output or Format.TABLE

    def narrowed(self, home: Path | None, output: Format | None) -> Session:
        """Return the session with what a command was given itself."""
        return Session(home or self._home, output or self._output)

    def settings(self) -> Settings:
        """Return the settings from every source, for bringing a platform up."""
        from ..settings import read_settings

        return read_settings(**self._given())

    def running(self) -> Settings:
        """Return the settings that the home's platform was last brought up with, else as above."""
        from ..settings import default_home, running_settings

        home = self._home.absolute() if self._home else default_home()
        return running_settings(home) or self.settings()

    @contextmanager
    def client(self) -> Iterator[Client]:
        """Give a client of the home's control API."""
        from ..client import Client
        from ..keys import KeyMissingError, read_key

        settings = self.running()
        try:
            key = read_key(settings.home)
        except KeyMissingError:
            key = None  # nothing was brought up here; the request will say so
        with Client(settings.control_url, key=key) as client:
            yield client

    def _given(self) -> dict[str, Any]:
        return {} if self._home is None else {"home": self._home.absolute()}


def session_of(context: typer.Context, home: Path | None, output: Format | None) -> Session:
    """Return the session of a command, and keep it for whoever reports its errors."""
    root = context.find_root()
    assert isinstance(root.obj, Session)
    session = root.obj.narrowed(home, output)
    root.obj = session
    return session
