# SPDX-License-Identifier: GPL-3.0-or-later
"""``.wslconfig``, in a Windows user's profile: the settings of WSL's virtual machine."""

from __future__ import annotations

import re
from typing import Any

SECTION = re.compile(r"^\s*\[\s*([^\]]+?)\s*\]")
KEY = re.compile(r"""^(\s*)([A-Za-z]\w*)(\s*=\s*)("[^"]*"|.*?)(\s*(?:\s#.*)?)$""")


def setting(text: str | None, section: str, key: str) -> str | None:
    """Return the value of a key, the last where there are several; None where there is none."""
    found = None
    for _number, where, name, value in _keys((text or "").splitlines()):
        if (where, name) == (section.lower(), key.lower()):
            found = value
    return found


def merged(text: str | None, wanted: dict[str, dict[str, Any]]) -> str:
    """Return the file with what is wanted in it; comments, order and every other key stay.

    :param text: the file; None where there is none.
    :param wanted: section to keys to values; None takes a key away.
    """
    newline = "\r\n" if text is None or "\r\n" in text else "\n"
    before = (text or "").splitlines()
    lines = list(before)
    for section, keys in wanted.items():
        for key, value in (keys or {}).items():
            lines = _without(lines, section, key) if value is None else _with(lines, section, key, _written(value))
    return (text or "") if lines == before else newline.join(lines) + newline


def _written(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _keys(lines: list[str]) -> list[tuple[int, str, str, str]]:
    """Return line number, section, key and value of every setting; names in lower case, as WSL compares them."""
    found = []
    section = ""
    for number, line in enumerate(lines):
        head = SECTION.match(line)
        if head:
            section = head.group(1).lower()
            continue
        key = KEY.match(line)
        if key:
            found.append((number, section, key.group(2).lower(), key.group(4)))
    return found


def _places(lines: list[str], section: str, key: str) -> list[int]:
    wanted = (section.lower(), key.lower())
    return [number for number, where, name, _value in _keys(lines) if (where, name) == wanted]


def _without(lines: list[str], section: str, key: str) -> list[str]:
    gone = _places(lines, section, key)
    return [line for number, line in enumerate(lines) if number not in gone]


def _with(lines: list[str], section: str, key: str, value: str) -> list[str]:
    lines = list(lines)
    places = _places(lines, section, key)
    for number in places:  # All of them: which one counts is WSL's affair.
        lines[number] = KEY.sub(lambda found: "".join([*found.group(1, 2, 3), value, found.group(5)]), lines[number])
    if places:
        return lines
    last = _end(lines, section)
    if last is None:
        return [*lines, *([""] if lines and lines[-1].strip() else []), f"[{section}]", f"{key}={value}"]
    return [*lines[: last + 1], f"{key}={value}", *lines[last + 1 :]]


def _end(lines: list[str], section: str) -> int | None:
    """Return the last line of a section that is not empty, None where there is no such section."""
    inside, last = False, None
    for number, line in enumerate(lines):
        head = SECTION.match(line)
        if head:
            inside = head.group(1).lower() == section.lower()
        if inside and line.strip():
            last = number
    return last
