# SPDX-License-Identifier: GPL-3.0-or-later
"""Screens for a run: live for people, plain for pipes and CI, JSON for programs."""

from __future__ import annotations

import os
import sys
from typing import Protocol

from llmdesk.events import Event
from llmdesk.run import Outcome, Play
from llmdesk.story import Story


class Screen(Protocol):
    """What a run is shown on; its story says in the end how the run is to be counted."""

    story: Story

    def begin(self, play: Play) -> None:
        """Say what is going to run."""

    def show(self, event: Event) -> None:
        """Show what happened."""

    def end(self, outcome: Outcome) -> None:
        """Show the result."""

    def abandon(self) -> None:
        """Give back what was taken of a terminal; the run has no result."""


def choose(json: bool, verbose: bool, log: str | None = None) -> Screen:
    """Return the screen for this output: live only on a terminal that can move its cursor and wants colours.

    :param log: a file to which everything is written as well.
    :raises click.ClickException: that file cannot be written.
    """
    if log is None:
        return _choose(json, verbose)
    from llmdesk.screen.both import Both

    return Both(_choose(json, verbose), log)


def _choose(json: bool, verbose: bool) -> Screen:
    # Only the one that is used is loaded: rich takes a tenth of a second.
    if json:
        from llmdesk.screen.json import JsonScreen

        return JsonScreen(sys.stdout)
    if sys.stdout.isatty() and os.environ.get("TERM") != "dumb" and not (os.environ.get("NO_COLOR") or _in_ci()):
        from llmdesk.screen.live import LiveScreen

        return LiveScreen(verbose)
    from llmdesk.screen.plain import PlainScreen

    return PlainScreen(sys.stdout, verbose)


def _in_ci() -> bool:
    return os.environ.get("CI", "").lower() not in ("", "0", "false")
