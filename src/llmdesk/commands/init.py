# SPDX-License-Identifier: GPL-3.0-or-later
"""Write the inventory of a room."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import click

from llmdesk import suggest
from llmdesk.commands.options import FILE
from llmdesk.run import REPOSITORY, Play

FORKS = 64
"""Hosts that are asked at the same time: most of them only wait."""


@click.command(
    epilog="""\b
Examples:
  ./llmdesk init desk1 desk2 ann@desk3:2222
  ./llmdesk init 192.168.1.10-40 --user ann --accept-host-keys
  ./llmdesk init --ssh-config ~/.ssh/config --output inventory/room.yml
  ./llmdesk init 'desk[01:30]' --strict --json | jq '.hosts[].problem'

\b
Exit code: 0 when every host is ready and written; 4 when some were left out; 1 when nothing was written."""
)
@click.argument("given", metavar="[HOST…]", nargs=-1)
@click.option("--ssh-config", metavar="FILE", help="Take the hosts that a configuration of ssh names.")
@click.option("-o", "--output", metavar="FILE", help="The inventory to write.  [default: inventory/room.yml]")
@click.option("--force", is_flag=True, help="Write over an inventory that is there.")
@click.option("--strict", is_flag=True, help="Write nothing unless every host is ready.")
@click.option("--accept-host-keys", is_flag=True, help="Accept keys of hosts that are not known; they are shown.")
@click.option(
    "--model",
    metavar="NAME",
    shell_complete=suggest.models,
    help="One for all.  [default: what fits each of them best]",
)
@click.option("-u", "--user", metavar="NAME", help="Log in under this name.")
@click.option("--private-key", type=FILE, metavar="FILE", help="Log in with this key.")
@click.option("-K", "--ask-become-pass", is_flag=True, help="Ask for the password of sudo.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object: inventory, written, hosts, notes.")
def init(
    given: tuple[str, ...],
    ssh_config: str | None,
    output: str | None,
    force: bool,
    strict: bool,
    accept_host_keys: bool,
    model: str | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Write the inventory of a room, after a look at every HOST in it. Changes nothing on any of them.

    A HOST is a name, USER@NAME:PORT, an address, a range such as 192.168.1.10-40, a network such as 192.168.1.0/28, or
    desk[01:30]. Without any, it asks.
    """
    from llmdesk import rooms

    ssh_config = str(Path(ssh_config).expanduser().absolute()) if ssh_config else None
    path = Path(output) if output else REPOSITORY / "inventory" / "room.yml"
    if path.exists() and not force:
        raise click.ClickException(f"{_short(path)} is there and stays as it is. Give another --output, or --force.")
    if not path.parent.is_dir():
        raise click.ClickException(f"There is no folder {path.parent} to write {path.name} into.")
    try:
        room = rooms.hosts(_asked(given, ssh_config))
        if ssh_config:
            room += [host for host in rooms.ssh_hosts(ssh_config) if host.name not in {one.name for one in room}]
    except rooms.BadHost as error:
        raise click.ClickException(str(error)) from None

    say = _say(as_json)
    shared: dict[str, Any] = {"ansible_user": options["user"]} if options["user"] else {}
    if options["private_key"]:
        shared["ansible_ssh_private_key_file"] = options["private_key"]
    if ssh_config and ssh_config != str(Path.home() / ".ssh" / "config"):
        shared["ansible_ssh_common_args"] = f"-F {ssh_config}"
    password = click.prompt("BECOME password", hide_input=True, err=True) if options["ask_become_pass"] else None

    say(f"looking at {len(room)} hosts")
    found = look(room, shared)
    unknown = [host for host in room if found[host.name].state == "key unknown"]
    if unknown:
        accepted = _accept(unknown, ssh_config, accept_host_keys, as_json)
        if accepted:
            found |= look(accepted, shared)
    if model:
        found = {name: replace(one, model=model) if one.state == "ready" else one for name, one in found.items()}
    elif answering := [host for host in room if found[host.name].state == "ready"]:
        say("asking which model fits each of them")
        found |= _fitted(answering, found, shared, password)

    ready = [host for host in room if found[host.name].state == "ready"]
    written = bool(ready) and not (strict and len(ready) < len(room))
    notes = rooms.doubles({host.name: found[host.name] for host in ready})
    if not model:
        notes += _open(ready, found, password is not None, " --force" if written else "")
    if written:
        _write(path, rooms.inventory(room, found, _short(path), shared))
    if as_json:
        hosts = {host.name: {**host.variables(), **_told(found[host.name])} for host in room}
        answer = {"inventory": str(path), "written": written, "hosts": hosts, "notes": notes}
        click.echo(json.dumps(answer, ensure_ascii=False))
    else:
        _show(room, found, notes)
        click.echo(_end(path, written, len(ready), len(room)))
    sys.exit(1 if not written else 4 if len(ready) < len(room) else 0)


def look(room: list[Any], shared: dict[str, Any]) -> dict[str, Any]:
    """Return what every host says, all of them asked side by side by a real run of Ansible.

    :param room: the hosts.
    :param shared: variables of all of them.
    """
    from llmdesk import rooms
    from llmdesk.events import answers

    # Without a connection that an earlier run has left open: it would know nothing of a key that has changed since.
    fresh = {**shared, "ansible_ssh_args": "-C -o ControlMaster=no"}
    told, failures = answers(_ask(room, fresh, "llmdesk.workstation.reach", None), "desk_reached")
    return {
        host.name: rooms.reached(told[host.name])
        if host.name in told
        else rooms.unreached(host, failures.get(host.name, ""))
        for host in room
    }


def _ask(room: list[Any], shared: dict[str, Any], playbook: str, password: str | None) -> dict[str, Any]:
    from llmdesk.run import ask

    content = {"desks": {"hosts": {host.name: host.variables() for host in room}, "vars": shared}}
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "hosts.json")
        file.write_text(json.dumps(content))
        try:
            return ask(Play(playbook, inventory=(str(file),), forks=min(FORKS, len(room)), become_password=password))
        except RuntimeError as error:
            raise click.ClickException(str(error)) from None


def _fitted(ready: list[Any], found: dict[str, Any], shared: dict[str, Any], password: str | None) -> dict[str, Any]:
    """Return the findings of hosts that are ready, with the model that fits; auto where nobody may ask as root."""
    from llmdesk.events import answers

    asked = [host for host in ready if found[host.name].root == "yes" or password]
    fits: dict[str, Any] = {}
    if asked:
        fits, _failures = answers(_ask(asked, shared, "llmdesk.workstation.fit", password), "desk_fit")
    fitted = {}
    for host in ready:
        auto = fits.get(host.name, {}).get("auto") or {}
        # Chosen on the desk, once it can be asked.
        fitted[host.name] = replace(
            found[host.name], model=auto.get("name") or "auto", why=auto.get("reason", "") if auto.get("name") else ""
        )
    return fitted


def _open(ready: list[Any], found: dict[str, Any], asked: bool, force: str) -> list[str]:
    """Return a sentence about the hosts whose model nobody knows before a run has asked them as root.

    :param asked: whether the password of sudo was there.
    :param force: what it takes to come back.
    """
    from llmdesk.screen.room import names

    hosts = [host.name for host in ready if found[host.name].model == "auto"]
    if not hosts:
        return []
    why = "nobody said which model fits" if asked else "sudo wants a password, so nobody could ask which model fits"
    again = "Name" if asked else f"Come back with -K{force}, or name"
    return [
        f"{names(hosts)}: {why}. auto stands there, which no mirror, swarm or bundle can fetch beforehand. "
        f"{again} one for all: --model llama3.2:3b{force}."
    ]


def _asked(given: tuple[str, ...], ssh_config: str | None) -> list[str]:
    if given or ssh_config:
        return list(given)
    if not sys.stdin.isatty():
        raise click.ClickException("Name the hosts: ./llmdesk init desk1 desk2, or 192.168.1.10-40.")
    answer: str = click.prompt("Which hosts? Names, addresses, 192.168.1.10-40 or 192.168.1.0/28", err=True)
    return answer.replace(",", " ").split()


def _accept(unknown: list[Any], ssh_config: str | None, accept: bool, as_json: bool) -> list[Any]:
    """Return the hosts whose keys a person accepted, after they were shown and written to the known ones."""
    from llmdesk import host_keys

    scanned = host_keys.scan(unknown, ssh_config)
    for host in unknown:
        for line in host_keys.shown(scanned.get(host.name, [])):
            click.echo(f"{host.name}: {line}", err=True)
    wanted = [host for host in unknown if scanned.get(host.name)]
    if not wanted:
        return []
    if not accept:
        if as_json or not sys.stdin.isatty():
            return []
        question = "Compare them with what the machines themselves say. Accept these keys?"
        if not click.confirm(question, default=False, err=True):
            return []
    file = host_keys.known_hosts(wanted[0], ssh_config)
    host_keys.add(file, [line for host in wanted for line in scanned[host.name]])
    click.echo(f"{len(wanted)} hosts are in {file} now.", err=True)
    return wanted


def _say(as_json: bool) -> Any:
    return (lambda _text: None) if as_json else (lambda text: click.echo(text, err=True))


def _told(finding: Any) -> dict[str, Any]:
    return {name: value for name, value in asdict(finding).items() if name != "boot"}


def _show(room: list[Any], found: dict[str, Any], notes: list[str]) -> None:
    silent = [host for host in room if host.searched and found[host.name].state == "no answer"]
    for host in room:
        one = found[host.name]
        if host in silent:
            continue
        if one.state == "ready":
            told = " ".join(filter(None, [f"ready, {one.model}.", f"{one.why}.".lstrip(".").capitalize(), one.remedy]))
        else:
            told = f"{one.state}: {one.problem}. {one.remedy}"
        click.echo(f"{host.name}: {told}")
    if silent:
        click.echo(f"{len(silent)} addresses do not answer.")
    for note in notes:
        click.echo(f"warning: {note}")


def _end(path: Path, written: bool, ready: int, total: int) -> str:
    if not written:
        why = "none of them is ready" if not ready else f"{total - ready} of {total} are not ready (--strict)"
        return f"Nothing was written: {why}."
    left = f"; {total - ready} are left out, with the reason" if ready < total else ""
    return f"{_short(path)} has {ready} desks{left}. Next: ./llmdesk up -i {_short(path)}"


def _short(path: Path) -> str:
    """Return a path as it is typed in the checkout or where the person is."""
    for folder in (Path.cwd(), REPOSITORY):
        if path.absolute().is_relative_to(folder):
            return str(path.absolute().relative_to(folder))
    return str(path)


def _write(path: Path, text: str) -> None:
    """Write a file whole or not at all."""
    new = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        new.write_text(text)
        new.replace(path)
    except OSError as error:
        new.unlink(missing_ok=True)
        raise click.ClickException(f"{path} cannot be written: {error.strerror}.") from None
