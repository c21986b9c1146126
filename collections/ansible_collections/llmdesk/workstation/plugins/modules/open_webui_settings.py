#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: open_webui_settings
short_description: The few settings of an Open WebUI page that a desk answers for
description:
  - Open WebUI reads its environment only when its data volume is new. This module holds a running page to the named
    settings, whatever the age of its volume, and leaves everything else to the administrator.
  - For each named model it keeps a record that sends the page's own tools only where Ollama says that the model
    understands tools. Without it, people read C(does not support tools) instead of an answer.
  - A model without a record is shown to administrators alone, so a record that is made here lets every signed-in
    person use the model. In a record that is there already, who sees the model is somebody's decision, an
    administrator's or one declared with M(llmdesk.workstation.open_webui_model_access), and stays as it is.
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
  config:
    description: Settings by the names that the page's own export gives them.
    type: dict
    default: {}
  models:
    description: Names of models, with their tags, that the page is to serve well.
    type: list
    elements: str
    default: []
attributes:
  check_mode:
    support: full
    description: Says what would be changed.
  diff_mode:
    support: full
    description: Shows the named settings and records before and after.
"""

EXAMPLES = r"""
- name: Keep strangers out and let everybody use the model
  llmdesk.workstation.open_webui_settings:
    config:
      ui.enable_signup: false
    models:
      - llama3.2:3b
"""

RETURN = r"""
changes:
  description: Names of the settings and models that were changed.
  returned: success
  type: list
  elements: str
  sample: [ui.enable_signup, "llama3.2:3b"]
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.llmdesk.workstation.plugins.module_utils.open_webui import (
    SIGN_IN,
    OpenWebUI,
    PageError,
    record_fields,
    signed_in,
    wanted_record,
)


def difference(page: OpenWebUI, config: dict[str, Any], models: list[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return what has to change, as (before, after), each with the keys ``config`` and ``models``."""
    present = page.request("GET", "/api/v1/configs/export") if config else {}
    wrong = {key: value for key, value in config.items() if present.get(key) != value}
    before: dict[str, Any] = {"config": {key: present.get(key) for key in wrong}, "models": {}}
    after: dict[str, Any] = {"config": wrong, "models": {}}
    for name in models:
        capabilities = page.request("POST", "/ollama/api/show", {"model": name}).get("capabilities") or []
        record = page.model_record(name)
        wanted = wanted_record(record, name, tools="tools" in capabilities)
        if record is None or record_fields(record) != wanted:
            before["models"][name], after["models"][name] = record and record_fields(record), wanted
    return before, after


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            **SIGN_IN,
            "config": {"type": "dict", "default": {}},
            "models": {"type": "list", "elements": "str", "default": []},
        },
        supports_check_mode=True,
    )
    try:
        page = signed_in(module.params)
        page.models()  # the page learns of new models only when its list is asked for
        before, after = difference(page, module.params["config"], module.params["models"])
        if not module.check_mode:
            if after["config"]:
                page.request("POST", "/api/v1/configs/import", {"config": after["config"]})
            for name, record in after["models"].items():
                page.save_model_record(record, before["models"][name])
            page.models()  # and takes changed records into use in the same way
    except (PageError, OSError) as error:
        module.fail_json(
            msg=f"The settings of the page at {module.params['url']} could not be kept: {error}. "
            "Run 'llmdesk verify' to see which link is broken."
        )
    changes = [*after["config"], *after["models"]]
    module.exit_json(changed=bool(changes), changes=changes, diff={"before": before, "after": after})


if __name__ == "__main__":
    main()
