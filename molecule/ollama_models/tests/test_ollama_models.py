"""A page that runs got its models: out of a file, of its own, and one that stands in; what nobody declares is gone."""

from __future__ import annotations

import json
from typing import Any

import pytest
from testinfra.host import Host

OLLAMA = "http://127.0.0.1:11434"
WEIGHTS = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
HUB = "hub.invalid/library/llama3.2:3b"


def ask(host: Host, path: str, request: dict[str, Any]) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads(host.check_output("curl -fsS -d %s %s", json.dumps(request), OLLAMA + path))
    return answer


@pytest.fixture(scope="module")
def models(host: Host) -> dict[str, str]:
    """The models that Ollama has, name to digest."""
    listed = json.loads(host.check_output(f"curl -fsS {OLLAMA}/api/tags"))["models"]
    return {model["name"]: model["digest"] for model in listed}


@pytest.fixture(scope="module")
def record(host: Host) -> dict[str, Any]:
    recorded: dict[str, Any] = json.loads(host.file("/var/lib/llmdesk/models.json").content_string)
    return recorded


def test_what_is_there_is_what_was_declared_or_stands_in(models: dict[str, str]) -> None:
    assert set(models) == {"house:1", "smollm2:135m", "tutor:1"}


def test_both_are_the_file_that_was_given(host: Host, models: dict[str, str]) -> None:
    # Ollama writes a GGUF anew when it makes a model of it, so the file's own sha256 is not that of the layer.
    assert models["house:1"] == models["smollm2:135m"]
    shown = ask(host, "/api/show", {"model": "house:1"})
    assert shown["model_info"]["general.basename"] == "smollm2"
    assert shown["details"]["quantization_level"] == "Q4_1"


def test_the_record_says_what_came_from_the_file(models: dict[str, str], record: dict[str, Any]) -> None:
    house = record["house:1"]
    assert (house["model"], house["digest"]) == ("house:1", models["house:1"])
    assert house["source"] == f"/var/cache/llmdesk/models/{WEIGHTS}.gguf"
    assert not house["fell_back"]
    assert house["tried"] == []


def test_the_record_says_what_stands_in_and_why(models: dict[str, str], record: dict[str, Any]) -> None:
    wanted = record["llama3.2:3b"]
    assert (wanted["model"], wanted["digest"]) == ("smollm2:135m", models["smollm2:135m"])
    assert wanted["source"] == "the demo model smollm2:135m"
    assert wanted["fell_back"]
    assert [entry["source"] for entry in wanted["tried"]] == [HUB]
    assert "hub.invalid cannot be reached" in wanted["tried"][0]["error"]


def test_what_was_taken_away_is_forgotten(record: dict[str, Any]) -> None:
    assert set(record) == {"house:1", "llama3.2:3b", "tutor:1"}


def test_the_model_of_its_own_has_its_prompt_and_shares_the_weights(host: Host) -> None:
    tutor, house = (ask(host, "/api/show", {"model": name}) for name in ("tutor:1", "house:1"))
    assert tutor["system"] == "You help pupils to find the answer themselves."
    assert "temperature" in tutor["parameters"]
    assert tutor["modelfile"].split("FROM /")[1].split()[0] == house["modelfile"].split("FROM /")[1].split()[0]


def test_it_is_kept_in_memory(host: Host) -> None:
    loaded = json.loads(host.check_output(f"curl -fsS {OLLAMA}/api/ps"))["models"]
    assert "tutor:1" in [model["name"] for model in loaded]


def test_a_model_answers(host: Host) -> None:
    question = "What is the capital of France?"
    options = {"temperature": 0, "seed": 1, "num_predict": 12}
    answer = ask(host, "/api/generate", {"model": "house:1", "prompt": question, "stream": False, "options": options})
    assert "Paris" in answer["response"]
