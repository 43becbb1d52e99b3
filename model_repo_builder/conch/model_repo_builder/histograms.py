"""A histogram of differences as SVG, on a logarithmic axis."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

from .reports import HISTOGRAM

_WIDTH: Final = 640
_HEIGHT: Final = 96
_TOP: Final = 16
_BOTTOM: Final = 30


def histogram(counts: Sequence[int], allowed: float) -> str:
    """Return the differences of an output, over its scale, as an SVG.

    Bars grow with the logarithm of a count, so that one element among a million is seen.

    Args:
        counts: `OutputReport.histogram`.
        allowed: Where to draw the line of what is allowed; 0 for none.
    """
    labels = ["0", *(f"1e{round(math.log10(bound))}" for bound in HISTOGRAM), "more"]
    step = _WIDTH / len(labels)
    tallest = max((math.log10(1 + count) for count in counts), default=0.0) or 1.0
    floor = _TOP + _HEIGHT
    parts: list[str] = []
    for place, (label, count) in enumerate(zip(labels, counts, strict=True)):
        middle = step * (place + 0.5)
        if count:
            height = _HEIGHT * math.log10(1 + count) / tallest
            parts.append(
                f'<rect x="{step * place + 3:.1f}" y="{floor - height:.1f}" '
                f'width="{step - 6:.1f}" height="{height:.1f}"/>'
                f'<text x="{middle:.1f}" y="{floor - height - 4:.1f}" text-anchor="middle">'
                f"{_short(count)}</text>"
            )
        parts.append(f'<text x="{middle:.1f}" y="{floor + 14}" text-anchor="middle">{label}</text>')
    if allowed > 0:
        x = step * (2 + math.log10(allowed / HISTOGRAM[0]))
        parts.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="4" y2="{floor}"/>')
        parts.append(f'<text x="{x + 4:.1f}" y="12">allowed</text>')
    return (
        f'<svg viewBox="0 0 {_WIDTH} {_TOP + _HEIGHT + _BOTTOM}" width="{_WIDTH}" '
        'style="max-width:100%" role="img" aria-label="Elements by their difference over the '
        f'scale of the output">{"".join(parts)}<text x="0" y="{floor + 28}">elements by their '
        "difference over the output's scale, up to</text></svg>"
    )


def _short(count: int) -> str:
    """Return a count in few characters.

    >>> _short(950), _short(12_400), _short(3_100_000)
    ('950', '12k', '3.1M')
    """
    if count < 1000:
        return str(count)
    if count < 1_000_000:
        return f"{count / 1000:.0f}k" if count >= 9950 else f"{count / 1000:.1f}k"
    return f"{count / 1e6:.1f}M"
