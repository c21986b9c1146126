"""From a Windows PC out of the shop to an answer: every step of the site playbook, and the distro is a real Linux.

What is Windows' own is the lab's stand-in (lab/windows): no Windows and no PowerShell runs here. The connection to the
distro is the real community.general.wsl by a real OpenSSH.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from docker.models.containers import Container

from lab import desk
from lab.engine import REPOSITORY
from lab.windows import collections, machine, scenarios, sshd
from tests.e2e.person import SPEAK, Typed, heard

PC, DISTRO = "llmdesk-e2e-pc", "llmdesk-e2e-distro"
NO_PYTHON = "apt-get purge -y -qq python3 python3-minimal > /dev/null && apt-get autoremove -y -qq > /dev/null"


class Windows:
    """A PC that stands somewhere else, and the machine from which a person makes it a desk.

    :param folder: for the PC's file, keys, inventory, stand-ins.
    """

    def __init__(self, folder: Path, say: Callable[[str], None]) -> None:
        self.file, self._inventory = folder / "pc" / "pc.json", folder / "windows.yml"
        self.file.parent.mkdir()
        state = scenarios.fresh_pc()
        state["containers"][scenarios.UBUNTU] = DISTRO
        machine.create(self.file, state)
        address, known = sshd.up(PC, self.file, folder / "key", say)
        (folder / "known_hosts").write_text(known)
        pc1 = {
            "ansible_host": address,
            "ansible_connection": "ssh",
            "ansible_shell_type": "cmd",
            "ansible_user": sshd.USER,
            "ansible_ssh_private_key_file": str(folder / "key"),
            "wsl_package": scenarios.package(),
            "wsl_host_variables": {"ansible_paramiko_user_known_hosts_file": str(folder / "known_hosts")},
            "windows_machine": str(self.file),
        }
        self._inventory.write_text(yaml.safe_dump({"windows": {"hosts": {"pc1": pc1}}}))
        stand_ins = collections.write(folder / "collections")
        own = REPOSITORY / "collections"
        self._environment = {
            **os.environ,
            "PYTHONPATH": str(REPOSITORY / "src"),
            "ANSIBLE_COLLECTIONS_PATH": f"{stand_ins}{os.pathsep}{own}",
            "XDG_STATE_HOME": str(folder / "state"),
        }
        self._say = say

    def types(self, *arguments: str) -> Typed:
        """Run llmdesk, with a line now and then."""
        program = "import sys; from llmdesk.cli import main; sys.exit(main())"
        command = [sys.executable, "-c", program, *arguments, "-i", str(self._inventory)]
        lines = []
        process = subprocess.Popen(
            command,
            cwd=REPOSITORY,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        with heard(process) as said:
            spoken = time.monotonic()
            for line in said:
                lines.append(line)
                if time.monotonic() - spoken > SPEAK:
                    spoken = time.monotonic()
                    self._say(f"{PC}: {line.strip()[:110]}")
        return Typed(process.returncode, "".join(lines))

    @property
    def state(self) -> dict[str, Any]:
        """What is true of the PC."""
        return machine.state(self.file)


@pytest.fixture(scope="module")
def windows(
    image: str,
    make_desk: Callable[..., Container],
    tmp_path_factory: pytest.TempPathFactory,
    say: Callable[[str], None],
) -> Iterator[Windows]:
    distro = make_desk(DISTRO, "debian-13")
    desk.run(distro, f"{NO_PYTHON}; ! command -v python3")
    try:
        yield Windows(tmp_path_factory.mktemp("windows"), say)
    finally:
        sshd.down(PC)


@pytest.fixture(scope="module")
def first_up(windows: Windows) -> Typed:
    return windows.types("up", "--json", "-e", "wsl_reboot=true")


def test_without_leave_to_restart_it_ends_with_three_and_says_so(windows: Windows) -> None:
    typed = windows.types("up")
    assert typed.rc == 3, typed.text
    assert "Reboot and run again" in typed.text
    assert windows.state["features"][machine.VM_PLATFORM] == "EnablePending"
    assert windows.state["boots"] == 1


def test_up_ends_with_an_answer(first_up: Typed, windows: Windows) -> None:
    assert first_up.rc == 0, first_up.text
    report = first_up.result["hosts"]["pc1-wsl"]["report"]
    assert "Paris" in report["proof"]["answer"]
    assert report["proof"]["fresh"]
    state = windows.state
    assert state["boots"] == 2
    assert state["wsl"]["msi"]["version"] == scenarios.NEWEST
    (distribution,) = state["wsl"]["distributions"][scenarios.ANN]
    assert (distribution["name"], distribution["version"]) == (scenarios.UBUNTU, 2)
    assert f"\\llmdesk\\keep-alive-{scenarios.UBUNTU}" in state["tasks"]


def test_both_halves_are_one_desk(first_up: Typed, windows: Windows) -> None:
    typed = windows.types("status", "--json")
    assert typed.rc == 0, typed.text
    assert set(typed.result["hosts"]) == {"pc1", "pc1-wsl"}


def test_a_second_time_changes_nothing_and_runs_one_module_on_either_side(first_up: Typed, windows: Windows) -> None:
    before = windows.state
    again = windows.types("up")
    assert again.rc == 0, again.text
    assert "changed=0" in again.text
    assert "The capital of France is Paris." in again.text
    after = windows.state
    assert after["operations"] == before["operations"]
    assert after["modules"][len(before["modules"]) :] == ["win_powershell"]
    asked = after["asked"][len(before["asked"]) :]
    assert len([line for line in asked if re.search(r"python3 .*AnsiballZ", line)]) == 1, json.dumps(asked, indent=1)
