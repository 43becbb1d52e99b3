"""Errors that the KServe target raises on purpose."""

from __future__ import annotations

from conch.core import ConchError, InvalidValueError


class KServeError(ConchError):
    """Root of every error of this part."""

    code = "kserve-error"


class UnknownVersionError(KServeError, InvalidValueError):
    """The stated KServe version is not one whose schemas are known here."""

    code = "kserve-version-unknown"


class UnusableYamlError(KServeError):
    """A text is not YAML, or is too large or too deep to be a manifest."""

    code = "kserve-yaml-unusable"


class UnusableSchemaError(KServeError):
    """A custom resource definition, or the schema in it, cannot be read."""

    code = "kserve-schema-unusable"


class QuantityError(KServeError, InvalidValueError):
    """A text is not a Kubernetes resource quantity."""

    code = "kserve-quantity-invalid"


class ProfileError(KServeError, InvalidValueError):
    """A profile contradicts itself or holds a value that no cluster has."""

    code = "kserve-profile-invalid"


class WorkloadError(KServeError, InvalidValueError):
    """A workload contradicts itself, wherever it is to run."""

    code = "kserve-workload-invalid"


class RefusedError(KServeError):
    """A workload asks for what the stated KServe, mode or profile cannot do.

    `details["refusals"]` lists every refusal with its reason and the nearest thing that works.
    """

    code = "kserve-refused"
