# GNU General Public License v3.0+ (see LICENSE)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
name: bundle_for_desk
short_description: What a desk needs of a bundle
version_added: 0.1.0
author:
  - llmdesk maintainers (@llmdesk)
description:
  - Says which files of a bundle a desk lacks, and what it wants that is not in it.
positional: desk, asked
options:
  _input:
    description: What the lookup P(llmdesk.workstation.bundle#lookup) gives.
    type: dict
    required: true
  desk:
    description: The desk facts, C(desk_state.desk).
    type: dict
    required: true
  asked:
    description: The C(sources) of the image and the C(models), as they are declared for the desk.
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: Say what is missing
  ansible.builtin.debug:
    msg: "{{ (__desk_bundle | llmdesk.workstation.bundle_for_desk(desk_state.desk, wanted)).errors }}"
"""

RETURN = r"""
_value:
  description: C(packages), C(files) and C(errors).
  type: dict
"""

from typing import Any

from ansible_collections.llmdesk.workstation.plugins.module_utils import bundle


class FilterModule:
    """What is in a bundle, and for whom."""

    def filters(self) -> dict[str, Any]:
        """Return the filters by their names."""
        return {
            "bundle_for_desk": bundle.for_desk,
            "bundle_image_sources": bundle.image_sources,
            "bundle_models": bundle.model_sources,
            "bundle_said": bundle.said,
            "bundle_wanted": bundle.wanted,
        }
