# SPDX-License-Identifier: GPL-3.0-or-later
"""Who sees a model in an Open WebUI page, decided over the groups that the page has."""

from __future__ import annotations

from typing import Any

from ansible_collections.llmdesk.workstation.plugins.module_utils.open_webui import (
    EVERYBODY_READS,
    group_ids,
    group_reads,
)


def access_fault(entries: list[dict[str, Any]]) -> str:
    """Return what is wrong with declared accesses, empty where nothing is.

    :param entries: each with ``model``, ``access`` and ``groups``.
    """
    seen = set()
    for entry in entries:
        name, access, groups = entry["model"], entry["access"], entry["groups"]
        if access == "groups" and not groups:
            return f"{name}: 'access: groups' needs 'groups', the names of those that see the model."
        if access != "groups" and groups:
            return f"{name}: 'groups' goes with 'access: groups' alone, not with 'access: {access}'."
        if name in seen:
            return f"{name} is declared twice; one of the two would undo the other."
        seen.add(name)
    return ""


def readers(access: str, names: list[str], groups: list[dict[str, Any]]) -> tuple[list[dict[str, str]], list[str]]:
    """Return the grants that a declared access stands for.

    :param access: ``everyone``, ``admins`` or ``groups``.
    :param names: the declared groups.
    :param groups: the page's groups, each with ``id`` and ``name``.
    :returns: the grants, and the names that the page has no group for. Such a name stands in its grant as it is.
    :raises PageError: the page has two groups of one of the names.
    """
    if access == "everyone":
        return [EVERYBODY_READS], []
    if access == "admins":
        return [], []
    there = group_ids(groups, names)
    unknown = [name for name in names if name not in there]
    return [group_reads(there.get(name, name)) for name in dict.fromkeys(names)], unknown


def unknown_groups(unknown: list[str], groups: list[dict[str, Any]]) -> str:
    """Return the sentence about groups that the page does not have."""
    there = ", ".join(sorted(group["name"] for group in groups)) or "none"
    return (
        f"The page has no group {' and no group '.join(unknown)}; its groups are: {there}. Correct the name, or make "
        "the group with llmdesk.workstation.open_webui_users."
    )


def named_grants(grants: list[dict[str, str]], names: dict[str, str]) -> list[str]:
    """Return grants as people read them, such as ``everyone: read`` or ``group class 8b: read``.

    :param names: the names of groups and accounts by their ids; an id without a name stands for itself.
    """
    return sorted(f"{_who(grant, names)}: {grant['permission']}" for grant in grants)


def _who(grant: dict[str, str], names: dict[str, str]) -> str:
    if grant["principal_id"] == "*":
        return "everyone"
    return f"{grant['principal_type']} {names.get(grant['principal_id'], grant['principal_id'])}"
