# SPDX-License-Identifier: GPL-3.0-or-later
"""What Docker Desktop needs on a Windows PC, decided over what the PC has answered. Pure."""

from __future__ import annotations

import json
import re
from typing import Any

LEAST_BUILD = 22631
"""Windows 11 23H2, the oldest that Docker Desktop supports."""

LEAST_WSL = (2, 1, 5)
"""The oldest WSL that Docker Desktop supports."""

BYTE_ORDER_MARK = "\ufeff"
"""How many programs of Windows begin a file, and what Docker Desktop takes for broken JSON."""

EXIT_CODES = {
    3: "another version is installed already, or half of one. Uninstall it in Windows' Settings under Apps, which "
    "removes its containers and volumes as well, and run again",
    -5: "it was not run by an administrator. Connect as one, and run again",
}
RESTART = (1641, 3010)
"""How installers say that they succeeded and that Windows has to restart (Microsoft)."""

LOG = "C:\\ProgramData\\DockerDesktop\\install-log-admin.txt"


class NotJson(ValueError):
    """The settings are not a JSON object."""


def docker_desktop_plan(state: dict[str, Any], wanted: dict[str, Any]) -> dict[str, Any]:
    """Decide what has to be done for Docker Desktop.

    :param state: what the role wsl has registered as ``windows_state.result``.
    :param wanted: ``accept_license``, ``distribution``, ``installer``, ``autostart``, ``settings`` and
        ``remove_engine``.
    :returns: ``act``, whether anything has to be done or refused; ``refused``, why nothing can be, empty where it can;
        ``steps``, each with ``do`` and ``reason``, and ``reason``, those of all; ``install`` and ``start``, whether it
        has to be; ``settings``, the text that settings-store.json has to have, None where it has it.
    """
    desktop = state["docker_desktop"]
    there = bool(desktop and desktop["version"] and desktop["program"])
    steps = []
    if not desktop:
        steps.append({"do": "install Docker Desktop", "reason": "it is not installed"})
    elif not there:
        steps.append({"do": "install Docker Desktop anew", "reason": "an installation of it was cut off"})
    settings, broken = None, ""
    try:
        settings = merged((desktop or {}).get("settings"), wanted)
    except NotJson as error:
        broken = str(error)
    if settings is not None:
        running = there and desktop["running"]
        reason = f"{wanted['distribution']} and what else is wanted do not stand in its settings"
        steps.append({"do": "stop it and set it" if running else "set it", "reason": reason})
    start = not there or settings is not None or not desktop["running"]
    if start:
        steps.append({"do": "start it", "reason": "it does not run" if not there or not desktop["running"] else "then"})
    if wanted["remove_engine"]:
        steps.append({"do": "remove an Engine from the distribution", "reason": "docker_desktop_remove_engine says so"})
    refused = [*_never(wanted), *(_not_here(state, wanted, not there) if steps else []), *([broken] if broken else [])]
    return {
        "act": bool(steps or refused),
        "refused": "\n".join(refused),
        "steps": steps,
        "reason": ", ".join(step["reason"] for step in steps if step["reason"] != "then"),
        "install": not there,
        "settings": settings,
        "start": start,
    }


def merged(text: str | None, wanted: dict[str, Any]) -> str | None:
    """Return settings-store.json with what is wanted merged into it, None where all of it is there.

    Integrated distributions are added to those that are there; everything else stays.

    :raises NotJson: what is there is not a JSON object.
    """
    plain = (text or "").lstrip(BYTE_ORDER_MARK)
    try:
        before = json.loads(plain) if plain.strip() else {}
    except ValueError as error:
        raise NotJson(f"Docker Desktop's settings-store.json is not JSON: {error}. {_MEND}") from None
    if not isinstance(before, dict):
        raise NotJson(f"Docker Desktop's settings-store.json is not a JSON object. {_MEND}")
    after = dict(before)
    integrated = list(before.get("IntegratedWslDistros") or [])
    if wanted["distribution"].lower() not in [name.lower() for name in integrated]:
        after["IntegratedWslDistros"] = [*integrated, wanted["distribution"]]
    # It leaves out what is off.
    if bool(before.get("AutoStart")) != wanted["autostart"]:
        after["AutoStart"] = wanted["autostart"]
    after.update(wanted["settings"])
    if after == before and plain == (text or ""):
        return None
    return json.dumps(after, indent=2, ensure_ascii=False) + "\n"


_MEND = "Mend it, or move it away and lose what is set there; nothing was changed."


def _never(wanted: dict[str, Any]) -> list[str]:
    """Return what is wrong with the wishes themselves."""
    refused = []
    if not wanted["accept_license"]:
        refused.append(
            "Docker Desktop needs your word on its licence: it is free of charge for persons, for schools, and for "
            "companies of fewer than 250 people and less than 10 million dollars of revenue a year; all others need a "
            "paid subscription. Set docker_desktop_accept_license: true once that is settled, or "
            "docker_desktop_wanted: false for a free Engine in the distribution."
        )
    installer = wanted["installer"]
    if installer and bool(installer.get("url")) == bool(installer.get("path")):
        refused.append("docker_desktop_installer takes url and checksum, or path, and one of the two alone.")
    elif installer.get("url") and not re.fullmatch("[0-9a-fA-F]{64}", installer.get("checksum") or ""):
        refused.append("docker_desktop_installer has a url and needs its checksum, a sha256 of 64 hexadecimal digits.")
    return refused


def _not_here(state: dict[str, Any], wanted: dict[str, Any], install: bool) -> list[str]:
    """Return what stands in the way on this PC."""
    system, name = state["system"], wanted["distribution"]
    refused = []
    if system["product_type"] != 1:
        refused.append(f"Docker Desktop does not run on {system['caption']}. Use the Engine in the distribution.")
    elif system["build"] < LEAST_BUILD:
        refused.append(
            f"Docker Desktop needs Windows 11 23H2 (build {LEAST_BUILD}), and this is build {system['build']}. Update "
            "Windows."
        )
    package = state["wsl"]["msi"] or state["wsl"]["store"]
    if not package or version(package["version"]) < LEAST_WSL:
        has = f"this PC has {package['version']}" if package else "this PC has none"
        refused.append(f"Docker Desktop needs WSL 2.1.5 or newer, and {has}. The role wsl brings it.")
    found = {each["name"].lower(): each for each in state["wsl"]["distributions"]}.get(name.lower())
    if not found:
        refused.append(f"There is no distribution {name} for Docker Desktop's integration. The role wsl brings it.")
    elif found["version"] != 2:
        refused.append(f"{name} is a distribution of WSL 1. Convert it with 'wsl --set-version {name} 2'.")
    if (state["console_user"] or "").lower() != state["user"]["name"].lower():
        there = f"{state['console_user']} is" if state["console_user"] else "nobody is"
        refused.append(
            f"Docker Desktop runs only while its person is logged on, and {there} logged on at the screen. Log on as "
            f"{state['user']['name']} there, and run again."
        )
    if install and not state["user"]["elevated"]:
        refused.append(f"Installing Docker Desktop needs an administrator, which {state['user']['name']} is not here.")
    return refused


def version(text: str) -> tuple[int, ...]:
    """Return a version as numbers: ``2.6.3.0`` is ``(2, 6, 3, 0)``."""
    return tuple(int(part) for part in re.findall(r"\d+", text))


def exit_meaning(code: int, where: str = LOG) -> str:
    """Return what an exit code of Docker Desktop's installer means and what to do, empty for one of success.

    :param code: as Windows gives it, where -5 may be 4294967291.
    """
    code = code - 2**32 if code >= 2**31 else code
    if code in (0, *RESTART):
        return ""
    known = EXIT_CODES.get(code)
    if known:
        return f"Docker Desktop's installer ended with {code}: {known}."
    return f"Docker Desktop's installer ended with {code}. Its log says why: {where}. Then run again: it carries on."


def packages(said: str) -> list[str]:
    """Return the packages that ``dpkg-query --search`` has named, without what is no package."""
    found = re.findall(r"^([a-z0-9][a-z0-9+.-]*)(?::\w+)?: /", said, re.MULTILINE)
    return sorted(set(found))


def misfit(stat: dict[str, Any], installer: dict[str, Any], path: str) -> str:
    """Return why a file cannot be the installer that is wanted, empty where it is.

    :param stat: what win_stat says of it, with its sha256.
    """
    if not stat.get("exists"):
        return f"There is no installer {path or 'in the folder of downloads'} on the PC. Bring it there, and run again."
    wanted, found = (installer.get("checksum") or "").lower(), (stat.get("checksum") or "").lower()
    if wanted and wanted != found:
        return (
            f"{path} has the sha256 {found}, and docker_desktop_installer.checksum says {wanted}. Bring the right file "
            "or mend the checksum; nothing was run."
        )
    return ""
