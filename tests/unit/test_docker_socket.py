# SPDX-License-Identifier: GPL-3.0-or-later
"""Docker's socket: who answers, who does not, and who may not ask."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.llmdesk.workstation.plugins.module_utils import docker_socket as client
from ansible_collections.llmdesk.workstation.plugins.module_utils.docker_socket import (
    DockerDenied,
    DockerError,
    DockerFailure,
    DockerSocket,
    DockerUnreachable,
)

from tests.unit.servers import Reply, UnixSocket, as_json, docker_socket

FIXTURES = Path(__file__).parent / "fixtures" / "docker"


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[UnixSocket]:
    with docker_socket(tmp_path / "docker.sock", {}) as server:
        yield server


def ask(engine: UnixSocket, timeout: float = 5) -> DockerSocket:
    return DockerSocket(str(engine.server_address), timeout=timeout)


def test_an_answer_is_decoded(engine: UnixSocket) -> None:
    engine.answers["GET /version"] = Reply(body=(FIXTURES / "version.json").read_text())
    assert ask(engine).get("/version")["Version"] == "20.10.24+dfsg1"


def test_what_is_sent_is_json(engine: UnixSocket) -> None:
    engine.answers["POST /containers/create"] = as_json({"Id": "1"}, 201)
    assert ask(engine).post("/containers/create", {"Image": "i"}) == {"Id": "1"}
    assert json.loads(engine.asked[0][1]) == {"Image": "i"}


def test_an_answer_may_be_empty(engine: UnixSocket) -> None:
    engine.answers["DELETE /containers/1"] = Reply(204)
    assert ask(engine).delete("/containers/1") is None


@pytest.mark.parametrize(
    ("reply", "message"),
    [
        (as_json({"message": "No such container: open-webui"}, 404), "No such container: open-webui"),
        (Reply(500, "a proxy's own words"), "a proxy's own words"),
        (Reply(502), "Bad Gateway"),
        (as_json([], 500), "[]"),
    ],
)
def test_an_error_has_its_status_and_its_words(engine: UnixSocket, reply: Reply, message: str) -> None:
    engine.answers["GET /x"] = reply
    with pytest.raises(DockerError) as error:
        ask(engine).get("/x")
    assert (error.value.status, str(error.value)) == (reply.status, message)


def test_there_is_no_socket(tmp_path: Path) -> None:
    with pytest.raises(DockerUnreachable, match="nobody listens"):
        DockerSocket(str(tmp_path / "docker.sock")).get("/version")


def test_a_socket_that_outlived_its_daemon(tmp_path: Path) -> None:
    path = str(tmp_path / "docker.sock")
    left_over = socket.socket(socket.AF_UNIX)
    left_over.bind(path)
    left_over.close()
    with pytest.raises(DockerUnreachable, match="nobody listens"):
        DockerSocket(path).get("/version")


def test_a_socket_that_may_not_be_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_arguments: Any) -> None:
        raise PermissionError(13, "Permission denied")

    # Root may open everything, and the tests may run as root.
    monkeypatch.setattr(client._SocketConnection, "connect", refuse)
    with pytest.raises(DockerDenied, match="permission denied"):
        DockerSocket(str(tmp_path / "docker.sock")).get("/version")


@pytest.mark.parametrize(
    "reply",
    [
        Reply(body='{"Version": ', silent=True),
        Reply(500, '{"message": ', silent=True),
        Reply(body='{"Version": ', cut=True),
        Reply(body="<html>"),
    ],
    ids=["hangs", "hangs in an error", "breaks off", "is not JSON"],
)
def test_an_answer_that_is_none_is_a_failure_of_docker(engine: UnixSocket, reply: Reply) -> None:
    engine.answers["GET /info"] = reply
    with pytest.raises(DockerFailure):
        ask(engine, timeout=0.1).get("/info")


def test_a_stream_comes_line_by_line(engine: UnixSocket) -> None:
    engine.answers["POST /images/create?fromImage=i&tag=t"] = Reply(
        lines=('{"status":"Pulling from i","id":"t"}\r\n', "\r\n", '{"status":"Download complete"}\r\n')
    )
    assert [line["status"] for line in ask(engine).stream("POST", "/images/create?fromImage=i&tag=t")] == [
        "Pulling from i",
        "Download complete",
    ]


def test_a_stream_that_falls_silent_is_dead(engine: UnixSocket) -> None:
    engine.answers["POST /images/create"] = Reply(lines=('{"status":"Downloading"}\r\n',), silent=True)
    lines = ask(engine).stream("POST", "/images/create", timeout=0.1)
    assert next(lines) == {"status": "Downloading"}
    with pytest.raises(DockerFailure, match="broke off"):
        next(lines)


def test_an_archive_is_sent_piece_by_piece(engine: UnixSocket) -> None:
    engine.answers["POST /images/load"] = Reply(lines=('{"stream":"Loaded image: i:t\\n"}\r\n',))
    pieces = (piece for piece in (b"one", b"two"))
    list(ask(engine).stream("POST", "/images/load", pieces, {"Content-Type": "application/x-tar"}))
    assert engine.asked[0][1] == b"onetwo"


@pytest.mark.parametrize(
    ("host", "path"),
    [
        ("", "/var/run/docker.sock"),
        ("unix:///run/user/1000/docker.sock", "/run/user/1000/docker.sock"),
        ("tcp://10.0.0.1:2375", "/var/run/docker.sock"),
    ],
)
def test_which_socket(monkeypatch: pytest.MonkeyPatch, host: str, path: str) -> None:
    monkeypatch.setenv("DOCKER_HOST", host)
    assert DockerSocket().path == path
