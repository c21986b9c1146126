# SPDX-License-Identifier: GPL-3.0-or-later
"""Make a bundle for a room without a network."""

from __future__ import annotations

from typing import Any

import click

from llmdesk import suggest
from llmdesk.commands import plays
from llmdesk.commands.options import ANSIBLE, SHOWN, taking
from llmdesk.commands.up import image_source
from llmdesk.run import REPOSITORY


@click.command(
    epilog="""\b
Examples:
  ./llmdesk bundle /media/usb
  ./llmdesk bundle /media/usb -i inventory/room.yml --system debian-13
  ./llmdesk bundle /media/usb --model llama3.2:3b --model qwen3:4b --system ubuntu-24.04
  ./llmdesk bundle /media/usb -i inventory/room.yml --check
  ./llmdesk up --bundle /media/usb -i inventory/room.yml

\b
Exit code: 0 when the bundle is whole; 2 when something was not to be had; 130 after Ctrl-C.
The same command carries on from what is there."""
)
@click.argument("path", metavar="DIR", type=click.Path(file_okay=False, resolve_path=True))
@click.option(
    "--system",
    "systems",
    multiple=True,
    metavar="NAME",
    shell_complete=suggest.systems,
    help="A system whose packages go along, or none; may be given more than once.  [default: those of the desks that"
    " answer]",
)
@click.option(
    "--model",
    "models",
    multiple=True,
    metavar="NAME",
    shell_complete=suggest.models,
    help="A model to bring, in the place of those of the inventory; may be given more than once.",
)
@click.option(
    "--image",
    "images",
    multiple=True,
    metavar="REF",
    help="Where the image comes from: a registry. Given more than once, the first that answers.",
)
@click.option("--check", is_flag=True, help="Only say what would come, and how much.")
@taking(ANSIBLE, SHOWN)
def bundle(
    path: str, systems: tuple[str, ...], models: tuple[str, ...], images: tuple[str, ...], **options: Any
) -> None:
    """Bring everything that desks need into the folder DIR, for a room without a network.

    Images, models, packages, and llmdesk itself, for the desks of the inventory and nothing more. There, type the same
    options with 'up --bundle DIR'.
    """
    variables: dict[str, Any] = {"bundle_path": path, "bundle_project": str(REPOSITORY)}
    if systems:
        variables["bundle_systems"] = list(systems)
    if models:
        variables["ollama_models"] = list(models)
    if images:
        variables["open_webui_image_sources"] = [image_source(image) for image in images]
    plays.show("llmdesk.workstation.bundle", variables, needs_root=False, **options)
