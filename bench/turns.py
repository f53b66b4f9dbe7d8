"""Measuring in turn, A B A B, so that whatever else the machine does falls on everything compared alike."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar

Name = TypeVar("Name")
Result = TypeVar("Result")


def in_turn(cases: Mapping[Name, Callable[[int], Result]], rounds: int) -> dict[Name, list[Result]]:
    """Call every case once a round with the round's number; each case's results in the order of the rounds."""
    results: dict[Name, list[Result]] = {name: [] for name in cases}
    for number in range(rounds):
        for name, case in cases.items():
            results[name].append(case(number))
    return results
