# GNU General Public License v3.0+ (see LICENSE)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
name: plan
short_description: What one part of a desk needs
version_added: 0.1.0
author:
  - llmdesk maintainers (@llmdesk)
description:
  - Compares the desk facts with what is wanted and says what has to be done, and why.
positional: part, wanted
options:
  _input:
    description: The desk facts, C(desk_state.desk).
    type: dict
    required: true
  part:
    description: The part of the desk.
    type: str
    required: true
    choices:
      - network
      - docker
      - docker_proxy
      - gpu
      - nvidia_runtime
      - image
      - image_build
      - account
      - container
      - models
      - settings
      - people
      - verify
  wanted:
    description: What is wanted of that part; the roles' own variables show what each takes.
    type: dict
    default: {}
"""

EXAMPLES = r"""
- name: Install Docker
  ansible.builtin.include_tasks: install.yml
  when: (desk_state.desk | llmdesk.workstation.plan('docker')).do == 'install'
"""

RETURN = r"""
_value:
  description: C(act), whether anything has to be done, C(do), what, C(reason), one sentence, and what else the part
    needs.
  type: dict
"""

from typing import Any

from ansible.errors import AnsibleFilterError
from ansible_collections.llmdesk.workstation.plugins.module_utils import (
    docker_packages,
    gpu_plan,
    model_choice,
    model_plan,
    network,
    nvidia_plan,
    people_plan,
    variable_names,
    wsl_conf,
)
from ansible_collections.llmdesk.workstation.plugins.module_utils import plan as plans
from ansible_collections.llmdesk.workstation.plugins.module_utils.image_source import with_mirrors
from ansible_collections.llmdesk.workstation.plugins.plugin_utils.catalogue import catalogue

PARTS = {
    "network": network.network_plan,
    "docker_proxy": network.docker_proxy_plan,
    "docker": plans.docker_plan,
    "gpu": gpu_plan.gpu_plan,
    "nvidia_runtime": nvidia_plan.nvidia_runtime_plan,
    "image": plans.image_plan,
    "image_build": gpu_plan.build_plan,
    "account": plans.account_plan,
    "container": plans.container_plan,
    "models": model_plan.models_plan,
    "settings": plans.settings_plan,
    "people": people_plan.people_plan,
    "verify": plans.verify_plan,
}


class FilterModule:
    """The decisions, for tasks."""

    def filters(self) -> dict[str, Any]:
        """Return the filters by their names."""
        catalogue()  # Read once, by the controller's own process: the worker of every desk is a copy of that.
        return {
            "plan": plan,
            "preflight": preflight,
            "background_tasks": plans.background_tasks,
            "config_hash": plans.config_hash,
            "docker_family": docker_packages.family_file,
            "docker_installation": docker_packages.installation,
            "docker_present": docker_packages.present,
            "docker_conflict": docker_packages.conflict,
            "docker_wsl_conf": wsl_conf.with_boot_command,
            "image_sources": with_mirrors,
            "gpu_docker_options": gpu_plan.docker_options,
            "gpu_proof_identity": nvidia_plan.proof_identity,
            "models_by_size": model_plan.by_size,
            "models_errands": model_plan.errands,
            "models_record": model_plan.models_record,
        }


def plan(desk: dict[str, Any], part: str, wanted: dict[str, Any] | None = None) -> Any:
    """Return what one part of a desk needs."""
    if part not in PARTS:
        raise AnsibleFilterError(f"plan knows no part {part!r}, only {', '.join(PARTS)}")
    return PARTS[part](desk, wanted or {})


def preflight(desk: dict[str, Any], wanted: dict[str, Any]) -> dict[str, list[str]]:
    """Return what stops a run before anything is touched, as ``errors``, and what is only said, as ``warnings``.

    :param wanted: what ``plan.preflight`` and ``model_choice.errors`` take, what is wrong with the ``network``, and the
        ``names`` of all variables of this desk.
    """
    known = catalogue()
    return {
        "errors": [
            *plans.preflight(desk, wanted),
            *wanted["network"],
            *model_choice.errors(desk, wanted, known),
            *variable_names.errors(wanted["names"]),
        ],
        "warnings": [
            *model_choice.warnings(desk, wanted, known),
            *variable_names.warnings(wanted["names"]),
        ],
    }
