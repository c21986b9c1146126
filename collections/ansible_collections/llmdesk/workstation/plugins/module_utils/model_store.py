# SPDX-License-Identifier: GPL-3.0-or-later
"""A server's model store as files: what is broken in it, what of a model is there, how much room is left.

Facts from Ollama's ``server/download.go`` and measured on 0.32.15: a blob is believed by its name alone, so that zeroed
bytes stay for ever; ``<blob>-partial`` is a sparse file of the full size and ``<blob>-partial-N`` the JSON notes of its
parts; one note that a crash left empty makes every later pull fail with ``EOF``.
"""

from __future__ import annotations

import glob
import hashlib
import json
import os
import time
from collections.abc import Callable, Collection, Iterator
from typing import NamedTuple

from ansible_collections.llmdesk.workstation.plugins.module_utils import model_manifest, model_name
from ansible_collections.llmdesk.workstation.plugins.module_utils.model_manifest import Layer, Manifest

BLOCK = 1024 * 1024
AT_WORK = 10.0
"""Seconds in which a download that is alive writes: a note that is empty and younger may be in the middle of that."""


class Fault(NamedTuple):
    """Something broken: ``sentence`` says what, ``files`` are what has to go so that a pull brings it anew."""

    sentence: str
    files: tuple[str, ...]


class Store:
    """One model store.

    :param folder: where it is, as seen from here; it has the folders ``manifests`` and ``blobs``.
    """

    def __init__(self, folder: str) -> None:
        self.folder = folder

    def manifest(self, name: str) -> Manifest | None:
        """Return the manifest of a model, None where there is none that can be read."""
        try:
            return model_manifest.parse(self.text(name))
        except (OSError, model_manifest.NotAManifest):
            return None

    def keep(self, name: str, body: bytes) -> None:
        """Give a model whose blobs are here its manifest, with which it begins to exist."""
        path = os.path.join(self.folder, "manifests", *model_name.parts(name))
        os.makedirs(os.path.dirname(path), exist_ok=True)
        new = os.path.join(self.folder, ".manifest.new")  # beside the others, it would be one of them for a moment
        with open(new, "wb") as file:
            file.write(body)
        os.replace(new, path)

    def text(self, name: str) -> bytes:
        """Return the manifest of a model as it was written.

        :raises OSError: there is none.
        """
        with open(os.path.join(self.folder, "manifests", *model_name.parts(name)), "rb") as file:
            return file.read()

    def blob(self, digest: str) -> str:
        """Return where a blob is, or would be."""
        return os.path.join(self.folder, "blobs", f"sha256-{digest}")

    def blobs(self, manifest: Manifest) -> frozenset[str]:
        """Return the digests of those blobs of a model that are here, whatever is in them."""
        return frozenset(layer.digest for layer in manifest.layers if os.path.exists(self.blob(layer.digest)))

    def faults(
        self, manifest: Manifest, suspects: Collection[str] = (), tell: Callable[[int, int], None] = lambda *_: None
    ) -> list[Fault]:
        """Return what is broken of a model.

        :param suspects: digests of blobs to hash. Of the others only the size counts, unless it is wrong.
        :param tell: called with the bytes hashed so far and in all.
        """
        found, hashed = [], 0
        for layer in dict.fromkeys(manifest.layers):
            path = self.blob(layer.digest)
            if not os.path.exists(path):
                found.append(Fault(f"blob {layer.digest[:12]} is missing", ()))
                continue
            if os.path.getsize(path) == layer.size and layer.digest not in suspects:
                continue
            digest = hashlib.sha256()
            for block in blocks(path):
                digest.update(block)
                hashed += len(block)
                tell(hashed, manifest.size)
            if digest.hexdigest() != layer.digest:
                found.append(Fault(f"the bytes of blob {layer.digest[:12]} are not those of its name", (path,)))
        return found

    def untrue(self, manifest: Manifest) -> str:
        """Say what a manifest tells of a blob that is not so though its bytes are right; empty where all is true."""
        for layer in manifest.layers:
            size = os.path.getsize(self.blob(layer.digest))
            if size != layer.size:
                return f"the manifest says that blob {layer.digest[:12]} has {layer.size} bytes, and it has {size}"
        return ""

    def broken_downloads(self, manifest: Manifest, at_work: float = AT_WORK) -> list[Fault]:
        """Return downloads of a model's blobs that no pull can carry on.

        :param at_work: seconds for which a note must not have been touched; 0 where nobody can be at work.
        """
        found = []
        for layer in dict.fromkeys(manifest.layers):
            partial = self.blob(layer.digest) + "-partial"
            notes = glob.glob(glob.escape(partial) + "-*")
            if _broken(notes, layer.size, at_work):
                sentence = f"the notes of a download of blob {layer.digest[:12]} that was cut off are broken"
                found.append(Fault(sentence, (partial, *notes)))
        return found

    def missing(self, manifest: Manifest) -> int:
        """Return the bytes of a model that are not here yet; what is partly here is counted."""
        return sum(layer.size - min(layer.size, self._here(layer)) for layer in dict.fromkeys(manifest.layers))

    def free(self) -> int:
        """Return the bytes that are free where the store is."""
        room = os.statvfs(self.folder)
        return room.f_bavail * room.f_frsize

    def mend(self, fault: Fault) -> None:
        """Take away what is broken, and nothing else; the next pull brings it anew."""
        for path in fault.files:
            try:
                os.unlink(path)
            except FileNotFoundError:
                continue

    def _here(self, layer: Layer) -> int:
        for path in (self.blob(layer.digest), self.blob(layer.digest) + "-partial"):
            try:
                return os.stat(path).st_blocks * 512  # its length says nothing: it is sparse
            except FileNotFoundError:
                continue
        return 0


def blocks(path: str) -> Iterator[bytes]:
    """Yield a file's content, a piece at a time: a model does not fit into a module's memory."""
    with open(path, "rb") as file:
        yield from iter(lambda: file.read(BLOCK), b"")


def _broken(notes: list[str], size: int, at_work: float) -> bool:
    """Tell whether the notes of a download do not make up its blob; one note may be of a page that came instead."""
    parts = 0
    try:
        if not notes or time.time() - max(map(os.path.getmtime, notes)) < at_work:
            return False
        for note in notes:
            with open(note, encoding="utf-8") as file:
                parts += json.load(file)["Size"]
    except FileNotFoundError:
        return False  # it has just been finished
    except (ValueError, TypeError, KeyError):
        return True
    return parts != size


def in_volume(mounts: list[dict[str, str]], environment: list[str] | None) -> str | None:
    """Return where a container's model store lies on this machine, None where it is in no volume.

    :param mounts: ``Mounts`` of Docker's answer about the container.
    :param environment: ``Config.Env`` of the same answer, None of an image that sets nothing.
    """
    inside = next((line.partition("=")[2] for line in environment or [] if line.startswith("OLLAMA_MODELS=")), "")
    inside = (inside or "/root/.ollama/models").rstrip("/")
    for mount in sorted(mounts, key=lambda mount: -len(mount["Destination"])):
        destination = mount["Destination"].rstrip("/")
        if inside == destination or inside.startswith(destination + "/"):
            return mount["Source"] + inside[len(destination) :]
    return None
