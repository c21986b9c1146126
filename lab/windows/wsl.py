"""``wsl.exe``: what it does to the PC, what it prints, and in which bytes."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from lab.windows.machine import MSI_FOLDER, VM_PLATFORM, Machine, new_distribution
from lab.windows.texts import text

FAILED = 4294967295
"""-1, as the exit code of every failure of its own is seen (WSL's source)."""
BOOTED = "timeout 60 sh -c 'until systemctl is-system-running --wait > /dev/null 2>&1; do sleep 0.1; done'"
"""Waits, in the real Linux that stands for a distro, until its systemd is up: WSL waits for it, too (WSL's source)."""
STORE_ALIAS = "AppData\\Local\\Microsoft\\WindowsApps\\wsl.exe"
ONLINE = ("Ubuntu", "Ubuntu-24.04", "Ubuntu-22.04", "Debian", "archlinux", "FedoraLinux-42", "openSUSE-Tumbleweed")
"""Distros that it can install by name: a choice from its list."""
SIZE = 1_500_000_000
"""Bytes that a fresh distro takes of the drive: the order of magnitude, assumed."""


class Fails(Exception):
    """It ends with -1, and a text with this code on its *standard output*."""

    def __init__(self, code: str, said: str = "failed") -> None:
        super().__init__(code)
        self.code, self.said = code, said


@dataclass(frozen=True)
class Printed:
    """Exit code and output, in the bytes that the program printed."""

    rc: int
    stdout: bytes = b""
    stderr: bytes = b""


def docker(*arguments: str) -> str:
    """Run a command of this machine's Docker and return what it prints, nothing where it fails."""
    command = ["docker", *arguments]
    finished = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    return finished.stdout.strip() if finished.returncode == 0 else ""


@dataclass(frozen=True)
class Launch:
    """A program that is to be run in the real Linux that stands for a distro.

    :param command: its words, or a line for the user's shell.
    :param nobody: what is printed where the distro has no such user.
    :param warning: of wsl.exe itself, on its standard error before the program's own.
    """

    container: str
    user: str
    folder: str
    command: list[str] | str
    nobody: Printed
    warning: bytes = b""

    def run(self, stdin: int | None, stdout: int | None, stderr: int | None) -> Printed:
        """Run it, with what subprocess takes for streams."""
        if docker("container", "inspect", "--format", "{{.State.Running}}", self.container) != "true":
            docker("start", self.container)
            docker("exec", self.container, "sh", "-c", BOOTED)
        entry = docker("exec", self.container, "getent", "passwd", self.user)
        if not entry:
            return self.nobody
        home, shell = entry.split(":")[5:7]
        if stderr is None:
            sys.stderr.buffer.write(self.warning)
            sys.stderr.buffer.flush()
        # A program begins in the folder of Windows that wsl.exe was called in, and not in its home (Microsoft).
        folder = self.folder or "/"
        known = {"HOME": home, "USER": self.user, "SHELL": shell, "WSL_DISTRO_NAME": "lab"}
        finished = subprocess.run(
            [
                *("docker", "exec", "-i", "--user", self.user, "--workdir", folder),
                *(word for name, value in known.items() for word in ("--env", f"{name}={value}")),
                self.container,
                *(self.command if isinstance(self.command, list) else [shell, "-c", self.command]),
            ],
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            check=False,
        )
        return Printed(finished.returncode, finished.stdout or b"", self.warning + (finished.stderr or b""))


def to_argv(line: str) -> list[str]:
    """Split a command line as CommandLineToArgvW does (Microsoft)."""
    arguments, found, quoted, started, at = [], "", False, False, 0
    while at < len(line):
        character = line[at]
        if character == "\\":
            slashes = len(re.match(r"\\+", line[at:])[0])  # type: ignore[index]
            at += slashes
            if line[at : at + 1] == '"':
                found += "\\" * (slashes // 2) + ('"' if slashes % 2 else "")
                at += slashes % 2
            else:
                found += "\\" * slashes
            started = True
            continue
        if character == '"':
            quoted, started = not quoted, True
        elif character in " \t" and not quoted:
            if started:
                arguments.append(found)
            found, started = "", False
        else:
            found, started = found + character, True
        at += 1
    return [*arguments, found] if started else arguments


def word(rest: str) -> tuple[str, str]:
    """Return the first argument of a command line, and what comes after it."""
    match = re.match(r'\s*("[^"]*"|\S+)\s*', rest)
    return (match[1].strip('"'), rest[match.end() :]) if match else ("", "")


def program(machine: Machine, path: str) -> str | None:
    """Return which of the three a path leads to: ``msi``, ``store`` or ``inbox``; None where nothing is there."""
    wsl, path = machine.state["wsl"], machine.expand(path).casefold()
    if path == f"{MSI_FOLDER}\\wsl.exe".casefold():
        return "msi" if wsl["msi"] else None
    if path.endswith(STORE_ALIAS.casefold()):
        return "store" if wsl["store"] else None
    if path in ("wsl", "wsl.exe", "c:\\windows\\system32\\wsl.exe"):
        # What Windows brings along hands over to a package, and is little more than a hint without one (Microsoft).
        return next((kind for kind in ("msi", "store") if wsl[kind]), "inbox" if wsl["inbox"] else None)
    return None


def run(machine: Machine, line: str, environment: dict[str, str]) -> Printed:
    """Run it to its end, without input."""
    answer = ask(machine, line, environment)
    if isinstance(answer, Launch):
        return answer.run(subprocess.DEVNULL, subprocess.PIPE, subprocess.PIPE)
    return answer


def ask(machine: Machine, line: str, environment: dict[str, str]) -> Printed | Launch:
    """Do what it does to the PC, and return what it prints, or the program that it runs in a distro.

    :param line: the whole command line, beginning with the program.
    :param environment: variables of the process, beside those of the account: ``WSL_UTF8`` is the one that counts.
    """
    environment = {**machine.environment, **environment}
    path, rest = word(line)
    state = machine.state
    state["asked"].append(line)
    encoding = state["encoding"]
    # Exactly "1", and a version that knows it (WSL's source).
    utf8 = environment.get("WSL_UTF8") == "1" and encoding["honours_wsl_utf8"]

    def encode(said: str) -> bytes:
        said = said.replace("\n", "\r\n")
        mark = "\ufeff" if encoding["bom"] and said else ""
        return said.encode() if utf8 else (mark + said).encode("utf-16-le")

    try:
        kind = program(machine, path)
        if kind == "store" and state["session"] == 0:
            raise Fails("Wsl/E_ACCESSDENIED" if state["store_denies"] else "Wsl/0x80070780", "cannot_access")
        if kind == "inbox" and "--install" not in rest and "--update" not in rest:
            return Printed(1, encode(text("not_installed", state["language"])))
        if machine.local_system:
            raise Fails("Wsl/WSL_E_LOCAL_SYSTEM_NOT_SUPPORTED")
        answer = _verb(machine, rest)
    except Fails as failure:
        return Printed(FAILED, encode(text(failure.said, state["language"], failure.code)))
    warning = encode(text("localhost_proxy", state["language"])) if _warns(machine) else b""
    if isinstance(answer, Launch):
        code = "Wsl/Service/CreateInstance/WSL_E_USER_NOT_FOUND"
        nobody = Printed(FAILED, encode(text("failed", state["language"], code)))
        return replace(answer, nobody=nobody, warning=warning)
    if isinstance(answer, Printed):
        return replace(answer, stderr=warning + answer.stderr)
    return Printed(0, encode(answer))


def _warns(machine: Machine) -> bool:
    """Say whether every launch warns of a proxy of Windows that the distro cannot reach (WSL's source and issues).

    It does so on standard error, where Windows has a proxy on the loopback and WSL a network of its own.
    """
    config = (machine.state["wsl"]["vm"] or {}).get("config") or ""
    apart = re.search(r"(?im)^\s*(autoProxy\s*=\s*false|networkingMode\s*=\s*mirrored)", config)
    return bool(machine.state["localhost_proxy"]) and not apart


def kept(machine: Machine, line: str) -> dict[str, Any] | None:
    """Return the distro that a scheduled task's command line keeps running, None where it can keep none."""
    arguments = to_argv(line)
    if program(machine, arguments[0]) != "msi":
        return None
    name = next((arguments[at + 1] for at, each in enumerate(arguments) if each in ("-d", "--distribution")), None)
    return next((each for each in machine.distributions() if each["name"] == name and each["state"] == 1), None)


def keep_running(machine: Machine, line: str) -> bool:
    """Start that distro, as a scheduled task does: nobody sees what it prints."""
    found = kept(machine, line)
    if found is None:
        return False
    try:
        _start(machine, found)
    except Fails:
        return False
    return True


def _verb(machine: Machine, rest: str) -> str | Printed | Launch:
    """Do what the first option says; without one of those, run a program in a distro."""
    first, after = word(rest)
    arguments = to_argv(after)
    if first in VERBS:
        return VERBS[first](machine, arguments)
    return _launch(machine, rest)


# --- Distros ----------------------------------------------------------------------------------------------------------


def _find(machine: Machine, name: str, unfinished: bool = False) -> dict[str, Any]:
    """Return a distro of this user: nobody else's can be seen, and its name's case counts for nothing (Microsoft).

    :param unfinished: whether one counts whose installation was broken off.
    """
    for distribution in machine.distributions():
        if distribution["name"].casefold() == name.casefold() and (unfinished or distribution["state"] == 1):
            return distribution
    raise Fails("Wsl/Service/WSL_E_DISTRO_NOT_FOUND")


def _vm(machine: Machine, where: str) -> None:
    """Start the virtual machine: it reads .wslconfig once, here (Microsoft)."""
    state = machine.state
    if not state["firmware_virtualisation"]:
        raise Fails(f"{where}/CreateVm/HCS/HCS_E_HYPERV_NOT_INSTALLED")
    if state["features"][VM_PLATFORM] != "Enabled":
        raise Fails(f"{where}/CreateVm/HCS/HCS_E_SERVICE_NOT_AVAILABLE")
    if state["console_user"] is None and state["needs_logon"]:
        raise Fails(f"{where}/CreateVm/0x8007023f")
    if state["wsl"]["vm"] is None:
        state["wsl"]["vm"] = {"config": machine.read("%USERPROFILE%\\.wslconfig")}


def _start(machine: Machine, distribution: dict[str, Any]) -> None:
    if distribution["version"] == 2:
        _vm(machine, "Wsl/Service/CreateInstance")
    distribution["running"] = True


def _register(machine: Machine, name: str, where: str, path: str | None = None, version: int | None = None) -> None:
    """Make a distro: an entry that says "installing", the file system, an entry that says "installed"."""
    state = machine.state
    version = version or state["wsl"]["default_version"].get(machine.account) or 2
    if any(each["name"].casefold() == name.casefold() for each in machine.distributions()):
        raise Fails(f"{where}/ERROR_ALREADY_EXISTS")
    if version == 2:
        _vm(machine, f"{where}/Service/RegisterDistro".replace("Service/Service", "Service"))
    if state["drive"]["free"] < SIZE:
        raise Fails(f"{where}/0x80070070")
    made = new_distribution(state, machine.account, name, version, path)
    disk = f"{made['path']}\\ext4.vhdx"
    if machine.find(disk):
        raise Fails(f"{where}/ERROR_FILE_EXISTS")
    if state["faults"].get("distro_missing_after_install"):
        state["faults"]["distro_missing_after_install"] -= 1
        return
    own = state["wsl"]["distributions"].setdefault(machine.account, [])

    def half() -> None:
        machine.write(disk, "")
        own.append({**made, "state": 3})

    def do() -> None:
        machine.write(disk, "")
        own.append(made)
        state["wsl"]["default_distribution"].setdefault(machine.account, made["guid"])
        state["drive"]["free"] -= SIZE

    machine.change(f"register {name}", do, half)


def _install(machine: Machine, arguments: list[str]) -> str:
    """``--install``."""
    state = machine.state
    options = _options(
        arguments,
        {"--from-file": 1, "--name": 1, "--location": 1, "--version": 1, "-d": 1, "--distribution": 1},
        "--no-launch",
        "-n",
        "--web-download",
        "--no-distribution",
        "--enable-wsl1",
        "--pre-release",
        "--legacy",
    )
    if "--from-file" in options:
        file = options["--from-file"]
        if machine.read(file) is None:
            raise Fails("Wsl/ERROR_FILE_NOT_FOUND")
        name = options.get("--name") or file.rpartition("\\")[2].split(".")[0]
        _register(machine, name, "Wsl/Service", options.get("--location"))
        return f"{name}\n"
    if state["features"][VM_PLATFORM] != "Enabled":
        # It switches on what is missing, and says 0: a restart is needed, and no distro is there (WSL's source).
        if state["features"][VM_PLATFORM] == "Disabled":
            if not state["accounts"][machine.account]["elevated"]:
                raise Fails("Wsl/ERROR_ELEVATION_REQUIRED")
            machine.change("enable features", lambda: state["features"].update({VM_PLATFORM: "EnablePending"}))
        return text("reboot", state["language"])
    if "--no-distribution" in options:
        return text("done", state["language"])
    wanted = options.get("") or options.get("--distribution") or options.get("-d") or "Ubuntu"
    known = next((each for each in ONLINE if each.casefold() == wanted.casefold()), None)
    where = "Wsl/InstallDistro"
    if not state["internet"]:
        raise Fails(f"{where}/WININET_E_NAME_NOT_RESOLVED")
    if known is None:
        raise Fails(f"{where}/WSL_E_DISTRO_NOT_FOUND")
    _register(machine, options.get("--name") or known, where, options.get("--location"))
    return text("done", state["language"])


def _import(machine: Machine, arguments: list[str]) -> str:
    """``--import NAME DIR FILE``."""
    options = _options(arguments, {"--version": 1}, "--vhd")
    name, folder, file = (options.get(key) for key in ("", "1", "2"))
    if not (name and folder and file):
        raise Fails("Wsl/E_INVALIDARG")
    if machine.read(file) is None:
        raise Fails("Wsl/ERROR_FILE_NOT_FOUND")
    _register(machine, name, "Wsl/Service", folder, int(options.get("--version", 0)) or None)
    return text("done", machine.state["language"])


def _update(machine: Machine, arguments: list[str]) -> str:
    wsl = machine.state["wsl"]
    if not machine.state["internet"]:
        raise Fails("Wsl/UpdatePackage/WININET_E_NAME_NOT_RESOLVED")
    if not wsl["msi"] or wsl["msi"]["version"] != wsl["newest"]:

        def do() -> None:
            wsl["msi"] = {"version": wsl["newest"], "location": MSI_FOLDER}
            wsl["vm"] = None

        machine.change("update WSL", do)
    return text("done", machine.state["language"])


def _set_default_version(machine: Machine, arguments: list[str]) -> str:
    versions = machine.state["wsl"]["default_version"]
    if arguments[:1] not in (["1"], ["2"]):
        raise Fails("Wsl/E_INVALIDARG")
    machine.change("set the default version", lambda: versions.update({machine.account: int(arguments[0])}))
    return text("done", machine.state["language"])


def _set_default(machine: Machine, arguments: list[str]) -> str:
    guid = _find(machine, arguments[0])["guid"]
    default = machine.state["wsl"]["default_distribution"]
    machine.change("set the default distro", lambda: default.update({machine.account: guid}))
    return text("done", machine.state["language"])


def _set_version(machine: Machine, arguments: list[str]) -> str:
    distribution = _find(machine, arguments[0])
    if arguments[1] == "2":
        _vm(machine, "Wsl/Service/ConvertDistro")
    machine.change(f"convert {arguments[0]}", lambda: distribution.update(version=int(arguments[1])))
    return text("done", machine.state["language"])


def _terminate(machine: Machine, arguments: list[str]) -> str:
    distribution = _find(machine, arguments[0])
    machine.change(f"terminate {arguments[0]}", lambda: _stop(machine, distribution))
    return text("done", machine.state["language"])


def _shutdown(machine: Machine, arguments: list[str]) -> str:
    def do() -> None:
        for distribution in machine.distributions():
            _stop(machine, distribution)
        machine.state["wsl"]["vm"] = None

    machine.change("shut WSL down", do)
    return ""


def _stop(machine: Machine, distribution: dict[str, Any]) -> None:
    """Stop a distro, with all that runs in it: its /etc/wsl.conf counts from its next start on (Microsoft)."""
    distribution["running"] = False
    container, users = distribution["container"], distribution["users"]
    conf = distribution["files"].get("/etc/wsl.conf", "")
    if container:
        conf = docker("exec", container, "cat", "/etc/wsl.conf")
    match = re.search(r"(?ms)^\[user\][^\[]*?^default\s*=\s*(\S+)", conf)
    if match:
        uid = docker("exec", container, "id", "-u", match[1]) if container else users.get(match[1], "")
        distribution["default_uid"] = int(uid) if uid != "" else distribution["default_uid"]
    if container:
        docker("kill", container)


def _unregister(machine: Machine, arguments: list[str]) -> str:
    found = _find(machine, arguments[0], unfinished=True)
    own = machine.state["wsl"]["distributions"][machine.account]

    def do() -> None:
        own.remove(found)
        machine.remove(f"{found['path']}\\ext4.vhdx")

    machine.change(f"unregister {arguments[0]}", do)
    return text("done", machine.state["language"])


def _manage(machine: Machine, arguments: list[str]) -> str:
    options = _options(arguments, {"--set-default-user": 1})
    distribution = _find(machine, options[""])
    user = options["--set-default-user"]
    if user not in distribution["users"]:
        raise Fails("Wsl/Service/E_INVALIDARG")
    uid = distribution["users"][user]
    machine.change(f"set the default user {user}", lambda: distribution.update(default_uid=uid))
    return text("done", machine.state["language"])


def _list(machine: Machine, arguments: list[str]) -> str:
    if "--online" in arguments or "-o" in arguments:
        return "NAME  FRIENDLY NAME\n" + "".join(f"{name}  {name}\n" for name in ONLINE)
    found = [each for each in machine.distributions() if each["state"] == 1]
    if "--running" in arguments:
        found = [each for each in found if each["running"]]
    if not found:
        raise Fails("Wsl/WSL_E_DEFAULT_DISTRO_NOT_FOUND")
    if "--verbose" in arguments or "-v" in arguments:
        rows = [(each["name"], "Running" if each["running"] else "Stopped", each["version"]) for each in found]
        return "  NAME  STATE  VERSION\n" + "".join(f"* {name}  {state}  {version}\n" for name, state, version in rows)
    return "".join(f"{each['name']}\n" for each in found)


def _status(machine: Machine, arguments: list[str]) -> str:
    """``--status``: 0 even without the virtual machine platform."""
    return f"2\n{text('done', machine.state['language'])}"


def _version(machine: Machine, arguments: list[str]) -> str:
    wsl = machine.state["wsl"]
    return f"WSL: {(wsl['msi'] or wsl['store'])['version']}\n"


VERBS: dict[str, Callable[[Machine, list[str]], str]] = {
    "--install": _install,
    "--import": _import,
    "--update": _update,
    "--set-default-version": _set_default_version,
    "--set-default": _set_default,
    "-s": _set_default,
    "--set-version": _set_version,
    "--terminate": _terminate,
    "-t": _terminate,
    "--shutdown": _shutdown,
    "--unregister": _unregister,
    "--manage": _manage,
    "--list": _list,
    "-l": _list,
    "--status": _status,
    "--version": _version,
    "-v": _version,
}


def _options(arguments: list[str], valued: dict[str, int], *flags: str) -> dict[str, str]:
    """Return options with their values; positional arguments under "", "1", "2"."""
    found: dict[str, str] = {}
    rest = iter(arguments)
    for argument in rest:
        if argument in valued:
            found[argument] = next(rest, "")
        elif argument in flags:
            found[argument] = "yes"
        elif argument.startswith("-"):
            raise Fails("Wsl/E_INVALIDARG")
        else:
            found[str(sum(not key.startswith("-") for key in found) or "")] = argument
    return found


# --- A program in a distro --------------------------------------------------------------------------------------------


def _launch(machine: Machine, rest: str) -> Printed | Launch:
    """Find what is to be run by ``[-d NAME] [-u USER] [--cd FOLDER] (--exec PROGRAM ARGUMENT… | [--] COMMAND)``.

    After ``--exec``, the rest is split as Windows splits it; after ``--``, it is handed to the user's shell **as it
    stands** (WSL's source).
    """
    name = user = folder = ""
    executes = False
    while True:
        first, after = word(rest)
        if first in ("-d", "--distribution"):
            name, rest = word(after)
        elif first in ("-u", "--user"):
            user, rest = word(after)
        elif first == "--cd":
            folder, rest = word(after)
        elif first in ("-e", "--exec"):
            executes, rest = True, after
            break
        elif first == "--":
            rest = after
            break
        elif first.startswith("-"):
            raise Fails("Wsl/E_INVALIDARG")
        else:
            break
    if name:
        distribution = _find(machine, name)
    else:
        default = machine.state["wsl"]["default_distribution"].get(machine.account)
        found = [each for each in machine.distributions() if each["guid"] == default]
        if not found:
            raise Fails("Wsl/WSL_E_DEFAULT_DISTRO_NOT_FOUND")
        distribution = found[0]
    if not user:
        user = next((who for who, uid in distribution["users"].items() if uid == distribution["default_uid"]), "root")
    _start(machine, distribution)
    if distribution["container"]:
        command = to_argv(rest) if executes else rest
        return Launch(distribution["container"], user, folder, command, Printed(FAILED))
    if user not in distribution["users"]:
        raise Fails("Wsl/Service/WSL_E_USER_NOT_FOUND")
    from lab.windows import paper

    return paper.run(machine, distribution, user, to_argv(rest) if executes else ["sh", "-c", rest])
