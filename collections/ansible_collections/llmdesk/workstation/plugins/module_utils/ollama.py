# SPDX-License-Identifier: GPL-3.0-or-later
"""Ollama's HTTP API, with the ways in which it hides its failures.

Facts measured on 0.32.15: after the first line of a pull every error arrives under HTTP 200; the end of a stream
without ``success`` is a failure; ``modified_at`` and progress prove nothing, only the digest in ``/api/tags`` does.
"""

from __future__ import annotations

import http.client
import json
import os
import re
from collections.abc import Generator, Iterator
from typing import Any
from urllib.parse import urlsplit

from ansible_collections.llmdesk.workstation.plugins.module_utils.docker_exec import ContainerConnection
from ansible_collections.llmdesk.workstation.plugins.module_utils.model_store import blocks

# Seconds that Ollama may be silent while it hashes what it has fetched: 50 GB on a slow disk. Asked again before it is
# through, it would believe the file by its name.
VERIFYING = 1800.0

LOADING = 900.0
"""Seconds that a model may take to come into memory, without a word: 50 GB off a slow disk."""

LONGEST = 64 * 1024
"""Bytes of the longest line that is read; Ollama's have a few hundred."""


class OllamaError(Exception):
    """Ollama did not do what it was asked; trying the same again helps nothing.

    :param reason: what kind of failure it is, in the word that the module returns.
    """

    reason = "failed"

    def __init__(self, message: str, reason: str = "") -> None:
        super().__init__(message)
        self.reason = reason or self.reason


class OllamaUnreachable(OllamaError):
    """Nobody answers under Ollama's address."""

    reason = "server_unreachable"


class NotOllama(OllamaError):
    """Something else answers under the address."""

    reason = "not_ollama"


class OllamaTransient(OllamaError):
    """The network or a registry failed; asking again carries on where it broke off."""

    reason = "interrupted"


# What Ollama says, the reason that it stands for, and whether it is worth another try. The first that fits counts.
MEANINGS = (
    ("Proxy Authentication Required", "unreachable", False),
    ("file does not exist", "not_found", False),
    ("requires a newer version", "too_old", False),
    ("no space left on device", "disk_full", False),
    ("digest mismatch", "digest_mismatch", True),
    ("429:", "rate_limited", True),
    ("realm host", "registry_error", True),
    ("unauthorized", "unauthorized", False),
    ("access denied", "unauthorized", False),
    ("pull model manifest: invalid character", "not_a_registry", False),
    ("pull model manifest: unexpected end of JSON input", "not_a_registry", False),
    ("pull model manifest: json: cannot unmarshal", "not_a_registry", False),
    ("invalid character", "interrupted", True),
    ("cannot unmarshal", "interrupted", True),
    ("no Location header", "registry_error", False),  # a plain registry, which Ollama cannot pull a blob from
    ("unexpected status code", "registry_error", False),
    # Somebody else's pull that was broken off: Ollama tells it to everybody who waits for the same blob.
    ("context canceled", "interrupted", True),
    ("context deadline exceeded", "interrupted", True),
    ("max retries exceeded", "interrupted", True),
    ("EOF", "interrupted", True),
    ("timeout", "interrupted", True),
    ("connection reset", "interrupted", True),
    ("connection refused", "interrupted", True),
    ("i/o", "interrupted", True),
)
UNKNOWN_PATH = (404, 405, 501)  # Ollama says what it does not have in JSON
# How Ollama fails at once, and for ever, over notes of a download that a crash has broken.
BROKEN_NOTES = re.compile(r"^(unexpected )?EOF$|^invalid character|^json: cannot unmarshal|^unexpected end of JSON")
SERVER_ERROR = re.compile(r"\b5\d\d:")


class Ollama:
    """One Ollama server.

    :param url: its address, such as ``http://127.0.0.1:11434``.
    :param timeout: seconds that it may be silent before a request counts as failed.
    :param container: the container it runs in, to reach it through the Docker socket where its port is not published;
        the host of ``url`` does not matter then.
    """

    def __init__(self, url: str, timeout: float = 60.0, container: str | None = None) -> None:
        self._address = urlsplit(url)
        self._timeout = timeout
        self._container = container

    def version(self) -> str:
        """Return the server's version."""
        return str(self._get("/api/version", "version"))

    def models(self) -> dict[str, dict[str, Any]]:
        """Return the models that are here, by name, each with ``digest`` and ``size`` in bytes."""
        found = self.listed().values()
        return {model["name"]: {"digest": model["digest"], "size": model["size"]} for model in found}

    def listed(self) -> dict[str, dict[str, Any]]:
        """Return the models that are here, by name, each with all that ``/api/tags`` says of it."""
        return {model["name"]: model for model in self._get("/api/tags", "models") or []}

    def running(self) -> dict[str, dict[str, Any]]:
        """Return the models that are loaded, by name, each with all that ``/api/ps`` says of it.

        ``size`` and ``size_vram`` are bytes of memory: what the model takes, and how much of that is on a GPU.
        """
        return {model["name"]: model for model in self._get("/api/ps", "models") or []}

    def show(self, name: str) -> dict[str, Any]:
        """Return all that ``/api/show`` says of one model: its template, parameters, license and metadata.

        :raises OllamaError: there is no such model, or its files are damaged.
        """
        return self._read("POST", "/api/show", {"model": name})

    def delete(self, name: str) -> None:
        """Remove a model; its blobs go where no other model shares them."""
        self._send("DELETE", "/api/delete", {"model": name}).read()

    def copy(self, source: str, destination: str) -> None:
        """Give a model a second name; the blobs are shared."""
        self._send("POST", "/api/copy", {"source": source, "destination": destination}).read()

    def pull(self, name: str, insecure: bool = False) -> Generator[dict[str, Any], None, None]:
        """Yield the lines of a pull; ends normally only after ``success``.

        :param insecure: true for a registry that speaks plain http.
        :raises OllamaTransient: worth another try, which resumes.
        :raises OllamaError: an answer, such as a tag that does not exist.
        """
        return self._stream("/api/pull", {"model": name, "insecure": insecure} if insecure else {"model": name})

    def create(self, body: dict[str, Any]) -> Generator[dict[str, Any], None, None]:
        """Yield the lines of making a model of another one, or of blobs that are already here.

        :param body: as :func:`model_definition.request` makes it.
        """
        return self._stream("/api/create", body)

    def load(self, name: str, keep_alive: float | str, embeds: bool = False) -> None:
        """Load a model into memory, or take it out.

        :param keep_alive: how long it stays there after its last question: seconds, a duration such as ``30m``, -1
            for ever, 0 to take it out now.
        :param embeds: true for a model that only makes embeddings, and has no chat.
        """
        body = {"model": name, "keep_alive": keep_alive, **({"input": ""} if embeds else {"stream": False})}
        path = "/api/embed" if embeds else "/api/generate"
        self._answer(self._connection(LOADING), "POST", path, body).read()

    def has_blob(self, digest: str) -> bool:
        """Say whether a blob is here, by its sha256 in hex."""
        connection = self._connection()
        try:
            connection.request("HEAD", "/api/blobs/sha256:" + digest)
            return connection.getresponse().status == 200
        except (OSError, http.client.HTTPException) as error:
            raise OllamaUnreachable(str(error)) from error
        finally:
            connection.close()

    def push_blob(self, path: str, digest: str) -> Iterator[int]:
        """Upload a file as a blob and yield the bytes sent so far.

        :raises OllamaError: the server refuses it; its sha256 is checked there as well.
        """
        connection = self._connection()
        try:
            connection.putrequest("POST", "/api/blobs/sha256:" + digest)
            connection.putheader("Content-Length", str(os.path.getsize(path)))
            connection.endheaders()
            sent = 0
            for block in blocks(path):
                connection.send(block)
                sent += len(block)
                yield sent
            response = connection.getresponse()
            text = response.read().decode(errors="replace")
            if response.status not in (200, 201):
                raise OllamaError(_error(text) or f"HTTP {response.status}")
        except (OSError, http.client.HTTPException) as error:
            raise OllamaTransient(f"the upload broke off: {error}") from error
        finally:
            connection.close()

    def _stream(self, path: str, body: dict[str, Any]) -> Generator[dict[str, Any], None, None]:
        connection = self._connection()
        response = self._answer(connection, "POST", path, body)
        line: dict[str, Any] = {}
        try:
            for text in iter(lambda: response.readline(LONGEST), b""):
                line = _line(text)
                if "error" in line:
                    raise _kind(str(line["error"]))
                if str(line.get("status")).startswith("verifying") and connection.sock:
                    connection.sock.settimeout(VERIFYING)
                yield line
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise OllamaTransient(f"the answer broke off: {error}") from error
        finally:
            response.close()
        if line.get("status") != "success":
            raise OllamaTransient("the answer ended without 'success'", "incomplete")

    def _get(self, path: str, key: str) -> Any:
        answer = self._read("GET", path)
        if key not in answer:
            raise self._stranger(path)
        return answer[key]

    def _read(self, method: str, path: str, body: Any = None) -> dict[str, Any]:
        try:
            answer = json.loads(self._send(method, path, body).read())
        except (OSError, http.client.HTTPException) as error:
            raise OllamaUnreachable(f"the answer broke off: {error}") from error
        except ValueError as error:
            raise self._stranger(path) from error
        if not isinstance(answer, dict):
            raise self._stranger(path)
        return answer

    def _stranger(self, path: str) -> OllamaError:
        return NotOllama(f"what answers {path} at {self._address.geturl()} is not Ollama")

    def _connection(self, timeout: float | None = None) -> http.client.HTTPConnection:
        port, silence = self._address.port or 11434, timeout or self._timeout
        if self._container:
            return ContainerConnection(self._container, port, silence)
        return http.client.HTTPConnection(self._address.hostname or "127.0.0.1", port, timeout=silence)

    def _send(self, method: str, path: str, body: Any = None) -> http.client.HTTPResponse:
        return self._answer(self._connection(), method, path, body)

    @staticmethod
    def _answer(connection: http.client.HTTPConnection, method: str, path: str, body: Any) -> http.client.HTTPResponse:
        try:
            data = None if body is None else json.dumps(body)
            connection.request(method, path, data, {"Content-Type": "application/json"})
            response = connection.getresponse()
            refusal = response.read().decode(errors="replace") if response.status >= 400 else None
        except (OSError, http.client.HTTPException) as error:
            raise OllamaUnreachable(str(error)) from error
        if refusal is not None:
            if response.status in UNKNOWN_PATH and _error(refusal) == refusal.strip():
                raise NotOllama(f"what answers {path} on port {connection.port} is not Ollama (HTTP {response.status})")
            raise _kind(_error(refusal) or f"HTTP {response.status}")
        return response


def _line(text: bytes) -> dict[str, Any]:
    """Return one line of a stream.

    :raises ValueError: it is cut off, or no line of Ollama's.
    """
    line = json.loads(text)
    counts = [line.get("total", 0), line.get("completed", 0)] if isinstance(line, dict) else [None]
    if not all(isinstance(count, int) for count in counts) or ("total" in line and "digest" not in line):
        raise ValueError(f"{text[:40]!r} is no line of Ollama's")
    return dict(line)


def _error(text: str) -> str:
    try:
        return str(json.loads(text)["error"])
    except (ValueError, KeyError, TypeError):
        return text.strip()


def _kind(message: str) -> OllamaError:
    """Return what kind of failure a message stands for; of a whole page that stands in it, only the beginning stays."""
    message = " ".join(message.split())[:300]
    if "x509: certificate signed by unknown authority" in message:
        message += "; name the authority in desk_ca_certificates, for a container knows nothing of its desk's own"
    for words, reason, again in MEANINGS:
        if words in message:
            return OllamaTransient(message, reason) if again else OllamaError(message, reason)
    if SERVER_ERROR.search(message):
        return OllamaTransient(message, "registry_error")
    return OllamaError(message)
