# SPDX-License-Identifier: GPL-3.0-or-later
"""Manifests and blobs of a registry as files: what comes is held to its sha256, and what was cut off is carried on.

Of models and of images alike: both are manifests that name blobs (OCI distribution specification 1.1). Ollama's library
and ghcr.io send their clients to another host for a blob, which must not see the token.
"""

from __future__ import annotations

import hashlib
import http.client
import os
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import Any

from ansible_collections.llmdesk.workstation.plugins.module_utils import network, registry
from ansible_collections.llmdesk.workstation.plugins.module_utils.model_store import blocks
from ansible_collections.llmdesk.workstation.plugins.module_utils.registry import RegistryError

BLOCK = 256 * 1024
STALL = 20.0
"""Seconds without a byte after which a download is broken off and resumed."""
PART = ".part"
"""The end of the name of a file that is not whole yet."""


class NotWritten(Exception):
    """A file cannot be written; the cause is the ``OSError``."""


class RegistryFiles:
    """One repository of a registry.

    :param host: the registry, with its port where it has one.
    :param repository: such as ``library/llama3.2``.
    :param timeout: seconds that it may take to answer.
    :param retries: how often in a row a download that brings nothing is resumed.
    :param insecure: true for a registry that speaks plain http.
    """

    def __init__(self, host: str, repository: str, timeout: float, retries: int, insecure: bool = False) -> None:
        self._host = host
        self._name = f"{host}/{repository}"
        self._url = f"{'http' if insecure else 'https'}://{host}/v2/{repository}"
        self._timeout = timeout
        self._retries = retries
        self._token = ""

    def manifest(self, reference: str, accepted: tuple[str, ...]) -> bytes:
        """Return the manifest under a tag or a digest.

        :param accepted: media types, which a registry wants to know.
        :raises RegistryError: it was not to be had.
        """

        def ask() -> bytes:
            headers = {"Accept": ", ".join(accepted)}
            with self._open(f"{self._url}/manifests/{reference}", headers, self._timeout) as answer:
                return bytes(answer.read(registry.LONGEST))

        body: bytes = registry.in_time(lambda: self._asked(ask), self._host, self._timeout)
        if reference.startswith("sha256:") and hashlib.sha256(body).hexdigest() != reference[7:]:
            raise RegistryError(f"{self._host} sent other bytes than those of {reference}", "digest_mismatch")
        return body

    def blob(self, digest: str, path: str, tell: Callable[[int, str], None]) -> None:
        """Let a file be a blob: whatever of it is there already stays.

        :param digest: its sha256 in hex.
        :param tell: called with the bytes that are there, and a word about what is done.
        :raises RegistryError: it was not to be had.
        :raises NotWritten: the disk does not take it.
        """
        if os.path.exists(path):
            if hashed(path, tell) == digest:
                return
            os.unlink(path)
        failed = 0
        while True:
            before = _size(path + PART)
            try:
                self._asked(lambda: self._carry_on(digest, path + PART, tell))
            except RegistryError as error:
                failed = 1 if _size(path + PART) > before else failed + 1
                if error.wait is None or failed > self._retries:
                    raise
                _pause(error.wait, lambda said=str(error): tell(_size(path + PART), said))  # type: ignore[misc]
                continue
            if hashed(path + PART, tell) == digest:
                os.replace(path + PART, path)
                return
            # Once more from the beginning: what a run before had left may have been damaged.
            os.unlink(path + PART)
            failed += 1
            if failed > 1:
                raise RegistryError(f"{self._host} sent other bytes than those of sha256:{digest}", "digest_mismatch")

    def _carry_on(self, digest: str, path: str, tell: Callable[[int, str], None]) -> None:
        done = _size(path)
        headers = {"Range": f"bytes={done}-"} if done else {}
        with self._open(f"{self._url}/blobs/sha256:{digest}", headers, STALL) as answer:
            if answer.status != 206:
                done = 0
            with open(path, "r+b" if done else "wb", buffering=0) as file:
                file.seek(done)
                for block in iter(lambda: answer.read(BLOCK), b""):
                    try:
                        file.write(block)
                    except OSError as error:
                        raise NotWritten(path) from error
                    done += len(block)
                    tell(done, "")
            if answer.length:
                raise http.client.IncompleteRead(b"", answer.length)

    def _open(self, url: str, headers: dict[str, str], timeout: float) -> Any:
        try:
            return self._sent(url, headers, timeout)
        except urllib.error.HTTPError as error:
            if error.code == 416:  # all of it was there, and its end was not noticed
                return _Nothing()
            if error.code != 401:
                raise
            self._token = registry.token(error.headers.get("WWW-Authenticate") or "", self._host, self._timeout)
            if not self._token:
                raise
        return self._sent(url, headers, timeout)

    def _sent(self, url: str, headers: dict[str, str], timeout: float) -> Any:
        request = urllib.request.Request(url, headers=headers)
        if self._token:
            request.add_unredirected_header("Authorization", f"Bearer {self._token}")
        return network.opener().open(request, timeout=timeout)

    def _asked(self, work: Callable[[], Any]) -> Any:
        try:
            return work()
        except urllib.error.HTTPError as error:
            if error.code == 404:
                raise RegistryError(f"{self._host} has no {self._name}, or not all of it", "not_found") from error
            raise registry.refusal(error, self._host, self._name) from error
        except (OSError, http.client.HTTPException) as error:
            said = registry.unreachable(error, self._host, STALL)
            if isinstance(said, RegistryError) and isinstance(error, TimeoutError):
                said.wait = 1.0  # It had answered, and may again.
            raise said from error


class _Nothing:
    """The answer of a registry that has nothing more to send."""

    status = 206
    length = 0

    def __enter__(self) -> _Nothing:
        return self

    def __exit__(self, *_error: Any) -> None:
        return None

    def read(self, _size: int) -> bytes:
        return b""


def hashed(path: str, tell: Callable[[int, str], None]) -> str:
    """Return the sha256 of a file in hex.

    :param tell: called with the bytes read so far.
    """
    digest, done = hashlib.sha256(), 0
    for block in blocks(path):
        digest.update(block)
        done += len(block)
        tell(done, "checking")
    return digest.hexdigest()


def _size(path: str) -> int:
    return os.path.getsize(path) if os.path.exists(path) else 0


def _pause(seconds: float, tell: Callable[[], None]) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        tell()
        time.sleep(0.1)
