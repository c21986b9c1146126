"""PCs to begin with. Each is a whole state, to be written by :func:`lab.windows.machine.create` and changed at will."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable
from typing import Any

from lab.windows import docker_desktop
from lab.windows.machine import MSI_FOLDER, SYSTEM, VM_PLATFORM, Machine, new_distribution

State = dict[str, Any]

GIB = 2**30
WSL1 = "Microsoft-Windows-Subsystem-Linux"
ANN = "PC1\\ann"
BOB = "PC1\\bob"
NEWEST = "2.6.3.0"
OLD = "1.2.5.0"
DESKTOP = "4.50.0"
MSI_URL = "https://downloads.lab.test/wsl.2.6.3.0.x64.msi"
UBUNTU = "Ubuntu-24.04"
DEBIAN_FRESH: State = {
    "files": {"/etc/os-release": "ID=ubuntu\n", "/bin/sh": "", "/usr/bin/python3": ""},
    "users": {"root": 0},
}


def fresh_pc() -> State:
    """A Windows 11 as it comes out of the shop: nothing is switched on, an administrator sits at the screen."""
    return {
        "system": {
            "caption": "Microsoft Windows 11 Home",
            "product_type": 1,
            "build": 26100,
            "revision": 4349,
            "architecture": "AMD64",
            "edition": "Core",
            "language": "en-US",
        },
        "language": "en-US",
        # What wsl.exe prints in: UTF-16LE without a mark, unless WSL_UTF8 is 1 (WSL's source).
        "encoding": {"honours_wsl_utf8": True, "bom": False},
        "firmware_virtualisation": True,
        "localhost_proxy": False,  # whether Windows' own proxy is on the loopback
        "environment": {},  # account to its variables
        "features": {VM_PLATFORM: "Disabled", WSL1: "Disabled"},
        "reboot_pending": [],
        "connected_as": ANN,
        "session": 0,  # of ssh, winrm and psrp (the modules' documentation)
        "accounts": {
            ANN: {"profile": "C:\\Users\\ann", "sid": "S-1-5-21-1-2-3-1001", "elevated": True},
            BOB: {"profile": "C:\\Users\\bob", "sid": "S-1-5-21-1-2-3-1002", "elevated": True},
            SYSTEM: {"profile": "C:\\Windows\\system32\\config\\systemprofile", "sid": "S-1-5-18", "elevated": True},
        },
        "console_user": ANN,
        "logs_on": ANN,  # who is at the screen after the next start
        "needs_logon": False,  # whether the virtual machine starts only while somebody is logged on
        "store_denies": False,  # which of its two errors the Store's WSL has in session 0
        "drive": {"name": "C:", "free": 400 * GIB, "size": 500 * GIB},
        "memory": 32 * GIB,
        "processors": 16,
        "wsl": {
            "msi": None,
            "store": None,
            "inbox": True,
            "newest": NEWEST,
            "vm": None,
            "default_version": {},
            "default_distribution": {},
            "distributions": {},
        },
        "containers": {},  # distro to container, for those that are more than paper
        "fresh_distro": copy.deepcopy(DEBIAN_FRESH),
        "files": {
            "C:": None,
            "C:\\Users": None,
            "C:\\Users\\ann": None,
            "C:\\Users\\bob": None,
            "C:\\ProgramData": None,
            "C:\\Windows\\Temp": None,
            "C:\\Users\\ann\\AppData\\Local\\Temp": None,
        },
        "internet": True,
        "web": {MSI_URL: f"wsl {NEWEST}"},
        "tasks": {},
        "network": {
            "profiles": [{"name": "Home", "category": "Private"}],
            "portproxy": {},
            "firewall_rules": {},
            "hyperv_rules": {},
            "owners": {"22": "sshd", "135": "svchost", "445": "System"},
        },
        "ssh_default_shell": None,
        "winget": f"{docker_desktop.KIND} {DESKTOP}",  # the installer that it downloads
        "docker_desktop": None,
        "gpus": [{"name": "NVIDIA GeForce RTX 4070", "driver": "32.0.15.6094", "memory": 12 * GIB}],
        "unknown": [],  # what the facts could not be had of
        "faults": {},
        "power": {"on": True, "cut_after": None, "half": False},
        "boots": 1,
        "operations": [],  # what has changed the PC, in order
        "modules": [],  # what has been run on it
        "asked": [],  # command lines of wsl.exe
    }


def package() -> dict[str, str]:
    """Return what the role is told about the .msi that is to be had here: wsl_package."""
    checksum = hashlib.sha256(f"wsl {NEWEST}".encode()).hexdigest()
    return {"url": MSI_URL, "version": NEWEST, "checksum": checksum}


def ready_pc() -> State:
    """WSL 2 is installed, and nothing else: no distro."""
    state = fresh_pc()
    state["features"][VM_PLATFORM] = "Enabled"
    state["wsl"]["msi"] = {"version": NEWEST, "location": MSI_FOLDER}
    state["wsl"]["default_version"][ANN] = 2
    return state


def with_distribution() -> State:
    """WSL 2 with the distro that the role asks for, as the person has installed it."""
    state = ready_pc()
    add_distribution(state, ANN, UBUNTU)
    return state


def add_distribution(state: State, user: str, name: str, version: int = 2) -> State:
    """Give an account a distro and return it."""
    made = new_distribution(state, user, name, version)
    state["files"][f"{made['path']}\\ext4.vhdx"] = ""
    state["wsl"]["distributions"].setdefault(user, []).append(made)
    state["wsl"]["default_distribution"].setdefault(user, made["guid"])
    return made


def reboot_pending() -> State:
    """The feature is ticked, and the restart has not been done."""
    state = fresh_pc()
    state["features"][VM_PLATFORM] = "EnablePending"
    return state


def other_reboot_pending() -> State:
    """Windows Update waits for a restart: nothing of ours."""
    state = ready_pc()
    state["reboot_pending"] = ["windows update"]
    return state


def no_virtualisation() -> State:
    """Virtualisation is off in the firmware."""
    state = fresh_pc()
    state["firmware_virtualisation"] = False
    return state


def wsl1_only() -> State:
    """Years ago somebody made a distro of version 1."""
    state = fresh_pc()
    state["features"][WSL1] = "Enabled"
    state["wsl"]["msi"] = {"version": NEWEST, "location": MSI_FOLDER}
    state["wsl"]["default_version"][ANN] = 1
    add_distribution(state, ANN, UBUNTU, version=1)
    return state


def store_session_0() -> State:
    """WSL came from the Store: it does not run where nobody sits."""
    state = fresh_pc()
    state["features"][VM_PLATFORM] = "Enabled"
    state["wsl"]["store"] = {"version": NEWEST}
    return state


def store_access_denied() -> State:
    """The same, with the other of the two errors."""
    return {**store_session_0(), "store_denies": True}


def local_system() -> State:
    """The connection is Windows itself, as of an agent that manages PCs."""
    return {**ready_pc(), "connected_as": SYSTEM}


def nobody_logged_on() -> State:
    """Nobody has logged on since Windows has started, and the virtual machine refuses."""
    return {**ready_pc(), "console_user": None, "logs_on": None, "needs_logon": True}


def somebody_else_logged_on() -> State:
    """Another person sits at the screen."""
    return {**ready_pc(), "console_user": BOB, "logs_on": BOB}


def not_elevated() -> State:
    """The account is no administrator."""
    state = fresh_pc()
    state["accounts"][ANN]["elevated"] = False
    return state


def old_msi() -> State:
    """WSL is there, and too old."""
    state = ready_pc()
    state["wsl"]["msi"]["version"] = OLD
    return state


def distro_missing_after_install() -> State:
    """The first installation of a distro says 0, and brings none."""
    state = ready_pc()
    state["faults"]["distro_missing_after_install"] = 1
    return state


def half_distro() -> State:
    """The installation of the distro was broken off."""
    state = with_distribution()
    state["wsl"]["distributions"][ANN][0]["state"] = 3
    return state


def other_user() -> State:
    """The distro belongs to another person of this PC."""
    state = ready_pc()
    add_distribution(state, BOB, UBUNTU)
    return state


def offline() -> State:
    """No internet: files that somebody has brought are all there is."""
    state = fresh_pc()
    state["internet"] = False
    state["files"]["C:\\Users\\ann\\Downloads"] = None
    state["files"]["C:\\Users\\ann\\Downloads\\wsl.2.6.3.0.x64.msi"] = f"wsl {NEWEST}"
    state["files"]["C:\\Users\\ann\\Downloads\\ubuntu.wsl"] = "a root file"
    return state


def full_drive() -> State:
    """No room is left."""
    state = fresh_pc()
    state["drive"]["free"] = GIB
    return state


def wslconfig_of_a_person() -> State:
    """A .wslconfig with comments, and keys that nobody here knows."""
    state = with_distribution()
    state["files"]["C:\\Users\\ann\\.wslconfig"] = (
        "# mine\r\n[wsl2]\r\nmemory=8GB  ; enough\r\nmadeUp = yes\r\n\r\n[experimental]\r\nsparseVhd=true\r\n"
    )
    return state


def public_network() -> State:
    """Windows takes the network for a public one."""
    state = ready_pc()
    state["network"]["profiles"] = [{"name": "Café", "category": "Public"}]
    return state


def ports_taken() -> State:
    """Something listens on the page's port."""
    state = with_distribution()
    state["network"]["owners"].update({"3000": "node", "8080": "java"})
    return state


def desktop_stopped() -> State:
    """Docker Desktop is installed and does not run."""
    state = with_distribution()
    state["docker_desktop"] = {
        "version": DESKTOP,
        "location": docker_desktop.FOLDER,
        "running": False,
        "remembers": None,
    }
    state["files"][docker_desktop.FOLDER] = None
    state["files"][f"{docker_desktop.FOLDER}\\Docker Desktop.exe"] = f"{docker_desktop.KIND} {DESKTOP}"
    return state


def desktop_running() -> State:
    """Docker Desktop runs as it comes, integrated with the default distro."""
    state = desktop_stopped()
    docker_desktop.start(Machine(state))
    state["operations"].clear()
    return state


def desktop_half() -> State:
    """The installation of Docker Desktop was broken off."""
    state = with_distribution()
    state["docker_desktop"] = {"version": None, "location": docker_desktop.FOLDER, "running": False, "remembers": None}
    state["files"][f"{docker_desktop.FOLDER}\\resources"] = None
    return state


def engine_in_the_distro() -> State:
    """The distribution's own Docker Engine is in the distro."""
    state = with_distribution()
    files = state["wsl"]["distributions"][ANN][0]["files"]
    files.update({"/usr/bin/dockerd": "docker.io", "/usr/bin/docker": "docker-cli"})
    return state


def windows_10() -> State:
    """The Windows before."""
    state = fresh_pc()
    state["system"].update(caption="Microsoft Windows 10 Pro", build=19045, edition="Professional")
    return state


def server() -> State:
    """A Windows Server."""
    state = fresh_pc()
    state["system"].update(
        caption="Microsoft Windows Server 2022 Standard", product_type=3, build=20348, edition="ServerStandard"
    )
    return state


def old_home() -> State:
    """A Home edition that has not been updated for years."""
    state = fresh_pc()
    state["system"].update(build=22000, revision=194)
    return state


def arm64() -> State:
    """A PC with an Arm processor."""
    state = fresh_pc()
    state["system"]["architecture"] = "ARM64"
    return state


def in_language(language: str, begin: Callable[[], State] = fresh_pc) -> State:
    """The same PC in another language, with a person whose name is not made of Latin letters alone.

    :param language: ``zh-CN``, ``de-DE`` or ``ja-JP``.
    """
    person = {"zh-CN": "李 娜", "de-DE": "Jörg Müller", "ja-JP": "山田 太郎"}[language]
    state = rename(begin(), ANN, f"PC1\\{person}", f"C:\\Users\\{person}")
    state["language"] = language
    state["system"]["language"] = language
    return state


def rename(state: State, old: str, new: str, profile: str) -> State:
    """Give an account another name and home folder, everywhere."""
    home = state["accounts"][old]["profile"]

    def renamed(value: Any) -> Any:
        if isinstance(value, dict):
            return {renamed(key): renamed(each) for key, each in value.items()}
        if isinstance(value, list):
            return [renamed(each) for each in value]
        if isinstance(value, str):
            return new if value == old else profile + value[len(home) :] if value.startswith(home) else value
        return value

    found: State = renamed(state)
    return found


def localhost_proxy() -> State:
    """A Chinese PC whose proxy listens on the loopback: wsl.exe warns at every launch."""
    state = in_language("zh-CN", with_distribution)
    state["localhost_proxy"] = True
    return state


def utf16_with_mark() -> State:
    """An old wsl.exe: it does not know WSL_UTF8, and begins with a byte order mark."""
    return {**fresh_pc(), "encoding": {"honours_wsl_utf8": False, "bom": True}}


def utf16_without_mark() -> State:
    """An old wsl.exe: it does not know WSL_UTF8."""
    return {**fresh_pc(), "encoding": {"honours_wsl_utf8": False, "bom": False}}


SCENARIOS: dict[str, Callable[[], State]] = {
    each.__name__: each
    for each in (
        fresh_pc,
        ready_pc,
        with_distribution,
        reboot_pending,
        other_reboot_pending,
        no_virtualisation,
        wsl1_only,
        store_session_0,
        store_access_denied,
        local_system,
        nobody_logged_on,
        somebody_else_logged_on,
        not_elevated,
        old_msi,
        distro_missing_after_install,
        half_distro,
        other_user,
        offline,
        full_drive,
        wslconfig_of_a_person,
        public_network,
        ports_taken,
        desktop_stopped,
        desktop_running,
        desktop_half,
        engine_in_the_distro,
        windows_10,
        server,
        old_home,
        arm64,
        localhost_proxy,
        utf16_with_mark,
        utf16_without_mark,
    )
}
