# SPDX-License-Identifier: GPL-3.0-or-later
"""Images as a folder in the layout that OCI has for them (image-spec 1.1), and as Docker takes one from there.

Every Docker reads an archive as ``docker save`` makes it: a ``manifest.json`` that names config and layers. The layers
may be compressed, and Docker holds what is in them to the config. So the archive is made while it is sent.
"""

from __future__ import annotations

import hashlib
import json
import os
import tarfile
from collections.abc import Iterator
from typing import Any

from ansible_collections.llmdesk.workstation.plugins.module_utils.model_store import blocks
from ansible_collections.llmdesk.workstation.plugins.module_utils.probe import COPY

MEND = "'./llmdesk bundle' brings it anew on a machine with a network"
NAME = "org.opencontainers.image.ref.name"


class Damaged(Exception):
    """A file of the layout is missing, or its bytes are not those of its name."""


def damaged(layout: str, path: str) -> str:
    """Return what there is to say of a damaged file, and what mends it. A copy goes: the next run brings it anew."""
    said = f"{path} is damaged: its bytes are not those of its name; {MEND}"
    if os.path.exists(os.path.join(os.path.dirname(layout), COPY)):
        os.unlink(path)
        said = f"{path} was damaged: its bytes were not those of its name; the same command brings it anew"
    return said


def blob(layout: str, digest: str) -> str:
    """Return the path of a blob.

    :param digest: with its algorithm, as manifests name it.
    """
    return os.path.join(layout, "blobs", *digest.split(":", 1))


def document(layout: str, digest: str) -> Any:
    """Return a blob that is JSON.

    :raises Damaged: it is not what its name says.
    """
    path = blob(layout, digest)
    try:
        with open(path, "rb") as file:
            content = file.read()
    except OSError as error:
        raise Damaged(f"{path} is missing") from error
    if "sha256:" + hashlib.sha256(content).hexdigest() != digest:
        raise Damaged(damaged(layout, path))
    return json.loads(content)


def images(layout: str) -> dict[str, dict[str, Any]]:
    """Return the descriptors of the manifests of a layout by the names of their images.

    :raises Damaged: it is none.
    """
    try:
        with open(os.path.join(layout, "index.json"), encoding="utf-8") as file:
            return {entry["annotations"][NAME]: entry for entry in json.load(file)["manifests"]}
    except (OSError, ValueError, KeyError) as error:
        raise Damaged(f"{layout} is no folder with images (index.json)") from error


def archive(layout: str, reference: str) -> Iterator[bytes]:
    """Yield an image as ``docker load`` takes it.

    :param reference: its name in the layout, and in Docker afterwards.
    :raises Damaged: a file is missing, or its bytes are not those of its name; Docker has kept nothing then.
    """
    known = images(layout)
    if reference not in known:
        raise Damaged(f"{layout} has no image {reference}")
    manifest = document(layout, known[reference]["digest"])
    document(layout, manifest["config"]["digest"])
    named = [manifest["config"], *manifest["layers"]]
    paths = {entry["digest"]: "/".join(["blobs", *entry["digest"].split(":", 1)]) for entry in named}
    config, *layers = [paths[entry["digest"]] for entry in named]
    listing = json.dumps([{"Config": config, "RepoTags": [reference], "Layers": layers}]).encode()
    yield _header("manifest.json", len(listing))
    yield listing + _padding(len(listing))
    for digest, name in paths.items():
        path = blob(layout, digest)
        if not os.path.exists(path):
            raise Damaged(f"{path} is missing")
        size, hashed = os.path.getsize(path), hashlib.sha256()
        yield _header(name, size)
        for block in blocks(path):
            hashed.update(block)
            yield block
        if "sha256:" + hashed.hexdigest() != digest:
            raise Damaged(damaged(layout, path))
        yield _padding(size)
    yield bytes(2 * tarfile.BLOCKSIZE)


def size(layout: str, reference: str) -> int:
    """Return about how many bytes of archive an image is."""
    manifest = document(layout, images(layout)[reference]["digest"])
    return sum(int(entry["size"]) for entry in [manifest["config"], *manifest["layers"]])


def _header(name: str, size: int) -> bytes:
    entry = tarfile.TarInfo(name)
    entry.size = size
    return entry.tobuf(tarfile.GNU_FORMAT)


def _padding(size: int) -> bytes:
    return bytes(-size % tarfile.BLOCKSIZE)
