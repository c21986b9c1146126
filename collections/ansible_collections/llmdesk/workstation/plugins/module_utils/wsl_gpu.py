# SPDX-License-Identifier: GPL-3.0-or-later
"""NVIDIA's card under WSL, seen from both sides: the driver is Windows', and the distro has its libraries alone.

Windows mounts them at ``/usr/lib/wsl/lib`` and ``/usr/lib/wsl/drivers`` when it starts the machine that all distros
share. NVIDIA's guide says of it: "Do not install any Linux display driver in WSL"
(https://docs.nvidia.com/cuda/wsl-user-guide).
"""

from __future__ import annotations

import re
from typing import Any

from ansible_collections.llmdesk.workstation.plugins.module_utils.nvidia_plan import DRIVER

RESTART = "run 'wsl --shutdown' in Windows, which stops every distro, and './llmdesk up' again"
UPDATE = "update NVIDIA's driver in Windows, not in the distro"


def driver_of_windows(version: str) -> str | None:
    """Return NVIDIA's own name of a driver out of the one that Windows gives it: ``32.0.15.6094`` is ``560.94``.

    Of XX.XX.XXXA.AAAA the five A are NVIDIA's, two of them after the point, and zeros in front may be left out. NVIDIA
    documents it nowhere; Chromium reads it so (kVersionSchemaNvidiaDriver in gpu/config/gpu_control_list.h), and
    drivers agree with their own names.

    :param version: ``DriverVersion`` of ``Win32_VideoController``.
    :returns: None where it is none of NVIDIA's.
    """
    found = re.match(r"\d+\.\d+\.0*(\d\d)\.(\d{1,4})$", version.strip())
    if not found:
        return None
    figures = f"{found.group(1)[-1]}{int(found.group(2)):04}"
    return f"{int(figures[:3])}.{figures[3:]}"


def windows_cards(gpus: list[dict[str, Any]] | None) -> list[dict[str, Any]]:
    """Return the graphics cards of Windows, with NVIDIA's own name of the driver where it is NVIDIA's.

    :param gpus: ``gpus`` of the Windows facts: ``name``, ``driver``, and ``memory`` in bytes, 0 where nobody knows it.
    :returns: ``name``, ``driver``, ``memory`` (None where nobody knows it) and ``nvidia``.
    """
    found = []
    for gpu in gpus or []:
        name, driver = str(gpu.get("name") or "unknown"), str(gpu.get("driver") or "")
        nvidia = bool(re.search(r"nvidia|geforce|quadro|tesla", name, re.IGNORECASE))
        found.append(
            {
                "name": name,
                "driver": (nvidia and driver_of_windows(driver)) or driver,
                "memory": gpu.get("memory") or None,
                "nvidia": nvidia,
            }
        )
    return found


def old_driver(card: dict[str, Any]) -> str:
    """Return why a card's driver in Windows is too old for Ollama; empty where it will do or is not known."""
    major = re.match(r"(\d+)\.\d\d$", card["driver"])
    if not card["nvidia"] or not major or int(major.group(1)) >= DRIVER:
        return ""
    return f"{card['name']} has driver {card['driver']} in Windows, and Ollama needs {DRIVER} or newer"


def both_sides(desk: dict[str, Any], gpus: list[dict[str, Any]] | None) -> list[str]:
    """Return a sentence with its remedy for everything in which Windows and its distro do not agree about the card.

    :param desk: the desk facts, of the distro.
    :param gpus: ``gpus`` of the Windows facts; None where nobody asked Windows, as on a desk that is run from inside.
    """
    if not desk.get("wsl"):
        return []
    said = []
    linux = desk["wsl"].get("linux_driver") or []
    if linux:
        said.append(
            f"A Linux driver stands in this distro ({linux[0]}), where none belongs: the driver is Windows'. Remove "
            f"its package ('dpkg -S {linux[0]}' or 'rpm -qf' names it), and {RESTART}."
        )
    cards = [card for card in windows_cards(gpus) if card["nvidia"]]
    inside = [card["driver"] for card in desk["gpus"] if card["vendor"] == "nvidia"]
    if not cards or desk["gpu"]["state"] == "unknown":
        return said
    name, driver = cards[0]["name"], cards[0]["driver"] or "unknown"
    if not inside:
        why = (
            f"{UPDATE}, and {RESTART}"
            if desk["gpu_nodes"]["dxg"]
            else f"it has no /dev/dxg. See that gpuSupport is not false in .wslconfig, and {RESTART}"
        )
        said.append(f"Windows has {name} with driver {driver}, and this distro sees no NVIDIA card: {why}.")
    elif cards[0]["driver"] and not any(_same(driver, one) for one in inside):
        said.append(
            f"Windows has NVIDIA's driver {driver}, and this distro sees {inside[0]}, as it does after an update of "
            f"the driver: {RESTART}."
        )
    return said


def _same(windows: str, inside: str) -> bool:
    return inside == windows or inside.startswith(f"{windows}.")
