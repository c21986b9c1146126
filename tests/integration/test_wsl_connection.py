# SPDX-License-Identifier: GPL-3.0-or-later
"""The real community.general.wsl, by a real OpenSSH, to a real Linux: only wsl.exe between them is the lab's."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml
from docker.models.containers import Container

from lab import desk
from lab.engine import REPOSITORY
from lab.windows import machine, scenarios, sshd, wsl

PC, DISTRO = "llmdesk-test-pc", "llmdesk-test-distro"
BARE = "apt-get purge -y -qq python3 python3-minimal libpython3-stdlib > /dev/null && apt-get autoremove -y -qq"


class Door:
    """The distro of a PC, as Ansible reaches it.

    :param folder: for the PC's file, keys, inventory.
    """

    def __init__(self, folder: Path, say: Callable[[str], None]) -> None:
        self.file = folder / "pc.json"
        state = scenarios.ready_pc()
        state["containers"][scenarios.UBUNTU] = DISTRO
        scenarios.add_distribution(state, scenarios.ANN, scenarios.UBUNTU)
        machine.create(self.file, state)
        address, known = sshd.up(PC, self.file, folder / "key", say)
        (folder / "known_hosts").write_text(known)
        self._inventory = folder / "hosts.yml"
        variables = {
            "ansible_connection": "community.general.wsl",
            "ansible_host": address,
            "ansible_user": sshd.USER,
            "ansible_ssh_private_key_file": str(folder / "key"),
            "ansible_paramiko_user_known_hosts_file": str(folder / "known_hosts"),
            "ansible_python_interpreter": "/usr/bin/python3",
            "wsl_distribution": scenarios.UBUNTU,
            "wsl_user": "root",
        }
        self._inventory.write_text(yaml.safe_dump({"all": {"hosts": {"pc1-wsl": variables}}}))

    def ad_hoc(self, module: str, arguments: str, *options: str) -> str:
        """Run a module, require that it ends well, and return what is printed."""
        command = [str(Path(sys.executable).with_name("ansible")), "-i", str(self._inventory), "all", "-m", module]
        done = subprocess.run(
            [*command, "-a", arguments, *options],
            env={**os.environ, "ANSIBLE_NOCOLOR": "1"},
            cwd=REPOSITORY,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


@pytest.fixture(scope="module")
def distro(make_desk: Callable[..., Container]) -> Container:
    """A Debian with systemd and a person, and without Python."""
    machine = make_desk(DISTRO, "debian-13")
    desk.run(machine, f"useradd --create-home --shell /bin/bash desk; {BARE}; ! command -v python3")
    return machine


@pytest.fixture(scope="module")
def door(distro: Container, tmp_path_factory: pytest.TempPathFactory, say: Callable[[str], None]) -> Iterator[Door]:
    try:
        yield Door(tmp_path_factory.mktemp("pc"), say)
    finally:
        sshd.down(PC)


def test_python_comes_by_the_connection_alone(door: Door) -> None:
    install = "apt-get update -qq && apt-get install -y -qq --no-install-recommends python3 > /dev/null"
    # Without a shell around it, cmd.exe takes the && for its own.
    with pytest.raises(AssertionError, match=r"cmd\.exe takes the & in this line"):
        door.ad_hoc("raw", install)
    door.ad_hoc("raw", f"executable=/bin/sh {install}")
    assert "pong" in door.ad_hoc("ping", "")


def test_a_module_runs_as_the_user_that_is_wanted(door: Door) -> None:
    folder = ("-e", "ansible_remote_tmp=/tmp/.ansible-{{ wsl_user }}")
    assert "\nroot\n" in door.ad_hoc("command", "id -un", *folder)
    assert "\ndesk\n" in door.ad_hoc("command", "id -un", "-e", "wsl_user=desk", *folder)
    become = ("-e", "wsl_user=desk", "-e", "ansible_become=true", "-e", "ansible_remote_tmp=/tmp/.ansible-become")
    assert "\nroot\n" in door.ad_hoc("command", "id -un", *become)


def test_text_arrives_as_it_was_written(door: Door) -> None:
    text = 'it\'s "quoted" & $HOME `id` %PATH% > 中文 ü \\ ^'
    arguments = json.dumps({"content": text, "dest": "/root/said"})
    door.ad_hoc("copy", arguments)
    assert text in door.ad_hoc("command", "cat /root/said")


def test_a_warning_in_chinese_breaks_the_plugin_unless_wsl_says_it_in_utf_8(door: Door) -> None:
    def on_the_pc(**change: object) -> None:
        state = machine.state(door.file)
        machine.create(door.file, {**state, "localhost_proxy": True, "language": "zh-CN", **change})

    on_the_pc()
    with pytest.raises(AssertionError, match="codec can't decode byte"):
        door.ad_hoc("ping", "")
    on_the_pc(environment={scenarios.ANN: {"WSL_UTF8": "1"}})
    assert "pong" in door.ad_hoc("ping", "")


def test_a_distro_that_is_ended_starts_again_with_its_next_task(door: Door) -> None:
    with machine.opened(door.file) as pc:
        assert wsl.run(pc, f'"{machine.MSI_FOLDER}\\wsl.exe" --terminate {scenarios.UBUNTU}', {}).rc == 0
    assert "pong" in door.ad_hoc("ping", "")
