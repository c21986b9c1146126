# SPDX-License-Identifier: GPL-3.0-or-later
"""Brings a model to a server from one source, past everything that goes wrong on the way."""

from __future__ import annotations

import contextlib
import hashlib
import os
import time
from collections.abc import Collection, Iterator
from typing import Any, NamedTuple

from ansible_collections.llmdesk.workstation.plugins.module_utils import demo_model, model_name, registry
from ansible_collections.llmdesk.workstation.plugins.module_utils.demo_model import DEMO
from ansible_collections.llmdesk.workstation.plugins.module_utils.model_checkpoint import Checkpoints
from ansible_collections.llmdesk.workstation.plugins.module_utils.model_manifest import Manifest
from ansible_collections.llmdesk.workstation.plugins.module_utils.model_name import canonical
from ansible_collections.llmdesk.workstation.plugins.module_utils.model_store import AT_WORK, Store, blocks
from ansible_collections.llmdesk.workstation.plugins.module_utils.oci_layout import damaged
from ansible_collections.llmdesk.workstation.plugins.module_utils.ollama import (
    BROKEN_NOTES,
    Ollama,
    OllamaError,
    OllamaTransient,
    OllamaUnreachable,
)
from ansible_collections.llmdesk.workstation.plugins.module_utils.progress import Progress

STARTING = 30.0
"""Seconds that a server may take to answer: a container was just started, or started again."""

LEAVING = 0.5
"""Seconds that a server takes to notice that its client has left, and to write down what has come."""

TORN = 3.0
"""Seconds that a model may be unlisted after its pull: Ollama truncates a manifest and then writes it, and another run
that pulls the same model does so right now."""

EXACT = (0, 19)
"""The first version of Ollama that keeps a manifest byte by byte as the registry sent it."""


WRONG = ("digest_mismatch", "size_mismatch")
"""Reasons for which a model is listed that is not what was promised."""


class SourceFailed(Exception):
    """A source did not bring the model; the next one may.

    :param reason: what kind of failure it is, in the word that the module returns.
    """

    def __init__(self, message: str, reason: str) -> None:
        super().__init__(message)
        self.reason = reason


class Limits(NamedTuple):
    """How long things may take: seconds to connect, seconds without a byte, tries without progress."""

    connect: float
    stall: float
    retries: int


class Bringer:
    """The way to one server.

    :param store: its model store, None where it cannot be seen from here; then neither room nor files are checked.
    :param full: whether to hash what was brought.
    """

    def __init__(
        self, ollama: Ollama, store: Store | None, progress: Progress, limits: Limits, full: bool = False
    ) -> None:
        self._ollama = ollama
        self._store = store
        self._progress = progress
        self._limits = limits
        self._full = full
        self._asked: dict[str, Manifest] = {}
        self._arrived = 0
        self._checkpoints = Checkpoints()
        self.healed: list[str] = []

    def models(self) -> dict[str, dict[str, Any]]:
        """Return what is there; a server that is just starting is given a moment."""
        deadline = time.monotonic() + max(STARTING, self._limits.connect)
        while True:
            try:
                return self._ollama.models()
            except OllamaUnreachable:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.3)

    def models_with(self, name: str) -> dict[str, dict[str, Any]]:
        """Return what is there after a model was brought, which must be among it before long."""
        deadline = time.monotonic() + TORN
        while name not in (models := self.models()) and time.monotonic() < deadline:
            time.sleep(0.05)
        return models

    def exact(self) -> bool:
        """Tell whether the digests that the server lists are those of the registry."""
        numbers = self._ollama.version().split("-")[0].split(".")[:2]
        return tuple(int(number) for number in numbers if number.isdigit()) >= EXACT

    def manifest(self, source: dict[str, Any]) -> Manifest:
        """Return what a registry has under a source's name; asked once.

        :raises SourceFailed: it was not to be had.
        """
        name = canonical(source["name"])
        for left in range(self._limits.retries, -1, -1):
            if name in self._asked:
                break
            try:
                self._asked[name] = registry.manifest(name, self._limits.connect, bool(source.get("insecure")))
            except registry.RegistryError as error:
                if error.wait is None or not left or error.wait > self._limits.stall:
                    raise SourceFailed(str(error), error.reason) from error
                self._pause(name, error.wait, str(error))
        return self._asked[name]

    def pull(self, source: dict[str, Any], target: str, before: dict[str, Any]) -> int:
        """Pull a model and give it the name that is wanted.

        :param before: the models that were there.
        :returns: the bytes that had to come, 0 where nobody knows.
        :raises SourceFailed: it did not come, or what came is not what was promised.
        """
        name = canonical(source["name"])
        manifest = self._manifest_for_all(source)
        missing = self.missing(manifest) if manifest else 0
        if manifest:
            check_pin(source, manifest)
            self._check_mirror(source, manifest)
            self._check_room(missing)
        self._progress.lan = bool(source.get("of"))
        try:
            self._pull_until_whole(source, name, manifest)
            self._check_arrival(source, name)
        except SourceFailed as error:
            # One that came whole is another run's.
            if error.reason in WRONG and name not in before:
                self._forget(name)
            raise
        finally:
            self._progress.lan = False
        if name != target:
            self.copy(name, target)
        return missing

    def _check_mirror(self, source: dict[str, Any], manifest: Manifest) -> None:
        """Refuse what a mirror has in the place of a model, where the registry that it stands in for can be asked.

        :raises SourceFailed: with the two digests.
        """
        if not source.get("of"):
            return
        name = canonical(source["of"])
        try:
            meant = self._asked[name] = registry.manifest(name, self._limits.connect, False)
        except registry.RegistryError:
            return
        if meant.digest != manifest.digest:
            raise SourceFailed(
                f"the mirror has the digest {manifest.digest} under that name, and {model_name.registry(name)} "
                f"{meant.digest}; nothing was pulled",
                "digest_mismatch",
            )

    def missing(self, manifest: Manifest) -> int:
        """Return the bytes of a model that have to come, all of them where the store cannot be seen."""
        return self._store.missing(manifest) if self._store else manifest.size

    def _manifest_for_all(self, source: dict[str, Any]) -> Manifest | None:
        """Return the manifest, None where only the server itself may know it: it has a key of its own."""
        try:
            return self.manifest(source)
        except SourceFailed as error:
            if error.reason != "unauthorized" or not self._ollama_may(canonical(source["name"])):
                raise
            return None

    def _ollama_may(self, name: str) -> bool:
        """Tell whether the server has signed in where we have not; its first words after the manifest say so."""
        try:
            with contextlib.closing(self._ollama.pull(name)) as lines:
                return any(line.get("status") != "pulling manifest" for line in lines)
        except OllamaError:
            return False

    def copy(self, name: str, target: str) -> None:
        """Give a model the name that is wanted, and take the other one away."""
        try:
            self._ollama.copy(name, target)
        except OllamaError:
            # Another run that brought the same model may have been quicker, and taken the first name away.
            if target not in self._ollama.models():
                raise
        self._forget(name)

    def push(self, name: str, path: str, sha256: str) -> None:
        """Hand a GGUF file over to the server as a blob, if it has it not yet.

        :raises SourceFailed: the file is not the one that was meant; nothing was changed then.
        """
        size = os.path.getsize(path)
        hashed, done = hashlib.sha256(), 0
        for block in blocks(path):
            if not done and block[:4] != b"GGUF":
                raise SourceFailed(f"{path} is no GGUF file; nothing was changed", "not_gguf")
            hashed.update(block)
            done += len(block)
            self._progress.report(name, done, size, detail="checking the file")
        found = hashed.hexdigest()
        if found != sha256:
            raise SourceFailed(f"the sha256 of {path} is {found}, not {sha256}; nothing was changed", "bad_file")
        if not self._ollama.has_blob(sha256):
            for sent in self._ollama.push_blob(path, sha256):
                self._progress.report(name, sent, size, detail="handing the file to Ollama")

    def carry(self, folder: str, name: str) -> int:
        """Bring a model out of a folder that is laid out as a model store is.

        The server itself takes the blobs in and holds each to its sha256; with the manifest, which comes last, the
        model begins to exist.

        :returns: the bytes that had to come.
        :raises SourceFailed: it did not come whole; what has come stays for the next run.
        """
        given = Store(folder)
        manifest = given.manifest(name)
        if manifest is None:
            raise SourceFailed(f"{folder} has no {name}", "incomplete")
        if self._store is None:
            raise SourceFailed("where this server keeps its models cannot be seen from here", "failed")
        missing, done = self._store.missing(manifest), 0
        self._check_room(missing)
        for fault in self._store.faults(manifest, self._store.blobs(manifest)):
            self._store.mend(fault)
        for layer in dict.fromkeys(manifest.layers):
            path = given.blob(layer.digest)
            if not os.path.exists(path):
                raise SourceFailed(f"{path} is missing", "incomplete")
            if not self._ollama.has_blob(layer.digest):
                try:
                    for sent in self._ollama.push_blob(path, layer.digest):
                        self._progress.report(name, done + sent, manifest.size)
                except OllamaError as error:
                    if "digest" not in str(error):
                        raise
                    raise SourceFailed(damaged(folder, path), "bad_file") from error
            done += layer.size
        self._store.keep(name, given.text(name))
        if name not in self.models_with(name):
            raise SourceFailed(f"Ollama has all of it and does not list {name}", "incomplete")
        return missing

    def create(self, name: str, body: dict[str, Any]) -> None:
        """Make a model as a declaration says."""
        for line in self._ollama.create(body):
            self._progress.report(name, detail=line.get("status", ""))

    def demo_file(self, cache: str) -> str:
        """Return the file of the demo model."""
        try:
            return demo_model.fetch(
                cache, lambda done, total, detail: self._progress.report(DEMO["name"], done, total, detail=detail)
            )
        except demo_model.NotFetched as error:
            raise SourceFailed(str(error), "unreachable") from error

    def _forget(self, name: str) -> None:
        with contextlib.suppress(OllamaError):  # it is gone already
            self._ollama.delete(name)

    def _check_room(self, missing: int) -> None:
        free = self._store.free() if self._store else missing
        if self._store and missing > free:
            raise SourceFailed(
                f"{missing / 1e9:.1f} GB are still to come and {self._store.folder} has room for {free / 1e9:.1f} GB",
                "disk_full",
            )

    def _check_arrival(self, source: dict[str, Any], name: str) -> None:
        there = self.models_with(name).get(name)
        if there is None:
            raise SourceFailed(f"Ollama said success, and does not list {name}", "incomplete")
        if source.get("digest") and self.exact() and there["digest"] != source["digest"]:
            raise SourceFailed(
                f"{name} came with the digest {there['digest']}, and {source['digest']} is pinned", "digest_mismatch"
            )
        manifest = self._store.manifest(name) if self._store else None
        untrue = self._store.untrue(manifest) if self._store and manifest else ""
        if untrue:
            raise SourceFailed(untrue, "size_mismatch")

    def _pull_until_whole(self, source: dict[str, Any], name: str, manifest: Manifest | None) -> None:
        # Ollama hashes what this very pull has downloaded, and believes every other blob by its name.
        suspects = self._store.blobs(manifest) if self._store and manifest else frozenset()
        failed = 0
        while True:
            before = self._arrived
            try:
                if self._pull_once(source, name):
                    self._check_bytes(name, suspects)
                    return
                # Left in time; a server that keeps nothing of what came must not be asked for ever.
                failed = 0 if self._arrived > before else failed + 1
                if failed > self._limits.retries:
                    raise SourceFailed(f"the line is cut off again and again{self._so_far()}", "interrupted")
            except (OllamaTransient, OllamaUnreachable) as error:
                # Only tries in a row that brought nothing count: a long pull over a bad line is cut off many times.
                failed = 1 if self._arrived > before else failed + 1
                if failed > self._limits.retries:
                    raise SourceFailed(f"{error}, {failed} times{self._so_far()}", error.reason) from error
                if error.reason == "rate_limited":
                    self._asked.pop(name, None)
                    self.manifest(source)  # says how long to wait, and waits
                if self._store and manifest:
                    # Where Ollama could not even begin, nobody is at work.
                    self._mend_downloads(self._store, manifest, 0 if BROKEN_NOTES.match(str(error)) else AT_WORK)
            if self._store and manifest:
                suspects |= self._store.blobs(manifest)
            detail = f"trying again ({failed} of {self._limits.retries})" if failed else "the line is cut off often"
            self._pause(name, min(failed, 5) or LEAVING, detail)
            self.models()

    def _pull_once(self, source: dict[str, Any], name: str) -> bool:
        """Pull, and tell whether all has come; a pull that is left early has kept what it brought."""
        try:
            with contextlib.closing(self._ollama.pull(name, bool(source.get("insecure")))) as lines:
                return self._follow(name, lines)
        except OllamaError as error:
            if error.reason != "not_found" or name not in self._asked:
                raise
            raise SourceFailed(
                f"{model_name.registry(name)} has a manifest for {name}, and not all that it names: {error}",
                "registry_error",
            ) from error

    def _check_bytes(self, name: str, suspects: Collection[str]) -> None:
        manifest = self._store.manifest(name) if self._store else None
        if self._store is None or manifest is None:
            return
        hashed = {layer.digest for layer in manifest.layers} if self._full else suspects
        faults = self._store.faults(
            manifest, hashed, lambda done, total: self._progress.report(name, done, total, detail="hashing")
        )
        for fault in faults:
            self._store.mend(fault)
        if faults:
            raise OllamaTransient("; ".join(fault.sentence for fault in faults), "digest_mismatch")

    def _so_far(self) -> str:
        if not self._arrived:
            return ""
        return f"; {self._arrived / 1e6:.1f} MB are there, and the next run carries on from them"

    def _mend_downloads(self, store: Store, manifest: Manifest, at_work: float) -> None:
        for fault in store.broken_downloads(manifest, at_work):
            store.mend(fault)
            self.healed.append(fault.sentence)

    def _follow(self, name: str, lines: Iterator[dict[str, Any]]) -> bool:
        layers: dict[str, tuple[int, int]] = {}
        self._checkpoints.begin()
        # Ollama goes on to send lines while nothing comes, so that silence alone never ends a pull that hangs.
        moved = time.monotonic()
        before: tuple[str, int | None] = ("", None)
        for line in lines:
            if "total" in line:
                layers[line["digest"]] = (line.get("completed", 0), line["total"])
            completed = sum(done for done, _total in layers.values()) if layers else None
            total = sum(total for _done, total in layers.values()) if layers else None
            self._arrived = max(self._arrived, completed or 0)
            self._progress.report(name, completed, total, detail="" if "total" in line else line.get("status", ""))
            now, state = time.monotonic(), (line.get("status", ""), completed)
            if state != before:
                moved, before = now, state
            elif now - moved > self._limits.stall:
                raise OllamaTransient(f"no byte came for {self._limits.stall:g} s", "stalled")
            if "total" in line and self._checkpoints.due(line["digest"], *layers[line["digest"]]):
                return False
        return True

    def _pause(self, name: str, seconds: float, detail: str) -> None:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            self._progress.report(name, detail=detail)
            time.sleep(0.1)


def check_pin(source: dict[str, Any], manifest: Manifest) -> None:
    """Refuse a manifest that is not the pinned one.

    :raises SourceFailed: with the two digests.
    """
    pin = source.get("digest")
    if pin and pin not in (manifest.digest, manifest.digest_where_made):
        raise SourceFailed(
            f"{canonical(source['name'])} has the digest {manifest.digest}, and {pin} is pinned; nothing was pulled",
            "digest_mismatch",
        )
