# SPDX-License-Identifier: GPL-3.0-or-later
"""A screen that moves: phases with their times, a bar for everything that takes long, a panel at the end."""

from __future__ import annotations

import time
from itertools import islice

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from llmdesk import words
from llmdesk.desks import Desk, desks, half_of
from llmdesk.events import Event, Said, TaskEnded
from llmdesk.run import REBOOT_NEEDED, Outcome, Play
from llmdesk.story import Phase, Story, Work

_STYLES = {"warning": "yellow", "reboot": "yellow", "broken": "red", "answer": "bold", "address": "bold cyan"}
_ENDS = {0: "green", REBOOT_NEEDED: "yellow"}
_COLUMNS = {name: (name,) for name in ("address", "model", "answer", "speed", "account", "broken", "warning")}
_WINDOWS = {"windows": ("windows", "wsl", "reboot", "distro")}


class LiveScreen:
    """Redraws a few lines at the bottom; what is said once scrolls away above them."""

    def __init__(self, verbose: bool, console: Console | None = None) -> None:
        self.story = Story()
        self._ended = False
        self._verbose = verbose
        self._console = console or Console(highlight=False)
        self._spinner = Spinner("dots", style="cyan")
        self._live = Live(console=self._console, get_renderable=self._draw, refresh_per_second=8, redirect_stdout=False)

    def begin(self, play: Play) -> None:
        """Show the command that does the same, and start to draw."""
        self._console.print(Text(f"$ {words.command(play.command())}", style="dim"))
        self._live.start()

    def show(self, event: Event) -> None:
        """Take an event into the picture."""
        self.story.add(event)
        if isinstance(event, Said):
            self._say(event.text, "yellow")
        elif isinstance(event, TaskEnded):
            if event.note:
                self._say(event.note)
            if self._verbose and event.text:
                self._say(event.text, "dim")

    def end(self, outcome: Outcome) -> None:
        """Leave the phases standing and print the result under them."""
        self._ended = True
        self.story.phase = None
        self.story.work.clear()
        self._live.stop()
        found = desks(self.story)
        if len(found) == 1:
            self._console.print(panel(found[0], rc=outcome.rc))
        elif found:
            self._console.print(room(found))
        for desk in found:
            # Without a frame and without breaks: people copy it.
            for line in words.paste(desk.report):
                self._say(line)
        for event in self.story.failures():
            style = "yellow" if event.waits_for_reboot else "red"
            self._console.print(Text("\n".join(words.failure(event, half_of(found, event.host))), style=style))
        last = words.ending(outcome, self.story.changed)
        self._console.print(Text(last, style=_ENDS.get(outcome.rc, "red")), soft_wrap=True)

    def _say(self, text: str, style: str = "") -> None:
        self._console.print(Text(text, style=style), soft_wrap=True)

    def _draw(self) -> RenderableType:
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
        bars = Table.grid(padding=(0, 1))
        for _ in range(4):
            bars.add_column(no_wrap=True, overflow="ellipsis")
        for work in works:
            bars.add_row(*_bar(work))
        more = len(story.work) - len(works)
        return Group(phases, *([bars] if works else []), *([Text(f"  and {more} more", style="dim")] if more else []))


def panel(desk: Desk, rc: int = 0) -> Panel:
    """Return one desk's report in a frame, of both its halves where it has two."""
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(overflow="fold")
    for name, text in words.whole(desk):
        grid.add_row(name, Text(text, style=_STYLES.get(name, "")))
    return Panel(grid, border_style=_ENDS.get(rc, "red"), expand=False)


def room(found: list[Desk]) -> Table:
    """Return many desks' reports as a table, a row a desk; the warnings stand in the last column.

    A column for Windows is there where any desk has it.
    """
    table = Table(show_edge=False, pad_edge=False)
    columns = {**(_WINDOWS if any(desk.windows_host for desk in found) else {}), **_COLUMNS}
    for name in ("desk", *columns):
        table.add_column(name, overflow="fold", style=_STYLES.get(name, ""))
    for desk in found:
        rows = words.whole(desk)
        cells = ("\n".join(text for row, text in rows if row in names) for names in columns.values())
        table.add_row(desk.name, *cells)
    return table


def _mark(phase: Phase) -> Text:
    return Text("✗", style="red") if phase.failed else Text("✓", style="green")


def _bar(work: Work) -> tuple[RenderableType, ...]:
    now = work.now
    where = "" if now.host == "localhost" else f"{now.host} "
    return (
        Text(f"  {where}{now.item}"),
        ProgressBar(total=now.total or None, completed=now.completed, width=30, pulse=not now.total),
        Text(words.amount(work), style="cyan"),
        Text(", ".join(filter(None, (words.pace(work), now.detail))), style="dim"),
    )
