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
  - A digest makes a mirror usable that nobody trusts. What comes otherwise is refused, and the next source is tried.
  - The build needs only package registries. It makes Open WebUI from PyPI, the current Ollama from Go's module proxy
    and the llama.cpp that it pins, keeps everything in the cache folder, and carries on where a killed run broke off.
version_added: 0.1.0
author:
  - llmdesk maintainers (@llmdesk)
extends_documentation_fragment:
  - llmdesk.workstation.network
  - llmdesk.workstation.progress
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
      digest:
        description: The digest that the reference has to have, as C(sha256:) and 64 hex digits.
        type: str
      of:
        description: The reference that a mirror stands in for. Where its registry can be asked, a mirror that has
          another digest is passed over.
        type: str
      archive:
        description:
          - A file on the desk, made by C(docker save), or a folder in the layout that OCI has for images.
          - Every file of such a folder is held to the sha256 in its name.
        type: path
      reference:
        description: Which image of that folder.
        type: str
      build:
        description: Make it on the desk.
        type: bool
      shared:
        description: Host and port of the mirror's registry, which is asked first whether another desk has built the
          same, and is given what this one builds.
        type: str
      engine:
        description: What the engine inside computes on, where the tag does not say it; a tag with C(rocm) in it is
          taken for C(rocm), any other for C(cuda), and an image of llmdesk's own recipe says it in a label.
        type: str
        choices: [cuda, rocm, vulkan, cpu]
  may_build:
    description: Whether it may be built here; false takes only what another desk has built, where the mirror says that
      none has. A mirror that says nothing keeps nobody from building.
    type: bool
    default: true
  push_password:
    description: The password for the registry of O(sources[].shared).
    type: str
  build_engine:
    description: What the engine of an image that is built computes on, the CPU alone, or by Vulkan also a GPU.
    type: str
    choices: [cpu, vulkan]
    default: cpu
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
      - registry: mirror.example.com/open-webui/open-webui:ollama
        digest: sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef
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
    engine:
      description: What its engine computes on, C(cuda), C(rocm), C(vulkan) or C(cpu).
      type: str
    digest:
      description: The digest under which its registry knows it, null for any other source.
      type: str
tried:
  description: The sources that failed before, each with C(source) and C(error).
  returned: always
  type: list
  elements: dict
handed_on:
  description: False where it was built here and the mirror did not take it for the others.
  returned: success
  type: bool
"""

import base64
import hashlib
import http.client
import json
import os
import platform
import re
import ssl
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.llmdesk.workstation.plugins.module_utils import network, oci_layout
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
    image_engine,
    registry_digest,
    registry_host,
    spelled,
    split_tag,
)
from ansible_collections.llmdesk.workstation.plugins.module_utils.model_store import blocks
from ansible_collections.llmdesk.workstation.plugins.module_utils.oci_layout import Damaged
from ansible_collections.llmdesk.workstation.plugins.module_utils.progress import Cancelled, Progress

STALL = 120.0  # seconds that Docker may be silent during a pull
LONGEST = 4 * 1024 * 1024  # No manifest is longer; a page of a captive portal might be.
MANIFESTS = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
)


# What Docker says of an image that a registry does not have, by its version and its store of images.
UNKNOWN = re.compile("manifest unknown|name unknown|not found|repository does not exist")


class SourceFailed(Exception):
    """A source did not bring the image; the next one may."""


class Image:
    """The image of one desk."""

    def __init__(self, module: AnsibleModule) -> None:
        self._wanted: dict[str, Any] = module.params
        self._check_mode: bool = module.check_mode
        self._docker = DockerSocket(timeout=60.0)
        self._proxy: dict[str, Any] = module.params["proxy"] or {}
        self._credentials: dict[str, str] = module.params["proxy_credentials"] or {}
        network.use(self._proxy, self._credentials)
        self._progress = Progress(module.params["progress_file"])
        self.tried: list[dict[str, str]] = []
        self._handed_on = True

    def ensure(self) -> dict[str, Any]:
        """Bring the image and return the module's result.

        :raises SourceFailed: no source has it.
        """
        if self._check_mode:
            first = spelled(self._wanted["sources"][0])
            image: dict[str, Any] = {"reference": first, "source": first}
            difference: dict[str, Any] = {"before": {}, "after": image}
            return {"changed": True, "image": image, "tried": [], "handed_on": True, "diff": difference}
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
                    "engine": image_engine(source, (inspected.get("Config") or {}).get("Labels") or {}),
                }
                known = image["id"] in before
                difference = {"before": {"id": image["id"] if known else None}, "after": {"id": image["id"]}}
                return {
                    "changed": not known,
                    "image": image,
                    "tried": self.tried,
                    "handed_on": self._handed_on,
                    "diff": difference,
                }
            except (SourceFailed, BuildFailed, DockerFailure, Damaged, OSError) as error:
                self.tried.append({"source": spelled(source), "error": str(error)})
        raise SourceFailed("; ".join(f"{entry['source']}: {entry['error']}" for entry in self.tried))

    def _bring(self, source: dict[str, Any]) -> str:
        """Bring the image from one source and return its reference."""
        self._progress.lan = bool(source.get("of"))
        if source.get("registry"):
            reach = self._reach(registry_host(source["registry"]))
            try:
                if source.get("digest"):
                    return self._pull_pinned(reach, source["registry"], source["digest"])
                self._check_mirror(reach, source)
                return self._pull(source["registry"])
            except (SourceFailed, DockerFailure) as error:
                raise SourceFailed(network.blame(self._proxy, self._credentials, str(error))) from error
        if source.get("archive"):
            return self._load(source["archive"], source.get("reference") or "")
        return self._build(source.get("shared") or "")

    def _check_mirror(self, reach: urllib.request.OpenerDirector | None, source: dict[str, Any]) -> None:
        """Refuse what a mirror has in the place of an image, where the registry that it stands in for can be asked.

        :raises SourceFailed: with the two digests.
        """
        if not source.get("of") or reach is None:
            return
        try:
            outside = self._reach(registry_host(source["of"]))
        except SourceFailed:
            return
        meant = self._served(outside, source["of"]) if outside else ""
        served = self._served(reach, source["registry"])
        if meant and served and meant != served:
            raise SourceFailed(
                f"the mirror has the digest {served} under that name, and {registry_host(source['of'])} {meant}; "
                "nothing was pulled"
            )

    def _pull_pinned(self, reach: urllib.request.OpenerDirector | None, reference: str, digest: str) -> str:
        """Pull by the digest, which Docker holds every byte to, and give the image its name."""
        name, tag = split_tag(reference)
        try:
            self._pull(f"{name}@{digest}")
        except (SourceFailed, DockerFailure) as error:
            served = self._served(reach, reference) if reach else ""
            if served and served != digest:
                raise SourceFailed(
                    f"it serves the digest {served} under that name, and {digest} is pinned; nothing of it was kept"
                ) from error
            raise
        if ":" in tag:  # The reference names a digest itself.
            return f"{name}@{digest}"
        self._docker.post(f"/images/{name}@{digest}/tag?repo={name}&tag={tag}")
        return reference

    def _pull(self, reference: str, known: dict[str, str] | None = None) -> str:
        """Pull an image.

        :param known: headers by which the registry knows who asks.
        """
        name, tag = split_tag(reference)
        layers: dict[str, tuple[int, int]] = {}
        for line in self._docker.stream("POST", f"/images/create?fromImage={name}&tag={tag}", None, known, STALL):
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

    def _reach(self, host: str) -> urllib.request.OpenerDirector | None:
        """Ask whether a registry answers at all, on the way that Docker goes: Docker itself would try for minutes.

        Only that it lives is asked, so its certificate is Docker's business.

        :returns: what asks it more; None where nothing can be said from here.
        :raises SourceFailed: it does not.
        """
        if host == DOCKER_HUB:
            return None
        through = self._docker_proxy(host)
        if through is None:
            return None
        proxies = {"https": through} if through else {}
        trusting = urllib.request.HTTPSHandler(context=ssl._create_unverified_context())
        opener = urllib.request.build_opener(urllib.request.ProxyHandler(proxies), trusting)
        seconds = self._wanted["timeout_connect"]

        def ask() -> str:
            try:
                opener.open(f"https://{host}/v2/", timeout=seconds).close()
            except urllib.error.HTTPError as error:
                return f"it answers with HTTP {error.code}" if error.code in (502, 503, 504) else ""
            except http.client.HTTPException as error:
                return f"it does not answer as a registry does ({type(error).__name__})"
            except urllib.error.URLError as error:
                # One without TLS, which Docker may have been told of.
                if isinstance(error.reason, ssl.SSLError):
                    return ""
                if isinstance(error.reason, OSError):
                    raise error.reason from error
                return str(error.reason)
            return ""

        said = network.in_time(ask, seconds * 1.5)
        way = f" through the proxy {urlsplit(through).netloc.split('@')[-1]}" if through else ""
        if said is None or "timed out" in said:
            raise SourceFailed(f"{host} did not answer{way} within {seconds:g} s")
        if said:
            refusal = network.refused(said, network.redacted(through), "https" in self._credentials)
            raise SourceFailed(refusal or f"{host} cannot be reached{way}: {said}")
        return opener

    def _docker_proxy(self, host: str) -> str | None:
        """Return the proxy that Docker goes through to a host, empty for none; None for one that only it knows."""
        info = self._docker.get("/info")
        through = network.redacted(info.get("HttpsProxy") or "")
        if not through or urllib.request.proxy_bypass_environment(  # type: ignore[attr-defined]
            host, {"no": info.get("NoProxy") or ""}
        ):
            return ""
        own = network.address(self._proxy, self._credentials, "https")
        return own if network.same_host(own, through) else None

    def _served(self, opener: urllib.request.OpenerDirector, reference: str) -> str:
        """Return the digest that a registry has under a name, empty where it does not say."""
        name, tag = split_tag(reference)
        host, _slash, repository = name.partition("/")
        request = urllib.request.Request(
            f"https://{host}/v2/{repository}/manifests/{tag}", headers={"Accept": ", ".join(MANIFESTS)}
        )

        def ask() -> str:
            with opener.open(request, timeout=self._wanted["timeout_connect"]) as answer:
                return "sha256:" + hashlib.sha256(answer.read(LONGEST)).hexdigest()

        said = network.in_time(ask, self._wanted["timeout_connect"] * 2) or ""
        return said if said.startswith("sha256:") else ""

    def _load(self, path: str, reference: str) -> str:
        folder = os.path.isdir(path)
        size = oci_layout.size(path, reference) if folder else os.path.getsize(path)

        def content() -> Iterator[bytes]:
            sent = 0
            for block in oci_layout.archive(path, reference) if folder else blocks(path):
                sent += len(block)
                self._progress.report(reference or path, min(sent, size), size)
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

    def _build(self, shared: str) -> str:
        if not self._wanted["recipe"]:
            raise SourceFailed("the build needs the recipe's folder, which the action plugin brings")
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            chosen = cpu_flags(desk_cpu_flags(file.read()), platform.machine())

        def tell(completed: int | None, total: int | None, detail: str) -> None:
            self._progress.report("image", completed, total, "steps", detail)

        build = Build(self._wanted["recipe"], self._wanted["cache_dir"], chosen, tell, self._wanted["build_engine"])
        if shared:
            try:
                return self._pull_built(shared, build.tag)
            except (SourceFailed, DockerFailure) as error:
                if not UNKNOWN.search(str(error)):
                    self.tried.append({"source": shared, "error": str(error)})
                elif not self._wanted["may_build"]:
                    raise SourceFailed(f"no desk has built it yet ({error})") from error
        tag = build.image()
        if shared:
            try:
                self._push(shared, tag)
            except DockerFailure as error:
                self._handed_on = False
                self.tried.append({"source": shared, "error": f"the built image could not be handed on: {error}"})
        return tag

    def _pull_built(self, shared: str, tag: str) -> str:
        """Take what another desk has built of the same recipe, for the same CPU."""
        self._reach(shared)
        self._progress.lan = True
        try:
            self._pull(f"{shared}/{tag}", self._known(shared))
        finally:
            self._progress.lan = False
        name, version = split_tag(tag)
        self._docker.post(f"/images/{shared}/{tag}/tag?repo={name}&tag={version}")
        self._docker.delete(f"/images/{shared}/{tag}")
        return tag

    def _known(self, shared: str) -> dict[str, str]:
        """Return the headers by which the mirror's registry knows a desk of its room."""
        told = {"username": "llmdesk", "password": self._wanted["push_password"], "serveraddress": shared}
        return {"X-Registry-Auth": base64.urlsafe_b64encode(json.dumps(told).encode()).decode()}

    def _push(self, shared: str, tag: str) -> None:
        """Hand on what was built."""
        name, version = split_tag(tag)
        self._docker.post(f"/images/{tag}/tag?repo={shared}/{name}&tag={version}")
        path = f"/images/{shared}/{name}/push?tag={version}"
        for line in self._docker.stream("POST", path, None, self._known(shared), STALL):
            if "error" in line:
                raise DockerFailure(line["error"])
            self._progress.report("image", detail="handing it to the mirror")
        self._docker.delete(f"/images/{shared}/{tag}")


def failed(said: str, sources: list[dict[str, Any]]) -> str:
    """Return that no source has the image, and what to do about the network where one of them would use it."""
    msg = f"No source has the image. {said}."
    if any(source.get("registry") or source.get("build") for source in sources):
        msg += (
            " Free the network; set desk_proxy where a proxy is the way out, or open_webui_image_mirrors where this "
            "network has a mirror (docs/proxies.md); or bring an archive made by 'docker save' on another machine: "
            "'./llmdesk up --image FILE'."
        )
    return msg


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "sources": {
                "type": "list",
                "elements": "dict",
                "required": True,
                "options": {
                    "registry": {"type": "str"},
                    "digest": {"type": "str"},
                    "of": {"type": "str"},
                    "archive": {"type": "path"},
                    "reference": {"type": "str"},
                    "build": {"type": "bool"},
                    "shared": {"type": "str"},
                    "engine": {"type": "str", "choices": ["cuda", "rocm", "vulkan", "cpu"]},
                },
                "mutually_exclusive": [("registry", "archive", "build")],
                "required_one_of": [("registry", "archive", "build")],
                "required_by": {"digest": "registry", "of": "registry", "reference": "archive", "shared": "build"},
            },
            "may_build": {"type": "bool", "default": True},
            "push_password": {"type": "str", "no_log": True},
            "build_engine": {"type": "str", "choices": ["cpu", "vulkan"], "default": "cpu"},
            "cache_dir": {"type": "path", "default": "/var/cache/llmdesk"},
            "timeout_connect": {"type": "float", "default": 5},
            **network.ARGUMENTS,
            "recipe": {"type": "path"},
            "progress_file": {"type": "path"},
        },
        supports_check_mode=True,
    )
    image = Image(module)
    try:
        module.exit_json(**image.ensure())
    except (SourceFailed, Cancelled) as error:
        module.fail_json(msg=failed(str(error), module.params["sources"]), tried=image.tried)
    except DockerFailure as error:
        module.fail_json(msg=f"Docker cannot be asked: {error}. Run './llmdesk up' to start it.", tried=image.tried)


if __name__ == "__main__":
    main()
