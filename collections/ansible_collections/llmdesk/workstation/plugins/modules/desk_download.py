#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: desk_download
short_description: A small file out of the network, through the desk's proxy
description:
  - Fetches a file as P(ansible.builtin.get_url#module) does, or only asks whether an address answers.
  - That one takes a proxy from its environment alone, which Ansible puts into a command line, where everybody on the
    desk could read the password.
version_added: 0.1.0
author:
  - llmdesk maintainers (@llmdesk)
extends_documentation_fragment:
  - llmdesk.workstation.network
options:
  url:
    description: The address, http or https.
    type: str
    required: true
  dest:
    description: The file to keep it in, readable for everybody. Without it, nothing is kept.
    type: path
  timeout:
    description: Seconds that the other side may take to answer, and may be silent.
    type: float
    default: 10
attributes:
  check_mode:
    support: full
    description: Fetches it, and says whether the file would change.
  diff_mode:
    support: none
    description: What comes may be no text.
"""

EXAMPLES = r"""
- name: Bring a signing key
  llmdesk.workstation.desk_download:
    url: https://packages.example.com/key.asc
    dest: /etc/apt/keyrings/example.asc
"""

RETURN = r"""
status:
  description: The HTTP status; 0 where there was no answer.
  returned: always
  type: int
  sample: 200
"""

import http.client
import os
import tempfile
import urllib.error

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.llmdesk.workstation.plugins.module_utils import network

LONGEST = 16 * 1024 * 1024


class NotFetched(Exception):
    """It was not to be had; ``status`` is the HTTP status, 0 without any."""

    def __init__(self, message: str, status: int = 0) -> None:
        super().__init__(message)
        self.status = status


def fetch(url: str, timeout: float) -> bytes:
    """Return what is under an address.

    :raises NotFetched: it was not to be had.
    """
    came: list[bytes] = []
    refused: list[NotFetched] = []

    def work() -> str:
        try:
            with network.opener().open(url, timeout=timeout) as answer:
                came.append(answer.read(LONGEST))
        except urllib.error.HTTPError as error:
            refused.append(NotFetched(f"it answers with HTTP {error.code}", error.code))
        except http.client.HTTPException as error:
            return f"the answer broke off ({type(error).__name__})"
        except urllib.error.URLError as error:
            return str(getattr(error.reason, "strerror", None) or error.reason)
        return ""

    said = network.in_time(work, timeout * 2)
    if refused:
        raise refused[0]
    if said is None:
        raise NotFetched(f"it did not answer within {timeout:g} s")
    if said:
        raise NotFetched(f"it cannot be reached: {said}")
    return came[0]


def keep(path: str, content: bytes) -> None:
    """Write a file in one step."""
    handle, temporary = tempfile.mkstemp(dir=os.path.dirname(path))
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            os.fchmod(file.fileno(), 0o644)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "url": {"type": "str", "required": True},
            "dest": {"type": "path"},
            "timeout": {"type": "float", "default": 10},
            **network.ARGUMENTS,
        },
        supports_check_mode=True,
    )
    url, dest = module.params["url"], module.params["dest"]
    network.use(module.params["proxy"], module.params["proxy_credentials"])
    try:
        content = fetch(url, module.params["timeout"])
        before = None
        if dest and os.path.exists(dest):
            with open(dest, "rb") as file:
                before = file.read()
        changed = bool(dest) and before != content
        if changed and not module.check_mode:
            keep(dest, content)
        module.exit_json(changed=changed, status=200)
    except NotFetched as error:
        refusal = network.refused(f"HTTP {error.status}" if error.status else str(error), *network.in_use())
        module.fail_json(
            msg=f"{url} was not to be had: {refusal or network.redacted(str(error))}.", status=error.status
        )
    except OSError as error:
        module.fail_json(msg=f"{dest} could not be written: {error.strerror or error}.", status=200)


if __name__ == "__main__":
    main()
