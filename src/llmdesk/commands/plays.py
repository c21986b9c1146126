# SPDX-License-Identifier: GPL-3.0-or-later
"""From the options of a command to a play, and from the play to its screen and exit code."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from llmdesk.run import Play


def play(playbook: str, variables: dict[str, Any], **options: Any) -> Play:
    """Return the play that options of the command line ask for, after asking for its passwords.

    :raises click.ClickException: this machine is a desk, and nobody may become root on it.
    """
    if not (options["inventory"] or options["ask_become_pass"] or options["ask_vault_pass"]):
        _need_root()
    own = [json.dumps(variables, separators=(", ", ": "))] if variables else []
    return Play(
        playbook,
        inventory=tuple(from_here(inventory) for inventory in options["inventory"]),
        limit=options["limit"],
        extra_vars=(*own, *(_variables_from_here(given) for given in options["extra_vars"])),
        check=options.get("check", False),
        diff=options.get("diff", False),
        verbosity=options.get("verbose", 0),
        become_password=_ask_password("BECOME password") if options["ask_become_pass"] else None,
        vault_password=_ask_password("Vault password") if options["ask_vault_pass"] else None,
    )


def show(playbook: str, variables: dict[str, Any], as_json: bool, **options: Any) -> None:
    """Run the play that options ask for on the screen that suits, and end this process with its exit code."""
    from llmdesk import screen

    wanted = play(playbook, variables, **options)
    finish(wanted, screen.choose(as_json, bool(options["verbose"])))


def finish(wanted: Play, shown: Any, keep: bool = True) -> None:
    """Run a play on a screen, and end this process with its exit code.

    :param keep: whether its events are written to the records as well.
    """
    from llmdesk.events import parse
    from llmdesk.run import run

    def take(raw: dict[str, Any]) -> None:
        event = parse(raw)
        if event is not None:
            shown.show(event)

    shown.begin(wanted)
    outcome = run(wanted, take, keep)
    outcome = replace(outcome, rc=shown.story.exit_code(outcome.rc))
    shown.end(outcome)
    sys.exit(outcome.rc)


def _need_root() -> None:
    if os.geteuid() == 0:
        return
    try:
        may = subprocess.run(["sudo", "-n", "true"], capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        raise click.ClickException(
            "This machine is the desk, which needs root, and has no sudo. Run it as root."
        ) from None
    if not may:
        raise click.ClickException(
            "This machine is the desk, which needs root. Add -K to be asked for sudo's password."
        )


def _ask_password(prompt: str) -> str:
    answer: str = click.prompt(prompt, hide_input=True, err=True)
    return answer


def from_here(path: str) -> str:
    """Return a path as Ansible finds it, which runs in the checkout; host lists such as ``desk1,`` stay."""
    return str(Path(path).absolute()) if Path(path).exists() else path


def _variables_from_here(given: str) -> str:
    return f"@{from_here(given[1:])}" if given.startswith("@") else given
