#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: desk_record
short_description: A note that a desk keeps about itself
description:
  - Writes down on the desk what was wanted and what stands for it, so that the next run need not find it out again.
    M(llmdesk.workstation.desk_facts) reads it.
  - The folder is made, and the file is replaced in one step, so that a run that is cut off leaves the old note or the
    new one.
version_added: 0.1.0
author:
  - llmdesk maintainers (@llmdesk)
options:
  name:
    description: Name of the note.
    type: str
    required: true
  content:
    description: The note. It is readable for everybody on the desk, so nothing secret belongs into it.
    type: dict
    required: true
  state_dir:
    description: Folder of the notes.
    type: path
    default: /var/lib/llmdesk
attributes:
  check_mode:
    support: full
    description: Says whether the note would change.
  diff_mode:
    support: full
    description: Shows the note before and after.
"""

EXAMPLES = r"""
- name: Note which image the desk runs
  llmdesk.workstation.desk_record:
    name: image
    content:
      reference: ghcr.io/open-webui/open-webui:ollama
"""

RETURN = r"""
path:
  description: The file.
  returned: success
  type: str
  sample: /var/lib/llmdesk/image.json
"""

import json
import os

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.llmdesk.workstation.plugins.module_utils.whole_file import read_whole, write_whole


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "content": {"type": "dict", "required": True},
            "state_dir": {"type": "path", "default": "/var/lib/llmdesk"},
        },
        supports_check_mode=True,
    )
    path = os.path.join(module.params["state_dir"], module.params["name"] + ".json")
    after = json.dumps(module.params["content"], indent=4, sort_keys=True, ensure_ascii=False) + "\n"
    try:
        before = read_whole(path) or ""
        if before != after and not module.check_mode:
            write_whole(path, after, private=False)
    except OSError as error:
        module.fail_json(msg=f"The note {path} could not be kept: {error.strerror or error}.")
    header = {"before_header": path, "after_header": path}
    module.exit_json(changed=before != after, path=path, diff={"before": before, "after": after, **header})


if __name__ == "__main__":
    main()
