"""Two ways to the same end, side by side."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Race:
    """Two ways to the same end, in seconds a turn; a goal of None promises nothing."""

    what: str
    peer: str
    ours: list[float]
    theirs: list[float]
    goal: float | None = None

    @property
    def ratio(self) -> float:
        """How much longer ours takes, in the middle."""
        return statistics.median(self.ours) / statistics.median(self.theirs)

    def row(self) -> str:
        """Return the race as a row of the table."""
        ours, theirs = (f"{statistics.median(turns):.1f} s ({min(turns):.1f} to {max(turns):.1f})" for turns in self)
        goal = "" if self.goal is None else f"≤ {self.goal:.2f}"
        return f"| {self.what} | {ours} | {self.peer} | {theirs} | {self.ratio:.2f} | {goal} |"

    def __iter__(self) -> Iterator[list[float]]:
        return iter((self.ours, self.theirs))
