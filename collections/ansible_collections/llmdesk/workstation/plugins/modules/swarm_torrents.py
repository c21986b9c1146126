#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: swarm_torrents
short_description: A torrent for every large blob of a mirror's store
description:
  - Lets desks that fetch the same blobs hand them to each other. Every torrent is private, names the mirror as its only
    tracker and as its web seed, and hashes the blob in pieces, so that wrong ones are found before they are passed on.
  - The tracker is told which torrents are ours, and knows no others.
  - Torrents of blobs that are gone are removed, and made anew where the mirror has another address.
version_added: 0.2.0
author:
  - llmdesk maintainers (@llmdesk)
options:
  store:
    description: The folder with C(blobs/sha256-…); the torrents are beside them, as C(torrents/sha256-….torrent).
    type: path
    default: /var/lib/llmdesk-mirror/store
  url:
    description: Where desks find that folder.
    type: str
    required: true
  announce:
    description: Where desks find the tracker.
    type: str
    required: true
  whitelist:
    description: The file in which opentracker has the info hashes that it serves. Nobody else's are kept in it.
    type: path
    default: /etc/opentracker/whitelist.txt
attributes:
  check_mode:
    support: full
    description: Says which torrents would be made and removed.
  diff_mode:
    support: full
    description: Shows the torrents before and after.
"""

EXAMPLES = r"""
- name: Make the torrents of a mirror
  llmdesk.workstation.swarm_torrents:
    url: https://mirror.example.com:5443
    announce: http://mirror.example.com:6969/announce
"""

RETURN = r"""
torrents:
  description: The sha256 of every blob that has a torrent now.
  returned: success
  type: list
  elements: str
standing:
  description: Whether all of it was there before, and the tracker answers. After a change it has to be restarted.
  returned: success
  type: bool
"""

import os
import socket
from typing import Any
from urllib.parse import urlsplit

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.llmdesk.workstation.plugins.module_utils import swarm
from ansible_collections.llmdesk.workstation.plugins.module_utils.whole_file import read_whole, write_whole

PREFIX, SUFFIX = "sha256-", ".torrent"
PATIENCE = 2.0
"""Seconds that the tracker may take to let somebody in."""


class Failed(Exception):
    """A torrent could not be made; the message is for a person."""


class Torrents:
    """The torrents of one store."""

    def __init__(self, module: AnsibleModule) -> None:
        self._module = module
        self._blobs = os.path.join(module.params["store"], "blobs")
        self._folder = os.path.join(module.params["store"], "torrents")
        self._announce = module.params["announce"]
        self._url = module.params["url"].rstrip("/")

    def ensure(self) -> dict[str, Any]:
        """Make and remove torrents, tell the tracker, and return the module's result."""
        check = self._module.check_mode
        wanted = self._wanted()
        hashes = {digest: self._hash(digest) for digest in self._present()}
        stale = sorted(digest for digest in hashes if digest not in wanted)
        missing = sorted(digest for digest in wanted if not hashes.get(digest))
        for digest in stale if not check else []:
            os.unlink(self._path(digest))
        for digest in missing if not check else []:
            self._make(digest, wanted[digest])
            hashes[digest] = self._hash(digest)
        known = "".join(sorted(f"{hashes[digest]}\n" for digest in wanted if hashes.get(digest)))
        told = (read_whole(self._module.params["whitelist"]) or "") == known
        if not told and not check:
            write_whole(self._module.params["whitelist"], known, private=False)
        changed = bool(stale or missing or not told)
        return {
            "changed": changed,
            "standing": not changed and self._answers(),
            "torrents": sorted(wanted),
            "diff": {
                "before": "".join(f"{digest}\n" for digest in sorted(hashes) if digest not in missing),
                "after": "".join(f"{digest}\n" for digest in sorted(wanted)),
            },
        }

    def _wanted(self) -> dict[str, int]:
        """Return the blobs that are worth a torrent, and their bytes."""
        found = {}
        for name in os.listdir(self._blobs) if os.path.isdir(self._blobs) else []:
            if name.startswith(PREFIX):  # and is none that is being written
                size = os.path.getsize(os.path.join(self._blobs, name))
                if size >= swarm.SMALLEST:
                    found[name[len(PREFIX) :]] = size
        return found

    def _present(self) -> list[str]:
        names = os.listdir(self._folder) if os.path.isdir(self._folder) else []
        return [name[len(PREFIX) : -len(SUFFIX)] for name in names if name.endswith(SUFFIX)]

    def _hash(self, digest: str) -> str:
        """Return the info hash of a torrent, empty for one that is none or leads elsewhere."""
        rc, said, _error = self._module.run_command(["aria2c", "--show-files=true", self._path(digest)])
        try:
            found, tracker, seed = swarm.shown(said)
        except ValueError:
            return ""
        ours = rc == 0 and tracker == self._announce and seed == self._seed(digest)
        return found if ours else ""

    def _answers(self) -> bool:
        """Return whether somebody listens where the tracker is."""
        tracker = urlsplit(self._announce)
        try:
            with socket.create_connection((tracker.hostname, tracker.port), PATIENCE):
                return True
        except OSError:
            return False

    def _make(self, digest: str, size: int) -> None:
        os.makedirs(self._folder, mode=0o755, exist_ok=True)
        path = self._path(digest)
        part = path + ".part"
        if os.path.exists(part):
            os.unlink(part)  # mktorrent writes over nothing
        command = ["mktorrent", "-p", "-d", "-l", str(swarm.piece(size)), "-n", swarm.blob(digest)]
        command += ["-a", self._announce, "-w", self._seed(digest), "-o", part]
        rc, said, error = self._module.run_command([*command, os.path.join(self._blobs, swarm.blob(digest))])
        if rc != 0:
            raise Failed(f"mktorrent made no torrent of blob {digest[:12]}: {(error or said).strip()[-200:]}")
        os.chmod(part, 0o644)
        os.replace(part, path)

    def _seed(self, digest: str) -> str:
        return f"{self._url}/blobs/{swarm.blob(digest)}"

    def _path(self, digest: str) -> str:
        return os.path.join(self._folder, swarm.blob(digest) + SUFFIX)


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "store": {"type": "path", "default": "/var/lib/llmdesk-mirror/store"},
            "url": {"type": "str", "required": True},
            "announce": {"type": "str", "required": True},
            "whitelist": {"type": "path", "default": "/etc/opentracker/whitelist.txt"},
        },
        supports_check_mode=True,
    )
    try:
        module.exit_json(**Torrents(module).ensure())
    except Failed as error:
        module.fail_json(msg=f"{error}.")
    except OSError as error:
        module.fail_json(msg=f"{error.filename} could not be kept: {error.strerror}.")


if __name__ == "__main__":
    main()
