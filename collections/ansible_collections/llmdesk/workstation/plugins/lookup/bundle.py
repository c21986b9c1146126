# GNU General Public License v3.0+ (see LICENSE)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
name: bundle
short_description: What is in a bundle on the controller
version_added: 0.1.0
author:
  - llmdesk maintainers (@llmdesk)
description:
  - Reads the list of a bundle that M(llmdesk.workstation.bundle) has made, and looks whether every file of it is there.
options:
  _terms:
    description: The bundle's folder.
    type: list
    elements: path
    required: true
"""

EXAMPLES = r"""
- name: Say which models a bundle has
  ansible.builtin.debug:
    msg: "{{ lookup('llmdesk.workstation.bundle', '/media/usb').models }}"
"""

RETURN = r"""
_raw:
  description: C(images), C(models), C(systems) and C(files); or C(error), a sentence, where there is no whole bundle.
  type: list
  elements: dict
"""

from typing import Any

from ansible.plugins.lookup import LookupBase
from ansible_collections.llmdesk.workstation.plugins.module_utils import bundle


class LookupModule(LookupBase):  # type: ignore[misc]
    """A bundle, for tasks."""

    def run(self, terms: list[str], variables: Any = None, **options: Any) -> list[dict[str, Any]]:
        """Return what is in each folder."""
        self.set_options(var_options=variables, direct=options)
        return [_read(folder) for folder in terms]


def _read(folder: str) -> dict[str, Any]:
    try:
        return bundle.read(folder)
    except bundle.NoBundle as error:
        return {"error": str(error), "images": [], "models": {}, "systems": [], "files": {}}
