# SPDX-License-Identifier: GPL-3.0-or-later
"""Be the machine that another one lets its runs take place on."""

from __future__ import annotations

import sys

import click


@click.command(
    epilog="""\b
Examples:
  ssh ann@gateway llmdesk/llmdesk worker     # as ./llmdesk up -i inventory/room.yml --worker ann@gateway does"""
)
def worker() -> None:
    """Run what another machine sends on standard input; 'up --worker' there starts it by ssh."""
    from llmdesk.worker import serve

    if sys.stdin.isatty():
        raise click.ClickException("Nobody types this: './llmdesk up --worker user@this-machine' elsewhere starts it.")
    sys.exit(serve())
