# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a model fits a desk: the formula, the verdicts on cards as nvidia-smi really lists them, and their words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ansible_collections.llmdesk.workstation.plugins.filter.fit import FilterModule
from ansible_collections.llmdesk.workstation.plugins.module_utils import probe
from ansible_collections.llmdesk.workstation.plugins.module_utils.fit import (
    DRIVER,
    GB,
    GIB,
    MARGIN,
    MIB,
    VERDICTS,
    BadDescription,
    Model,
    cache,
    compute,
    default_context,
    described,
    fit,
    hardware,
    on_gpu,
    resident,
    size,
)
from ansible_collections.llmdesk.workstation.plugins.plugin_utils.catalogue import catalogue
from hypothesis import given
from hypothesis import strategies as st

FIXTURES = Path(__file__).parent / "fixtures"
WSL = probe.memory((FIXTURES / "desk" / "wsl" / "meminfo").read_text())  # 16 GB


def cards(name: str) -> list[dict[str, Any]]:
    return probe.nvidia_gpus((FIXTURES / "probe" / "nvidia-smi" / f"{name}.csv").read_text())


def desk(gpus: Any = (), memory: int = WSL["total"], cores: int = 8, **changed: Any) -> dict[str, Any]:
    """Return the facts of a desk that matter for models."""
    facts = {
        "gpus": list(gpus),
        "gpu": {"state": "ok", "reason": "there is one"}
        if gpus
        else {"state": "none", "reason": "there is no NVIDIA card"},
        "memory": {"total": memory, "available": memory // 2},
        "cpu": {"cores": cores},
        "disk": [{"path": "/var/lib/docker", "mount": "/", "available": 500 * GIB}],
        "image": {"id": "sha256:1"},
        "ollama": {"state": "answers", "models": []},
        "record": {"models": {}},
    }
    return {**facts, **changed}


def known(name: str) -> Model:
    return described(next(entry for entry in catalogue() if entry["name"] == name))


# --- The formula ----------------------------------------------------------------------------------------------------

SMOL = described(
    {
        "name": "smollm2:135m",
        "weights": 96576768,
        "layers": 30,
        "heads": 9,
        "heads_kv": 3,
        "key": 64,
        "embedding": 576,
        "feed_forward": 1536,
        "vocabulary": 49152,
        "context": 8192,
    }
)
GEMMA = described(
    {
        "name": "gemma3:270m",
        "weights": 246587904,
        "layers": 18,
        "window_layers": 15,
        "window": 512,
        "heads": 4,
        "heads_kv": 1,
        "key": 256,
        "embedding": 640,
        "feed_forward": 2048,
        "vocabulary": 262144,
        "context": 32768,
    }
)


# Of the shapes of larger models, with few layers of zeros: nothing in the formula was fitted to them.
LLAMA = SMOL._replace(layers=4, cache_layers=4, heads_kv=8, key=128, value=128, embedding=3072, feed_forward=8192)
QWEN = SMOL._replace(layers=2, cache_layers=2, heads_kv=8, key=128, value=128, embedding=4096, feed_forward=12288)


# As llama-server b10488 prints them, in MiB: "KV buffer size" (both, where there are two) and "compute buffer size".
@pytest.mark.parametrize(
    ("model", "context", "batch", "kept", "computed"),
    [
        (SMOL, 2048, 512, 45.0, 15.51),
        (SMOL, 4096, 512, 90.0, 17.51),
        (SMOL, 8192, 1024, 180.0, 43.02),
        (GEMMA, 2048, 512, 6.0 + 15.0, 20.77),
        (GEMMA, 4096, 512, 12.0 + 15.0, 22.77),
        (GEMMA, 8192, 1024, 24.0 + 22.5, 54.54),
        (LLAMA, 4096, 512, 64.0, 76.01),
        (LLAMA, 16384, 1024, 256.0, 176.02),
        (QWEN, 4096, 512, 32.0, 108.01),
        (QWEN, 16384, 1024, 128.0, 240.02),
    ],
)
def test_buffers_are_as_large_as_the_engine_makes_them(
    model: Model, context: int, batch: int, kept: float, computed: float
) -> None:
    assert cache(model, context, batch) == kept * MIB
    assert compute(model, context, batch) / MIB == pytest.approx(computed, rel=0.05)


# Measured: VmRSS of llama-server after a prompt of 1,500 tokens, in MiB. tests/integration measures anew.
@pytest.mark.parametrize(
    ("model", "context", "took"),
    [
        (SMOL, 2048, 190),
        (SMOL, 4096, 235),
        (SMOL, 8192, 339),
        (GEMMA, 2048, 360),
        (GEMMA, 4096, 366),
        (GEMMA, 8192, 407),
        (GEMMA, 16384, 431),
        (LLAMA._replace(weights=588410880), 4096, 733),
        (QWEN._replace(weights=624032768), 16384, 980),
    ],
)
def test_the_formula_is_what_was_measured(model: Model, context: int, took: int) -> None:
    assert resident(model, context) / MIB == pytest.approx(took, rel=0.15)


def test_a_cache_in_fewer_bits_is_smaller() -> None:
    assert cache(SMOL, 4096, 512, "q8_0") == cache(SMOL, 4096, 512) * 34 // 64
    assert cache(SMOL, 4096, 512, "q4_0") == cache(SMOL, 4096, 512) * 18 // 64
    with pytest.raises(BadDescription, match="a cache has no type q5, only f16, q8_0, q4_0"):
        fit(desk(), SMOL, kind="q5")


def test_without_flash_attention_every_head_keeps_its_scores() -> None:
    assert compute(SMOL, 4096, 512, flash=False) - compute(SMOL, 4096, 512) == 512 * 4 * 9 * 4096


@pytest.mark.parametrize(
    ("gib", "context"), [(0, 4096), (22.9, 4096), (23, 32768), (46.9, 32768), (47, 262144), (128, 262144)]
)
def test_the_context_that_ollama_takes_by_itself(gib: float, context: int) -> None:
    assert default_context(int(gib * GIB)) == context


def test_no_context_is_longer_than_the_model_was_trained_for() -> None:
    assert fit(desk(), SMOL, context=131072)["context"] == 8192
    assert fit(desk(cards("two")), known("qwen3:8b"))["context"] == 40960


# --- Verdicts -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "gpus", "verdict", "words"),
    [
        # The walk-through's table.
        ("llama3.2:1b", [], "cpu", "it answers poorly"),
        ("llama3.2:3b", [], "cpu-slow", "the CPU answers slowly: every word takes 2.0 GB of weights"),
        ("llama3.2:3b", cards("one"), "gpu", "2.6 GB of 11.3 GB at a context of 4096"),
        ("llama3.2:3b", cards("two")[1:], "gpu", "8.0 GB of VRAM are recommended, with less it is slow"),
        (
            "llama3.2-vision:11b",
            [],
            "no",
            "it asks for a GPU with 22.0 GB of VRAM, and this desk has none (there is no",
        ),
        ("llama3.2-vision:11b", cards("one"), "no", "22.0 GB of VRAM, and this desk has 12.9 GB of VRAM"),
        ("llama3.2-vision:11b", cards("two")[:1], "gpu", "no engine for its architecture (mllama)"),
        ("llama3.2-vision:90b", cards("two")[:1], "no", "it asks for 64.0 GB of memory, and this desk has 16.6 GB"),
        # One card, by the formula.
        ("qwen3:14b", cards("one"), "gpu", "all of it fits on NVIDIA GeForce RTX 4070 Ti: 10.1 GB of 11.3 GB"),
        ("gpt-oss:20b", cards("one"), "gpu-partly", "20 of its 25 layers fit on NVIDIA GeForce RTX 4070 Ti"),
        ("llama3.3:70b", cards("one"), "no", "it needs 44.2 GB, and this desk has 25.8 GB for a model"),
        # Two of different sizes: the large one alone, both together, and not even both.
        ("qwen3.5:27b", cards("two"), "gpu", "all of it fits on NVIDIA RTX A6000"),
        ("gpt-oss:120b", cards("two"), "no", "this desk has 67.2 GB for a model"),
        ("llama3.3:70b", cards("two"), "no", "it needs"),
        # Memory that nvidia-smi prints as [N/A]: of the machine, or nobody knows of what.
        ("qwen3:8b", cards("unified-memory"), "gpu", "all of it fits on NVIDIA GB10, in memory that it shares"),
        ("gpt-oss:20b", cards("unified-memory"), "cpu-slow", "NVIDIA GB10 shares the machine's memory"),
        ("qwen3:8b", [dict(cards("unified-memory")[0], compute=None)], "cpu-slow", "how much memory it has cannot be"),
        # Cards that do not count.
        ("qwen3:8b", [dict(cards("old-driver")[0], compute="3.7")], "cpu-slow", "its compute capability is 3.7"),
        ("qwen3:8b", [{"vendor": "intel", "name": "intel 0x4680", "vram": None}], "cpu-slow", "has no engine for it"),
        ("qwen3:8b", [{"vendor": "amd", "name": "amd 0x744c", "vram": 16 * GIB, "compute": None}], "gpu", "amd 0x744c"),
    ],
)
def test_a_verdict_and_its_reason(model: str, gpus: Any, verdict: str, words: str) -> None:
    answer = fit(desk(gpus), known(model))
    assert (answer["verdict"], words in answer["reason"]) == (verdict, True), answer["reason"]
    assert answer["needed"] > 0
    # What decides is enough, or is not.
    if verdict in ("gpu", "cpu"):
        assert answer["needed"] <= answer["available"]
    if verdict in ("gpu-partly", "no"):
        assert answer["needed"] > answer["available"]
        assert answer["remedy"]


def test_both_cards_together_take_what_neither_holds() -> None:
    two = [dict(card, vram=24564 * MIB) for card in cards("two")]
    answer = fit(desk(two, memory=64 * GIB), known("deepseek-r1:32b"), context=32768)
    assert (answer["verdict"], "fits on 2 GPUs together" in answer["reason"]) == ("gpu", True)
    assert fit(desk(two[:1], memory=64 * GIB), known("deepseek-r1:32b"), context=32768)["verdict"] == "gpu-partly"


def test_of_several_cards_none_takes_a_piece_of_a_layer() -> None:
    model = known("deepseek-r1:32b")
    needed = on_gpu(model, 4096, 48 * GIB)
    own = compute(model, 4096, 512)  # a buffer of the second card's
    for spare, verdict in (
        (model.weights // 65 + own + 2, "gpu"),
        (model.weights // 65, "gpu-partly"),
        (own, "gpu-partly"),
    ):
        two = [card((needed + spare) // 2 + DRIVER + MARGIN)] * 2
        answer = fit(desk(two, memory=64 * GIB), model, 4096)
        assert (answer["verdict"], answer["needed"] > answer["available"]) == (verdict, verdict != "gpu")


def test_of_two_kinds_of_card_the_larger_kind_counts() -> None:
    amd = {"vendor": "amd", "name": "amd 0x744c", "vram": 24 * GIB, "compute": None}
    assert [card.name for card in hardware(desk([*cards("one"), amd])).cards] == ["amd 0x744c"]


def test_a_card_that_gives_no_answer_is_said() -> None:
    hangs = desk(gpu={"state": "unknown", "reason": "nvidia-smi did not answer within 2 s"})
    assert "nvidia-smi did not answer within 2 s" in fit(hangs, known("qwen3:8b"))["reason"]


def test_a_shorter_context_is_a_remedy() -> None:
    one = [dict(cards("one")[0], vram=24564 * MIB)]
    answer = fit(desk(one, memory=64 * GIB), known("qwen3:32b"))
    assert (answer["verdict"], answer["context"]) == ("gpu-partly", 32768)
    assert answer["remedy"] == "a context of 8192 (num_ctx) instead of 32768, or a GPU with 32 GB of VRAM"
    assert fit(desk(one), known("qwen3:32b"), context=8192)["verdict"] == "gpu"


@pytest.mark.parametrize(("cores", "verdict"), [(1, "cpu-slow"), (2, "cpu-slow"), (4, "cpu"), (64, "cpu")])
def test_few_cores_are_slow(cores: int, verdict: str) -> None:
    assert fit(desk(cores=cores), known("llama3.2:1b"))["verdict"] == verdict


def test_of_a_mixture_of_experts_a_cpu_reads_a_part() -> None:
    dense = known("gpt-oss:20b")._replace(active=1.0)
    half = desk(memory=32 * GIB)
    assert "takes 2.3 GB of weights" in fit(half, known("gpt-oss:20b"))["reason"]
    assert "takes 13.8 GB of weights" in fit(half, dense)["reason"]


# --- Descriptions ---------------------------------------------------------------------------------------------------


def test_a_model_of_which_only_the_bytes_are_known_is_like_others_of_its_size() -> None:
    guessed = described({"name": "own:1", "weights": 4920753328})
    exact = known("llama3.1:8b")
    assert guessed.guessed is True
    assert on_gpu(guessed, 4096, 0) == pytest.approx(on_gpu(exact, 4096, 0), rel=0.05)
    assert fit(desk(), guessed)["reason"].endswith("(guessed from its bytes)")


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ({"name": "own:1"}, "own:1: weights must be a number above zero"),
        ({"name": "own:1", "weights": "4 GB"}, "own:1: weights must be a number above zero"),
        ({"name": "own:1", "weights": 4e9, "layers": -1}, "own:1: layers must be a number"),
        ({"name": "own:1", "weights": 4e9, "laers": 30}, "own:1: a model has no laers; it has name, weights, layers"),
    ],
)
def test_a_description_that_cannot_be(entry: dict[str, Any], words: str) -> None:
    with pytest.raises(BadDescription, match=words):
        described(entry)


@pytest.mark.parametrize("entry", catalogue(), ids=lambda entry: str(entry["name"]))
def test_the_catalogue_is_sound(entry: dict[str, Any]) -> None:
    model = described(entry)
    assert not model.guessed
    assert model.cache_layers + model.window_layers <= model.layers
    assert model.context >= 8192
    # A weight has between four and sixteen bits, and a layer of a dense model about twelve vectors of each kind.
    parameters = model.layers * model.embedding * (4 * model.embedding + 3 * model.feed_forward)
    if model.active == 1.0 and "feed_forward" in entry and not model.name.startswith(("gemma", "qwen3:0.6b")):
        assert 0.45 < model.weights / (parameters + model.vocabulary * model.embedding) < 2.2


def test_no_model_stands_twice_in_the_catalogue_and_no_two_have_one_rank() -> None:
    names = [entry["name"] for entry in catalogue()]
    ranks = [entry["rank"] for entry in catalogue() if "rank" in entry]
    assert (len(set(names)), len(set(ranks))) == (len(names), len(ranks))
    assert {"llama3.2:1b", "llama3.2:3b", "llama3.2-vision:11b", "llama3.2-vision:90b"} <= set(names)


# --- What never happens ---------------------------------------------------------------------------------------------

NAMES = [str(entry["name"]) for entry in catalogue()]
MEMORY = st.integers(GIB, 256 * GIB)
VRAM = st.integers(GIB, 200 * GIB)
CONTEXT = st.sampled_from([512, 4096, 8192, 32768, 131072])


def rank(answer: dict[str, Any]) -> int:
    return VERDICTS.index(answer["verdict"])


def card(vram: int) -> dict[str, Any]:
    return {"vendor": "nvidia", "name": "card", "vram": vram, "driver": "570", "compute": "8.9"}


@given(st.sampled_from(NAMES), MEMORY, st.lists(VRAM, max_size=3), VRAM, CONTEXT)
def test_more_vram_never_worsens_a_verdict(name: str, memory: int, vram: list[int], more: int, context: int) -> None:
    before = fit(desk([card(one) for one in vram], memory), known(name), context)
    larger = [vram[0] + more, *vram[1:]] if vram else [more]
    assert rank(fit(desk([card(one) for one in larger], memory), known(name), context)) <= rank(before)


@given(st.sampled_from(NAMES), MEMORY, MEMORY, st.lists(VRAM, max_size=2), CONTEXT, st.integers(1, 64))
def test_more_memory_and_cores_never_worsen_a_verdict(
    name: str, memory: int, more: int, vram: list[int], context: int, cores: int
) -> None:
    gpus = [card(one) for one in vram]
    before = fit(desk(gpus, memory, cores), known(name), context)
    assert rank(fit(desk(gpus, memory + more, cores + 1), known(name), context)) <= rank(before)


@given(
    st.integers(10**8, 200 * GB),
    st.integers(1, 100 * GB),
    MEMORY,
    st.lists(VRAM, max_size=2),
    CONTEXT,
    st.integers(1, 64),
)
def test_a_smaller_model_is_never_worse(
    weights: int, more: int, memory: int, vram: list[int], context: int, cores: int
) -> None:
    facts = desk([card(one) for one in vram], memory, cores)
    small = fit(facts, described({"name": "small", "weights": weights}), context)
    large = fit(facts, described({"name": "large", "weights": weights + more}), context)
    assert rank(small) <= rank(large)


@given(st.sampled_from(NAMES), MEMORY, st.lists(VRAM, max_size=2))
def test_a_shorter_context_is_never_worse(name: str, memory: int, vram: list[int]) -> None:
    facts = desk([card(one) for one in vram], memory)
    ranks = [rank(fit(facts, known(name), context)) for context in (512, 4096, 32768, 131072)]
    assert ranks == sorted(ranks)


# --- As tasks ask it ------------------------------------------------------------------------------------------------


def test_tasks_get_a_table_and_what_auto_would_be() -> None:
    answer = FilterModule().filters()["fit"](desk(cards("one")))
    assert answer["auto"]["name"] in [row["model"] for row in answer["models"]]
    assert {row["model"] for row in answer["models"]} >= {"llama3.2:1b", "llama3.2-vision:90b"}
    assert {row["verdict"] for row in answer["models"]} <= set(VERDICTS)


def test_a_row_of_a_model_that_nobody_knows() -> None:
    rows = FilterModule().filters()["fit"](desk(), [{"name": "own:1", "error": "no such file"}, {"name": "own:2"}])
    assert [(row["model"], row["verdict"], row["reason"]) for row in rows["models"]] == [
        ("own:1", "unknown", "no such file"),
        ("own:2", "unknown", "own:2: weights must be a number above zero"),
    ]


@pytest.mark.parametrize(("count", "text"), [(5225388164, "5.2 GB"), (98362432, "98 MB"), (10**9, "1.0 GB")])
def test_sizes_as_registries_print_them(count: int, text: str) -> None:
    assert size(count) == text


def test_what_a_card_keeps_back() -> None:
    (found,) = hardware(desk(cards("one"))).cards
    assert found.room == 12282 * MIB - DRIVER - MARGIN
