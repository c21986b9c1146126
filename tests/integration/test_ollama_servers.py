# SPDX-License-Identifier: GPL-3.0-or-later
"""What the module does to a model, on the server of a desk, on the newest, and on one of a year ago."""

from __future__ import annotations

import json
import os
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.llmdesk.workstation.plugins.module_utils.demo_model import DEMO
from docker.models.containers import Container

from lab import cache, faults, models
from tests.integration import rig
from tests.integration.conftest import prepare
from tests.integration.rig import (
    THERE,
    TINY,
    Module,
    Ollama,
    Plain,
    brought,
    one_sentence,
    sent,
    size,
    until,
    weights,
    whole,
)

NAME = "own:1"
DEAD = f"{rig.DEAD}/library/tiny:1"


@pytest.fixture(params=["server", "old_server", "newest_server"])
def ollama(request: pytest.FixtureRequest, line: faults.Line) -> Iterator[Ollama]:
    """One of the servers, without models, and a registry that serves as fast as it can."""
    chosen: Ollama = request.getfixturevalue(request.param)
    prepare(chosen, line)
    yield chosen


@pytest.fixture
def file() -> dict[str, str]:
    return {"from_file": str(models.demo()), "sha256": DEMO["sha256"]}


def show(ollama: Ollama, name: str = NAME) -> dict[str, Any]:
    request = urllib.request.Request(f"{ollama.url}/api/show", json.dumps({"model": name}).encode())
    with urllib.request.urlopen(request, timeout=30) as response:
        answer: dict[str, Any] = json.load(response)
        return answer


def running(ollama: Ollama) -> list[str]:
    with urllib.request.urlopen(f"{ollama.url}/api/ps", timeout=30) as response:
        return [model["name"] for model in json.load(response)["models"]]


def test_a_model_is_pulled_once(ollama: Ollama, module: Module) -> None:
    would = module(check=True)
    assert (would["changed"], would["action"], would["bytes"], ollama.models()) == (True, "pull", size(), {})
    first = module()
    brought(first, ollama)
    assert (first["action"], first["bytes"], first["source"]) == ("pull", size(), THERE)
    models.forget()
    second = module()
    assert (second["changed"], second["action"], second["model"]) == (False, "nothing", first["model"])
    assert models.asked() == []  # and no registry is asked


def test_the_latest_is_pulled_when_the_registry_has_another(ollama: Ollama, module: Module) -> None:
    name = models.push("library/tiny:moving", models.demo())
    brought(module(name, state="latest"), ollama, name)
    assert module(name, state="latest")["changed"] is False
    if ollama.exact:
        models.push("library/tiny:moving", models.demo(), lie=-1)  # another manifest over the same weights
        assert module(name, state="latest", check=True)["action"] == "pull"


def test_a_pinned_model_is_that_one_or_none(ollama: Ollama, module: Module) -> None:
    right = models.digest("library/tiny:1")
    message = one_sentence(module(sources=[{"name": THERE, "digest": "0" * 64}]), "digest_mismatch")
    assert right in message
    assert ollama.models() == {}
    brought(module(sources=[{"name": THERE, "digest": right}]), ollama)
    assert module(sources=[{"name": THERE, "digest": right}])["changed"] is False


def test_a_mirror_brings_it_under_the_name_that_is_wanted(ollama: Ollama, module: Module) -> None:
    result = module(TINY, sources=[{"name": THERE}])
    assert (result["changed"], result["model"]["name"], list(ollama.models())) == (True, TINY, [TINY])
    assert module(TINY, sources=[{"name": THERE}])["changed"] is False


def test_a_file_becomes_a_model_once(ollama: Ollama, module: Module, file: dict[str, str]) -> None:
    first = module(NAME, sources=[file])
    assert (first["changed"], first["model"]["digest"]) == (True, ollama.models()[NAME])
    assert module(NAME, sources=[file])["changed"] is False


def test_a_file_that_is_not_the_one_that_was_meant_changes_nothing(
    ollama: Ollama, module: Module, file: dict[str, str]
) -> None:
    path = file["from_file"]
    said = f"{path}: the sha256 of {path} is {DEMO['sha256']}, not {'0' * 64}; nothing was changed."
    message = one_sentence(module(NAME, sources=[{**file, "sha256": "0" * 64}]), "bad_file")
    assert message == f"{NAME} could not be had: {said}"
    one_sentence(module(NAME, sources=[{"from_file": "/etc/hostname", "sha256": "0" * 64}]), "not_gguf")
    assert ollama.models() == {}


def test_a_declared_model_is_made_once_and_made_anew_when_it_is_other(ollama: Ollama, module: Module) -> None:
    create = {"from": THERE, "system": "Be brief.", "parameters": {"temperature": 0.25, "stop": ["<|im_end|>", "\n"]}}
    first = module(NAME, create=create)
    assert (first["changed"], first["action"], show(ollama)["system"]) == (True, "create", "Be brief.")
    assert module(NAME, create=create)["changed"] is False
    other = {**create, "system": "Be long."}
    assert module(NAME, create=other)["action"] == "create"
    assert show(ollama)["system"] == "Be long."


def test_absent_is_removed_once(ollama: Ollama, module: Module, file: dict[str, str]) -> None:
    module(NAME, sources=[file])
    there = ollama.models()
    would = module(NAME, state="absent", check=True)
    assert (would["changed"], would["action"], ollama.models()) == (True, "delete", there)
    assert (would["diff"]["before"][NAME]["digest"], would["diff"]["after"]) == (there[NAME], {NAME: None})
    assert (module(NAME, state="absent")["changed"], ollama.models()) == (True, {})
    assert module(NAME, state="absent")["changed"] is False


def test_two_pulls_at_once_share_one_download(ollama: Ollama, module: Module, registry: Container) -> None:
    models.limit("16m")
    before = sent(registry)
    for result in [module.finish(process) for process in [module.start(), module.start()]]:
        brought(result, ollama)
    assert sent(registry) - before < 1.5 * size()


def test_one_of_two_pulls_that_is_cancelled_leaves_the_other(ollama: Ollama, module: Module, tmp_path: Path) -> None:
    models.limit("16m")
    files = [tmp_path / "first", tmp_path / "second"]
    for file in files:
        file.with_suffix(".lease").touch()
    first, second = [module.start(progress_file=str(file)) for file in files]
    until(lambda: all(file.exists() and json.loads(file.read_text())["completed"] for file in files), "both pull")
    files[0].with_suffix(".lease").unlink()
    one_sentence(module.finish(first), "cancelled")
    brought(module.finish(second), ollama)


def test_a_module_that_is_killed_is_carried_on(ollama: Ollama, module: Module, registry: Container) -> None:
    models.limit("16m")
    ended = ollama.pulls_ended()
    process = module.start()
    until(lambda: ollama.fetched() > 40_000_000, "the pull is under way")
    process.kill()
    process.communicate()
    until(lambda: ollama.pulls_ended() > ended, "the server has noticed")
    models.limit(None)
    before = sent(registry)
    brought(module(), ollama)
    assert sent(registry) - before < size() - 20_000_000


def test_a_model_is_loaded_and_unloaded_once(ollama: Ollama, module: Module, file: dict[str, str]) -> None:
    module(NAME, sources=[file])
    # A large model comes slowly off a slow disk, without a word: that is no stall.
    assert (module(NAME, loaded=True, stall_timeout=0.2)["changed"], running(ollama)) == (True, [NAME])
    assert module(NAME, sources=[file], loaded=True)["changed"] is False
    assert module(NAME, sources=[file], loaded=False)["changed"] is True
    until(lambda: running(ollama) == [], "it is out of memory")


def test_weights_that_went_bad_are_brought_anew(ollama: Ollama, module: Module) -> None:
    module()
    spoilt = ollama.blobs / f"sha256-{weights()}"
    spoilt.write_bytes(bytes(spoilt.stat().st_size))
    assert ollama.plain(seconds=15) == Plain(0, "success")
    result = module(verify="full")
    assert (result["action"], result["changed"], len(result["healed"])) == ("heal", True, 1)
    whole(ollama)


def test_a_pull_that_was_cut_off_with_its_server_is_carried_on(ollama: Ollama, module: Module) -> None:
    models.limit("16m")
    process = module.start()
    until(lambda: ollama.fetched() > 20_000_000, "the pull is under way")
    models.limit(None)
    ollama.kill()
    ollama.start()
    brought(module.finish(process), ollama)


def test_notes_that_a_crash_left_empty_are_taken_away(ollama: Ollama, module: Module) -> None:
    ollama.blobs.mkdir(exist_ok=True)
    note = ollama.blobs / f"sha256-{weights()}-partial-0"
    note.touch()
    os.utime(note, (0, 0))
    assert ollama.plain() == Plain(1, "Error: EOF")
    brought(module(), ollama)


def test_a_tag_that_does_not_exist_is_one_clear_error(ollama: Ollama, module: Module) -> None:
    name = f"{THERE[:-1]}nope"
    assert ollama.plain(name) == Plain(1, "Error: pull model manifest: file does not exist")
    assert one_sentence(module(name, sources=[{"name": name}, {"demo": True}]), "not_found") == (
        f"{name} could not be had: {models.HOST} has no such model; "
        f"its tags stand at https://{models.HOST}/v2/library/tiny/tags/list."
    )
    assert ollama.models() == {}


def test_a_registry_that_knows_nobody(ollama: Ollama, module: Module) -> None:
    models.answer(faults.status(401))
    try:
        assert ollama.plain().rc == 1
        assert models.HOST in one_sentence(module(), "unauthorized")
    finally:
        models.answer("")
    brought(module(), ollama)


def test_a_dead_registry_costs_seconds_and_the_next_one_serves(ollama: Ollama, module: Module) -> None:
    result = module(TINY, sources=[{"name": DEAD}, {"name": THERE}], timeout_connect=1)
    assert (result["source"], result["fell_back"]) == (THERE, False)
    assert [(entry["source"], entry["reason"]) for entry in result["tried"]] == [(DEAD, "unreachable")]
    assert list(ollama.models()) == [TINY]  # under the name that was asked for, and no other


def test_the_demo_stands_in_where_nobody_answers_and_that_is_said(ollama: Ollama, module: Module) -> None:
    folder = str(cache.folder("desk"))
    result = module(TINY, sources=[{"name": DEAD}, {"demo": True}], cache_dir=folder, timeout_connect=1)
    assert (result["fell_back"], result["model"]["name"]) == (True, DEMO["name"])
    assert [entry["source"] for entry in result["tried"]] == [DEAD]
    assert rig.DEAD in result["tried"][0]["error"]
    assert list(ollama.models()) == [DEMO["name"]]


def test_the_spelling_of_the_walk_through_is_understood_and_noted(
    ollama: Ollama, module: Module, file: dict[str, str]
) -> None:
    result = module("llama:3b", sources=[file])
    assert result["model"]["name"] == "llama3.2:3b"
    assert result["note"] == "llama:3b is no tag that exists; llama3.2:3b was meant and is used"
