# SPDX-License-Identifier: GPL-3.0-or-later
"""What a desk that pulls is given, and what is refused because it would be unsafe or could not be."""

from __future__ import annotations

import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.llmdesk.workstation.plugins.module_utils.pull_plan import is_commit, pull_plan

COMMIT = "9a" * 20
SSH = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIH admin@room"
PGP = "-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nmDMEZ\n-----END PGP PUBLIC KEY BLOCK-----"
NETWORK: dict[str, Any] = {"proxy": {}, "credentials": {}}
SCRIPT = Path(__file__).parents[2] / "roles" / "desk_pull" / "files" / "llmdesk-pull"


def plan(network: dict[str, Any] = NETWORK, **changed: Any) -> dict[str, Any]:
    """Return the plan for a desk that is told what is necessary, and what is changed."""
    wanted: dict[str, Any] = {
        "url": "https://git.example.com/room.git",
        "version": "main",
        "keys": [SSH],
        "ssh_key": "",
        "known_hosts": [],
        "credentials": "",
        "inventory": "inventory/room.yml",
        "host": "",
        "hostname": "desk1",
        "playbooks": ["site.yml"],
        "vault_password": "",
        "records_dir": "/var/lib/llmdesk/records",
        "records_url": "",
        "records_token": "",
        "folder": "/etc/llmdesk/pull",
        "checkout": "/var/lib/llmdesk/pull/checkout",
    }
    return pull_plan({**wanted, **changed}, network)


def read(settings: str, name: str) -> str:
    """Return a variable as the script's shell has it."""
    command = f'{settings}\nprintf %s "${name}"'
    return subprocess.run(["sh", "-euc", command], check=True, capture_output=True, text=True).stdout


def settings(**changed: Any) -> str:
    return str(plan(**changed)["secrets"]["/etc/llmdesk/pull/settings"])


@pytest.mark.parametrize(
    "url",
    [
        "https://git.example.com/room.git",
        "git@git.example.com:it/room.git",
        "ssh://git@git.example.com:2222/room.git",
        "git://git.example.com/room",
        "/srv/room.git",
        "file:///srv/room.git",
    ],
)
def test_an_address_of_git_is_taken(url: str) -> None:
    assert plan(url=url)["errors"] == []


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"url": ""}, "desk_pull_url is empty"),
        ({"url": "ext::sh -c id"}, "which is no address"),
        ({"url": "--upload-pack=id"}, "which is no address"),
        ({"url": "https://ann:secret@git.example.com/room"}, "desk_pull_url has a password in it"),
        ({"keys": []}, "whoever can push there would be root"),
        ({"keys": [], "version": COMMIT[:12]}, "Pin a commit by its whole id"),
        ({"version": "--all"}, "which is no branch, tag or commit"),
        ({"keys": [SSH, "AAAAC3Nza"]}, "desk_pull_keys has 'AAAAC3Nza'"),
        ({"ssh_key": "PRIVATE"}, "desk_pull_ssh_key without desk_pull_known_hosts"),
    ],
)
def test_what_is_unsafe_or_cannot_be_is_refused(changed: dict[str, Any], words: str) -> None:
    (error,) = plan(**changed)["errors"]
    assert words in error
    assert "secret" not in error


def test_a_commit_needs_no_key() -> None:
    assert plan(version=COMMIT, keys=[])["errors"] == []
    assert read(settings(version=COMMIT, keys=[]), "pinned") == "yes"
    assert read(settings(version=COMMIT, keys=[]), "signed") == ""


def test_only_a_whole_id_is_a_commit() -> None:
    assert is_commit(COMMIT)
    assert is_commit("0f" * 32)
    assert not any(map(is_commit, ("main", COMMIT[:-1], COMMIT.upper(), COMMIT + "\n")))


def test_keys_go_where_git_looks_for_them() -> None:
    found = plan(keys=[SSH, PGP])
    assert found["files"]["/etc/llmdesk/pull/allowed_signers"] == f'* namespaces="git" {SSH}\n'
    assert found["files"]["/etc/llmdesk/pull/keys.asc"] == PGP + "\n"
    assert found["programs"] == ["git", "gpg", "ssh"]
    assert plan(keys=[PGP])["files"]["/etc/llmdesk/pull/allowed_signers"] == "", "nobody may sign by ssh"


def test_what_the_git_server_needs_is_git_s_and_no_address_has_it() -> None:
    found = plan(
        credentials="https://desks:token@git.example.com", ssh_key="PRIVATE", known_hosts=["git ssh-ed25519 A"]
    )
    assert found["secrets"]["/etc/llmdesk/pull/credentials"] == "https://desks:token@git.example.com\n"
    configuration = found["files"]["/etc/llmdesk/pull/gitconfig"]
    assert "helper = store --file=/etc/llmdesk/pull/credentials" in configuration
    assert "-i /etc/llmdesk/pull/ssh_key" in configuration
    assert "token" not in configuration


def test_what_is_not_wanted_is_an_empty_file() -> None:
    secrets = plan()["secrets"]
    assert {name.rpartition("/")[2] for name, content in secrets.items() if not content} == {
        "ssh_key",
        "credentials",
        "vault_password",
        "records_token",
    }


@pytest.mark.parametrize("nasty", ["it's", "$(touch /tmp/x)", 'a"b', "a b"])
def test_the_shell_reads_every_setting_as_it_was_given(nasty: str) -> None:
    written = settings(inventory=nasty, host=nasty, playbooks=[nasty, "site.yml"], records_dir=nasty)
    assert read(written, "inventory") == nasty
    assert read(written, "host") == nasty
    assert read(written, "LLMDESK_RECORDS") == nasty
    assert shlex.split(read(written, "playbooks")) == [nasty, "site.yml"]


def test_the_name_of_a_desk_is_that_of_the_inventory() -> None:
    assert read(settings(), "host") == "desk1"
    assert read(settings(host="pc7"), "host") == "pc7"
    assert read(settings(inventory="inventory/local.yml"), "host") == "localhost"


def test_the_proxy_and_what_opens_it_are_in_the_private_file() -> None:
    network = {
        "proxy": {"http": "http://proxy:3128", "https": "http://proxy:3128", "no_proxy": []},
        "credentials": {"http": "u:p", "https": "u:p"},
    }
    found = plan(network)
    assert read(found["secrets"]["/etc/llmdesk/pull/settings"], "https_proxy") == "http://u:p@proxy:3128"
    assert "u:p" not in "".join(found["files"].values())


def test_the_shell_reads_the_script() -> None:
    assert subprocess.run(["sh", "-n", str(SCRIPT)], check=False).returncode == 0
