# SPDX-License-Identifier: GPL-3.0-or-later
"""Images and models of a bundle: each from the first of its sources that has it, as manifests and the blobs they name.

Registries are only asked here; what has to come of it is a list.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ansible_collections.llmdesk.workstation.plugins.module_utils import (
    bundle,
    demo_model,
    model_manifest,
    model_name,
    oci_layout,
)
from ansible_collections.llmdesk.workstation.plugins.module_utils.image_source import (
    image_engine,
    registry_host,
    spelled,
    split_tag,
)
from ansible_collections.llmdesk.workstation.plugins.module_utils.model_bringer import SourceFailed, check_pin
from ansible_collections.llmdesk.workstation.plugins.module_utils.model_name import canonical
from ansible_collections.llmdesk.workstation.plugins.module_utils.registry import RegistryError
from ansible_collections.llmdesk.workstation.plugins.module_utils.registry_files import RegistryFiles

INDEX = ("application/vnd.oci.image.index.v1+json", "application/vnd.docker.distribution.manifest.list.v2+json")
IMAGE = ("application/vnd.oci.image.manifest.v1+json", "application/vnd.docker.distribution.manifest.v2+json")


class NoSource(Exception):
    """No source has an image or a model; the text is a sentence."""


@dataclass(frozen=True)
class Blob:
    """A blob that belongs into a bundle: its repository, its sha256 in hex, and its bytes."""

    files: RegistryFiles
    digest: str
    size: int


class Sources:
    """What the registries say of the images and models of one bundle.

    ``blobs`` and ``texts`` have by their paths in the bundle what has to come and what has come already, ``demo`` says
    whether the demo model stands in for one, ``tried`` names the sources that had nothing.

    :param timeout: seconds that a registry may take to answer.
    :param retries: how often in a row a download that brings nothing is resumed.
    :param tell: called with what is asked, and a word about it.
    """

    def __init__(self, timeout: float, retries: int, tell: Callable[[str, str], None]) -> None:
        self.blobs: dict[str, Blob] = {}
        self.texts: dict[str, bytes] = {}
        self.demo = False
        self.tried: list[dict[str, str]] = []
        self._limits = (timeout, retries)
        self._tell = tell
        self._index: dict[str, dict[str, Any]] = {}

    def images(self, wanted: Sequence[list[dict[str, Any]]], systems: Sequence[str]) -> list[dict[str, Any]]:
        """Return what a bundle says of its images.

        :param wanted: the sources of each, best first.
        :param systems: such as ``debian-13-amd64``, for whose machines they are; empty for machines such as this one.
        :raises NoSource: one was not to be had.
        """
        machines = dict.fromkeys(system.rpartition("-")[2] for system in systems) or [bundle.machine()]
        found = [self._image(sources, architecture) for sources in wanted for architecture in machines]
        if self._index:
            index = {"schemaVersion": 2, "manifests": [self._index[name] for name in sorted(self._index)]}
            self.texts["images/index.json"] = json.dumps(index, indent=1).encode()
            self.texts["images/oci-layout"] = b'{"imageLayoutVersion": "1.0.0"}'
        return [image for image in found if image]

    def models(self, wanted: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
        """Return what a bundle says of its models, by their canonical names.

        :param wanted: declared models in full; bases come in the place of what is made of them.
        :raises NoSource: one was not to be had.
        """
        found: dict[str, dict[str, Any]] = {}
        for entry in wanted:
            name = canonical((entry.get("create") or {}).get("from") or entry["name"])
            kept = None if name in found else self._model(name, entry)
            if kept:
                found[name] = kept
        return found

    def _image(self, sources: list[dict[str, Any]], architecture: str) -> dict[str, Any] | None:
        failures = []
        for source in sources:
            if source.get("archive"):
                return None  # a file on the desk, which stays one
            if source.get("build"):
                failures.append("an image that is built on the spot needs the network of the room")
                continue
            try:
                return self._image_of(source, sources, architecture)
            except RegistryError as error:
                failures.append(self._failed(spelled(source), error))
        raise NoSource(
            f"No source has the image: {'; '.join(failures)}. Name a registry that this machine reaches: "
            "--image REF, or open_webui_image_mirrors (docs/proxies.md)."
        )

    def _image_of(self, source: dict[str, Any], sources: list[dict[str, Any]], architecture: str) -> dict[str, Any]:
        reference = source["registry"]
        self._tell(reference, "asking the registry")
        name, tag = split_tag(reference)
        host = registry_host(reference)
        files = RegistryFiles(host, name[len(host) + 1 :] if name.startswith(host + "/") else name, *self._limits)
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
            self.blobs[f"images/blobs/{each.replace(':', '/')}"] = Blob(files, each[7:], size)
        self._index[reference] = {
            "mediaType": document.get("mediaType", IMAGE[0]),
            "digest": digest,
            "size": len(body),
            "annotations": {oci_layout.NAME: reference},
        }
        self.texts[f"images/blobs/{digest.replace(':', '/')}"] = body
        here = ["images/index.json", "images/oci-layout"]
        return {
            "wanted": sources,
            "reference": reference,
            "architecture": architecture,
            "engine": image_engine(source, {}),
            "files": [*here, *(f"images/blobs/{each.replace(':', '/')}" for each in [digest, *blobs])],
        }

    def _model(self, name: str, entry: Mapping[str, Any]) -> dict[str, Any] | None:
        failures, denied = [], False
        for source in entry["sources"]:
            if source.get("from_file"):
                return None  # a file on the desk
            if source.get("demo"):
                # It would hide a misspelled name behind another model, or be the base of something else.
                if denied or entry.get("create"):
                    continue
                self.demo = True
                said = f"{demo_model.DEMO['name']}, which stands in for it"
                return {"source": said, "digest": "", "demo": True, "files": [bundle.DEMO_FILE]}
            try:
                return self._model_of(name, source)
            except (RegistryError, SourceFailed, model_manifest.NotAManifest) as error:
                denied = denied or getattr(error, "reason", "") == "not_found"
                failures.append(self._failed(canonical(source["name"]), error))
        raise NoSource(f"No source has the model {name}: {'; '.join(failures)}.")

    def _model_of(self, name: str, source: dict[str, Any]) -> dict[str, Any]:
        host, namespace, model, tag = model_name.parts(source["name"])
        self._tell(canonical(source["name"]), "asking the registry")
        files = RegistryFiles(host, f"{namespace}/{model}", *self._limits, bool(source.get("insecure")))
        body = files.manifest(tag, (model_manifest.MEDIA_TYPE,))
        manifest = model_manifest.parse(body)
        check_pin(source, manifest)
        blobs = {
            f"models/blobs/sha256-{layer.digest}": Blob(files, layer.digest, layer.size) for layer in manifest.layers
        }
        self.blobs.update(blobs)
        listed = "/".join(["models/manifests", *model_name.parts(name)])
        self.texts[listed] = body
        kept = {"source": canonical(source["name"]), "digest": manifest.digest, "demo": False}
        return {**kept, "files": [listed, *blobs]}

    def _failed(self, source: str, error: Exception) -> str:
        self.tried.append({"source": source, "error": str(error)})
        return f"{source}: {error}"


def _document(body: bytes, host: str) -> dict[str, Any]:
    try:
        found = json.loads(body)
        if "manifests" in found or ("config" in found and "layers" in found):
            return dict(found)
    except (ValueError, TypeError):
        pass
    raise RegistryError(f"{host} answers, but not as a registry does", "not_a_registry")
