"""A person's word that a version is to be built: again after a refusal, or past the policy."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from conch.core import ConflictError, Pin

from . import jobs
from .deploying.deciding import BUILD
from .reading import find_version
from .state import Transaction, Version, VersionStatus

_DONE: Final = {
    VersionStatus.BUILDING: "being built already",
    VersionStatus.VERIFIED: "verified already",
}


class BuildNotNeededError(ConflictError):
    """The version is being built, or is verified."""

    code = "build-not-needed"


def request_build(
    tx: Transaction, name: str, number: int, *, now: datetime, pin: Pin | None = None
) -> Version:
    """Queue a build of a version that was refused or never taken up, or in another form.

    Args:
        tx: The transaction.
        name: The registered model.
        number: The registry's integer.
        now: The time.
        pin: The form to build it in from now on; a version that is verified is then built again,
            with an ordinal of its own, while the build that serves goes on serving. An empty pin
            takes back an earlier one. None leaves it as it is.

    Raises:
        NotFoundError: conch has not seen the version.
        BuildNotNeededError: It is being built, or is verified and no form is asked for.
    """
    version = find_version(tx, name, number)
    if version.status in _DONE and not (
        pin is not None and version.status is VersionStatus.VERIFIED
    ):
        raise BuildNotNeededError(
            f"Version {number} of {name!r} is {_DONE[version.status]}.",
            hint="A version is built again only after it was refused, or in a form that is asked "
            "for (--pin).",
        )
    label = f"build {name} version {number}"
    jobs.enqueue(tx, kind=BUILD, subject=version.id, label=label, now=now)
    kept = version.pin if pin is None else "" if pin == Pin() else str(pin)
    return tx.versions.change(
        version, wanted=True, status=VersionStatus.BUILDING, reason=None, pin=kept
    )
