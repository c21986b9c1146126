# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab's Windows PC: a wrong option fails, the PC keeps its state, and what is cut off stays cut off."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from lab.windows import collections, machine, scenarios, scripts, wsl

ROOT = Path(__file__).parents[2]
FEATURE = {"ansible.windows.win_optional_feature": {"name": machine.VM_PLATFORM}}


@pytest.fixture(scope="module")
def stand_ins(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return collections.write(tmp_path_factory.mktemp("collections"))


class Pc:
    """A PC, and plays that are run on it."""

    def __init__(self, folder: Path, stand_ins: Path, state: dict[str, Any]) -> None:
        self.file, self._play, self._stand_ins = folder / "pc.json", folder / "play.yml", stand_ins
        machine.create(self.file, state)

    def run(self, *tasks: dict[str, Any], options: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
        play = {"hosts": "all", "gather_facts": False, "tasks": [{"name": "Do it", **task} for task in tasks]}
        self._play.write_text(yaml.safe_dump([play]))
        variables = {"windows_machine": str(self.file), "ansible_connection": "psrp"}
        command = [str(Path(sys.executable).with_name("ansible-playbook")), "-i", "pc1,", "-e", json.dumps(variables)]
        environment = {
            **os.environ,
            "ANSIBLE_COLLECTIONS_PATH": str(self._stand_ins),
            "ANSIBLE_NOCOLOR": "1",
            "ANSIBLE_LOCALHOST_WARNING": "0",
        }
        return subprocess.run(
            [*command, *options, str(self._play)],
            env=environment,
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )


@pytest.fixture
def pc(tmp_path: Path, stand_ins: Path) -> Pc:
    return Pc(tmp_path, stand_ins, scenarios.fresh_pc())


def test_an_option_that_the_real_module_does_not_have_fails(pc: Pc) -> None:
    done = pc.run({"ansible.windows.win_optional_feature": {"name": "VirtualMachinePlatform", "reboot": True}})
    assert done.returncode == 2
    assert "Supported parameters include: include_parent, name, source, state" in done.stdout
    assert machine.state(pc.file)["operations"] == []


def test_the_pc_keeps_its_state_from_run_to_run_and_through_a_power_cut(pc: Pc) -> None:
    assert "changed=1" in pc.run(FEATURE, options=("--check",)).stdout
    assert machine.state(pc.file)["features"][machine.VM_PLATFORM] == "Disabled"
    machine.cut(pc.file, after=1)
    assert "unreachable=1" in pc.run(FEATURE, {"ansible.windows.win_ping": {}}).stdout
    assert machine.state(pc.file)["features"][machine.VM_PLATFORM] == "EnablePending"
    machine.switch_on(pc.file)
    assert machine.state(pc.file)["features"][machine.VM_PLATFORM] == "Enabled"
    assert "ok=2    changed=1" in pc.run(FEATURE, {"ansible.windows.win_reboot": {}}).stdout


@pytest.mark.parametrize("language", ["en-US", "zh-CN", "de-DE", "ja-JP"])
def test_wsl_says_the_same_code_in_every_language_on_its_standard_output(language: str) -> None:
    state = scenarios.ready_pc() if language == "en-US" else scenarios.in_language(language, scenarios.ready_pc)
    line = f'"{machine.MSI_FOLDER}\\wsl.exe" -d nobody --exec true'
    said = wsl.run(machine.Machine(state), line, {})
    assert said.rc == wsl.FAILED
    assert "Wsl/Service/WSL_E_DISTRO_NOT_FOUND" in said.stdout.decode("utf-16-le")
    assert b"WSL_E_DISTRO_NOT_FOUND" in wsl.run(machine.Machine(state), line, {"WSL_UTF8": "1"}).stdout


def test_every_scenario_can_say_what_it_is() -> None:
    for begin in scenarios.SCENARIOS.values():
        facts = machine.Machine(begin()).facts("Ubuntu-24.04")
        assert facts["user"]["name"] in begin()["accounts"]
        json.dumps(facts)


def test_whatever_the_roles_use_of_windows_has_a_stand_in() -> None:
    texts = [path.read_text() for path in scripts.ROLES.glob("*/tasks/*.yml")]
    used = {found for text in texts for found in re.findall(r"\b((?:ansible|community)\.windows\.\w+):", text)}
    known = {f"{collection}.{module}" for collection, names in collections.MODULES.items() for module in names}
    assert used <= known
    assert {path.name for path in scripts.ROLES.glob("*/files/*.ps1")} <= set(scripts.SCRIPTS)
