"""KServe versions and deployment modes: what exists when, and under which name."""

from __future__ import annotations

import re
from enum import StrEnum

from .errors import UnknownVersionError

_PATTERN = re.compile(r"v?(\d+\.\d+)(?:\.\d+)?")


class KServeVersion(StrEnum):
    """A minor version of KServe; patch releases share its schemas.

    0.21 is known from its Python SDK only: its schemas are those of the development branch shortly
    before the release, with the one field added by which the SDK differs (see `schemas`).
    """

    V0_15 = "0.15"
    V0_16 = "0.16"
    V0_17 = "0.17"
    V0_18 = "0.18"
    V0_19 = "0.19"
    V0_20 = "0.20"
    V0_21 = "0.21"

    @classmethod
    def parse(cls, text: str) -> KServeVersion:
        """Read `"0.19"`, `"v0.19.0"` or `"0.19.1"`.

        Raises:
            UnknownVersionError: It is another version, or no version at all.

        >>> KServeVersion.parse("v0.19.0").value
        '0.19'
        """
        match = _PATTERN.fullmatch(text.strip())
        if match and match[1] in cls._value2member_map_:
            return cls(match[1])
        raise UnknownVersionError(
            f"KServe {text!r} is not a version whose schemas are known.",
            hint=f"Known are: {', '.join(cls)}.",
        )

    def at_least(self, other: KServeVersion) -> bool:
        """Tell whether this version is `other` or a later one."""
        order = list(KServeVersion)
        return order.index(self) >= order.index(other)


class DeploymentMode(StrEnum):
    """How KServe runs an InferenceService."""

    KNATIVE = "knative"
    STANDARD = "standard"

    def annotation(self, version: KServeVersion) -> str:
        """Return the value of `serving.kserve.io/deploymentMode` that the version understands.

        KServe 0.16 renamed the modes; 0.15 takes the new names for no mode at all and falls back
        to the cluster's default without a word.

        >>> DeploymentMode.STANDARD.annotation(KServeVersion.V0_15)
        'RawDeployment'
        """
        return next(iter(_NAMES[self])) if version.at_least(KServeVersion.V0_16) else _OLD[self]

    @classmethod
    def from_annotation(cls, value: str, version: KServeVersion) -> DeploymentMode | None:
        """Return the mode that an annotation selects, or None where the version ignores it."""
        for mode, old in _OLD.items():
            if value == old or (version.at_least(KServeVersion.V0_16) and value in _NAMES[mode]):
                return mode
        return None


MODE_ANNOTATION = "serving.kserve.io/deploymentMode"
MODEL_MESH = "ModelMesh"
"""A third value of the annotation, for a project that is no longer developed."""

_NAMES = {DeploymentMode.KNATIVE: ("Knative",), DeploymentMode.STANDARD: ("Standard",)}
_OLD = {DeploymentMode.KNATIVE: "Serverless", DeploymentMode.STANDARD: "RawDeployment"}
