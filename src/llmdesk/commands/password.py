# SPDX-License-Identifier: GPL-3.0-or-later
"""Print the administrator's password."""

from __future__ import annotations

import json
import sys
from typing import Any

import click

from llmdesk import suggest
from llmdesk.commands import plays
from llmdesk.commands.options import ANSIBLE, taking


@click.command(
    epilog="""\b
Examples:
  ./llmdesk password
  ./llmdesk password desk7 -i inventory/room.yml"""
)
@click.argument("host", required=False, shell_complete=suggest.hosts)
@click.option("--json", "as_json", is_flag=True, help="One JSON object, host to password.")
@taking(ANSIBLE)
def password(host: str | None, as_json: bool, **options: Any) -> None:
    """Print the administrator's password. It is read on the desk, and no record is kept."""
    from llmdesk.run import ask
    from llmdesk.secret import passwords

    options["limit"] = host or options["limit"]
    try:
        found, failures = passwords(ask(plays.play("llmdesk.workstation.password", {}, **options)))
    except RuntimeError as error:
        raise click.ClickException(str(error)) from None
    if as_json:
        click.echo(json.dumps(found))
    else:
        for desk, secret in found.items():
            click.echo(secret if len(found) == 1 else f"{desk}: {secret}")
    for desk, reason in failures.items():
        click.echo(f"{desk}: {reason}", err=True)
    sys.exit(1 if failures or not found else 0)
