# SPDX-License-Identifier: GPL-3.0-or-later
"""The role wsl on the lab's Windows PCs, by the real ansible-playbook: whatever PC it begins with, the end is the same.

No Windows and no PowerShell is here: see lab/windows. Many PCs share a run, as in a room.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from lab.windows import collections, machine, scenarios
from llmdesk.events import REBOOT, message
from llmdesk.run import Play, ask

State = dict[str, Any]
Document = dict[str, Any]

PLAY = """
- name: Carry desks
  hosts: "{{ groups | llmdesk.workstation.windows_hosts }}"
  gather_facts: false
  tasks:
    - name: Bring WSL and its distro
      ansible.builtin.include_role:
        name: llmdesk.workstation.wsl

- name: Look how the distros are reached
  hosts: "{{ groups | llmdesk.workstation.windows_hosts('windows_desks') }}"
  gather_facts: false
  tasks:
    - name: Show it
      ansible.builtin.debug:
        msg: "{{ hostvars[inventory_hostname] | dict2items | selectattr('key', 'match', shown) | items2dict }}"
      vars:
        shown: ^(ansible_(host|port|user|password|connection|become)|wsl_(user|distribution)|windows_host|desk_listen)$
"""
SSH = {"ansible_connection": "ssh", "ansible_shell_type": "cmd", "ansible_host": "192.0.2.7", "ansible_user": "ann"}
PACKAGE = {"url": scenarios.MSI_URL, "version": "2.6.3"}
ASKED = ["win_powershell"]
"""What a run asks of a PC that is right: its facts, once."""


class Room:
    """PCs, and runs of the role over all of them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.hosts: dict[str, dict[str, Any]] = {}
        (folder / "play.yml").write_text(PLAY)

    def add(self, name: str, state: State, **variables: Any) -> None:
        """Put a PC into the room, with variables of its own."""
        machine.create(self.file(name), state)
        self.hosts[name] = {**SSH, "windows_machine": str(self.file(name)), "wsl_package": PACKAGE, **variables}

    def file(self, name: str) -> Path:
        return self.folder / f"{name}.json"

    def state(self, name: str) -> State:
        return machine.state(self.file(name))

    def run(self, check: bool = False, **variables: Any) -> Document:
        """Run the role on every PC; what they did in earlier runs is forgotten."""
        for name in self.hosts:
            machine.create(self.file(name), {**self.state(name), "operations": [], "modules": [], "asked": []})
        (self.folder / "room.yml").write_text(yaml.safe_dump({"windows": {"hosts": self.hosts}}))
        extra = (json.dumps(variables),) if variables else ()
        inventory = (str(self.folder / "room.yml"),)
        return ask(Play(str(self.folder / "play.yml"), inventory=inventory, extra_vars=extra, check=check))


@pytest.fixture(scope="module", autouse=True)
def stand_ins(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    path = collections.write(tmp_path_factory.mktemp("collections"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ANSIBLE_COLLECTIONS_PATH", f"{path}{os.pathsep}collections")
        yield


@pytest.fixture
def room(tmp_path: Path) -> Room:
    return Room(tmp_path)


def failures(document: Document) -> dict[str, str]:
    """Return why hosts did not get to the end."""
    tasks = [task for play in document["plays"] for task in play["tasks"]]
    ended = [(host, result) for task in tasks for host, result in task["hosts"].items()]
    return {host: message(result) for host, result in ended if result.get("failed") or result.get("unreachable")}


def reached(document: Document) -> dict[str, dict[str, Any]]:
    """Return the variables of the distros that became hosts."""
    tasks = [task for play in document["plays"][1:] for task in play["tasks"]]
    return {host: result["msg"] for task in tasks for host, result in task["hosts"].items()}


def said(document: Document, host: str) -> str:
    """Return all that a host's tasks said."""
    tasks = [task for play in document["plays"] for task in play["tasks"]]
    return "\n".join(json.dumps(task["hosts"].get(host, {}), ensure_ascii=False) for task in tasks)


def is_a_desk(state: State) -> None:
    """See that a PC carries a desk: the distro runs as version 2, and stays."""
    account = state["connected_as"]
    (distribution,) = state["wsl"]["distributions"][account]
    assert (distribution["version"], distribution["state"], distribution["running"]) == (2, 1, True)
    assert state["features"][machine.VM_PLATFORM] == "Enabled"
    assert state["wsl"]["msi"]["version"] == scenarios.NEWEST
    (task,) = [task for path, task in state["tasks"].items() if path.startswith("\\llmdesk\\keep-alive-")]
    assert task["username"] == account
    config = state["files"][f"{state['accounts'][account]['profile']}\\.wslconfig"]
    assert "vmIdleTimeout=-1" in config
    assert "instanceIdleTimeout=-1" in config
    assert state["wsl"]["vm"]["config"] == config, "WSL has not read it"


DOWNLOADS = "C:\\Users\\ann\\Downloads"
BEGINNINGS: dict[str, tuple[Callable[[], State], dict[str, Any]]] = {
    **{
        begin.__name__: (begin, {})
        for begin in (
            scenarios.fresh_pc,
            scenarios.ready_pc,
            scenarios.with_distribution,
            scenarios.reboot_pending,
            scenarios.other_reboot_pending,
            scenarios.store_session_0,
            scenarios.store_access_denied,
            scenarios.somebody_else_logged_on,
            scenarios.old_msi,
            scenarios.half_distro,
            scenarios.wslconfig_of_a_person,
            scenarios.utf16_with_mark,
            scenarios.utf16_without_mark,
            scenarios.localhost_proxy,
        )
    },
    "wsl1_only": (scenarios.wsl1_only, {"wsl_convert": True}),
    "offline": (
        scenarios.offline,
        {
            "wsl_package": {"path": f"{DOWNLOADS}\\wsl.2.6.3.0.x64.msi", "version": "2.6.3"},
            "wsl_root_file": f"{DOWNLOADS}\\ubuntu.wsl",
            "wsl_distribution": "Desk",
        },
    ),
    "chinese": (
        lambda: scenarios.in_language("zh-CN"),
        {"ansible_user": "李 娜", "ansible_password": "geheim", "wsl_keep_alive_password": "geheim"},
    ),
    "german": (lambda: scenarios.in_language("de-DE"), {"ansible_connection": "psrp"}),
    "japanese": (lambda: scenarios.in_language("ja-JP"), {"wsl_host_variables": {"ansible_connection": "ssh"}}),
    "nat": (scenarios.ready_pc, {"wsl_lan": True}),
    "mirrored": (
        scenarios.ready_pc,
        {"wsl_lan": True, "wsl_config": {"wsl2": {"networkingMode": "mirrored"}}},
    ),
}


def test_every_pc_becomes_a_desk_and_a_second_run_asks_it_once(room: Room) -> None:
    for name, (begin, variables) in BEGINNINGS.items():
        room.add(name, begin(), **variables)
    first = room.run(wsl_reboot=True)
    assert failures(first) == {}
    for name in BEGINNINGS:
        is_a_desk(room.state(name))
    second = room.run(wsl_reboot=True)
    assert failures(second) == {}
    for name in BEGINNINGS:
        state = room.state(name)
        assert (name, state["operations"], state["modules"]) == (name, [], ASKED)
        assert second["stats"][name]["changed"] == 0, name

    theirs = room.state("wslconfig_of_a_person")["files"]["C:\\Users\\ann\\.wslconfig"]
    assert {"# mine", "memory=8GB  ; enough", "madeUp = yes", "sparseVhd=true"} <= set(theirs.split("\r\n"))
    assert room.state("nat")["network"]["portproxy"] == {"0.0.0.0/8080": "127.0.0.1/3000"}
    assert list(room.state("nat")["network"]["firewall_rules"]) == ["llmdesk 8080"]
    assert room.state("mirrored")["network"]["hyperv_rules"] == {"llmdesk-3000": 3000}
    assert room.state("mirrored")["network"]["portproxy"] == {}
    assert room.state("offline")["wsl"]["distributions"]["PC1\\ann"][0]["name"] == "Desk"

    hosts = reached(second)
    assert set(hosts) == {f"{name}-wsl" for name in BEGINNINGS}
    plain = {"ansible_host": "192.0.2.7", "ansible_connection": "community.general.wsl", "ansible_become": False}
    plain |= {"wsl_user": "root"}
    named = {"wsl_distribution": "Ubuntu-24.04", "ansible_user": "ann"}
    assert hosts["fresh_pc-wsl"] == {**plain, **named, "windows_host": "fresh_pc"}
    assert hosts["chinese-wsl"]["ansible_user"] == "李 娜"
    assert hosts["chinese-wsl"]["ansible_password"] == "geheim"
    for name, logon in (("chinese", "password"), ("german", "s4u")):
        (task,) = room.state(name)["tasks"].values()
        assert task["logon_type"] == logon
    assert "geheim" not in json.dumps(second["plays"][0], ensure_ascii=False), "a password is in no result"
    assert room.state("fresh_pc")["environment"]["PC1\\ann"] == {"WSL_UTF8": "1"}
    assert hosts["german-wsl"]["ansible_port"] == 22
    assert hosts["japanese-wsl"]["ansible_connection"] == "ssh"
    assert "wsl_user" not in hosts["japanese-wsl"]
    assert hosts["mirrored-wsl"]["desk_listen"] == "0.0.0.0"
    assert hosts["offline-wsl"]["wsl_distribution"] == "Desk"


REFUSED: dict[str, tuple[Callable[[], State], dict[str, Any], str, str]] = {
    "windows_10": (scenarios.windows_10, {}, "too old", "Update it to Windows 11"),
    "old_home": (scenarios.old_home, {}, "too old", "Home will do"),
    "server": (scenarios.server, {}, "Windows Server", "Linux"),
    "arm64": (scenarios.arm64, {}, "ARM64", "x64"),
    "no_virtualisation": (scenarios.no_virtualisation, {}, "off in the firmware", "BIOS"),
    "local_system": (scenarios.local_system, {}, "SYSTEM", "PC1\\ann"),
    "not_elevated": (scenarios.not_elevated, {}, "takes an administrator", "administrator of this PC"),
    "full_drive": (scenarios.full_drive, {}, "C: has 1.0 GiB free", "wsl_disk_needed"),
    "wsl1_only": (scenarios.wsl1_only, {}, "version 1", "wsl_convert=true"),
    "other_user": (scenarios.other_user, {}, "PC1\\bob", "Connect as"),
    "ports_taken": (scenarios.ports_taken, {}, "Port 3000 is taken in Windows by node", "--port 3080"),
    "lan_port_taken": (scenarios.ports_taken, {"wsl_lan": True, "wsl_port": 3001}, "by java", "wsl_lan_ports"),
    "public": (scenarios.public_network, {"wsl_lan": True}, "public", "Set-NetConnectionProfile"),
    "no_such_distro": (scenarios.fresh_pc, {"wsl_distribution": "Ubuntu-19.10"}, "no distro of this name", "Debian"),
    "no_linux_user": (scenarios.fresh_pc, {"wsl_default_user": "Ann Lee"}, "no name of a Linux user", "lower-case"),
    "powershell": (
        lambda: {**scenarios.ready_pc(), "ssh_default_shell": "C:\\Windows\\System32\\powershell.exe"},
        {},
        "needs cmd",
        "Remove-ItemProperty",
    ),
    "no_sshd": (
        scenarios.ports_taken,
        {"ansible_connection": "psrp", "wsl_ssh_port": 2200},
        "no sshd",
        "Start-Service",
    ),
    "no_shell_type": (scenarios.fresh_pc, {"ansible_shell_type": "sh"}, "reached by ssh", "ansible_shell_type: cmd"),
}


def test_what_stands_in_the_way_is_said_before_anything_is_touched(room: Room) -> None:
    for name, (begin, variables, _what, _remedy) in REFUSED.items():
        room.add(name, begin(), **variables)
    document = room.run(wsl_reboot=True)
    why = failures(document)
    assert set(why) == set(REFUSED)
    for name, (_begin, _variables, what, remedy) in REFUSED.items():
        assert what in why[name], name
        assert remedy in why[name], name
        assert room.state(name)["operations"] == [], name
    assert reached(document) == {}


def test_check_mode_says_what_would_be_done_and_changes_nothing(room: Room) -> None:
    for begin in (scenarios.fresh_pc, scenarios.old_msi, scenarios.wslconfig_of_a_person):
        room.add(begin.__name__, begin())
    document = room.run(check=True)
    assert failures(document) == {}
    for name in room.hosts:
        assert (name, room.state(name)["operations"], room.state(name)["modules"]) == (name, [], ASKED)
    words = said(document, "fresh_pc")
    for step in ("features", "package", "wslconfig", "distribution", "keep_alive"):
        assert f"Would see to the {step}: " in words
    assert "Would see to the package: WSL 1.2.5.0 is older than 2.6.3." in said(document, "old_msi")
    assert set(reached(document)) == {"wslconfig_of_a_person-wsl"}


def test_nobodys_pc_is_rebooted_unasked(room: Room) -> None:
    for begin in (scenarios.fresh_pc, scenarios.reboot_pending, scenarios.ready_pc):
        room.add(begin.__name__, begin())
    why = failures(room.run())
    assert set(why) == {"fresh_pc", "reboot_pending"}
    for text in why.values():
        assert text.startswith(REBOOT)
        assert "wsl_reboot=true" in text
    assert [room.state(name)["boots"] for name in room.hosts] == [1, 1, 1]
    for name in room.hosts:  # as its person does
        machine.switch_on(room.file(name))
    assert failures(room.run()) == {}
    for name in room.hosts:
        is_a_desk(room.state(name))


LATE: dict[str, tuple[Callable[[], State], dict[str, Any], str, str]] = {
    "other_msi": (
        scenarios.fresh_pc,
        {"wsl_package": {**PACKAGE, "checksum": "0" * 64}},
        "did not match",
        "wsl_package",
    ),
    "other_msi_there": (
        scenarios.offline,
        {"wsl_package": {"path": f"{DOWNLOADS}\\wsl.2.6.3.0.x64.msi", "version": "2.6.3", "checksum": "0" * 64}},
        "has the sha256",
        "Bring the right file",
    ),
    "no_file": (
        scenarios.fresh_pc,
        {"wsl_package": {"path": "\\\\nas\\share\\wsl.msi", "version": "2.6.3"}},
        "PC1\\ann may not read it",
        "the connection needs a password",
    ),
    "offline": (scenarios.offline, {}, "did not come", "a file of the PC"),
    "no_hub": (
        lambda: {**scenarios.ready_pc(), "internet": False},
        {},
        "WININET_E_NAME_NOT_RESOLVED",
        "wsl_root_file",
    ),
    "nobody_logged_on": (scenarios.nobody_logged_on, {}, "0x8007023f", "Log on once"),
    "no_distro": (scenarios.distro_missing_after_install, {}, "has no distro Ubuntu-24.04", "run again"),
}


def test_what_only_shows_on_the_way_is_said_with_a_remedy(room: Room) -> None:
    for name, (begin, variables, _what, _remedy) in LATE.items():
        state = begin()
        state["language"] = "zh-CN"
        room.add(name, state, **variables)
    why = failures(room.run(wsl_reboot=True))
    assert set(why) == set(LATE)
    for name, (_begin, _variables, what, remedy) in LATE.items():
        assert what in why[name], name
        assert remedy in why[name], name
    room.hosts = {"no_distro": room.hosts["no_distro"]}
    assert failures(room.run()) == {}
    is_a_desk(room.state("no_distro"))


def test_ports_that_nobody_asks_for_any_longer_are_closed(room: Room) -> None:
    mirrored = {"wsl_config": {"wsl2": {"networkingMode": "mirrored"}}}
    room.add("nat", scenarios.ready_pc(), wsl_lan=True)
    room.add("mirrored", scenarios.ready_pc(), wsl_lan=True, **mirrored)
    room.add("changed", scenarios.ready_pc(), wsl_lan=True)
    assert failures(room.run()) == {}
    room.hosts["changed"] |= mirrored
    for name in ("nat", "mirrored"):
        room.hosts[name]["wsl_lan"] = False
    assert failures(room.run()) == {}
    for name in ("nat", "mirrored"):
        network = room.state(name)["network"]
        assert (network["portproxy"], network["firewall_rules"], network["hyperv_rules"]) == ({}, {}, {})
    network = room.state("changed")["network"]
    assert (network["portproxy"], network["firewall_rules"]) == ({}, {})
    assert network["hyperv_rules"] == {"llmdesk-3000": 3000}


WANTED = {
    "wsl_root_file": f"{DOWNLOADS}\\ubuntu.wsl",
    "wsl_distribution": "Desk",
    "wsl_lan": True,
    "wsl_features": [machine.VM_PLATFORM, scenarios.WSL1],
}
PASSING = ("operations", "modules", "asked", "boots", "power")


def lasting(state: State) -> State:
    """Return what stays of a PC when it is not asked how it came there."""
    files = {name: text for name, text in state["files"].items() if not name.endswith((".new", ".bak"))}
    return {**{key: value for key, value in state.items() if key not in PASSING}, "files": files}


def beginning() -> State:
    """A fresh PC with a root file, and settings of its person."""
    state = scenarios.offline()
    state["internet"] = True
    state["files"]["C:\\Users\\ann\\.wslconfig"] = "# mine\r\n[wsl2]\r\nmemory=8GB\r\n"
    return state


@pytest.mark.parametrize("half", [False, True], ids=["after", "in the middle of"])
def test_a_pc_that_loses_its_power_at_every_step_ends_as_one_that_does_not(room: Room, half: bool) -> None:
    room.add("whole", beginning(), **WANTED)
    assert failures(room.run(wsl_reboot=True)) == {}
    is_a_desk(room.state("whole"))
    operations, end = room.state("whole")["operations"], lasting(room.state("whole"))
    # Of what else is broken off in its middle, nothing is left: that is a cut after the operation before it.
    cuts = {
        f"cut{number}": operation
        for number, operation in enumerate(operations, start=1)
        if not half or operation.startswith(("write ", "register "))
    }
    assert len(cuts) > 2
    room.hosts = {}
    for name in cuts:
        room.add(name, beginning(), **WANTED)
        machine.cut(room.file(name), after=int(name.removeprefix("cut")), half=half)
    why = failures(room.run(wsl_reboot=True))
    assert set(why) == set(room.hosts), "each of them lost its power"
    for name in room.hosts:
        machine.switch_on(room.file(name))
    assert failures(room.run(wsl_reboot=True)) == {}
    for name, operation in cuts.items():
        assert lasting(room.state(name)) == end, f"{name}: {operation}"
