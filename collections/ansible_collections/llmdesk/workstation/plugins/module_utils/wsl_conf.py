# SPDX-License-Identifier: GPL-3.0-or-later
"""``/etc/wsl.conf``, in which a distribution says what WSL runs when it boots."""

from __future__ import annotations

import re

SECTION = re.compile(r"^\s*\[\s*(\w+)\s*\]")
COMMAND = re.compile(r"^\s*command\s*=\s*(.*?)\s*$", re.IGNORECASE)
# How people start Docker there by hand.
STARTS_DOCKER = re.compile(r"\bdockerd\b|\bdocker\s+start\b|\binit\.d/docker\b")


def with_boot_command(text: str, command: str) -> str:
    """Return the file with a command that starts Docker when WSL boots; everything else stays.

    There is room for one line, which a shell runs: a command of somebody else's follows ours, which does not wait. One
    that starts Docker already is left alone.
    """
    lines = text.splitlines()
    section, last = "", None
    for number, line in enumerate(lines):
        found = SECTION.match(line)
        if found:
            section = found.group(1).lower()
        if section != "boot":
            continue
        last = number if line.strip() else last
        there = COMMAND.match(line)
        if there:
            theirs = there.group(1).strip('"')
            if STARTS_DOCKER.search(theirs):
                return text
            lines[number] = f"command = {command} {theirs}".rstrip()
            return "\n".join(lines) + "\n"
    if last is not None:
        lines.insert(last + 1, f"command = {command}")
    else:
        lines += [*([""] if lines else []), "[boot]", f"command = {command}"]
    return "\n".join(lines) + "\n"


def with_setting(text: str, section: str, key: str, value: str) -> str:
    """Return the file with a key in a section; everything else stays.

    A key that is there already gets the value, once; a section that is missing comes at the end.
    """
    setting = re.compile(rf"^\s*{re.escape(key)}\s*=\s*(.*?)\s*$", re.IGNORECASE)
    lines = text.splitlines()
    inside, last = False, None
    for number, line in enumerate(lines):
        found = SECTION.match(line)
        if found:
            inside = found.group(1).lower() == section
        if not inside:
            continue
        last = number if line.strip() else last
        there = setting.match(line)
        if there:
            if there.group(1).strip('"').lower() == value.lower():
                return text
            lines[number] = f"{key}={value}"
            return "\n".join(lines) + "\n"
    if last is None:
        lines += [*([""] if lines else []), f"[{section}]", f"{key}={value}"]
    else:
        lines.insert(last + 1, f"{key}={value}")
    return "\n".join(lines) + "\n"


def setting(text: str, section: str, key: str) -> str:
    """Return the value of a key in a section; empty where there is none."""
    inside = False
    for line in text.splitlines():
        found = SECTION.match(line)
        if found:
            inside = found.group(1).lower() == section
        name, _equals, value = line.partition("=")
        if inside and name.strip().lower() == key:
            return value.strip().strip('"')
    return ""
