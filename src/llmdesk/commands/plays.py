# SPDX-License-Identifier: GPL-3.0-or-later
"""From the options of a command to a play, and from the play to its screen and exit code."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from llmdesk import inventories
from llmdesk.run import Play

_PROMPTS = {"become_password": "BECOME password", "vault_password": "Vault password"}

_UNWRITABLE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM)


def play(playbook: str, variables: dict[str, Any], needs_root: bool = True, **options: Any) -> Play:
    """Return the play that options of the command line ask for, after asking for its passwords.

    :param needs_root: false for a play that asks nothing of this machine that only root may.
    :raises click.ClickException: an inventory is none, or this machine is a desk and nobody may become root on it.
    """
    try:
        inventories.check(options["inventory"])
    except inventories.BadInventory as error:
        raise click.ClickException(str(error)) from None
    if needs_root and not (
        options.get("worker") or options["inventory"] or options["ask_become_pass"] or options["ask_vault_pass"]
    ):
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
        tags=tuple(options.get("tags", ())),
        skip_tags=tuple(options.get("skip_tags", ())),
        forks=options.get("forks"),
        private_key=options.get("private_key"),
        user=options.get("user"),
        vault_password_file=options.get("vault_password_file"),
        worker=options.get("worker"),
        become_password=ask_password("become_password") if options["ask_become_pass"] else None,
        vault_password=ask_password("vault_password") if options["ask_vault_pass"] else None,
    )


def show(playbook: str, variables: dict[str, Any], as_json: bool, log: str | None = None, **options: Any) -> None:
    """Run the play that options ask for on the screen that suits, and end this process with its exit code."""
    from llmdesk import screen

    wanted = play(playbook, variables, **options)
    finish(wanted, screen.choose(as_json, bool(options["verbose"]), log))


def finish(wanted: Play, shown: Any, keep: bool = True) -> None:
    """Run a play on a screen, and end this process with its exit code.

    A terminal or pipe that is gone ends the run, and then this process without a word, since nobody reads it.

    :param keep: whether its events are written to the records as well.
    :raises click.ClickException: another run works on the same inventory, or nothing can be written to the records.
    """
    from llmdesk import again
    from llmdesk.events import parse
    from llmdesk.lock import Busy, locked
    from llmdesk.run import INTERRUPTED, Outcome, home, run
    from llmdesk.screen.room import unfinished

    def take(raw: dict[str, Any]) -> None:
        event = parse(raw)
        if event is not None:
            shown.show(event)

    def remember(outcome: Outcome) -> None:
        with contextlib.suppress(OSError):  # A full disk, say; the result is worth more than what 'retry' needs.
            again.keep(wanted, unfinished(shown.story, outcome), outcome.records.name)

    try:
        with locked(wanted):
            shown.begin(wanted)
            outcome = run(wanted, take, keep)
            outcome = replace(outcome, rc=shown.story.exit_code(outcome.rc))
            if keep:
                remember(outcome)
            shown.end(outcome)
    except Busy as error:
        raise click.ClickException(str(error)) from None
    except OSError as error:
        shown.abandon()
        if error.errno in (errno.EPIPE, errno.EIO):
            if keep:
                remember(Outcome(INTERRUPTED, 0.0, Path(wanted.name)))
            _hush()
            sys.exit(1)
        if error.errno not in _UNWRITABLE:
            raise
        raise click.ClickException(
            f"{error.strerror}: the records of runs in {home()} cannot be written, so the run was ended. "
            "Make room there, or name another folder by XDG_STATE_HOME. Then type the same command again."
        ) from None
    sys.exit(outcome.rc)


def _hush() -> None:
    """Let nothing more be written to where nobody reads: Python flushes once more when it ends."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            os.dup2(nowhere, stream.fileno())


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


def ask_password(which: str) -> str:
    """Ask for one of a play's passwords as Ansible does, without showing it."""
    answer: str = click.prompt(_PROMPTS[which], hide_input=True, err=True)
    return answer


def from_here(path: str) -> str:
    """Return a path as Ansible finds it, which runs in the checkout; host lists such as ``desk1,`` stay."""
    return str(Path(path).absolute()) if Path(path).exists() else path


def _variables_from_here(given: str) -> str:
    if not given.startswith("@"):
        return given
    if not Path(given[1:]).exists():
        raise click.ClickException(f"There is no file {given[1:]} with variables (-e {given}).")
    return f"@{from_here(given[1:])}"
