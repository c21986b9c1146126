# GNU General Public License v3.0+ (see LICENSE)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
name: windows_report
short_description: What a person wants to know about the Windows half of a desk
version_added: 0.1.0
author:
  - llmdesk maintainers (@llmdesk)
description:
  - Turns the Windows facts, and what is to be done about WSL, into what the screen shows beside the distro's report.
positional: plan, wanted
options:
  _input:
    description: The Windows facts, C(windows_state.result).
    type: dict
    required: true
  plan:
    description: What is to be done about WSL, with C(refusals), C(steps), C(warnings) and C(reboot).
    type: dict
    default: {}
  wanted:
    description: The C(desk), the name of the distro's host, and its C(distribution).
    type: dict
    default: {}
"""

EXAMPLES = r"""
- name: Report the Windows half
  ansible.builtin.debug:
    msg: >-
      {{ {'desk_report': windows_state.result
      | llmdesk.workstation.windows_report({}, {'desk': 'pc1-wsl', 'distribution': 'Ubuntu-24.04'})} }}
"""

RETURN = r"""
_value:
  description: The report, with C(half), C(desk), C(system), C(wsl), C(distribution), C(memory), C(keep_alive), C(gpus),
    C(reboot), C(missing) and C(warnings).
  type: dict
"""

from typing import Any

from ansible_collections.llmdesk.workstation.plugins.module_utils.windows_report import windows_report


class FilterModule:
    """The report of the Windows half."""

    def filters(self) -> dict[str, Any]:
        """Return the filter by its name."""
        return {"windows_report": report}


def report(
    windows: dict[str, Any], plan: dict[str, Any] | None = None, wanted: dict[str, Any] | None = None
) -> dict[str, Any]:
    """Return the report of the Windows half of a desk; see the module it comes from."""
    return windows_report(windows, plan or {}, wanted or {})
