"""How much of the time the slow track may spend on what nobody waits for: idle key frames and training."""

from __future__ import annotations

from typing import Final

DEFAULT_SHARE: Final = 0.5
SAVED_RUNS: Final = 2
"""Credit for so many runs of Sh can be saved up: one for the key frame, one for the training that follows it."""


class TimeShare:
    """A token bucket: credit grows by ``share`` of the time that passes, and all that the slow track does costs.

    Key frames that are due run whatever the credit is, and idle work waits until they are paid for. The debt is
    bounded, so that a slow warm-up or an hour of many key frames is soon forgotten. Times are of any one unit.
    """

    def __init__(self, share: float, least_saved: int = 0) -> None:
        """
        Args:
            share: of the time, 0 to 1.
            least_saved: credit that can be saved up however short the runs are: training may take longer than they.
        """
        if not 0 <= share <= 1:
            raise ValueError(f"the slow track's share of the time is {share}; expected 0 to 1")
        self.share = share
        self._credit = 0.0
        self._least_saved = least_saved
        self._run = 0  # what the last one cost
        self._most = 0.0  # of credit, and of debt
        self._now = 0

    def spend_on_run(self, cost: int, now: int) -> None:
        """A run of Sh that took ``cost`` has ended."""
        self._run, self._most = cost, float(max(SAVED_RUNS * cost, self._least_saved))
        self.spend(cost, now)

    def spend(self, cost: int, now: int) -> None:
        """Something else that took ``cost`` has ended."""
        self._grow(now)
        self._credit = max(self._credit - cost, -self._most)

    def has_credit(self, now: int) -> bool:
        """Whether training may go on."""
        self._grow(now)
        return self._credit >= 0

    def has_credit_for_a_run(self, now: int) -> bool:
        """Whether an idle key frame may begin: without a whole run's credit its training would have none."""
        self._grow(now)
        return self._credit >= self._run

    def _grow(self, now: int) -> None:
        self._credit = min(self._credit + self.share * (now - self._now), self._most)
        self._now = now
