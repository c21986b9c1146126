"""Docker Desktop: its installer, its start and end, and the file of its settings."""

from __future__ import annotations

import json
from typing import Any

from lab.windows.machine import Answer, Machine

FOLDER = "C:\\Program Files\\Docker\\Docker"
STORE = "%APPDATA%\\Docker\\settings-store.json"
KIND = "docker-desktop"
OTHER_VERSION, NOT_ELEVATED = 3, 4294967291
"""Exit codes of the installer: another version is there; -5, it was not run as an administrator (Docker)."""


def installer(machine: Machine, arguments: list[str], file: str) -> tuple[int, str]:
    """Run the installer and return its exit code and what it prints.

    :param file: its text: what it is, and its version.
    """
    kind, _, version = file.partition(" ")
    present = machine.state["docker_desktop"]
    if kind != KIND or arguments[:1] != ["install"] or not {"--quiet", "--accept-license"} <= set(arguments):
        return 1, ""
    if not machine.state["accounts"][machine.account]["elevated"]:
        return NOT_ELEVATED, ""
    if "docker_installer" in machine.state["faults"]:
        return int(machine.state["faults"]["docker_installer"]), ""
    if present and present["version"] not in (None, version):
        return OTHER_VERSION, ""
    folder = next((each.partition("=")[2] for each in arguments if each.startswith("--installation-dir=")), FOLDER)

    def half() -> None:
        machine.write(f"{folder}\\resources", None)
        machine.state["docker_desktop"] = {"version": None, "location": folder, "running": False, "remembers": None}

    def do() -> None:
        half()
        machine.write(f"{folder}\\Docker Desktop.exe", f"{KIND} {version}")
        machine.state["docker_desktop"]["version"] = version

    machine.change(f"install Docker Desktop {version}", do, half)
    return 0, ""


def run_in_session(machine: Machine, given: dict[str, Any]) -> Answer:
    """Run winget or Docker Desktop in the session of a person; where they are not logged on, nothing starts."""
    program, folder = given["program"], given.get("folder", "")
    if machine.check:
        return Answer()
    if folder:
        machine.remove(folder)
        machine.write(folder, None)
    nothing = Answer({"started": False, "exit_code": None, "files": []}, changed=True)
    if machine.state["console_user"] != given["user"]:
        return nothing
    name = program.rpartition("\\")[2].casefold()
    if name == "winget.exe":
        text = machine.state["winget"] if machine.state["internet"] else None
        if text is None:
            # The exit code of what could not be downloaded is a large one; which, nobody asks.
            return Answer({"started": True, "exit_code": 1, "files": []}, changed=True)
        file = f"{folder}\\Docker Desktop Installer_X64_exe_en-US.exe"
        machine.change(f"download {file}", lambda: machine.write(file, text))
        return Answer({"started": True, "exit_code": 0, "files": [file]}, changed=True)
    if name == "docker desktop.exe" and machine.find(program):
        start(machine)
        return Answer({"started": True, "exit_code": None, "files": []}, changed=True)
    return nothing


def start(machine: Machine) -> None:
    """Start Docker Desktop: it reads its settings, and has a distro of its own from the first start on."""
    desktop = machine.state["docker_desktop"]
    settings = machine.read(STORE)

    def do() -> None:
        from lab.windows import scenarios

        # A mark at the beginning of the file makes it no JSON for it (Docker's issues).
        if settings is not None and _parsed(settings) is None:
            return
        desktop.update(running=True, remembers=settings or "{}")
        if settings is None:
            machine.write(STORE, "{}")
        if not any(each["name"] == KIND for each in machine.distributions()):
            scenarios.add_distribution(machine.state, machine.account, KIND)

    machine.change("start Docker Desktop", do)


def stop_docker_desktop(machine: Machine, given: dict[str, Any]) -> Answer:
    """Stop it: it writes its settings as it knows them, so that what was edited meanwhile is lost."""
    desktop = machine.state["docker_desktop"]

    def do() -> None:
        if desktop["running"]:
            machine.write(STORE, desktop["remembers"])
        desktop.update(running=False, remembers=None)

    if not machine.check:
        machine.change("stop Docker Desktop", do)
    return Answer({"stopped": True}, changed=True)


def serves(machine: Machine, distribution: dict[str, Any]) -> bool:
    """Say whether a Docker answers in a distro because Docker Desktop is integrated with it."""
    desktop = machine.state["docker_desktop"]
    if not desktop or not desktop["running"] or "docker_silent" in machine.state["faults"]:
        return False
    settings = _parsed(desktop["remembers"]) or {}
    default = machine.state["wsl"]["default_distribution"].get(machine.account)
    if distribution["guid"] == default and settings.get("EnableIntegrationWithDefaultWslDistro", True):
        return True
    return distribution["name"] in (settings.get("IntegratedWslDistros") or [])


def _parsed(text: str) -> dict[str, Any] | None:
    try:
        found: dict[str, Any] = json.loads(text)
    except ValueError:
        return None
    return found
