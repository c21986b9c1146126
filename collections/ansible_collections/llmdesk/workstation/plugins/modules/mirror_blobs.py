#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: mirror_blobs
short_description: What a mirror has in its store before anybody asks for it
description:
  - Fetches the blobs of models and images through the mirror's own cache, several pieces at a time, and has each in the
    store only when its sha256 is right. What a desk has asked for already is not fetched again.
  - Says in one module execution whether the mirror is set up as wanted, and what it has.
  - What an upstream does not give is said and is no failure; a desk finds the next source by itself.
version_added: 0.1.0
author:
  - llmdesk maintainers (@llmdesk)
extends_documentation_fragment:
  - llmdesk.workstation.progress
options:
  models:
    description: Models to have.
    type: list
    elements: dict
    default: []
    suboptions: &at
      name:
        description: Its name, as people write it.
        type: str
        required: true
      upstream:
        description: The registry that has it.
        type: str
        required: true
      repository:
        description: Where it is there.
        type: str
        required: true
      tag:
        description: Its tag.
        type: str
        required: true
  images:
    description: Images to have; of one for several architectures, that of the mirror.
    type: list
    elements: dict
    default: []
    suboptions: *at
  configuration:
    description: The sha256 of what the mirror is set to, which it keeps beside it.
    type: str
    required: true
  names:
    description: The names that its certificate has to be for. Others, by which another room knows it, may be there too.
    type: list
    elements: str
    default: []
  config_dir:
    description: Folder of the mirror's configuration.
    type: path
    default: /etc/llmdesk/mirror
  state_dir:
    description: Folder of its store and its cache.
    type: path
    default: /var/lib/llmdesk-mirror
  run_dir:
    description: Folder of its sockets.
    type: path
    default: /run/llmdesk-mirror
  retries:
    description: How often in a row a piece that brings nothing is asked for again.
    type: int
    default: 3
attributes:
  check_mode:
    support: full
    description: Says what is missing.
  diff_mode:
    support: full
    description: Shows the blobs in the store before and after.
"""

EXAMPLES = r"""
- name: Have a model before the room asks for it
  llmdesk.workstation.mirror_blobs:
    configuration: "{{ mirror_state.configuration }}"
    models:
      - name: llama3.2:3b
        upstream: registry.ollama.ai
        repository: library/llama3.2
        tag: 3b
"""

RETURN = r"""
standing:
  description: Whether the mirror is set up as wanted, and runs.
  returned: always
  type: bool
configuration:
  description: The sha256 of what it is set to, empty for none.
  returned: always
  type: str
authority:
  description: The certificate by which desks know it, empty where it has none yet.
  returned: always
  type: str
models:
  description: The models whose manifests are known, with C(name), C(digest) of the manifest, and C(blobs), each with
    C(digest) (hex) and C(size).
  returned: always
  type: list
  elements: dict
images:
  description: The same of images.
  returned: always
  type: list
  elements: dict
bytes:
  description: What was missing in the store.
  returned: always
  type: int
missing:
  description: Digests in hex of what is not in the store.
  returned: always
  type: list
  elements: str
said:
  description: What could not be had, and why, a sentence each.
  returned: always
  type: list
  elements: str
"""

import hashlib
import http.client
import json
import os
import platform
import socket
import time
from collections import Counter
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from functools import partial
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.llmdesk.workstation.plugins.module_utils import mirror_store
from ansible_collections.llmdesk.workstation.plugins.module_utils.progress import Cancelled, Progress
from ansible_collections.llmdesk.workstation.plugins.module_utils.whole_file import read_whole

PIECE = 8 * 1024 * 1024
AT_ONCE = 4
LONGEST = 4 * 1024 * 1024
MACHINES = {"x86_64": "amd64", "aarch64": "arm64"}


class NotHad(Exception):
    """Something was not to be had; the sentence says what and why."""


class Cache(http.client.HTTPConnection):
    """The mirror's own cache, by its socket."""

    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        """Connect."""
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


class Blobs:
    """What one mirror has and is to have."""

    def __init__(self, module: AnsibleModule) -> None:
        self._wanted: dict[str, Any] = module.params
        self._check_mode: bool = module.check_mode
        self._progress = Progress(module.params["progress_file"])
        self._state: str = module.params["state_dir"]
        self._socket = os.path.join(module.params["run_dir"], "cache.sock")
        self._said: list[str] = []
        self._totals: Counter[str] = Counter()
        self._came: Counter[str] = Counter()

    def ensure(self) -> dict[str, Any]:
        """Fetch what is missing, and return the module's result."""
        configuration = (read_whole(os.path.join(self._wanted["config_dir"], "configuration")) or "").strip()
        certified = (read_whole(os.path.join(self._wanted["config_dir"], "names")) or "").split()
        named = set(self._wanted["names"]) <= set(certified)
        standing = configuration == self._wanted["configuration"] and named and self._runs()
        result: dict[str, Any] = {
            "standing": standing,
            "configuration": configuration,
            "authority": read_whole(os.path.join(self._wanted["config_dir"], "ca.crt")) or "",
            "models": [],
            "images": [],
        }
        if not standing:
            return {
                **result,
                "changed": True,
                "bytes": 0,
                "missing": [],
                "said": [],
                "diff": {"before": {}, "after": {}},
            }
        for kind in ("models", "images"):
            for entry in self._wanted[kind]:
                try:
                    result[kind].append(self._known(entry))
                except NotHad as error:
                    self._said.append(f"{entry['name']}: {error}")
        missing = self._missing(result)
        before = self._sums(result)
        if missing and not self._check_mode:
            self._fetch_all(missing)
        left = self._missing(result)
        after = {**before, **dict.fromkeys(missing, True)} if self._check_mode else self._sums(result)
        return {
            **result,
            "changed": before != after,
            "bytes": sum(blob["size"] for blob in missing.values()),
            "missing": sorted(left),
            "said": self._said,
            "diff": {"before": before, "after": after},
        }

    def _runs(self) -> bool:
        try:
            status, _headers, _body = self._get("/metrics-of-nobody", "localhost", {}, 5.0)
        except (OSError, http.client.HTTPException):
            return False
        return status == 404

    def _get(self, path: str, host: str, headers: dict[str, str], timeout: float) -> tuple[int, Any, bytes]:
        line = Cache(self._socket, timeout)
        try:
            line.request("GET", path, headers={"Host": host, **headers})
            answer = line.getresponse()
            return answer.status, answer.headers, answer.read()
        finally:
            line.close()

    def _known(self, entry: dict[str, str]) -> dict[str, Any]:
        """Return what a manifest says."""
        body = self._manifest(entry, entry["tag"])
        document = json.loads(body)
        if document.get("manifests"):
            body = self._manifest(entry, _platform(document["manifests"]))
            document = json.loads(body)
        listed = [*(document.get("layers") or []), *filter(None, [document.get("config")])]
        blobs = {layer["digest"].partition(":")[2]: int(layer["size"]) for layer in listed}
        return {
            **entry,
            "digest": hashlib.sha256(body).hexdigest(),
            "blobs": [{"digest": digest, "size": size} for digest, size in blobs.items()],
        }

    def _manifest(self, entry: dict[str, str], tag: str) -> bytes:
        path = f"/v2/{entry['repository']}/manifests/{tag}"
        try:
            status, _headers, body = self._get(path, entry["upstream"], {}, 15.0)
        except (OSError, http.client.HTTPException) as error:
            raise NotHad(f"the mirror's cache does not answer ({error})") from error
        if status != 200:
            raise NotHad(f"{entry['upstream']} {_refusal(status)}")
        try:
            if isinstance(json.loads(body), dict):
                return body
        except ValueError:
            pass
        raise NotHad(f"{entry['upstream']} answers, but not as a registry does")

    def _missing(self, known: dict[str, Any]) -> dict[str, dict[str, Any]]:
        found = {}
        for kind in ("models", "images"):
            for entry in known[kind]:
                for blob in entry["blobs"]:
                    if not os.path.exists(mirror_store.path(self._state, blob["digest"])):
                        found[blob["digest"]] = {
                            **blob,
                            **{key: entry[key] for key in ("name", "upstream", "repository")},
                        }
        return found

    def _sums(self, known: dict[str, Any]) -> dict[str, bool]:
        blobs = [blob["digest"] for kind in ("models", "images") for entry in known[kind] for blob in entry["blobs"]]
        return {digest: os.path.exists(mirror_store.path(self._state, digest)) for digest in sorted(blobs)}

    def _fetch_all(self, missing: dict[str, dict[str, Any]]) -> None:
        # The slices of the largest stand beside its copy in the store while that is made.
        need = sum(blob["size"] for blob in missing.values()) + max(blob["size"] for blob in missing.values())
        free = os.statvfs(self._state).f_bavail * os.statvfs(self._state).f_frsize
        if need > free:
            self._said.append(
                f"{need / 1e9:.1f} GB are needed and {self._state} has {free / 1e9:.1f} GB left: nothing was fetched"
            )
            return
        for blob in missing.values():
            self._totals[blob["name"]] += blob["size"]
        # One model or image after the other, so that each has one line of progress, and what is small is there soon.
        for blob in sorted(missing.values(), key=lambda blob: (self._totals[blob["name"]], blob["name"], blob["size"])):
            for again in (True, False):
                try:
                    self._fetch(blob)
                except NotHad as error:
                    self._said.append(f"{blob['name']}: {error}")
                    break
                kept = mirror_store.keep(self._state, partial(self._checking, blob))
                if blob["digest"] not in kept.wrong or not again:
                    self._said += kept.said
                    break
            self._came[blob["name"]] += blob["size"]

    def _checking(self, blob: dict[str, Any], _digest: str, total: int, done: int) -> None:
        came = self._came[blob["name"]] + blob["size"]
        self._progress.report(blob["name"], came, self._totals[blob["name"]], detail=f"hashing, {done / total:.0%}")

    def _fetch(self, blob: dict[str, Any]) -> None:
        """Bring a blob into the cache, in pieces."""
        name, starts = blob["name"], list(range(0, blob["size"], PIECE))
        done = 0
        pool = ThreadPoolExecutor(AT_ONCE)
        self._stopped = False
        try:
            left = {pool.submit(self._piece, blob, start) for start in starts}
            while left:
                ended, left = wait(left, timeout=0.5, return_when=FIRST_COMPLETED)
                done += sum(future.result() for future in ended)
                self._progress.report(name, self._came[name] + done, self._totals[name])
        finally:
            self._stopped = True
            pool.shutdown()

    def _piece(self, blob: dict[str, Any], start: int) -> int:
        last = min(start + PIECE, blob["size"]) - 1
        path = f"/v2/{blob['repository']}/blobs/sha256:{blob['digest']}"
        why = "was stopped"
        for attempt in range(self._wanted["retries"] + 1):
            if self._stopped:
                break
            try:
                headers = {"Range": f"bytes={start}-{last}"}
                status, _headers, body = self._get(path, blob["upstream"], headers, 200.0)
            except (OSError, http.client.HTTPException) as error:
                why = f"breaks off ({type(error).__name__})"
            else:
                if status == 206 and len(body) == last + 1 - start:
                    return len(body)
                why = _refusal(status)
                if status in (401, 403, 404):
                    break
            time.sleep(min(2**attempt, 5))
        raise NotHad(f"{blob['upstream']} {why} for sha256:{blob['digest'][:12]}")


def _platform(manifests: list[dict[str, Any]]) -> str:
    machine = MACHINES.get(platform.machine(), platform.machine())
    for manifest in manifests:
        about = manifest.get("platform") or {}
        if (about.get("os"), about.get("architecture")) == ("linux", machine):
            return str(manifest["digest"])
    raise NotHad(f"there is none for linux/{machine}")


def _refusal(status: int) -> str:
    if status == 404:
        return "has no such thing"
    if status in (401, 403):
        return f"gives it only to people it knows (HTTP {status})"
    if status == 504:
        return "cannot be reached"
    return f"answers with HTTP {status}"


def main() -> None:
    text = {"type": "str", "required": True}
    at = {"type": "list", "elements": "dict", "default": []}
    about = {"name": text, "upstream": text, "repository": text, "tag": text}
    module = AnsibleModule(
        argument_spec={
            "models": {**at, "options": about},
            "images": {**at, "options": about},
            "configuration": {"type": "str", "required": True},
            "names": {"type": "list", "elements": "str", "default": []},
            "config_dir": {"type": "path", "default": "/etc/llmdesk/mirror"},
            "state_dir": {"type": "path", "default": "/var/lib/llmdesk-mirror"},
            "run_dir": {"type": "path", "default": "/run/llmdesk-mirror"},
            "retries": {"type": "int", "default": 3},
            "progress_file": {"type": "path"},
        },
        supports_check_mode=True,
    )
    try:
        module.exit_json(**Blobs(module).ensure())
    except Cancelled as error:
        module.fail_json(msg=f"The mirror's store is not complete: {error}.")
    except OSError as error:
        module.fail_json(msg=f"The mirror's store cannot be used: {error}.")


if __name__ == "__main__":
    main()
