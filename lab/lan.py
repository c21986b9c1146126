# SPDX-License-Identifier: GPL-3.0-or-later
"""A LAN: hosts with an address and a port of a set speed each, on one switch, as network namespaces of this machine.

What a container costs, systemd, a root and a Docker, is not needed to see how bytes spread. The switch is a bridge in a
namespace of its own, so that neither this machine's firewall nor Docker's has a say in what passes it, and no two LANs
ever meet. Every end of a cable is a token bucket (tc-tbf), as a port is: the host's for what it sends, the switch's for
what it receives. The kernel counts both.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab import wan

MOST = 200
"""Hosts of one LAN, all of them in one /24."""
LATENCY = "50ms"
"""How long a packet waits at a port at the most, which is the port's buffer."""
NAMES = Path("/etc/netns")


@dataclass(frozen=True)
class Host:
    """One machine of a LAN."""

    name: str
    address: str
    namespace: str

    def command(self, *argv: str) -> list[str]:
        """Return the command that runs another one there."""
        return ["ip", "netns", "exec", self.namespace, *argv]

    def start(self, *argv: str, **options: Any) -> subprocess.Popen[str]:
        """Start a command there; it ends with the LAN at the latest."""
        return subprocess.Popen(self.command(*argv), text=True, stdin=subprocess.DEVNULL, **options)

    def run(self, *argv: str) -> str:
        """Run a command there and return its output."""
        return _run(self.command(*argv))

    def sent(self) -> int:
        """Return the bytes that it has sent, with the heads of their packets."""
        return self._carried("tx")

    def received(self) -> int:
        """Return the bytes that it has received, with the heads of their packets."""
        return self._carried("rx")

    def leave(self) -> None:
        """Kill everything that runs there and pull its cable, as somebody does who switches a machine off."""
        for pid in _run(["ip", "netns", "pids", self.namespace]).split():
            with suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)
        self.run("ip", "link", "set", "eth0", "down")

    def _carried(self, way: str) -> int:
        found = json.loads(self.run("ip", "-json", "-statistics", "link", "show", "dev", "eth0"))
        return int(found[0]["stats64"][way]["bytes"])


@contextmanager
def lan(prefix: str, hosts: list[str], rate: str | None = None) -> Iterator[dict[str, Host]]:
    """Make a LAN, and take it away with everything that runs on it.

    :param prefix: of the names of its namespaces; one that a killed run has left is taken away first.
    :param hosts: their names, by which they know each other.
    :param rate: of every port, such as ``100mbit``; as fast as the machine is when not given.
    """
    if len(hosts) > MOST:
        raise ValueError(f"a LAN has up to {MOST} hosts, not {len(hosts)}")
    there = {name: Host(name, f"10.77.0.{number}", f"{prefix}-{name}") for number, name in enumerate(hosts, 1)}
    _away(prefix)
    try:
        switch = f"{prefix}-switch"
        _run(["ip", "netns", "add", switch])
        _run(["ip", "-n", switch, "link", "add", "name", "switch", "type", "bridge"])
        _run(["ip", "-n", switch, "link", "set", "switch", "up"])
        known = "127.0.0.1 localhost\n" + "".join(f"{host.address} {host.name}\n" for host in there.values())
        for number, host in enumerate(there.values(), 1):
            _plug(host, switch, f"port{number}", known, rate)
        yield there
    finally:
        _away(prefix)


def _plug(host: Host, switch: str, port: str, known: str, rate: str | None) -> None:
    """Make a host and lay its cable."""
    inside = ["ip", "-n", host.namespace]
    _run(["ip", "netns", "add", host.namespace])
    # 'ip netns exec' puts what stands there in the place of the machine's own.
    (NAMES / host.namespace).mkdir(parents=True)
    (NAMES / host.namespace / "hosts").write_text(known)
    _run([*inside, "link", "add", "eth0", "type", "veth", "peer", "name", port, "netns", switch])
    _run([*inside, "address", "add", f"{host.address}/24", "dev", "eth0"])
    for device in ("lo", "eth0"):
        _run([*inside, "link", "set", device, "up"])
    _run(["ip", "-n", switch, "link", "set", port, "master", "switch", "up"])
    if rate is not None:
        bits = int(wan.bits(rate))
        burst = max(wan.LEAST_BURST, int(bits / 8 * wan.BURST))
        bucket = ["root", "tbf", "rate", f"{bits}bit", "burst", str(burst), "latency", LATENCY]
        for namespace, device in ((host.namespace, "eth0"), (switch, port)):
            _run(["tc", "-n", namespace, "qdisc", "add", "dev", device, *bucket])


def _away(prefix: str) -> None:
    """Take away the namespaces of a prefix with all that runs in them."""
    listed = json.loads(_run(["ip", "-json", "netns", "list"]) or "[]")
    for name in [entry["name"] for entry in listed if entry["name"].startswith(f"{prefix}-")]:
        for pid in _run(["ip", "netns", "pids", name]).split():
            with suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)
        _run(["ip", "netns", "delete", name])
        with suppress(FileNotFoundError):
            (NAMES / name / "hosts").unlink()
            (NAMES / name).rmdir()


def _run(command: list[str]) -> str:
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)} failed: {done.stderr.strip()[-400:]}")
    return done.stdout
