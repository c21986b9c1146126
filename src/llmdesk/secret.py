# SPDX-License-Identifier: GPL-3.0-or-later
"""The administrator's passwords, out of what the playbook ``password`` answered."""

from __future__ import annotations

from typing import Any

from llmdesk.events import answers


def passwords(document: dict[str, Any]) -> tuple[dict[str, str], dict[str, str]]:
    """Return the passwords by host, and for the other hosts why there is none.

    :param document: the document of the callback ``ansible.posix.json``.
    """
    return answers(document, "desk_password")
