# SPDX-License-Identifier: GPL-3.0-or-later
"""Options that several commands take."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable
from typing import Any, TypeVar

import click
from click.shell_completion import CompletionItem

from llmdesk import suggest

Function = TypeVar("Function", bound=Callable[..., Any])

FILE = click.Path(exists=True, dir_okay=False, resolve_path=True)

REACHED = (
    click.option(
        "-i",
        "--inventory",
        multiple=True,
        metavar="PATH",
        shell_complete=suggest.files,
        help="Desks to work on; this machine when not given.",
    ),
    click.option(
        "-l", "--limit", metavar="PATTERN", shell_complete=suggest.hosts, help="Only these desks of the inventory."
    ),
    click.option("-e", "--extra-vars", multiple=True, metavar="VARS", help="More variables, as ansible-playbook has."),
    click.option("-u", "--user", metavar="NAME", help="Log in under this name, where the inventory says none."),
    click.option(
        "--private-key", type=FILE, metavar="FILE", help="Log in with this key, where the inventory says none."
    ),
    click.option("-K", "--ask-become-pass", is_flag=True, help="Ask for the password of sudo."),
    click.option("--ask-vault-pass", is_flag=True, help="Ask for the password of vaulted variables."),
    click.option(
        "--vault-password-file",
        type=FILE,
        metavar="FILE",
        help="Read that password here, or run it if it is a program.",
    ),
)
"""How Ansible is told which desks, and how to reach them."""

ANSIBLE = (
    *REACHED,
    click.option(
        "-f", "--forks", type=click.IntRange(1), metavar="N", help="Work on N desks at the same time.  [default: 20]"
    ),
)
"""The same, and on how many of them it works at a time."""
WORKER = (
    click.option(
        "--worker",
        metavar="USER@HOST[:PATH]",
        help="Let the run take place on this machine, by ssh; PATH is its clone of llmdesk.  [default: llmdesk]",
    ),
)
"""Where the run takes place."""

SHOWN = (
    click.option("--json", "as_json", is_flag=True, help="One JSON document a line; the last has the event 'result'."),
    click.option(
        "-v", "--verbose", count=True, help="Show Ansible's own output too; -vvv is what Ansible makes of it."
    ),
    click.option("--log", metavar="FILE", help="Also add what happens to this file, line by line with its time."),
)
"""How a run is shown."""

DRY = (
    click.option("--check", is_flag=True, help="Only say what would change."),
    click.option("--diff", is_flag=True, help="Show how files change."),
)
"""Whether anything is changed."""

TAGS = (
    "preflight",
    "docker",
    "nvidia_runtime",
    "open_webui",
    "ollama_models",
    "open_webui_settings",
    "open_webui_people",
    "verify",
    "model_mirror",
    "wsl",
)
"""The parts of the site playbook that may be run alone, in its order."""


class Tags(click.ParamType[str]):
    """Tags of the site playbook, several with commas between them: of a misspelled one, Ansible would run nothing."""

    name = "tags"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the tags as they were given, once all of them are known."""
        for tag in str(value).split(","):
            if tag.strip() not in TAGS:
                near = difflib.get_close_matches(tag, TAGS, 1)
                meant = f" Did you mean {near[0]}?" if near else f" There are {', '.join(TAGS)}."
                self.fail(f"{tag!r} is no tag.{meant}", param, ctx)
        return str(value)

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """Return the tags that begin like this."""
        return [CompletionItem(tag) for tag in TAGS if tag.startswith(incomplete)]


class Serial(click.ParamType[str]):
    """A number of desks, or a percentage of all of them."""

    name = "serial"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return it as it was given, once it is one."""
        found = re.fullmatch(r"(\d+)(%?)", str(value))
        if not found or not int(found[1]) or (found[2] and int(found[1]) > 100):
            self.fail(f"{value!r} is neither a number of desks nor a percentage: 10, or 20%.", param, ctx)
        return str(value)


ROLLOUT = (
    click.option(
        "--canary", type=click.IntRange(1), metavar="N", help="N desks go first; if one fails, nobody else is touched."
    ),
    click.option("--serial", type=Serial(), metavar="N|P%", help="So many desks at a time.  [default: all]"),
    click.option(
        "--max-fail-percentage",
        type=click.IntRange(0, 100),
        metavar="P",
        help="Stop everybody once more than P % of those at work have failed.  [default: 100]",
    ),
    click.option("--tags", multiple=True, type=Tags(), metavar="TAG,…", help="Only these parts of it (docs/fleet.md)."),
    click.option("--skip-tags", multiple=True, type=Tags(), metavar="TAG,…", help="All but these parts of it."),
)
"""How a room is rolled out, and which part of it."""


def taking(*groups: tuple[Callable[[Any], Any], ...]) -> Callable[[Function], Function]:
    """Let a command take groups of options."""

    def decorate(function: Function) -> Function:
        for option in reversed([option for group in groups for option in group]):
            function = option(function)
        return function

    return decorate
