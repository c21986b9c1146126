# SPDX-License-Identifier: GPL-3.0-or-later
"""Bring every desk to where it should be."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from llmdesk import suggest
from llmdesk.commands import plays
from llmdesk.commands.options import ANSIBLE, DRY, ROLLOUT, SHOWN, WORKER, taking


@click.command(
    epilog="""\b
Examples:
  ./llmdesk up
  ./llmdesk up --model auto
  ./llmdesk up --model llama3.2:1b --port 8080
  ./llmdesk up --image registry.example.com/open-webui/open-webui:ollama --image build
  ./llmdesk up --image /media/usb/open-webui.tar
  ./llmdesk up --bundle /media/usb -i inventory/room.yml
  ./llmdesk up -i inventory/room.yml --limit 'desk1,desk2' -K
  ./llmdesk up -i inventory/room.yml --canary 2 --serial 10
  ./llmdesk up -i inventory/room.yml --tags ollama_models
  ./llmdesk up --check --diff

\b
Exit code: 0 when every desk is as it should be; 2 when one failed; 4 when one could not be reached;
130 after Ctrl-C; 3 when nothing is wrong but that Windows has to restart before the same command goes on."""
)
@click.option(
    "--model",
    "models",
    multiple=True,
    metavar="NAME",
    shell_complete=suggest.models,
    help="A model to have; may be given more than once.",
)
@click.option("--port", type=click.IntRange(1, 65535), help="The page's port.  [default: 3000]")
@click.option(
    "--image",
    "images",
    multiple=True,
    metavar="REF|ARCHIVE|build",
    help="Where the image comes from: a registry, a file of 'docker save', or built on the spot. Given more than once,"
    " the first that answers.",
)
@click.option(
    "--bundle",
    type=click.Path(file_okay=False, resolve_path=True),
    metavar="DIR",
    help="Take everything out of this folder, which './llmdesk bundle' has made, and nothing from any network.",
)
@click.option("--retry-sources", is_flag=True, help="Ask the hubs again for what something else stands in for.")
@taking(DRY, ROLLOUT, ANSIBLE, SHOWN, WORKER)
def up(
    models: tuple[str, ...],
    port: int | None,
    images: tuple[str, ...],
    bundle: str | None,
    retry_sources: bool,
    serial: str | None,
    max_fail_percentage: int | None,
    canary: int | None,
    **options: Any,
) -> None:
    """Bring every desk to where it should be, and let it prove that it answers."""
    wanted = {"desks_canary": canary, "desks_serial": serial, "desks_max_fail_percentage": max_fail_percentage}
    variables: dict[str, Any] = {name: value for name, value in wanted.items() if value is not None}
    if models:
        variables["ollama_models"] = list(models)
    if port:
        variables["desk_port"] = port
    if images:
        variables["open_webui_image_sources"] = [image_source(image) for image in images]
    if bundle:
        variables["desk_bundle"] = bundle
    if retry_sources:
        variables |= {"ollama_models_retry_sources": True, "open_webui_image_upgrade": True}
        variables |= {"nvidia_runtime_retry": True}
    plays.show("site.yml", variables, **options)


def image_source(image: str) -> dict[str, Any]:
    """Return a source of the image as the role ``open_webui`` takes it."""
    if image == "build":
        return {"build": True}
    if image.startswith(("/", ".", "~")) or image.endswith((".tar", ".tar.gz", ".tgz")):
        return {"archive": str(Path(image).expanduser().absolute())}
    return {"registry": image}
