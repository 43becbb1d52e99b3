"""The model registry as conch sees it: read whole, compared, marked, and never copied.

MLflow is the source of truth for what is registered. `Registry` is the port, `MlflowRegistry` the
adapter; `diff` compares a `RegistrySnapshot` with what conch knows and returns a `SweepPlan`;
webhook deliveries (`verify_delivery`, `hint_of`) only make the next look come sooner. Importing
this package does not import MLflow; the first call to the adapter does.
"""

from .deliveries import (
    EVENTS,
    ID_HEADER,
    LARGEST_BODY,
    SIGNATURE_HEADER,
    TIMESTAMP_HEADER,
    TOLERANCE_S,
    Delivery,
    Hint,
    hint_of,
    sign,
    verify_delivery,
)
from .errors import (
    ArtifactMissingError,
    DeliveryError,
    ForgedDeliveryError,
    MalformedDeliveryError,
    MissingHeaderError,
    ModelFileError,
    OversizedDeliveryError,
    RegistryRefusedError,
    RegistryUnavailableError,
    ServingTagError,
    StaleDeliveryError,
    VersionNotFoundError,
)
from .mlflow_registry import MlflowRegistry
from .policies import TakeUpMode, TakeUpPolicy
from .registered import (
    OWN_PREFIX,
    READY,
    FetchedModel,
    RegisteredModel,
    RegisteredVersion,
    Registry,
    RegistrySnapshot,
)
from .serving_tags import spec_from_tags
from .sweeping import (
    Change,
    ChangedModel,
    ChangedVersion,
    KnownModel,
    KnownVersion,
    NewModel,
    NewVersion,
    Orphaned,
    Replaced,
    Returned,
    SweepPlan,
    TakeUp,
    diff,
    foreign,
)
from .webhooks import WebhookAction, WebhookClient, ensure_webhook

__all__ = [
    "EVENTS",
    "ID_HEADER",
    "LARGEST_BODY",
    "OWN_PREFIX",
    "READY",
    "SIGNATURE_HEADER",
    "TIMESTAMP_HEADER",
    "TOLERANCE_S",
    "ArtifactMissingError",
    "Change",
    "ChangedModel",
    "ChangedVersion",
    "Delivery",
    "DeliveryError",
    "FetchedModel",
    "ForgedDeliveryError",
    "Hint",
    "KnownModel",
    "KnownVersion",
    "MalformedDeliveryError",
    "MissingHeaderError",
    "MlflowRegistry",
    "ModelFileError",
    "NewModel",
    "NewVersion",
    "Orphaned",
    "OversizedDeliveryError",
    "RegisteredModel",
    "RegisteredVersion",
    "Registry",
    "RegistryRefusedError",
    "RegistrySnapshot",
    "RegistryUnavailableError",
    "Replaced",
    "Returned",
    "ServingTagError",
    "StaleDeliveryError",
    "SweepPlan",
    "TakeUp",
    "TakeUpMode",
    "TakeUpPolicy",
    "VersionNotFoundError",
    "WebhookAction",
    "WebhookClient",
    "diff",
    "ensure_webhook",
    "foreign",
    "hint_of",
    "sign",
    "spec_from_tags",
    "verify_delivery",
]
