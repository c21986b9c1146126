# GNU General Public License v3.0+ (see LICENSE)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
name: wsl_plan
short_description: What a Windows machine needs to carry a desk in WSL
version_added: 0.1.0
author:
  - llmdesk maintainers (@llmdesk)
description:
  - Compares the facts of a Windows machine with what is wanted of it, and says what has to be done, and what stands in
    the way.
positional: wanted
options:
  _input:
    description: The facts of the Windows machine, C(windows_state.result).
    type: dict
    required: true
  wanted:
    description: What is wanted; C(vars/main.yml) of the role M(llmdesk.workstation.wsl) shows it.
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: Say what would be done
  ansible.builtin.debug:
    msg: "{{ (windows_state.result | llmdesk.workstation.wsl_plan(__wsl_wanted)).steps }}"
"""

RETURN = r"""
_value:
  description: C(refusals), C(warnings), C(steps), C(reboot), C(act), and what the steps need.
  type: dict
"""

from typing import Any

from ansible_collections.llmdesk.workstation.plugins.module_utils import wsl_output, wsl_plan


class FilterModule:
    """The decisions about Windows and WSL, for tasks."""

    def filters(self) -> dict[str, Any]:
        """Return the filters by their names."""
        return {
            "windows_hosts": windows_hosts,
            "wsl_plan": wsl_plan.plan,
            "wsl_refused": wsl_plan.refused,
            "wsl_failure": failure,
            "wsl_left_over": wsl_plan.left_over,
            "wsl_source": wsl_plan.source,
            "wsl_exe": wsl_plan.exe,
            "wsl_host": wsl_plan.distro_host,
            "wsl_distro_plan": wsl_plan.distro_plan,
            "wsl_shell_refusal": wsl_plan.shell_type_refusal,
        }


def windows_hosts(groups: dict[str, list[str]], group: str = "windows") -> str:
    """Return a pattern for the hosts of a group: where there is none, it names nobody and no warning comes."""
    return group if groups.get(group) else "!all"


def failure(result: dict[str, Any], what: str) -> str:
    """Return one message for a call of wsl.exe by win_command; see ``wsl_output.failure``.

    Its errors come by standard output; what win_command itself says of a program that did not even start counts too.
    """
    said = "\n".join(str(result.get(key) or "") for key in ("stdout", "stderr", "msg"))
    return wsl_output.failure(what, said)
