# SPDX-License-Identifier: GPL-3.0-or-later
"""Look after the models of a room."""

from __future__ import annotations

import json
import sys
from typing import Any

import click

from llmdesk import suggest
from llmdesk.commands import plays
from llmdesk.commands.options import ANSIBLE, DRY, SHOWN, taking

PLAYBOOK = "llmdesk.workstation.models"


@click.group(
    epilog="""\b
Examples:
  ./llmdesk models list -i inventory/room.yml
  ./llmdesk models pull qwen3:8b -i inventory/room.yml
  ./llmdesk models remove llama3.2:1b -i inventory/room.yml --check"""
)
def models() -> None:
    """List, pull and remove models on every desk, beside what the inventory declares."""


@models.command(
    "list",
    epilog="""\b
Examples:
  ./llmdesk models list -i inventory/room.yml
  ./llmdesk models list --json | jq '.desks[].models[].name'

\b
Exit code: 0 when every desk answered; 1 when one did not.""",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object: desks, differing, failures.")
@taking(ANSIBLE)
def list_models(as_json: bool, **options: Any) -> None:
    """Say which models are on which desk, and where one is not the same. Changes nothing."""
    from llmdesk import stocks, words
    from llmdesk.run import ask

    wanted = plays.play(PLAYBOOK, {}, **options)
    click.echo(f"$ {words.command(wanted.command())}", err=True)
    try:
        found, failures = stocks.stocks(ask(wanted))
    except RuntimeError as error:
        raise click.ClickException(str(error)) from None
    if as_json:
        answer = {"desks": found, "differing": stocks.differing(found), "failures": failures}
        click.echo(json.dumps(answer, ensure_ascii=False))
    elif found:
        stocks.show(found, sys.stdout)
    for desk, reason in failures.items():
        click.echo(f"{desk}: {reason}", err=True)
    sys.exit(1 if failures or not found else 0)


@models.command(
    epilog="""\b
Examples:
  ./llmdesk models pull qwen3:8b llama3.2:3b -i inventory/room.yml"""
)
@click.argument("names", metavar="NAME…", nargs=-1, required=True, shell_complete=suggest.models)
@taking(DRY, ANSIBLE, SHOWN)
def pull(names: tuple[str, ...], **options: Any) -> None:
    """Bring models to every desk. One that the inventory declares comes from the sources that it declares."""
    plays.show(PLAYBOOK, {"ollama_models_pull": list(names)}, **options)


@models.command(
    epilog="""\b
Examples:
  ./llmdesk models remove llama3.2:1b -i inventory/room.yml --check"""
)
@click.argument("names", metavar="NAME…", nargs=-1, required=True, shell_complete=suggest.models)
@taking(DRY, ANSIBLE, SHOWN)
def remove(names: tuple[str, ...], **options: Any) -> None:
    """Remove models from every desk. Says which of them the inventory declares, so that they will come back."""
    plays.show(PLAYBOOK, {"ollama_models_remove": list(names)}, **options)
