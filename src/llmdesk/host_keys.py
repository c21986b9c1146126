# SPDX-License-Identifier: GPL-3.0-or-later
"""Keys of hosts that nobody has seen yet: asked for, shown by their fingerprints, and accepted by a person alone."""

from __future__ import annotations

import base64
import hashlib
import re
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any

WAIT = 5
"""Seconds that a host has to show its key."""


def scan(room: Iterable[Any], ssh_config: str | None = None) -> dict[str, list[str]]:
    """Return the lines for known_hosts of hosts, by their names; a host behind another (ProxyJump) shows none.

    :param room: hosts with ``name`` and ``port``.
    """
    found: dict[str, list[str]] = {}
    for port, hosts in _by_port(room, ssh_config).items():
        # All of one port at once: the program asks them side by side.
        done = subprocess.run(
            ["ssh-keyscan", "-T", str(WAIT), "-p", str(port), *hosts], capture_output=True, text=True, check=False
        )
        for line in done.stdout.splitlines():
            if line and not line.startswith("#"):
                shown_as = line.split()[0]
                address = re.sub(r"^\[(.*)\]:\d+$", r"\1", shown_as)
                for name in hosts.get(address, []):
                    found.setdefault(name, []).append(line)
    return found


def _by_port(room: Iterable[Any], ssh_config: str | None) -> dict[int, dict[str, list[str]]]:
    ports: dict[int, dict[str, list[str]]] = {}
    for host in room:
        settings = _settings(host.name, ssh_config)
        port = host.port or int(settings.get("port", 22))
        ports.setdefault(port, {}).setdefault(settings.get("hostname", host.name), []).append(host.name)
    return ports


def _settings(name: str, ssh_config: str | None) -> dict[str, str]:
    """Return what ssh itself makes of its configuration for a host (``ssh -G``)."""
    own = ["-F", ssh_config] if ssh_config else []
    done = subprocess.run(["ssh", *own, "-G", name], capture_output=True, text=True, check=False)
    return dict(line.partition(" ")[::2] for line in done.stdout.splitlines())


def shown(lines: Iterable[str]) -> list[str]:
    """Return the keys of known_hosts' lines as ssh shows them: ``ED25519 SHA256:…``."""
    told = []
    for line in lines:
        _host, kind, key = line.split()[:3]
        digest = base64.b64encode(hashlib.sha256(base64.b64decode(key)).digest()).decode().rstrip("=")
        told.append(f"{kind.removeprefix('ssh-').split('-')[0].upper()} SHA256:{digest}")
    return sorted(told)


def known_hosts(host: Any, ssh_config: str | None = None) -> Path:
    """Return the file in which ssh looks for the keys of hosts."""
    names = _settings(host.name, ssh_config).get("userknownhostsfile", "~/.ssh/known_hosts").split()
    return Path(names[0]).expanduser()


def add(file: Path, lines: Iterable[str]) -> None:
    """Write keys to the known ones."""
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with file.open("a") as known:
        known.writelines(f"{line}\n" for line in lines)
