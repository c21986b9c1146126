"""What the roles' own PowerShell scripts, and the programs that they start, do to the PC.

No PowerShell is run. A script is recognised by its text, so that a script that was changed and not looked at here is
still this script: what it returns is what the role's documentation says that it returns.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any

from lab.windows import docker_desktop
from lab.windows.machine import MSI_FOLDER, Answer, Machine
from lab.windows.texts import text

ROLES = Path(__file__).resolve().parents[2] / "collections/ansible_collections/llmdesk/workstation/roles"


@cache
def _ours() -> dict[str, str]:
    return {path.read_text(encoding="utf-8-sig").strip(): path.name for path in ROLES.glob("*/files/*.ps1")}


def name(script: str) -> str:
    """Return the file name of one of the roles' scripts.

    :raises LookupError: it is none of theirs, or nothing says here what it does.
    """
    found = _ours().get(script.replace("\r\n", "\n").lstrip("\ufeff").strip())
    if found is None or found not in SCRIPTS:
        raise LookupError(f"the lab does not know what this script does ({found or 'no file of a role'})")
    return found


def parameters(script: str) -> set[str]:
    """Return the names in a script's param block, in lower case."""
    block = re.search(r"(?ims)^\s*param\s*\((.*?)^\s*\)", script) or re.search(r"(?i)param\s*\((.*?)\)", script)
    return {each.casefold() for each in re.findall(r"\$(\w+)", block[1])} if block else set()


def windows_facts(machine: Machine, given: dict[str, Any]) -> Answer:
    return Answer(machine.facts(given.get("distribution", "Ubuntu-24.04")))


def write_file(machine: Machine, given: dict[str, Any]) -> Answer:
    """The new file takes the old one's place in one step: a power cut leaves the old one, and the new one beside it."""
    path, text = given["path"], given["text"]
    old = machine.read(path)

    def do() -> None:
        if old is not None:
            machine.write(f"{path}.bak", old)
        machine.write(path, text)

    if not machine.check:
        machine.change(f"write {path}", do, half=lambda: machine.write(f"{path}.new", text))
    return Answer(changed=True)


def windows_lan(machine: Machine, given: dict[str, Any]) -> Answer:
    """Ports forwarded, and rules of Hyper-V's firewall: each an operation of its own."""
    network = machine.state["network"]
    if machine.check:
        return Answer(changed=True)
    for listen in given.get("forget") or []:
        machine.change(f"forget {listen}", partial(network["portproxy"].pop, listen))
    for name in given.get("disallow") or []:
        machine.change(f"disallow {name}", partial(network["hyperv_rules"].pop, name))
    for listen, connect in (given.get("forward") or {}).items():
        machine.change(f"forward {listen}", partial(network["portproxy"].update, {listen: connect}))
    for name, port in (given.get("allow") or {}).items():
        machine.change(f"allow {name}", partial(network["hyperv_rules"].update, {name: port}))
    return Answer(changed=True)


def keep_alive(machine: Machine, given: dict[str, Any]) -> Answer:
    """A task as win_scheduled_task would have it, which cannot make one without a password."""
    task = {
        "username": given["user"],
        "logon_type": "s4u",
        "actions": [{"path": given["command"], "arguments": given["arguments"]}],
        "triggers": [{"type": "boot"}, {"type": "logon", "user_id": given["user"]}],
    }
    path = f"\\llmdesk\\{given['name']}"
    if not machine.check:
        machine.change(f"register the task {path}", lambda: machine.state["tasks"].update({path: task}))
    return Answer(changed=True)


SCRIPTS: dict[str, Callable[[Machine, dict[str, Any]], Answer]] = {
    "keep_alive.ps1": keep_alive,
    "run_in_session.ps1": docker_desktop.run_in_session,
    "stop_docker_desktop.ps1": docker_desktop.stop_docker_desktop,
    "windows_facts.ps1": windows_facts,
    "windows_lan.ps1": windows_lan,
    "write_file.ps1": write_file,
}


# --- Downloads and packages -------------------------------------------------------------------------------------------


def download(machine: Machine, url: str) -> str | None:
    """Return what is under an address of the internet, None where there is nothing, or no internet."""
    text: str | None = machine.state["web"].get(url) if machine.state["internet"] else None
    return text


def installed(machine: Machine, kind: str, version: str) -> bool:
    """Say whether this very package is installed: Windows knows it by its product code, another version has another."""
    if kind == "wsl":
        return (machine.state["wsl"]["msi"] or {}).get("version") == version
    return False


def install(machine: Machine, kind: str, version: str, wanted: str, arguments: list[str]) -> int:
    """Run an installer and return its exit code."""
    wsl = machine.state["wsl"]
    if kind == "wsl":

        def do() -> None:
            wsl["msi"] = {"version": version, "location": MSI_FOLDER} if wanted == "present" else None
            wsl["vm"] = None
            for distribution in machine.distributions(everybody=True):
                distribution["running"] = False

        # An .msi that is broken off is rolled back (Microsoft).
        machine.change(f"install WSL {version}" if wanted == "present" else "remove WSL", do)
        return 0
    return 1620  # "This installation package could not be opened" (Microsoft).


# --- Programs that win_command starts, by pattern ---------------------------------------------------------------------


def schtasks(machine: Machine, arguments: list[str], file: str) -> tuple[int, str]:
    """``schtasks.exe /Run /TN NAME``: it says that it has begun, whatever becomes of it."""
    words = [each.casefold() for each in arguments]
    name = arguments[words.index("/tn") + 1] if "/tn" in words else ""
    task = machine.state["tasks"].get(name)
    if "/run" not in words or task is None:
        return 1, text("failed", machine.state["language"])
    machine.change(f"run the task {name}", lambda: machine.start_task(task))
    return 0, text("done", machine.state["language"])


PROGRAMS: dict[str, Callable[[Machine, list[str], str], tuple[int, str]]] = {
    "*schtasks.exe": schtasks,
    "*docker desktop installer*.exe": docker_desktop.installer,
}
