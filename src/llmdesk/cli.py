# SPDX-License-Identifier: GPL-3.0-or-later
"""The command line: every command is a playbook and a screen. It decides nothing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import click

from llmdesk import __version__
from llmdesk.run import Play

VOLUMES = ("open-webui", "ollama")
"""The volumes of a desk: accounts and chats, models."""

Function = TypeVar("Function", bound=Callable[..., Any])

_ANSIBLE = (
    click.option(
        "-i", "--inventory", multiple=True, metavar="PATH", help="Desks to work on; this machine when not given."
    ),
    click.option("-l", "--limit", metavar="PATTERN", help="Only these desks of the inventory."),
    click.option("-e", "--extra-vars", multiple=True, metavar="VARS", help="More variables, as ansible-playbook has."),
    click.option("-K", "--ask-become-pass", is_flag=True, help="Ask for the password of sudo."),
    click.option("--ask-vault-pass", is_flag=True, help="Ask for the password of vaulted variables."),
)
_SHOWN = (
    click.option("--json", "as_json", is_flag=True, help="One JSON document a line; the last has the event 'result'."),
    click.option(
        "-v", "--verbose", count=True, help="Show Ansible's own output too; -vvv is what Ansible makes of it."
    ),
)
_DRY = (
    click.option("--check", is_flag=True, help="Only say what would change."),
    click.option("--diff", is_flag=True, help="Show how files change."),
)


def _with(*groups: tuple[Callable[[Any], Any], ...]) -> Callable[[Function], Function]:
    def decorate(function: Function) -> Function:
        for option in reversed([option for group in groups for option in group]):
            function = option(function)
        return function

    return decorate


@click.group(
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    epilog="""\b
Completion, for bash (or zsh_source, fish_source):
  eval "$(_LLMDESK_COMPLETE=bash_source ./llmdesk)"

\b
./llmdesk test runs the tests.""",
)
@click.version_option(__version__, prog_name="llmdesk")
def main() -> None:
    """A private ChatGPT-like page on your own machine: Open WebUI and Ollama, proved to answer."""


@main.command(
    epilog="""\b
Examples:
  ./llmdesk up
  ./llmdesk up --model auto
  ./llmdesk up --model llama3.2:1b --port 8080
  ./llmdesk up --image registry.example.com/open-webui/open-webui:ollama --image build
  ./llmdesk up --image /media/usb/open-webui.tar
  ./llmdesk up -i inventory/room.yml --limit 'desk1,desk2' -K
  ./llmdesk up --check --diff

\b
Exit code: 0 when every desk is as it should be; 2 when one failed; 4 when one could not be reached;
130 after Ctrl-C; 3 when nothing is wrong but that Windows has to restart before the same command goes on."""
)
@click.option("--model", "models", multiple=True, metavar="NAME", help="A model to have; may be given more than once.")
@click.option("--port", type=click.IntRange(1, 65535), help="The page's port.  [default: 3000]")
@click.option(
    "--image",
    "images",
    multiple=True,
    metavar="REF|ARCHIVE|build",
    help="Where the image comes from: a registry, a file of 'docker save', or built on the spot. Given more than once,"
    " the first that answers.",
)
@click.option("--retry-sources", is_flag=True, help="Ask the hubs again for what something else stands in for.")
@_with(_DRY, _ANSIBLE, _SHOWN)
def up(models: tuple[str, ...], port: int | None, images: tuple[str, ...], retry_sources: bool, **options: Any) -> None:
    """Bring every desk to where it should be, and let it prove that it answers."""
    variables: dict[str, Any] = {}
    if models:
        variables["ollama_models"] = list(models)
    if port:
        variables["desk_port"] = port
    if images:
        variables["open_webui_image_sources"] = [image_source(image) for image in images]
    if retry_sources:
        variables |= {"ollama_models_retry_sources": True, "open_webui_image_upgrade": True}
        variables |= {"nvidia_runtime_retry": True}
    _run("site.yml", variables, **options)


@main.command(
    epilog="""\b
Examples:
  ./llmdesk status
  ./llmdesk status -i inventory/room.yml --json | tail -n 1 | jq .hosts"""
)
@_with(_ANSIBLE, _SHOWN)
def status(**options: Any) -> None:
    """Say how every desk is: page, account, Ollama, model, last proof, and Windows under it. Changes nothing."""
    _run("llmdesk.workstation.status", {}, **options)


@main.command(
    epilog="""\b
Examples:
  ./llmdesk verify
  ./llmdesk verify -e verify_model=llama3.2:3b"""
)
@_with(_ANSIBLE, _SHOWN)
def verify(**options: Any) -> None:
    """Ask the page a question now, and name a remedy for whatever is broken."""
    _run("llmdesk.workstation.verify", {}, **options)


@main.command(
    epilog="""\b
Examples:
  ./llmdesk down
  ./llmdesk down --delete-data"""
)
@click.option("--delete-data", is_flag=True, help="Also remove the volumes whose names you then type.")
@_with(_DRY, _ANSIBLE, _SHOWN)
def down(delete_data: bool, **options: Any) -> None:
    """Stop and remove the container. Models, chats and accounts stay in their volumes."""
    variables = {"open_webui_delete_volumes": _typed_volumes()} if delete_data else {}
    _run("llmdesk.workstation.down", variables, **options)


@main.command(
    epilog="""\b
Examples:
  ./llmdesk logs -f
  ./llmdesk logs desk7 --tail 1000"""
)
@click.argument("host", required=False)
@click.option("-f", "--follow", is_flag=True, help="Go on until Ctrl-C.")
@click.option("-n", "--tail", type=click.IntRange(0), default=200, show_default=True, help="Lines from the end.")
@_with(_ANSIBLE)
def logs(host: str | None, follow: bool, tail: int, **options: Any) -> None:
    """Print the container's log."""
    from llmdesk.screen.log import LogScreen

    options["limit"] = host or options["limit"]
    variables = {"open_webui_logs_tail": tail, "open_webui_logs_follow": follow}
    _finish(play("llmdesk.workstation.logs", variables, **options), LogScreen(sys.stdout, sys.stderr), keep=False)


@main.command(
    epilog="""\b
Examples:
  ./llmdesk password
  ./llmdesk password desk7 -i inventory/room.yml"""
)
@click.argument("host", required=False)
@click.option("--json", "as_json", is_flag=True, help="One JSON object, host to password.")
@_with(_ANSIBLE)
def password(host: str | None, as_json: bool, **options: Any) -> None:
    """Print the administrator's password. It is read on the desk, and no record is kept."""
    from llmdesk.run import ask
    from llmdesk.secret import passwords

    options["limit"] = host or options["limit"]
    try:
        found, failures = passwords(ask(play("llmdesk.workstation.password", {}, **options)))
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


@main.command(
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
@click.argument("models", metavar="[MODEL…]", nargs=-1)
@click.option("--context", type=click.IntRange(1), help="Tokens of context.  [default: what Ollama takes by itself]")
@click.option("--json", "as_json", is_flag=True, help="One JSON object: desks, failures.")
@_with(_ANSIBLE)
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
    wanted = play("llmdesk.workstation.fit", variables, **options)
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


def play(playbook: str, variables: dict[str, Any], **options: Any) -> Play:
    """Return the play that options of the command line ask for, after asking for its passwords.

    :raises click.ClickException: this machine is a desk, and nobody may become root on it.
    """
    if not (options["inventory"] or options["ask_become_pass"] or options["ask_vault_pass"]):
        _need_root()
    own = [json.dumps(variables, separators=(", ", ": "))] if variables else []
    return Play(
        playbook,
        inventory=tuple(_from_here(inventory) for inventory in options["inventory"]),
        limit=options["limit"],
        extra_vars=(*own, *(_variables_from_here(given) for given in options["extra_vars"])),
        check=options.get("check", False),
        diff=options.get("diff", False),
        verbosity=options.get("verbose", 0),
        become_password=_ask_password("BECOME password") if options["ask_become_pass"] else None,
        vault_password=_ask_password("Vault password") if options["ask_vault_pass"] else None,
    )


def image_source(image: str) -> dict[str, Any]:
    """Return a source of the image as the role ``open_webui`` takes it."""
    if image == "build":
        return {"build": True}
    if image.startswith(("/", ".", "~")) or image.endswith((".tar", ".tar.gz", ".tgz")):
        return {"archive": str(Path(image).expanduser().absolute())}
    return {"registry": image}


def _run(playbook: str, variables: dict[str, Any], as_json: bool, **options: Any) -> None:
    from llmdesk import screen

    wanted = play(playbook, variables, **options)
    _finish(wanted, screen.choose(as_json, bool(options["verbose"])))


def _finish(wanted: Play, shown: Any, keep: bool = True) -> None:
    from llmdesk.events import parse
    from llmdesk.run import run

    def show(raw: dict[str, Any]) -> None:
        event = parse(raw)
        if event is not None:
            shown.show(event)

    shown.begin(wanted)
    outcome = run(wanted, show, keep)
    outcome = replace(outcome, rc=shown.story.exit_code(outcome.rc))
    shown.end(outcome)
    sys.exit(outcome.rc)


def _typed_volumes() -> list[str]:
    click.echo(
        f"Volumes of a desk: {VOLUMES[0]} (accounts, chats), {VOLUMES[1]} (models). They cannot be brought back."
    )
    typed: list[str] = click.prompt("Type the names of those to remove").replace(",", " ").split()
    unknown = sorted(set(typed) - set(VOLUMES))
    if unknown:
        raise click.ClickException(f"No volume of a desk is named {', '.join(unknown)}. Nothing was removed.")
    return typed


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


def _from_here(path: str) -> str:
    """Return a path as Ansible finds it, which runs in the checkout; host lists such as ``desk1,`` stay."""
    return str(Path(path).absolute()) if Path(path).exists() else path


def _model_from_here(model: str) -> str:
    """Return a model as the playbook finds it: a file by its absolute path, a name as it is."""
    if model.startswith(("/", ".", "~")) or model.endswith(".gguf"):
        return str(Path(model).expanduser().absolute())
    return model


def _variables_from_here(given: str) -> str:
    return f"@{_from_here(given[1:])}" if given.startswith("@") else given
