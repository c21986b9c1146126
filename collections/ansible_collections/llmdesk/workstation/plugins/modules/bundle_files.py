#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: bundle_files
short_description: Files of a bundle on a desk
description:
  - Holds files of a bundle to their sizes and sha256, and brings those that a desk lacks, in parcels of many small
    files or of a piece of a large one. What was cut off is carried on.
  - A desk that is the controller itself reads them where they are, and nothing is brought.
version_added: 0.1.0
author:
  - llmdesk maintainers (@llmdesk)
options:
  source:
    description: The bundle's folder on the controller.
    type: path
    required: true
  path:
    description: The folder on the desk; the same as O(source) where nothing has to be brought.
    type: path
    required: true
  files:
    description: The files by their names in the bundle, each with its C(size) and C(sha256).
    type: dict
    required: true
  parcel:
    description: A file with what has come. Set by the action plugin.
    type: path
  pieces:
    description: What is in it, a name, an offset and a length each. Set by the action plugin.
    type: list
    elements: list
attributes:
  check_mode:
    support: full
    description: Says how many bytes would be brought.
  diff_mode:
    support: none
    description: What changes is a folder of large files.
"""

EXAMPLES = r"""
- name: Bring a model of a bundle to a desk
  llmdesk.workstation.bundle_files:
    source: /media/usb
    path: /var/cache/llmdesk/bundle
    files:
      models/blobs/sha256-0123:
        size: 2019377376
        sha256: "0123"
"""

RETURN = r"""
missing:
  description: How many bytes of each file that is not whole are there.
  returned: success
  type: dict
bytes:
  description: How many bytes were brought, or would be.
  returned: success
  type: int
"""

import os
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.llmdesk.workstation.plugins.module_utils.bundle import again
from ansible_collections.llmdesk.workstation.plugins.module_utils.probe import COPY
from ansible_collections.llmdesk.workstation.plugins.module_utils.registry_files import PART, hashed


class Damaged(Exception):
    """A file is not what the bundle says; the text is a sentence."""


class Files:
    """Files of a bundle in one folder."""

    def __init__(self, module: AnsibleModule) -> None:
        self._files: dict[str, dict[str, Any]] = module.params["files"]
        self._source: str = module.params["source"]
        self._folder: str = module.params["path"]

    def missing(self, closely: bool = False) -> dict[str, int]:
        """Return how many bytes of each file are there that is not whole.

        :param closely: hash what nobody else does: of an older bundle, a list may be as long and say something else.
        """
        found = {}
        for name, file in self._files.items():
            path = self._at(name)
            whole = os.path.exists(path) and os.path.getsize(path) == file["size"]
            if whole and closely and _unnamed(name):
                whole = hashed(path, lambda _done, _detail: None) == file["sha256"]
            if not whole:
                found[name] = os.path.getsize(path + PART) if os.path.exists(path + PART) else 0
        return found

    def check(self) -> None:
        """Hash what nobody else does.

        :raises Damaged: one is not what it was, or not there.
        """
        for name, file in self._files.items():
            if _unnamed(name):
                self._hold(name, self._at(name), file["sha256"])

    def take(self, parcel: str, pieces: list[tuple[str, int, int]]) -> None:
        """Put the pieces of a parcel where they belong.

        :raises Damaged: a file is whole now and not what it should be.
        """
        os.makedirs(self._folder, exist_ok=True)
        with open(self._at(COPY), "w", encoding="utf-8"):
            pass
        with open(parcel, "rb") as given:
            for name, offset, length in pieces:
                path = self._at(name)
                os.makedirs(os.path.dirname(path), exist_ok=True)
                with open(path + PART, "r+b" if offset else "wb") as file:
                    file.seek(offset)
                    left = length
                    while left:
                        block = given.read(min(left, 1024 * 1024))
                        if not block:
                            raise Damaged(f"{self._source} changed while it was read. Type the same command again.")
                        left -= file.write(block)
                if offset + length == self._files[name]["size"]:
                    self._hold(name, path + PART, self._files[name]["sha256"])
                    os.replace(path + PART, path)

    def _hold(self, name: str, path: str, sha256: str) -> None:
        try:
            same = hashed(path, lambda _done, _detail: None) == sha256
        except OSError as error:
            raise Damaged(f"{path} cannot be read: {error.strerror}. {again(self._source)}") from error
        if not same:
            if path.endswith(PART):
                os.unlink(path)
            there = os.path.join(self._source, name)
            raise Damaged(f"{there} is damaged: its sha256 is not that of the bundle. {again(self._source)}")

    def _at(self, name: str) -> str:
        return os.path.join(self._folder, *name.split("/"))


def _unnamed(name: str) -> bool:
    """Return whether nobody holds a file to its name when it is used, as images and models are held."""
    return "/blobs/" not in name


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "source": {"type": "path", "required": True},
            "path": {"type": "path", "required": True},
            "files": {"type": "dict", "required": True},
            "parcel": {"type": "path"},
            "pieces": {"type": "list", "elements": "list"},
        },
        required_together=[("parcel", "pieces")],
        supports_check_mode=True,
    )
    files = Files(module)
    try:
        in_place, parcel = module.params["source"] == module.params["path"], module.params["parcel"]
        if in_place:
            files.check()
        if parcel:
            files.take(parcel, [tuple(piece) for piece in module.params["pieces"]])
        # Once a run: what a parcel has brought was held to its sum.
        missing = files.missing(closely=not in_place and not parcel)
        sizes = {name: file["size"] for name, file in module.params["files"].items()}
        left = sum(sizes[name] - done for name, done in missing.items())
        module.exit_json(changed=bool(parcel) or bool(left), missing=missing, bytes=left)
    except Damaged as error:
        module.fail_json(msg=str(error))
    except OSError as error:
        module.fail_json(
            msg=f"{error.filename or module.params['path']} cannot be written: {error.strerror}. Make room under "
            f"{module.params['path']}; the same command carries on from what is there."
        )


if __name__ == "__main__":
    main()
