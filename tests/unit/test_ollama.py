# SPDX-License-Identifier: GPL-3.0-or-later
"""Ollama's API and the ways in which it hides its failures, replayed by a server on loopback."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.llmdesk.workstation.plugins.module_utils.model_store import BLOCK, blocks
from ansible_collections.llmdesk.workstation.plugins.module_utils.ollama import (
    Ollama,
    OllamaError,
    OllamaTransient,
    OllamaUnreachable,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.servers import Answer, Loopback, Reply, as_json, loopback, streamed

CAPTURED = Path(__file__).parent / "fixtures" / "ollama"


@pytest.fixture
def server() -> Iterator[Loopback]:
    with loopback({"GET /api/tags": Reply(body=(CAPTURED / "tags.json").read_text())}) as running:
        yield running


def ollama(server: Loopback, timeout: float = 5) -> Ollama:
    return Ollama(server.url, timeout)


def test_models_by_name(server: Loopback) -> None:
    assert ollama(server).models() == {
        "llama3.2:3b": {
            "digest": "a80c4f17acd55265feec403c7aef86be0c25983ab279d83f3bcd3abbcb5b8b72",
            "size": 2019393189,
        }
    }


def test_a_server_without_models(server: Loopback) -> None:
    server.answers["GET /api/tags"] = as_json({"models": None})
    assert ollama(server).models() == {}


def test_version(server: Loopback) -> None:
    server.answers["GET /api/version"] = as_json({"version": "0.32.15"})
    assert ollama(server).version() == "0.32.15"


def test_all_that_the_list_says(server: Loopback) -> None:
    (listed,) = ollama(server).listed().values()
    assert listed["details"]["quantization_level"] == "Q4_K_M"


@pytest.mark.parametrize(("answered", "names"), [([{"name": "a:1", "size": 2, "size_vram": 1}], ["a:1"]), (None, [])])
def test_what_is_loaded(server: Loopback, answered: Any, names: list[str]) -> None:
    server.answers["GET /api/ps"] = as_json({"models": answered})
    assert list(ollama(server).running()) == names
    assert list(ollama(server).running().values()) == (answered or [])


def test_a_model_is_shown(server: Loopback) -> None:
    server.answers["POST /api/show"] = as_json({"template": "{{ .Prompt }}"})
    assert ollama(server).show("a:1") == {"template": "{{ .Prompt }}"}
    assert json.loads(server.asked[0][1]) == {"model": "a:1"}


def test_a_model_that_is_not_here_is_not_shown(server: Loopback) -> None:
    server.answers["POST /api/show"] = as_json({"error": "model 'a:1' not found"}, 404)
    with pytest.raises(OllamaError, match="model 'a:1' not found"):
        ollama(server).show("a:1")


def test_what_shows_no_model_is_not_ollama(server: Loopback) -> None:
    server.answers["POST /api/show"] = Reply(body="<!doctype html>")
    with pytest.raises(OllamaError, match=r"what answers /api/show at .* is not Ollama"):
        ollama(server).show("a:1")


def test_a_pull_ends_with_success(server: Loopback) -> None:
    server.answers["POST /api/pull"] = streamed(CAPTURED / "pull.ndjson")
    lines = list(ollama(server).pull("llama3.2:3b"))
    assert lines[-1] == {"status": "success"}
    assert len(lines) == 8
    assert json.loads(server.asked[0][1]) == {"model": "llama3.2:3b"}


@pytest.mark.parametrize(
    ("captured", "transient", "words"),
    [
        ("no-such-tag", False, "file does not exist"),
        ("newer-version", False, "requires a newer version of Ollama"),
        ("no-location", False, "no Location header"),
        ("no-route", True, "i/o timeout"),
        ("retries-exceeded", True, "max retries exceeded"),
        # How a pull ends after its six tries, 63 s, on 0.11.4 as on 0.32.15.
        ("reset-every-connection", True, "connection reset by peer"),
        ("cut-after-a-megabyte", True, "unexpected EOF"),
        ("empty-partial", True, "EOF"),
        ("digest-mismatch", True, "digest mismatch"),
        ("realm", True, "does not match original host"),
    ],
)
def test_an_error_under_http_200(server: Loopback, captured: str, transient: bool, words: str) -> None:
    server.answers["POST /api/pull"] = streamed(CAPTURED / f"{captured}.ndjson")
    with pytest.raises(OllamaError, match=words) as error:
        list(ollama(server).pull("llama3.2:3b"))
    assert isinstance(error.value, OllamaTransient) is transient


PULLING = ('{"status":"pulling manifest"}\n', '{"status":"writing manifest"}\n')


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        (Reply(lines=PULLING), "ended without 'success'"),
        (Reply(lines=()), "ended without 'success'"),
        (Reply(lines=PULLING, cut=True), "broke off|ended without 'success'"),
        (Reply(lines=(*PULLING, '{"status":"suc'), cut=True), "broke off"),
        (Reply(lines=PULLING, silent=True), "broke off: timed out"),
    ],
    ids=["no success", "no line", "cut", "cut in a line", "silent"],
)
def test_a_stream_that_does_not_end_well_may_be_resumed(server: Loopback, reply: Reply, words: str) -> None:
    server.answers["POST /api/pull"] = reply
    with pytest.raises(OllamaTransient, match=words):
        list(ollama(server, timeout=0.2).pull("llama3.2:3b"))


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        (as_json({"error": "invalid model name"}, 400), "invalid model name"),
        (Reply(502, "Bad gateway, says a proxy"), "Bad gateway, says a proxy"),
        (Reply(500), "HTTP 500"),
    ],
)
def test_an_error_before_the_stream(server: Loopback, reply: Reply, words: str) -> None:
    server.answers["POST /api/pull"] = reply
    with pytest.raises(OllamaError, match=words) as error:
        list(ollama(server).pull("x"))
    assert not isinstance(error.value, OllamaTransient)


def test_nobody_answers() -> None:
    for ask in (Ollama("http://127.0.0.1:1").models, lambda: Ollama("http://127.0.0.1:1").has_blob("0")):
        with pytest.raises(OllamaUnreachable, match="refused"):
            ask()


@pytest.mark.parametrize(
    "reply",
    [
        Reply(body="<!doctype html>"),
        as_json({"status": True}),
        as_json([]),
        Reply(body='{"models":', cut=True),
        Reply(body='{"models":', silent=True),
        Reply(500, "{", silent=True),
    ],
    ids=["a page", "another API", "a list", "cut", "silent", "silent in an error"],
)
def test_who_answers_is_not_ollama(server: Loopback, reply: Reply) -> None:
    server.answers["GET /api/tags"] = reply
    with pytest.raises(OllamaError):
        ollama(server, timeout=0.2).models()


def test_delete_and_copy_name_the_models(server: Loopback) -> None:
    server.answers.update({"DELETE /api/delete": Reply(), "POST /api/copy": Reply()})
    ollama(server).copy("mirror.example.com/library/a:1", "a:1")
    ollama(server).delete("mirror.example.com/library/a:1")
    assert [(key, json.loads(body)) for key, body in server.asked] == [
        ("POST /api/copy", {"source": "mirror.example.com/library/a:1", "destination": "a:1"}),
        ("DELETE /api/delete", {"model": "mirror.example.com/library/a:1"}),
    ]


def test_a_model_that_is_gone_cannot_be_deleted(server: Loopback) -> None:
    server.answers["DELETE /api/delete"] = as_json({"error": "model 'a:1' not found"}, 404)
    with pytest.raises(OllamaError, match="model 'a:1' not found"):
        ollama(server).delete("a:1")


@pytest.mark.parametrize(("status", "present"), [(200, True), (404, False)])
def test_whether_a_blob_is_here(server: Loopback, status: int, present: bool) -> None:
    server.answers["HEAD /api/blobs/sha256:ab"] = Reply(status)
    assert ollama(server).has_blob("ab") is present


def test_a_blob_is_sent_in_pieces(server: Loopback, tmp_path: Path) -> None:
    content = bytes(range(256)) * 4096 * 2 + b"the rest"
    file = tmp_path / "model.gguf"
    file.write_bytes(content)
    digest = hashlib.sha256(content).hexdigest()
    server.answers[f"POST /api/blobs/sha256:{digest}"] = Reply(201)
    assert list(ollama(server).push_blob(str(file), digest)) == [BLOCK, 2 * BLOCK, len(content)]
    assert hashlib.sha256(server.asked[0][1]).hexdigest() == digest
    assert [len(block) for block in blocks(str(file))] == [BLOCK, BLOCK, 8]


def test_a_blob_with_another_digest_is_refused(server: Loopback, tmp_path: Path) -> None:
    (tmp_path / "model.gguf").write_bytes(b"GGUF")
    answer: Answer = as_json({"error": "digest does not match file"}, 400)
    server.answers["POST /api/blobs/sha256:ab"] = answer
    with pytest.raises(OllamaError, match="digest does not match file"):
        list(ollama(server).push_blob(str(tmp_path / "model.gguf"), "ab"))


def test_an_upload_that_breaks_off_may_be_tried_again(tmp_path: Path) -> None:
    (tmp_path / "model.gguf").write_bytes(b"GGUF")
    with pytest.raises(OllamaTransient, match="the upload broke off"):
        list(Ollama("http://127.0.0.1:1").push_blob(str(tmp_path / "model.gguf"), "ab"))


def test_a_model_is_made_of_a_blob(server: Loopback) -> None:
    server.answers["POST /api/create"] = streamed(CAPTURED / "create.ndjson")
    body = {"model": "smollm2:135m", "files": {"model.gguf": "sha256:ab"}}
    assert list(ollama(server).create(body))[-1] == {"status": "success"}
    assert json.loads(server.asked[0][1]) == body


LINES = st.one_of(
    st.binary(max_size=200),
    st.sampled_from(
        [
            b'{"status":"pulling manifest"}',
            b'{"status":"success"}',
            b'{"error":"EOF"}',
            '{"status":"é"}'.encode()[:-3],  # cut in the middle of a character
            b'{"status":"' + b"x" * 100_000 + b'"}',  # longer than anything that Ollama says
            b'{"total": "many", "digest": 1}',
            b"[1, 2]",
            b"null",
            b"\x00\xff\xfe",
        ]
    ),
)


@settings(max_examples=500, derandomize=True, deadline=None)
@given(st.lists(LINES, max_size=6), st.booleans())
def test_whatever_a_stream_says_is_an_end_or_a_failure_of_ours(lines: list[bytes], ends_in_a_line: bool) -> None:
    class Said(Ollama):
        @staticmethod
        def _answer(*_arguments: Any) -> Any:
            return io.BytesIO(b"\n".join(lines) + (b"\n" if ends_in_a_line else b""))

    seen: list[Any] = []
    try:
        for line in Said("http://127.0.0.1:1").pull("a:1"):
            seen.append(line)
    except OllamaError:
        return
    assert seen[-1] == {"status": "success"}
    assert all(isinstance(line.get("total", 0), int) for line in seen)
