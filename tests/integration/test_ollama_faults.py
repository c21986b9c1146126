# SPDX-License-Identifier: GPL-3.0-or-later
"""Everything that goes wrong between a desk and a registry: first what ``ollama pull`` does, then what the module does.

All of it really happens: toxiproxy stands on the line, nginx before the registry and before the server, and the server
is Ollama itself.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from docker.models.containers import Container

from lab import faults, models
from tests.integration.conftest import SERVER
from tests.integration.rig import (
    LARGER,
    THERE,
    Module,
    Ollama,
    Plain,
    brought,
    in_memory,
    one_sentence,
    reach,
    sent,
    serve,
    size,
    until,
    weights,
    whole,
)

PART = 10_000_000


@pytest.fixture
def answer(ollama: Ollama) -> Iterator[Callable[[str], None]]:
    """Lets the registry answer otherwise, until the test is over."""
    yield models.answer
    models.answer("")


@pytest.fixture
def reply(ollama: Ollama, line: faults.Line) -> Iterator[Callable[[str], None]]:
    """Answers in Ollama's place, until the test is over."""
    line.lead(faults.address(ollama.container))
    yield line.reply
    line.reply("")


class Answer(NamedTuple):
    """What a registry answers, what a person is told who pulls, and the module's reason."""

    locations: str
    said: str
    reason: str


REALM = f'Bearer realm="https://{models.HOST}/token",service="{models.HOST}",scope="repository:library/tiny:pull"'
ANSWERS = {
    "no such tag": Answer(faults.status(404), "file does not exist", "not_found"),
    "not for strangers": Answer(
        faults.status(401), f'realm host "" does not match original host "{models.HOST}"', "unauthorized"
    ),
    "not for strangers, with a token that opens nothing": Answer(
        faults.status(401, WWW_Authenticate=REALM) + 'location = /token { return 200 \'{"token": "x"}\'; }',
        "unauthorized: access denied",
        "unauthorized",
    ),
    "not for strangers, and no token either": Answer(
        faults.status(401, WWW_Authenticate=REALM) + "location = /token { return 401; }",
        "401: <html> ",
        "unauthorized",
    ),
    "a mistake in the registry": Answer(faults.status(500), "500: <html> ", "registry_error"),
    "a registry that is busy": Answer(faults.status(503), "503: <html> ", "registry_error"),
    "a page to sign in": Answer(faults.portal(), "invalid character '<' ", "not_a_registry"),
}


@pytest.mark.parametrize("kind", ANSWERS)
def test_an_answer_of_the_registry_is_one_sentence_and_the_next_run_brings_the_model(
    ollama: Ollama, module: Module, answer: Callable[[str], None], kind: str
) -> None:
    wrong = ANSWERS[kind]
    answer(wrong.locations)
    plain = ollama.plain()
    said = f"Error: pull model manifest: {wrong.said}"
    assert (plain.rc, plain.said[: len(said)]) == (1, said)
    assert models.HOST in one_sentence(module(retries=0), wrong.reason)
    assert ollama.models() == {}
    answer("")
    brought(module(), ollama)


@contextmanager
def plainly(ollama: Ollama, seconds: float = 3) -> Iterator[Callable[[], Plain]]:
    """Pull as a person does, until a part of the model is there; then something may go wrong."""
    models.limit("16m")
    with ThreadPoolExecutor(1) as pool:
        pull = pool.submit(ollama.plain, THERE, seconds)
        until(lambda: ollama.fetched() > PART, "a part of the model is there")
        yield pull.result
    models.limit(None)


@contextmanager
def ours(ollama: Ollama, module: Module, **arguments: Any) -> Iterator[subprocess.Popen[str]]:
    """Run the module until a part of the model is there; then something may go wrong."""
    models.limit("16m")
    process = module.start(**arguments)
    until(lambda: ollama.fetched() > PART or process.poll() is not None, "a part of the model is there")
    models.limit(None)
    try:
        yield process
    finally:
        process.kill()


def test_retry_after_is_honoured(ollama: Ollama, module: Module, answer: Callable[[str], None]) -> None:
    answer(faults.status(429, Retry_After="2"))
    plain = ollama.plain()
    assert (plain.rc, plain.said[:34]) == (1, "Error: pull model manifest: 429: <")
    models.forget()
    process = module.start(stall_timeout=10)
    until(lambda: any(asked.status == 429 for asked in models.asked()), "the registry has said to come back later")
    answer("")
    brought(module.finish(process), ollama)
    first, second, *_rest = models.asked()
    assert (first.status, second.status) == (429, 200)
    assert second.at - first.at >= 2


def test_too_many_requests_for_longer_than_anybody_waits(
    ollama: Ollama, module: Module, answer: Callable[[str], None]
) -> None:
    answer(faults.status(429, Retry_After="3600"))
    assert "3600 s" in one_sentence(module(), "rate_limited")


def test_far_away(ollama: Ollama, module: Module, line: faults.Line) -> None:
    line.latency(150)
    assert ollama.plain(seconds=15).rc == 0
    ollama.forget()
    brought(module(), ollama)


def test_a_slow_line_is_no_stall(ollama: Ollama, module: Module, line: faults.Line) -> None:
    line.bandwidth(200)
    assert ollama.plain().hung
    ollama.afresh()
    before = ollama.pulls_ended()
    process = module.start(stall_timeout=1)
    until(lambda: ollama.fetched() > 500_000 or process.poll() is not None, "half a megabyte is there")
    assert ollama.pulls_ended() == before  # slow as it was, it moved
    line.clear()
    brought(module.finish(process), ollama)


def test_a_stall_in_the_middle(ollama: Ollama, module: Module, line: faults.Line, registry: Container) -> None:
    with plainly(ollama) as result:
        line.stall()
        assert result().hung
    line.clear()
    ollama.afresh()
    ended = ollama.pulls_ended()
    with ours(ollama, module) as process:
        line.stall()
        until(lambda: ollama.pulls_ended() > ended, "the pull was broken off")
        line.clear()
        before = sent(registry)
        brought(module.finish(process), ollama)
    assert sent(registry) - before < size() - PART / 2


def test_a_stall_that_does_not_end(ollama: Ollama, module: Module, line: faults.Line, registry: Container) -> None:
    with ours(ollama, module, retries=0) as process:
        line.stall()
        message = one_sentence(module.finish(process), "stalled")
    assert "no byte came for 2 s" in message
    line.clear()
    before = sent(registry)
    brought(module(), ollama)
    assert sent(registry) - before < size() - PART / 2


def test_a_reset_of_every_connection(ollama: Ollama, module: Module, line: faults.Line) -> None:
    line.reset(20_000_000)
    # Six tries and 63 s later it says "max retries exceeded: … connection reset by peer", and has kept nothing.
    assert ollama.plain().hung
    assert noted(ollama) == 0
    ollama.afresh()
    brought(module(retries=10), ollama)


def noted(ollama: Ollama) -> int:
    """Return the bytes that the notes of a download say are there."""
    return sum(json.loads(note.read_text())["Completed"] for note in ollama.blobs.glob("*-partial-*"))


@pytest.mark.parametrize(
    ("name", "after"),
    [
        (THERE, 1_000_000),
        (THERE, 40_000_000),
        (THERE, 70_000_000),
        (THERE, 98_300_000),
        (LARGER, 1_000_000),
        (LARGER, 40_000_000),
    ],
)
def test_a_cut(ollama: Ollama, module: Module, line: faults.Line, name: str, after: int) -> None:
    line.cut(after)
    hopeless = after < 10_000_000
    plain = ollama.plain(name, 3 if hopeless else 15)
    assert plain.hung if hopeless else plain.rc == 0  # it tries six times, for one minute
    ollama.afresh()
    process = module.start(name)
    until(lambda: ollama.fetched() > after * 0.9 or process.poll() is not None, "the line was cut")
    if hopeless:
        line.clear()
    brought(module.finish(process), ollama, name)


def test_parts_that_are_killed_with_their_server(ollama: Ollama, module: Module, registry: Container) -> None:
    models.limit("16m")
    process = module.start(LARGER)
    until(lambda: ollama.fetched() > 60_000_000, "a part of each part is there")
    ollama.kill()
    models.limit(None)
    before = sent(registry)
    ollama.start()
    brought(module.finish(process), ollama, LARGER)
    # Ollama notes how far a part is when it is left, and every few seconds.
    assert sent(registry) - before <= 1.1 * size(LARGER)


def test_a_line_on_which_nothing_comes_through(ollama: Ollama, module: Module, line: faults.Line) -> None:
    line.cut(500)  # in the middle of TLS's own words
    plain = ollama.plain()
    assert (plain.rc, plain.said[-3:]) == (1, "EOF")
    assert models.HOST in one_sentence(module(retries=0), "unreachable")
    line.clear()
    brought(module(), ollama)


def test_a_registry_that_starts_anew(ollama: Ollama, module: Module, line: faults.Line, registry: Container) -> None:
    with plainly(ollama, 10) as result:
        registry.restart(timeout=1)
        line.lay()
        assert result().rc == 0
    ollama.forget()
    with ours(ollama, module) as process:
        registry.restart(timeout=1)
        line.lay()
        brought(module.finish(process), ollama)


def test_a_server_that_is_killed(ollama: Ollama, module: Module) -> None:
    with plainly(ollama) as result:
        ollama.kill()
        assert result().rc != 0
    ollama.start()
    assert ollama.models() == {}
    ollama.forget()
    with ours(ollama, module) as process:
        ollama.kill()
        ollama.start()
        brought(module.finish(process), ollama)


def test_a_disk_that_is_full(
    ollama: Ollama, image: str, line: faults.Line, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("small")
    with (
        in_memory(folder, "64m") as enlarge,
        serve(f"{SERVER}-small", image, line.address, tmp_path, store=folder) as small,
    ):
        plain = small.plain()
        assert (plain.rc, plain.said.split(": ")[-1]) == (1, "no space left on device")
        small.forget()
        module = Module(tmp_path, line.address, **reach(small))
        # Before a byte is fetched, where the store can be seen; and in Ollama's words, where it cannot.
        assert str(folder) in one_sentence(module(), "disk_full")
        assert small.fetched() == 0
        one_sentence(module(container=None), "disk_full")
        enlarge("200m")
        brought(module(), small)


def test_a_manifest_that_lies_about_a_size(ollama: Ollama, module: Module) -> None:
    for lie, tag in ((1000, "more"), (-1000, "less")):
        name = models.push(f"library/tiny:{tag}", models.demo(), lie=lie)
        assert ollama.plain(name, 10).rc == 0
        ollama.forget()
        assert models.HOST in one_sentence(module(name), "size_mismatch")
        assert ollama.models() == {}


def test_bytes_that_are_not_those_of_the_digest(ollama: Ollama, module: Module) -> None:
    with models.spoilt(weights()):
        plain = ollama.plain(seconds=10)
        assert (plain.rc, plain.said[:55]) == (1, "Error: digest mismatch, file must be downloaded again: ")
        ollama.forget()
        one_sentence(module(retries=1), "digest_mismatch")
        assert ollama.models() == {}
    brought(module(), ollama)


def test_wrong_bytes_that_a_broken_pull_has_left(ollama: Ollama, module: Module, answer: Callable[[str], None]) -> None:
    with models.spoilt(weights()):
        answer(f"location ~ /blobs/sha256:(?!{weights()}) {{ return 503; }}")
        assert ollama.plain(seconds=10) == Plain(1, "Error: 503:")
        spoilt = (ollama.blobs / f"sha256-{weights()}").read_bytes()
    answer("")
    assert ollama.plain(seconds=10) == Plain(0, "success")
    assert (ollama.blobs / f"sha256-{weights()}").read_bytes() == spoilt  # a model, with the wrong bytes
    ollama.forget()
    (ollama.blobs / f"sha256-{weights()}").write_bytes(spoilt)
    brought(module(), ollama)


def test_a_redirect_to_another_host(ollama: Ollama, module: Module, answer: Callable[[str], None]) -> None:
    answer(faults.elsewhere())
    assert ollama.plain(seconds=10).rc == 0
    ollama.forget()
    brought(module(), ollama)
    assert {asked.host for asked in models.asked()} == {models.HOST, models.ELSEWHERE}


def test_a_redirect_that_ollama_does_not_follow(ollama: Ollama, module: Module, answer: Callable[[str], None]) -> None:
    answer(faults.elsewhere(302))
    assert ollama.plain().said == "Error: unexpected status code 302"
    assert "302" in one_sentence(module(), "registry_error")
    answer("")
    brought(module(), ollama)


def test_an_error_under_http_200(
    ollama: Ollama, module: Module, line: faults.Line, reply: Callable[[str], None]
) -> None:
    reply(faults.stream({"status": "pulling manifest"}, {"error": "the moon is full"}))
    assert ollama.plain(host=line.inside) == Plain(1, "Error: the moon is full")
    assert one_sentence(module(url=line.ollama), "failed") == f"{THERE} could not be had: the moon is full."
    reply("")
    brought(module(url=line.ollama), ollama)


def test_a_stream_that_ends_without_success(
    ollama: Ollama, module: Module, line: faults.Line, reply: Callable[[str], None]
) -> None:
    progress = {"status": "pulling b179c9523d0e", "digest": f"sha256:{weights()}", "total": size(), "completed": PART}
    reply(faults.stream({"status": "pulling manifest"}, progress))
    assert ollama.plain(host=line.inside).rc == 0  # and there is no model
    assert ollama.models() == {}
    one_sentence(module(url=line.ollama, retries=0), "incomplete")
    reply("")
    brought(module(url=line.ollama), ollama)


def test_notes_that_a_crash_left_empty(ollama: Ollama, module: Module) -> None:
    models.limit("16m")
    assert ollama.plain(seconds=1).hung
    models.limit(None)
    note = until(lambda: next(ollama.blobs.glob("*-partial-0"), None), "the notes are there")
    note.write_text("")
    os.utime(note, (0, 0))
    assert ollama.plain() == ollama.plain() == Plain(1, "Error: EOF")
    result = module()
    brought(result, ollama)
    assert len(result["healed"]) == 1


@pytest.mark.parametrize(("zeroes", "verify"), [(True, "full"), (False, "size")])
def test_weights_that_went_bad(ollama: Ollama, module: Module, zeroes: bool, verify: str) -> None:
    module()
    blob = ollama.blobs / f"sha256-{weights()}"
    content = bytes(blob.stat().st_size) if zeroes else b""
    blob.write_bytes(content)
    assert ollama.plain(seconds=10) == Plain(0, "success")
    assert blob.read_bytes() == content
    result = module(verify=verify)
    assert (result["action"], len(result["healed"])) == ("heal", 1)
    whole(ollama)
    assert module(verify="full")["changed"] is False


def test_a_config_that_went_bad_hides_the_model(ollama: Ollama, module: Module) -> None:
    module()
    for blob in ollama.blobs.iterdir():
        if blob.name != f"sha256-{weights()}":
            blob.write_bytes(b"")
    assert (ollama.plain(seconds=10), ollama.models()) == (Plain(0, "success"), {})
    brought(module(), ollama)


def test_a_registry_that_cannot_send_parts(ollama: Ollama, module: Module, answer: Callable[[str], None]) -> None:
    def cut_off() -> None:
        ollama.forget()
        models.limit("16m")
        assert ollama.plain(seconds=1).hung
        models.limit(None)
        until(lambda: noted(ollama) > 0, "the notes are written")

    answer(faults.no_ranges())
    cut_off()
    assert ollama.plain(seconds=10).said.startswith("Error: digest mismatch")
    cut_off()
    brought(module(), ollama)


def test_parts_that_are_refused(ollama: Ollama, module: Module, answer: Callable[[str], None]) -> None:
    answer(faults.chunk_status(503))
    assert ollama.plain().hung
    ollama.afresh()
    one_sentence(module(retries=0), "stalled")
    answer("")
    brought(module(retries=10), ollama)


def test_a_page_to_sign_in_instead_of_the_blobs(ollama: Ollama, module: Module, answer: Callable[[str], None]) -> None:
    for headers in ("", "add_header Location $request_uri;"):
        ollama.forget()
        answer(f"{faults.BLOB} {{ default_type text/html; {headers} return 200 '{faults.PORTAL}'; }}")
        assert ollama.plain().rc == 1
        one_sentence(module(retries=0), "digest_mismatch" if headers else "registry_error")
        answer("")
        brought(module(), ollama)


def test_a_page_of_json_instead_of_the_manifest(ollama: Ollama, module: Module, answer: Callable[[str], None]) -> None:
    answer(f'{faults.MANIFEST} {{ default_type application/json; return 200 \'{{"error": "sign in"}}\'; }}')
    assert ollama.plain() == Plain(0, "success")
    assert list(ollama.models()) == [THERE]  # an empty one
    ollama.forget()
    assert models.HOST in one_sentence(module(retries=0), "not_a_registry")
    assert ollama.models() == {}


def test_a_registry_that_has_lost_a_blob(ollama: Ollama, module: Module, answer: Callable[[str], None]) -> None:
    answer(faults.status(404, faults.BLOB))
    assert ollama.plain() == Plain(1, "Error: file does not exist")
    one_sentence(module(retries=0), "registry_error")
    answer("")
    brought(module(), ollama)
