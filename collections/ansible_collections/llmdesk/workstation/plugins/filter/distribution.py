# GNU General Public License v3.0+ (see LICENSE)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
name: distribution
short_description: Which way models come to the desks of a room
version_added: 0.2.0
author:
  - llmdesk maintainers (@llmdesk)
description:
  - Chooses between a swarm of desks, the mirror and no mirror, by the number of desks and the bytes that are to come.
positional: mirror, desks, models
options:
  _input:
    description: What is wanted, C(auto), C(swarm), C(mirror) or C(direct).
    type: str
    required: true
  mirror:
    description: The mirror's name or address; empty for none.
    type: str
    required: true
  desks:
    description: How many desks fetch at the same time.
    type: int
    required: true
  models:
    description: What is to come and the mirror has, each with its C(blobs), which have C(digest) and C(size).
    type: list
    elements: dict
    required: true
"""

EXAMPLES = r"""
- name: Say how the models come
  ansible.builtin.debug:
    msg: "{{ ('auto' | llmdesk.workstation.distribution('mirror.example.com', 50, swarm_models)).why }}"
"""

RETURN = r"""
_value:
  description: C(way), C(why), and C(blobs), those that a swarm would bring.
  type: dict
"""

from typing import Any

from ansible_collections.llmdesk.workstation.plugins.module_utils import distribution


class FilterModule:
    """How a room gets its models."""

    def filters(self) -> dict[str, Any]:
        """Return the filters by their names."""
        return {"distribution": distribution.distribution, "models_to_come": distribution.to_come}
