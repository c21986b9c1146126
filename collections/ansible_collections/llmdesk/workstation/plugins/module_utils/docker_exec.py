# SPDX-License-Identifier: GPL-3.0-or-later
"""A program inside of a container, and HTTP to a server there that publishes no port, by the Docker socket alone.

A shell in the container copies bytes between its standard streams and the server's port, so that the two ends speak
HTTP with one another and nothing is interpreted on the way. It needs ``bash`` and ``cat`` there, which the images of
Open WebUI and of Ollama have.

Facts from Docker's API (attach): without a terminal a stream comes in frames of 8 bytes and their content; the first
byte is 1 for standard output and 2 for standard error, the last four are the length, big-endian.
"""

from __future__ import annotations

import http.client
import io
import struct
import time
from typing import Any, cast
from urllib.parse import quote

from ansible_collections.llmdesk.workstation.plugins.module_utils.docker_socket import DockerFailure, DockerSocket

# Whoever hangs up first ends the other: a server that dies, or a client that was killed.
BRIDGE = "exec 3<>/dev/tcp/127.0.0.1/{port} 4<&0 || exit 1; cat <&3 & cat <&4 >&3 & wait -n; kill $(jobs -p)"


def run(container: str, command: list[str], timeout: float, docker: DockerSocket | None = None) -> tuple[int, str]:
    """Run a program in a container and return its exit code and what it said.

    :param timeout: seconds that it may be silent.
    :raises DockerFailure: Docker or the container cannot be asked, or the program did not answer in time.
    """
    docker = docker or DockerSocket(timeout=timeout)
    made = docker.post(
        f"/containers/{quote(container)}/exec", {"AttachStdout": True, "AttachStderr": True, "Cmd": command}
    )
    response, stream = docker.hijack(f"/exec/{made['Id']}/start", {"Detach": False, "Tty": False}, timeout)
    said = b""
    try:
        for head in iter(lambda: response.read(8), b""):
            said += response.read(struct.unpack(">BxxxL", head)[1])
    except (OSError, struct.error) as error:
        raise DockerFailure(f"{command[0]} in the container {container} gave no answer within {timeout:g} s") from error
    finally:
        response.close()
        stream.close()
    deadline = time.monotonic() + timeout
    while True:
        state = docker.get(f"/exec/{made['Id']}/json")
        # Its streams may end a moment before it does.
        if not state["Running"]:
            return int(state["ExitCode"]), said.decode(errors="replace")
        if time.monotonic() > deadline:
            raise DockerFailure(f"{command[0]} in the container {container} did not end within {timeout:g} s")
        time.sleep(0.01)


class ContainerConnection(http.client.HTTPConnection):
    """A connection to a port on loopback inside of a container.

    :param container: its name.
    :param timeout: seconds that the server may be silent.
    """

    def __init__(self, container: str, port: int, timeout: float, docker: DockerSocket | None = None) -> None:
        super().__init__("localhost", port, timeout=timeout)
        self._container = container
        self._docker = docker or DockerSocket(timeout=timeout)

    def connect(self) -> None:
        """Start the bridge.

        :raises ConnectionRefusedError: Docker or the container cannot be asked.
        """
        command = ["bash", "-c", BRIDGE.format(port=self.port)]
        wanted = {"AttachStdin": True, "AttachStdout": True, "AttachStderr": True, "Tty": False, "Cmd": command}
        try:
            made = self._docker.post(f"/containers/{quote(self._container)}/exec", wanted)
            stream = _Stream(self._docker, made["Id"], cast(float, self.timeout))
        except DockerFailure as error:
            raise ConnectionRefusedError(f"the container {self._container}: {error}") from error
        self.sock = cast(Any, stream)


class _Stream:
    """What of a socket ``http.client`` uses."""

    def __init__(self, docker: DockerSocket, started: str, timeout: float) -> None:
        body = {"Detach": False, "Tty": False}
        self._response, self._socket = docker.hijack(f"/exec/{started}/start", body, timeout)

    def sendall(self, data: bytes) -> None:
        self._socket.sendall(data)

    def makefile(self, _mode: str) -> io.BufferedReader:
        return io.BufferedReader(_Output(self._response))

    def settimeout(self, seconds: float) -> None:
        self._socket.settimeout(seconds)

    def close(self) -> None:
        self._response.close()
        self._socket.close()


class _Output(io.RawIOBase):
    """Standard output out of the frames."""

    def __init__(self, response: http.client.HTTPResponse) -> None:
        super().__init__()
        self._response = response
        self._left = 0
        self._said = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._left:
            head = self._response.read(8)
            if len(head) < 8:
                if self._said:
                    raise ConnectionRefusedError(self._said.decode(errors="replace").strip())
                return 0
            kind, size = struct.unpack(">BxxxL", head)
            if kind == 1:
                self._left = size
            else:
                self._said += self._response.read(size)
        piece = self._response.read(min(self._left, len(buffer)))
        self._left -= len(piece)
        buffer[: len(piece)] = piece
        return len(piece)
