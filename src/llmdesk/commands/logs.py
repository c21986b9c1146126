# SPDX-License-Identifier: GPL-3.0-or-later
"""Print the container's log."""

from __future__ import annotations

import sys
from typing import Any

import click

from llmdesk import suggest
from llmdesk.commands import plays
from llmdesk.commands.options import REACHED, taking


@click.command(
    epilog="""\b
Examples:
  ./llmdesk logs -f
  ./llmdesk logs desk7 --tail 1000"""
)
@click.argument("host", required=False, shell_complete=suggest.hosts)
@click.option("-f", "--follow", is_flag=True, help="Go on until Ctrl-C.")
@click.option("-n", "--tail", type=click.IntRange(0), default=200, show_default=True, help="Lines from the end.")
@taking(REACHED)
def logs(host: str | None, follow: bool, tail: int, **options: Any) -> None:
    """Print the container's log."""
    from llmdesk.screen.log import LogScreen

    options["limit"] = host or options["limit"]
    variables = {"open_webui_logs_tail": tail, "open_webui_logs_follow": follow}
    plays.finish(
        plays.play("llmdesk.workstation.logs", variables, **options), LogScreen(sys.stdout, sys.stderr), keep=False
    )
