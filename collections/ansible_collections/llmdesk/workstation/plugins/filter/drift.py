# GNU General Public License v3.0+ (see LICENSE)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
name: drift
short_description: What has changed on a desk that no run has changed
version_added: 0.1.0
author:
  - llmdesk maintainers (@llmdesk)
description:
  - Compares the desk facts with the desk's last record, with what is wanted of it now, and with what would be changed
    back in its page.
positional: record, wanted, settings, people, access
options:
  _input:
    description: The desk facts, C(desk_state.desk).
    type: dict
    required: true
  record:
    description: The desk's record, as P(llmdesk.workstation.desk_record#lookup) finds it; empty where there is none.
    type: dict
    default: {}
  wanted:
    description: What the inventory says of C(models), C(ports) and C(listen); of the rest, and of what is none, the
      record counts.
    type: dict
    default: {}
  settings:
    description: The result of M(llmdesk.workstation.open_webui_settings) in check mode.
    type: dict
    default: {}
  people:
    description: The result of M(llmdesk.workstation.open_webui_users) in check mode.
    type: dict
    default: {}
  access:
    description: The result of M(llmdesk.workstation.open_webui_model_access) in check mode.
    type: dict
    default: {}
"""

EXAMPLES = r"""
- name: Say what has drifted
  ansible.builtin.debug:
    msg: >-
      {{ desk_state.desk
      | llmdesk.workstation.drift(lookup('llmdesk.workstation.desk_record', inventory_hostname)) }}
"""

RETURN = r"""
_value:
  description: C(against), the time of the record that was compared to, none where there is none, and C(found), a list
    of C(what), C(wanted), C(recorded), C(found), C(sentence) and C(remedy).
  type: dict
"""

from typing import Any

from ansible_collections.llmdesk.workstation.plugins.module_utils import drift as rules
from ansible_collections.llmdesk.workstation.plugins.module_utils.report import wanted_of


class FilterModule:
    """Drift, for tasks."""

    def filters(self) -> dict[str, Any]:
        """Return the filter by its name."""
        return {"drift": drift}


def drift(
    desk: dict[str, Any],
    record: dict[str, Any] | None = None,
    wanted: dict[str, Any] | None = None,
    settings: dict[str, Any] | None = None,
    people: dict[str, Any] | None = None,
    access: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Return what has drifted on a desk; see the module it comes from."""
    found = rules.drift(record or None, desk, wanted_of(wanted or {}))
    page = rules.page_drift(*(_asked(result) for result in (settings, people, access)))
    return {"against": (record or {}).get("ended"), "found": [*found, *page]}


def _asked(result: dict[str, Any] | None) -> dict[str, Any]:
    """Return a task's result, empty where it was skipped."""
    return {} if not result or result.get("skipped") else result
