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
  proxy_credentials:
    description: User and password of the machine's proxy as C(user:password), percent-encoded, under C(http) and
      C(https). Where others are set on the machine, the mirror is not set up as wanted.
    type: dict
    default: {}
  cache_bytes:
    description: How much the mirror's cache may take of the disk, 0 for what nobody knows. A larger blob is said, and
      not fetched.
    type: int
    default: 0
  config_dir:
    description: Folder of the mirror's configuration. The folder that it is in has the note of the machine's proxy.
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
password_sha256:
  description: The sha256 of the password for images that desks build, by which a controller knows whether it has that.
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
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from functools import partial
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.llmdesk.workstation.plugins.module_utils import mirror_store, network
from ansible_collections.llmdesk.workstation.plugins.module_utils.progress import Cancelled, Progress
from ansible_collections.llmdesk.workstation.plugins.module_utils.whole_file import read_whole

PIECE = 8 * 1024 * 1024
AT_ONCE = 4
LONGEST = 4 * 1024 * 1024
MACHINES = {"x86_64": "amd64", "aarch64": "arm64"}


AWAY = (429, 503, 504)
"""What a registry answers, or is answered for it, that cannot be reached or has no time."""


class NotHad(Exception):
    """Something was not to be had; the sentence says what and why."""


class Away(NotHad):
    """An upstream cannot be reached, and nothing else of it is to be had either."""


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
        self._total = self._came = 0

    def ensure(self) -> dict[str, Any]:
        """Fetch what is missing, and return the module's result."""
        configuration = (read_whole(os.path.join(self._wanted["config_dir"], "configuration")) or "").strip()
        certified = (read_whole(os.path.join(self._wanted["config_dir"], "names")) or "").split()
        named = set(self._wanted["names"]) <= set(certified)
        password = (read_whole(os.path.join(self._wanted["config_dir"], "push_password")) or "").strip()
        standing = (
            configuration == self._wanted["configuration"]
            and named
            and password != ""
            and self._opens_proxy()
            and self._runs()
        )
        result: dict[str, Any] = {
            "standing": standing,
            "configuration": configuration,
            "authority": read_whole(os.path.join(self._wanted["config_dir"], "ca.crt")) or "",
            "password_sha256": hashlib.sha256(password.encode()).hexdigest(),
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

    def _opens_proxy(self) -> bool:
        note = read_whole(os.path.join(os.path.dirname(self._wanted["config_dir"]), network.STATE))
        try:
            set_here = (json.loads(note) if note else {"wanted": {}})["wanted"].get("credentials") or {}
        except (ValueError, KeyError, TypeError, AttributeError):
            return False
        return bool(set_here == self._wanted["proxy_credentials"])

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
                    if not self._stored(blob):
                        found[blob["digest"]] = {
                            **blob,
                            **{key: entry[key] for key in ("name", "upstream", "repository")},
                        }
        return found

    def _stored(self, blob: dict[str, Any]) -> bool:
        return os.path.exists(mirror_store.path(self._state, blob["digest"]))

    def _sums(self, known: dict[str, Any]) -> dict[str, bool]:
        blobs = [blob["digest"] for kind in ("models", "images") for entry in known[kind] for blob in entry["blobs"]]
        return {digest: os.path.exists(mirror_store.path(self._state, digest)) for digest in sorted(blobs)}

    def _fetch_all(self, missing: dict[str, dict[str, Any]]) -> None:
        largest = self._wanted["cache_bytes"] or float("inf")
        for blob in missing.values():
            if blob["size"] > largest:
                self._said.append(
                    f"{blob['name']}: sha256:{blob['digest'][:12]} has {blob['size'] / 1e9:.1f} GB and the cache may "
                    f"take {largest / 1e9:.1f} GB: set model_mirror_cache to more"
                )
        wanted = [blob for blob in missing.values() if blob["size"] <= largest]
        # The slices of the largest stand beside its copy in the store while that is made.
        need = sum(blob["size"] for blob in wanted) + max((blob["size"] for blob in wanted), default=0)
        cached = mirror_store.slices(self._state)
        need -= sum(part.length for blob in wanted for part in cached.get(blob["digest"], []))
        free = os.statvfs(self._state).f_bavail * os.statvfs(self._state).f_frsize
        if need > free:
            self._said.append(
                f"{need / 1e9:.1f} GB are needed and {self._state} has {free / 1e9:.1f} GB left: nothing was fetched"
            )
            return
        self._total = sum(blob["size"] for blob in wanted)
        away: dict[str, Away] = {}
        for blob in sorted(wanted, key=lambda blob: int(blob["size"])):
            try:
                if blob["upstream"] in away:
                    raise away[blob["upstream"]]
                self._fetch_and_keep(blob)
                self._came += blob["size"]
            except NotHad as error:
                self._total -= blob["size"]
                if isinstance(error, Away):
                    away[blob["upstream"]] = error
                else:
                    self._said.append(f"{blob['name']}: {error}")
        for upstream, why in away.items():
            names = {blob["name"] for blob in wanted if blob["upstream"] == upstream and not self._stored(blob)}
            self._said.append(f"{', '.join(sorted(names))}: {why}")

    def _fetch_and_keep(self, blob: dict[str, Any]) -> None:
        """Bring a blob to the store; once more where it came with other bytes."""
        for again in (True, False):
            self._fetch(blob)
            kept = mirror_store.keep(self._state, partial(self._checking, blob))
            if blob["digest"] not in kept.wrong or not again:
                break
        self._said += kept.said
        if not self._stored(blob) and not any(blob["digest"] in sentence for sentence in kept.said):
            raise NotHad(
                f"sha256:{blob['digest'][:12]} came, and not all of it is in the cache any more: the disk has less "
                "than a gigabyte left, or model_mirror_cache is too small"
            )

    def _checking(self, blob: dict[str, Any], _digest: str, total: int, done: int) -> None:
        self._tell(blob["size"], f"{blob['name']}, hashing, {done / total:.0%}")

    def _tell(self, done: int, detail: str) -> None:
        self._progress.report("images and models", self._came + done, self._total, detail=detail)

    def _fetch(self, blob: dict[str, Any]) -> None:
        """Bring a blob into the cache, in pieces."""
        starts = list(range(0, blob["size"], PIECE))
        done = 0
        pool = ThreadPoolExecutor(AT_ONCE)
        self._stopped = False
        try:
            left = {pool.submit(self._piece, blob, start) for start in starts}
            while left:
                ended, left = wait(left, timeout=0.5, return_when=FIRST_COMPLETED)
                done += sum(future.result() for future in ended)
                self._tell(done, blob["name"])
        finally:
            self._stopped = True
            pool.shutdown()

    def _piece(self, blob: dict[str, Any], start: int) -> int:
        last: int = min(start + PIECE, blob["size"]) - 1
        path = f"/v2/{blob['repository']}/blobs/sha256:{blob['digest']}"
        begin, attempt, status = start, 0, 0
        why = "was stopped"
        while not self._stopped:
            try:
                headers = {"Range": f"bytes={begin}-{last}"}
                status, answered, body = self._get(path, blob["upstream"], headers, 200.0)
            except http.client.IncompleteRead as error:
                # What came is in the cache: the next answer says why no more did.
                begin = min(begin + len(error.partial), last)
                status, why = 0, "breaks off"
            except (OSError, http.client.HTTPException) as error:
                status, why = 0, f"breaks off ({type(error).__name__})"
            else:
                if status == 206 and len(body) == last + 1 - begin:
                    return last + 1 - start
                why = _refusal(status)
                # A registry has said it, or the mirror's way out, which waits by itself; what nginx says of its own is
                # a page, as long as that way out restarts.
                if status >= 400 and not (status >= 500 and answered.get_content_type() == "text/html"):
                    break
            attempt += 1
            if attempt > self._wanted["retries"]:
                break
            time.sleep(min(2 ** (attempt - 1), 5))
        if status in AWAY:
            raise Away(f"{blob['upstream']} {why}")
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
            "proxy_credentials": {"type": "dict", "default": {}, "no_log": True},
            "cache_bytes": {"type": "int", "default": 0},
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
