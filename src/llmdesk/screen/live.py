# SPDX-License-Identifier: GPL-3.0-or-later
"""A screen that moves: phases with their times, a bar for everything that takes long, a panel at the end."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from itertools import islice
from threading import RLock

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.segment import Segment, Segments
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from llmdesk import words
from llmdesk.desks import Desk, desks
from llmdesk.events import Event, Said, TaskEnded
from llmdesk.run import REBOOT_NEEDED, Outcome, Play
from llmdesk.screen.room import BARS, Line, failures, frame, names, small, table
from llmdesk.story import Phase, Story, Work

_STYLES = {"warning": "yellow", "reboot": "yellow", "broken": "red", "answer": "bold", "address": "bold cyan"}
_ENDS = {0: "green", REBOOT_NEEDED: "yellow"}


class LiveScreen:
    """Draws what a run does.

    Of one desk it redraws a few lines at the bottom; what is said once scrolls away above them. Of a room it takes the
    whole terminal, as ``top`` does, so that nothing is left over when a person makes the window smaller, and gives it
    back for the result.
    """

    def __init__(self, verbose: bool, console: Console | None = None, clock: Callable[[], float] = time.monotonic):
        self.story = Story()
        self._ended = False
        self._verbose = verbose
        self._console = console or Console(highlight=False)
        self._spinner = Spinner("dots", style="cyan")
        self._clock = clock
        self._heard = clock()
        self._play = Play("")
        self._said: dict[tuple[str, str], set[str]] = {}
        # Drawn in a thread of rich's own, while events come in this one.
        self._lock = RLock()
        self._live = self._canvas(whole=False)

    def begin(self, play: Play) -> None:
        """Show the command that does the same, and start to draw."""
        self._play = play
        self._console.print(Text(f"$ {words.command(play.command())}", style="dim"))
        self._live.start()

    def show(self, event: Event) -> None:
        """Take an event into the picture."""
        with self._lock:
            self._heard = self._clock()
            was_room = self.story.room
            self.story.add(event)
            becomes_room = self.story.room and not was_room
        if becomes_room:
            self._take_the_terminal()
        if isinstance(event, Said):
            self._say(event.text, "yellow")
        elif isinstance(event, TaskEnded):
            if event.note:
                self._say(event.note, host=event.host)
            if self._verbose and event.text:
                self._say(event.text, "dim")

    def abandon(self) -> None:
        """Give the terminal back, if it is still there."""
        with contextlib.suppress(OSError):
            self._live.stop()

    def end(self, outcome: Outcome) -> None:
        """Leave the result standing."""
        self._ended = True
        if self.story.room:
            self._live.stop()
            self._end_of_room(outcome)
            return
        with self._lock:
            self.story.phase = None
            self.story.work.clear()
        self._live.stop()
        self._result(outcome)

    def _end_of_room(self, outcome: Outcome) -> None:
        for (text, style), hosts in self._said.items():
            who = f"{names(hosts)}: " if hosts else ""
            self._console.print(Text(f"{who}{text}", style=style), soft_wrap=True)
        self._result(outcome)

    def _result(self, outcome: Outcome) -> None:
        found = desks(self.story)
        if self.story.room and not small(self.story):
            self._print(table(self.story, self._console.width))
        else:
            for desk in found:
                self._console.print(panel(desk, outcome.rc, titled=len(found) > 1))
        for desk in found:
            # Without a frame and without breaks: people copy it.
            for line in words.paste(desk.report):
                self._console.print(Text(line), soft_wrap=True)
        self._print(failures(self.story, self._play, outcome))
        last = words.ending(outcome, self.story.changed)
        self._console.print(Text(last, style=_ENDS.get(outcome.rc, "red")), soft_wrap=True)

    def _print(self, lines: list[Line]) -> None:
        for line in lines:
            self._console.print(Text.assemble(*line), soft_wrap=True)

    def _say(self, text: str, style: str = "", host: str = "") -> None:
        if self.story.room:
            with self._lock:
                self._said.setdefault((text, style), set()).update({host} - {""})
        else:
            self._console.print(Text(text, style=style), soft_wrap=True)

    def _canvas(self, whole: bool) -> Live:
        return Live(
            console=self._console,
            get_renderable=self._draw_room if whole else self._draw,
            # A room's picture is a screen full of text, which may have to go through a thin line.
            refresh_per_second=2 if whole else 8,
            redirect_stdout=False,
            screen=whole and self._console.is_terminal,
            transient=whole,
        )

    def _take_the_terminal(self) -> None:
        self._live.transient = True
        self._live.stop()
        self._live = self._canvas(whole=True)
        self._live.start()

    def _draw_room(self) -> RenderableType:
        with self._lock:
            now = self.story.at + self._clock() - self._heard
            head = f"$ {words.command(self._play.command())}"
            said = [text for text, style in self._said if style == "yellow"]
            lines = frame(self.story, now, self._console.width, self._console.height, said, head)
        # The lines fit, so nothing has to be wrapped, which would cost more than all the rest.
        style = self._console.get_style
        pieces = [[Segment(text, style(name)) for text, name in line] for line in lines]
        return Segments(piece for line in pieces for piece in (*line, Segment.line()))

    def _draw(self) -> RenderableType:
        with self._lock:
            return self._draw_desk()

    def _draw_desk(self) -> RenderableType:
        story = self.story
        since = max(0.0, time.time() - story.at) if story.phase else 0.0
        phases = Table.grid(padding=(0, 1))
        phases.add_column()
        phases.add_column(no_wrap=True)
        phases.add_column(no_wrap=True, justify="right")
        phases.add_column(no_wrap=True, overflow="ellipsis")
        if not (story.phases or self._ended):
            phases.add_row(self._spinner, "Starting Ansible", "", "")
        for phase in story.phases.values():
            current = phase is story.phase
            phases.add_row(
                self._spinner if current else _mark(phase),
                Text(phase.name, style="bold" if current else ""),
                words.spent(phase.seconds + (since if current else 0)),
                Text(story.task if current else "changed" if phase.changed else "", style="dim"),
            )
        room_left = max(1, self._console.height - len(story.phases) - 4)
        works = list(islice(story.work.values(), room_left))
        # Figures stay whole, since they are why anybody looks: where there is little room, the name gives way.
        narrow = self._console.width < BARS
        bars = Table.grid(padding=(0, 1), expand=narrow)
        bars.add_column(no_wrap=True, overflow="ellipsis", ratio=1 if narrow else None)
        for _ in range(3):
            bars.add_column(no_wrap=True)
        for work in works:
            bars.add_row(*_bar(work, 10 if narrow else 30))
        more = len(story.work) - len(works)
        return Group(phases, *([bars] if works else []), *([Text(f"  and {more} more", style="dim")] if more else []))


def panel(desk: Desk, rc: int = 0, titled: bool = False) -> Panel:
    """Return one desk's report in a frame, of both its halves where it has two.

    :param titled: whether its name stands in the frame.
    """
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(overflow="fold")
    for name, text in words.whole(desk):
        grid.add_row(name, Text(text, style=_STYLES.get(name, "")))
    title = Text(desk.name) if titled else None
    return Panel(grid, border_style=_ENDS.get(rc, "red"), expand=False, title=title, title_align="left")


def _mark(phase: Phase) -> Text:
    return Text("✗", style="red") if phase.failed else Text("✓", style="green")


def _bar(work: Work, width: int) -> tuple[RenderableType, ...]:
    now = work.now
    where = "" if now.host == "localhost" else f"{now.host} "
    return (
        Text(f"  {where}{now.item}"),
        ProgressBar(total=now.total or None, completed=now.completed, width=width, pulse=not now.total),
        Text(words.amount(work), style="cyan"),
        Text(", ".join(filter(None, (words.pace(work), now.detail))), style="dim"),
    )
