# SPDX-License-Identifier: GPL-3.0-or-later
"""The module through the Docker socket, to an Ollama whose port is not published, and models that are declared."""

from __future__ import annotations

import json
import subprocess
import urllib.request
from typing import Any

import pytest
from ansible_collections.llmdesk.workstation.plugins.module_utils.ollama import Ollama as Client
from ansible_collections.llmdesk.workstation.plugins.module_utils.ollama import OllamaUnreachable
from docker.models.containers import Container

from lab import faults, models
from tests.integration.rig import THERE, WEIGHTS, Module, Ollama, reach, size, until, whole


@pytest.fixture
def inside(ollama: Ollama, line: faults.Line, tmp_path: Any) -> Module:
    """The module, which finds nobody under its address and talks through the container."""
    return Module(
        tmp_path, line.address, **{**reach(ollama), "transport": "container", "url": "http://127.0.0.1:11434"}
    )


def bridges(ollama: Ollama) -> list[str]:
    """Return what is at work in the container besides Ollama."""
    titles = ollama.container.top()["Processes"]
    return [process[-1] for process in titles if "ollama" not in process[-1]]


def test_a_pull_and_a_file_come_through_the_docker_socket(inside: Module, ollama: Ollama) -> None:
    first = inside(THERE)
    assert (first["changed"], first["action"], first["bytes"]) == (True, "pull", size())
    assert first["model"]["digest"] == whole(ollama)
    again = inside(THERE)
    assert (again["changed"], again["action"]) == (False, "nothing")
    ollama.forget()
    file = inside("own:1", sources=[{"from_file": str(models.demo()), "sha256": WEIGHTS}])
    assert (file["changed"], list(ollama.models())) == (True, ["own:1"])
    until(lambda: bridges(ollama) == [], "nothing is left at work in the container", 5)


def test_a_killed_module_leaves_nothing_at_work_in_the_container(inside: Module, ollama: Ollama) -> None:
    models.limit("2m")
    process = inside.start(THERE)
    until(lambda: ollama.fetched() > 1_000_000, "the pull is under way")
    assert bridges(ollama)
    process.kill()
    process.communicate()
    until(lambda: bridges(ollama) == [], "nothing is left at work in the container", 10)
    ended = ollama.pulls_ended()
    assert ended, "Ollama was not told that its client has left"


def test_an_ollama_that_dies_is_noticed_at_once(ollama: Ollama) -> None:
    with pytest.raises(OllamaUnreachable, match=r"No such container: llmdesk-nobody"):
        Client("http://127.0.0.1:11434", 5, "llmdesk-nobody").version()
    with pytest.raises(OllamaUnreachable, match="Connection refused"):
        Client("http://127.0.0.1:1", 5, ollama.name).version()


TUTOR = {
    "from": "base:1",
    "system": "You help pupils.",
    "parameters": {"temperature": 0.3, "num_ctx": "1048576", "stop": "Pupil:"},
    "messages": [{"role": "user", "content": "Who are you?"}, {"role": "assistant", "content": "A tutor."}],
}


def shown(ollama: Ollama, name: str) -> Any:
    request = urllib.request.Request(f"{ollama.url}/api/show", json.dumps({"model": name}).encode())
    with urllib.request.urlopen(request, timeout=10) as response:
        return json.load(response)


def test_a_declared_model_is_made_once_and_anew_when_it_differs(module: Module, ollama: Ollama) -> None:
    base: dict[str, Any] = {"sources": [{"from_file": str(models.demo()), "sha256": WEIGHTS}]}
    would = module("tutor:1", check=True, create=TUTOR, **base)
    assert (would["action"], would["changed"], ollama.models()) == ("create", True, {})
    made = module("tutor:1", create=TUTOR, **base)
    assert (made["action"], made["source"], made["chat"]) == ("create", str(models.demo()), "")
    assert sorted(ollama.models()) == ["base:1", "tutor:1"]
    assert shown(ollama, "tutor:1")["system"] == TUTOR["system"]
    assert module("tutor:1", create=TUTOR, **base)["action"] == "nothing"
    other = {**TUTOR, "system": "Be brief.", "parameters": {"temperature": 0.5}}
    again = module("tutor:1", create=other)
    assert (again["changed"], again["why"]) == (True, "other than declared: system, parameters")
    assert module("tutor:1", create=other)["changed"] is False


def test_a_declared_model_of_a_file(module: Module, ollama: Ollama) -> None:
    wanted: dict[str, Any] = {
        "create": {"system": "Be brief.", "template": "{{ .System }}{{ .Prompt }}"},
        "sources": [{"from_file": str(models.demo()), "sha256": WEIGHTS}],
    }
    assert module("house:1", **wanted)["changed"] is True
    assert shown(ollama, "house:1")["template"] == "{{ .System }}{{ .Prompt }}"
    assert module("house:1", **wanted)["action"] == "nothing"


def test_what_cannot_be_made_is_one_sentence_and_changes_nothing(module: Module, ollama: Ollama) -> None:
    failed = module("tutor:1", create={**TUTOR, "parameters": {"num_ctx": "many"}})
    assert failed["reason"] == "bad_parameters"
    assert failed["msg"] == "the parameter num_ctx is a whole number, and not 'many'"
    failed = module("tutor:1", create={"from": "nobody-has-this:1"}, sources=[{"name": f"{models.HOST}/library/no:1"}])
    assert (failed["reason"], ollama.models()) == ("not_found", {})


def test_a_model_is_loaded_and_taken_out_of_memory(module: Module, ollama: Ollama) -> None:
    file = [{"from_file": str(models.demo()), "sha256": WEIGHTS}]
    would = module("own:1", check=True, sources=file, loaded=True)
    assert would["changed"] is True
    loaded = module("own:1", sources=file, loaded=True, keep_alive="30m")
    assert loaded["diff"]["after"]["own:1"]["loaded"] is True
    assert module("own:1", loaded=True)["changed"] is False
    assert module("own:1", loaded=False)["changed"] is True
    assert module("own:1", loaded=False)["changed"] is False


def test_latest_asks_the_registry_and_pulls_only_what_is_newer(
    module: Module, ollama: Ollama, registry: Container
) -> None:
    name = f"{models.HOST}/library/moving:1"
    models.push("library/moving:1", models.demo())
    module(name)
    before = whole(ollama, name)
    same = module(name, state="latest")
    assert (same["changed"], same["action"], same["why"]) == (False, "nothing", "it is here")
    made_here = module("own:1", state="latest", sources=[{"from_file": str(models.demo()), "sha256": WEIGHTS}])
    assert made_here["changed"] is True
    kept = module("own:1", state="latest", sources=[{"name": f"{models.HOST}/library/own:1"}])
    assert (kept["changed"], kept["note"]) == (False, "no registry has own:1, so it was made here and stays as it is")
    failed = module(name, state="latest", sources=[{"name": "dead.lab.test/library/moving:1"}])
    assert (failed["reason"], ollama.models()[name]) == ("unreachable", before)


def test_what_ollama_pushes_is_what_it_has(module: Module, ollama: Ollama) -> None:
    # A manifest that was written here ends in a line feed, which the push strips: the digests differ, the model not.
    name = f"{models.HOST}/library/pushed:1"
    module(name, sources=[{"from_file": str(models.demo()), "sha256": WEIGHTS}])
    pushed = ollama.container.exec_run(["ollama", "push", name])
    assert pushed.exit_code == 0, bytes(pushed.output).decode()  # type: ignore[arg-type]
    assert module(name, state="latest")["action"] == "nothing"


def test_a_pin_makes_a_mirror_usable_that_nobody_trusts(module: Module, ollama: Ollama, registry: Container) -> None:
    right = models.digest("library/tiny:1")
    failed = module("tiny:1", sources=[{"name": THERE, "digest": "0" * 64}])
    assert failed["reason"] == "digest_mismatch"
    assert failed["msg"].endswith(f"has the digest {right}, and {'0' * 64} is pinned; nothing was pulled.")
    assert ollama.models() == {}
    brought = module("tiny:1", sources=[{"name": THERE, "digest": right}])
    assert (brought["model"]["digest"], list(ollama.models())) == (right, ["tiny:1"])
    assert module("tiny:1", sources=[{"name": THERE, "digest": right}])["action"] == "nothing"


def test_a_name_that_a_killed_run_left_is_used(module: Module, ollama: Ollama) -> None:
    module(THERE)
    copied = module("tiny:1", sources=[{"name": THERE}])
    assert (copied["action"], list(ollama.models())) == ("copy", ["tiny:1"])


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("host:5000/tiny", "bad_name"),
        ("a.b/tiny", "bad_name"),
        ("tiny@sha256:0", "bad_name"),
        ("gpt:cloud", "cloud_only"),
    ],
)
def test_a_name_that_cannot_be_is_one_sentence(module: Module, name: str, reason: str) -> None:
    failed = module(name)
    assert (failed["reason"], failed["msg"].count(". ")) == (reason, 1)


def test_a_file_that_is_no_gguf_and_a_server_that_is_no_ollama(
    module: Module, ollama: Ollama, tmp_path: Any, registry: Container
) -> None:
    (tmp_path / "page.gguf").write_text("<!doctype html>")
    failed = module("own:1", sources=[{"from_file": str(tmp_path / "page.gguf"), "sha256": "0" * 64}])
    assert (failed["reason"], ollama.models()) == ("not_gguf", {})
    other = subprocess.Popen(
        ["python3", "-m", "http.server", "--bind", "127.0.0.1", "0"], cwd=tmp_path, stdout=subprocess.PIPE, text=True
    )
    try:
        assert other.stdout is not None
        port = other.stdout.readline().split(" port ")[1].split()[0]
        assert module("own:1", url=f"http://127.0.0.1:{port}", container=None)["reason"] == "not_ollama"
    finally:
        other.kill()
        other.communicate()
