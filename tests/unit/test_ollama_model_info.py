# SPDX-License-Identifier: GPL-3.0-or-later
"""The module ollama_model_info on answers that a real server has given."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.llmdesk.workstation.plugins.module_utils.model_name import BadName
from ansible_collections.llmdesk.workstation.plugins.module_utils.ollama import OllamaError, OllamaUnreachable
from ansible_collections.llmdesk.workstation.plugins.modules import ollama_model_info
from ansible_collections.llmdesk.workstation.plugins.modules.ollama_model_info import Info

from tests.unit.servers import Loopback, Reply, as_json, docker_socket, loopback

CAPTURED = Path(__file__).parent / "fixtures" / "ollama"
DEMO = "smollm2:135m"
LLAMA = {"name": "llama3.2:3b", "digest": "a80c4f17acd5", "size": 2019393189, "details": {"family": "llama"}}
CLOUD = {
    "name": "gpt-oss:120b-cloud",
    "digest": "569662207105",
    "size": 384,
    "remote_host": "https://ollama.com:443",
    "remote_model": "gpt-oss:120b",
}


@pytest.fixture
def server() -> Iterator[Loopback]:
    """A server with one model, which is not loaded."""
    answers = {
        "GET /api/version": as_json({"version": "0.32.15"}),
        "GET /api/tags": captured("tags-demo"),
        "GET /api/ps": captured("ps-none"),
        "POST /api/show": captured("show-demo"),
    }
    with loopback(dict(answers)) as running:
        yield running


def wanted(url: str, **more: Any) -> dict[str, Any]:
    plain = {"name": None, "details": None, "transport": "http", "container": None, "timeout": 5.0}
    return {**plain, "url": url, **more}


def captured(name: str) -> Reply:
    return Reply(body=(CAPTURED / f"{name}.json").read_text())


def lists(server: Loopback, *more: dict[str, Any]) -> None:
    """Let the server have more models than the captured one."""
    own = json.loads((CAPTURED / "tags-demo.json").read_text())["models"]
    server.answers["GET /api/tags"] = as_json({"models": [*more, *own]})


def look(server: Loopback, name: list[str] | None = None, details: bool | None = None) -> dict[str, Any]:
    return Info(wanted(server.url, name=name, details=details)).look()


def named(result: dict[str, Any]) -> list[str]:
    return [model["name"] for model in result["models"]]


def requests(server: Loopback) -> list[str]:
    return [key.split("/api/")[1] for key, _body in server.asked]


def test_all_models_cost_three_requests(server: Loopback) -> None:
    lists(server, *({**LLAMA, "name": f"llama3.2:{number:02}"} for number in range(60)))
    result = look(server)
    assert (result["changed"], result["version"], len(result["models"])) == (False, "0.32.15", 61)
    assert named(result) == sorted(named(result))
    assert requests(server) == ["version", "tags", "ps"]
    assert "template" not in result["models"][0]


def test_what_is_named_is_read(server: Loopback) -> None:
    lists(server, LLAMA)
    (model,) = look(server, [DEMO, "unknown:1"])["models"]
    assert (model["name"], model["system"], model["parameters"]) == (DEMO, "", {"stop": ["<|im_start|>", "<|im_end|>"]})
    assert requests(server) == ["version", "tags", "ps", "show"]
    assert json.loads(server.asked[-1][1]) == {"model": DEMO}


@pytest.mark.parametrize(
    ("name", "details", "shows"),
    [(None, True, 2), (None, False, 0), ([DEMO], False, 0), ([DEMO], None, 1), ([], True, 0)],
)
def test_who_wants_details_asks_for_them(server: Loopback, name: list[str], details: bool, shows: int) -> None:
    lists(server, LLAMA)
    look(server, name, details)
    assert requests(server).count("show") == shows


def test_names_are_understood_as_they_are_elsewhere(server: Loopback) -> None:
    lists(server, LLAMA, {**LLAMA, "name": "tutor:latest"})
    names = ["registry.ollama.ai/library/SmolLM2:135M", "llama:3b", "tutor", "llama3.2:3b"]
    assert named(look(server, names, details=False)) == [DEMO, "llama3.2:3b", "tutor:latest"]


def test_a_server_without_models(server: Loopback) -> None:
    server.answers["GET /api/tags"] = as_json({"models": None})
    assert look(server)["models"] == []
    assert look(server, [DEMO])["models"] == []


def test_a_model_that_is_not_loaded(server: Loopback) -> None:
    assert [model["loaded"] for model in look(server)["models"]] == [None]


def test_a_model_that_is_loaded(server: Loopback) -> None:
    server.answers["GET /api/ps"] = captured("ps-demo")
    told = json.loads((CAPTURED / "ps-demo.json").read_text())["models"][0]
    (model,) = look(server)["models"]
    assert model["loaded"] == {
        "processor": "cpu",
        "size": told["size"],
        "size_vram": 0,
        "context_length": told["context_length"],
        "expires_at": told["expires_at"],
    }


def test_everything_that_is_said_of_the_demo_model(server: Loopback) -> None:
    listed = json.loads((CAPTURED / "tags-demo.json").read_text())["models"][0]
    (model,) = look(server, [DEMO])["models"]
    template = model.pop("template")
    assert "<|im_start|>" in template
    assert model == {
        "name": DEMO,
        "digest": listed["digest"],
        "size": listed["size"],
        "family": "llama",
        "parameter_size": "134.52M",
        "parameter_count": 134515008,
        "quantization": "Q4_1",
        "context_length": 8192,
        "capabilities": ["completion"],
        "remote": None,
        "loaded": None,
        "system": "",
        "parameters": {"stop": ["<|im_start|>", "<|im_end|>"]},
        "license": "apache-2.0",
    }


def test_a_model_of_one_s_own(server: Loopback) -> None:
    server.answers["POST /api/show"] = captured("show-custom")
    (model,) = look(server, [DEMO])["models"]
    assert model["system"] == 'You are a "patient" tutor.\nAnswer in one sentence.'
    assert model["parameters"] == {"num_ctx": 1048576, "stop": ['say "stop"', "<|im_end|>\n"], "temperature": 0.2}
    assert model["license"] == "MIT License"


def test_a_model_of_a_cloud_is_said_to_be_one_and_not_asked_for(server: Loopback) -> None:
    lists(server, CLOUD)
    cloud, demo = look(server, details=True)["models"]
    assert cloud["remote"] == {"host": "https://ollama.com:443", "model": "gpt-oss:120b"}
    assert cloud["error"] == "it runs in a cloud, which is not asked"
    assert (demo["remote"], "error" in demo) == (None, False)
    assert [json.loads(body) for key, body in server.asked if key.endswith("show")] == [{"model": DEMO}]


def test_a_damaged_model_does_not_hide_the_others(server: Loopback) -> None:
    lists(server, LLAMA)
    shown = server.answers["POST /api/show"]
    assert isinstance(shown, Reply)
    broken = as_json({"error": "model 'llama3.2:3b' not found"}, 404)
    server.answers["POST /api/show"] = lambda body: broken if b"llama" in body else shown
    llama, demo = look(server, details=True)["models"]
    assert (llama["size"], llama["error"]) == (2019393189, "model 'llama3.2:3b' not found")
    assert ("system" in llama, "system" in demo) == (False, True)


def test_a_server_that_falls_silent_is_a_failure(server: Loopback) -> None:
    server.answers["POST /api/show"] = Reply(body="{", silent=True)
    with pytest.raises(OllamaUnreachable):
        Info(wanted(server.url, name=[DEMO], timeout=0.1)).look()


def test_a_bad_name_is_refused_before_anything_is_asked(server: Loopback) -> None:
    with pytest.raises(BadName):
        look(server, [DEMO, "a b"])
    assert server.asked == []


class Failed(Exception):
    """What the module said when it failed."""


def failure(monkeypatch: pytest.MonkeyPatch, params: dict[str, Any]) -> dict[str, Any]:
    """Return what the module says when it fails."""

    class Module:
        def __init__(self, **_arguments: Any) -> None:
            self.params = params

        def exit_json(self, **said: Any) -> None:
            pytest.fail(f"it did not fail: {said}")

        def fail_json(self, **said: Any) -> None:
            raise Failed(said)

    monkeypatch.setattr(ollama_model_info, "AnsibleModule", Module)
    with pytest.raises(Failed) as raised:
        ollama_model_info.main()
    return dict(raised.value.args[0])


@pytest.mark.parametrize(
    ("name", "answer", "reason", "words"),
    [
        (["a b"], None, "bad_name", "no name of a model"),
        (None, Reply(body="<!doctype html>"), "not_ollama", "is not Ollama"),
        (None, Reply(500, '{"error": "model list cache unavailable"}'), "failed", "model list cache unavailable"),
        (None, Reply(body='{"models":', cut=True), "server_unreachable", "Run './llmdesk up' to start it."),
    ],
)
def test_a_failure_has_a_reason(
    server: Loopback, monkeypatch: pytest.MonkeyPatch, name: Any, answer: Reply | None, reason: str, words: str
) -> None:
    if answer:
        server.answers["GET /api/tags"] = answer
    said = failure(monkeypatch, wanted(server.url, name=name))
    assert said["reason"] == reason
    assert words in said["msg"]


def test_a_container_is_named_where_its_ollama_does_not_answer(
    server: Loopback, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    refusal = as_json({"message": "No such container: open-webui"}, 404)
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/docker.sock")
    with docker_socket(tmp_path / "docker.sock", {"POST /containers/open-webui/exec": refusal}) as engine:
        said = failure(monkeypatch, wanted(server.url, transport="container", container="open-webui"))
    assert said["reason"] == "server_unreachable"
    assert said["msg"] == (
        "Ollama at open-webui does not answer: the container open-webui: No such container: open-webui. "
        "Run './llmdesk up' to start it."
    )
    assert (len(engine.asked), server.asked) == (1, []), "it was asked where its port is published"


def test_a_container_is_only_a_name_where_the_address_is_reached(server: Loopback) -> None:
    result = Info(wanted(server.url, container="open-webui")).look()
    assert named(result) == [DEMO]


def test_nobody_answers() -> None:
    with pytest.raises(OllamaError, match="refused"):
        Info(wanted("http://127.0.0.1:1")).look()
