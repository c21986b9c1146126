# SPDX-License-Identifier: GPL-3.0-or-later
"""What ``auto`` stands for, how long it does, and what is said of declared models that do not fit."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.llmdesk.workstation.plugins.filter.fit import FilterModule
from ansible_collections.llmdesk.workstation.plugins.module_utils.fit import GIB, MIB
from ansible_collections.llmdesk.workstation.plugins.module_utils.model_choice import (
    choose,
    errors,
    resolved,
    table,
    warnings,
)
from ansible_collections.llmdesk.workstation.plugins.module_utils.model_plan import models_plan, models_record
from ansible_collections.llmdesk.workstation.plugins.plugin_utils.catalogue import catalogue

from tests.unit.test_fit import card, cards, desk

ONE = cards("one")  # 12 GB


@pytest.mark.parametrize(
    ("gpus", "memory", "cores", "name"),
    [
        ([], 16 * GIB, 8, "qwen3:1.7b"),
        ([], 16 * GIB, 2, "qwen3:0.6b"),
        ([], 5 * GIB // 2, 2, "smollm2:135m"),
        (cards("two")[1:], 16 * GIB, 8, "llama3.2:3b"),  # 4 GB: all of it on the card, and not the half of a larger one
        ([card(8188 * MIB)], 16 * GIB, 8, "qwen3.5:9b"),
        (ONE, 16 * GIB, 8, "qwen3:14b"),
        ([card(16376 * MIB)], 32 * GIB, 8, "gpt-oss:20b"),
        ([card(24564 * MIB)], 64 * GIB, 8, "qwen3.5:27b"),
        (cards("two"), 64 * GIB, 8, "qwen3.5:35b"),
        (cards("unified-memory"), 120 * GIB, 20, "gpt-oss:120b"),
    ],
)
def test_auto_is_the_best_that_fits(gpus: Any, memory: int, cores: int, name: str) -> None:
    chosen = choose(desk(gpus, memory, cores), catalogue())
    assert chosen["name"] == name
    assert chosen["reason"].startswith("of 16 models of the catalogue it is the best that fits: ")


def test_auto_is_nothing_that_the_disk_has_no_room_for() -> None:
    small = [{"path": "/var/lib/docker", "mount": "/", "available": 8 * GIB}]
    assert choose(desk(ONE, disk=small), catalogue())["name"] == "gemma4:12b"
    fresh = [{"path": "/var/lib/docker", "mount": "/", "available": 18 * GIB}]
    assert choose(desk(ONE, disk=fresh, image=None), catalogue())["name"] == "qwen3:8b"
    there = {"state": "answers", "models": [{"name": "qwen3:14b", "digest": "d", "size": 9276198565}]}
    assert choose(desk(ONE, disk=small, ollama=there), catalogue())["name"] == "qwen3:14b"


def test_nothing_fits_a_desk_that_is_too_small() -> None:
    assert choose(desk(memory=GIB), catalogue()) == {"name": "", "reason": ""}
    (error,) = errors(desk(memory=GIB), {"models": ["auto"], "fit": "ignore"}, catalogue())
    assert error.startswith("ollama_models: auto finds no model of its catalogue that fits this desk, which has 1.1 GB")


def test_a_name_stands_in_the_place_of_auto() -> None:
    entries = resolved(desk(ONE), ["gemma3:4b", {"name": "auto", "loaded": True}], catalogue())
    assert entries[0] == "gemma3:4b"
    assert {**entries[1], "auto": ""} == {"name": "qwen3:14b", "loaded": True, "auto": ""}
    assert "10.1 GB of 11.3 GB" in entries[1]["auto"]


@pytest.mark.parametrize(
    ("declared", "names"),
    [
        (["a:1", "b:1"], ["a:1", "b:1"]),
        (["auto", "auto"], ["qwen3:14b"]),
        (["qwen3:14b", "auto"], ["qwen3:14b"]),
        (["auto", {"name": "library/qwen3:14b"}], ["library/qwen3:14b"]),
        (["auto", {"name": "qwen3:14b", "state": "absent"}], ["gemma4:12b", "qwen3:14b"]),
        (["auto", "no name at all"], ["qwen3:14b", "no name at all"]),
    ],
)
def test_auto_among_others(declared: list[Any], names: list[str]) -> None:
    found = resolved(desk(ONE), declared, catalogue())
    assert [entry["name"] if isinstance(entry, dict) else entry for entry in found] == names


def chosen_before(name: str, **entry: Any) -> dict[str, Any]:
    return {"models": {name: {"model": name, "auto": "it was the best", **entry}}}


def test_a_choice_stays_until_it_does_not_fit_or_somebody_asks() -> None:
    facts = desk(ONE, record=chosen_before("qwen3:8b"))
    assert resolved(facts, ["auto"], catalogue()) == [{"name": "qwen3:8b", "auto": "it was the best"}]
    (anew,) = resolved(facts, ["auto"], catalogue(), again=True)
    assert anew["name"] == "qwen3:14b"
    (smaller,) = resolved(desk(memory=5 * GIB, record=chosen_before("qwen3:8b")), ["auto"], catalogue())
    assert smaller["name"] == "qwen3:1.7b"
    (other,) = resolved(facts, ["auto", {"name": "qwen3:8b", "state": "absent"}], catalogue())[:1]
    assert other["name"] == "qwen3:14b"


def test_a_choice_that_left_the_catalogue_stays() -> None:
    facts = desk(ONE, record=chosen_before("gone:1"))
    assert resolved(facts, ["auto"], catalogue())[0]["name"] == "gone:1"


def test_a_second_run_finds_nothing_to_do() -> None:
    facts = desk(ONE)
    entries = resolved(facts, ["auto"], catalogue())
    first = models_plan(facts, {"models": entries})
    assert ([entry["name"] for entry in first["models"]], first["act"]) == (["qwen3:14b"], True)
    assert first["chosen"][0].startswith("qwen3:14b is what auto stands for: of 16 models")
    brought = {
        "invocation": {"module_args": {"name": "qwen3:14b"}},
        "model": {"name": "qwen3:14b", "digest": "d"},
        "source": "qwen3:14b",
        "fell_back": False,
        "tried": [],
        "note": "",
    }
    record = models_record(None, [brought], entries)
    assert record["qwen3:14b"]["auto"] == entries[0]["auto"]
    # The model is loaded now and takes the card's memory; an update has brought a better one into the catalogue.
    there = {"state": "answers", "models": [{"name": "qwen3:14b", "digest": "d", "size": 9276198565, "loaded": True}]}
    after = desk(ONE, ollama=there, record={"models": record})
    better = [*catalogue(), {"name": "better:1", "rank": 99, "weights": 9 * 10**9}]
    again = resolved(after, ["auto"], better)
    assert again == entries
    assert models_plan(after, {"models": again}) == {"act": False, "models": [], "chosen": first["chosen"]}


def test_a_choice_that_is_here_already_is_recorded() -> None:
    there = {"state": "answers", "models": [{"name": "qwen3:14b", "digest": "d", "size": 1}]}
    facts = desk(ONE, ollama=there)
    entries = resolved(facts, ["auto"], catalogue())
    plan = models_plan(facts, {"models": entries})
    assert (plan["act"], plan["models"]) == (True, [])
    record = models_record({}, [], entries)
    assert record == {"qwen3:14b": {"model": "qwen3:14b", "auto": entries[0]["auto"]}}
    assert models_plan(desk(ONE, ollama=there, record={"models": record}), {"models": entries})["act"] is False


def test_what_stands_in_for_a_choice_keeps_it() -> None:
    demo = {"name": "smollm2:135m", "digest": "d", "size": 98363302}
    facts = desk(ONE, ollama={"state": "answers", "models": [demo]})
    entries = resolved(facts, ["auto"], catalogue())
    fell_back = {
        "invocation": {"module_args": {"name": "qwen3:14b"}},
        "model": {"name": "smollm2:135m", "digest": "d"},
        "source": "demo",
        "fell_back": True,
        "tried": [],
        "note": "",
    }
    record = models_record(None, [fell_back], entries)
    after = desk(ONE, ollama=facts["ollama"], record={"models": record})
    assert models_plan(after, {"models": resolved(after, ["auto"], catalogue())})["act"] is False


# --- Declared models that do not fit --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mode", "stopped", "said"),
    [("warn", [], ["llama3.3:70b", "gpt-oss:20b"]), ("enforce", ["llama3.3:70b"], ["gpt-oss:20b"]), ("ignore", [], [])],
)
def test_a_model_that_does_not_fit_is_said_or_stops_the_run(mode: str, stopped: list[str], said: list[str]) -> None:
    declared = ["qwen3:8b", "llama3.3:70b", {"name": "gpt-oss:20b"}, {"name": "qwen3:32b", "state": "absent"}, "auto"]
    wanted = {"models": declared, "fit": mode}
    assert [line.split()[0] for line in errors(desk(ONE), wanted, catalogue())] == stopped
    assert [line.split()[0] for line in warnings(desk(ONE), wanted, catalogue())] == said


def test_the_sentence_has_the_number_and_what_to_do() -> None:
    (line,) = warnings(desk(ONE), {"models": ["llama3.3:70b"], "fit": "warn"}, catalogue())
    assert line == (
        "llama3.3:70b does not fit this desk: it needs 44.2 GB, and this desk has 25.8 GB for a model. It would take "
        "18.3 GB more memory, or a smaller model. './llmdesk fit' shows what fits; ollama_models_fit: ignore takes it "
        "without a word."
    )


def test_what_answers_slowly_on_a_cpu_fits() -> None:
    wanted = {"models": ["llama3.2:3b"], "fit": "warn"}
    assert warnings(desk(), wanted, catalogue()) == []


@pytest.mark.parametrize("declared", ["nobody/knows:1", "no name at all", "gpt-oss:120b-cloud"])
def test_what_nobody_knows_is_not_judged(declared: str) -> None:
    for mode in ("warn", "enforce"):
        wanted = {"models": [declared], "fit": mode}
        assert errors(desk(ONE), wanted, catalogue()) == warnings(desk(ONE), wanted, catalogue()) == []


def test_a_model_that_is_here_is_judged_by_its_bytes() -> None:
    there = {"state": "answers", "models": [{"name": "someone/tuned:1", "digest": "d", "size": 60 * 10**9}]}
    (line,) = errors(desk(ONE, ollama=there), {"models": ["someone/tuned:1"], "fit": "enforce"}, catalogue())
    assert "someone/tuned:1 does not fit this desk" in line
    assert "(guessed from its bytes)" in line


def test_a_model_of_ones_own_is_judged_by_its_base_and_its_context() -> None:
    tutor: dict[str, Any] = {"name": "tutor:1", "create": {"from": "qwen3:14b", "system": "Be patient."}}
    wanted = {"models": [tutor], "fit": "warn"}
    assert warnings(desk(ONE), wanted, catalogue()) == []
    tutor["create"]["parameters"] = {"num_ctx": 32768}
    (line,) = warnings(desk(ONE), wanted, catalogue())
    assert line.startswith("tutor:1 does not fit the GPU of this desk: 31 of its 41 layers fit")
    assert "at a context of 32768" in line


@pytest.mark.parametrize("extra", [{"sources": [{"demo": True}]}, {"create": {"from": "a:1"}}])
def test_auto_has_nothing_that_belongs_to_one_model(extra: dict[str, Any]) -> None:
    (error,) = errors(desk(ONE), {"models": [{"name": "auto", **extra}], "fit": "warn"}, catalogue())
    assert error == f"ollama_models: auto cannot have {next(iter(extra))}, which belong to one model. Name that model."


def test_tasks_have_filters_for_all_of_it() -> None:
    filters = FilterModule().filters()
    assert filters["models_resolved"](desk(ONE), ["auto"])[0]["name"] == "qwen3:14b"
    assert filters["fit"](desk(ONE)) == table(desk(ONE), [], catalogue())
