"""The address of a build: `conch://MODEL/BUILD/DIGEST`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Self

from .errors import AddressError

_ADDRESS: Final = re.compile(
    r"conch://(?P<model>[A-Za-z0-9][A-Za-z0-9_-]*)"
    r"/(?P<build_id>[A-Za-z0-9][A-Za-z0-9._-]*)"
    r"/(?P<digest>[0-9a-f]{64})"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildAddress:
    """Which build, and what proves that it is this one.

    Attributes:
        model: The model's name on the wire; the repository has to hold it.
        build_id: The build.
        digest: SHA-256 over the build's files, hexadecimal; docs/reference/build-folder.md.
    """

    model: str
    build_id: str
    digest: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read an address.

        >>> BuildAddress.parse("conch://digits/b-3/" + "0" * 64).path
        '/v1/builds/b-3/repository'

        Raises:
            AddressError: It is not one.
        """
        match = _ADDRESS.fullmatch(text)
        if match is None:
            raise AddressError(
                f"{text!r} is not the address of a build.",
                hint="It is conch://MODEL/BUILD/DIGEST, the digest in 64 hexadecimal digits.",
            )
        return cls(**match.groupdict())

    @property
    def path(self) -> str:
        """Where the control plane gives the build's repository."""
        return f"/v1/builds/{self.build_id}/repository"

    def __str__(self) -> str:
        return f"conch://{self.model}/{self.build_id}/{self.digest}"
