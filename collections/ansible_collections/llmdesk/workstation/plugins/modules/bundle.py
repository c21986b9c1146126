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
  progress_file:
    description: Where the module writes how far it is. Set by the action plugin.
    type: path
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
import functools
import gzip
import hashlib
import importlib
import io
import json
import os
import platform
import re
import shutil
import sys
import tarfile
import time
import zipfile
from collections.abc import Iterator
from typing import Any, NoReturn

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.llmdesk.workstation.plugins.module_utils import (
    bundle,
    bundle_packages,
    demo_model,
    model_manifest,
    model_name,
    oci_layout,
    program,
)
from ansible_collections.llmdesk.workstation.plugins.module_utils.image_source import (
    image_engine,
    registry_host,
    spelled,
    split_tag,
)
from ansible_collections.llmdesk.workstation.plugins.module_utils.model_bringer import SourceFailed, check_pin
from ansible_collections.llmdesk.workstation.plugins.module_utils.model_name import canonical
from ansible_collections.llmdesk.workstation.plugins.module_utils.progress import Cancelled, Progress
from ansible_collections.llmdesk.workstation.plugins.module_utils.registry import RegistryError
from ansible_collections.llmdesk.workstation.plugins.module_utils.registry_files import (
    PART,
    NotWritten,
    RegistryFiles,
    hashed,
)

INDEX = ("application/vnd.oci.image.index.v1+json", "application/vnd.docker.distribution.manifest.list.v2+json")
IMAGE = ("application/vnd.oci.image.manifest.v1+json", "application/vnd.docker.distribution.manifest.v2+json")
# Of every glibc up to that of the oldest system: what was built for one runs on every newer one.
PLATFORMS = [*(f"manylinux_2_{number}" for number in range(35, 4, -1)), "manylinux2014", "manylinux1"]
MACHINES = {"amd64": "x86_64", "arm64": "aarch64"}


class NotMade(Exception):
    """The bundle could not be made; the text is a sentence."""


class Bundle:
    """One bundle in the making."""

    def __init__(self, module: AnsibleModule) -> None:
        self._wanted: dict[str, Any] = module.params
        self._check_mode: bool = module.check_mode
        self._folder: str = module.params["path"]
        self._progress = Progress(module.params["progress_file"])
        self.tried: list[dict[str, str]] = []
        self._to_come: dict[str, tuple[RegistryFiles, str, int]] = {}  # path to repository, digest, bytes
        self._index: dict[str, dict[str, Any]] = {}
        self._texts: dict[str, bytes] = {}
        self._sums: dict[str, str] = {}
        self._kept: set[str] = set()

    def make(self) -> dict[str, Any]:
        """Make the bundle and return the module's result.

        :raises NotMade: something was not to be had.
        """
        if self._check_mode:
            found = {"images": self._images(), "models": self._models(), "systems": self._wanted["systems"]}
            missing = sum(size for path, (_files, _digest, size) in self._to_come.items() if not self._has(path))
            return {"changed": True, "bundle": found, "bytes": missing, "tried": self.tried}
        os.makedirs(self._folder, exist_ok=True)
        with self._alone():
            before = self._standing()
            found = {"schema": 1, "images": self._images(), "models": self._models()}
            found["systems"] = self._wanted["systems"]
            # Every registry has answered. From here on until the end, what is there may be of two minds.
            self._distrust(before)
            self._fetch()
            self._layout()
            self._packages()
            self._wheels()
            self._project()
            for path, text in self._texts.items():
                self._write(path, text)
            self._remove_strays()
            found["files"] = self._files()
            content = json.dumps(found, indent=1, sort_keys=True)
            self._finish(found, content)
        size = sum(file["size"] for file in found["files"].values())
        shown = {name: found[name] for name in ("images", "models", "systems")}
        return {"changed": content != before, "bundle": shown, "bytes": size, "tried": self.tried}

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """Wait until a run before, which was broken off, has ended: it needs a moment to notice."""
        with open(self._at(".lock"), "w", encoding="utf-8") as lock:
            while True:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    self._progress.report("bundle", detail="waiting until another run has left this folder")
                    time.sleep(0.2)
            yield

    def _standing(self) -> str:
        """Return what the list of a bundle that is there already says, empty where there is none that can be read."""
        try:
            with open(self._at(bundle.CONTENT), encoding="utf-8") as file:
                text = file.read()
            return text if "files" in json.loads(text) else ""
        except (OSError, ValueError):
            return ""

    def _distrust(self, before: str) -> None:
        """Remove what neither apt nor pip would look at again: files that are not what they were, and half wheels."""
        known = json.loads(before)["files"] if before else {}
        for path, file in known.items():
            there = self._at(path)
            if not path.startswith(("packages/", "wheels/")) or not os.path.exists(there):
                continue
            if self._hashed(path) != file["sha256"]:
                os.unlink(there)
        for folder, _folders, names in os.walk(self._at("wheels")):
            for name in names:
                if not _whole(os.path.join(folder, name)):
                    os.unlink(os.path.join(folder, name))
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._at(bundle.CONTENT))

    # --- What is to come ----------------------------------------------------------------------------------------------

    def _images(self) -> list[dict[str, Any]]:
        found = []
        machines = dict.fromkeys(system.rpartition("-")[2] for system in self._wanted["systems"])
        own = bundle.ARCHITECTURES.get(platform.machine(), platform.machine())
        for sources in self._wanted["images"]:
            for architecture in machines or {own: None}:
                found += self._image(sources, architecture)
        return found

    def _image(self, sources: list[dict[str, Any]], architecture: str) -> list[dict[str, Any]]:
        failures = []
        for source in sources:
            if source.get("archive"):
                return []  # a file on the desk, which stays one
            if source.get("build"):
                failures.append("an image that is built on the spot needs the network of the room")
                continue
            try:
                return [self._image_of(source, sources, architecture)]
            except RegistryError as error:
                failures.append(f"{spelled(source)}: {error}")
                self.tried.append({"source": spelled(source), "error": str(error)})
        raise NotMade(
            f"No source has the image: {'; '.join(failures)}. Name a registry that this machine reaches: "
            "--image REF, or open_webui_image_mirrors (docs/proxies.md)."
        )

    def _image_of(self, source: dict[str, Any], sources: list[dict[str, Any]], architecture: str) -> dict[str, Any]:
        reference = source["registry"]
        self._progress.report(reference, detail="asking the registry")
        name, tag = split_tag(reference)
        host = registry_host(reference)
        path = name[len(host) + 1 :] if name.startswith(host + "/") else name
        files = RegistryFiles(host, path, self._wanted["timeout_connect"], self._wanted["retries"])
        body = files.manifest(source.get("digest") or tag, INDEX + IMAGE)
        document = _document(body, host)
        if "manifests" in document:
            chosen = [
                entry["digest"]
                for entry in document["manifests"]
                if (entry.get("platform") or {}).get("architecture") == architecture
            ]
            if not chosen:
                raise RegistryError(f"it has no image for {architecture}", "not_found")
            body = files.manifest(chosen[0], IMAGE)
            document = _document(body, host)
        digest = "sha256:" + hashlib.sha256(body).hexdigest()
        blobs = {entry["digest"]: int(entry["size"]) for entry in [document["config"], *document["layers"]]}
        for each, size in blobs.items():
            self._to_come[f"images/blobs/{each.replace(':', '/')}"] = (files, each[7:], size)
        self._index[reference] = {
            "mediaType": document.get("mediaType", IMAGE[0]),
            "digest": digest,
            "size": len(body),
            "annotations": {oci_layout.NAME: reference},
        }
        self._keep(f"images/blobs/{digest.replace(':', '/')}", body)
        here = ["images/index.json", "images/oci-layout"]
        return {
            "wanted": sources,
            "reference": reference,
            "architecture": architecture,
            "engine": image_engine(source, {}),
            "files": [*here, *(f"images/blobs/{each.replace(':', '/')}" for each in [digest, *blobs])],
        }

    def _models(self) -> dict[str, dict[str, Any]]:
        found: dict[str, dict[str, Any]] = {}
        for entry in self._wanted["models"]:
            name = canonical((entry.get("create") or {}).get("from") or entry["name"])
            kept = None if name in found else self._model(name, entry)
            if kept:
                found[name] = kept
        return found

    def _model(self, name: str, entry: dict[str, Any]) -> dict[str, Any] | None:
        failures, denied = [], False
        for source in entry["sources"]:
            if source.get("from_file"):
                return None  # a file on the desk
            if source.get("demo"):
                # It would hide a misspelled name behind another model, or be the base of something else.
                if denied or entry.get("create"):
                    continue
                return self._demo()
            try:
                return self._model_of(name, source)
            except (RegistryError, SourceFailed, model_manifest.NotAManifest) as error:
                denied = denied or getattr(error, "reason", "") == "not_found"
                failures.append(f"{canonical(source['name'])}: {error}")
                self.tried.append({"source": canonical(source["name"]), "error": str(error)})
        raise NotMade(f"No source has the model {name}: {'; '.join(failures)}.")

    def _model_of(self, name: str, source: dict[str, Any]) -> dict[str, Any]:
        host, namespace, model, tag = model_name.parts(source["name"])
        self._progress.report(canonical(source["name"]), detail="asking the registry")
        files = RegistryFiles(
            host,
            f"{namespace}/{model}",
            self._wanted["timeout_connect"],
            self._wanted["retries"],
            bool(source.get("insecure")),
        )
        body = files.manifest(tag, (model_manifest.MEDIA_TYPE,))
        manifest = model_manifest.parse(body)
        check_pin(source, manifest)
        for layer in manifest.layers:
            self._to_come[f"models/blobs/sha256-{layer.digest}"] = (files, layer.digest, layer.size)
        listed = "/".join(["models/manifests", *model_name.parts(name)])
        self._keep(listed, body)
        blobs = dict.fromkeys(f"models/blobs/sha256-{layer.digest}" for layer in manifest.layers)
        kept = {"source": canonical(source["name"]), "digest": manifest.digest, "demo": False}
        return {**kept, "files": [listed, *blobs]}

    def _demo(self) -> dict[str, Any]:
        name = demo_model.DEMO["name"]
        if not self._check_mode:
            if self._has(bundle.DEMO_FILE) and self._hashed(bundle.DEMO_FILE) != demo_model.DEMO["sha256"]:
                os.unlink(self._at(bundle.DEMO_FILE))
            try:
                demo_model.fetch(
                    self._folder,
                    lambda done, total, detail: self._progress.report(name, done, total, detail=detail),
                )
            except demo_model.NotFetched as error:
                raise NotMade(f"The demo model {name} was not to be had: {error}.") from error
        self._sums[bundle.DEMO_FILE] = demo_model.DEMO["sha256"]
        self._kept.add(bundle.DEMO_FILE)
        source = f"{name}, which stands in for it"
        return {"source": source, "digest": "", "demo": True, "files": [bundle.DEMO_FILE]}

    # --- What comes ---------------------------------------------------------------------------------------------------

    def _fetch(self) -> None:
        """Bring the blobs of images and models, the smallest first."""
        total = sum(size for _files, _digest, size in self._to_come.values())
        missing = sum(size - self._size(path) for path, (_files, _digest, size) in self._to_come.items())
        free = shutil.disk_usage(self._folder).free
        if missing > free:
            self._full(missing, free)
        done = 0
        for path, (files, digest, size) in sorted(self._to_come.items(), key=lambda entry: entry[1][2]):
            os.makedirs(os.path.dirname(self._at(path)), exist_ok=True)
            began = done

            def tell(sofar: int, detail: str, began: int = began) -> None:
                self._progress.report("images and models", began + sofar, total, detail=detail)

            try:
                files.blob(digest, self._at(path), tell)
            except RegistryError as error:
                raise NotMade(f"{error}. What has come stays; the same command carries on.") from error
            self._sums[path] = digest
            self._kept.add(path)
            done += size

    def _layout(self) -> None:
        if not self._index:
            return
        index = {"schemaVersion": 2, "manifests": [self._index[name] for name in sorted(self._index)]}
        self._keep("images/index.json", json.dumps(index, indent=1).encode())
        self._keep("images/oci-layout", b'{"imageLayoutVersion": "1.0.0"}')

    def _packages(self) -> None:
        for system in self._wanted["systems"]:
            folder = f"packages/{system}"
            item = f"packages for {system}"
            try:
                bundle_packages.fetch(self._at(folder), system, functools.partial(self._tell, item))
            except bundle_packages.NotFetched as error:
                self._check_disk()
                raise NotMade(str(error)) from error
            self._kept.update(f"{folder}/{name}" for name in os.listdir(self._at(folder)))

    def _wheels(self) -> None:
        """Bring what the launcher installs, for this machine's Python and for that of every system."""
        tomllib = importlib.import_module("tomllib")  # The launcher's Python has it, which this module runs under.

        with open(os.path.join(self._wanted["project"], "pyproject.toml"), "rb") as file:
            project = tomllib.load(file)
        requirements = [*project["build-system"]["requires"], *project["project"]["dependencies"]]
        wanted = {_python(system) for system in self._wanted["systems"]}
        own = bundle.ARCHITECTURES.get(platform.machine(), platform.machine())
        wanted.add((".".join(platform.python_version_tuple()[:2]), own))
        for version, architecture in sorted(wanted):
            platforms = [f"{name}_{MACHINES.get(architecture, architecture)}" for name in PLATFORMS]
            command = [sys.executable, "-m", "pip", "download", "--disable-pip-version-check", "--no-input"]
            command += ["--dest", self._at("wheels"), "--only-binary", ":all:", "--implementation", "cp"]
            command += ["--python-version", version, *(word for name in platforms for word in ("--platform", name))]
            command += ["--constraint", os.path.join(self._wanted["project"], "constraints.txt"), *requirements]
            output = self._run(command, f"Python packages for {version}")
            self._kept.update(f"wheels/{name}" for name in re.findall(r"([\w.+-]+\.whl)\b", output))
        self._kept = {path for path in self._kept if os.path.exists(self._at(path)) or not path.startswith("wheels/")}

    def _run(self, command: list[str], item: str) -> str:
        environment = dict(os.environ)
        if os.path.exists(demo_model.SYSTEM_BUNDLE):
            environment.setdefault("PIP_CERT", demo_model.SYSTEM_BUNDLE)
        folder = self._at("wheels")
        try:
            return program.run(
                command,
                lambda: self._tell(item, f"{len(os.listdir(folder)) if os.path.isdir(folder) else 0} files"),
                environment,
            )
        except program.ProgramFailed as failed:
            self._check_disk()
            said = program.first_error(str(failed), ("ERROR",))
            raise NotMade(f"pip does not bring the {item}: {said}. The same command carries on.") from failed

    def _project(self) -> None:
        """Pack the files that git tracks, or all but what was made here where there is no git."""
        root = self._wanted["project"]
        try:
            listed = program.run(["git", "-C", root, "ls-files", "-z"], lambda: None)
            names = sorted(filter(None, listed.split("\0")))
        except (program.ProgramFailed, FileNotFoundError):
            names = _walk(root)
        packed = io.BytesIO()
        # Without times: the same project is the same archive.
        zipped = gzip.GzipFile("", "wb", mtime=0, fileobj=packed)
        with zipped, tarfile.open(fileobj=zipped, mode="w") as archive:
            for name in names:
                if os.path.lexists(os.path.join(root, name)):
                    archive.add(os.path.join(root, name), name, recursive=False, filter=_anybody)
        self._keep("llmdesk.tar.gz", packed.getvalue())

    def _remove_strays(self) -> None:
        """Remove what an earlier run brought and nobody needs any more, in the folders that are the bundle's own."""
        for kind in ("images", "models", "packages", "wheels"):
            for folder, _folders, names in os.walk(self._at(kind)):
                for name in names:
                    path = os.path.join(folder, name)
                    if os.path.relpath(path, self._folder) not in self._kept:
                        os.unlink(path)

    def _files(self) -> dict[str, dict[str, Any]]:
        found = {}
        for path in sorted(self._kept):
            there = self._at(path)
            digest = self._sums.get(path) or self._hashed(path)
            found[path] = {"size": os.path.getsize(there), "sha256": digest}
        return found

    def _finish(self, found: dict[str, Any], content: str) -> None:
        text = bundle.readme(found)
        self._write("README.txt", text.encode())
        sums = {path: file["sha256"] for path, file in found["files"].items()}
        for name, body in ((bundle.CONTENT, content), ("README.txt", text)):
            sums[name] = hashlib.sha256(body.encode()).hexdigest()
        self._write(bundle.SUMS, "".join(f"{sums[path]}  {path}\n" for path in sorted(sums)).encode())
        self._write(bundle.CONTENT, content.encode())

    # --- Files --------------------------------------------------------------------------------------------------------

    def _at(self, path: str) -> str:
        return os.path.join(self._folder, *path.split("/"))

    def _hashed(self, path: str) -> str:
        return hashed(self._at(path), lambda _done, detail: self._tell(path, detail))

    def _has(self, path: str) -> bool:
        return os.path.exists(self._at(path))

    def _size(self, path: str) -> int:
        found = [name for name in (self._at(path), self._at(path) + PART) if os.path.exists(name)]
        return os.path.getsize(found[0]) if found else 0

    def _keep(self, path: str, content: bytes) -> None:
        """Take a file whose content is known; it is written once everything has been asked for."""
        self._texts[path] = content
        self._sums[path] = hashlib.sha256(content).hexdigest()
        self._kept.add(path)

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

    def _tell(self, item: str, detail: str) -> None:
        self._progress.report(item, detail=detail)

    def _check_disk(self) -> None:
        """Say that the disk is full where that is why a program failed."""
        free = shutil.disk_usage(self._folder).free
        if free < 16 * 1024 * 1024:
            self._full(0, free)

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
            missing = sum(size - self._size(path) for path, (_files, _digest, size) in self._to_come.items())
            try:
                self._full(missing, shutil.disk_usage(self._folder).free)
            except NotMade as full:
                return str(full)
        return f"{error.filename or self._folder} cannot be written: {error.strerror or error}."


def _whole(path: str) -> bool:
    try:
        with zipfile.ZipFile(path) as wheel:
            return wheel.testzip() is None
    except (zipfile.BadZipFile, OSError):
        return False


def _document(body: bytes, host: str) -> dict[str, Any]:
    try:
        found = json.loads(body)
        if "manifests" in found or ("config" in found and "layers" in found):
            return dict(found)
    except (ValueError, TypeError):
        pass
    raise RegistryError(f"{host} answers, but not as a registry does", "not_a_registry")


def _python(system: str) -> tuple[str, str]:
    """Return the Python that llmdesk runs on there, and its architecture."""
    name, _dash, architecture = system.rpartition("-")
    return bundle.SYSTEMS[name][1], architecture


def _walk(root: str) -> list[str]:
    """Return the files of a checkout without git, but for what was made in it."""
    found: list[str] = []
    for folder, folders, names in os.walk(root):
        links = [name for name in folders if os.path.islink(os.path.join(folder, name))]
        folders[:] = [name for name in folders if name not in (".venv", ".git", "__pycache__")]
        found += [os.path.relpath(os.path.join(folder, name), root) for name in [*names, *links]]
    return sorted(found)


def _anybody(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    entry.uid = entry.gid = entry.mtime = 0
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
    except NotMade as error:
        module.fail_json(msg=str(error), tried=made.tried)


if __name__ == "__main__":
    main()
