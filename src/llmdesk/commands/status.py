# SPDX-License-Identifier: GPL-3.0-or-later
"""Say how every desk is."""

from __future__ import annotations

from typing import Any

import click

from llmdesk.commands import plays
from llmdesk.commands.options import ANSIBLE, SHOWN, taking


@click.command(
    epilog="""\b
Examples:
  ./llmdesk status
  ./llmdesk status -i inventory/room.yml --json | tail -n 1 | jq .hosts"""
)
@taking(ANSIBLE, SHOWN)
def status(**options: Any) -> None:
    """Say how every desk is: page, account, Ollama, model, last proof, and Windows under it. Changes nothing."""
    plays.show("llmdesk.workstation.status", {}, **options)
