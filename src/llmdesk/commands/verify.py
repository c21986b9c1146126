# SPDX-License-Identifier: GPL-3.0-or-later
"""Ask the page a question."""

from __future__ import annotations

from typing import Any

import click

from llmdesk.commands import plays
from llmdesk.commands.options import ANSIBLE, SHOWN, WORKER, taking


@click.command(
    epilog="""\b
Examples:
  ./llmdesk verify
  ./llmdesk verify -e verify_model=llama3.2:3b"""
)
@taking(ANSIBLE, SHOWN, WORKER)
def verify(**options: Any) -> None:
    """Ask the page a question now, and name a remedy for whatever is broken."""
    plays.show("llmdesk.workstation.verify", {}, **options)
