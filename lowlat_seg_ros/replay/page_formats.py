"""Figures as the page writes them."""

from __future__ import annotations

from typing import Final

UNKNOWN: Final = "\N{EN DASH}"  # as printed tables have it
SPACE: Final = "\N{NARROW NO-BREAK SPACE}"


def milliseconds(value: float | None) -> str:
    return UNKNOWN if value is None else f"{value:.1f}{SPACE}ms"


def percent(fraction: float | None) -> str:
    """One decimal; none and all without, so that these two are not mistaken for something near them."""
    if fraction is None:
        return UNKNOWN
    return f"{100 * fraction:.{0 if fraction in (0, 1) else 1}f}{SPACE}%"


def seconds(value: float) -> str:
    return f"{value:.2f}{SPACE}s"


def count(value: int | None) -> str:
    return UNKNOWN if value is None else f"{value:,}".replace(",", SPACE)


def count_of(part: int, whole: int) -> str:
    """A count, and what share of the whole it is."""
    return f"{count(part)} ({percent(part / whole)})" if whole else count(part)
