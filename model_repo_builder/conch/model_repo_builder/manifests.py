"""The manifest of a published build: what it is, what it was made from, what proves it."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Self

from conch.core import BuildRef, Ordinal, Signature, TritonName

from .digests import folder_digest, folder_lines
from .errors import CorruptArtefactError, DigestMismatchError

MANIFEST: Final = "manifest.json"
_FORMAT: Final = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """A published build.

    Attributes:
        build_id: Identity of the build.
        registered_name: The model's name in the registry.
        model: Its name on the wire.
        ordinal: The version directory within the repository.
        path: The build's folder, wherever it was read from.
        digest: SHA-256 over all files but this one, see `digests`.
        signature: What the converted graph takes and returns.
        max_batch_size: Largest batch in rows; 0 where the server must not form batches.
        flavour: The MLflow flavour that it was made from.
        graph_digest: SHA-256 of the graph's structure without the values of its weights.
        source_digest: SHA-256 over the MLflow model's files.
        verification: The verification report in one sentence.
        strong: Whether the evidence is strong.
        weaknesses: Why it is not.
        steps: What conversion did and skipped, with reasons.
        timings_s: Seconds by stage of the build.
        tools: Versions of what made it, by name.
        variant: What serves, `<format>:<precision>`; empty for builds from before there were any.
        profile: The kind of device that it was made for.
        flavours: What each flavour holds: `portable` and `native` to a variant and, for `native`,
            the backend. A flavour that the build lacks is absent; the steps say why.
        report_digest: SHA-256 of `report.json`.
        variants: How fast each proven variant and the source answered on the machine that built:
            rows of `choosing.table`. As timings are, they are part of no digest.
        isolation: What the process that built was kept from, and what it could not be.
    """

    build_id: str
    registered_name: str
    model: TritonName
    ordinal: Ordinal
    path: Path
    digest: str
    signature: Signature
    max_batch_size: int
    flavour: str
    graph_digest: str
    source_digest: str
    verification: str
    strong: bool
    weaknesses: tuple[str, ...]
    steps: tuple[dict[str, Any], ...]
    timings_s: dict[str, float]
    tools: dict[str, str]
    variant: str = ""
    profile: str = ""
    flavours: dict[str, str] = field(default_factory=dict)
    variants: tuple[dict[str, Any], ...] = ()
    report_digest: str = ""
    isolation: str = ""

    @property
    def ref(self) -> BuildRef:
        """As much of it as a target needs."""
        return BuildRef(
            build_id=self.build_id,
            model=self.model,
            ordinal=self.ordinal,
            path=self.path,
            digest=self.digest,
            signature=self.signature,
            max_batch_size=self.max_batch_size,
        )

    def as_dict(self) -> dict[str, Any]:
        """Return a JSON-compatible form without the path; `from_dict` reads it back."""
        return {
            "format": _FORMAT,
            "build_id": self.build_id,
            "registered_name": self.registered_name,
            "model": self.model,
            "ordinal": self.ordinal,
            "digest": self.digest,
            "signature": self.signature.as_dict(),
            "max_batch_size": self.max_batch_size,
            "flavour": self.flavour,
            "graph_digest": self.graph_digest,
            "source_digest": self.source_digest,
            "verification": self.verification,
            "strong": self.strong,
            "weaknesses": list(self.weaknesses),
            "steps": list(self.steps),
            "timings_s": dict(self.timings_s),
            "tools": dict(self.tools),
            "variant": self.variant,
            "profile": self.profile,
            "flavours": dict(self.flavours),
            "variants": list(self.variants),
            "report_digest": self.report_digest,
            "isolation": self.isolation,
        }

    @classmethod
    def from_dict(cls, value: dict[str, Any], *, path: Path) -> Self:
        """Read what `as_dict` wrote."""
        if value["format"] != _FORMAT:
            raise CorruptArtefactError(
                f"{path} has a manifest of format {value['format']}; this conch reads {_FORMAT}.",
                hint="Build the version again.",
            )
        return cls(
            build_id=value["build_id"],
            registered_name=value["registered_name"],
            model=TritonName(value["model"]),
            ordinal=Ordinal(value["ordinal"]),
            path=path,
            digest=value["digest"],
            signature=Signature.from_dict(value["signature"]),
            max_batch_size=value["max_batch_size"],
            flavour=value["flavour"],
            graph_digest=value["graph_digest"],
            source_digest=value["source_digest"],
            verification=value["verification"],
            strong=value["strong"],
            weaknesses=tuple(value["weaknesses"]),
            steps=tuple(value["steps"]),
            timings_s=dict(value["timings_s"]),
            tools=dict(value["tools"]),
            variant=value.get("variant", ""),
            profile=value.get("profile", ""),
            flavours=dict(value.get("flavours", {})),
            variants=tuple(value.get("variants", ())),
            report_digest=value.get("report_digest", ""),
            isolation=value.get("isolation", ""),
        )


def write_manifest(manifest: Manifest, folder: Path) -> None:
    """Write `manifest.json` into a folder."""
    text = json.dumps(manifest.as_dict(), indent=1, sort_keys=True)
    (folder / MANIFEST).write_text(text + "\n", encoding="utf-8")


def read_manifest(path: Path) -> Manifest:
    """Read the manifest of a published build; `check_digest` tells whether the files fit it.

    Args:
        path: The build's folder.

    Raises:
        CorruptArtefactError: There is no manifest that this conch reads.
    """
    try:
        value = json.loads((path / MANIFEST).read_text(encoding="utf-8"))
        return Manifest.from_dict(value, path=path)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CorruptArtefactError(
            f"{path} has no readable {MANIFEST}: {type(error).__name__}: {error}.",
            hint="Build the version again.",
        ) from error


def check_digest(path: Path) -> str:
    """Make sure that a published build's files are the ones that were published.

    Args:
        path: The build's folder.

    Returns:
        The digest.

    Raises:
        DigestMismatchError: A file was changed, added or removed.
        CorruptArtefactError: There is no readable manifest.
    """
    stated = read_manifest(path).digest
    found = folder_digest(path, without=(MANIFEST,))
    if found != stated:
        raise DigestMismatchError(
            f"The files of {path} are not the published ones: digest {found[:12]}..., "
            f"the manifest says {stated[:12]}....",
            hint="Build the version again; nothing in a published build may change.",
        )
    return found


def published_lines(path: Path, digest: str) -> bytes:
    """Return the lines whose SHA-256 is a published build's digest, one for each of its files.

    Every file is read, as in `check_digest`.

    Args:
        path: The build's folder.
        digest: The digest that the build was published with.

    Raises:
        DigestMismatchError: A file was changed, added or removed.
        CorruptArtefactError: The folder holds a link or something that is not a file.
    """
    lines = "".join(folder_lines(path, without=(MANIFEST,))).encode()
    found = hashlib.sha256(lines).hexdigest()
    if found != digest:
        raise DigestMismatchError(
            f"The files of {path} are not the published ones: digest {found[:12]}..., "
            f"published was {digest[:12]}....",
            hint="Build the version again; nothing in a published build may change.",
        )
    return lines
