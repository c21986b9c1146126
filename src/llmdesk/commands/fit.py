# SPDX-License-Identifier: GPL-3.0-or-later
"""Say which models fit."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import click

from llmdesk import suggest
from llmdesk.commands import plays
from llmdesk.commands.options import ANSIBLE, taking


@click.command(
    epilog="""\b
Examples:
  ./llmdesk fit
  ./llmdesk fit qwen3:8b phi4:14b --context 16384
  ./llmdesk fit ./house-model.gguf -i inventory/room.yml
  ./llmdesk fit llama3.3:70b --json | jq '.desks[].models[].verdict'

\b
Verdicts, from the best: gpu (all of it on the GPU), gpu-partly, cpu (at reading speed), cpu-slow, no.
Exit code: 0 when every desk answered, whatever the verdicts; 1 when one did not, or a model is unknown."""
)
@click.argument("models", metavar="[MODEL…]", nargs=-1, shell_complete=suggest.models)
@click.option("--context", type=click.IntRange(1), help="Tokens of context.  [default: what Ollama takes by itself]")
@click.option("--json", "as_json", is_flag=True, help="One JSON object: desks, failures.")
@taking(ANSIBLE)
def fit(models: tuple[str, ...], context: int | None, as_json: bool, **options: Any) -> None:
    """Say which models fit every desk, and what would make them fit. Changes nothing.

    A MODEL is a name, or a GGUF file on this machine; without one, the well known models and what auto would choose.
    """
    from llmdesk import fits, words
    from llmdesk.run import ask

    variables: dict[str, Any] = {}
    if models:
        variables["ollama_models_fit_asked"] = [_model_from_here(model) for model in models]
    if context:
        variables["ollama_models_fit_context"] = context
    wanted = plays.play("llmdesk.workstation.fit", variables, **options)
    click.echo(f"$ {words.command(wanted.command())}", err=True)
    try:
        found, failures = fits.fits(ask(wanted))
    except RuntimeError as error:
        raise click.ClickException(str(error)) from None
    if as_json:
        click.echo(json.dumps({"desks": found, "failures": failures}, ensure_ascii=False))
    elif found:
        fits.show(found, sys.stdout)
    for desk, reason in failures.items():
        click.echo(f"{desk}: {reason}", err=True)
    unknown = any(model["verdict"] == "unknown" for answer in found.values() for model in answer["models"])
    sys.exit(1 if failures or unknown or not found else 0)


def _model_from_here(model: str) -> str:
    """Return a model as the playbook finds it: a file by its absolute path, a name as it is."""
    if model.startswith(("/", ".", "~")) or model.endswith(".gguf"):
        return str(Path(model).expanduser().absolute())
    return model
