# SPDX-License-Identifier: GPL-3.0-or-later
"""Options that several commands take."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

Function = TypeVar("Function", bound=Callable[..., Any])

ANSIBLE = (
    click.option(
        "-i", "--inventory", multiple=True, metavar="PATH", help="Desks to work on; this machine when not given."
    ),
    click.option("-l", "--limit", metavar="PATTERN", help="Only these desks of the inventory."),
    click.option("-e", "--extra-vars", multiple=True, metavar="VARS", help="More variables, as ansible-playbook has."),
    click.option("-K", "--ask-become-pass", is_flag=True, help="Ask for the password of sudo."),
    click.option("--ask-vault-pass", is_flag=True, help="Ask for the password of vaulted variables."),
)
"""How Ansible is told which desks, and how to reach them."""

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


def taking(*groups: tuple[Callable[[Any], Any], ...]) -> Callable[[Function], Function]:
    """Let a command take groups of options."""

    def decorate(function: Function) -> Function:
        for option in reversed([option for group in groups for option in group]):
            function = option(function)
        return function

    return decorate
