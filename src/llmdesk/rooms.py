# SPDX-License-Identifier: GPL-3.0-or-later
"""A room before it has an inventory: which hosts a person means, what is wrong with each, and the inventory's text.

Pure: the connections themselves are Ansible's.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from llmdesk import inventories

MOST = 1024
"""Addresses that one range may have: more are a slip of the finger."""

OLDEST = (3, 8)
"""The Python that modules need on a desk."""

_NAME = re.compile(r"(?:(?P<user>[\w.-]+)@)?(?P<host>[A-Za-z0-9_](?:[\w.-]*\w)?)(?::(?P<port>\d+))?")


class BadHost(Exception):
    """A host that cannot be meant: which, why, and what to write instead."""


@dataclass(frozen=True)
class Host:
    """A host that a person named. ``searched`` is true for one of a range of addresses, which need not be there."""

    name: str
    user: str | None = None
    port: int | None = None
    searched: bool = False

    def variables(self) -> dict[str, Any]:
        """Return what an inventory says of it."""
        found: dict[str, Any] = {"ansible_user": self.user, "ansible_port": self.port}
        return {name: value for name, value in found.items() if value is not None}


@dataclass(frozen=True)
class Finding:
    """What a host said. ``state`` is ``ready`` or names what is wrong; ``remedy`` is what to do, if anything.

    ``python`` is its version, empty without one; ``root`` is ``yes``, ``password`` or ``never``; ``model`` the proposed
    one and ``why`` the reason, empty where nobody asked.
    """

    state: str
    problem: str = ""
    remedy: str = ""
    python: str = ""
    root: str = ""
    boot: str = field(default="", repr=False)
    model: str = ""
    why: str = ""


# --- Who is meant ---------------------------------------------------------------------------------------------------


def hosts(given: Iterable[str]) -> list[Host]:
    """Return the hosts that a person named, in order.

    :param given: names, ``user@name:port``, patterns such as ``desk[01:30]``, addresses, ranges such as
        ``192.168.1.10-40`` and networks such as ``192.168.1.0/28``.
    :raises BadHost: one cannot be meant, or is named twice.
    """
    found: dict[str, Host] = {}
    for one in given:
        for host in _meant(one.strip()):
            if host.name in found:
                raise BadHost(f"{host.name} is named twice, the second time by {one}. Name every host once.")
            found[host.name] = host
    return list(found.values())


def _meant(one: str) -> list[Host]:
    if not one:
        raise BadHost("An empty name is no host.")
    if "/" in one:
        return _network(one)
    if re.match(r"[\d.]+-[\d.]+$", one):
        return _range(one)
    if "[" in one:
        try:
            return [Host(name) for name in _few(inventories.expanded(one), one)]
        except ValueError as error:
            raise BadHost(f"{error}. Write desk[01:30] for desk01 to desk30.") from None
    found = _NAME.fullmatch(one)
    if not found:
        raise BadHost(
            f"{one!r} is no host: write NAME, USER@NAME:PORT, 192.168.1.10-40, 192.168.1.0/28 or desk[01:30]."
        )
    if re.fullmatch(r"[\d.]+", found["host"]):
        _address(found["host"], one)
    port = int(found["port"]) if found["port"] else None
    if port is not None and not 0 < port < 65536:
        raise BadHost(f"{one}: {port} is no port; ports go from 1 to 65535.")
    return [Host(found["host"], found["user"], port)]


def _address(text: str, where: str) -> ipaddress.IPv4Address:
    try:
        return ipaddress.IPv4Address(text)
    except ipaddress.AddressValueError as error:
        raise BadHost(f"{where}: {text} is no address ({str(error).split(' in ')[0]}).") from None


def _range(text: str) -> list[Host]:
    left, _dash, right = text.partition("-")
    first = _address(left, text)
    last = _address(right if "." in right else f"{left.rpartition('.')[0]}.{right}", text)
    if last < first:
        raise BadHost(f"{text} runs backwards: write the lower address first.")
    return _searched(range(int(first), int(last) + 1), text)


def _network(text: str) -> list[Host]:
    try:
        network = ipaddress.IPv4Network(text, strict=False)
    except ValueError as error:
        raise BadHost(
            f"{text} is no network ({error}). Write 192.168.1.0/28, or a range such as 192.168.1.10-40."
        ) from None
    every = range(int(network.network_address), int(network.broadcast_address) + 1)
    return _searched(every[1:-1] if len(every) > 2 else every, text)


def _searched(numbers: range, text: str) -> list[Host]:
    return [Host(str(ipaddress.IPv4Address(number)), searched=True) for number in _few(numbers, text)]


def _few(several: Any, text: str) -> Any:
    if len(several) > MOST:
        raise BadHost(f"{text} has {len(several)} addresses, and more than {MOST} are hardly one room. Name fewer.")
    return several


def ssh_hosts(path: str) -> list[Host]:
    """Return the hosts that a configuration of ssh names, without its patterns.

    :raises BadHost: it cannot be read, or names none.
    """
    import paramiko

    try:
        config = paramiko.SSHConfig.from_path(path)
    except (OSError, paramiko.ssh_exception.SSHException, UnicodeDecodeError) as error:
        raise BadHost(f"{path} is no configuration of ssh that can be read: {error}.") from None
    names = sorted(name for name in config.get_hostnames() if not re.search(r"[*?!]", name))
    if not names:
        raise BadHost(f"{path} names no host: it has no line 'Host NAME' but for patterns.")
    return [Host(name) for name in names]


# --- What is wrong --------------------------------------------------------------------------------------------------

_FAULTS = (
    (
        "key changed",
        r"IDENTIFICATION HAS CHANGED|host key for \S+ has changed",
        "its host key is another than the known one: it was installed anew, or another machine answers in its place",
        "Ask whoever looks after {host}. If it was installed anew: ssh-keygen -R '{known}', then come back.",
    ),
    (
        "key unknown",
        r"Host key verification failed|No \S+ host key is known",
        "its host key is not known yet",
        "Come back with --accept-host-keys, or log in once with 'ssh {login}' and compare the fingerprint.",
    ),
    (
        "refused",
        r"Permission denied|Too many authentication failures",
        "it does not let you in with a key",
        "Give it your key: ssh-copy-id {login}. Or name user and key with --user and --private-key.",
    ),
    ("no name", r"(?i)could not resolve hostname", "nobody knows that name", "Correct it, or write its address."),
    (
        "no ssh",
        r"Connection refused|kex_exchange_identification|Connection closed by|Connection reset",
        "it is there, and no ssh server answers",
        "Install and start one there: sudo apt-get install openssh-server (on Windows see docs/windows.md).",
    ),
    (
        "no answer",
        r"(?i)timed out|No route to host|Network is unreachable|Host is down",
        "it does not answer",
        "See that it is on and in this network, and that its firewall lets ssh in.",
    ),
)


def unreached(host: Host, said: str) -> Finding:
    """Return what is wrong with a host that Ansible did not reach, out of what ssh said."""
    login = f"{host.user}@{host.name}" if host.user else host.name
    known = f"[{host.name}]:{host.port}" if host.port else host.name
    for state, pattern, problem, remedy in _FAULTS:
        if re.search(pattern, said):
            return Finding(state, problem, remedy.format(host=host.name, login=login, known=known))
    told = (said.strip().splitlines() or ["it gave no reason"])[-1]
    return Finding("no answer", f"it could not be reached: {told}", f"See that 'ssh {login}' works.")


def reached(lines: Iterable[str]) -> Finding:
    """Return what a host said that Ansible reached.

    :param lines: the lines of the role desk's ``reach``: a word and what is to say of it.
    """
    told = dict(line.strip().partition(" ")[::2] for line in lines)
    python, root = told.get("python", ""), told.get("root", "")
    seen = {"python": python, "root": root, "boot": told.get("boot", "")}
    if told.get("system") != "Linux":
        system = told.get("system") or "no system that has a /bin/sh"
        return Finding("no Linux", f"it has {system}, and a desk is Linux", "For Windows see docs/windows.md.", **seen)
    if not python:
        return Finding("no Python", "it has no python3", "Install it there: sudo apt-get install python3.", **seen)
    if tuple(map(int, python.split("."))) < OLDEST:
        return Finding("no Python", f"its Python {python} is too old", "A desk needs Python 3.8 or newer.", **seen)
    if root == "never":
        return Finding(
            "no root", "you are not root there, and it has no sudo", "Install sudo, or log in as root.", **seen
        )
    if root == "password":
        return Finding("ready", remedy="Its sudo wants a password: add -K to every run.", **seen)
    return Finding("ready", **seen)


def doubles(found: dict[str, Finding]) -> list[str]:
    """Return a sentence for every machine that answers under several names."""
    boots: dict[str, list[str]] = {}
    for name, finding in found.items():
        if finding.boot:
            boots.setdefault(finding.boot, []).append(name)
    return [
        f"{' and '.join(names)} are one machine (they share a boot id). Leave all but one out of the inventory."
        for names in boots.values()
        if len(names) > 1
    ]


# --- The inventory --------------------------------------------------------------------------------------------------

_HEAD = """\
# The desks of a room, as './llmdesk init' found them. It is yours from here on: init does not touch it again without
# --force.
#
#   ./llmdesk up -i {path}{become}
#
# What else may be said of a desk stands in inventory/examples/room.yml and docs/fleet.md.
"""


def inventory(room: Iterable[Host], found: dict[str, Finding], path: str, shared: dict[str, Any] | None = None) -> str:
    """Return the text of an inventory: desks that are ready, by the models that fit them, and the others as comments.

    The same room gives the same text, whatever the order in which its hosts answered.

    :param path: how a person names the file.
    :param shared: variables of all desks.
    """
    everybody = sorted(room, key=lambda host: natural(host.name))
    ready = [host for host in everybody if found[host.name].state == "ready"]
    become = " -K" if any(found[host.name].root == "password" for host in ready) else ""
    lines = [*_HEAD.format(path=path, become=become).splitlines(), "desks:"]
    if shared:
        lines += ["  vars:", *(f"    {name}: {_scalar(value)}" for name, value in sorted(shared.items()))]
    groups: dict[str, list[Host]] = {}
    for host in ready:
        groups.setdefault(found[host.name].model, []).append(host)
    if not ready:
        lines.append("  hosts: {}")
    elif list(groups) == [""]:
        lines += _hosts(ready, "  ")
    else:
        lines.append("  children:")
        for model, members in sorted(groups.items(), key=lambda group: natural(group[1][0].name)):
            lines += _group(model, members, found)
    absent = [host for host in everybody if found[host.name].state != "ready"]
    named = [host for host in absent if not (host.searched and found[host.name].state == "no answer")]
    if named:
        lines += ["", "# Left out. Once that is mended, take the '#' away and write them where the others stand."]
        lines += [f"#   {host.name}:  # {_why(found[host.name])}" for host in named]
    silent = [host.name for host in absent if host not in named]
    if silent:
        lines += ["", f"# Nobody answered at {len(silent)} more addresses: {_folded(silent)}"]
    return "\n".join(lines) + "\n"


def natural(name: str) -> list[tuple[int, int, str]]:
    """Return a key that sorts desk9 before desk10."""
    return [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in re.split(r"(\d+)", name) if part]


def _group(model: str, members: list[Host], found: dict[str, Finding]) -> list[str]:
    name = "desks_" + re.sub(r"\W+", "_", model or "other").strip("_").lower()
    reasons = sorted({found[host.name].why for host in members} - {""})
    lines = [f"    # {reason}" for reason in reasons[:3]] + [f"    {name}:"]
    if model:
        lines += ["      vars:", "        ollama_models:", f"          - {_scalar(model)}"]
    return lines + _hosts(members, "      ")


def _hosts(members: list[Host], indent: str) -> list[str]:
    lines = [f"{indent}hosts:"]
    for host in members:
        lines.append(f"{indent}  {_scalar(host.name)}:")
        lines += [f"{indent}    {name}: {_scalar(value)}" for name, value in host.variables().items()]
    return lines


def _scalar(value: Any) -> str:
    import yaml

    text: str = yaml.safe_dump(value, width=10_000)
    return text.removesuffix("\n").removesuffix("\n...")


def _why(finding: Finding) -> str:
    return f"{finding.state}: {finding.problem}. {finding.remedy}"


def _folded(addresses: list[str]) -> str:
    """Return neighbours as ranges: three addresses in a row become ``10.0.0.1-3``."""
    numbers = sorted(int(ipaddress.IPv4Address(address)) for address in addresses)
    runs: list[list[int]] = []
    for number in numbers:
        if runs and runs[-1][1] + 1 == number and number % 256:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    told = []
    for first, last in runs:
        start = str(ipaddress.IPv4Address(first))
        told.append(start if first == last else f"{start}-{last % 256}")
    return ", ".join(told)
