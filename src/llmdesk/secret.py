# SPDX-License-Identifier: GPL-3.0-or-later
"""The administrator's passwords, out of what the playbook ``password`` answered."""

from __future__ import annotations

from typing import Any

from llmdesk.events import message


def passwords(document: dict[str, Any]) -> tuple[dict[str, str], dict[str, str]]:
    """Return the passwords by host, and for the other hosts why there is none.

    :param document: the document of the callback ``ansible.posix.json``.
    """
    found: dict[str, str] = {}
    failures: dict[str, str] = {}
    for play in document["plays"]:
        for task in play["tasks"]:
            for host, result in task["hosts"].items():
                if result.get("failed") or result.get("unreachable"):
                    failures[host] = message(result)
                elif isinstance(result.get("msg"), dict) and "desk_password" in result["msg"]:
                    found[host] = result["msg"]["desk_password"]
    return found, failures
