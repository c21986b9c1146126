#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: swarm_blobs
short_description: Blobs of models that the desks of a room hand each other
description:
  - Brings large blobs to a desk's model store from a mirror and from all other desks that fetch them at the same time,
    by BitTorrent with aria2. M(llmdesk.workstation.swarm_torrents) makes the torrents on the mirror.
  - A blob is hashed before it gets its name in the store, and is moved there, so that it needs no room of its own.
    Until then it lies beside the store's blobs, where a run that was cut off carries on.
  - What a swarm does not bring is said in RV(left) and is no failure, except on a full disk. Manifests, small blobs and
    what is left are for M(llmdesk.workstation.ollama_model), which comes after this module.
  - Peers are those that the mirror's tracker names, reach the desk by the address that the mirror knows it by, and
    encrypt what they send. Afterwards aria2 goes on for O(seed_minutes), for desks that are not through yet, and ends
    by itself with everything that it needed.
version_added: 0.2.0
author:
  - llmdesk maintainers (@llmdesk)
extends_documentation_fragment:
  - llmdesk.workstation.progress
options:
  blobs:
    description: The blobs that shall be there. Those that are, and small ones, are passed over.
    type: list
    elements: dict
    required: true
    suboptions:
      digest:
        description: The sha256, in hex.
        type: str
        required: true
      size:
        description: The bytes.
        type: int
        required: true
  url:
    description: Where the mirror has C(torrents) and C(blobs), such as C(https://mirror.example.com:5443).
    type: str
    required: true
  container:
    description: The container that Ollama runs in. Its volume is where the model store is found.
    type: str
  models_dir:
    description: Folder of the model store as the desk sees it, for an Ollama that runs in no container.
    type: path
  seed_minutes:
    description: How long the desk hands on what it has once it has all of it. At 0 it leaves the others at once.
    type: float
    default: 10
  upload_limit:
    description: Bytes a second that it may hand on, as aria2 writes them, such as C(10M); V(0) is as fast as it can.
    type: str
    default: "0"
  stall_timeout:
    description:
      - Seconds without a byte after which aria2 is started anew, and the swarm is given up where that brings nothing.
    type: float
    default: 30
  timeout_connect:
    description: Seconds that the mirror may take to answer.
    type: float
    default: 5
attributes:
  check_mode:
    support: full
    description: Says how many bytes would be fetched.
  diff_mode:
    support: none
    description: Blobs have no names that tell a person anything.
"""

EXAMPLES = r"""
- name: Bring the weights of a model
  llmdesk.workstation.swarm_blobs:
    blobs:
      - digest: dde5aa3fc5ffc17176b5e8bdc82f587b24b2678c6c66101bf7da77af9f7ccdff
        size: 2019377376
    url: https://mirror.example.com:5443
    container: open-webui
"""

RETURN = r"""
brought:
  description: The sha256 of every blob that was brought.
  returned: success
  type: list
  elements: str
bytes:
  description: What had to be fetched, or would have to be.
  returned: success
  type: int
  sample: 2019377376
left:
  description: What the swarm did not bring, each with C(digest) and C(why), a sentence without its full stop.
  returned: success
  type: list
  elements: dict
reason:
  description: Why it failed - V(disk_full) or V(cancelled).
  returned: failure
  type: str
  sample: disk_full
"""

import fcntl
import hashlib
import os
import signal
import socket
import ssl
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import IO, Any
from urllib.parse import urlsplit

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.llmdesk.workstation.plugins.module_utils import swarm
from ansible_collections.llmdesk.workstation.plugins.module_utils.docker_socket import DockerFailure, DockerSocket
from ansible_collections.llmdesk.workstation.plugins.module_utils.model_store import blocks, in_volume
from ansible_collections.llmdesk.workstation.plugins.module_utils.progress import Cancelled, Progress

FOLDER = "llmdesk-swarm"
"""Beside ``blobs``, where Ollama removes at its start what it does not know; on the same file system, so that a blob is
moved and not copied."""
NOBODY = 65534
"""Who talks to the network: an account that may write into its working folder and nowhere else."""
LOOK = 0.2
"""Seconds between two looks at how far it is."""
HASHING = 50_000_000
"""Bytes a second at which a slow disk lets aria2 hash what an earlier run has left, before it asks for more."""
LONGEST = 16 * 1024 * 1024
"""Bytes that no torrent has: that of a blob of 400 GB has a twentieth."""

# When the time of seeding is over, nothing stays; what was cut off, or is not in the store yet, does.
THROUGH = "through"
START = f'"$0" "$@" && [ -e {THROUGH} ] && rm -rf ./*'


class NoStore(Exception):
    """The model store is nowhere to be seen; the message is for a person."""


class DiskFull(Exception):
    """It cannot go on; the message is for a person."""


class Swarm:
    """One desk's part in a swarm.

    :param store: its model store.
    """

    def __init__(self, module: AnsibleModule, store: str) -> None:
        self._wanted = module.params
        self._check_mode = module.check_mode
        self._progress = Progress(module.params["progress_file"])
        self._progress.lan = True
        self._blobs = os.path.join(store, "blobs")
        self._folder = os.path.join(store, FOLDER)
        self._sizes: dict[str, int] = {
            blob["digest"]: blob["size"]
            for blob in self._wanted["blobs"]
            if blob["size"] >= swarm.SMALLEST and not os.path.exists(self._path(blob["digest"]))
        }
        self._left: dict[str, str] = {}
        self._brought: list[str] = []

    def ensure(self) -> dict[str, Any]:
        """Bring what is missing, and return the module's result."""
        missing = sum(self._sizes.values())
        if self._sizes and not self._check_mode:
            for folder in (self._blobs, self._folder):
                os.makedirs(folder, exist_ok=True)
            with self._turn():
                self._bring()
        return {
            "changed": bool(self._brought) or (self._check_mode and bool(self._sizes)),
            "brought": self._brought,
            "bytes": missing,
            "left": [{"digest": digest, "why": why} for digest, why in self._left.items()],
        }

    def _bring(self) -> None:
        self._end_earlier()
        os.chown(self._folder, NOBODY, NOBODY)
        self._check_room()
        for digest in self._sizes:
            self._fetch_torrent(digest)
        wanted = [digest for digest in self._sizes if digest not in self._left]
        pending = list(wanted)
        # What aria2 has asked of a desk that was switched off, it asks nobody else for, a minute long. Started anew it
        # asks those who are there; it may be for as long as that brings something.
        while pending:
            try:
                process = self._start(pending)
            except OSError as error:
                self._left.update(dict.fromkeys(pending, f"no swarm could begin: {error}"))
                break
            try:
                why = self._follow(process, pending)
            except BaseException:
                self._end(process.pid)
                raise
            if set(wanted) <= set(self._brought):
                self._write(THROUGH, b"")
                if process.poll() is None:
                    return  # it goes on for the others
            self._end(process.pid)
            if why:
                self._left.update(dict.fromkeys(pending, why))
                break
        self._clean()

    def _check_room(self) -> None:
        missing = sum(size - self._here(digest) for digest, size in self._sizes.items())
        space = os.statvfs(self._folder)
        free = space.f_bavail * space.f_frsize
        if missing > free:
            store = os.path.dirname(self._blobs)
            raise DiskFull(f"{missing / 1e9:.1f} GB are still to come and {store} has room for {free / 1e9:.1f} GB")

    def _fetch_torrent(self, digest: str) -> None:
        name = swarm.blob(digest) + ".torrent"
        url = f"{self._wanted['url'].rstrip('/')}/torrents/{name}"
        # A mirror of the LAN is not beyond the proxy.
        secure = urllib.request.HTTPSHandler(context=ssl.create_default_context())
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), secure)
        try:
            with opener.open(url, timeout=self._wanted["timeout_connect"]) as answer:
                torrent = answer.read(LONGEST)
        except urllib.error.HTTPError as error:
            self._left[digest] = f"the mirror has no torrent of it (HTTP {error.code})"
        except OSError as error:
            self._left[digest] = f"the mirror cannot be reached: {getattr(error, 'reason', None) or error}"
        else:
            self._write(name, torrent)

    def _start(self, digests: list[str]) -> subprocess.Popen[bytes]:
        """Start aria2 as a process that outlives this one."""
        # aria2's own note of what has come is empty after a full disk, and aria2 stops at that. It hashes all anyway.
        ends = (swarm.DONE, ".aria2")
        for name in [THROUGH, *(swarm.blob(digest) + end for digest in digests for end in ends)]:
            with suppress(FileNotFoundError):
                os.unlink(os.path.join(self._folder, name))
        self._write("tasks", swarm.tasks(digests).encode())
        self._write("hook", swarm.HOOK.encode(), 0o755)
        limits = self._wanted["seed_minutes"], self._wanted["upload_limit"]
        command = swarm.command(len(digests), *limits, self._address())
        nobody = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "--no-new-privs"]
        with self._opened("log") as log:
            process = subprocess.Popen(
                [*nobody, "sh", "-c", START, *command],
                # What is above it, such as Docker's folder of volumes, is closed to that account. It needs no path.
                cwd=self._folder,
                env=swarm.environment(os.environ.get("PATH", os.defpath)),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._write("pid", str(process.pid).encode())
        return process

    def _address(self) -> str:
        """Return the desk's own address in the network of the mirror: a name may have addresses that lead nowhere."""
        mirror = urlsplit(self._wanted["url"])
        there = (mirror.hostname or "", mirror.port or 443)
        with socket.create_connection(there, self._wanted["timeout_connect"]) as line:
            return str(line.getsockname()[0])

    def _follow(self, process: subprocess.Popen[bytes], pending: list[str]) -> str:
        """Take over each blob that is whole, until none is pending or no byte comes any more.

        :param pending: becomes what is still missing.
        :returns: why nothing will come, empty where it may after another start.
        """
        total = sum(self._sizes[digest] for digest in [*self._brought, *pending])
        first = before = self._come(pending)
        moved = time.monotonic() + sum(map(self._here, pending)) / HASHING
        while True:
            code = process.poll()
            for digest in [digest for digest in pending if os.path.exists(self._beside(digest, swarm.DONE))]:
                pending.remove(digest)
                self._take_over(digest)
                moved = time.monotonic()
            if not pending:
                return ""
            here = self._come(pending)
            self._progress.report(self._item(), here, total, detail="from desk to desk")
            if here > before:
                moved, before = time.monotonic(), here
            if code is not None:
                return self._ended(code)
            if time.monotonic() - moved > self._wanted["stall_timeout"]:
                return "" if here > first else f"no byte came for {self._wanted['stall_timeout']:g} s"
            time.sleep(LOOK)

    def _ended(self, code: int) -> str:
        """Say why aria2 has ended before its time."""
        with open(os.path.join(self._folder, "log"), encoding="utf-8", errors="replace") as log:
            complaint = swarm.complaint(log.read())
        if code == swarm.NO_SPACE or "No space left" in complaint:
            raise DiskFull(f"{os.path.dirname(self._blobs)} is full")
        if code == 127:
            return "there is no aria2 here"
        return f"aria2 ended with the code {code}" + (f": {complaint}" if complaint else "")

    def _take_over(self, digest: str) -> None:
        """Give a blob its name in the store, when it is what that name says."""
        came, size = self._beside(digest), self._sizes[digest]
        hashed, done = hashlib.sha256(), 0
        for block in blocks(came):
            hashed.update(block)
            done += len(block)
            self._progress.report(self._item(), done, size, detail="hashing")
        if hashed.hexdigest() != digest:
            os.unlink(came)
            self._left[digest] = "the bytes that came are not those of its name"
            return
        owner = os.stat(self._blobs)
        with open(os.open(came, os.O_RDONLY | os.O_NOFOLLOW), "rb") as file:
            os.fchown(file.fileno(), owner.st_uid, owner.st_gid)
            os.fchmod(file.fileno(), 0o644)
        # aria2 has it open and goes on handing it to others.
        os.replace(came, self._path(digest))
        self._brought.append(digest)

    def _end_earlier(self) -> None:
        """End what an earlier run has left: it hands on what it has, or nobody was there to end it."""
        with suppress(OSError, ValueError):
            with open(os.path.join(self._folder, "pid"), encoding="utf-8") as file:
                pid = int(file.read())
            # Its number may be another process's by now.
            if os.path.samefile(os.readlink(f"/proc/{pid}/cwd"), self._folder):
                self._end(pid)

    def _end(self, pid: int) -> None:
        with suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)

    def _clean(self) -> None:
        for name in os.listdir(self._folder):
            os.unlink(os.path.join(self._folder, name))

    @contextmanager
    def _turn(self) -> Iterator[None]:
        """Have the folder to ourselves."""
        handle = os.open(self._folder, os.O_RDONLY)
        try:
            while True:
                try:
                    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except OSError:
                    self._progress.report(self._item(), detail="waiting for another run")
                    time.sleep(LOOK)
            yield
        finally:
            os.close(handle)

    def _write(self, name: str, content: bytes, mode: int = 0o644) -> None:
        with self._opened(name) as file:
            file.write(content)
            os.fchmod(file.fileno(), mode)

    def _opened(self, name: str) -> IO[bytes]:
        """Open a file of the folder, which is another account's, and follow no link that this one has put there."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW
        return open(os.open(os.path.join(self._folder, name), flags, 0o644), "wb")

    def _come(self, pending: list[str]) -> int:
        return sum(self._sizes[digest] for digest in self._brought) + sum(map(self._here, pending))

    def _here(self, digest: str) -> int:
        """Return the bytes of a blob that have come; its file is sparse, so its length says nothing."""
        with suppress(FileNotFoundError):
            return min(self._sizes[digest], os.stat(self._beside(digest)).st_blocks * 512)
        return 0

    def _beside(self, digest: str, end: str = "") -> str:
        return os.path.join(self._folder, swarm.blob(digest) + end)

    def _path(self, digest: str) -> str:
        return os.path.join(self._blobs, swarm.blob(digest))

    def _item(self) -> str:
        return f"{len(self._sizes)} blob{'s' * (len(self._sizes) > 1)}"


def store(wanted: dict[str, Any]) -> str:
    """Return the folder of the model store.

    :raises NoStore: it is nowhere to be seen.
    """
    if wanted["models_dir"]:
        return str(wanted["models_dir"])
    try:
        container = DockerSocket().get(f"/containers/{wanted['container']}/json")
    except DockerFailure as error:
        raise NoStore(str(error)) from error
    folder = in_volume(container["Mounts"], container["Config"]["Env"])
    # Docker Desktop has its volumes in a machine of its own.
    if folder is None or not os.path.isdir(os.path.dirname(folder)):
        raise NoStore(f"the models of {wanted['container']} are in no volume that can be seen from here")
    return folder


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "blobs": {
                "type": "list",
                "elements": "dict",
                "required": True,
                "options": {"digest": {"type": "str", "required": True}, "size": {"type": "int", "required": True}},
            },
            "url": {"type": "str", "required": True},
            "container": {"type": "str"},
            "models_dir": {"type": "path"},
            "seed_minutes": {"type": "float", "default": 10},
            "upload_limit": {"type": "str", "default": "0"},
            "stall_timeout": {"type": "float", "default": 30},
            "timeout_connect": {"type": "float", "default": 5},
            "progress_file": {"type": "path"},
        },
        required_one_of=[("container", "models_dir")],
        mutually_exclusive=[("container", "models_dir")],
        supports_check_mode=True,
    )
    try:
        module.exit_json(**Swarm(module, store(module.params)).ensure())
    except NoStore as error:
        left = [{"digest": blob["digest"], "why": str(error)} for blob in module.params["blobs"]]
        module.exit_json(changed=False, brought=[], bytes=0, left=left)
    except DiskFull as error:
        module.fail_json(msg=f"The blobs could not be brought: {error}.", reason="disk_full")
    except Cancelled as error:
        module.fail_json(msg=f"The blobs could not be brought: {error}.", reason="cancelled")


if __name__ == "__main__":
    main()
