# GNU General Public License v3.0+ (see LICENSE)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
name: docker_desktop_plan
short_description: What Docker Desktop needs on a Windows PC
version_added: 0.1.0
author:
  - llmdesk maintainers (@llmdesk)
description:
  - Compares what the PC has answered with what is wanted, and says what has to be done, and what stands in the way.
positional: wanted
options:
  _input:
    description: C(windows_state.result), as the role wsl registers it.
    type: dict
    required: true
  wanted:
    description: C(accept_license), C(distribution), C(installer), C(autostart), C(settings) and C(remove_engine).
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: Say what would be done
  ansible.builtin.debug:
    msg: "{{ (windows_state.result | llmdesk.workstation.docker_desktop_plan(wishes)).steps }}"
"""

RETURN = r"""
_value:
  description: C(act), C(refused), C(steps), C(reason), C(install), C(settings) and C(start).
  type: dict
"""

from typing import Any

from ansible_collections.llmdesk.workstation.plugins.module_utils import docker_desktop_plan


class FilterModule:
    """The decisions about Docker Desktop, for tasks."""

    def filters(self) -> dict[str, Any]:
        """Return the filters by their names."""
        return {
            "docker_desktop_plan": docker_desktop_plan.docker_desktop_plan,
            "docker_desktop_exit": docker_desktop_plan.exit_meaning,
            "docker_desktop_packages": docker_desktop_plan.packages,
            "docker_desktop_misfit": docker_desktop_plan.misfit,
        }
