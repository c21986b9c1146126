# SPDX-License-Identifier: GPL-3.0-or-later
"""A mirror's way out, against real servers with TLS: tokens, redirects, registries that are busy, lines that break."""

from __future__ import annotations

import hashlib
import http.client
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, cast

import pytest
from ansible_collections.llmdesk.workstation.plugins.module_utils import mirror_upstream

from lab import authority

BLOB = b"weights" * 100_000
DIGEST = hashlib.sha256(BLOB).hexdigest()
PATH = f"/v2/library/tiny/blobs/sha256:{DIGEST}"
MANIFESTS = "/v2/library/tiny/manifests/1"

Say = Callable[["Upstream"], bool]


class Upstream(BaseHTTPRequestHandler):
    """A registry; ``says`` of its server may answer in its place."""

    protocol_version = "HTTP/1.1"
    server: Any

    def do_GET(self) -> None:
        self.server.asked.append((self.path, dict(self.headers)))
        if self.server.says and self.server.says.pop(0)(self):
            return
        first, last = 0, len(BLOB) - 1
        if "Range" in self.headers:
            begin, _dash, end = self.headers["Range"].partition("=")[2].partition("-")
            first, last = int(begin), min(int(end or last), last)
            self.answer(206, BLOB[first : last + 1], Content_Range=f"bytes {first}-{last}/{len(BLOB)}")
        else:
            self.answer(200, b"{}" if "manifests" in self.path else BLOB)

    def answer(self, status: int, body: bytes = b"", length: int | None = None, **headers: str) -> bool:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)
        return True

    def log_message(self, *_arguments: Any) -> None:
        pass


class Registry:
    """Such a server, with a certificate of the lab's authority."""

    def __init__(self, folder: Path) -> None:
        certificate, key = authority.certificate("localhost")
        (folder / "tls.pem").write_bytes(certificate + key)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(folder / "tls.pem")
        self._server = cast(Any, ThreadingHTTPServer(("127.0.0.1", 0), Upstream))
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True, do_handshake_on_connect=False)
        self._server.daemon_threads = True
        self._server.asked, self._server.says = [], []
        self.host = f"localhost:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    @property
    def asked(self) -> list[tuple[str, dict[str, str]]]:
        asked: list[tuple[str, dict[str, str]]] = self._server.asked
        return asked

    def says(self, *answers: Say) -> None:
        self._server.says[:] = answers

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class Line(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=10)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(str(self._path))


@pytest.fixture
def registries(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Registry]]:
    trusted = tmp_path / "trusted.pem"
    trusted.write_bytes(authority.trusted())
    monkeypatch.setenv("SSL_CERT_FILE", str(trusted))
    for name in ("https_proxy", "HTTPS_PROXY"):
        monkeypatch.delenv(name, raising=False)
    made = [Registry(tmp_path), Registry(tmp_path)]
    yield made
    for registry in made:
        registry.close()


@pytest.fixture
def ask(registries: list[Registry], tmp_path: Path) -> Iterator[Callable[..., tuple[int, Any, bytes]]]:
    (tmp_path / "blobs").mkdir()
    server = mirror_upstream.Server(str(tmp_path / "socket"), [registries[0].host], str(tmp_path / "blobs"))
    threading.Thread(target=server.serve_forever, daemon=True).start()

    def asks(path: str = PATH, host: str = registries[0].host, **headers: str) -> tuple[int, Any, bytes]:
        line = Line(tmp_path / "socket")
        line.request("GET", path, headers={"Host": host, **headers})
        answer = line.getresponse()
        return answer.status, answer.headers, answer.read()

    yield asks
    server.shutdown()
    server.server_close()


def test_a_piece_of_a_blob_comes_with_its_digest_as_its_tag(ask: Any, registries: list[Registry]) -> None:
    status, headers, body = ask(Range="bytes=7-20")
    assert (status, body, headers["Content-Range"]) == (206, b"weightsweights", f"bytes 7-20/{len(BLOB)}")
    assert headers["ETag"] == f'"sha256:{DIGEST}"'
    assert ask()[2] == BLOB
    metrics = ask("/metrics")[2].decode()
    assert f'upstream_bytes_total{{upstream="{registries[0].host}"}} {len(BLOB) + 14}\n' in metrics


def test_only_the_registries_of_the_mirror_are_asked(ask: Any, registries: list[Registry]) -> None:
    assert ask(host=registries[1].host)[0] == 404
    assert registries[1].asked == []


def test_a_token_is_fetched_once_and_shown_to_nobody_else(ask: Any, registries: list[Registry]) -> None:
    first, second = registries
    challenge = f'Bearer realm="https://{first.host}/token",service="s",scope="repository:library/tiny:pull"'
    first.says(
        lambda asked: asked.answer(401, WWW_Authenticate=challenge),
        lambda asked: asked.answer(200, b'{"token": "t", "expires_in": 300}'),
        lambda asked: asked.answer(307, Location=f"https://{second.host}{PATH}?signed=1"),
    )
    assert ask()[2] == BLOB
    assert [path.partition("?")[0] for path, _headers in first.asked] == [PATH, "/token", PATH]
    assert first.asked[2][1]["Authorization"] == "Bearer t"
    assert [path for path, _headers in second.asked] == [f"{PATH}?signed=1"]
    assert "Authorization" not in second.asked[0][1]
    ask(MANIFESTS)
    assert first.asked[3][1]["Authorization"] == "Bearer t"


def test_a_redirect_without_tls_is_not_followed(ask: Any, registries: list[Registry]) -> None:
    registries[0].says(lambda asked: asked.answer(307, Location=f"http://{registries[1].host}{PATH}"))
    assert ask()[0] == 502
    assert registries[1].asked == []


@pytest.mark.parametrize("status", [429, 503])
def test_a_busy_registry_is_asked_again_for_a_blob(ask: Any, registries: list[Registry], status: int) -> None:
    registries[0].says(lambda asked: asked.answer(status, Retry_After="0.1"))
    assert ask()[2] == BLOB


def test_a_manifest_is_not_waited_for(ask: Any, registries: list[Registry]) -> None:
    registries[0].says(lambda asked: asked.answer(503))
    assert ask(MANIFESTS)[0] == 503
    assert len(registries[0].asked) == 1


def test_a_blob_goes_on_where_the_line_broke(ask: Any, registries: list[Registry]) -> None:
    def breaks(asked: Upstream) -> bool:
        asked.answer(200, BLOB[:1000], length=len(BLOB))
        asked.close_connection = True
        return True

    registries[0].says(breaks)
    assert ask()[2] == BLOB
    assert registries[0].asked[1][1]["Range"] == "bytes=1000-"


def test_what_nobody_answers_is_one_sentence(
    ask: Any, registries: list[Registry], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mirror_upstream, "PATIENCE", 0.0)
    registries[0].close()
    status, _headers, body = ask()
    assert status == 504
    assert registries[0].host in body.decode()
