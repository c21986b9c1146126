# SPDX-License-Identifier: GPL-3.0-or-later
"""A screen, and a file that has all that the plain one would have written, with its time."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, TYPE_CHECKING

import click

from llmdesk.events import Event, Said
from llmdesk.run import Outcome, Play
from llmdesk.screen.plain import PlainScreen

if TYPE_CHECKING:
    from llmdesk.screen import Screen


class Both:
    """Shows everything on a screen and writes it to a file, which it adds to and which only its owner can read.

    A file that cannot be written any more is said once and then left alone: it is not worth a run.
    """

    def __init__(self, screen: Screen, path: str) -> None:
        try:
            file = os.fdopen(os.open(Path(path).expanduser(), os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600), "a")
        except OSError as error:
            raise click.ClickException(f"{path} cannot be written (--log): {error.strerror}.") from None
        self._screen = screen
        self._log: PlainScreen | None = PlainScreen(_Stamped(file), verbose=False)
        self._path = path
        self.story = screen.story

    def begin(self, play: Play) -> None:
        """Say on both what is going to run."""
        self._screen.begin(play)
        self._write(lambda log: log.begin(play))

    def show(self, event: Event) -> None:
        """Show on both what happened."""
        self._screen.show(event)
        self._write(lambda log: log.show(event), event.at)

    def end(self, outcome: Outcome) -> None:
        """Show the result on both."""
        self._write(lambda log: log.end(outcome))
        self._screen.end(outcome)

    def abandon(self) -> None:
        """Let the screen go."""
        self._screen.abandon()

    def _write(self, what: Callable[[PlainScreen], None], at: float | None = None) -> None:
        if self._log is None:
            return
        try:
            what(self._log)
        except OSError as error:
            self._log = None
            said = f"{self._path} cannot be written any more (--log): {error.strerror}."
            self._screen.show(Said(time.time() if at is None else at, said))


class _Stamped:
    """Puts the time before every line."""

    def __init__(self, file: IO[str]) -> None:
        self._file = file

    def write(self, text: str) -> int:
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S%z ")
        return self._file.write("".join(f"{stamp}{line}\n" for line in text.splitlines() or [""]))

    def flush(self) -> None:
        self._file.flush()
