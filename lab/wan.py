# SPDX-License-Identifier: GPL-3.0-or-later
"""A slow line to the outside: a container's way out, held to a rate in both directions, with a counter of each.

Linux shapes what leaves an interface. A container's is one end of a cable (veth) whose other end is on this machine:
what leaves there is what comes in. So both ends get a token bucket (tc-tbf), and no module such as ifb is needed. Both
go with the container.
"""

from __future__ import annotations

import json
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from docker.models.containers import Container

UNITS = {"kbit": 1e3, "mbit": 1e6, "gbit": 1e9}
SLOWEST, FASTEST = 64e3, 10e9
LATENCY = "50ms"
"""How long a packet waits at the most, which is the line's buffer."""
BURST = 0.01
"""Seconds of the full rate that may come at once: less than a timer's tick would make the line slower than it says."""
LEAST_BURST = 64 * 1024
"""Bytes; the kernel hands packets on in pieces of up to this size."""


@dataclass(frozen=True)
class Counted:
    """What a line has carried, in bytes with the heads of its packets: ``down`` is towards the container."""

    down: int
    up: int


def bits(rate: str) -> float:
    """Return bits a second of a rate such as ``20mbit``, in tc's words.

    :raises ValueError: it is none, or none that a line can be held to.
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?)(kbit|mbit|gbit)", rate)
    wanted = float(found[1]) * UNITS[found[2]] if found else 0.0
    if not SLOWEST <= wanted <= FASTEST:
        raise ValueError(f"{rate!r} is no rate for the WAN: write one from 64kbit to 10gbit, such as 20mbit.")
    return wanted


def shape(container: Container, rate: str) -> bool:
    """Hold a container's way out to a rate in both directions; its counters go on where it had the same rate.

    :param rate: such as ``20mbit``.
    :returns: whether anything changed.
    """
    wanted = bits(rate)
    changed = False
    for end in _ends(container):
        bucket = _bucket(end)
        # In bytes a second.
        if bucket.get("kind") == "tbf" and bucket["options"]["rate"] == int(wanted / 8):
            continue
        burst = max(LEAST_BURST, int(wanted / 8 * BURST))
        # By its number of bits: tc's own words for a rate are the same here, but a fraction of one is not always taken.
        command = ["qdisc", "replace", "dev", end.device, "root", "tbf", "rate", f"{int(wanted)}bit"]
        end.tc([*command, "burst", str(burst), "latency", LATENCY])
        changed = True
    return changed


def counted(container: Container) -> Counted:
    """Return what a container's way out has carried since it was first shaped.

    :raises RuntimeError: it is not shaped, or does not run.
    """
    found = []
    for end in _ends(container):
        bucket = _bucket(end)
        if bucket.get("kind") != "tbf":
            raise RuntimeError(f"the way out of {container.name} is not shaped. './llmdesk lab up' shapes it again.")
        found.append(int(bucket["bytes"]))
    return Counted(*found)


def device(container: Container) -> str:
    """Return the interface of this machine that a container's way out leads through."""
    return _ends(container)[0].device


@dataclass(frozen=True)
class _End:
    """One end of a container's cable."""

    device: str
    inside: tuple[str, ...] = ()

    def tc(self, arguments: list[str]) -> str:
        """Run tc where this end is, and return its output."""
        return _run([*self.inside, "tc", *arguments])


def _ends(container: Container) -> tuple[_End, _End]:
    """Return the end on this machine, and the container's own, of the cable that its default route leads into."""
    container.reload()
    pid = container.attrs["State"]["Pid"]
    if not pid:
        raise RuntimeError(f"{container.name} does not run")
    inside = ("nsenter", f"--net=/proc/{pid}/ns/net")
    device = json.loads(_run([*inside, "ip", "-json", "route", "show", "default"]))[0]["dev"]
    other = json.loads(_run([*inside, "ip", "-json", "link", "show", "dev", device]))[0]["link_index"]
    for index in Path("/sys/class/net").glob("*/ifindex"):
        if int(index.read_text()) == other:
            return _End(index.parent.name), _End(device, inside)
    raise RuntimeError(f"the other end of {container.name}'s {device} is not on this machine")


def _bucket(end: _End) -> dict[str, Any]:
    found: list[dict[str, Any]] = json.loads(end.tc(["-s", "-json", "qdisc", "show", "dev", end.device]))
    return next((entry for entry in found if entry.get("root")), {})


def _run(command: list[str]) -> str:
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)} failed: {done.stderr.strip()[-400:]}")
    return done.stdout
