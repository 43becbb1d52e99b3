"""A variant: one model in one format and precision, with its files and what answers rows here.

Formats make variants (`formats`), the builder proves them one by one (`proving`), times those that
passed (`timing`) and lays the chosen one out in both flavours (`repository`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol

import numpy as np

from conch.core import DType, ModelFormat, Precision, Signature
from conch.triton_configs import BuildFacts, ModelConfig

from .requests import RuntimeCaps
from .sources import Arrays, Port

MODEL_PY: Final = Path(__file__).with_name("portable_model.py")
"""The program for the Python backend that runs any file in `portable_model.ENGINES`."""


class Session(Protocol):
    """A loaded variant on this machine, with the threads and options that it is served with."""

    def run(self, inputs: Arrays) -> dict[str, np.ndarray]:
        """Answer rows, outputs by name; raises what the runtime raises for rows unlike its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NativeModel:
    """One model folder of the native flavour.

    Attributes:
        config: Its configuration; `name` is the folder.
        files: What the version folder holds, by name; a folder is taken whole.
        warm: Whether the build's warm-up files belong into it.
    """

    config: ModelConfig
    files: Mapping[str, Path] = field(default_factory=dict)
    warm: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class NativeForm:
    """How a Triton with the format's own backend serves a variant.

    Attributes:
        backend: The backend's name, `ensemble` for several models.
        models: From the build's facts to the folders, the one that callers name first.
        note: What was checked here and what could not be, for the report.
    """

    backend: str
    models: Callable[[BuildFacts], tuple[NativeModel, ...]]
    note: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PortableForm:
    """How Triton's Python backend serves a variant.

    Attributes:
        program: The file that becomes `model.py`; it stands alone, see `portable_model`.
        parameters: What it reads from the configuration.
        extra: Further files of the version folder, by name.
    """

    program: Path = MODEL_PY
    parameters: Mapping[str, str] = field(default_factory=dict)
    extra: Mapping[str, Path] = field(default_factory=dict)


def portable_with(engine: str, caps: RuntimeCaps) -> PortableForm | str:
    """Return the form that `model.py` serves by an engine, or why the runtime cannot."""
    if engine not in caps.engines:
        return f"the serving runtime has no {engine}"
    return PortableForm(parameters={"intra_op_threads": "1"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """One form of a model.

    Attributes:
        format: The format.
        precision: The precision.
        files: What the version folder holds, by name.
        inputs: What it takes, in its own order.
        outputs: What it returns, in its own order.
        coarsest: The coarsest type that it computes with, which decides the tolerance.
        structure: SHA-256 of what is not weights: equal for two trainings of one architecture.
        session: What answers rows here.
        portable: How the Python backend serves it, or why it cannot.
        native: How its own backend serves it, or why none does.
        tools: Versions of what made or ran it, by name; part of the build's identity.
    """

    format: ModelFormat
    precision: Precision
    files: Mapping[str, Path]
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    coarsest: DType
    structure: str
    session: Session
    portable: PortableForm | str
    native: NativeForm | str
    tools: Mapping[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """`<format>:<precision>`, as `--pin` takes it."""
        return f"{self.format}:{self.precision}"

    def signature(self, *, batched: bool) -> Signature:
        """Return its tensors; see `signatures.ports_signature`."""
        from .signatures import ports_signature

        return ports_signature(self.inputs, self.outputs, batched=batched)
