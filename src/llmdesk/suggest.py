# SPDX-License-Identifier: GPL-3.0-or-later
"""What a shell may offer while a command is typed: only what a file nearby tells at once. Nobody is asked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
from click.shell_completion import CompletionItem

from llmdesk.run import REPOSITORY

CATALOGUE = (
    REPOSITORY / "collections/ansible_collections/llmdesk/workstation/roles/ollama_models/files/model_catalog.yml"
)

SYSTEMS = ("debian-12", "debian-13", "ubuntu-22.04", "ubuntu-24.04")
"""Those of the collection's module_utils/bundle.py, which is out of reach from here."""


def files(_context: click.Context, _option: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Leave it to the shell to offer files."""
    return [CompletionItem(incomplete, type="file")]


def hosts(context: click.Context, _option: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Offer the hosts of the inventories that were typed before, or of this machine's own."""
    from llmdesk import inventories

    found: dict[str, None] = {}
    for source in context.params.get("inventory") or [str(REPOSITORY / "inventory" / "local.yml")]:
        try:
            found.update(dict.fromkeys(inventories.hosts(inventories.read(Path(source)))))
        except (inventories.BadInventory, ValueError):
            continue
    # Several go with commas between them.
    before, comma, last = incomplete.rpartition(",")
    return [CompletionItem(f"{before}{comma}{host}") for host in found if host.startswith(last)]


def systems(_context: click.Context, _option: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Offer the systems whose packages a bundle can have."""
    return [CompletionItem(name) for name in (*SYSTEMS, "none") if name.startswith(incomplete)]


def models(_context: click.Context, _option: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Offer the models of the catalogue, and auto."""
    import yaml

    catalogue: list[dict[str, Any]] = yaml.safe_load(CATALOGUE.read_text())
    names = ["auto", *(str(entry["name"]) for entry in catalogue)]
    return [CompletionItem(name) for name in names if name.startswith(incomplete)]
