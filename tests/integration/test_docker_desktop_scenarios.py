# SPDX-License-Identifier: GPL-3.0-or-later
"""The role docker_desktop on the lab's PC: what it does, what it refuses, and that no power cut leaves it stuck.

The PC is a stand-in: its installer, its scheduler and Docker Desktop do what docs.docker.com and Microsoft write. Many
PCs share a run, as in a room.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import pytest
import yaml

from lab.windows import collections, docker_desktop, machine, scenarios

ROOT = Path(__file__).parents[2]
AGREED = {"docker_desktop_accept_license": True, "docker_desktop_start_timeout": 1}
INSTALLER = f"{docker_desktop.KIND} {scenarios.DESKTOP}"
URL = "https://downloads.lab.test/Docker%20Desktop%20Installer.exe"
SHA256 = hashlib.sha256(INSTALLER.encode()).hexdigest()
DOWNLOADED = {"url": URL, "checksum": SHA256}
FILE = "E:\\Docker Desktop Installer.exe"
PLAY = {
    "name": "Bring Docker Desktop",
    "hosts": "windows",
    "gather_facts": False,
    "roles": ["llmdesk.workstation.docker_desktop"],
}
STEPS = 7
"""The engine, the download, the installer, its removal, a folder, the settings, the start."""


@pytest.fixture(scope="module")
def stand_ins(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return collections.write(tmp_path_factory.mktemp("collections"))


class Run:
    """How a run of the role ended."""

    def __init__(self, done: subprocess.CompletedProcess[str]) -> None:
        self.rc, self.said = done.returncode, done.stdout + done.stderr
        recap = re.findall(r"^(\w+) +: ok=\d+ +changed=(\d+) +unreachable=(\d+)", done.stdout, re.MULTILINE)
        assert recap, self.said
        self.changed = sum(int(changed) for _host, changed, _unreachable in recap)
        self.unreachable = {host: int(unreachable) for host, _changed, unreachable in recap}
        failed = re.findall(r"^fatal: \[(\w+)\]: FAILED! => *\n((?: .*\n)+)", done.stdout, re.MULTILINE)
        self.failures = {host: " ".join(words.split()) for host, words in failed}

    @property
    def words(self) -> str:
        """What was said, in one line."""
        return " ".join(self.said.split())


class Pc:
    """A PC, and runs of the role on it."""

    def __init__(self, folder: Path, stand_ins: Path, state: dict[str, Any], name: str = "pc1") -> None:
        self.name, self.file, self.folder, self.stand_ins = name, folder / f"{name}.json", folder, stand_ins
        self.variables: dict[str, Any] = {}
        machine.create(self.file, state)

    def run(self, *options: str, playbook: str = "", **variables: Any) -> Run:
        """Run the role alone, or a playbook of the checkout."""
        return run_all([self], *options, playbook=playbook, **variables)

    @property
    def state(self) -> dict[str, Any]:
        return machine.state(self.file)

    @property
    def settings(self) -> Any:
        return json.loads(machine.Machine(self.state).read(docker_desktop.STORE) or "null")

    def change(self, do: Callable[[dict[str, Any]], object]) -> None:
        state = self.state
        do(state)
        machine.create(self.file, state)

    def cut(self, after: int, half: bool) -> None:
        machine.cut(self.file, after, half)

    def switch_on(self) -> None:
        machine.switch_on(self.file)

    def serves(self) -> bool:
        """Tell whether Docker Desktop's Docker answers in the distro."""
        pc = machine.Machine(self.state)
        (distribution,) = (each for each in pc.distributions() if each["name"] == scenarios.UBUNTU)
        return docker_desktop.serves(pc, distribution) and "/usr/bin/dockerd" not in distribution["files"]


def run_all(pcs: list[Pc], *options: str, playbook: str = "", **variables: Any) -> Run:
    """Run the role alone, or a playbook of the checkout, on PCs of one folder."""
    folder = pcs[0].folder
    given = {"ansible_connection": "psrp", **AGREED, **variables}
    hosts = {pc.name: {"windows_machine": str(pc.file), **pc.variables} for pc in pcs}
    inventory = folder / "windows.yml"
    inventory.write_text(yaml.safe_dump({"windows": {"hosts": hosts, "vars": given}}))
    (folder / "play.yml").write_text(yaml.safe_dump([PLAY]))
    environment = {
        **os.environ,
        "ANSIBLE_COLLECTIONS_PATH": f"{pcs[0].stand_ins}{os.pathsep}{ROOT / 'collections'}",
        "ANSIBLE_NOCOLOR": "1",
        "PYTHONPATH": str(ROOT),
    }
    program = str(Path(sys.executable).with_name("ansible-playbook"))
    return Run(
        subprocess.run(
            [program, "-i", str(inventory), *options, playbook or str(folder / "play.yml")],
            env=environment,
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
            stdin=subprocess.DEVNULL,
        )
    )


class Make(Protocol):
    """Makes a PC out of a scenario."""

    def __call__(self, scenario: Callable[[], dict[str, Any]], name: str = "pc1") -> Pc:
        """Make it."""


@pytest.fixture
def make(tmp_path: Path, stand_ins: Path) -> Make:
    return lambda scenario, name="pc1": Pc(tmp_path, stand_ins, scenario(), name)


def test_docker_answers_in_the_distro_and_a_second_run_changes_nothing(make: Make) -> None:
    beginnings = ("with_distribution", "desktop_half", "desktop_stopped", "desktop_running")
    pcs = [make(getattr(scenarios, name), name) for name in beginnings]
    first = run_all(pcs)
    assert first.rc == 0, first.said
    for pc in pcs:
        assert pc.serves(), pc.name
        assert pc.settings["IntegratedWslDistros"] == [scenarios.UBUNTU], pc.name
    before = {pc.name: pc.state for pc in pcs}
    again = run_all(pcs)
    assert (again.rc, again.changed) == (0, 0), again.said
    for pc in pcs:
        assert pc.state["operations"] == before[pc.name]["operations"], pc.name
        # One question, and nothing else.
        assert pc.state["modules"] == [*before[pc.name]["modules"], "win_powershell"], pc.name


def test_the_site_playbook_brings_it_to_a_fresh_pc_after_wsl(make: Make) -> None:
    """Without the distro's own plays: a distro on paper has no Python."""
    pc = make(scenarios.fresh_pc)
    package = {"url": scenarios.MSI_URL, "version": scenarios.NEWEST}
    wishes = {"docker_desktop_wanted": True, "wsl_reboot": True, "wsl_package": package}
    first = pc.run("--limit", "pc1", playbook="site.yml", **wishes)
    assert first.rc == 0, first.said
    assert pc.serves()
    assert pc.state["boots"] == 2
    again = pc.run("--limit", "pc1", playbook="site.yml", **wishes)
    assert (again.rc, again.changed) == (0, 0), again.said


def test_settings_of_a_person_stay_and_are_changed_only_while_it_is_stopped(make: Make) -> None:
    pc = make(scenarios.desktop_running)
    mine = '{"OpenUIOnStartupDisabled": true, "IntegratedWslDistros": ["Debian"]}'
    pc.change(lambda state: state["docker_desktop"].update(remembers=mine))
    store = machine.Machine(pc.state).expand(docker_desktop.STORE)
    pc.change(lambda state: state["files"].update({store: mine}))
    assert pc.run(docker_desktop_settings={"ProxyHTTPMode": "manual"}).rc == 0
    assert pc.state["operations"] == ["stop Docker Desktop", f"write {store}", "start Docker Desktop"]
    assert pc.settings["OpenUIOnStartupDisabled"] is True
    assert pc.settings["IntegratedWslDistros"] == ["Debian", scenarios.UBUNTU]
    assert pc.settings["ProxyHTTPMode"] == "manual"


def test_a_byte_order_mark_is_taken_out_of_the_settings(make: Make) -> None:
    pc = make(scenarios.desktop_stopped)
    store = machine.Machine(pc.state).expand(docker_desktop.STORE)
    settings = '{"AutoStart": true, "IntegratedWslDistros": ["Ubuntu-24.04"]}'
    pc.change(lambda state: state["files"].update({store: "\ufeff" + settings}))
    done = pc.run()
    assert done.rc == 0, done.said
    assert pc.serves()


def test_the_installer_comes_from_winget_a_url_or_a_file(make: Make) -> None:
    pcs = []
    for name, installer in {"winget": {}, "url": DOWNLOADED, "file": {"path": FILE}}.items():
        pcs.append(make(scenarios.with_distribution, name))
        pcs[-1].variables = {"docker_desktop_installer": installer}
        pcs[-1].change(lambda state: state["web"].update({URL: INSTALLER}))
        pcs[-1].change(lambda state: state["files"].update({FILE: INSTALLER}))
    done = run_all(pcs)
    assert done.rc == 0, done.said
    for pc in pcs:
        assert pc.serves(), pc.name
        left = [path for path in pc.state["files"] if "docker-desktop" in path]
        assert left == [], "the download is removed"
        assert FILE in pc.state["files"], "a person's file is not"


REFUSED: dict[str, tuple[Callable[[], dict[str, Any]], dict[str, Any], str]] = {
    "no_licence": (
        scenarios.with_distribution,
        {"docker_desktop_accept_license": False},
        "needs your word on its licence",
    ),
    "other_download": (
        scenarios.with_distribution,
        {"docker_desktop_installer": {"url": URL, "checksum": "0" * 64}},
        f"The checksum for {URL} did not match",
    ),
    "no_checksum": (scenarios.with_distribution, {"docker_desktop_installer": {"url": URL}}, "needs its checksum"),
    "other_file": (
        scenarios.with_distribution,
        {"docker_desktop_installer": {"path": FILE, "checksum": "0" * 64}},
        "and docker_desktop_installer.checksum says 0000",
    ),
    "no_file": (
        scenarios.with_distribution,
        {"docker_desktop_installer": {"path": "E:\\none.exe"}},
        "There is no installer",
    ),
    "no_distro": (scenarios.ready_pc, {}, "There is no distribution Ubuntu-24.04"),
    "an_engine": (scenarios.engine_in_the_distro, {}, "There is a Docker Engine in Ubuntu-24.04"),
    "a_server": (scenarios.server, {}, "does not run on Microsoft Windows Server"),
}


def test_nothing_is_changed_where_it_cannot_be(make: Make) -> None:
    pcs = []
    for name, (scenario, variables, _said) in REFUSED.items():
        pcs.append(make(scenario, name))
        pcs[-1].variables = variables
        pcs[-1].change(lambda state: state["web"].update({URL: INSTALLER}))
        pcs[-1].change(lambda state: state["files"].update({FILE: INSTALLER}))
    done = run_all(pcs)
    assert done.failures.keys() == REFUSED.keys(), done.said
    for pc in pcs:
        assert REFUSED[pc.name][2] in done.failures[pc.name]
        assert [what for what in pc.state["operations"] if not what.startswith("make ")] == [], pc.name


FAULTS: dict[str, tuple[str, Any, str]] = {
    "another_version": ("docker_installer", 3, "ended with 3: another version is installed already, or half of one"),
    "no_administrator": ("docker_installer", 2**32 - 5, "ended with -5: it was not run by an administrator"),
    "another_fault": ("docker_installer", 17, "install-log-admin.txt"),
    "silent": ("docker_silent", True, "no Docker answers in Ubuntu-24.04 within 1 s"),
}


def test_what_failed_is_named(make: Make) -> None:
    pcs = []
    for name, (fault, value, _said) in FAULTS.items():
        pcs.append(make(scenarios.with_distribution, name))
        pcs[-1].change(lambda state, fault=fault, value=value: state["faults"].update({fault: value}))  # type: ignore[misc]
    done = run_all(pcs)
    assert done.failures.keys() == FAULTS.keys(), done.said
    for pc in pcs:
        assert FAULTS[pc.name][2] in done.failures[pc.name]
        pc.change(lambda state: state["faults"].clear())
    assert run_all(pcs).rc == 0
    for pc in pcs:
        assert pc.serves(), pc.name


def test_a_winget_that_fails_is_named_with_the_other_ways(make: Make) -> None:
    pc = make(scenarios.with_distribution)
    pc.change(lambda state: state.update(internet=False))
    done = pc.run()
    assert done.rc == 2
    assert "winget did not download Docker Desktop (exit code 1;" in done.words
    assert "set docker_desktop_installer to a URL with its checksum, or to a file" in done.words


def test_it_waits_for_a_person_who_has_to_log_on(make: Make) -> None:
    pc = make(scenarios.desktop_stopped)
    pc.change(lambda state: state.update(console_user=None))
    done = pc.run()
    assert done.rc == 2
    assert "nobody is logged on at the screen. Log on as PC1\\ann there, and run again" in done.words


def test_an_engine_is_removed_first_where_that_is_asked_for(make: Make) -> None:
    pc = make(scenarios.engine_in_the_distro)
    done = pc.run(docker_desktop_remove_engine=True)
    assert done.rc == 0, done.said
    assert pc.serves()
    assert pc.state["operations"][0] == "remove docker-cli docker.io"
    again = pc.run(docker_desktop_remove_engine=True)
    assert (again.rc, again.changed) == (0, 0), again.said


def test_a_restart_that_the_installer_asks_for_is_not_made_unasked(make: Make) -> None:
    pc = make(scenarios.with_distribution)
    pc.change(lambda state: state["faults"].update(docker_installer=3010))
    done = pc.run()
    assert done.rc == 2
    assert "Reboot and run again: Docker Desktop was installed and asks for it" in done.words
    assert pc.state["boots"] == 1


def test_a_check_says_what_would_be_done_and_does_nothing(make: Make) -> None:
    pc = make(scenarios.with_distribution)
    done = pc.run("--check")
    assert done.rc == 0, done.said
    assert "Would install Docker Desktop, set it, start it: it is not installed" in done.words
    assert pc.state["operations"] == []


@pytest.mark.parametrize("half", [False, True], ids=["between", "within"])
def test_a_power_cut_at_any_step_is_mended_by_the_next_run(make: Make, half: bool) -> None:
    """One PC is cut off at its first operation, one at its second, and so on; the last gets through."""
    pcs = [make(scenarios.engine_in_the_distro, f"pc{after}") for after in range(1, STEPS + 2)]
    for after, pc in enumerate(pcs, start=1):
        pc.cut(after, half)
    first = run_all(pcs, docker_desktop_remove_engine=True)
    assert first.unreachable == {pc.name: int(pc is not pcs[-1]) for pc in pcs}, first.said
    for pc in pcs[:-1]:
        pc.switch_on()
    second = run_all(pcs, docker_desktop_remove_engine=True)
    assert second.rc == 0, second.said
    for pc in pcs:
        assert pc.serves(), pc.name
        assert pc.settings["IntegratedWslDistros"] == [scenarios.UBUNTU]
        assert [path for path in pc.state["files"] if "llmdesk\\docker-desktop\\" in path] == []
