# SPDX-License-Identifier: GPL-3.0-or-later
"""Names of variables that nobody reads: a misspelled one is as if it had never been set."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from ansible_collections.llmdesk.workstation.plugins.module_utils.known_variables import KNOWN

# How alike two names have to be (difflib's ratio) for one to be taken for a misspelling of the other: one wrong letter,
# two that changed places, a plural. Below it are words of their own: docker_compose_version is nobody's mistake.
ALIKE = 0.88

PREFIXES = (
    "desk_",
    "desks_",
    "docker_desktop_",
    "model_mirror_",
    "nvidia_runtime_",
    "ollama_models_",
    "open_webui_",
)
"""How names begin that can be nobody else's. docker_, verify_ and wsl_ are too common for that."""

# What roles of the collection register for others to read.
_OWN = ("desk_state", "mirror_state", "windows_state")


def unknown(names: Iterable[str], known: Iterable[str] = KNOWN) -> list[tuple[str, str | None]]:
    """Return the names that no role reads, each with the one that was meant, None where it is like nothing.

    A name is left alone that is neither like one of ours nor begins like one. Those that Ansible sets (``ansible_…``)
    and those of the roles' own use (``__…``) are, too.

    :param known: the names that roles read.
    """
    there = set(known)
    found: list[tuple[str, str | None]] = []
    for name in sorted(set(names) - there):
        if name.startswith(("ansible_", "_")) or name in _OWN:
            continue
        # A fifth of the time of difflib's: most names are not even of a length that could be alike.
        near = difflib.get_close_matches(name, _of_length(name, there), 1, ALIKE)
        if near or name.startswith(PREFIXES):
            found.append((name, near[0] if near else None))
    return found


def errors(names: Iterable[str]) -> list[str]:
    """Return which variables are misspelled, a sentence each."""
    return [
        f"No role reads the variable {name}. Did you mean {meant}? Correct it where it is set, or take it away."
        for name, meant in unknown(names)
        if meant
    ]


def warnings(names: Iterable[str]) -> list[str]:
    """Return which variables are named like ours and mean nothing, a sentence each."""
    return [
        f"No role reads the variable {name}; see the roles' READMEs." for name, meant in unknown(names) if not meant
    ]


def _of_length(name: str, known: Iterable[str]) -> list[str]:
    """Return the names that could be alike: the ratio is at most twice the shorter length over both together."""
    return sorted(one for one in known if 2 * min(len(one), len(name)) >= ALIKE * (len(one) + len(name)))
