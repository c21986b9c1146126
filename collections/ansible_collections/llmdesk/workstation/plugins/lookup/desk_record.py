# GNU General Public License v3.0+ (see LICENSE)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
name: desk_record
short_description: The record of the last run that brought a desk where it should be
version_added: 0.1.0
author:
  - llmdesk maintainers (@llmdesk)
description:
  - Reads, on the controller, what P(llmdesk.workstation.desk_records#callback) has kept of a host.
  - Runs in check mode, those that failed, and those that only look at a desk are passed over.
options:
  _terms:
    description: Names of hosts.
    type: list
    elements: str
    required: true
  path:
    description: The folder of records, as the callback has it.
    type: str
    env:
      - name: LLMDESK_RECORDS
    ini:
      - section: llmdesk
        key: records
"""

EXAMPLES = r"""
- name: Say when this desk was last brought where it should be
  ansible.builtin.debug:
    msg: "{{ lookup('llmdesk.workstation.desk_record', inventory_hostname).ended | default('never') }}"
"""

RETURN = r"""
_raw:
  description: A record a host, empty where there is none.
  type: list
  elements: dict
"""

from pathlib import Path
from typing import Any

from ansible.plugins.lookup import LookupBase
from ansible_collections.llmdesk.workstation.plugins.plugin_utils import records

BRINGING = ("site", "pull", "models")
"""The playbooks that bring a desk where it should be."""


class LookupModule(LookupBase):  # type: ignore[misc]
    """Records, for tasks."""

    def run(self, terms: list[str], variables: Any = None, **options: Any) -> list[dict[str, Any]]:
        """Return a record a host."""
        self.set_options(var_options=variables, direct=options)
        path = self.get_option("path")
        folder = records.default_folder() if path is None else Path(path).expanduser()
        return [last(folder, host) if path != "" else {} for host in terms]


def last(folder: Path, host: str) -> dict[str, Any]:
    """Return the record that a host is compared to, empty where there is none."""
    for record in records.newest(folder, host, BRINGING):
        if record["outcome"] in ("ok", "changed") and record["facts"] and not record["check"]:
            return record
    return {}
