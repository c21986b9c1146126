# GNU General Public License v3.0+ (see LICENSE)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
name: desk_report
short_description: What a person wants to know about a desk
version_added: 0.1.0
author:
  - llmdesk maintainers (@llmdesk)
description:
  - Turns the desk facts, and what a chat in this run said, into the report that the screen shows.
positional: chat, email, gpu, windows, wanted
options:
  _input:
    description: The desk facts, C(desk_state.desk).
    type: dict
    required: true
  chat:
    description: The result of M(llmdesk.workstation.open_webui_chat), empty where nothing was asked.
    type: dict
    default: {}
  email:
    description: The address the administrator signs in with.
    type: str
    default: admin@localhost
  gpu:
    description: Which way the container takes to a GPU, C(plan('gpu')).
    type: dict
    default: {}
  windows:
    description: Of a distro that was reached through Windows, that C(host), and the C(gpus) that it has.
    type: dict
    default: {}
  wanted:
    description: What the run wanted of the desk, for its record.
    type: dict
    default: {}
"""

EXAMPLES = r"""
- name: Report the desk
  ansible.builtin.debug:
    msg: "{{ desk_state.desk | llmdesk.workstation.desk_report }}"
"""

RETURN = r"""
_value:
  description: The report, with C(address), C(windows_host), C(account), C(image), C(gpu), C(model), C(proof),
    C(links), C(warnings) and C(wanted).
  type: dict
"""

import os
import platform
from typing import Any

from ansible_collections.llmdesk.workstation.plugins.module_utils.network import shell_proxy
from ansible_collections.llmdesk.workstation.plugins.module_utils.report import desk_report


class FilterModule:
    """The report of a desk."""

    def filters(self) -> dict[str, Any]:
        """Return the filter by its name."""
        return {"desk_report": report}


def report(
    desk: dict[str, Any],
    chat: dict[str, Any] | None = None,
    email: str = "admin@localhost",
    gpu: dict[str, Any] | None = None,
    windows: dict[str, Any] | None = None,
    wanted: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Return the report of one desk; see the module it comes from."""
    said = desk_report(desk, chat or {}, email, gpu, windows, wanted)
    hint = shell_proxy(desk, dict(os.environ), platform.node())
    return dict(said, warnings=[*said["warnings"], *filter(None, [hint])])
