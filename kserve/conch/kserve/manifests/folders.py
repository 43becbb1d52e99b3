"""Rendered manifests as a folder that a GitOps tool reads."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import yaml

from .rendering import KUSTOMIZATION


def write_folder(folder: Path, files: Mapping[str, str]) -> list[str]:
    """Write files into a folder, the kustomization last; other people's files there stay.

    Returns:
        What an earlier kustomization listed and this one does not, which is removed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    before = _listed(folder / KUSTOMIZATION)
    for name, text in sorted(files.items(), key=lambda item: item[0] == KUSTOMIZATION):
        path = folder / name
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            fresh = folder / f".{name}.{os.getpid()}"
            fresh.write_text(text, encoding="utf-8")
            fresh.replace(path)
    gone = [name for name in before if name not in files and (folder / name).is_file()]
    for name in gone:
        (folder / name).unlink()
    return gone


def _listed(path: Path) -> list[str]:
    """Return the plain file names that an earlier kustomization lists."""
    try:
        value = yaml.safe_load(path.read_text(encoding="utf-8"))
        return sorted(name for name in value["resources"] if Path(name).name == name)
    except (OSError, yaml.YAMLError, KeyError, TypeError):
        return []
