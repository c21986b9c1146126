# GNU General Public License v3.0+ (see LICENSE)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
name: mirror
short_description: What a mirror of the LAN is to fetch before its desks ask
version_added: 0.1.0
author:
  - llmdesk maintainers (@llmdesk)
description:
  - Reads what the desks of an inventory declare, and says which models and images of it a mirror can have.
positional: desks, upstreams
options:
  _input:
    description: The variables of all hosts, C(hostvars).
    type: dict
    required: true
  desks:
    description: Names of the desks.
    type: list
    elements: str
    required: true
  upstreams:
    description: The registries that the mirror stands in for, and the port of each.
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: Say what the mirror would fetch
  ansible.builtin.debug:
    msg: "{{ hostvars | llmdesk.workstation.mirror(groups.desks, {'registry.ollama.ai': 5443}) }}"
"""

RETURN = r"""
_value:
  description: C(models) and C(images), as M(llmdesk.workstation.mirror_blobs) takes them.
  type: dict
"""

from pathlib import Path
from typing import Any

import yaml
from ansible_collections.llmdesk.workstation.plugins.module_utils import mirror as mirrors
from ansible_collections.llmdesk.workstation.plugins.module_utils.image_source import with_mirrors
from ansible_collections.llmdesk.workstation.plugins.plugin_utils.mirrors import (
    authority,
    authority_file,
    password,
    password_file,
)

ROLES = Path(__file__).resolve().parents[2] / "roles"


class FilterModule:
    """What is asked of a mirror, and of whom else."""

    def filters(self) -> dict[str, Any]:
        """Return the filters by their names."""
        return {
            "mirror": mirror,
            "mirror_hosts": mirror_hosts,
            "mirror_authority": authority,
            "mirror_authority_file": lambda name: str(authority_file(name)),
            "mirror_password": password,
            "mirror_password_file": lambda name: str(password_file(name)),
            "mirror_models": mirrors.models_mirrored,
            "mirror_images": mirrors.images_mirrored,
        }


def mirror_hosts(groups: dict[str, list[str]], group: str = "mirrors") -> str:
    """Return a pattern for the mirrors: where there are none, it names nobody and no warning comes."""
    return group if groups.get(group) else "!all"


def mirror(hostvars: Any, desks: list[str], upstreams: dict[str, int]) -> dict[str, Any]:
    """Return what the mirror fetches before the desks ask."""
    models: list[Any] = []
    images: list[dict[str, str]] = []
    for name in desks:
        told = hostvars[name]
        models += _told(told, "ollama_models", "ollama_models")
        sources = with_mirrors(
            _told(told, "open_webui", "open_webui_image_sources"),
            _told(told, "open_webui", "open_webui_image_mirrors"),
        )
        images += [entry for entry in mirrors.wanted([], sources, upstreams)[1] if entry not in images]
    return {"models": mirrors.wanted(models, [], upstreams)[0], "images": images}


def _told(told: Any, role: str, variable: str) -> list[Any]:
    """Return a variable of a desk, and the role's own default where nobody has set it."""
    if variable in told:
        return list(told[variable])
    return list(yaml.safe_load((ROLES / role / "defaults" / "main.yml").read_text())[variable])
