# SPDX-License-Identifier: GPL-3.0-or-later
"""Say how every desk is."""

from __future__ import annotations

from typing import Any

import click

from llmdesk.commands import plays
from llmdesk.commands.options import ANSIBLE, SHOWN, WORKER, taking


@click.command(
    epilog="""\b
Examples:
  ./llmdesk status
  ./llmdesk status -i inventory/room.yml --json | tail -n 1 | jq .hosts
  ./llmdesk status --drift -i inventory/room.yml

\b
Exit code with --drift: 0 without any; 2 when a desk drifted, or failed; 4 when one could not be reached."""
)
@click.option(
    "--drift", is_flag=True, help="Also say what has changed since the last run: by hand, in the page, in hardware."
)
@taking(ANSIBLE, SHOWN, WORKER)
def status(drift: bool, **options: Any) -> None:
    """Say how every desk is: page, account, Ollama, model, last proof, and Windows under it. Changes nothing."""
    plays.show("llmdesk.workstation.drift" if drift else "llmdesk.workstation.status", {}, **options)
