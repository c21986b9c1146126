# SPDX-License-Identifier: GPL-3.0-or-later
"""Names of models, and which models a desk needs."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.llmdesk.workstation.plugins.module_utils.model_name import (
    BadName,
    CloudOnly,
    canonical,
    note,
    registry,
)
from ansible_collections.llmdesk.workstation.plugins.module_utils.model_plan import (
    by_size,
    declaration,
    declared,
    models_plan,
    models_record,
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
    ("name", "advice"),
    [
        ("", "Write it as model:tag"),
        (" ", "Write it as model:tag"),
        ("a b", "Write it as model:tag"),
        ("a/b/c/d", "Write it as model:tag"),
        ("http://x/y", "Write it as model:tag"),
        (":3b", "Write it as model:tag"),
        ("-x", "Write it as model:tag"),
        ("host:5000/tiny:1", r"After a registry come a namespace and a model: host:5000/library/tiny:1\."),
        (
            "models.example.com/tiny",
            r"After a registry come a namespace and a model: models\.example\.com/library/tiny",
        ),
        ("hf.co/some.one/tiny:1", r"A namespace has no dots: some\.one"),
        ("tiny@sha256:1", "Ollama knows no @digest: give it beside the name"),
    ],
)
def test_what_is_no_name(name: str, advice: str) -> None:
    with pytest.raises(BadName, match=f"is no name of a model. {advice}") as refused:
        canonical(name)
    assert refused.value.reason == "bad_name"


@pytest.mark.parametrize("name", ["gpt-oss:120b-cloud", "kimi:cloud"])
def test_a_model_of_the_cloud_is_none_for_a_desk(name: str) -> None:
    with pytest.raises(CloudOnly, match="runs in Ollama's cloud") as refused:
        canonical(name)
    assert refused.value.reason == "cloud_only"


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
    full = {"name": "a:1", "state": "absent", "sources": [{"from_file": "/x.gguf", "sha256": "0"}]}
    assert declared(full) == full


def needed(
    models: list[Any], present: dict[str, str], recorded: Any = None, retry: bool = False, exclusive: bool = False
) -> dict[str, str]:
    """Return the models that need something, with the reasons; those whose digest begins with L are loaded."""
    there = [
        {"name": name, "digest": digest, "size": 1, "loaded": digest.startswith("L")}
        for name, digest in present.items()
    ]
    desk = {"ollama": {"models": there}, "record": {"models": recorded}}
    plan = models_plan(desk, {"models": models, "retry_sources": retry, "exclusive": exclusive})
    stale = set(recorded or {}) - {canonical(declared(entry)["name"]) for entry in models}
    assert plan["act"] is bool(plan["models"] or stale)
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


PINNED = {
    "name": "a:1",
    "sources": [{"name": "m.example.com/library/a:1", "digest": "p"}, {"name": "a:1", "digest": "q"}],
}
TUTOR = {"name": "tutor:1", "create": {"from": "base:1", "system": "Help."}}
MADE = {"tutor:1": {"model": "tutor:1", "digest": "d", "declaration": declaration(TUTOR)}}


@pytest.mark.parametrize(
    ("entry", "present", "recorded", "reason"),
    [
        (PINNED, {"a:1": "p"}, None, None),
        (PINNED, {"a:1": "q"}, None, None),
        (PINNED, {"a:1": "x"}, None, "is here with another digest than the pinned one"),
        ({"name": "a:1", "state": "latest"}, {"a:1": "d"}, None, "is to be the latest"),
        ({"name": "a:1", "verify": "full"}, {"a:1": "d"}, None, "is to be hashed"),
        ({"name": "a:1", "loaded": True}, {"a:1": "d"}, None, "is not loaded"),
        ({"name": "a:1", "loaded": True}, {"a:1": "Ld"}, None, None),
        ({"name": "a:1", "loaded": False}, {"a:1": "Ld"}, None, "is loaded and should not be"),
        ({"name": "a:1", "loaded": False}, {"a:1": "d"}, None, None),
        # Only the server can tell what a model is made of: asked once for each declaration and digest.
        (TUTOR, {"tutor:1": "d"}, None, "may be other than declared"),
        (TUTOR, {"tutor:1": "d"}, MADE, None),
        (TUTOR, {"tutor:1": "e"}, MADE, "may be other than declared"),
        ({**TUTOR, "create": {"from": "base:1"}}, {"tutor:1": "d"}, MADE, "may be other than declared"),
    ],
)
def test_what_is_here_may_still_need_something(
    entry: dict[str, Any], present: dict[str, str], recorded: Any, reason: str | None
) -> None:
    assert needed([entry], present, recorded) == ({entry["name"]: reason} if reason else {})


def test_of_an_exclusive_list_everything_else_goes() -> None:
    models = ["llama3.2:3b", TUTOR, {"name": "old:1", "state": "absent"}]
    present = {"smollm2:135m": "d", "tutor:1": "d", "base:1": "d", "old:1": "d", "pulled-by-hand:1": "d"}
    assert needed(models, present, {**STANDS_IN, **MADE}, exclusive=True) == {
        "old:1": "is here and not declared",
        "pulled-by-hand:1": "is here and not declared",
    }
    assert "pulled-by-hand:1" not in needed(models, present, {**STANDS_IN, **MADE})


def test_a_model_of_ones_own_is_made_of_its_base() -> None:
    assert declared(TUTOR)["sources"] == [{"name": "base:1"}, {"demo": True}]


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
        {name: {"model": name} for name in ("kept:1", "gone:1", "forgotten:1")},
        [
            result("llama:3b", model={"name": "smollm2:135m", "digest": "d", "size": 1}, fell_back=True, tried=tried),
            result("gone:1"),
            result("never:1"),
        ],
        ["kept:1", "llama:3b", "gone:1", {"name": "never:1", "state": "absent"}],
    )
    assert list(record) == ["kept:1", "llama3.2:3b"]
    assert record["llama3.2:3b"] == {
        "model": "smollm2:135m",
        "digest": "d",
        "declaration": declaration(declared("llama3.2:3b")),
        "source": "a mirror",
        "fell_back": True,
        "tried": tried,
        "note": "",
        "chat": "",
    }


def test_the_record_before_is_left_as_it_was() -> None:
    before = {"a:1": {"model": "a:1"}}
    models_record(before, [result("a:1")], ["a:1"])
    assert before == {"a:1": {"model": "a:1"}}
    assert models_record(None, [], []) == {}


def test_what_cannot_chat_is_remembered_until_it_is_brought_anew() -> None:
    model = {"name": "a:1", "digest": "d", "size": 1}
    first = models_record(None, [result("a:1", model=model, chat="has no chat template")], ["a:1"])
    assert models_record(first, [result("a:1", model=model)], ["a:1"]) == first
    again = models_record(first, [result("a:1", model=model, chat="")], ["a:1"])
    assert (first["a:1"]["chat"], again["a:1"]["chat"]) == ("has no chat template", "")


def test_the_smallest_download_comes_first_and_removals_before_all() -> None:
    models = [declared("big:1"), declared("small:1"), declared({"name": "old:1", "state": "absent"})]
    predicted = [{"bytes": 9}, {"bytes": 2}, {"bytes": 0}]
    assert [entry["name"] for entry in by_size(models, predicted)] == ["old:1", "small:1", "big:1"]
    own = declared({"name": "own:1", "create": {"from": "big:1"}})
    assert by_size([own, *models], [{"bytes": 0}, *predicted])[-1] == own
    unknown = [{"skipped": True}] * 3
    assert [entry["name"] for entry in by_size(models, unknown)] == ["old:1", "big:1", "small:1"]
