"""What the modules of ansible.windows and community.windows do to the PC, as their documentation and .ps1 say."""

from __future__ import annotations

import base64
import fnmatch
import hashlib
import re
from collections.abc import Callable
from typing import Any

from lab.windows import scripts, wsl
from lab.windows.machine import SYSTEM, Machine

Arguments = dict[str, Any]
Result = dict[str, Any]

REBOOT_REQUIRED = 3010
MISSING = "The system cannot find the file specified"


class Failed(Exception):
    """The module fails.

    :param message: its message.
    :param result: what else it returns.
    """

    def __init__(self, message: str, **result: Any) -> None:
        super().__init__(message)
        self.result = {**result, "failed": True, "msg": message}


def run(machine: Machine, module: str, arguments: Arguments, environment: dict[str, str]) -> Result:
    """Run a module.

    :param module: its name without the collection.
    :param arguments: its options, checked and with defaults.
    :param environment: of the task.
    :returns: its result; ``diff`` is in it whether it was asked for or not.
    :raises Unreachable: the power has failed.
    """
    machine.state["modules"].append(module)
    try:
        if module == "win_command":
            return _command(machine, arguments, environment)
        return MODULES[module](machine, arguments)
    except Failed as failure:
        return failure.result


def win_ping(machine: Machine, arguments: Arguments) -> Result:
    return {"changed": False, "ping": arguments["data"]}


def win_optional_feature(machine: Machine, arguments: Arguments) -> Result:
    """No restart is asked for when nothing changes, even where one is due: "EnablePending" counts as there."""
    features, wanted = machine.state["features"], arguments["state"]
    for name in arguments["name"]:
        if name not in features:
            raise Failed(f"Failed to find feature '{name}'")
    if not machine.state["accounts"][machine.account]["elevated"]:
        raise Failed("The requested operation requires elevation.")
    begins, becomes = ("Enable", "EnablePending") if wanted == "present" else ("Disable", "DisablePending")
    changed = [name for name in arguments["name"] if not features[name].startswith(begins)]
    if not changed:
        return {"changed": False, "reboot_required": False}
    if machine.check:
        return {"changed": True, "reboot_required": False}
    machine.change(f"{wanted}: {', '.join(changed)}", lambda: features.update(dict.fromkeys(changed, becomes)))
    return {"changed": True, "reboot_required": True}


def win_package(machine: Machine, arguments: Arguments) -> Result:
    """Here, a package is WSL's .msi or Docker Desktop's installer: a file whose text says which, and what version."""
    path, wanted = arguments["path"], arguments["state"]
    if wanted == "present" and not path:
        raise Failed("state is present but all of the following are missing: path")
    url = bool(path) and path.lower().startswith("http")
    text = scripts.download(machine, path) if url else machine.read(path) if path else None
    if path and text is None and not (machine.check and not url):
        raise Failed(f"Error downloading '{path}'" if url else f"the file at the path '{path}' cannot be reached")
    kind, _, version = (text or "").partition(" ")
    creates = arguments["creates_path"]
    installed = machine.find(creates) is not None if creates else scripts.installed(machine, kind, version)
    product = arguments["product_id"]
    if product and kind == "wsl":
        installed = installed or (machine.state["wsl"]["msi"] or {}).get("product_id") == product
    changed = (wanted == "present") != installed
    result: Result = {"changed": changed, "reboot_required": False, "rc": 0}
    if not changed or machine.check:
        return result
    algorithm, checksum = arguments["checksum_algorithm"], arguments["checksum"]
    found = digest(text or "", algorithm)
    result["checksum"] = found.upper()
    if checksum and checksum.lower() != found:
        raise Failed(f"The checksum for {path} did not match '{checksum}', it was '{found.upper()}'", **result)
    if kind == "wsl" and not machine.state["accounts"][machine.account]["elevated"]:
        raise Failed("unexpected rc from 'msiexec.exe': see rc, stdout, and stderr for more details", rc=1925)
    rc = scripts.install(machine, kind, version, wanted, _words(arguments["arguments"]))
    result.update(rc=rc, reboot_required=rc == REBOOT_REQUIRED)
    if rc not in arguments["expected_return_code"]:
        raise Failed(f"unexpected rc from '{path}': see rc, stdout, and stderr for more details", **result)
    return result


def _words(arguments: Any) -> list[str]:
    if isinstance(arguments, list):
        return [str(each) for each in arguments]
    return wsl.to_argv(arguments or "")


def win_get_url(machine: Machine, arguments: Arguments) -> Result:
    url, dest, algorithm = arguments["url"], machine.expand(arguments["dest"]), arguments["checksum_algorithm"]
    if dest.endswith("\\"):
        raise Failed(f"The destination path '{dest}' does not exist, or is not visible to the current user.")
    if not machine.find(dest.rpartition("\\")[0]):
        raise Failed(f"Error downloading '{url}' to '{dest}': Could not find a part of the path '{dest}'.")
    checksum = (arguments["checksum"] or "").strip().lower()
    present = machine.read(dest)
    result: Result = {"changed": False, "dest": dest, "url": url, "elapsed": 0.0, "msg": "OK", "status_code": 200}
    if present is not None and checksum and digest(present, algorithm) == checksum and not arguments["force"]:
        return {**result, "checksum_dest": checksum, "size": len(present)}
    text = scripts.download(machine, url)
    if text is None:
        reason = "(404) Not Found." if machine.state["internet"] else "The remote name could not be resolved"
        status = 404 if machine.state["internet"] else None
        raise Failed(f"Error downloading '{url}' to '{dest}': {reason}", **{**result, "status_code": status})
    found = digest(text, algorithm)
    result["checksum_src"] = found
    if checksum and checksum != found:
        raise Failed(f"The checksum for {url} did not match '{checksum}', it was '{found}'", **result)
    if present == text:
        return {**result, "checksum_dest": found, "size": len(text)}
    if not machine.check:
        machine.change(f"download {dest}", lambda: machine.write(dest, text))
    return {**result, "changed": True, "checksum_dest": found, "size": len(text)}


def win_copy(machine: Machine, arguments: Arguments) -> Result:
    """One file, whose text the action plugin has read; a folder is not copied here."""
    dest, text = machine.expand(arguments["dest"]), arguments["content"]
    if arguments["remote_src"]:
        text = machine.read(arguments["src"])
        if text is None:
            raise Failed(f"Cannot copy src file: '{arguments['src']}' as it does not exist")
    if dest.endswith("\\"):
        dest += arguments["basename"]
    present = machine.read(dest)
    if present is None and machine.find(dest):
        raise Failed(f"cannot copy file to '{dest}': dest is already a folder")
    result: Result = {"dest": dest, "checksum": digest(text, "sha1"), "operation": "file_copy", "changed": False}
    if present == text or (present is not None and not arguments["force"]):
        return result
    if not machine.check:
        if arguments["backup"] and present is not None:
            result["backup_file"] = f"{dest}.1.20260101-000000.bak"
            machine.write(result["backup_file"], present)
        # The file that is there goes before the other comes: its .ps1.
        machine.change(f"write {dest}", lambda: machine.write(dest, text), half=lambda: machine.remove(dest))
    prepared = (f"-{dest}\n" if present is not None else "") + f"+{dest}\n"
    return {**result, "changed": True, "size": len(text.encode()), "diff": {"prepared": prepared}}


def win_environment(machine: Machine, arguments: Arguments) -> Result:
    """The account's own variables, one at a time; those of the whole PC are not kept here."""
    name, value = arguments["name"], arguments["value"]
    if arguments["level"] != "user" or not name:
        raise Failed("the lab keeps variables of the level user, by name")
    if arguments["state"] == "present" and not value:
        raise Failed("When state=present, value must be defined and not an empty string, if you wish to remove")
    before = machine.environment.get(name)
    after = value if arguments["state"] == "present" else None
    if before != after and not machine.check:
        kept = {key: each for key, each in {**machine.environment, name: after}.items() if each is not None}
        machine.change(f"set {name}", lambda: machine.state["environment"].update({machine.account: kept}))
    return {"changed": before != after, "before_value": before, "value": after}


def win_file(machine: Machine, arguments: Arguments) -> Result:
    path, wanted = machine.expand(arguments["path"]), arguments["state"]
    there, text = machine.find(path), machine.read(path)
    if wanted == "absent":
        if there and not machine.check:
            machine.change(f"remove {path}", lambda: machine.remove(path))
        return {"changed": bool(there)}
    if wanted == "directory" and text is not None:
        raise Failed(f"path {path} is not a directory")
    if wanted == "file" and not there:
        raise Failed(f"path {path} will not be created")
    if there or wanted not in ("directory", "touch"):
        return {"changed": False}
    if not machine.check:
        machine.change(f"make {path}", lambda: machine.write(path, None if wanted == "directory" else ""))
    return {"changed": True}


def win_stat(machine: Machine, arguments: Arguments) -> Result:
    path = machine.expand(arguments["path"])
    there, text = machine.find(path), machine.read(path)
    if not there:
        return {"changed": False, "stat": {"exists": False}}
    stat: Result = {"exists": True, "path": there, "isdir": text is None, "isreg": text is not None}
    if text is not None:
        stat["size"] = len(text.encode())
        if arguments["get_checksum"]:
            stat["checksum"] = digest(text, arguments["checksum_algorithm"])
    return {"changed": False, "stat": stat}


def slurp(machine: Machine, arguments: Arguments) -> Result:
    text = machine.read(arguments["src"])
    if text is None:
        raise Failed(f"Path {arguments['src']} is not found")
    return {"changed": False, "content": base64.b64encode(text.encode()).decode(), "encoding": "base64"}


def win_wait_for(machine: Machine, arguments: Arguments) -> Result:
    """Nothing is waited for: what is not so yet will not be."""
    port, path, wanted = arguments["port"], arguments["path"], arguments["state"]
    if path is not None:
        met = (machine.find(path) is not None) == (wanted in ("present", "started"))
        what = f"{path} to be {wanted}"
    elif port is not None:
        met = (str(port) in machine.state["network"]["owners"]) == (wanted in ("present", "started"))
        what = f"{arguments['host']}:{port} to start listening"
    else:
        return {"changed": False, "elapsed": float(arguments["timeout"]), "wait_attempts": 0}
    if not met:
        raise Failed(f"timeout while waiting for {what}", elapsed=float(arguments["timeout"]), wait_attempts=1)
    return {"changed": False, "elapsed": 0.0, "wait_attempts": 1}


def win_scheduled_task(machine: Machine, arguments: Arguments) -> Result:
    tasks, name = machine.state["tasks"], arguments["name"]
    folder = "\\" + arguments["path"].strip("\\")
    path = f"{folder.rstrip(chr(92))}\\{name}"
    present = tasks.get(path)
    if arguments["state"] == "absent":
        if present and not machine.check:
            machine.change(f"remove the task {path}", lambda: tasks.pop(path))
        return {"changed": bool(present), "diff": {"prepared": f"-[Task]\n-{path}" if present else ""}}
    if not present and not arguments["actions"]:
        raise Failed("at least one action must be set when creating a new task")
    if arguments["username"] and arguments["group"]:
        raise Failed("username and group can not be set at the same time")
    user = arguments["username"] or (present or {}).get("username") or machine.account
    if "\\" not in user:
        user = next((each for each in machine.state["accounts"] if each.rpartition("\\")[2] == user), user)
    if user not in machine.state["accounts"]:
        raise Failed(f"failed to find the user '{user}'")
    if arguments["logon_type"] == "password" and not arguments["password"] and user != SYSTEM:
        raise Failed("password must be set when logon_type=password")
    if arguments["logon_type"] == "s4u" and arguments["password"] is None:
        raise Failed("password must be set when logon_type=s4u")  # Whatever its documentation's example says.
    given = {key: _known(value) for key, value in arguments.items() if value is not None and key not in _NOT_KEPT}
    wanted = {**(present or {"triggers": []}), **given, "username": user}
    # A password cannot be compared: with update_password, which is the default, it is a change at every run.
    changed = wanted != present or (bool(arguments["password"]) and arguments["update_password"])
    if changed and not machine.check:
        machine.change(f"register the task {path}", lambda: tasks.update({path: wanted}))
    return {"changed": changed, "diff": {"prepared": f"+[Task]\n+{path}" if changed else ""}}


_NOT_KEPT = ("name", "path", "state", "password", "update_password", "username")


def _known(value: Any) -> Any:
    """Return a value without the options in it that were not given."""
    if isinstance(value, list):
        return [_known(each) for each in value]
    if isinstance(value, dict):
        return {key: each for key, each in value.items() if each is not None}
    return value


def win_firewall_rule(machine: Machine, arguments: Arguments) -> Result:
    rules, name = machine.state["network"]["firewall_rules"], arguments["name"]
    if not name and not arguments["group"]:
        raise Failed("Either name or group must be specified")
    present = rules.get(name)
    if arguments["state"] == "absent":
        if present and not machine.check:
            machine.change(f"remove the rule {name}", lambda: rules.pop(name))
        said = f"Firewall rule(s) '{name}' removed." if present else f"Firewall rule '{name}' does not exist."
        return {"changed": bool(present), "msg": said, "diff": {"prepared": f"-[{name}]\n" if present else ""}}
    given = {key: value for key, value in arguments.items() if value is not None and key not in ("name", "state")}
    wanted = {**(present or {}), **given}
    changed = wanted != present
    if changed and not machine.check:
        machine.change(f"write the rule {name}", lambda: rules.update({name: wanted}))
    return {"changed": changed, "diff": {"prepared": f"+[{name}]\n" if changed else ""}}


def win_powershell(machine: Machine, arguments: Arguments) -> Result:
    """No PowerShell runs: the script is one of ours, and what it does is written down in lab.windows.scripts.

    What its text says about check mode and about changes counts as it does for the real module, and so does ``depth``.
    """
    script = arguments["script"]
    if script is None:
        raise Failed("the lab runs scripts of the roles only, which have to be given by path or script")
    name = scripts.name(script)
    for path, skip in ((arguments["creates"], True), (arguments["removes"], False)):
        if path and (machine.find(path) is not None) == skip:
            return {"changed": False, "msg": f"skipped, since {path} {'exists' if skip else 'does not exist'}"}
    given = arguments["parameters"] or {}
    declared = scripts.parameters(script)
    for key in given:
        if key.casefold() not in declared:
            raise Failed(f"A parameter cannot be found that matches parameter name '{key}'.")
    if machine.check and not re.search(r"CmdletBinding\([^)]*SupportsShouldProcess", script, re.IGNORECASE):
        return {"changed": True, "msg": "skipped, running in check mode"}
    before = len(machine.state["operations"])
    answer = scripts.SCRIPTS[name](machine, {key.casefold(): value for key, value in given.items()})
    # It has changed something, unless it says the contrary.
    changed = "$Ansible.Changed" not in script or len(machine.state["operations"]) > before or answer.changed
    empty: Result = {key: [] for key in ("output", "error", "warning", "verbose", "debug", "information")}
    return {
        **empty,
        "host_out": "",
        "host_err": "",
        "changed": changed,
        "result": flattened(answer.result, arguments["depth"]),
        **({"failed": True, "msg": answer.failed} if answer.failed else {}),
    }


def flattened(value: Any, depth: int) -> Any:
    """Return what is left of a value below the depth: the names of .NET's types."""
    if isinstance(value, dict):
        if depth < 0:
            return "System.Collections.Hashtable"
        return {key: flattened(each, depth - 1) for key, each in value.items()}
    if isinstance(value, list):
        if depth < 0:
            return "System.Object[]" if any(isinstance(each, (dict, list)) for each in value) else " ".join(value)
        return [flattened(each, depth - 1) for each in value]
    return value


def _command(machine: Machine, arguments: Arguments, environment: dict[str, str]) -> Result:
    """win_command: what it starts is wsl.exe, or one of the programs in lab.windows.scripts."""
    given = [key for key in ("argv", "cmd", "_raw_params") if arguments.get(key)]
    if len(given) != 1:
        raise Failed("one of the following is required: _raw_params, argv, cmd")
    if given == ["argv"]:
        line = " ".join(_escaped(str(each)) for each in arguments["argv"])
    else:
        line = arguments[given[0]].strip()
    result: Result = {"changed": False, "cmd": line, "rc": 0}
    for path, skip in ((arguments["creates"], True), (arguments["removes"], False)):
        if path and (machine.find(path) is not None) == skip:
            return {**result, "skipped": True, "msg": f"skipped, since {path} {'exists' if skip else 'does not exist'}"}
    path, rest = wsl.word(line)
    if path.casefold().endswith(("wsl.exe", "wsl")):
        kind = wsl.program(machine, path)
        if kind is None:
            raise Failed(f"Failed to run: '{line}': {MISSING}", **{**result, "rc": 2})
        printed = wsl.run(machine, line, environment)
    else:
        program = next(
            (each for name, each in scripts.PROGRAMS.items() if fnmatch.fnmatch(path.casefold(), name)), None
        )
        if program is None or (":" in path and not machine.find(path) and "system32" not in path.casefold()):
            raise Failed(f"Failed to run: '{line}': {MISSING}", **{**result, "rc": 2})
        rc, said = program(machine, wsl.to_argv(rest), machine.read(path) or "")
        printed = wsl.Printed(rc, said.encode())
    encoding = arguments["output_encoding_override"] or "utf-8"
    encoding = {"unicode": "utf-16-le", "utf-16": "utf-16-le"}.get(encoding.lower(), encoding)
    result.update(changed=True, rc=printed.rc)
    for stream in ("stdout", "stderr"):
        said = getattr(printed, stream).decode(encoding, errors="replace")
        result[stream] = said
        result[f"{stream}_lines"] = said.splitlines()
    if printed.rc:
        raise Failed("non-zero return code", **result)
    return result


def _escaped(argument: str) -> str:
    """Return an argument as ConvertTo-EscapedArgument of the module writes it."""
    if argument and not re.search(r'[\s"]', argument):
        return argument
    escaped = re.sub(r'(\\*)"', r'\1\1\\"', argument)
    escaped = re.sub(r"(\\+)$", r"\1\1", escaped)
    return f'"{escaped}"'


def digest(text: str, algorithm: str) -> str:
    """Return the checksum of a file's text."""
    return hashlib.new(algorithm, text.encode()).hexdigest()


MODULES: dict[str, Callable[[Machine, Arguments], Result]] = {
    "slurp": slurp,
    "win_copy": win_copy,
    "win_environment": win_environment,
    "win_file": win_file,
    "win_firewall_rule": win_firewall_rule,
    "win_get_url": win_get_url,
    "win_optional_feature": win_optional_feature,
    "win_package": win_package,
    "win_ping": win_ping,
    "win_powershell": win_powershell,
    "win_scheduled_task": win_scheduled_task,
    "win_stat": win_stat,
    "win_wait_for": win_wait_for,
}
