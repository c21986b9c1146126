#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: open_webui_model_access
short_description: Who sees a model in an Open WebUI page
description:
  - Open WebUI shows a model to administrators alone until it has a record that says otherwise. This module keeps that
    record. The grants to see the model become exactly what is declared.
  - Everything else that an administrator wrote into the record stays, and so does who may change it.
  - Administrators see every model, whatever is declared.
  - A model that the page does not offer yet gets its record all the same, and a warning in case of a wrong name. So
    whoever should not see it never sees it, not even between its pull and the next run.
version_added: 0.1.0
author:
  - llmdesk maintainers (@llmdesk)
options:
  url:
    description: Address of the page.
    type: str
    default: http://127.0.0.1:3000
  email:
    description: The administrator's address.
    type: str
    default: admin@localhost
  password_file:
    description: File on the desk that holds the administrator's password.
    type: path
    default: /etc/llmdesk/admin_password
  model:
    description: Name of the model, with its tag, as the page shows it. Required without O(models).
    type: str
  access:
    description:
      - Who sees the model. V(everyone) is everybody who is signed in, V(groups) the members of O(groups), and
        V(admins) administrators alone. Required with O(model).
    type: str
    choices: [everyone, admins, groups]
  groups:
    description:
      - Names of the groups that see the model. Required with O(access=groups), and refused without.
      - A group that the page does not have is an error, because a group that was made out of a wrong name would hide
        the model from the right one. M(llmdesk.workstation.open_webui_users) makes groups. In check mode it is a
        warning, since the task that would make it has only been tried as well.
    type: list
    elements: str
    default: []
  models:
    description:
      - Several models at once, in place of O(model), O(access) and O(groups). The page takes fifteen sign-ins of an
        account in three minutes, and this is one, whereas a loop is one a model.
    type: list
    elements: dict
    suboptions:
      model:
        description: Name of the model.
        type: str
        required: true
      access:
        description: Who sees the model.
        type: str
        choices: [everyone, admins, groups]
        required: true
      groups:
        description: Names of the groups that see the model.
        type: list
        elements: str
        default: []
attributes:
  check_mode:
    support: full
    description: Says what would be changed.
  diff_mode:
    support: full
    description: Shows the model's grants before and after, by the names of accounts and groups.
seealso:
  - module: llmdesk.workstation.open_webui_settings
  - module: llmdesk.workstation.open_webui_users
"""

EXAMPLES = r"""
- name: Let everybody use the small model
  llmdesk.workstation.open_webui_model_access:
    model: llama3.2:3b
    access: everyone

- name: Keep the large one for two classes, and try a new one before anybody else sees it
  llmdesk.workstation.open_webui_model_access:
    models:
      - model: qwen3:14b
        access: groups
        groups: [class 8b, class 9a]
      - model: gpt-oss:20b
        access: admins
"""

RETURN = r"""
changes:
  description: Names of the models whose record was changed.
  returned: success
  type: list
  elements: str
  sample: [qwen3:14b]
readers:
  description: Who sees each model besides administrators, C(everyone) or groups by their names.
  returned: success
  type: dict
  sample: {"qwen3:14b": [group class 8b, group class 9a]}
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.llmdesk.workstation.plugins.module_utils.open_webui import (
    SIGN_IN,
    PageError,
    record_fields,
    signed_in,
    wanted_record,
)
from ansible_collections.llmdesk.workstation.plugins.module_utils.open_webui_access import (
    access_fault,
    named_grants,
    readers,
    unknown_groups,
)


def hold(module: AnsibleModule, entries: list[dict[str, Any]]) -> dict[str, Any]:
    """Hold the access of models as declared.

    :param entries: each with ``model``, ``access`` and ``groups``.
    :returns: the module's result.
    :raises PageError: the page does not answer, or refuses.
    """
    page = signed_in(module.params)
    offered = page.models()  # the page learns of new models only when its list is asked for
    for name in [entry["model"] for entry in entries if entry["model"] not in offered]:
        module.warn(
            f"The page offers no model {name} yet, only {', '.join(offered) or 'none'}. Its access holds from the "
            "moment that there is one; correct the name if it is another."
        )
    groups = page.groups()
    declared = {entry["model"]: readers(entry["access"], entry["groups"], groups) for entry in entries}
    unknown = sorted({name for _grants, names in declared.values() for name in names})
    if unknown and not module.check_mode:
        module.fail_json(msg=unknown_groups(unknown, groups))
    if unknown:
        module.warn(unknown_groups(unknown, groups) + " Without check mode this is an error.")
    records = {name: page.model_record(name) for name in declared}
    wanted = {name: wanted_record(records[name], name, readers=declared[name][0]) for name in declared}
    changes = [name for name in declared if not (records[name] and record_fields(records[name] or {}) == wanted[name])]
    if changes and not module.check_mode:
        for name in changes:
            page.save_model_record(wanted[name], records[name])
        page.models()  # and takes changed records into use in the same way
    names = {group["id"]: group["name"] for group in groups}
    every = [grant for record in (*records.values(), *wanted.values()) for grant in grants(record)]
    if any(grant["principal_type"] == "user" and grant["principal_id"] != "*" for grant in every):
        names.update((account["id"], account["email"]) for account in page.accounts())
    return {
        "changed": bool(changes),
        "changes": changes,
        "readers": {
            name: [entry.rpartition(": ")[0] for entry in named_grants(declared[name][0], names)] for name in declared
        },
        "diff": {
            "before": {name: records[name] and named_grants(grants(records[name]), names) for name in changes},
            "after": {name: named_grants(grants(wanted[name]), names) for name in changes},
        },
    }


def grants(record: dict[str, Any] | None) -> list[dict[str, str]]:
    """Return the grants of a record, none where there is none."""
    return record_fields(record)["access_grants"] if record else []


def main() -> None:
    access = {"type": "str", "choices": ["everyone", "admins", "groups"]}
    groups = {"type": "list", "elements": "str", "default": []}
    module = AnsibleModule(
        argument_spec={
            **SIGN_IN,
            "model": {"type": "str"},
            "access": access,
            "groups": groups,
            "models": {
                "type": "list",
                "elements": "dict",
                "options": {
                    "model": {"type": "str", "required": True},
                    "access": {**access, "required": True},
                    "groups": groups,
                },
            },
        },
        mutually_exclusive=[("model", "models"), ("access", "models")],
        required_one_of=[("model", "models")],
        required_together=[("model", "access")],
        supports_check_mode=True,
    )
    one = {key: module.params[key] for key in ("model", "access", "groups")}
    entries = [one] if module.params["model"] else module.params["models"]
    fault = access_fault(entries)
    if fault:
        module.fail_json(msg=fault)
    try:
        result = hold(module, entries)
    except (PageError, OSError) as error:
        module.fail_json(
            msg=f"Who sees which model in the page at {module.params['url']} could not be held: {error}. "
            "Run 'llmdesk verify' to see which link is broken."
        )
    module.exit_json(**result)


if __name__ == "__main__":
    main()
