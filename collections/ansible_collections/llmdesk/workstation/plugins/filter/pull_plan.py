# GNU General Public License v3.0+ (see LICENSE)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
name: pull_plan
short_description: What a desk has to have to hold itself to a git repository
version_added: 0.1.0
author:
  - llmdesk maintainers (@llmdesk)
description:
  - Checks what is wanted, and says which files and programs a desk needs to pull.
positional: network
options:
  _input:
    description: What is wanted; C(vars/main.yml) of the role M(llmdesk.workstation.desk_pull) shows it.
    type: dict
    required: true
  network:
    description: What the filter P(llmdesk.workstation.network#filter) gives.
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: Say what is wrong
  ansible.builtin.debug:
    msg: "{{ (__desk_pull_wanted | llmdesk.workstation.pull_plan(__desk_network)).errors }}"
"""

RETURN = r"""
_value:
  description: C(errors), C(files), C(secrets) and C(programs).
  type: dict
"""

from typing import Any

from ansible_collections.llmdesk.workstation.plugins.module_utils import pull_plan


class FilterModule:
    """What a desk that pulls has to have."""

    def filters(self) -> dict[str, Any]:
        """Return the filters by their names."""
        return {"pull_plan": pull_plan.pull_plan}
