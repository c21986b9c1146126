# SPDX-License-Identifier: GPL-3.0-or-later
"""Pack what people who help would ask for."""

from __future__ import annotations

import sys
from datetime import datetime
from pathlib import Path
from typing import Any

import click

from llmdesk.commands import plays
from llmdesk.commands.options import ANSIBLE, taking


@click.command(
    "support-bundle",
    epilog="""\b
Examples:
  ./llmdesk support-bundle
  ./llmdesk support-bundle -i inventory/room.yml --limit desk7 --output desk7.tar.gz

\b
Exit code: 0 when every desk told everything; 4 when one did not, as the bundle says, too; 1 without one.""",
)
@click.option("-o", "--output", metavar="FILE", help="The archive.  [default: llmdesk-support-DATE.tar.gz]")
@click.option("--emails", is_flag=True, help="Leave the addresses of people in.")
@taking(ANSIBLE)
def support_bundle(output: str | None, emails: bool, **options: Any) -> None:
    """Pack logs, facts, versions and the last runs' records into one archive, without secrets. Changes nothing.

    Look into it before you give it away: only you know which of your words are secret.
    """
    from llmdesk import redaction, words
    from llmdesk import support_bundle as support
    from llmdesk.run import ask

    path = Path(output or f"llmdesk-support-{datetime.now():%Y%m%d-%H%M%S}.tar.gz")
    if path.exists():
        raise click.ClickException(f"{path} is there and stays as it is. Give another --output.")
    if not path.parent.is_dir():
        raise click.ClickException(f"There is no folder {path.parent} to write {path.name} into.")
    wanted = plays.play("llmdesk.workstation.support", {}, **options)
    click.echo(f"$ {words.command(wanted.command())}", err=True)

    inventory = support.inventory(wanted.inventory)
    known = redaction.known(inventory, wanted.extra_vars) | {
        *filter(None, [wanted.become_password, wanted.vault_password])
    }
    packed = support.Bundle(known, emails)
    failures: dict[str, str] = {}
    facts: dict[str, Any] = {}
    try:
        facts, said, failures = support.desks(ask(wanted))
    except RuntimeError as error:
        packed.add("controller/ansible.txt", str(error))
        failures = {"every desk": "Ansible did not start; see controller/ansible.txt."}
    else:
        for desk, answers in said.items():
            for name, text in answers.items():
                packed.add(f"desks/{desk}/{name}", text)
        for desk, found in facts.items():
            packed.add_json(f"desks/{desk}/facts.json", found)
    packed.add("controller/versions.txt", support.versions())
    packed.add("controller/inventory.json", inventory)
    for name, file in support.runs():
        packed.add(name, file.read_text(errors="replace"))
    about = {
        "created": f"{datetime.now().astimezone():%Y-%m-%dT%H:%M:%S%z}",
        "command": words.command(wanted.command()),
        "desks": {**dict.fromkeys(sorted(facts), "answered"), **failures},
        "emails": "left in" if emails else "removed",
    }
    try:
        packed.write(path, about)
    except OSError as error:
        raise click.ClickException(f"{path} cannot be written: {error.strerror}.") from None
    for desk, reason in failures.items():
        click.echo(f"{desk}: {redaction.redacted(reason, known)}", err=True)
    click.echo(f"{path} is for you alone (0600). Look into it before you give it away.")
    sys.exit(4 if failures else 0)
