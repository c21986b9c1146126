# SPDX-License-Identifier: GPL-3.0-or-later
"""Names of models, and which models a desk needs."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.llmdesk.workstation.plugins.module_utils.model_plan import (
    BadName,
    canonical,
    declared,
    models_plan,
    models_record,
    note,
    registry,
)


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("llama3.2:3b", "llama3.2:3b"),
        ("llama3.2", "llama3.2:latest"),
        (" llama3.2:3b\n", "llama3.2:3b"),
        ("llama:3b", "llama3.2:3b"),
        ("library/llama3.2:3b", "llama3.2:3b"),
        ("registry.ollama.ai/library/llama3.2:3b", "llama3.2:3b"),
        ("registry.ollama.ai/someone/tuned:1b", "someone/tuned:1b"),
        ("someone/tuned", "someone/tuned:latest"),
        ("hf.co/bartowski/Llama-3.2-1B-Instruct-GGUF:Q4_K_M", "hf.co/bartowski/Llama-3.2-1B-Instruct-GGUF:Q4_K_M"),
        ("models.example.com:5000/library/tiny", "models.example.com:5000/library/tiny:latest"),
    ],
)
def test_a_name_as_ollama_lists_it(name: str, shown: str) -> None:
    assert canonical(name) == shown
    assert canonical(shown) == shown


@pytest.mark.parametrize(
    "name", ["", " ", "a b", "host:5000/tiny:1", "a/b/c/d", "tiny@sha256:1", "http://x/y", ":3b", "-x"]
)
def test_what_is_no_name(name: str) -> None:
    with pytest.raises(BadName, match="is no name of a model"):
        canonical(name)


@pytest.mark.parametrize(
    ("name", "host"),
    [
        ("llama3.2:3b", "registry.ollama.ai"),
        ("someone/tuned", "registry.ollama.ai"),
        ("hf.co/bartowski/x:Q4", "hf.co"),
        ("models.example.com:5000/library/tiny", "models.example.com:5000"),
    ],
)
def test_where_a_name_is_pulled_from(name: str, host: str) -> None:
    assert registry(name) == host


def test_a_spelling_of_walk_throughs_is_taken_and_said() -> None:
    assert note("llama:3b") == "llama:3b is no tag that exists; llama3.2:3b was meant and is used"
    assert note("llama3.2:3b") == ""


def test_a_model_is_declared_by_its_name_alone_or_in_full() -> None:
    assert declared("a:1") == {"name": "a:1", "state": "present", "sources": [{"name": "a:1"}, {"demo": True}]}
    full = {"name": "a:1", "state": "absent", "sources": [{"file": "/x.gguf", "sha256": "0"}]}
    assert declared(full) == full


def needed(models: list[Any], present: dict[str, str], recorded: Any = None, retry: bool = False) -> dict[str, str]:
    """Return the models that need something, with the reasons."""
    desk = {
        "ollama": {"models": [{"name": name, "digest": digest, "size": 1} for name, digest in present.items()]},
        "record": {"models": recorded},
    }
    plan = models_plan(desk, {"models": models, "retry_sources": retry})
    assert plan["act"] is bool(plan["models"])
    return {entry["name"]: entry["reason"] for entry in plan["models"]}


STANDS_IN = {"llama3.2:3b": {"model": "smollm2:135m", "digest": "d", "fell_back": True}}


@pytest.mark.parametrize(
    ("models", "present", "recorded", "retry", "expected"),
    [
        (["llama3.2:3b"], {"llama3.2:3b": "d"}, None, False, {}),
        (["llama3.2:3b"], {}, None, False, {"llama3.2:3b": "is not here"}),
        (["llama:3b"], {"llama3.2:3b": "d"}, None, False, {}),
        (["llama3.2"], {"llama3.2:3b": "d"}, None, False, {"llama3.2": "is not here"}),
        ([{"name": "a:1", "state": "absent"}], {"a:1": "d"}, None, False, {"a:1": "is here and should not be"}),
        ([{"name": "a:1", "state": "absent"}], {}, None, False, {}),
        # a fall-back converges
        (["llama3.2:3b"], {"smollm2:135m": "d"}, STANDS_IN, False, {}),
        (["llama3.2:3b"], {"smollm2:135m": "d"}, STANDS_IN, True, {"llama3.2:3b": "smollm2:135m stands in for it"}),
        # but only while what stands in is what was recorded
        (["llama3.2:3b"], {"smollm2:135m": "other"}, STANDS_IN, False, {"llama3.2:3b": "is not here"}),
        (["llama3.2:3b"], {}, STANDS_IN, False, {"llama3.2:3b": "is not here"}),
        (["b:1", "a:1"], {}, None, False, {"b:1": "is not here", "a:1": "is not here"}),
    ],
)
def test_which_models_need_something(
    models: list[Any], present: dict[str, str], recorded: Any, retry: bool, expected: dict[str, str]
) -> None:
    found = needed(models, present, recorded, retry)
    assert found == expected
    assert list(found) == list(expected), "in the declared order"


def result(name: str, **more: Any) -> dict[str, Any]:
    return {
        "invocation": {"module_args": {"name": name}},
        "source": "a mirror",
        "fell_back": False,
        "tried": [],
        "note": "",
        **more,
    }


def test_the_record_says_what_stands_for_what() -> None:
    tried = [{"source": "llama3.2:3b", "error": "no route"}]
    record = models_record(
        {"kept:1": {"model": "kept:1"}, "gone:1": {"model": "gone:1"}},
        [
            result("llama:3b", model={"name": "smollm2:135m", "digest": "d", "size": 1}, fell_back=True, tried=tried),
            result("gone:1"),
            result("never:1"),
        ],
    )
    assert list(record) == ["kept:1", "llama3.2:3b"]
    assert record["llama3.2:3b"] == {
        "model": "smollm2:135m",
        "digest": "d",
        "source": "a mirror",
        "fell_back": True,
        "tried": tried,
        "note": "",
    }


def test_the_record_before_is_left_as_it_was() -> None:
    before = {"a:1": {"model": "a:1"}}
    models_record(before, [result("a:1")])
    assert before == {"a:1": {"model": "a:1"}}
    assert models_record(None, []) == {}
