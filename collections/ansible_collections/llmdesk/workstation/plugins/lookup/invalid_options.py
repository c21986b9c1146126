# GNU General Public License v3.0+ (see LICENSE)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
name: invalid_options
short_description: What is wrong with the values of the variables of some roles
version_added: 0.1.0
author:
  - llmdesk maintainers (@llmdesk)
description:
  - Checks the variables of roles of this collection against their argument specifications, as
    M(ansible.builtin.validate_argument_spec) does, without a task. It refuses nothing.
options:
  _terms:
    description: The names of the roles, without the collection's. Their defaults have to be there.
    type: list
    elements: str
    required: true
"""

EXAMPLES = r"""
- name: Say what is wrong
  ansible.builtin.debug:
    msg: "{{ query('llmdesk.workstation.invalid_options', 'docker', 'verify') }}"
"""

RETURN = r"""
_list:
  description: One sentence for each value that is wrong.
  type: list
  elements: str
"""

from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible.plugins.lookup import LookupBase

ROLES = Path(__file__).resolve().parents[2] / "roles"


class LookupModule(LookupBase):  # type: ignore[misc]
    """The check of variables, as a question."""

    def run(self, terms: list[str], variables: dict[str, Any] | None = None, **kwargs: Any) -> list[str]:
        """Return what is wrong, one sentence each."""
        given = variables or {}
        wanted = options(tuple(terms))
        values = {name: self._templar.template(given[name]) for name in wanted if name in given}
        return list(ArgumentSpecValidator(wanted).validate(values).error_messages)


@lru_cache
def options(roles: tuple[str, ...]) -> dict[str, Any]:
    """Return the options of some roles."""
    found: dict[str, Any] = {}
    for role in roles:
        text = (ROLES / role / "meta" / "argument_specs.yml").read_text()
        specs = yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
        found.update(specs["argument_specs"]["main"]["options"])
    return found
