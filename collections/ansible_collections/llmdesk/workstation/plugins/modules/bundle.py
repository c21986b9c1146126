#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: bundle
short_description: A folder with everything that a room without a network needs
description:
  - Fetches images and models from the first source that has each, Debian packages of Docker and of what Ansible's
    modules need, and the Python packages that llmdesk is made of.
  - What is in the folder already is held to its sha256 and stays. A download that was cut off is carried on. What
    nobody needs any more is removed.
  - The list of what is in it comes last, so that half a bundle is none.
version_added: 0.1.0
author:
  - llmdesk maintainers (@llmdesk)
extends_documentation_fragment:
  - llmdesk.workstation.progress
options:
  path:
    description: The folder; made where it is missing.
    type: path
    required: true
  images:
    description: The images, each a list of sources as M(llmdesk.workstation.open_webui_image) has them, best first.
    type: list
    elements: list
    required: true
  models:
    description: The models, each with C(name) and C(sources) as M(llmdesk.workstation.ollama_model) has them.
    type: list
    elements: dict
    required: true
  systems:
    description: The systems that packages are for, such as V(debian-13-amd64); none where it is empty.
    type: list
    elements: str
    required: true
  project:
    description: The checkout of llmdesk, which goes along.
    type: path
    required: true
  timeout_connect:
    description: Seconds that a registry may take to answer.
    type: float
    default: 5
  retries:
    description: How often in a row a download that brings nothing is resumed.
    type: int
    default: 3
attributes:
  check_mode:
    support: full
    description: Asks the registries, and says what would be in it and how many bytes of images and models would come.
  diff_mode:
    support: none
    description: What changes is a folder of large files.
"""

EXAMPLES = r"""
- name: Bring everything for a room of Debian 13 along
  llmdesk.workstation.bundle:
    path: /media/usb
    images:
      - - registry: ghcr.io/open-webui/open-webui:ollama
    models:
      - name: llama3.2:3b
        sources:
          - name: llama3.2:3b
    systems: [debian-13-amd64]
    project: "{{ playbook_dir }}"
  delegate_to: localhost
  vars:
    ansible_python_interpreter: "{{ ansible_playbook_python }}"  # which has pip
"""

RETURN = r"""
bundle:
  description: What is in it, or would be - C(images), C(models), C(systems).
  returned: success
  type: dict
bytes:
  description: How large all files are; in check mode what would still come of images and models.
  returned: success
  type: int
tried:
  description: The sources that did not bring an image or a model, each with C(source) and C(error).
  returned: always
  type: list
  elements: dict
"""

import contextlib
import errno
import fcntl
import gzip
import hashlib
import io
import json
import os
import shutil
import tarfile
import time
from collections.abc import Iterator
from typing import Any, NoReturn

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.llmdesk.workstation.plugins.module_utils import (
    bundle,
    bundle_packages,
    bundle_wheels,
    demo_model,
    program,
)
from ansible_collections.llmdesk.workstation.plugins.module_utils.bundle_sources import NoSource, Sources
from ansible_collections.llmdesk.workstation.plugins.module_utils.progress import Cancelled, Progress
from ansible_collections.llmdesk.workstation.plugins.module_utils.registry import RegistryError
from ansible_collections.llmdesk.workstation.plugins.module_utils.registry_files import PART, NotWritten, hashed

LONG_AGO = 315_619_200
"""The second day of 1980: a wheel, which pip makes of what was unpacked, has no earlier times."""
LEASE = 10.0
"""Seconds that the controller may be silent, which is this machine: who breaks a run off pulls the disk out next."""
FULL = 16 * 1024 * 1024
"""Bytes free on a disk that is taken for full when a program fails on it."""


class NotMade(Exception):
    """The bundle could not be made; the text is a sentence."""


class Bundle:
    """One bundle in the making."""

    def __init__(self, module: AnsibleModule) -> None:
        self._wanted: dict[str, Any] = module.params
        self._check_mode: bool = module.check_mode
        self._folder: str = module.params["path"]
        self._progress = Progress(module.params["progress_file"], LEASE)
        self._sources = Sources(module.params["timeout_connect"], module.params["retries"], self._tell)
        self._sums: dict[str, str] = {}  # of all that belongs into it, by path; empty where nobody has hashed it yet

    @property
    def tried(self) -> list[dict[str, str]]:
        """The sources that had nothing."""
        return self._sources.tried

    def make(self) -> dict[str, Any]:
        """Make the bundle and return the module's result.

        :raises NotMade: something was not to be had.
        :raises NoSource: an image or a model was not to be had.
        """
        if os.path.realpath(self._folder) == os.path.realpath(self._wanted["project"]):
            raise NotMade(f"{self._folder} is llmdesk's own folder. Name another, such as {self._folder}/bundle.")
        if self._check_mode:
            found = self._ask()
            missing = sum(blob.size for path, blob in self._sources.blobs.items() if not os.path.exists(self._at(path)))
            return {"changed": True, "bundle": found, "bytes": missing, "tried": self.tried}
        os.makedirs(self._folder, exist_ok=True)
        with self._alone():
            found = self._ask()
            # Every registry has answered. From here on until the end, what is there may be of two minds.
            before = self._take_list()
            self._fetch()
            self._demo()
            self._packages()
            self._wheels()
            self._project()
            for path, text in self._sources.texts.items():
                self._keep(path, text)
            self._remove_strays()
            files = self._files()
            content = json.dumps({"schema": 1, **found, "files": files}, indent=1, sort_keys=True)
            self._finish({**found, "files": files}, content)
        size = sum(file["size"] for file in files.values())
        return {"changed": content != before, "bundle": found, "bytes": size, "tried": self.tried}

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """Wait until a run before, which was broken off, has ended: it needs a moment to notice."""
        with open(self._at(".lock"), "w", encoding="utf-8") as lock:
            while True:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    self._tell("bundle", "waiting until another run has left this folder")
                    time.sleep(0.2)
            yield

    def _ask(self) -> dict[str, Any]:
        """Ask the registries, and return what the bundle says of itself but for its files."""
        systems = self._wanted["systems"]
        images = self._sources.images(self._wanted["images"], systems)
        return {"images": images, "models": self._sources.models(self._wanted["models"]), "systems": systems}

    def _take_list(self) -> str:
        """Take the list of a bundle away, with which it is none any more, and return what it said."""
        try:
            with open(self._at(bundle.CONTENT), encoding="utf-8", errors="replace") as file:
                said = file.read()
        except FileNotFoundError:
            return ""
        os.unlink(self._at(bundle.CONTENT))
        return said

    # --- What comes ---------------------------------------------------------------------------------------------------

    def _fetch(self) -> None:
        """Bring the blobs of images and models, the smallest first."""
        blobs = self._sources.blobs
        total, missing, free = sum(blob.size for blob in blobs.values()), self._missing(), self._free()
        if missing > free:
            self._full(missing, free)
        done = 0
        for path, blob in sorted(blobs.items(), key=lambda entry: entry[1].size):
            os.makedirs(os.path.dirname(self._at(path)), exist_ok=True)
            began = done

            def tell(sofar: int, detail: str, began: int = began) -> None:
                self._progress.report("images and models", began + sofar, total, detail=detail)

            try:
                blob.files.blob(blob.digest, self._at(path), tell)
            except RegistryError as error:
                raise NotMade(f"{error}. What has come stays; the same command carries on.") from error
            self._sums[path] = blob.digest
            done += blob.size

    def _demo(self) -> None:
        """Bring the demo model's file, where it stands in for a model."""
        if not self._sources.demo:
            return
        name, there = demo_model.DEMO["name"], self._at(bundle.DEMO_FILE)
        if os.path.exists(there) and self._hashed(bundle.DEMO_FILE) != demo_model.DEMO["sha256"]:
            os.unlink(there)
        try:
            demo_model.fetch(
                self._folder, lambda done, total, detail: self._progress.report(name, done, total, detail=detail)
            )
        except demo_model.NotFetched as error:
            raise NotMade(f"The demo model {name} was not to be had: {error}.") from error
        self._sums[bundle.DEMO_FILE] = demo_model.DEMO["sha256"]

    def _packages(self) -> None:
        for system in self._wanted["systems"]:
            folder = self._at(f"packages/{system}")
            item = f"packages for {system}"
            try:
                bundle_packages.fetch(folder, system, lambda detail, item=item: self._tell(item, detail))  # type: ignore[misc]
            except bundle_packages.NotFetched as error:
                self._check_disk()
                raise NotMade(str(error)) from error
            self._sums.update(dict.fromkeys((f"packages/{system}/{name}" for name in os.listdir(folder)), ""))

    def _wheels(self) -> None:
        try:
            found = bundle_wheels.fetch(
                self._at("wheels"), self._wanted["project"], self._wanted["systems"], self._tell
            )
        except bundle_wheels.NotFetched as error:
            self._check_disk()
            raise NotMade(str(error)) from error
        self._sums.update(dict.fromkeys((f"wheels/{name}" for name in found), ""))

    def _project(self) -> None:
        """Pack llmdesk: the files that git tracks, or all but what was made there where git knows of none."""
        root = self._wanted["project"]
        try:
            listed = program.run(["git", "-C", root, "ls-files", "-z"], lambda: None)
        except (program.ProgramFailed, FileNotFoundError):
            listed = ""
        ours = os.path.relpath(os.path.realpath(self._folder), os.path.realpath(root)) + os.sep
        found = list(filter(None, listed.split("\0"))) or _walk(root)
        names = sorted(name for name in found if not name.startswith(ours) and not _is_private(name))
        packed = io.BytesIO()
        # Without their times: the same project is the same archive.
        zipped = gzip.GzipFile("", "wb", mtime=0, fileobj=packed)
        with zipped, tarfile.open(fileobj=zipped, mode="w") as archive:
            for name in names:
                if os.path.lexists(os.path.join(root, name)):
                    archive.add(os.path.join(root, name), name, recursive=False, filter=_anybody)
        self._keep("llmdesk.tar.gz", packed.getvalue())

    def _remove_strays(self) -> None:
        """Remove what an earlier run brought and nobody needs any more, in the folders that are the bundle's own."""
        for kind in ("images", "models", "packages", "wheels"):
            for folder, _folders, names in os.walk(self._at(kind), topdown=False):
                for name in names:
                    path = os.path.join(folder, name)
                    if os.path.relpath(path, self._folder) not in self._sums:
                        os.unlink(path)
                if not os.listdir(folder):
                    os.rmdir(folder)

    def _files(self) -> dict[str, dict[str, Any]]:
        return {
            path: {"size": os.path.getsize(self._at(path)), "sha256": digest or self._hashed(path)}
            for path, digest in sorted(self._sums.items())
        }

    def _finish(self, found: dict[str, Any], content: str) -> None:
        text = bundle.readme(found)
        self._write("README.txt", text.encode())
        self._sync()
        sums = {path: file["sha256"] for path, file in found["files"].items()}
        for name, body in ((bundle.CONTENT, content), ("README.txt", text)):
            sums[name] = hashlib.sha256(body.encode()).hexdigest()
        self._write(bundle.SUMS, "".join(f"{sums[path]}  {path}\n" for path in sorted(sums)).encode())
        self._write(bundle.CONTENT, content.encode())
        self._sync()

    # --- Files --------------------------------------------------------------------------------------------------------

    def _at(self, path: str) -> str:
        return os.path.join(self._folder, *path.split("/"))

    def _hashed(self, path: str) -> str:
        return hashed(self._at(path), lambda _done, detail: self._tell(path, detail))

    def _keep(self, path: str, content: bytes) -> None:
        self._write(path, content)
        self._sums[path] = hashlib.sha256(content).hexdigest()

    def _write(self, path: str, content: bytes) -> None:
        there = self._at(path)
        os.makedirs(os.path.dirname(there), exist_ok=True)
        with contextlib.suppress(FileNotFoundError), open(there, "rb") as file:
            if file.read() == content:
                return
        with open(there + ".new", "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(there + ".new", there)

    def _sync(self) -> None:
        """Wait until the disk has what was written: a slow one takes minutes more. By a program, which ends with us."""
        try:
            program.run(["sync", "-f", self._folder], lambda: self._tell("bundle", "writing to the disk"))
        except program.ProgramFailed as failed:
            raise NotMade(f"{self._folder} does not keep it all: {program.first_error(str(failed))}.") from failed

    def _tell(self, item: str, detail: str) -> None:
        self._progress.report(item, detail=detail)

    # --- The disk -----------------------------------------------------------------------------------------------------

    def _missing(self) -> int:
        """Return how many bytes of images and models are still to come."""
        missing = 0
        for path, blob in self._sources.blobs.items():
            there = [name for name in (self._at(path), self._at(path) + PART) if os.path.exists(name)]
            missing += blob.size - (os.path.getsize(there[0]) if there else 0)
        return missing

    def _free(self) -> int:
        return shutil.disk_usage(self._folder).free

    def _check_disk(self) -> None:
        """Say that the disk is full where that is why a program failed."""
        if self._free() < FULL:
            self._full(0, self._free())

    def _full(self, missing: int, free: int) -> NoReturn:
        still = f"{missing / 1e9:.1f} GB are still to come and " if missing else ""
        raise NotMade(
            f"{self._folder} is too small: {still}{free / 1e9:.1f} GB are free there. Make room, or take another: "
            "the same command carries on from what is there."
        )

    def unwritable(self, error: OSError) -> str:
        """Return what a failure to write means, as a sentence."""
        if error.errno == errno.EFBIG:
            return (
                f"{self._folder} takes no file of more than 4 GiB: its file system is FAT32. Format the disk as exFAT; "
                "the same command begins anew there."
            )
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            try:
                self._full(self._missing(), self._free())
            except NotMade as full:
                return str(full)
        return f"{error.filename or self._folder} cannot be written: {error.strerror or error}."


def _walk(root: str) -> list[str]:
    """Return the files of a checkout without git, but for what was made in it."""
    found: list[str] = []
    for folder, folders, names in os.walk(root):
        links = [name for name in folders if os.path.islink(os.path.join(folder, name))]
        folders[:] = [name for name in folders if name not in (".venv", ".git", ".cache", "__pycache__")]
        found += [os.path.relpath(os.path.join(folder, name), root) for name in [*names, *links]]
    return found


def _is_private(name: str) -> bool:
    """Return whether a file is an inventory of one's own, which may have passwords in it."""
    return name.startswith("inventory/") and not name.startswith(("inventory/local.yml", "inventory/examples/"))


def _anybody(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    entry.uid = entry.gid = 0
    entry.mtime = LONG_AGO
    entry.uname = entry.gname = ""
    return entry


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "path": {"type": "path", "required": True},
            "images": {"type": "list", "elements": "list", "required": True},
            "models": {"type": "list", "elements": "dict", "required": True},
            "systems": {"type": "list", "elements": "str", "required": True},
            "project": {"type": "path", "required": True},
            "timeout_connect": {"type": "float", "default": 5},
            "retries": {"type": "int", "default": 3},
            "progress_file": {"type": "path"},
        },
        supports_check_mode=True,
    )
    made = Bundle(module)
    try:
        module.exit_json(**made.make())
    except NotWritten as error:
        cause = error.__cause__
        module.fail_json(msg=made.unwritable(cause if isinstance(cause, OSError) else OSError()), tried=made.tried)
    except OSError as error:
        module.fail_json(msg=made.unwritable(error), tried=made.tried)
    except Cancelled as error:
        module.fail_json(msg=f"The bundle is not whole: {error}.", tried=made.tried)
    except (NotMade, NoSource) as error:
        module.fail_json(msg=str(error), tried=made.tried)


if __name__ == "__main__":
    main()
