"""How to reach a cluster: a kubeconfig file, or the service account of the pod around us."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from .failures import ClientMissingError, ConnectionInvalidError

_ACCOUNT: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount/token")


@dataclass(frozen=True, slots=True, kw_only=True)
class Connection:
    """Where a cluster is and who asks.

    Attributes:
        kubeconfig: A kubeconfig file; None: the pod's service account where there is one, else
            `$KUBECONFIG`, else `~/.kube/config`.
        context: A context of the file; None: its current one.
        timeout_s: Longest wait for an answer, in seconds.
    """

    kubeconfig: Path | None = None
    context: str | None = None
    timeout_s: float = 15.0

    async def configuration(self) -> Any:
        """Read the files now and return the Kubernetes client's configuration.

        Raises:
            ClientMissingError: The package `kubernetes` is not installed.
            ConnectionInvalidError: The files do not say where the cluster is.
        """
        try:
            from kubernetes.aio import config
            from kubernetes.aio.client.configuration import Configuration
        except ImportError as error:
            raise ClientMissingError(
                "The Kubernetes client is not installed.", hint="pip install 'conch[kserve]'"
            ) from error
        found = Configuration()
        found.retries = None  # what is tried again, and when, is decided by the reconcilers
        try:
            if self.kubeconfig is None and _ACCOUNT.exists():
                config.load_incluster_config(client_configuration=found)
            else:
                await config.load_kube_config(
                    config_file=str(self._file()),
                    context=self.context,
                    client_configuration=found,
                    persist_config=False,
                )
        except (config.ConfigException, OSError, ValueError, KeyError, TypeError) as error:
            raise ConnectionInvalidError(
                f"The cluster's address cannot be read from {self._file()}: {error}.",
                hint="Set `kserve.kubeconfig` and `kserve.context`, or $KUBECONFIG.",
            ) from error
        return found

    def _file(self) -> Path:
        stated = self.kubeconfig or Path(os.environ.get("KUBECONFIG") or "~/.kube/config")
        return stated.expanduser()
