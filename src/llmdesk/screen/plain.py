# SPDX-License-Identifier: GPL-3.0-or-later
"""Lines of text, each written once: for pipes, CI, dumb terminals and people who set NO_COLOR."""

from __future__ import annotations

from itertools import chain
from typing import Protocol

from llmdesk import words
from llmdesk.desks import Desk, desks
from llmdesk.events import Event, HostStarted, Progress, Said, TaskEnded, TaskStarted
from llmdesk.run import Outcome, Play
from llmdesk.screen.room import Line, failures, names, reason, small, summary, table
from llmdesk.story import Story

PAUSE = 5.0
"""Seconds between two lines about the same piece of work."""

MOMENT = 1.0
"""Seconds within which desks that come to the same role share a line."""

EVERY = 30.0
"""Seconds between two totals of a room."""

WIDTH = 120
"""Columns of a room's table: nobody knows how wide the paper is."""


class Lines(Protocol):
    """Where text is written to."""

    def write(self, text: str, /) -> int:
        """Write text."""

    def flush(self) -> None:
        """Write it now."""


class PlainScreen:
    """Writes a line for every task that has work to do, and one now and then for work that takes long.

    In a room that would be a thousand lines, so there it writes one for the desks that come to a role at a time, one
    for every failure, and the totals now and then.
    """

    def __init__(self, stream: Lines, verbose: bool) -> None:
        self.story = Story()
        self._stream = stream
        self._verbose = verbose
        self._play = Play("")
        self._shown: dict[str, float] = {}
        self._came: dict[str, list[str]] = {}
        self._came_at = self._totals_at = 0.0
        self._at_phase: dict[str, str] = {}
        self._noted: set[str] = set()

    def abandon(self) -> None:
        """Leave what was written as it is."""

    def begin(self, play: Play) -> None:
        """Write the command that does the same."""
        self._play = play
        self._write(f"$ {words.command(play.command())}")

    def show(self, event: Event) -> None:
        """Write what is worth a line."""
        was_room = self.story.room
        self.story.add(event)
        if self.story.room:
            self._totals_at = self._totals_at if was_room else event.at
            self._show_room(event)
        elif isinstance(event, TaskStarted):
            self._shown.clear()
            if event.works:
                self._tell(f"{event.phase} | {event.task}")
        elif isinstance(event, HostStarted):
            self._at_phase[event.host] = event.phase
        elif isinstance(event, Progress):
            self._progress(event)
        elif isinstance(event, TaskEnded):
            if event.outcome not in ("ok", "skipped"):
                self._tell(f"{event.phase} | {event.task}: {event.host} {event.outcome} ({words.spent(event.seconds)})")
            if event.note:
                self._write(event.note)
        if isinstance(event, Said):
            self._write(event.text)
        if isinstance(event, TaskEnded) and self._verbose and event.text:
            self._write(event.text)

    def end(self, outcome: Outcome) -> None:
        """Write how every desk is, what failed, and the last line."""
        found = desks(self.story)
        if self.story.room:
            self._tell_who_came()
            self._tell(summary(self.story, self.story.at))
        if self.story.room and not small(self.story):
            self._lines(table(self.story, WIDTH))
        else:
            self._whole(found)
        for desk in found:
            for line in words.paste(desk.report):
                self._write(line)
        self._lines(failures(self.story, self._play, outcome))
        self._write(words.ending(outcome, self.story.changed))

    def _whole(self, found: list[Desk]) -> None:
        for desk in found:
            self._write("")
            if len(found) > 1:
                self._write(f"{desk.name}:")
            for name, text in words.whole(desk):
                self._write(f"  {name:<8} {text}")

    def _lines(self, lines: list[Line]) -> None:
        for line in lines:
            self._write("".join(text for text, _ in line))

    def _show_room(self, event: Event) -> None:
        if self._came and event.at - self._came_at >= MOMENT:
            self._tell_who_came()
        if event.at - self._totals_at >= EVERY:
            self._totals_at = event.at
            self._tell(summary(self.story, event.at))
        if isinstance(event, HostStarted) and event.works and self._at_phase.get(event.host) != event.phase:
            self._at_phase[event.host] = event.phase
            self._come(event.phase, event.host)
        elif isinstance(event, TaskEnded):
            if event.broken:
                self._tell_who_came()
                said = f"{event.phase} | {event.task}: {event.host} {event.outcome}: {reason(event)}"
                self._tell(said)
            elif event.report is not None:
                self._come("done", event.host)
            if event.note and event.note not in self._noted:
                self._noted.add(event.note)
                self._tell(f"{event.host}: {event.note}")

    def _come(self, where: str, host: str) -> None:
        if not self._came:
            self._came_at = self.story.at
        self._came.setdefault(where, []).append(host)
        # Nobody else will come, and what they do there may take long without a word.
        if {row.host for row in self.story.rows() if row.ended is None} <= {*chain(*self._came.values())}:
            self._tell_who_came()

    def _tell_who_came(self) -> None:
        for where, hosts in self._came.items():
            self._tell(f"{where}: {names(hosts, 8)}")
        self._came.clear()

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
