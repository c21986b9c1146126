# SPDX-License-Identifier: GPL-3.0-or-later
"""What is known of a model before it is on any desk: by the catalogue, its manifest, or the header of its file."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
from ansible_collections.llmdesk.workstation.plugins.lookup.model_shape import by_bytes, describe, is_file
from ansible_collections.llmdesk.workstation.plugins.module_utils import fit, registry
from ansible_collections.llmdesk.workstation.plugins.module_utils.model_manifest import Layer, Manifest
from ansible_collections.llmdesk.workstation.plugins.plugin_utils import gguf_header
from ansible_collections.llmdesk.workstation.plugins.plugin_utils.catalogue import catalogue

from tests.unit.test_packaging import PROJECT, documentation

WEIGHTS = Layer("a" * 64, 9_000_000_000, "application/vnd.ollama.image.model")
PICTURES = Layer("b" * 64, 800_000_000, "application/vnd.ollama.image.projector")
LICENSE = Layer("c" * 64, 1000, "application/vnd.ollama.image.license")


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, float]]:
    """What a registry was asked for, which has every model."""
    found: list[tuple[str, float]] = []

    def manifest(name: str, timeout: float) -> Manifest:
        found.append((name, timeout))
        return Manifest("d" * 64, "e" * 64, (WEIGHTS, PICTURES, LICENSE))

    monkeypatch.setattr(registry, "manifest", manifest)
    return found


# --- Names ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["llama3.2:3b", "llama:3b", "library/llama3.2:3b"])
def test_the_catalogue_is_asked_first(asked: list[Any], name: str) -> None:
    assert describe(name, 3) == next(entry for entry in catalogue() if entry["name"] == "llama3.2:3b")
    assert asked == []


def test_a_registry_tells_the_bytes(asked: list[Any]) -> None:
    found = describe("someone/tuned", 2)
    assert found == {"name": "someone/tuned:latest", "weights": 9_000_000_000, "projector": 800_000_000}
    assert asked == [("someone/tuned:latest", 2)]
    assert fit.described(found).guessed is True


def test_a_manifest_without_weights_counts_as_a_whole() -> None:
    assert by_bytes("own:1", Manifest("d", "e", (LICENSE,)))["weights"] == 1000


def test_a_registry_that_does_not_answer_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def manifest(name: str, timeout: float) -> Manifest:
        raise registry.RegistryError(f"{name.split('/')[0]} did not answer within {timeout:g} s", "unreachable")

    monkeypatch.setattr(registry, "manifest", manifest)
    assert describe("models.example.com/library/own:1", 3) == {
        "name": "models.example.com/library/own:1",
        "error": "it is not in the catalogue, and models.example.com did not answer within 3 s",
    }


def test_what_is_no_name_is_one_sentence(asked: list[Any]) -> None:
    assert describe("a b", 3)["error"].startswith("'a b' is no name of a model")
    assert asked == []


def test_a_description_is_taken_as_it_is(asked: list[Any]) -> None:
    own = {"name": "own:1", "weights": 10**9}
    assert describe(own, 3) is own
    assert asked == []


@pytest.mark.parametrize(
    ("term", "file"),
    [
        ("./x", True),
        ("/srv/x", True),
        ("~/x", True),
        ("x.gguf", True),
        ("llama3.2:3b", False),
        ("hf.co/a/b-GGUF", False),
    ],
)
def test_what_is_a_file(term: str, file: bool) -> None:
    assert is_file(term) is file


# --- Files ----------------------------------------------------------------------------------------------------------


def write(path: Path, kind: str, tokens: int = 3000, **own: Any) -> Path:
    """Write a GGUF file with a tensor of 1,024 bytes."""
    writer = gguf.GGUFWriter(path, kind)
    for name, value in own.items():
        key = name.replace("__", ".")
        key = key if key.startswith("split") else f"{kind}.{key}"
        if isinstance(value, list):
            writer.add_array(key, value)
        else:
            writer.add_uint32(key, value)
    if tokens:
        writer.add_token_list([f"<{number}>" for number in range(tokens)])
        writer.add_token_scores([0.5] * tokens)
    writer.add_tensor("blk.0.attn_q.weight", np.zeros((16, 16), dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


LLAMA = {"block_count": 16, "embedding_length": 2048, "feed_forward_length": 8192, "context_length": 131072}
HEADS = {"attention__head_count": 32, "attention__head_count_kv": 8}


def test_a_header_says_how_a_model_is_built(tmp_path: Path) -> None:
    assert describe(str(write(tmp_path / "own.gguf", "llama", **LLAMA, **HEADS)), 3) == {
        "name": "own.gguf",
        "weights": 1024,
        "layers": 16,
        "cache_layers": 16,
        "heads": 32,
        "heads_kv": 8,
        "key": 64,
        "value": 64,
        "window_key": 64,
        "embedding": 2048,
        "feed_forward": 8192,
        "vocabulary": 3000,
        "context": 131072,
        "active": 1.0,
    }


@pytest.mark.parametrize(
    ("kind", "own", "expected"),
    [
        ("llama", {}, {"layers": 16, "cache_layers": 16, "heads_kv": 8, "key": 64, "active": 1.0, "vocabulary": 3000}),
        ("llama", {"attention__key_length": 128, "attention__value_length": 96}, {"key": 128, "value": 96}),
        ("llama", {"attention__sliding_window": 4096}, {"cache_layers": 16}),  # which llama.cpp does not look at
        ("gemma3", {"attention__sliding_window": 512}, {"cache_layers": 2, "window_layers": 14, "window": 512}),
        ("gpt-oss", {"attention__sliding_window": 128}, {"cache_layers": 8, "window_layers": 8}),
        (
            "gemma4",
            {
                "attention__sliding_window": 512,
                "attention__sliding_window_pattern": [True, True, True, False] * 4,
                "attention__head_count_kv": [4, 4, 4, 2] * 4,
                "attention__key_length": 512,
                "attention__key_length_swa": 256,
                "attention__shared_kv_layers": 4,
            },
            {
                "cache_layers": 3,
                "window_layers": 9,
                "heads_kv": 2,
                "window_heads_kv": 4,
                "key": 512,
                "window_key": 256,
            },
        ),
        ("qwen35", {"full_attention_interval": 4}, {"layers": 16, "cache_layers": 4}),
        ("qwen3moe", {"expert_count": 128, "expert_used_count": 8}, {"active": 8 / 128}),
    ],
)
def test_headers_of_many_kinds(tmp_path: Path, kind: str, own: dict[str, Any], expected: dict[str, Any]) -> None:
    found = gguf_header.shape(write(tmp_path / "own.gguf", kind, **{**LLAMA, **HEADS, **own}))
    assert {name: found.get(name) for name in expected} == expected
    assert fit.described(found).guessed is False


def test_a_long_vocabulary_is_stepped_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "own.gguf", "llama", tokens=5000, **LLAMA, **HEADS)
    read: list[int] = []
    plain = gguf.GGUFReader._get_str

    def get(self: Any, offset: int) -> Any:
        read.append(offset)
        return plain(self, offset)

    monkeypatch.setattr(gguf.GGUFReader, "_get_str", get)
    assert gguf_header.shape(path)["vocabulary"] == 5000
    assert len(read) < 100


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda path: None, "there is no such file"),
        (lambda path: path.write_bytes(b"PK\x03\x04 and so on, for many bytes"), "it is no GGUF file"),
        (lambda path: path.write_bytes(b""), "it is no GGUF file"),
        (lambda path: path.write_bytes(b"GGUF\x03\x00\x00\x00\xff\xff"), "it is no GGUF file, or a torn one"),
        (lambda path: write(path, "clip"), "it is a projector"),
        (lambda path: write(path, "llama", split__count=3, **LLAMA), "it is one of several parts; join them"),
        (lambda path: write(path, "llama"), "its header does not say how a model of the kind llama is built"),
    ],
)
def test_what_is_no_file_of_a_model_is_one_sentence(tmp_path: Path, make: Any, words: str) -> None:
    path = tmp_path / "own.gguf"
    make(path)
    found = describe(str(path), 3)
    assert (found["name"], found["error"].startswith(words)) == (str(path), True), found


def test_a_torn_file_is_no_model(tmp_path: Path) -> None:
    path = write(tmp_path / "own.gguf", "llama", **LLAMA, **HEADS)
    path.write_bytes(path.read_bytes()[:400])
    assert "it is no GGUF file, or a torn one" in describe(str(path), 3)["error"]


def test_the_library_is_the_one_that_the_extra_brings() -> None:
    assert PROJECT["optional-dependencies"]["gguf"] == [gguf_header.LIBRARY]
    assert gguf_header.LIBRARY in PROJECT["optional-dependencies"]["test"]


def test_the_lookup_is_documented() -> None:
    documents = documentation("lookup", "model_shape")
    assert documents["DOCUMENTATION"]["name"] == "model_shape"
    assert "llmdesk.workstation.model_shape" in str(documents["EXAMPLES"])
    assert documents["RETURN"]["_raw"]["description"]


def test_without_the_library_it_is_said_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "own.gguf", "llama", **LLAMA, **HEADS)
    monkeypatch.setitem(sys.modules, "gguf", None)
    assert describe(str(path), 3)["error"].endswith(f".venv/bin/pip install {gguf_header.LIBRARY}")
