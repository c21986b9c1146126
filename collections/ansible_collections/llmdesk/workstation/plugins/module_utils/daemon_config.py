# SPDX-License-Identifier: GPL-3.0-or-later
"""Docker's daemon.json: how it is read, merged and written, and what its daemon has to do to take a change."""

from __future__ import annotations

import json
import re
from typing import Any

# Of a change that Docker has not taken yet. It does not outlive a boot, and need not.
NOTE = "/run/llmdesk-daemon-config.json"

# What dockerd takes over on SIGHUP where the file says a value (moby's daemon/reload*.go, 20.10 to 28).
RELOADED = frozenset(
    (
        "allow-nondistributable-artifacts",
        "authorization-plugins",
        "debug",
        "default-cgroupns-mode",
        "default-ipc-mode",
        "default-runtime",
        "default-shm-size",
        "features",
        "insecure-registries",
        "labels",
        "live-restore",
        "max-concurrent-downloads",
        "max-concurrent-uploads",
        "max-download-attempts",
        "network-diagnostic-port",
        "registry-mirrors",
        "runtimes",
        "shutdown-timeout",
    )
)
# What it also forgets on SIGHUP where the file says none any more; the others keep their last value until a restart.
FORGOTTEN = frozenset(
    (
        "authorization-plugins",
        "features",
        "max-concurrent-downloads",
        "max-concurrent-uploads",
        "max-download-attempts",
        "network-diagnostic-port",
    )
)
# The only feature that is asked for anew at every request; CDI and the image store are set up when dockerd starts.
RELOADED_FEATURES = frozenset(("buildkit",))

# Of a JSON text: what stands between :// and @ in a string, and a string that is called a secret.
USER_INFO = re.compile(r'(://)(?:[^"\\\s]|\\.)*@')
SECRET = re.compile(r'("[^"]*(?:password|secret|token)[^"]*"\s*:\s*)"(?:[^"\\]|\\.)*"', re.IGNORECASE)
HIDDEN = "***"


class NotJson(ValueError):
    """A text is no daemon.json; says where, and what stands there."""


def parse(text: str) -> dict[str, Any]:
    """Return the settings of a daemon.json.

    :raises NotJson: it is not JSON, or no object.
    """
    text = text.lstrip("\ufeff")  # as editors of Windows write it
    if not text.strip():
        return {}
    try:
        settings = json.loads(text)
    except ValueError as error:
        raise NotJson(_why(text, getattr(error, "pos", 0), getattr(error, "msg", str(error)))) from None
    if not isinstance(settings, dict):
        raise NotJson("line 1, column 1: it is no object, which begins with {")
    return settings


def _why(text: str, position: int, said: str) -> str:
    """Return the place of an error and what stands there, the same in every version of Python."""
    rest, before = text[position:], text[:position].rstrip()
    if re.match(r",\s*[}\]]", rest):
        said = "a comma with nothing behind it"
    elif rest[:1] in ("}", "]") and before.endswith(","):
        position, said = len(before) - 1, "a comma with nothing behind it"
    elif rest.startswith(("//", "/*", "#")):
        said = "a comment, and JSON has none"
    elif rest.startswith("'"):
        said = "a single quote, and JSON knows only double ones"
    elif not rest.strip():
        said = "it ends in the middle"
    line, column = text.count("\n", 0, position) + 1, position - text.rfind("\n", 0, position)
    return f"line {line}, column {column}: {said}"


def render(settings: dict[str, Any], like: str | None = None) -> str:
    """Return the text of a daemon.json.

    :param like: the text that it replaces, whose indentation is kept.
    """
    found = re.search(r"^([ \t]+)\S", like or "", re.MULTILINE)
    return json.dumps(settings, indent=found.group(1) if found else 4, ensure_ascii=False) + "\n"


def merge(present: Any, wanted: Any) -> Any:
    """Return what is there with what is wanted in it.

    Objects are merged, lists get the entries that they lack, ``None`` takes a key away, anything else is replaced.
    """
    if isinstance(wanted, dict):
        merged = dict(present) if isinstance(present, dict) else {}
        for key, value in wanted.items():
            if value is None:
                merged.pop(key, None)
            else:
                merged[key] = merge(merged.get(key), value)
        return merged
    if isinstance(wanted, list) and isinstance(present, list):
        return present + [entry for entry in wanted if entry not in present]
    return wanted


def redacted_text(text: str) -> str:
    """Return a JSON text, or a sentence about one, without the names and passwords in its addresses."""
    return SECRET.sub(rf'\1"{HIDDEN}"', USER_INFO.sub(rf"\1{HIDDEN}@", text))


def secrets(settings: dict[str, Any]) -> set[str]:
    """Return every secret in settings as it stands there, for what must never be printed."""
    text = json.dumps(settings, ensure_ascii=False)
    found = {match.group(0)[len("://") : -1] for match in USER_INFO.finditer(text)}
    found |= {match.group(0)[len(match.group(1)) + 1 : -1] for match in SECRET.finditer(text)}
    passwords = {one.split(":", 1)[1] for one in found if ":" in one}
    return {one for one in found | passwords if one}


def redacted(settings: dict[str, Any]) -> dict[str, Any]:
    """Return settings that may be shown."""
    shown: dict[str, Any] = json.loads(redacted_text(json.dumps(settings)))
    return shown


def holds(shown: dict[str, Any], wanted: dict[str, Any]) -> bool:
    """Return whether settings already have what is wanted.

    :param shown: as they may be shown: what is secret cannot be compared and counts as right.
    """
    return bool(merge(shown, redacted(wanted)) == shown)


def changed_keys(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    """Return the keys whose values differ, in alphabetical order."""
    return sorted(key for key in {*before, *after} if before.get(key) != after.get(key))


def needs(before: dict[str, Any], after: dict[str, Any]) -> dict[str, list[str]]:
    """Return which changed keys a reload brings into force, and which only a restart does."""
    found: dict[str, list[str]] = {"reload": [], "restart": []}
    for key in changed_keys(before, after):
        found["reload" if _reloads(key, before, after) else "restart"].append(key)
    return found


def _reloads(key: str, before: dict[str, Any], after: dict[str, Any]) -> bool:
    if key == "features":
        changed = changed_keys(before.get(key) or {}, after.get(key) or {})
        return RELOADED_FEATURES.issuperset(changed)
    return key in (RELOADED if key in after else FORGOTTEN)


def flags(command: list[str], dropped: tuple[str, ...]) -> list[str]:
    """Return the flags of a daemon without some of them and their values.

    :param command: as it runs, its program first.
    :param dropped: names, such as ``--config-file``.
    """
    kept: list[str] = []
    skip = False
    for word in command[1:]:
        if skip:
            skip = False
        elif word in dropped:
            skip = True
        elif word and not word.startswith(tuple(name + "=" for name in dropped)):
            kept.append(word)
    return kept


def flag(command: list[str], names: tuple[str, ...]) -> str | None:
    """Return the value of a flag of a daemon, None where it has none."""
    for number, word in enumerate(command):
        if word in names:
            return command[number + 1] if number + 1 < len(command) else None
        if word.startswith(tuple(name + "=" for name in names)):
            return word.split("=", 1)[1]
    return None


def complaint(log: str) -> str:
    """Return the sentence in which a daemon's log says why it ended; empty where it says nothing of the kind."""
    said = ""
    for line in log.splitlines():
        plain = re.search(r"(?:failed to start daemon|unable to configure the Docker daemon).*", line)
        levelled = re.search(r'level=(?:fatal|error)\s.*?msg="((?:[^"\\]|\\.)*)"', line)
        if plain and not levelled:
            # Nothing after it is the cause.
            return redacted_text(plain.group(0).strip())
        if levelled:
            said = levelled.group(1).replace('\\"', '"')
    return redacted_text(said.strip())
