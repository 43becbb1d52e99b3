"""The command line in this process, against a platform that runs."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from typer.testing import CliRunner

from conch.control.cli import Exit, app


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """What one command ended with."""

    code: int
    out: str
    err: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandLine:
    """Runs commands with one home."""

    home: Path

    def run(self, *words: str, stdin: str | None = None) -> Said:
        """Run a command; an error that it should have caught is raised here."""
        result = CliRunner().invoke(app, ["--home", str(self.home), *words], input=stdin)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return Said(code=result.exit_code, out=result.stdout, err=result.stderr)

    def json(self, *words: str, stdin: str | None = None) -> Any:
        """Run a command that ends well, and return the JSON that it printed."""
        said = self.run(*words, "--output", "json", stdin=stdin)
        assert said.code == Exit.OK, said
        return json.loads(said.out)
