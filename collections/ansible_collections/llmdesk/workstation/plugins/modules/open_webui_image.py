#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: open_webui_image
short_description: The image of an Open WebUI desk, from the first source that has it
description:
  - Tries the sources in order, a registry, an archive, a build on the spot, and says why those before were not used.
  - A registry that does not answer costs five seconds.
  - The build needs only package registries. It makes Open WebUI from PyPI, the current Ollama from Go's module proxy
    and the llama.cpp that it pins, keeps everything in the cache folder, and carries on where a killed run broke off.
version_added: 0.1.0
author:
  - llmdesk maintainers (@llmdesk)
options:
  sources:
    description: Where the image may come from, best first.
    type: list
    elements: dict
    required: true
    suboptions:
      registry:
        description: A reference that a registry serves.
        type: str
      archive:
        description: A file on the desk, made by C(docker save).
        type: path
      build:
        description: Make it on the desk.
        type: bool
  cache_dir:
    description: Folder of downloads and built images.
    type: path
    default: /var/cache/llmdesk
  timeout_connect:
    description: Seconds that a registry may take to answer.
    type: float
    default: 5
  recipe:
    description: Folder of the build's files. Set by the action plugin.
    type: path
  progress_file:
    description: Where the module writes how far it is. Set by the action plugin.
    type: path
attributes:
  check_mode:
    support: full
    description: Says which source would be tried first.
  diff_mode:
    support: full
    description: Shows the image's id before and after.
"""

EXAMPLES = r"""
- name: Bring the image
  llmdesk.workstation.open_webui_image:
    sources:
      - registry: ghcr.io/open-webui/open-webui:ollama
      - archive: /srv/open-webui.tar
      - build: true
"""

RETURN = r"""
image:
  description: The image.
  returned: success
  type: dict
  contains:
    id:
      description: Its id, which the container is run by.
      type: str
    reference:
      description: Its name.
      type: str
    source:
      description: The source that brought it.
      type: str
    digest:
      description: The digest under which its registry knows it, null for any other source.
      type: str
tried:
  description: The sources that failed before, each with C(source) and C(error).
  returned: always
  type: list
  elements: dict
"""

import os
import platform
import re
import socket
import threading
from collections.abc import Iterator
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.llmdesk.workstation.plugins.module_utils.docker_socket import (
    DockerError,
    DockerFailure,
    DockerSocket,
)
from ansible_collections.llmdesk.workstation.plugins.module_utils.image_build import (
    Build,
    BuildFailed,
    cpu_flags,
    desk_cpu_flags,
)
from ansible_collections.llmdesk.workstation.plugins.module_utils.image_source import (
    DOCKER_HUB,
    registry_digest,
    registry_host,
    spelled,
    split_tag,
)
from ansible_collections.llmdesk.workstation.plugins.module_utils.progress import Cancelled, Progress

BLOCK = 1024 * 1024
STALL = 120.0  # seconds that Docker may be silent during a pull


class SourceFailed(Exception):
    """A source did not bring the image; the next one may."""


class Image:
    """The image of one desk."""

    def __init__(self, module: AnsibleModule) -> None:
        self._wanted: dict[str, Any] = module.params
        self._check_mode: bool = module.check_mode
        self._docker = DockerSocket(timeout=60.0)
        self._progress = Progress(module.params["progress_file"])
        self.tried: list[dict[str, str]] = []

    def ensure(self) -> dict[str, Any]:
        """Bring the image and return the module's result.

        :raises SourceFailed: no source has it.
        """
        if self._check_mode:
            first = spelled(self._wanted["sources"][0])
            image: dict[str, Any] = {"reference": first, "source": first}
            return {"changed": True, "image": image, "tried": [], "diff": {"before": {}, "after": image}}
        before = {image["Id"] for image in self._docker.get("/images/json")}
        for source in self._wanted["sources"]:
            try:
                reference = self._bring(source)
                inspected = self._docker.get(f"/images/{reference}/json")
                image = {
                    "id": inspected["Id"],
                    "reference": reference,
                    "source": spelled(source),
                    "digest": registry_digest(inspected, reference),
                }
                known = image["id"] in before
                difference = {"before": {"id": image["id"] if known else None}, "after": {"id": image["id"]}}
                return {"changed": not known, "image": image, "tried": self.tried, "diff": difference}
            except (SourceFailed, BuildFailed, DockerFailure, OSError) as error:
                self.tried.append({"source": spelled(source), "error": str(error)})
        raise SourceFailed("; ".join(f"{entry['source']}: {entry['error']}" for entry in self.tried))

    def _bring(self, source: dict[str, Any]) -> str:
        """Bring the image from one source and return its reference."""
        if source.get("registry"):
            return self._pull(source["registry"])
        if source.get("archive"):
            return self._load(source["archive"])
        return self._build()

    def _pull(self, reference: str) -> str:
        self._reach(registry_host(reference))
        name, tag = split_tag(reference)
        layers: dict[str, tuple[int, int]] = {}
        for line in self._docker.stream("POST", f"/images/create?fromImage={name}&tag={tag}", timeout=STALL):
            if "error" in line:
                raise SourceFailed(line["error"])
            size = (line.get("progressDetail") or {}).get("total")
            if line.get("status") == "Downloading" and size:
                layers[line["id"]] = (line["progressDetail"]["current"], size)
            elif line.get("status") == "Download complete" and line.get("id") in layers:
                layers[line["id"]] = (layers[line["id"]][1], layers[line["id"]][1])
            completed = sum(done for done, _total in layers.values()) if layers else None
            total = sum(total for _done, total in layers.values()) if layers else None
            unpacking = line.get("status") == "Extracting" and completed == total
            self._progress.report(reference, completed, total, detail="unpacking" if unpacking else "")
        return reference

    def _reach(self, host: str) -> None:
        """Ask whether a registry can be reached at all: Docker itself would try for minutes.

        Where Docker goes through a proxy, that is the proxy's business.
        """
        info = self._docker.get("/info")
        if info.get("HttpsProxy") or host == DOCKER_HUB:
            return
        address, _colon, port = host.partition(":")
        answer: list[str] = []

        def connect() -> None:
            try:
                socket.create_connection((address, int(port or 443)), self._wanted["timeout_connect"]).close()
                answer.append("")
            except OSError as error:
                answer.append(str(error.strerror or error))

        # A name server may be silent for longer than any time-out of a socket.
        thread = threading.Thread(target=connect, daemon=True)
        thread.start()
        thread.join(self._wanted["timeout_connect"])
        if not answer:
            raise SourceFailed(f"{host} did not answer within {self._wanted['timeout_connect']:g} s")
        if answer[0]:
            raise SourceFailed(f"{host} cannot be reached: {answer[0]}")

    def _load(self, path: str) -> str:
        size = os.path.getsize(path)

        def content() -> Iterator[bytes]:
            sent = 0
            with open(path, "rb") as file:
                for block in iter(lambda: file.read(BLOCK), b""):
                    sent += len(block)
                    self._progress.report(path, sent, size)
                    yield block

        headers = {"Content-Type": "application/x-tar"}
        try:
            said = list(self._docker.stream("POST", "/images/load?quiet=1", content(), headers, timeout=600.0))
        except DockerError as error:
            raise SourceFailed(f"{path} is no image made by 'docker save': {error}") from error
        text = "".join(line.get("stream", "") for line in said)
        found = re.search(r"Loaded image(?: ID)?: (\S+)", text)
        if not found:
            errors = "".join(line.get("error", "") for line in said)
            raise SourceFailed(f"{path} is no image made by 'docker save': {errors or text.strip() or 'no answer'}")
        return found.group(1)

    def _build(self) -> str:
        if not self._wanted["recipe"]:
            raise SourceFailed("the build needs the recipe's folder, which the action plugin brings")
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            chosen = cpu_flags(desk_cpu_flags(file.read()), platform.machine())

        def tell(completed: int | None, total: int | None, detail: str) -> None:
            self._progress.report("image", completed, total, "steps", detail)

        return Build(self._wanted["recipe"], self._wanted["cache_dir"], chosen, tell).image()


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "sources": {
                "type": "list",
                "elements": "dict",
                "required": True,
                "options": {"registry": {"type": "str"}, "archive": {"type": "path"}, "build": {"type": "bool"}},
                "mutually_exclusive": [("registry", "archive", "build")],
                "required_one_of": [("registry", "archive", "build")],
            },
            "cache_dir": {"type": "path", "default": "/var/cache/llmdesk"},
            "timeout_connect": {"type": "float", "default": 5},
            "recipe": {"type": "path"},
            "progress_file": {"type": "path"},
        },
        supports_check_mode=True,
    )
    image = Image(module)
    try:
        module.exit_json(**image.ensure())
    except (SourceFailed, Cancelled) as error:
        module.fail_json(
            msg=f"No source has the image. {error}. Free the network, or bring an archive made by 'docker save' on "
            "another machine: './llmdesk up --image FILE'.",
            tried=image.tried,
        )
    except DockerFailure as error:
        module.fail_json(msg=f"Docker cannot be asked: {error}. Run './llmdesk up' to start it.", tried=image.tried)


if __name__ == "__main__":
    main()
