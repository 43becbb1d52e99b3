"""What can go wrong between conch and a cluster's API, each with a stable code."""

from __future__ import annotations

from conch.core import ConflictError, NotFoundError

from ..errors import KServeError


class ClusterError(KServeError):
    """The cluster's API answered something that was not expected."""

    code = "cluster-error"


class ClientMissingError(ClusterError):
    """The Kubernetes client is not installed."""

    code = "cluster-client-missing"


class ConnectionInvalidError(ClusterError):
    """Nothing says where the cluster is, or what says so cannot be read."""

    code = "cluster-connection-invalid"


class UnreachableError(ClusterError):
    """The API server does not answer: it is down, restarting, or behind a broken network."""

    code = "cluster-unreachable"
    retryable = True


class SlowError(ClusterError):
    """The API server did not answer in time; whether it carried the request out is not known."""

    code = "cluster-slow"
    retryable = True


class BusyError(ClusterError):
    """The API server has too much to do and says so; `details["retry_after_s"]` says how long."""

    code = "cluster-busy"
    retryable = True


class FieldConflictError(ClusterError, ConflictError):
    """Somebody else owns fields that conch would set; `details["conflicts"]` names them."""

    code = "cluster-field-conflict"


class ObjectChangedError(ClusterError, ConflictError):
    """The object changed since it was read."""

    code = "cluster-object-changed"
    retryable = True


class ObjectMissingError(ClusterError, NotFoundError):
    """The object does not exist on the cluster."""

    code = "cluster-object-missing"


class KindMissingError(ClusterError):
    """The cluster does not serve a kind of object: its operator is not installed."""

    code = "cluster-kind-missing"


class NamespaceMissingError(ClusterError):
    """The namespace does not exist on the cluster."""

    code = "cluster-namespace-missing"


class ObjectInvalidError(ClusterError):
    """The API server refused an object's content; `details["causes"]` names the fields."""

    code = "cluster-object-invalid"


class WatchExpiredError(ClusterError):
    """A watch is too far behind to go on; everything has to be listed again."""

    code = "cluster-watch-expired"
    retryable = True


class CredentialsError(ClusterError):
    """The API server does not know, or no longer knows, who is asking."""

    code = "cluster-credentials-refused"


class PermissionMissingError(ClusterError):
    """conch may not do something; `details["grant"]` is the YAML that allows it."""

    code = "cluster-permission-missing"


class QuotaExceededError(ClusterError):
    """The namespace's quota does not leave room for the object."""

    code = "cluster-quota-exceeded"


class AdmissionRefusedError(ClusterError):
    """An admission webhook refused the object, in the words of the message."""

    code = "cluster-admission-refused"


class WebhookUnavailableError(ClusterError):
    """An admission webhook that has to be asked does not answer."""

    code = "cluster-webhook-unavailable"
    retryable = True
