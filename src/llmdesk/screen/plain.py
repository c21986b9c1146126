# SPDX-License-Identifier: GPL-3.0-or-later
"""Lines of text, each written once: for pipes, CI, dumb terminals and people who set NO_COLOR."""

from __future__ import annotations

from typing import TextIO

from llmdesk import words
from llmdesk.desks import desks, half_of
from llmdesk.events import Event, Progress, Said, TaskEnded, TaskStarted
from llmdesk.run import Outcome, Play
from llmdesk.story import Story

PAUSE = 5.0
"""Seconds between two lines about the same piece of work."""


class PlainScreen:
    """Writes a line for every task that has work to do, and one now and then for work that takes long."""

    def __init__(self, stream: TextIO, verbose: bool) -> None:
        self.story = Story()
        self._stream = stream
        self._verbose = verbose
        self._shown: dict[str, float] = {}

    def begin(self, play: Play) -> None:
        """Write the command that does the same."""
        self._write(f"$ {words.command(play.command())}")

    def show(self, event: Event) -> None:
        """Write what is worth a line."""
        self.story.add(event)
        if isinstance(event, TaskStarted):
            self._shown.clear()
            if event.works:
                self._tell(f"{event.phase} | {event.task}")
        elif isinstance(event, Progress):
            self._progress(event)
        elif isinstance(event, Said):
            self._write(event.text)
        elif isinstance(event, TaskEnded):
            if event.outcome not in ("ok", "skipped"):
                self._tell(f"{event.phase} | {event.task}: {event.host} {event.outcome} ({words.spent(event.seconds)})")
            if event.note:
                self._write(event.note)
            if self._verbose and event.text:
                self._write(event.text)

    def end(self, outcome: Outcome) -> None:
        """Write how every desk is, what failed, and the last line."""
        found = desks(self.story)
        for desk in found:
            self._write("")
            if len(found) > 1:
                self._write(f"{desk.name}:")
            for name, text in words.whole(desk):
                self._write(f"  {name:<8} {text}")
            for line in words.paste(desk.report):
                self._write(line)
        for event in self.story.failures():
            self._write("")
            for line in words.failure(event, half_of(found, event.host)):
                self._write(line)
        self._write("")
        self._write(words.ending(outcome, self.story.changed))

    def _progress(self, event: Progress) -> None:
        last = self._shown.get(event.host)
        if last is None or event.at - last >= PAUSE or event.completed == event.total:
            self._shown[event.host] = event.at
            self._tell(f"{event.host} | {words.progress(self.story.work[event.host])}")

    def _tell(self, line: str) -> None:
        self._write(f"{words.clock(self.story.seconds)} {line}")

    def _write(self, line: str) -> None:
        self._stream.write(line + "\n")
        self._stream.flush()
