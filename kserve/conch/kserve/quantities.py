"""Kubernetes resource quantities such as `500m` and `8Gi`."""

from __future__ import annotations

import re
from decimal import Decimal

from .errors import QuantityError

_FORM = re.compile(
    r"([+-]?(?:\d+(?:\.\d*)?|\.\d+))(Ki|Mi|Gi|Ti|Pi|Ei|n|u|m|k|M|G|T|P|E|[eE][+-]?\d+)?"
)
_BINARY = {"Ki": 1, "Mi": 2, "Gi": 3, "Ti": 4, "Pi": 5, "Ei": 6}
_DECIMAL = {"n": -9, "u": -6, "m": -3, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}


def quantity(text: str | int) -> Decimal:
    """Return a quantity as a number: bytes, cores or pieces.

    Source: the grammar at `k8s.io/apimachinery/pkg/api/resource.Quantity`.

    Raises:
        QuantityError: The text is no quantity.

    >>> quantity("500m"), quantity("2Ki"), quantity(3)
    (Decimal('0.500'), Decimal('2048'), Decimal('3'))
    """
    match = _FORM.fullmatch(str(text))
    if match is None:
        raise QuantityError(
            f"{text!r} is not a Kubernetes quantity.", hint="Write it as 500m, 2, 512Mi or 8Gi."
        )
    number, suffix = Decimal(match[1]), match[2] or ""
    if suffix in _BINARY:
        return number * Decimal(1024) ** _BINARY[suffix]
    if suffix in _DECIMAL:
        return number.scaleb(_DECIMAL[suffix])
    return number.scaleb(int(suffix[1:])) if suffix else number


def quantity_or_none(value: object) -> Decimal | None:
    """Return a quantity, or None for what is none."""
    try:
        return quantity(value) if isinstance(value, str | int) else None
    except QuantityError:
        return None
