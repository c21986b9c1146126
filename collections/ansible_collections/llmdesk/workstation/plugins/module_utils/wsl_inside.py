# SPDX-License-Identifier: GPL-3.0-or-later
"""What a desk in WSL needs of Windows and cannot do from inside: said as one block of PowerShell to paste. Pure."""

from __future__ import annotations

import re
from typing import Any

from ansible_collections.llmdesk.workstation.plugins.module_utils.wslconfig import merged, setting

TIMEOUTS = (("wsl2", "vmIdleTimeout"), ("general", "instanceIdleTimeout"))
"""The time-outs of ``.wslconfig`` after which WSL ends what nobody looks at: the machine, and a distribution (s)."""

_PROFILE = re.compile(r"(/mnt/[a-z]/Users/[^/:]+)/AppData/")
_PATH_OF_WINDOWS = re.compile(r"^/mnt/([a-z])(/.*)?$")


def version(kernel: str) -> int:
    """Return the version of WSL: 1 has a kernel of its own, ``4.4.0-19041-Microsoft``, whatever Windows' build is."""
    return 1 if re.match(r"4\.4\.0-\d+-Microsoft$", kernel) else 2


def inherited(environment: str) -> dict[str, str | None]:
    """Return what WSL has told a process it started.

    :param environment: of the process, as ``/proc`` has it.
    :returns: ``distribution``, its name, and ``profile``, the Windows user's folder as it is mounted here; None for
        what is not told.
    """
    variables = dict(entry.partition("=")[::2] for entry in environment.split("\0"))
    profile = _PROFILE.search(variables.get("PATH", ""))
    return {
        "distribution": variables.get("WSL_DISTRO_NAME") or None,
        "profile": profile.group(1) if profile else None,
    }


def sleeps_on(command_lines: list[str]) -> bool:
    """Return whether a process is there that keeps the distribution running, as the scheduled task starts it."""
    return any(line.rstrip("\0").split("\0") == ["sleep", "infinity"] for line in command_lines)


def by_hand(desk: dict[str, Any]) -> dict[str, Any] | None:
    """Return what has to be done in Windows by a person.

    :param desk: the desk facts.
    :returns: ``missing``, a sentence each, and ``block``, PowerShell to paste; None where nothing is missing as far as
        it can be seen from inside, or where this is not WSL.
    """
    wsl = desk.get("wsl")
    if not wsl:
        return None
    if wsl["version"] == 1:
        return _convert(_name(wsl))
    missing: list[str] = []
    lines: list[str] = []
    unset = [(section, key) for section, key in TIMEOUTS if setting(wsl["wslconfig"], section, key) is None]
    if unset:
        named = " and ".join(key for _section, key in unset)
        seen = "" if wsl["profile"] else ", as far as can be seen from here,"
        missing.append(f"Windows' .wslconfig{seen} sets no {named}: WSL ends the desk while nobody looks at it.")
        lines += _timeouts(wsl, unset)
    if not wsl["kept_awake"]:
        missing.append("Nothing starts the distribution with Windows, and keeps it running.")
        lines += _keep_alive(_name(wsl))
    if unset:
        lines += ["# WSL reads its settings when it starts. The page is gone for that moment.", "wsl --shutdown"]
    if lines and not wsl["kept_awake"]:
        lines.append("Start-ScheduledTask -TaskPath '\\llmdesk\\' -TaskName $name")
    return {"missing": missing, "block": _block(lines)} if missing else None


def refusal(desk: dict[str, Any]) -> str:
    """Return why nothing can be done in this WSL, with what to paste; empty where it can."""
    if (desk.get("wsl") or {}).get("version", 2) != 1:
        return ""
    found = _convert(_name(desk["wsl"]))
    return f"{found['missing'][0]}\n{found['block']}"


def _name(wsl: dict[str, Any]) -> str:
    return wsl["distribution"] or "Ubuntu-24.04"


def _convert(name: str) -> dict[str, Any]:
    lines = [
        "Enable-WindowsOptionalFeature -Online -FeatureName VirtualMachinePlatform -All -NoRestart",
        "wsl --update",
        "# Restart Windows here, if it asks for that; then paste the last line again. It takes some minutes.",
        f"wsl --set-version {_quoted(name)} 2",
    ]
    return {
        "missing": ["This distribution is of WSL 1, in which no Docker runs. Convert it; everything in it stays."],
        "block": _block(lines),
    }


def _timeouts(wsl: dict[str, Any], unset: list[tuple[str, str]]) -> list[str]:
    wanted: dict[str, dict[str, Any]] = {section: {key: -1} for section, key in unset}
    text = merged(wsl["wslconfig"], wanted).replace("\r\n", "\n")
    # In a text between these marks nothing is special, but for the mark at the end.
    if wsl["profile"] and "'@" not in text:
        return [f"[IO.File]::WriteAllText(\"$env:USERPROFILE\\.wslconfig\", @'\n{text}'@)"]
    told = " ".join(f"[{section}] {key}=-1" for section, key in unset)
    return [f"# Put into the file that opens, each under its heading: {told}", 'notepad "$env:USERPROFILE\\.wslconfig"']


def _keep_alive(name: str) -> list[str]:
    return [
        f"$name = {_quoted('keep-alive-' + name)}",
        f"$do = New-ScheduledTaskAction -Execute \"$env:ProgramFiles\\WSL\\wsl.exe\" -Argument '{_argument(name)}'",
        '$me = "$env:USERDOMAIN\\$env:USERNAME"',
        "$as = New-ScheduledTaskPrincipal -UserId $me -LogonType S4U",
        "$on = @((New-ScheduledTaskTrigger -AtStartup), (New-ScheduledTaskTrigger -AtLogOn -User $me))",
        "$how = New-ScheduledTaskSettingsSet -ExecutionTimeLimit ([TimeSpan]::Zero) -AllowStartIfOnBatteries "
        "-DontStopIfGoingOnBatteries",
        "Register-ScheduledTask -TaskPath '\\llmdesk\\' -TaskName $name -Action $do -Principal $as -Trigger $on "
        "-Settings $how -Force",
    ]


def _argument(name: str) -> str:
    return f"--distribution {name} --exec sleep infinity".replace("'", "''")


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _block(lines: list[str]) -> str:
    return "\n".join(["# PowerShell, started as administrator by the person whose WSL this is", *lines])
