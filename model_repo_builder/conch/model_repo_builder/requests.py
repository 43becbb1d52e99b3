"""What a build is asked to do, as one value that crosses a process boundary as JSON."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from conch.core import InvalidValueError, Ordinal, ServingSpec, TritonName


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one build may take.

    Attributes:
        time_s: Seconds from its start, in a worker that is ready, to its publication.
        memory_bytes: Resident memory of the worker with its children, which includes about
            600 MB for the frameworks themselves.
    """

    time_s: float = 600.0
    memory_bytes: int = 8 * 1024**3

    def __post_init__(self) -> None:
        if self.time_s <= 0 or self.memory_bytes <= 0:
            raise InvalidValueError("A build's limits must be above zero.")


@dataclass(frozen=True, slots=True, kw_only=True)
class RuntimeCaps:
    """The newest graph that the serving runtime reads.

    The defaults were found by loading one-node graphs of every opset and IR version into
    ONNX Runtime 1.27.0, the oldest runtime that current Triton images carry: it takes opset 26 and
    IR version 13, and refuses 27 and 14.

    Attributes:
        opset: Highest version of the default operator set.
        ir_version: Highest version of the file format.
        onnxruntime: The runtime that these two belong to, for messages.
    """

    opset: int = 26
    ir_version: int = 13
    onnxruntime: str = "1.27.0"


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildRequest:
    """One build.

    Attributes:
        build_id: Identity of the build.
        registered_name: The model's name in the registry.
        model: Its name on the wire.
        ordinal: The version directory to make.
        source: A downloaded MLflow model: the folder that holds `MLmodel`. Only read.
        output: The folder to publish, which must not exist; its parent may.
        spec: How the build wants to be served.
        seed: Seed of the generated rows; two builds of one version with one seed are equal files.
        limits: What the build may take.
        caps: What the serving runtime reads.
        refuse_weak_evidence: Whether agreement on rows that prove little refuses the version.
        trust_pickles: Whether code that is stored in the model may run: a pickled model is one.
            Who may register a model may then run anything as the builder.
    """

    build_id: str
    registered_name: str
    model: TritonName
    ordinal: Ordinal
    source: Path
    output: Path
    spec: ServingSpec = field(default_factory=ServingSpec)
    seed: int = 0
    limits: Limits = field(default_factory=Limits)
    caps: RuntimeCaps = field(default_factory=RuntimeCaps)
    refuse_weak_evidence: bool = False
    trust_pickles: bool = False

    def as_dict(self) -> dict[str, Any]:
        """Return a JSON-compatible form; `from_dict` reads it back."""
        return {
            "build_id": self.build_id,
            "registered_name": self.registered_name,
            "model": self.model,
            "ordinal": self.ordinal,
            "source": str(self.source),
            "output": str(self.output),
            "spec": self.spec.as_dict(),
            "seed": self.seed,
            "limits": {"time_s": self.limits.time_s, "memory_bytes": self.limits.memory_bytes},
            "caps": {
                "opset": self.caps.opset,
                "ir_version": self.caps.ir_version,
                "onnxruntime": self.caps.onnxruntime,
            },
            "refuse_weak_evidence": self.refuse_weak_evidence,
            "trust_pickles": self.trust_pickles,
        }

    @classmethod
    def from_dict(cls, value: dict[str, Any]) -> Self:
        """Read what `as_dict` wrote."""
        return cls(
            build_id=value["build_id"],
            registered_name=value["registered_name"],
            model=TritonName(value["model"]),
            ordinal=Ordinal(value["ordinal"]),
            source=Path(value["source"]),
            output=Path(value["output"]),
            spec=ServingSpec.from_dict(value["spec"]),
            seed=value["seed"],
            limits=Limits(**value["limits"]),
            caps=RuntimeCaps(**value["caps"]),
            refuse_weak_evidence=value["refuse_weak_evidence"],
            trust_pickles=value.get("trust_pickles", False),
        )
