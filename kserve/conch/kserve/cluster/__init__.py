"""A cluster's API: a narrow port, its client, and the errors that say what to do."""

from .client import KubernetesCluster
from .connecting import Connection
from .failures import (
    AdmissionRefusedError,
    BusyError,
    ClientMissingError,
    ClusterError,
    ConnectionInvalidError,
    CredentialsError,
    FieldConflictError,
    KindMissingError,
    NamespaceMissingError,
    ObjectChangedError,
    ObjectInvalidError,
    ObjectMissingError,
    PermissionMissingError,
    QuotaExceededError,
    SlowError,
    UnreachableError,
    WatchExpiredError,
    WebhookUnavailableError,
)
from .leases import ClusterLease
from .mirrors import Mirror
from .ports import MANAGER, Change, Cluster, Event, Listing
from .resources import Key, Object, Resource, UnknownKindError, resource_of

__all__ = [
    "MANAGER",
    "AdmissionRefusedError",
    "BusyError",
    "Change",
    "ClientMissingError",
    "Cluster",
    "ClusterError",
    "ClusterLease",
    "Connection",
    "ConnectionInvalidError",
    "CredentialsError",
    "Event",
    "FieldConflictError",
    "Key",
    "KindMissingError",
    "KubernetesCluster",
    "Listing",
    "Mirror",
    "NamespaceMissingError",
    "Object",
    "ObjectChangedError",
    "ObjectInvalidError",
    "ObjectMissingError",
    "PermissionMissingError",
    "QuotaExceededError",
    "Resource",
    "SlowError",
    "UnknownKindError",
    "UnreachableError",
    "WatchExpiredError",
    "WebhookUnavailableError",
    "resource_of",
]
