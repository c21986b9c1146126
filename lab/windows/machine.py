"""The PC: everything that is true of it, in a JSON file that outlives every process."""

from __future__ import annotations

import copy
import fcntl
import json
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

SYSTEM = "NT AUTHORITY\\SYSTEM"
MSI_FOLDER = "C:\\Program Files\\WSL"
VM_PLATFORM = "VirtualMachinePlatform"


class Unreachable(Exception):
    """The PC is switched off, or has just been."""


@dataclass(frozen=True)
class Answer:
    """What a PowerShell script leaves in ``$Ansible``."""

    result: Any = field(default_factory=dict)
    changed: bool = False
    failed: str = ""


class Machine:
    """A PC, as long as its file is open.

    :param state: the content of the file; :mod:`lab.windows.scenarios` says what is in it.
    :param account: who is at work on the PC; whom it says itself where that is not given.
    :param check: whether nothing may change, which the modules look at.
    """

    def __init__(self, state: dict[str, Any], account: str | None = None, check: bool = False) -> None:
        self.state = state
        self.account: str = account or state["connected_as"]
        self.check = check

    # --- Power -------------------------------------------------------------------------------------------------------

    def change(self, what: str, do: Callable[[], Any], half: Callable[[], Any] | None = None) -> None:
        """Do one operation that changes the PC, unless its power fails in it.

        :param what: the operation, for the list of what was done.
        :param do: does it.
        :param half: does what is left of it when the power fails in the middle; nothing is left where there is none.
        :raises Unreachable: the power has failed: after the operation, or in its middle.
        """
        power = self.state["power"]
        self.state["operations"].append(what)
        if power["cut_after"] is not None:
            power["cut_after"] -= 1
            if power["cut_after"] == 0:
                power.update(on=False, cut_after=None)
                if not power["half"]:
                    do()
                elif half:
                    half()
                raise Unreachable(f"the power failed: {what}")
        do()

    def boot(self) -> None:
        """Start the PC, after a restart or a power cut: features that waited for that are on then (Microsoft)."""
        state = self.state
        state["power"]["on"] = True
        state["boots"] += 1
        state["reboot_pending"] = []
        done = {"EnablePending": "Enabled", "DisablePending": "Disabled"}
        state["features"] = {name: done.get(value, value) for name, value in state["features"].items()}
        state["wsl"]["vm"] = None
        for distribution in self.distributions(everybody=True):
            distribution["running"] = False
        # Docker Desktop starts with a login and not with Windows (Docker).
        state["console_user"] = state["logs_on"]
        if state["docker_desktop"]:
            state["docker_desktop"].update(running=False, remembers=None)
        for task in state["tasks"].values():
            task["running"] = False
            # A task at the start of Windows runs without a session, one at a login when its person comes (Microsoft).
            starts = {"boot"} | ({"logon"} if state["console_user"] else set())
            if starts.intersection(trigger["type"] for trigger in task["triggers"]):
                self.start_task(task)

    def start_task(self, task: dict[str, Any]) -> None:
        """Run a scheduled task: of those that there are here, each keeps a distro running."""
        from lab.windows import wsl

        task["running"] = wsl.keep_running(Machine(self.state, task["username"]), command_line(task))

    def task_runs(self, task: dict[str, Any]) -> bool:
        """Say whether what a scheduled task has started still runs: it ends with its distro."""
        from lab.windows import wsl

        found = wsl.kept(Machine(self.state, task["username"]), command_line(task))
        return bool(task.get("running") and found and found["running"])

    # --- What is true of it -------------------------------------------------------------------------------------------

    @property
    def hypervisor(self) -> bool:
        """Whether a hypervisor runs, and so a virtual machine can."""
        return bool(self.state["firmware_virtualisation"]) and self.state["features"][VM_PLATFORM] == "Enabled"

    @property
    def local_system(self) -> bool:
        """Whether the account at work is Windows itself."""
        return self.account == SYSTEM

    @property
    def profile(self) -> str:
        """The home folder of the account."""
        return str(self.state["accounts"][self.account]["profile"])

    @property
    def environment(self) -> dict[str, str]:
        """The account's own variables, which every session of it has that begins later (Microsoft)."""
        found: dict[str, str] = self.state["environment"].setdefault(self.account, {})
        return found

    def distributions(self, everybody: bool = False) -> list[dict[str, Any]]:
        """Return the distros of the account, or those of all: they stand in each user's own registry (Microsoft)."""
        everyone = self.state["wsl"]["distributions"]
        found = everyone.values() if everybody else [everyone.setdefault(self.account, [])]
        return [distribution for distributions in found for distribution in distributions]

    def expand(self, path: str) -> str:
        """Return a path with the variables of the environment in it replaced."""
        known = {
            "%USERPROFILE%": self.profile,
            "%APPDATA%": f"{self.profile}\\AppData\\Roaming",
            "%LOCALAPPDATA%": f"{self.profile}\\AppData\\Local",
            "%TEMP%": f"{self.profile}\\AppData\\Local\\Temp",
            "%ProgramFiles%": "C:\\Program Files",
            "%ProgramData%": "C:\\ProgramData",
            "%SystemRoot%": "C:\\Windows",
        }
        for name, value in known.items():
            path = path.replace(name, value)
        return path

    # --- Files: a path to its text, or to None for a folder -----------------------------------------------------------

    def find(self, path: str) -> str | None:
        """Return how a path of the PC is written, which minds no case, or None where it is not there."""
        wanted = self.expand(path).rstrip("\\").casefold()
        return next((name for name in self.state["files"] if name.casefold() == wanted), None)

    def read(self, path: str) -> str | None:
        """Return a file's text, None where there is none."""
        name = self.find(path)
        text: str | None = self.state["files"][name] if name else None
        return text

    def write(self, path: str, text: str | None) -> None:
        """Write a file, or make a folder where the text is None, with the folders around it."""
        path = self.find(path) or self.expand(path).rstrip("\\")
        folder = path.rpartition("\\")[0]
        if "\\" in folder and not self.find(folder):
            self.write(folder, None)
        self.state["files"][path] = text

    def remove(self, path: str) -> None:
        """Remove a file, or a folder with what is in it."""
        name = (self.find(path) or path).casefold()
        kept = {
            key: text for key, text in self.state["files"].items() if not f"{key.casefold()}\\".startswith(f"{name}\\")
        }
        self.state["files"] = kept

    # --- What roles/wsl/files/windows_facts.ps1 returns ---------------------------------------------------------------

    def facts(self, distribution: str) -> dict[str, Any]:
        """Return the PC as the roles see it: one answer, in the shape that the role wsl describes.

        :param distribution: the distro whose scheduled task is looked for.
        """
        state = self.state
        own = state["accounts"][self.account]
        wsl = state["wsl"]
        everyone = wsl["distributions"].items()
        pending = any(value.endswith("Pending") for value in state["features"].values())
        desktop = state["docker_desktop"]
        keep = state["tasks"].get(f"\\llmdesk\\keep-alive-{distribution}")
        facts = {
            "system": state["system"],
            "virtualisation": {
                "hypervisor_present": self.hypervisor,
                # Windows says false here as soon as a hypervisor has taken the processor for itself (Microsoft).
                "firmware_enabled": bool(state["firmware_virtualisation"]) and not self.hypervisor,
            },
            "reboot_pending": (["component servicing"] if pending else []) + state["reboot_pending"],
            "features": state["features"],
            "user": {
                "name": self.account,
                "profile": own["profile"],
                "sid": own["sid"],
                "elevated": own["elevated"],
                "local_system": self.local_system,
                "wsl_utf8": self.environment.get("WSL_UTF8"),
            },
            "console_user": state["console_user"],
            "drive": state["drive"],
            "memory": state["memory"],
            "processors": state["processors"],
            "wsl": {
                "msi": wsl["msi"],
                "store": wsl["store"],
                "inbox": wsl["inbox"],
                "default_version": wsl["default_version"].get(self.account),
                "default_distribution": wsl["default_distribution"].get(self.account),
                "distributions": [
                    {key: each[key] for key in ("guid", "name", "version", "state", "path", "default_uid")}
                    for each in self.distributions()
                ],
                "other_users": [
                    {"user": user, "name": each["name"]}
                    for user, distributions in everyone
                    if user != self.account
                    for each in distributions
                ],
                "vm_older_than_config": bool(wsl["vm"])
                and wsl["vm"]["config"] != self.read("%USERPROFILE%\\.wslconfig"),
                "unfinished": self._unfinished(),
            },
            "wslconfig": self.read("%USERPROFILE%\\.wslconfig"),
            "keep_alive": keep
            and {
                "user": keep["username"],
                "command": keep["actions"][0]["path"],
                "arguments": keep["actions"][0].get("arguments"),
                "running": self.task_runs(keep),
            },
            "network": {
                "profiles": state["network"]["profiles"],
                "portproxy": state["network"]["portproxy"],
                "firewall_rules": sorted(state["network"]["firewall_rules"]),
                "hyperv_rules": sorted(state["network"]["hyperv_rules"]),
                "listening": sorted(int(port) for port in state["network"]["owners"]),
                "owners": state["network"]["owners"],
            },
            "ssh": {"default_shell": state["ssh_default_shell"]},
            "docker_desktop": desktop
            and {
                "version": desktop["version"],
                "location": desktop["location"],
                "program": self.find(f"{desktop['location']}\\Docker Desktop.exe") is not None,
                "running": desktop["running"],
                "settings": self.read("%APPDATA%\\Docker\\settings-store.json"),
            },
            "gpus": state["gpus"],
            "unknown": state["unknown"],
        }
        return copy.deepcopy(facts)

    def _unfinished(self) -> list[str]:
        folder, end = self.expand("%LOCALAPPDATA%\\llmdesk\\"), ".unfinished"
        names = [name[len(folder) :] for name in self.state["files"] if name.startswith(folder) and name.endswith(end)]
        return [name[: -len(end)] for name in names]


@contextmanager
def opened(path: Path, account: str | None = None, check: bool = False) -> Iterator[Machine]:
    """Open a PC's file for one module or command, and write it back at the end; others wait for it.

    :raises Unreachable: it is switched off.
    """
    with path.open("r+", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        machine = Machine(json.load(file), account, check)
        if not machine.state["power"]["on"]:
            raise Unreachable("the PC is switched off")
        try:
            yield machine
        finally:
            _write(file, machine.state)


def command_line(task: dict[str, Any]) -> str:
    """Return what a scheduled task starts."""
    action = task["actions"][0]
    return f'"{action["path"]}" {action.get("arguments") or ""}'


def new_distribution(
    state: dict[str, Any], user: str, name: str, version: int = 2, path: str | None = None
) -> dict[str, Any]:
    """Return a fresh distro of an account, which is not in its registry yet.

    :param path: its folder; the one that WSL chooses where it is not given.
    """
    guid = "{" + str(uuid.uuid5(uuid.NAMESPACE_DNS, f"{user} {name}")) + "}"
    return {
        "guid": guid,
        "name": name,
        "version": version,
        "state": 1,
        "path": path or f"{state['accounts'][user]['profile']}\\AppData\\Local\\wsl\\{guid}",
        "default_uid": 0,
        "running": False,
        "container": state["containers"].get(name),
        "files": dict(state["fresh_distro"]["files"]),
        "users": dict(state["fresh_distro"]["users"]),
    }


def create(path: Path, state: dict[str, Any]) -> None:
    """Write a PC's file."""
    with path.open("w", encoding="utf-8") as file:
        _write(file, state)


def state(path: Path) -> dict[str, Any]:
    """Return what is true of a PC now."""
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


def switch_on(path: Path) -> None:
    """Start a PC that a power cut has ended, as its person does before the next run."""
    machine = Machine(state(path))
    machine.boot()
    create(path, machine.state)


def cut(path: Path, after: int, half: bool = False) -> None:
    """Let the power fail at an operation.

    :param after: the number of the operation from now on, the first is 1.
    :param half: in its middle, and not between the operation and its answer.
    """
    found = state(path)
    found["power"].update(cut_after=after, half=half)
    create(path, found)


def _write(file: Any, state: dict[str, Any]) -> None:
    file.seek(0)
    file.truncate()
    json.dump(state, file, indent=1, ensure_ascii=False)
