# SPDX-License-Identifier: GPL-3.0-or-later
"""Docker's API over its socket, with the standard library: a desk may not have any other."""

from __future__ import annotations

import http.client
import json
import os
import socket
from collections.abc import Iterable, Iterator
from typing import Any

DEFAULT_SOCKET = "/var/run/docker.sock"


class DockerFailure(Exception):
    """Docker did not do what it was asked."""


class DockerUnreachable(DockerFailure):
    """Nobody listens on the socket."""


class DockerDenied(DockerFailure):
    """The socket may not be opened by this user."""


class DockerError(DockerFailure):
    """Docker answered with an error; ``status`` is the HTTP status."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class _SocketConnection(http.client.HTTPConnection):
    def __init__(self, path: str, timeout: float | None) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path
        self.kept: socket.socket  # outlives the connection, which lets go of it where an answer has no end

    def connect(self) -> None:
        self.sock = self.kept = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


class DockerSocket:
    """Requests to one Docker Engine.

    :param path: the socket; that of ``DOCKER_HOST`` or Docker's own by default.
    :param timeout: seconds that Docker may be silent.
    """

    def __init__(self, path: str | None = None, timeout: float = 5.0) -> None:
        host = os.environ.get("DOCKER_HOST", "")
        self.path = path or (host[len("unix://") :] if host.startswith("unix://") else DEFAULT_SOCKET)
        self._timeout = timeout

    def get(self, path: str) -> Any:
        """Return the decoded answer to a GET.

        :raises DockerFailure: one of its kinds, as for every request.
        """
        return self._decoded("GET", path)

    def post(self, path: str, body: Any = None) -> Any:
        """Send a POST with a JSON body and return the decoded answer."""
        return self._decoded("POST", path, body)

    def delete(self, path: str) -> Any:
        """Send a DELETE and return the decoded answer."""
        return self._decoded("DELETE", path)

    def stream(
        self,
        method: str,
        path: str,
        body: Iterable[bytes] | None = None,
        headers: dict[str, str] | None = None,
        timeout: float | None = None,
    ) -> Iterator[dict[str, Any]]:
        """Yield the JSON lines of an answer as they come.

        :param body: what to upload, piece by piece.
        :param timeout: seconds of silence after which the stream counts as dead.
        """
        response = self._send(method, path, body, headers or {}, timeout or self._timeout)
        try:
            for line in response:
                if line.strip():
                    yield json.loads(line)
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise DockerFailure(f"the answer to {path} broke off: {error}") from error

    def hijack(self, path: str, body: Any, timeout: float) -> tuple[http.client.HTTPResponse, socket.socket]:
        """Send a POST after which the connection is a plain stream: what to read from, and what to write to."""
        connection = _SocketConnection(self.path, timeout)
        data, headers = json.dumps(body).encode(), {"Content-Type": "application/json"}
        response = self._send("POST", path, data, headers, timeout, connection)
        return response, connection.kept

    def _decoded(self, method: str, path: str, body: Any = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        response = self._send(method, path, data, {"Content-Type": "application/json"}, self._timeout)
        try:
            text = response.read()
            return json.loads(text) if text.strip() else None
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise DockerFailure(f"the answer to {path} broke off: {error}") from error

    def _send(
        self,
        method: str,
        path: str,
        body: Any,
        headers: dict[str, str],
        timeout: float,
        connection: _SocketConnection | None = None,
    ) -> http.client.HTTPResponse:
        connection = connection or _SocketConnection(self.path, timeout)
        try:
            connection.request(
                method, path, body, headers, encode_chunked=body is not None and not isinstance(body, bytes)
            )
            response = connection.getresponse()
            refusal = response.read().decode(errors="replace") if response.status >= 400 else None
        except PermissionError as error:
            raise DockerDenied(f"{self.path}: permission denied") from error
        except (FileNotFoundError, ConnectionRefusedError) as error:
            raise DockerUnreachable(f"{self.path}: nobody listens") from error
        except (OSError, http.client.HTTPException) as error:
            raise DockerFailure(f"{self.path}: {error or type(error).__name__}") from error
        if refusal is not None:
            try:
                message = json.loads(refusal)["message"]
            except (ValueError, KeyError, TypeError):
                message = refusal.strip() or response.reason
            raise DockerError(response.status, message)
        return response
