# SPDX-License-Identifier: GPL-3.0-or-later
"""The log of containers: its lines and nothing else, each once."""

from __future__ import annotations

from typing import TextIO

from llmdesk import words
from llmdesk.events import Event, Said, TaskEnded
from llmdesk.run import INTERRUPTED, Outcome, Play
from llmdesk.story import Story


class LogScreen:
    """Writes log lines to one stream and everything else to another.

    A followed log is read over and over, a little too much each time; the time stamp that Docker puts before each
    line, always of the same length, tells which lines are new.
    """

    def __init__(self, lines: TextIO, rest: TextIO) -> None:
        self.story = Story()
        self._lines = lines
        self._rest = rest
        self._last: dict[str, str] = {}

    def abandon(self) -> None:
        """Leave what was written as it is."""

    def begin(self, play: Play) -> None:
        """Say the command that does the same."""
        print(f"$ {words.command(play.command())}", file=self._rest)

    def show(self, event: Event) -> None:
        """Write the lines that are new."""
        self.story.add(event)
        if isinstance(event, TaskEnded) and not event.broken:
            for line in event.lines:
                stamp, _, text = line.partition(" ")
                if stamp > self._last.get(event.host, ""):
                    self._last[event.host] = stamp
                    print(text if event.host == "localhost" else f"{event.host} | {text}", file=self._lines, flush=True)
        elif isinstance(event, Said):
            print(event.text, file=self._rest)

    def end(self, outcome: Outcome) -> None:
        """Say what failed, if anything did."""
        if outcome.rc != INTERRUPTED:
            for event in self.story.failures():
                print("\n".join(words.failure(event)), file=self._rest)
