# SPDX-License-Identifier: GPL-3.0-or-later
"""The inventory of a room: which hosts are meant, what is wrong with them, and the text that is written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from llmdesk import host_keys, inventories, rooms
from llmdesk import run as runs
from llmdesk.cli import main
from llmdesk.rooms import BadHost, Finding, Host

# --- Who is meant ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "names"),
    [
        (["desk1", "desk2.example.com"], ["desk1", "desk2.example.com"]),
        (["192.168.1.9-11"], ["192.168.1.9", "192.168.1.10", "192.168.1.11"]),
        (["192.168.1.254-192.168.2.1"], ["192.168.1.254", "192.168.1.255", "192.168.2.0", "192.168.2.1"]),
        (["192.168.1.8/30"], ["192.168.1.9", "192.168.1.10"]),
        (["10.0.0.7/32"], ["10.0.0.7"]),
        (["desk[01:03]"], ["desk01", "desk02", "desk03"]),
        (["my-desk", "a-1"], ["my-desk", "a-1"]),
    ],
)
def test_hosts_that_are_meant(given: list[str], names: list[str]) -> None:
    assert [host.name for host in rooms.hosts(given)] == names


def test_a_host_with_user_and_port() -> None:
    (host,) = rooms.hosts(["ann@desk3:2222"])
    assert host == Host("desk3", "ann", 2222)
    assert host.variables() == {"ansible_user": "ann", "ansible_port": 2222}


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (["desk1", "desk1"], "desk1 is named twice"),
        (["192.168.1.10-12", "192.168.1.11"], "192.168.1.11 is named twice, the second time by 192.168.1.11"),
        (["192.168.1.40-10"], "192.168.1.40-10 runs backwards"),
        (["192.168.1.10-400"], "192.168.1.400 is no address (Octet 400 (> 255) not permitted"),
        (["192.168.1.300"], "192.168.1.300 is no address"),
        (["192.168.1"], "192.168.1 is no address (Expected 4 octets"),
        (["192.168.1.0/33"], "192.168.1.0/33 is no network"),
        (["10.0.0.0/8"], "16777214 addresses, and more than 1024 are hardly one room"),
        (["desk[1:x]"], "is no range of names"),
        (["desk1:70000"], "70000 is no port"),
        (["desk 1"], "'desk 1' is no host"),
        (["-oProxyCommand=x"], "is no host"),
        ([""], "An empty name is no host"),
    ],
)
def test_a_slip_of_the_finger_is_one_sentence(given: list[str], words: str) -> None:
    with pytest.raises(BadHost) as raised:
        rooms.hosts(given)
    assert words in str(raised.value)
    assert "\n" not in str(raised.value)


def test_hosts_of_a_configuration_of_ssh(tmp_path: Path) -> None:
    (tmp_path / "config").write_text("Host desk2 desk1\n  User ann\nHost *.example.com !x *\n  Port 2222\n")
    assert [host.name for host in rooms.ssh_hosts(str(tmp_path / "config"))] == ["desk1", "desk2"]
    (tmp_path / "config").write_text("Host *\n  User ann\n")
    with pytest.raises(BadHost, match="names no host"):
        rooms.ssh_hosts(str(tmp_path / "config"))


# --- What is wrong --------------------------------------------------------------------------------------------------


# As OpenSSH 9.2 said it to Ansible.
@pytest.mark.parametrize(
    ("said", "state", "remedy"),
    [
        ("ssh: connect to host desk1 port 22: Connection refused", "no ssh", "openssh-server"),
        ("ssh: connect to host desk1 port 22: No route to host", "no answer", "that it is on"),
        ("ssh: connect to host desk1 port 22: Connection timed out", "no answer", "firewall"),
        ("ssh: Could not resolve hostname desk1: Name or service not known", "no name", "Correct it"),
        ("ann@desk1: Permission denied (publickey).", "refused", "ssh-copy-id ann@desk1"),
        ("Host key verification failed.", "key unknown", "--accept-host-keys"),
        (
            "@ WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED! @\nHost key verification failed.",
            "key changed",
            "ssh-keygen -R '[desk1]:2222'",
        ),
        ("something new", "no answer", "See that 'ssh ann@desk1' works"),
        ("", "no answer", "See that"),
    ],
)
def test_what_ssh_says_has_a_name_and_a_remedy(said: str, state: str, remedy: str) -> None:
    found = rooms.unreached(Host("desk1", "ann", 2222), said)
    assert found.state == state
    assert remedy in found.remedy


@pytest.mark.parametrize(
    ("lines", "state"),
    [
        (["system Linux", "python 3.11", "root yes", "boot 1"], "ready"),
        (["system Linux", "python 3.11", "root password"], "ready"),
        (["system Linux", "python 3.11", "root never"], "no root"),
        (["system Linux", "python ", "root yes"], "no Python"),
        (["system Linux", "python 3.6", "root yes"], "no Python"),
        (["system Darwin", "python 3.11", "root yes"], "no Linux"),
        (["'/bin/sh' is not recognized as an internal or external command,"], "no Linux"),
    ],
)
def test_what_a_host_lacks(lines: list[str], state: str) -> None:
    found = rooms.reached(lines)
    assert found.state == state
    assert bool(found.problem) == (state != "ready")


def test_a_fingerprint_is_what_ssh_shows() -> None:
    # Of ssh-keygen -lf.
    key = "AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl"
    assert host_keys.shown([f"github.com ssh-ed25519 {key}"]) == [
        "ED25519 SHA256:+DiY3wvvV6TuJJhbpZisF/zLDA0zPMSvHdkr4UvCOqU"
    ]


# --- The inventory --------------------------------------------------------------------------------------------------

ROOM = [Host("desk10"), Host("desk9", "ann", 2222), Host("10.0.0.3", searched=True), Host("10.0.0.4", searched=True)]
ROOM += [Host("10.0.0.6", searched=True), Host("gone")]
FOUND = {
    "desk10": Finding("ready", root="yes", model="qwen3:8b", why="it is the best that fits"),
    "desk9": Finding("ready", root="password", model="qwen3:8b", why="it is the best that fits"),
    "10.0.0.3": Finding("no answer", "it does not answer", "See that it is on."),
    "10.0.0.4": Finding("no answer", "it does not answer", "See that it is on."),
    "10.0.0.6": Finding("ready", root="yes", model="llama3.2:3b"),
    "gone": Finding("no name", "nobody knows that name", "Correct it."),
}
TEXT = """\
desks:
  vars:
    ansible_user: desk
  children:
    desks_llama3_2_3b:
      vars:
        ollama_models:
          - llama3.2:3b
      hosts:
        10.0.0.6:
    # it is the best that fits
    desks_qwen3_8b:
      vars:
        ollama_models:
          - qwen3:8b
      hosts:
        desk9:
          ansible_user: ann
          ansible_port: 2222
        desk10:

# Left out. Once that is mended, take the '#' away and write them where the others stand.
#   gone:  # no name: nobody knows that name. Correct it.

# Nobody answered at 2 more addresses: 10.0.0.3-4
"""


def test_an_inventory_groups_what_is_alike_and_tells_who_is_missing() -> None:
    text = rooms.inventory(ROOM, FOUND, "inventory/room.yml", {"ansible_user": "desk"})
    assert text[text.index("\ndesks:") + 1 :] == TEXT
    assert "./llmdesk up -i inventory/room.yml -K" in text  # one of them wants sudo's password
    assert rooms.inventory(reversed(ROOM), FOUND, "inventory/room.yml", {"ansible_user": "desk"}) == text


def test_an_inventory_is_one(tmp_path: Path) -> None:
    file = tmp_path / "room.yml"
    file.write_text(rooms.inventory(ROOM, FOUND, str(file)))
    inventories.check([str(file)])
    assert inventories.hosts(inventories.read(file)) == ["10.0.0.6", "desk9", "desk10"]


# --- The command ----------------------------------------------------------------------------------------------------

READY = ["system Linux", "python 3.11", "root yes"]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What hosts say: their lines, or why they were not reached."""
    said: dict[str, Any] = {}

    def ask(play: runs.Play) -> dict[str, Any]:
        hosts = yaml.safe_load(Path(play.inventory[0]).read_text())["desks"]["hosts"]
        assert play.forks == len(hosts)
        results: dict[str, Any] = {}
        for host in hosts:
            if play.name == "fit":
                results[host] = {"msg": {"desk_fit": {"auto": {"name": "qwen3:8b", "reason": "it fits"}, "models": []}}}
            elif isinstance(said[host], str):
                results[host] = {"unreachable": True, "msg": said[host]}
            else:
                results[host] = {"msg": {"desk_reached": said[host]}}
        return {"plays": [{"tasks": [{"hosts": results}]}]}

    monkeypatch.setattr(runs, "ask", ask)
    return said


def typed(*arguments: str) -> Any:
    return CliRunner().invoke(main, ["init", *arguments])


def test_a_room_is_written(asked: dict[str, Any], tmp_path: Path) -> None:
    asked |= {"desk1": READY, "desk2": READY}
    result = typed("desk1", "desk2", "-o", str(tmp_path / "room.yml"), "--user", "ann")
    assert result.exit_code == 0, result.output
    assert "desk1: ready, qwen3:8b. It fits." in result.output
    assert "has 2 desks. Next: ./llmdesk up -i" in result.output
    written = yaml.safe_load((tmp_path / "room.yml").read_text())["desks"]
    assert written["vars"] == {"ansible_user": "ann"}
    assert set(written["children"]["desks_qwen3_8b"]["hosts"]) == {"desk1", "desk2"}


def test_a_model_that_nobody_could_ask_for_is_said(asked: dict[str, Any], tmp_path: Path) -> None:
    asked |= {"desk1": [*READY[:-1], "root password"], "desk2": READY}
    file = tmp_path / "room.yml"
    result = typed("desk1", "desk2", "-o", str(file))
    assert result.exit_code == 0, result.output
    assert set(yaml.safe_load(file.read_text())["desks"]["children"]) == {"desks_auto", "desks_qwen3_8b"}
    (said,) = [line for line in result.output.splitlines() if line.startswith("warning: ")]
    assert said == (
        "warning: desk1: sudo wants a password, so nobody could ask which model fits. auto stands there, which no"
        " mirror, swarm or bundle can fetch beforehand. Come back with -K --force, or name one for all: --model"
        " llama3.2:3b --force."
    )
    for enough in (["--model", "auto"], ["-K"]):
        told = CliRunner().invoke(main, ["init", "desk1", "desk2", "-o", str(file), "--force", *enough], input="one\n")
        assert told.exit_code == 0, told.output
        assert "warning: " not in told.output


def test_an_inventory_that_is_there_stays(asked: dict[str, Any], tmp_path: Path) -> None:
    asked |= {"desk1": READY}
    file = tmp_path / "room.yml"
    file.write_text("mine")
    result = typed("desk1", "-o", str(file))
    assert result.exit_code == 1
    assert "is there and stays as it is" in result.output
    assert file.read_text() == "mine"
    assert typed("desk1", "-o", str(file), "--force").exit_code == 0
    assert "desk1" in file.read_text()


@pytest.mark.parametrize(("arguments", "rc", "written"), [([], 4, True), (["--strict"], 1, False)])
def test_who_does_not_answer_is_left_out_or_refused(
    asked: dict[str, Any], tmp_path: Path, arguments: list[str], rc: int, written: bool
) -> None:
    asked |= {"desk1": READY, "desk2": "ssh: connect to host desk2 port 22: Connection timed out"}
    file = tmp_path / "room.yml"
    result = typed("desk1", "desk2", "-o", str(file), "--json", *arguments)
    answer = json.loads(result.stdout)
    assert (result.exit_code, answer["written"], file.exists()) == (rc, written, written)
    assert answer["hosts"]["desk2"]["state"] == "no answer"
    assert "boot" not in answer["hosts"]["desk1"]
    if written:
        assert "#   desk2:  # no answer: it does not answer." in file.read_text()


def test_nobody_answers(asked: dict[str, Any], tmp_path: Path) -> None:
    asked |= {"10.0.0.1": "Connection timed out", "10.0.0.2": "Connection timed out"}
    result = typed("10.0.0.1-2", "-o", str(tmp_path / "room.yml"))
    assert result.exit_code == 1
    assert "2 addresses do not answer." in result.output
    assert "Nothing was written: none of them is ready." in result.output


def test_a_key_is_shown_and_not_taken_without_a_word(
    asked: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked |= {"desk1": "Host key verification failed."}
    key = "desk1 ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl"
    monkeypatch.setattr(host_keys, "scan", lambda *_given: {"desk1": [key]})
    monkeypatch.setattr(host_keys, "known_hosts", lambda *_given: tmp_path / "known")
    result = typed("desk1", "-o", str(tmp_path / "room.yml"))
    assert result.exit_code == 1
    assert "desk1: ED25519 SHA256:+DiY3wvv" in result.output
    assert not (tmp_path / "known").exists()
    assert typed("desk1", "-o", str(tmp_path / "room.yml"), "--accept-host-keys").exit_code == 1
    assert (tmp_path / "known").read_text() == f"{key}\n"
