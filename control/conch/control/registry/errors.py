"""What can go wrong between conch and a model registry."""

from __future__ import annotations

from conch.core import ConchError, NotFoundError


class RegistryUnavailableError(ConchError):
    """The registry did not answer, or answered that it is in trouble; later may go well."""

    code = "registry-unavailable"
    retryable = True


class RegistryRefusedError(ConchError):
    """The registry answered, and said no; or its content is not something to accept."""

    code = "registry-refused"


class VersionNotFoundError(NotFoundError):
    """The registry does not know the version."""

    code = "version-not-found"


class ArtifactMissingError(NotFoundError):
    """The registry knows the version, but there is no model where it says that it is."""

    code = "artifact-missing"


class ServingTagError(ConchError):
    """A `triton.*` tag names no serving option, or its value is not one."""

    code = "serving-tag-invalid"


class ModelFileError(ConchError):
    """A file or folder offered for registration is not a model that conch can describe."""

    code = "model-file-invalid"


class DeliveryError(ConchError):
    """A webhook request that is not acted on; the root of the reasons why."""

    code = "webhook-refused"


class OversizedDeliveryError(DeliveryError):
    """The body is larger than any registry event."""

    code = "webhook-oversized"


class MissingHeaderError(DeliveryError):
    """A header that every signed delivery carries is absent."""

    code = "webhook-header-missing"


class ForgedDeliveryError(DeliveryError):
    """The signature is not the one that the shared secret gives."""

    code = "webhook-forged"


class StaleDeliveryError(DeliveryError):
    """The delivery was signed too long ago, or in the future."""

    code = "webhook-stale"


class MalformedDeliveryError(DeliveryError):
    """The delivery is signed rightly and still not a registry event."""

    code = "webhook-malformed"
