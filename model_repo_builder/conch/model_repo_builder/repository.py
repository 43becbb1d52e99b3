"""Laying a build out as Triton model repositories, in two flavours of the same files.

    portable/<model>/config.pbtxt, warmup/<input>
    portable/<model>/<ordinal>/model.onnx, model.py, __pycache__/model.cpython-3xx.pyc
    native/<model>/config.pbtxt, warmup/<input>
    native/<model>/<ordinal>/model.onnx

The portable flavour runs in any Triton with the Python backend, the native one in the images that
have the format's own. Files that both hold are one file with two names where the file system links.

`model.py` is compiled before it is published: Triton's Python backend would write the cache after
the load and so change the folder's time, which makes the next load start this version again.
"""

from __future__ import annotations

import importlib.util
import os
import py_compile
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from conch.core import Ordinal, ServingSpec, Signature, TritonName
from conch.triton_configs import (
    WARMUP_FOLDER,
    BuildFacts,
    Severity,
    WarmupFile,
    WarmupTensor,
    lint,
    native_python,
    render,
)

from .golden import GoldenCase, raw_bytes
from .variants import NativeForm, PortableForm

PORTABLE: Final = "portable"
NATIVE: Final = "native"
CONFIG: Final = "config.pbtxt"
NATIVE_TRITON: Final = "26.05-py3"
"""The release that native configurations are linted for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """What every flavour of a build has in common.

    Attributes:
        model: The model's name on the wire.
        ordinal: The version directory.
        signature: See `Manifest`.
        spec: What `max_batch_size` says is what is served.
        warm_with: A golden case whose first row warms every instance, alone and as full batches.
        labels: By output, the name of each of its columns, for Triton's classification extension.
    """

    model: TritonName
    ordinal: Ordinal
    signature: Signature
    spec: ServingSpec
    warm_with: GoldenCase
    labels: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def facts(self, parameters: Mapping[str, str] | None = None) -> BuildFacts:
        """Return what presets want to know.

        Raises:
            TritonConfigError: Signature and options contradict each other.
        """
        tensors = _warmup_tensors(self)
        sizes = sorted({1, *self.spec.preferred_batch_sizes, max(1, self.spec.max_batch_size)})
        return BuildFacts(
            model=self.model,
            ordinal=self.ordinal,
            signature=self.signature,
            spec=self.spec,
            warmup=[WarmupFile(name=f"batch-{n}", batch_size=n, tensors=tensors) for n in sizes],
            parameters=dict(parameters or {}),
            labels={output: _label_file(output) for output in self.labels},
        )


def write_portable(
    folder: Path, layout: Layout, form: PortableForm, files: Mapping[str, Path]
) -> None:
    """Write `portable/` into a folder.

    Args:
        folder: The build's folder.
        layout: See `Layout`.
        form: How the Python backend serves the variant.
        files: The variant's files, the very ones that were verified.

    Raises:
        TritonConfigError: Signature and options contradict each other.
    """
    home = folder / PORTABLE / layout.model
    version = _version(home, layout, {**files, **form.extra})
    program = version / "model.py"
    program.write_bytes(form.program.read_bytes())
    _compile(program)
    _write_warmup(home, layout)
    _write_labels(home, layout)
    config = native_python(**layout.facts(form.parameters))
    (home / CONFIG).write_text(render(config), encoding="utf-8")


def native_problem(layout: Layout, form: NativeForm | str) -> str:
    """Say why a variant has no native flavour; empty if it has one.

    Raises:
        TritonConfigError: Signature and options contradict each other.
    """
    if isinstance(form, str):
        return form
    models = form.models(layout.facts())
    members = {one.config.name: one.config for one in models}
    for one in models:
        for finding in lint(
            one.config,
            triton=NATIVE_TRITON,
            folder=one.config.name,
            versions=(layout.ordinal,),
            members=members,
        ):
            if finding.severity is Severity.ERROR:
                return f"Triton {NATIVE_TRITON} refuses it: {finding.message} ({finding.code})"
    return ""


def write_native(folder: Path, layout: Layout, form: NativeForm) -> None:
    """Write `native/` into a folder: every model of the form, each complete."""
    for one in form.models(layout.facts()):
        home = folder / NATIVE / one.config.name
        _version(home, layout, one.files)
        if one.warm:
            _write_warmup(home, layout)
        if any(output.label_filename for output in one.config.output):
            _write_labels(home, layout)
        (home / CONFIG).write_text(render(one.config), encoding="utf-8")


def served_spec(spec: ServingSpec, *, max_batch_size: int) -> ServingSpec:
    """Return the options with the batch size that can be served."""
    sizes = tuple(size for size in spec.preferred_batch_sizes if size <= max_batch_size)
    return replace(spec, max_batch_size=max_batch_size, preferred_batch_sizes=sizes)


def _version(home: Path, layout: Layout, files: Mapping[str, Path]) -> Path:
    version = home / str(layout.ordinal)
    version.mkdir(parents=True)
    for name, source in files.items():
        if source.is_dir():
            shutil.copytree(source, version / name, copy_function=_link)
        else:
            _link(str(source), str(version / name))
    return version


def _link(source: str, target: str) -> str:
    try:
        os.link(source, target)
    except OSError:  # another file system, or one without links
        shutil.copy2(source, target)
    return target


def _compile(source: Path) -> None:
    cached = importlib.util.cache_from_source(str(source))
    # Unchecked: a copy of the folder has other times, and must not be compiled again there.
    mode = py_compile.PycInvalidationMode.UNCHECKED_HASH
    py_compile.compile(str(source), cached, "model.py", doraise=True, invalidation_mode=mode)


def _write_warmup(home: Path, layout: Layout) -> None:
    folder = home / WARMUP_FOLDER
    folder.mkdir()
    for tensor in _warmup_tensors(layout):
        array = layout.warm_with.inputs[tensor.input]
        (folder / tensor.file).write_bytes(raw_bytes(array.reshape(-1, *tensor.dims)[:1]))


def _write_labels(home: Path, layout: Layout) -> None:
    for output, names in layout.labels.items():
        text = "".join(f"{' '.join(name.split())}\n" for name in names)
        (home / _label_file(output)).write_text(text, encoding="utf-8")


def _label_file(output: str) -> str:
    return f"labels-{output}.txt"


def _warmup_tensors(layout: Layout) -> tuple[WarmupTensor, ...]:
    tensors = []
    for number, tensor in enumerate(layout.signature.inputs):
        shape = layout.warm_with.inputs[tensor.name].shape
        dims = shape[1:] if layout.spec.max_batch_size else shape
        tensors.append(
            WarmupTensor(input=tensor.name, file=f"input-{number}", dtype=tensor.dtype, dims=dims)
        )
    return tuple(tensors)
