"""A part of a drive, in words: the last fifth is kept for scores, and what lies before it is trained on."""

from __future__ import annotations

import re
from typing import Final

FRACTIONS: Final = {"half": 1 / 2, "third": 1 / 3, "quarter": 1 / 4, "fifth": 1 / 5, "tenth": 1 / 10}
ROUNDING: Final = 1e-9
EXPECTED: Final = "'last fifth' (or half, third, quarter, tenth) or 'last 20 %'"


def last_share(words: str) -> float | None:
    """The share of a drive that `last fifth` or `last 20 %` names; None for other words."""
    match = re.fullmatch(r"last (?:(\w+)|(\d+(?:\.\d+)?) ?%)", words.strip())
    if match is None or (match[1] and match[1] not in FRACTIONS):
        return None
    share = FRACTIONS[match[1]] if match[1] else float(match[2]) / 100
    return share if 0 < share < 1 else None


def is_in_last(share: float, position: float) -> bool:
    """Whether a frame belongs to the last `share` of a drive; `position` is the share of its frames that lie before."""
    return position >= 1 - share - ROUNDING
