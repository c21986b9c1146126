# SPDX-License-Identifier: GPL-3.0-or-later
"""What a person wants to know about the Windows half of a desk: what it is, what WSL has of it, and what is missing."""

from __future__ import annotations

import re
from typing import Any

from ansible_collections.llmdesk.workstation.plugins.module_utils import wslconfig
from ansible_collections.llmdesk.workstation.plugins.module_utils.wsl_gpu import UPDATE, old_driver, windows_cards

# What WSL takes without a word in .wslconfig: half of Windows' memory, and NAT
# (https://learn.microsoft.com/windows/wsl/wsl-config).
SHARE = 2
NETWORKING = "nat"
UNITS = {"": 1, "K": 1024, "M": 1024**2, "G": 1024**3, "T": 1024**4}
UP, AFTER = "Type './llmdesk up'.", "After the restart, type './llmdesk up'."


def windows_report(windows: dict[str, Any], plan: dict[str, Any], wanted: dict[str, Any]) -> dict[str, Any]:
    """Return the report of the Windows half of a desk.

    :param windows: the Windows facts.
    :param plan: what has to be done about WSL, as ``wsl_plan`` decides it; read of it are ``refusals`` (each with
        ``what``, ``where`` and ``remedy``), ``steps`` (``do`` and ``reason``), ``warnings`` and ``reboot`` (reasons).
    :param wanted: ``desk``, the name of the distro's host, and ``distribution``.
    :returns: ``half``, always ``windows``; ``desk``; ``system``; ``wsl``; ``distribution``, whose ``version`` is None
        where it is not there; ``memory`` in bytes; ``keep_alive``; ``gpus``; ``reboot``: ``needed`` before the desk can
        be used, and the ``reasons`` why Windows waits for a restart; ``missing``: what stands in the way, or else
        what is not as wanted yet, each with ``name``, ``error`` and ``remedy``; ``warnings``. Nothing in it is secret.
    """
    system, wsl, text = windows.get("system") or {}, windows.get("wsl") or {}, windows.get("wslconfig")
    gpus = windows_cards(windows.get("gpus"))
    reboot = plan.get("reboot") or []
    return {
        "half": "windows",
        "desk": wanted.get("desk"),
        "system": {
            "name": re.sub(r"^Microsoft ", "", str(system.get("caption") or "Windows")),
            "build": ".".join(str(system[key]) for key in ("build", "revision") if system.get(key) is not None),
            "architecture": system.get("architecture"),
        },
        "wsl": {
            "version": next((str(wsl[kind]["version"]) for kind in ("msi", "store") if wsl.get(kind)), None),
            "networking": (wslconfig.setting(text, "wsl2", "networkingMode") or NETWORKING).lower(),
        },
        "distribution": _distribution(wsl, str(wanted.get("distribution") or "")),
        "memory": _memory(windows.get("memory"), wslconfig.setting(text, "wsl2", "memory")),
        "keep_alive": _keep_alive(windows.get("keep_alive")),
        "gpus": gpus,
        "reboot": {"needed": bool(reboot), "reasons": list(reboot or windows.get("reboot_pending") or [])},
        "missing": _missing(plan),
        "warnings": [
            *(plan.get("warnings") or []),
            *(f"{old}: {UPDATE}." for old in map(old_driver, gpus) if old),
        ],
    }


def memory_size(text: str) -> int | None:
    """Return the bytes of a size in ``.wslconfig``, such as ``12GB``; None where it is none."""
    found = re.match(r"(\d+)\s*([KMGT]?)B?$", text.strip().strip('"').upper())
    return int(found.group(1)) * UNITS[found.group(2)] if found else None


def _distribution(wsl: dict[str, Any], name: str) -> dict[str, Any]:
    """Return the distro; wsl.exe takes no notice of capital letters in its name."""
    for distro in wsl.get("distributions") or []:
        if str(distro.get("name")).lower() == name.lower():
            return {"name": distro["name"], "version": distro.get("version")}
    return {"name": name, "version": None}


def _memory(total: int | None, setting: str | None) -> dict[str, Any]:
    chosen = memory_size(setting) if setting else None
    return {"total": total, "wsl": chosen or (total // SHARE if total else None), "chosen": chosen is not None}


def _keep_alive(task: dict[str, Any] | None) -> dict[str, Any] | None:
    return {"user": task.get("user"), "running": task.get("running", True)} if task else None


def _missing(plan: dict[str, Any]) -> list[dict[str, str]]:
    refused = [
        {"name": refusal["where"], "error": refusal["what"].rstrip("."), "remedy": refusal["remedy"]}
        for refusal in plan.get("refusals") or []
    ]
    if refused:
        return refused  # A run would not come as far as the rest.
    way = AFTER if plan.get("reboot") else UP
    return [{"name": "wsl", "error": step["reason"], "remedy": way} for step in plan.get("steps") or []]
