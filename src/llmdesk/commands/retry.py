# SPDX-License-Identifier: GPL-3.0-or-later
"""Run the last run again, on the desks that it left undone."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import click

from llmdesk.commands import plays
from llmdesk.commands.options import SHOWN, taking


@click.command(
    epilog="""\b
Examples:
  ./llmdesk retry
  ./llmdesk retry --list

\b
What counts is the last run that changed desks: up, down, or one that brought models.
Passwords are asked for again."""
)
@click.option("--list", "only_list", is_flag=True, help="Only print the names of those desks, one a line.")
@taking(SHOWN)
def retry(only_list: bool, as_json: bool, verbose: int, log: str | None) -> None:
    """Run the last run again, on the desks that failed, that were not reached, or that it did not come to."""
    from llmdesk import again, screen

    kept = again.last()
    if kept is None:
        raise click.ClickException("There is no run to repeat: nothing has changed a desk from this account yet.")
    if only_list:
        for host in kept.hosts:
            click.echo(host)
        return
    if not kept.hosts:
        click.echo(f"Nothing is left to do: the run {kept.run} left no desk undone.")
        return
    if kept.play is None:
        raise click.ClickException(
            f"The run {kept.run} was given something secret by -e, so it was not kept. "
            f"Type its command again with --limit {','.join(kept.hosts)}"
        )
    asked: dict[str, Any] = {name: plays.ask_password(name) for name in kept.asked}
    wanted = replace(kept.play, limit=",".join(kept.hosts), verbosity=verbose, **asked)
    plays.finish(wanted, screen.choose(as_json, bool(verbose), log))
