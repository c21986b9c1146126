# SPDX-License-Identifier: GPL-3.0-or-later
"""Secrets taken out of whatever leaves this machine. Pure.

A word too much is taken rather than one too few: what is left is for people who help, not for programs.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any

MARK = "[removed]"

_NAMED = r"[\w.-]*(?:passw|passphrase|secret|token|credential|api[_-]?key|private[_-]?key|session|cookie|auth)[\w.-]*"

# Names that sound like secrets and say where or how long, or a model's tokens.
_HARMLESS = re.compile(
    r"(?i)(file|path|dir|folder|timeout|tokens|tokens_per_s|first_token|_at|state|managed|author|authority|authors"
    r"|authorized_keys|certificate_authority|authentication_method)$"
)

SECRET_NAME = re.compile(rf"(?i)^{_NAMED}$")

_PATTERNS = (
    # Whole texts first: what is inside of them must not be taken for something else.
    (re.compile(r"\$ANSIBLE_VAULT;[^\n]*(?:\n[ \t]*[0-9a-f]{8,}[ \t]*)*"), MARK),
    (re.compile(r"-----BEGIN ([A-Z ]*PRIVATE KEY)-----.*?(?:-----END \1-----|\Z)", re.DOTALL), MARK),
    (
        re.compile(
            r"(?i)((?:proxy-)?authorization[\"']?\s*[:=]\s*[\"']?)(?:(?:bearer|basic|digest|token)\s+)?[^\s\"',]+"
        ),
        rf"\1{MARK}",
    ),
    (re.compile(r"(?i)\b(bearer|basic)\s+[A-Za-z0-9+/=._~-]{8,}"), rf"\1 {MARK}"),
    (re.compile(r"(?i)((?:set-)?cookie\s*:\s*)[^\r\n]+"), rf"\1{MARK}"),
    # User and password of an address.
    (re.compile(r"(\w+://)[^\s/@'\"]+@"), rf"\1{MARK}@"),
    # JSON Web Tokens, and keys as services give them out.
    (re.compile(r"\beyJ[\w-]{8,}\.[\w-]+(?:\.[\w-]*)?"), MARK),
    (re.compile(r"\b(?:sk|pk|ghp|gho|ghs|glpat|hf|xox[abp])[-_][A-Za-z0-9_-]{16,}"), MARK),
)

# 'name: value', 'name=value', '"name": "value"', also with escaped quotes. A value in quotes goes to its quote,
# one without to the next blank; what a YAML block holds is not seen by this, and goes by its vault's mark.
_ASSIGNED = re.compile(
    rf"(?i)(?P<name>{_NAMED})(?P<sign>\\?[\"']?\s*[=:]\s*)"
    r"(?:(?P<quote>\\?[\"'])(?P<quoted>.*?)(?P=quote)|(?P<plain>[^\s,;&}\]\"']+))"
)

_EMAIL = re.compile(r"\b[A-Za-z0-9._%+-]+@(?!localhost\b)[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)+\b")


def secret(name: str) -> bool:
    """Tell whether a variable's name says that its value is secret."""
    return bool(SECRET_NAME.match(name)) and not _HARMLESS.search(name)


def redacted(text: str, known: Iterable[str] = (), emails: bool = False) -> str:
    """Return a text without secrets.

    :param known: secrets themselves, which are taken out wherever they stand.
    :param emails: whether the addresses of people stay.
    """
    for value in sorted({one for one in known if len(one) > 2}, key=len, reverse=True):
        # As it is, and as JSON has it.
        for spelled in {value, json.dumps(value)[1:-1], json.dumps(value, ensure_ascii=False)[1:-1]}:
            text = text.replace(spelled, MARK)
    for pattern, replacement in _PATTERNS:
        text = pattern.sub(replacement, text)
    text = _ASSIGNED.sub(_unassigned, text)
    return text if emails else _EMAIL.sub(MARK, text)


def cleaned(value: Any, known: Iterable[str] = (), emails: bool = False, name: str = "") -> Any:
    """Return a document of JSON without secrets: by the names of what it holds, and by its texts.

    :param name: under which name the value stands, empty at the top.
    """
    known = tuple(known)
    if secret(name) and value not in (None, "", True, False) and not isinstance(value, dict | list):
        return MARK
    if isinstance(value, dict):
        if "__ansible_vault" in value or "__ansible_unsafe" in value:
            return MARK
        return {
            redacted(str(key), known, emails): cleaned(
                below, known, emails, f"{name}.{key}" if secret(name) and not secret(str(key)) else str(key)
            )
            for key, below in value.items()
        }
    if isinstance(value, list):
        return [cleaned(one, known, emails, name) for one in value]
    return redacted(value, known, emails) if isinstance(value, str) else value


def secrets(value: Any, name: str = "") -> set[str]:
    """Return the secrets of a document of JSON: whatever stands under a name that says so, and in addresses."""
    found: set[str] = set()
    if isinstance(value, dict):
        for key, below in value.items():
            found |= secrets(below, name if secret(name) else str(key))
    elif isinstance(value, list):
        for one in value:
            found |= secrets(one, name)
    elif isinstance(value, str):
        if secret(name) and not value.startswith("{{"):
            found.add(value)
        for opened in re.findall(r"\w+://([^\s/@'\"]+)@", value):
            found |= {opened, *filter(None, [opened.partition(":")[2]])}
    return found


def known(inventory: str, given: Iterable[str]) -> set[str]:
    """Return the secrets of an inventory and of variables of the command line.

    :param inventory: what ``ansible-inventory --list`` says.
    :param given: what ``-e`` was given: JSON, ``name=value`` words, or ``@file``, which is left closed.
    """
    found: set[str] = set()
    for text in (inventory, *given):
        try:
            found |= secrets(json.loads(text))
        except ValueError:
            for word in re.findall(r"""([\w.-]+)=(?:"([^"]*)"|'([^']*)'|(\S+))""", text):
                found |= secrets({word[0]: word[1] or word[2] or word[3]})
    return found


def _unassigned(found: re.Match[str]) -> str:
    if not secret(found["name"]) or found["plain"] in ("null", "true", "false", "None", "True", "False", MARK):
        return found[0]
    if found["quote"]:
        return f"{found['name']}{found['sign']}{found['quote']}{MARK if found['quoted'] else ''}{found['quote']}"
    return f"{found['name']}{found['sign']}{MARK}"
