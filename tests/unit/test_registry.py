# SPDX-License-Identifier: GPL-3.0-or-later
"""What a registry says of a model, and what it says instead; replayed on loopback."""

from __future__ import annotations

import hashlib
import json
import socket
import threading
import time
from collections.abc import Iterator
from email.message import Message
from io import BytesIO
from typing import Any
from urllib.error import HTTPError

import pytest
from ansible_collections.llmdesk.workstation.plugins.module_utils import model_manifest, registry
from ansible_collections.llmdesk.workstation.plugins.module_utils.model_manifest import NotAManifest
from ansible_collections.llmdesk.workstation.plugins.module_utils.registry import RegistryError, retry_after

from tests.unit.servers import Loopback, Reply, as_json, loopback

BODY = json.dumps(
    {
        "schemaVersion": 2,
        "config": {"digest": "sha256:" + "c" * 64, "size": 485, "mediaType": "application/json"},
        "layers": [
            {"digest": "sha256:" + "a" * 64, "size": 1000, "mediaType": model_manifest.WEIGHTS},
            {"digest": "sha256:" + "b" * 64, "size": 20, "mediaType": "application/vnd.ollama.image.license"},
        ],
    }
)
PATH = "GET /v2/library/tiny/manifests/1"


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def server() -> Iterator[Loopback]:
    with loopback({PATH: Reply(body=BODY)}) as running:
        yield running


def ask(server: Loopback, timeout: float = 2) -> model_manifest.Manifest:
    return registry.manifest(f"127.0.0.1:{server.server_port}/library/tiny:1", timeout, insecure=True)


def test_a_manifest_says_which_bytes_and_how_many(server: Loopback) -> None:
    found = ask(server)
    assert found.digest == hashlib.sha256(BODY.encode()).hexdigest()
    assert found.digest_where_made == hashlib.sha256(BODY.encode() + b"\n").hexdigest()
    assert (found.size, found.weights) == (1505, "a" * 64)


@pytest.mark.parametrize(
    ("reply", "reason", "words", "again"),
    [
        (Reply(404), "not_found", "has no such model; its tags stand at", None),
        (Reply(403), "unauthorized", "only to people it knows", None),
        (Reply(401), "unauthorized", "only to people it knows", None),
        (Reply(429), "rate_limited", "come back in 5 s", 5),
        (Reply(500), "registry_error", "HTTP 500", 1),
        (Reply(503), "registry_error", "HTTP 503", 1),
        (Reply(410), "registry_error", "HTTP 410", None),
        (Reply(body="<!doctype html><title>Sign in</title>"), "not_a_registry", "sign in first", None),
        (Reply(body="{}"), "not_a_registry", "not as a registry does", None),
        (Reply(body=BODY, cut=True), "unreachable", "cannot be reached: IncompleteRead", 1),
        (Reply(body=BODY, silent=True), "unreachable", "did not answer within 0.2 s", None),
    ],
)
def test_what_comes_instead(server: Loopback, reply: Reply, reason: str, words: str, again: float | None) -> None:
    server.answers[PATH] = reply
    with pytest.raises(RegistryError, match=words) as refused:
        ask(server, 0.2)
    assert (refused.value.reason, refused.value.wait) == (reason, again)


def test_nobody_listens() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        name = f"127.0.0.1:{closed.getsockname()[1]}/library/tiny:1"
        with pytest.raises(RegistryError, match="cannot be reached: Connection refused") as refused:
            registry.manifest(name, 1)
    assert refused.value.reason == "unreachable"


def test_a_name_server_that_is_silent_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    over = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_arguments, **_more: over.wait(30) and [])
    began = time.monotonic()
    with pytest.raises(RegistryError, match=r"models\.example\.com did not answer within 0\.05 s"):
        registry.manifest("models.example.com/library/tiny:1", 0.05)
    assert time.monotonic() - began < 5
    over.set()


def challenge(realm: str, code: int = 401) -> HTTPError:
    headers = Message()
    headers["WWW-Authenticate"] = f'Bearer realm="{realm}",service="models",scope="repository:library/tiny:pull"'
    return HTTPError("http://x", code, "Unauthorized", headers, BytesIO())


def test_a_token_that_everybody_gets_is_fetched(server: Loopback, monkeypatch: pytest.MonkeyPatch) -> None:
    server.answers["GET /token?service=models&scope=repository%3Alibrary%2Ftiny%3Apull"] = as_json({"token": "t"})
    asked: list[dict[str, str]] = []
    real = registry._fetch

    def fetch(url: str, headers: dict[str, str], timeout: float) -> bytes:
        if "/manifests/" in url and "Authorization" not in headers:
            raise challenge(f"{server.url}/token")
        asked.append(headers)
        return real(url, headers, timeout)

    monkeypatch.setattr(registry, "_fetch", fetch)
    assert ask(server).size == 1505
    assert asked[-1]["Authorization"] == "Bearer t"


def test_a_token_from_elsewhere_is_not_asked_for(server: Loopback, monkeypatch: pytest.MonkeyPatch) -> None:
    def fetch(url: str, _headers: dict[str, str], _timeout: float) -> bytes:
        assert "/manifests/" in url
        raise challenge("http://evil.example.com/token")

    monkeypatch.setattr(registry, "_fetch", fetch)
    with pytest.raises(RegistryError) as refused:
        ask(server)
    assert refused.value.reason == "unauthorized"


@pytest.mark.parametrize(
    ("said", "date", "seconds"),
    [
        ("7", None, 7),
        (None, None, 5),
        ("soon", None, 5),
        ("Fri, 31 Jul 2026 10:00:30 GMT", "Fri, 31 Jul 2026 10:00:00 GMT", 30),
        ("Fri, 31 Jul 2026 09:00:00 GMT", "Fri, 31 Jul 2026 10:00:00 GMT", 0),
        ("Fri, 31 Jul 2026 09:00:00 GMT", None, 5),
    ],
)
def test_when_to_come_back(said: str | None, date: str | None, seconds: float) -> None:
    assert retry_after(said, date) == seconds


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"null",
        b'{"layers": null}',
        b'{"layers": [{"digest": "sha256:../../etc/passwd", "size": 1}]}',
        b'{"layers": [{"size": 1}]}',
        b'{"layers": [1]}',
        b"\xff\xfe",
    ],
)
def test_what_is_no_manifest(body: bytes) -> None:
    with pytest.raises(NotAManifest, match="no manifest of a model"):
        model_manifest.parse(body)


def test_a_blob_that_is_named_twice_is_counted_once() -> None:
    layer: dict[str, Any] = {"digest": "sha256:" + "a" * 64, "size": 7}
    assert model_manifest.parse(json.dumps({"layers": [layer, layer]}).encode()).size == 7


@pytest.mark.parametrize("insecure", [False, True])
def test_a_proxy_that_wants_a_password_is_named_without_it(insecure: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as proxy:

        def serve() -> None:
            client, _address = proxy.accept()
            with client:
                client.recv(4096)
                client.sendall(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")

        threading.Thread(target=serve, daemon=True).start()
        host = f"127.0.0.1:{proxy.getsockname()[1]}"
        for name in ("http_proxy", "https_proxy"):
            monkeypatch.setenv(name, f"http://desk:Sesame@{host}")
        monkeypatch.setenv("no_proxy", "")
        with pytest.raises(RegistryError, match=f"the proxy {host} does not take the user and the password") as raised:
            registry.manifest("hub.lab.test/library/tiny:1", 2, insecure=insecure)
    assert (raised.value.reason, "Sesame" in str(raised.value)) == ("unreachable", False)
