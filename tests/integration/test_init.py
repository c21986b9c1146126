# SPDX-License-Identifier: GPL-3.0-or-later
"""The inventory of a room out of real connections: one machine with several ssh servers, each with its fault."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pexpect
import pytest
import yaml
from docker.models.containers import Container

from lab import desk
from llmdesk.run import REPOSITORY

NAME = "llmdesk-test-init"
NO_PYTHON = "mkdir -p /opt/bare && for one in sh id uname sudo cat true; do ln -sf $(command -v $one) /opt/bare/; done"
PEOPLE = """
set -e
for person in desk ann; do
    useradd --create-home --shell /bin/bash $person && echo $person:word | chpasswd
    install -d -o $person -m 700 /home/$person/.ssh
    install -o $person -m 600 /root/key.pub /home/$person/.ssh/authorized_keys
done
useradd --create-home --shell /bin/bash bob
echo 'desk ALL=(ALL) NOPASSWD: ALL' > /etc/sudoers.d/desk
echo 'ann ALL=(ALL) ALL' > /etc/sudoers.d/ann
mkdir -p /run/sshd
ssh-keygen -q -t ed25519 -N '' -f /etc/ssh/another
/usr/sbin/sshd
/usr/sbin/sshd -p 2223 -h /etc/ssh/another
/usr/sbin/sshd -p 2224 -o 'SetEnv=PATH=/opt/bare'
# Of one whose key is that of port 22, ssh would say that it knows it.
ssh-keygen -q -t ed25519 -N '' -f /etc/ssh/third
/usr/sbin/sshd -p 2225 -h /etc/ssh/third
"""


class Room:
    """Hosts that ssh knows by name, all of them one machine.

    :param folder: for its key, its known hosts and its configuration.
    """

    def __init__(self, machine: Container, folder: Path) -> None:
        self.folder = folder
        self.known = folder / "known_hosts"
        self.config = folder / "config"
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / "key"], check=True)
        desk.put(machine, "/root/key.pub", (folder / "key.pub").read_bytes())
        desk.run(machine, NO_PYTHON)
        desk.run(machine, PEOPLE)
        machine.reload()
        self.address = next(iter(machine.attrs["NetworkSettings"]["Networks"].values()))["IPAddress"]
        self._key = " ".join(desk.run(machine, "cat /etc/ssh/ssh_host_ed25519_key.pub").split()[:2])
        other = " ".join((folder / "key.pub").read_text().split()[:2])
        ports = "".join(f"[{self.address}]:{port} {self._key}\n" for port in (2224, 2299))
        self.first = f"{self.address} {self._key}\n{ports}[{self.address}]:2223 {other}\n"
        hosts = [("good", "desk", 22), ("asks", "ann", 22), ("shut", "bob", 22), ("changed", "desk", 2223)]
        hosts += [("bare", "desk", 2224), ("new", "desk", 2225), ("dead", "desk", 2299)]
        self.config.write_text(
            "".join(
                f"Host {name}\n  HostName {self.address}\n  User {user}\n  Port {port}\n" for name, user, port in hosts
            )
            + f"Host *\n  IdentityFile {folder}/key\n  IdentitiesOnly yes\n  UserKnownHostsFile {self.known}\n"
            "  ControlPath none\n"
        )

    def init(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run the command over all of them."""
        return self.types("init", "--ssh-config", str(self.config), *arguments)

    def types(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run ``./llmdesk``, which finds nobody at the keyboard."""
        program = "from llmdesk.cli import main; main()"
        return subprocess.run(
            [sys.executable, "-c", program, *arguments],
            cwd=REPOSITORY,
            env={**os.environ, "PYTHONPATH": f"{REPOSITORY}/src", "XDG_STATE_HOME": str(self.folder / "state")},
            capture_output=True,
            text=True,
            check=False,
            stdin=subprocess.DEVNULL,
        )


@pytest.fixture(scope="module")
def machine(make_desk: Callable[..., Container], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Room]:
    made = make_desk(NAME, "debian-12", systemd=False, cached=False, packages="openssh-server")
    yield Room(made, tmp_path_factory.mktemp("room"))


@pytest.fixture
def room(machine: Room) -> Room:
    """The room, where only some of the keys are known."""
    machine.known.write_text(machine.first)
    return machine


def states(answer: dict[str, Any]) -> dict[str, str]:
    return {name: host["state"] for name, host in answer["hosts"].items()}


FAULTS = {
    "good": "ready",
    "asks": "ready",
    "shut": "refused",
    "changed": "key changed",
    "bare": "no Python",
    "new": "key unknown",
    "dead": "no ssh",
}


def test_every_fault_has_its_name_and_an_unknown_key_is_never_taken(room: Room, tmp_path: Path) -> None:
    done = room.init("--json", "--model", "auto", "--output", str(tmp_path / "room.yml"))
    assert done.returncode == 4, done.stderr
    answer = json.loads(done.stdout)
    assert states(answer) == FAULTS
    assert answer["hosts"]["good"]["root"] == "yes"
    assert answer["hosts"]["asks"]["root"] == "password"
    assert "add -K" in answer["hosts"]["asks"]["remedy"]
    (note,) = answer["notes"]
    assert note.startswith("asks and good are one machine")
    assert "new: ED25519 SHA256:" in done.stderr  # for a person to compare
    assert room.known.read_text() == room.first

    written = yaml.safe_load((tmp_path / "room.yml").read_text())["desks"]
    assert list(written["children"]) == ["desks_auto"]
    assert list(written["children"]["desks_auto"]["hosts"]) == ["asks", "good"]
    text = (tmp_path / "room.yml").read_text()
    for name in ("shut", "changed", "bare", "new", "dead"):
        assert f"#   {name}:  # {FAULTS[name]}: " in text
    # What was written is an inventory that works.
    ping = [str(Path(sys.executable).with_name("ansible")), "good", "-i", str(tmp_path / "room.yml"), "-m", "ping"]
    assert "pong" in subprocess.run(ping, cwd=REPOSITORY, capture_output=True, text=True, check=False).stdout


def test_a_key_is_accepted_by_word_and_the_best_model_is_proposed(room: Room, tmp_path: Path) -> None:
    file = tmp_path / "room.yml"
    done = room.init("--accept-host-keys", "--output", str(file))
    assert done.returncode == 4, done.stderr
    assert f"[{room.address}]:2225 " in room.known.read_text().removeprefix(room.first)
    assert f"[{room.address}]:2223 " not in room.known.read_text().removeprefix(room.first)
    assert "new: ready, " in done.stdout
    groups = yaml.safe_load(file.read_text())["desks"]["children"]
    (chosen,) = [group for group in groups.values() if "new" in group["hosts"]]
    assert set(chosen["hosts"]) == {"good", "new"}
    assert chosen["vars"]["ollama_models"] != ["auto"]
    # Nobody may ask as root there, so it is chosen once somebody may.
    assert groups["desks_auto"]["vars"]["ollama_models"] == ["auto"]
    assert stat.S_IMODE(file.stat().st_mode) & 0o022 == 0


def test_strictly_all_of_them_or_none(room: Room, tmp_path: Path) -> None:
    done = room.init("--strict", "--model", "auto", "--output", str(tmp_path / "room.yml"))
    assert done.returncode == 1
    assert "Nothing was written: 5 of 7 are not ready (--strict)." in done.stdout
    assert not (tmp_path / "room.yml").exists()


class Asked:
    """The command in a terminal, where it asks for what it was not given."""

    def __init__(self, room: Room, *arguments: str) -> None:
        # As a person's ~/.ssh/config, which is found by the account and not by HOME.
        wrapper = room.folder / "bin" / "ssh"
        wrapper.parent.mkdir(exist_ok=True)
        wrapper.write_text(f'#!/bin/sh\nexec {shutil.which("ssh")} -F {room.config} "$@"\n')
        wrapper.chmod(0o755)
        own = {"PYTHONPATH": f"{REPOSITORY}/src", "XDG_STATE_HOME": str(room.folder / "state")}
        self._child = pexpect.spawn(
            sys.executable,
            ["-c", "from llmdesk.cli import main; main()", "init", *arguments],
            cwd=str(REPOSITORY),
            env={**os.environ, **own, "PATH": f"{wrapper.parent}{os.pathsep}{os.environ['PATH']}"},
            encoding="utf-8",
            timeout=60,
            dimensions=(40, 1000),
        )
        self.said = ""

    def answer(self, question: str, answer: str) -> None:
        self._child.expect_exact(question)
        self.said += self._child.before
        self._child.sendline(answer)

    def ends(self) -> int:
        self._child.expect(pexpect.EOF)
        self.said += self._child.before
        self._child.close()
        return int(self._child.exitstatus or 0)


def test_what_it_was_not_given_it_asks_for(room: Room, tmp_path: Path) -> None:
    file = tmp_path / "room.yml"
    asked = Asked(room, "-K", "--output", str(file))
    asked.answer("Which hosts?", f"ann@{room.address}, desk@new")
    asked.answer("BECOME password", "word")
    asked.answer("Accept these keys?", "y")
    assert asked.ends() == 0, asked.said
    assert "new: ED25519 SHA256:" in asked.said
    assert "word" not in asked.said.replace("password", "")
    assert f"[{room.address}]:2225 " in room.known.read_text().removeprefix(room.first)
    groups = yaml.safe_load(file.read_text())["desks"]["children"]
    # With its password it could be asked as root what fits.
    assert sorted(name for group in groups.values() for name in group["hosts"]) == [room.address, "new"]
    assert "desks_auto" not in groups


def test_who_says_no_to_a_key_has_not_accepted_it(room: Room, tmp_path: Path) -> None:
    asked = Asked(room, "--model", "auto", "--output", str(tmp_path / "room.yml"))
    asked.answer("Which hosts?", "new")
    asked.answer("Accept these keys?", "")
    assert asked.ends() == 1, asked.said
    assert "Nothing was written" in asked.said
    assert room.known.read_text() == room.first


REMEDIES = {
    "shut": "The desk does not take this key. See that 'ssh shut' lets you in",
    "changed": "It is another machine than before, or the same set up anew.",
    "asks": "Add -K, and type the password of sudo.",
    "new": "Log in once with 'ssh new' and accept its key.",
    "dead": "See that 'ssh dead' works",
}


def test_a_run_names_every_fault_with_its_remedy(room: Room, tmp_path: Path) -> None:
    """What ssh and sudo really say, as every command shows it."""
    own = {
        # Not over a connection that an earlier test has left.
        "ansible_ssh_common_args": f"-F {room.config} -o ControlPath=none",
        "ansible_python_interpreter": "/usr/bin/python3",
    }
    (tmp_path / "room.yml").write_text(
        yaml.safe_dump({"desks": {"hosts": dict.fromkeys(["good", *REMEDIES]), "vars": own}})
    )
    done = room.types("status", "--json", "-i", str(tmp_path / "room.yml"))
    assert done.returncode == 4, done.stderr
    result = json.loads(done.stdout.strip().splitlines()[-1])
    found = {failure["host"]: failure["remedy"] for failure in result["failures"]}
    assert found.keys() == REMEDIES.keys()
    for name, words in REMEDIES.items():
        assert words in found[name], result["failures"]
    assert result["hosts"]["good"]["failed"] == 0
