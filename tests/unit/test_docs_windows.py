# SPDX-License-Identifier: GPL-3.0-or-later
"""What the pages about Windows and those in Chinese show agrees with the code, and no link between pages is dead."""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import pytest
import yaml
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible_collections.llmdesk.workstation.plugins.module_utils import fit, wsl_output
from ansible_collections.llmdesk.workstation.plugins.module_utils.model_name import canonical
from ansible_collections.llmdesk.workstation.plugins.module_utils.model_plan import declared

from llmdesk.cli import main
from llmdesk.events import REBOOT
from llmdesk.run import REBOOT_NEEDED
from tests.unit.test_docs import MODULE, unknown
from tests.unit.test_packaging import COLLECTION, MODULES, ROLES, ROOT, read

PAGES = [ROOT / "docs" / "windows.md", ROOT / "docs" / "windows.zh-CN.md", ROOT / "README.zh-CN.md"]
ALL_PAGES = sorted(
    path
    for pattern in ("*.md", "docs/*.md", "bench/*.md", "collections/*/*/*/*.md", "collections/*/*/*/roles/*/README.md")
    for path in ROOT.glob(pattern)
    if ".venv" not in path.parts
)
FENCE = re.compile(r"^ *```(\w*)\n(.*?)^ *```", re.MULTILINE | re.DOTALL)
WINDOWS_ROLES = ("wsl", "docker_desktop")
# What Ansible itself takes of any host, whatever its connection.
OF_ANY_HOST = {
    *("ansible_connection", "ansible_shell_type", "ansible_become"),
    *("ansible_python_interpreter", "ansible_remote_tmp"),
}


def options_of(role: str) -> dict[str, Any]:
    specifications = read(COLLECTION / "roles" / role / "meta" / "argument_specs.yml")["argument_specs"]
    return dict(specifications["main"]["options"])


OPTIONS = {name for role in ROLES for name in options_of(role)}


def code(page: Path) -> list[str]:
    """Return what a page shows as code: the lines of its blocks, and its spans."""
    text = page.read_text()
    spans = re.findall(r"`([^`\n]+)`", FENCE.sub("", text))
    return [line for _language, block in FENCE.findall(text) for line in block.splitlines()] + spans


def named(page: Path) -> set[str]:
    """Return the words in a page's code that look like a role's variable."""
    word = re.compile(rf"(?<![\w.])(?:{'|'.join(ROLES)})_[a-z0-9_]+(?![\w.])")
    return {found for line in code(page) for found in word.findall(line)} - {*ROLES, *MODULES}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_variable_that_is_named_exists(page: Path) -> None:
    assert named(page)
    assert sorted(named(page) - OPTIONS) == []


def commands(page: Path) -> list[list[str]]:
    """Return the arguments of every ``./llmdesk`` that a page shows."""
    lines = [re.split(r" \| |; ", line)[0] for line in code(page)]
    found = [re.search(r"\./llmdesk(?![\w.])(.*)", line) for line in lines]
    return [shlex.split(match.group(1), comments=True) for match in found if match]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_command_that_is_shown_is_taken(page: Path) -> None:
    assert len(commands(page)) > 3
    for name, *arguments in filter(None, commands(page)):
        if name == "test":
            assert not arguments or (ROOT / "tests" / arguments[0]).is_dir()
            continue
        command = main.commands[name]
        with contextlib.suppress(click.exceptions.Exit):
            # Below the program's own: a command keeps for good what -h is called where it is first asked.
            above = click.Context(main, **main.context_settings)
            parameters = command.make_context(name, list(arguments), parent=above).params
            given = [
                words.partition("=")[0]
                for words in parameters.get("extra_vars", ())
                if not words.startswith(("@", "{"))
            ]
            assert sorted(set(given) - OPTIONS) == [], arguments


def parameters_of_the_script() -> set[str]:
    script = (ROOT / "llmdesk.ps1").read_text(encoding="utf-8-sig")
    block = re.search(r"^param\s*\((.*?)^\)", script, re.MULTILINE | re.DOTALL | re.IGNORECASE)
    assert block
    found = re.findall(r"\$(\w+)(?= =|,?$)", block.group(1), re.MULTILINE)
    found += ["WhatIf"] * bool(re.search(r"^\[CmdletBinding\(SupportsShouldProcess\)\]\nparam", script, re.MULTILINE))
    return {name.lower() for name in found}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_parameter_of_the_script_that_is_shown_exists(page: Path) -> None:
    lines = [line.split("llmdesk.ps1", 1)[1].split(" #")[0] for line in code(page) if "llmdesk.ps1" in line]
    spans = [f" {line}" for line in code(page) if re.match("-[A-Z][a-z]", line)]
    shown = {name.lower() for line in lines + spans for name in re.findall(r"(?<=\s)-([A-Za-z]\w*)", line)}
    assert lines
    assert sorted(shown - parameters_of_the_script()) == []


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ +(.+?) *$", FENCE.sub("", page.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", ALL_PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_link_between_pages_leads_somewhere(page: Path) -> None:
    text = FENCE.sub("", page.read_text())
    dead = []
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"\w+:", target):
            continue
        path, _hash, anchor = target.partition("#")
        there = (page.parent / path).resolve() if path else page
        if not there.exists() or (anchor and anchor not in anchors(there)):
            dead.append(target)
    assert dead == []


def refused_by_roles(variables: dict[str, Any], roles: Sequence[str]) -> list[str]:
    """Return what roles do not take of the variables that are theirs."""
    found = []
    for role in roles:
        options = {name: option for name, option in options_of(role).items() if name in variables}
        given = {name: variables[name] for name in options}
        found += ArgumentSpecValidator(options).validate(given).error_messages
    return found


def hosts_in(group: Any) -> list[dict[str, Any]]:
    """Return the variables of the hosts below a group of an inventory, with their groups' own."""
    own = group.get("vars") or {}
    below = [host for child in (group.get("children") or {}).values() for host in (hosts_in(child) if child else [])]
    return [{**own, **host} for host in [*[host or {} for host in (group.get("hosts") or {}).values()], *below]]


BLOCKS = [
    pytest.param(yaml.safe_load(block), id=f"{page.name}-{number}")
    for page in PAGES
    if page.exists()
    for number, (language, block) in enumerate(FENCE.findall(page.read_text()))
    if language == "yaml"
]


@pytest.mark.parametrize("example", BLOCKS)
def test_an_example_about_windows_is_one_that_the_roles_take(example: dict[str, Any]) -> None:
    if example.keys() & {"windows", "desks", "all"}:
        given = [variables for group in example.values() for variables in hosts_in(group)]
    else:
        given = [example]
    for variables in given:
        unknown_names = {name for name in variables if not name.startswith("ansible_")} - OPTIONS
        assert sorted(unknown_names) == []
        assert refused_by_roles(variables, ROLES) == []
        for entry in variables.get("ollama_models", []):
            model = declared(entry)
            assert unknown(model, MODULE["DOCUMENTATION"]["options"], f"{model['name']}: ") == []
            for source in [model, *model.get("sources", [])]:
                assert "name" not in source or canonical(source["name"])


INVENTORY = ROOT / "inventory" / "examples" / "windows.yml"


def listed(inventory: Path) -> dict[str, Any]:
    """Return an inventory as Ansible reads it, which must have nothing to say about it."""
    done = subprocess.run(
        [str(Path(sys.executable).with_name("ansible-inventory")), "-i", str(inventory), "--list"],
        cwd=ROOT,
        env={**os.environ, "ANSIBLE_NOCOLOR": "1"},
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return dict(json.loads(done.stdout))


def variables_of_a_connection(name: str) -> set[str]:
    package, _dot, plugin = name.rpartition(".")
    where = f"ansible_collections.{package}.plugins.connection" if package else "ansible.plugins.connection"
    options = yaml.safe_load(importlib.import_module(f"{where}.{plugin}").DOCUMENTATION)["options"]
    return {variable["name"] for option in options.values() for variable in option.get("vars", [])}


def test_the_inventory_for_windows_is_read_and_its_hosts_are_taken() -> None:
    found = listed(INVENTORY)
    variables = found["_meta"]["hostvars"]
    assert set(found["windows"]["hosts"]) & set(found["desks"]["hosts"]) == set()
    for host, given in variables.items():
        roles = WINDOWS_ROLES if host in found["windows"]["hosts"] else ROLES
        known = OF_ANY_HOST | variables_of_a_connection(given["ansible_connection"]) | OPTIONS
        assert sorted(set(given) - known - {"windows_host"}) == [], host
        assert refused_by_roles(given, roles) == [], host


def test_the_inventory_for_windows_shows_every_way_in() -> None:
    variables = listed(INVENTORY)["_meta"]["hostvars"]
    assert {given["ansible_connection"] for given in variables.values()} >= {
        "ssh",
        "psrp",
        "winrm",
        "community.general.wsl",
        "local",
    }
    for given in variables.values():
        if given.get("windows_host"):
            assert given["windows_host"] in variables


@pytest.mark.parametrize("page", PAGES[:2], ids=lambda page: page.name)
def test_every_error_code_of_wsl_is_explained(page: Path) -> None:
    table = [cells[1] for cells in (line.split("|") for line in page.read_text().splitlines()) if len(cells) > 3]
    explained = " ".join(span for cell in table for span in re.findall(r"`([^`]+)`", cell)).lower()
    assert [part for part, _sentence, _remedy in wsl_output.CODES if part.lower() not in explained] == []


def test_the_pages_have_the_defaults_of_the_roles() -> None:
    given = read(COLLECTION / "roles" / "wsl" / "defaults" / "main.yml")
    package = given["wsl_package"]
    installer = package["url"].rpartition("/")[2]
    shared = [f"{given['wsl_disk_needed'] // fit.GIB} GB", f"keep-alive-{given['wsl_distribution']}", installer]
    shared += [f"listenport={one['listen']} " for one in given["wsl_lan_ports"]]
    english = [*shared[:-1], f"version: {package['version']}", f"checksum: {package['checksum']}"]
    english += [f"`http://PC:{number}`" for one in given["wsl_lan_ports"] for number in one.values()]
    english += [f"exit code {REBOOT_NEEDED}", f"\n{REBOOT}: "]
    for page, words in zip(PAGES, (english, shared), strict=False):
        assert [word for word in words if word not in page.read_text()] == [], page.name
