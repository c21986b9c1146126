# SPDX-License-Identifier: GPL-3.0-or-later
"""When to leave a pull so that what has come is kept.

Fact read in Ollama's ``server/download.go`` (0.32.15) and measured: a connection that is reset takes back all that it
has brought, while a pull whose client leaves keeps it. A line that resets every connection would never bring a part of
100 MB to its end, however often it is tried.
"""

from __future__ import annotations


class Checkpoints:
    """Learns from the first reset how much a connection brings, and asks to leave at half of that from then on."""

    def __init__(self) -> None:
        self._brittle = 0
        self._kept: dict[str, int] = {}
        self._peak: dict[str, int] = {}

    def begin(self) -> None:
        """Start to watch another pull."""
        self._kept.clear()
        self._peak.clear()

    def due(self, digest: str, completed: int, total: int) -> bool:
        """Take what a pull says of one blob, and tell whether it is time to leave.

        :param completed: bytes that are there.
        :param total: bytes of the whole blob.
        """
        peak = self._peak.get(digest, completed)
        if completed < peak:
            self._brittle = peak - completed
        self._peak[digest] = completed
        self._kept[digest] = min(completed, self._kept.get(digest, completed))
        return 0 < self._brittle < 2 * (completed - self._kept[digest]) and completed < total
