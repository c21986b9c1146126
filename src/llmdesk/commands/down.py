# SPDX-License-Identifier: GPL-3.0-or-later
"""Take the container away."""

from __future__ import annotations

from typing import Any

import click

from llmdesk.commands import plays
from llmdesk.commands.options import ANSIBLE, DRY, SHOWN, WORKER, taking

VOLUMES = ("open-webui", "ollama")
"""The volumes of a desk: accounts and chats, models."""


@click.command(
    epilog="""\b
Examples:
  ./llmdesk down
  ./llmdesk down --delete-data"""
)
@click.option("--delete-data", is_flag=True, help="Also remove the volumes whose names you then type.")
@taking(DRY, ANSIBLE, SHOWN, WORKER)
def down(delete_data: bool, **options: Any) -> None:
    """Stop and remove the container. Models, chats and accounts stay in their volumes."""
    variables = {"open_webui_delete_volumes": _typed_volumes()} if delete_data else {}
    plays.show("llmdesk.workstation.down", variables, **options)


def _typed_volumes() -> list[str]:
    click.echo(
        f"Volumes of a desk: {VOLUMES[0]} (accounts, chats), {VOLUMES[1]} (models). They cannot be brought back."
    )
    typed: list[str] = click.prompt("Type the names of those to remove").replace(",", " ").split()
    unknown = sorted(set(typed) - set(VOLUMES))
    if unknown:
        raise click.ClickException(f"No volume of a desk is named {', '.join(unknown)}. Nothing was removed.")
    return typed
