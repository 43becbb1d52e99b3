"""The port between the builder and a format: one class per format, ordered in `planning`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from conch.core import ModelFormat, Precision

from .output_reports import Answered
from .requests import BuildRequest
from .sources import SourceModel
from .steps import Step
from .variants import Variant


@dataclass(frozen=True, slots=True, kw_only=True)
class Making:
    """What a format may use to make a variant.

    Attributes:
        source: The registered model, loaded by its own framework.
        request: What was asked for.
        answered: Rows with the source's answers; calibration may look at the rows.
        folder: An empty folder for the variant's files, on the file system of the build.
        made: Variants that passed verification, by format and precision. OpenVINO and TensorRT
            start from the ONNX graph.
    """

    source: SourceModel
    request: BuildRequest
    answered: tuple[Answered, ...]
    folder: Path
    made: Mapping[tuple[ModelFormat, Precision], Variant]

    @property
    def onnx(self) -> Variant | None:
        """The model as a proven ONNX graph; None where there is none."""
        return self.made.get((ModelFormat.ONNX, Precision.FP32))


class Format(Protocol):
    """One way to serve a model."""

    @property
    def name(self) -> ModelFormat:
        """Which."""

    def refusal(self, making: Making, precision: Precision) -> str:
        """Say why the format does not take the model; empty if it does. Quick, makes nothing."""

    def make(self, making: Making, precision: Precision) -> tuple[Variant, tuple[Step, ...]]:
        """Make the variant, with its files in `making.folder`.

        Returns:
            The variant, and what was done on the way.

        Raises:
            BuildError: It cannot be made; the words become the reason in the report.
        """
