# SPDX-License-Identifier: GPL-3.0-or-later
"""Declared models: what is asked for, what is there, and what of it is not the same."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.llmdesk.workstation.plugins.module_utils.model_definition import (
    BadDefinition,
    Definition,
    checked,
    differences,
    request,
    shown,
    wanted,
)

WEIGHTS, ADAPTER, OTHER = "a" * 64, "b" * 64, "c" * 64
BASE: dict[str, Any] = {
    "modelfile": f"# made by Ollama\nFROM /root/.ollama/models/blobs/sha256-{WEIGHTS}\nTEMPLATE x\n",
    "template": "{{ .Prompt }}",
    "license": "MIT",
    "parameters": 'stop                           "<|end|>"\nstop                           "User:"\n',
    "details": {"quantization_level": "Q4_1"},
}
OWN: dict[str, Any] = {
    **BASE,
    "system": "You help pupils.",
    "parameters": 'temperature                    0.3\nstop                           "<|end|>"\n'
    'stop                           "User:"\nnum_ctx                        8192\n',
}
CREATE = {"from": "base:1", "system": "You help pupils.", "parameters": {"temperature": 0.3, "num_ctx": 8192}}


def differing(create: dict[str, Any], found: dict[str, Any] = OWN, base: dict[str, Any] | None = BASE) -> list[str]:
    return differences(shown(found), wanted(shown(base) if base else None, checked(create)))


def test_what_was_made_as_declared_is_left_alone() -> None:
    assert differing(CREATE) == []


@pytest.mark.parametrize(
    ("change", "differs"),
    [
        ({"system": "Be brief."}, ["system"]),
        ({"system": None}, ["system"]),  # no longer declared: the base has none
        ({"template": "{{ .System }}"}, ["template"]),
        ({"license": ["MIT", "Apache-2.0"]}, ["license"]),
        ({"parameters": {"temperature": 0.3}}, ["parameters"]),  # one is no longer declared
        ({"parameters": {"temperature": "0.3", "num_ctx": "8192"}}, []),  # templates make strings of numbers
        ({"parameters": {"temperature": 0.30, "num_ctx": 8192, "stop": ["<|end|>", "User:"]}}, []),
        ({"parameters": {"temperature": 0.3, "num_ctx": 8192, "stop": "User:"}}, ["parameters"]),
        ({"messages": [{"role": "user", "content": "Hello"}]}, ["messages"]),
        ({"quantize": "q8_0"}, ["quantization"]),
        ({"quantize": "q4_1"}, []),
    ],
)
def test_what_is_no_longer_as_declared(change: dict[str, Any], differs: list[str]) -> None:
    assert differing({**CREATE, **change}) == differs


def test_a_base_that_was_replaced_is_noticed() -> None:
    newer = {**BASE, "modelfile": BASE["modelfile"].replace(WEIGHTS, OTHER)}
    assert differing(CREATE, base=newer) == ["weights"]


def test_adapters_are_known_by_their_blobs() -> None:
    found = {**OWN, "modelfile": f"{OWN['modelfile']}ADAPTER /root/.ollama/models/blobs/sha256-{ADAPTER}\n"}
    assert shown(found).adapters == (ADAPTER,)
    assert differences(shown(found), wanted(shown(BASE), CREATE, (ADAPTER,))) == []
    assert differences(shown(OWN), wanted(shown(BASE), CREATE, (ADAPTER,))) == ["adapters"]


def test_of_a_file_only_what_is_declared_counts() -> None:
    assert differing({"system": "You help pupils."}, base=None) == []
    assert differing({"system": "Be brief."}, base=None) == ["system"]


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"temperature": "hot"}, "temperature is a number, and not 'hot'"),
        ({"num_ctx": 0.5}, "num_ctx is a whole number, and not 0.5"),
        ({"num_ctx": "many"}, "num_ctx is a whole number, and not 'many'"),
        ({"seed": True}, "seed is a whole number, and not True"),
        ({"stop": 7}, "stop is a text or a list of them, and not 7"),
    ],
)
def test_a_parameter_of_another_type_is_refused(parameters: dict[str, Any], words: str) -> None:
    with pytest.raises(BadDefinition, match=words) as refused:
        checked({"parameters": parameters})
    assert refused.value.reason == "bad_parameters"


def test_a_parameter_that_is_newer_than_this_list_is_left_to_the_server() -> None:
    assert checked({"parameters": {"brand_new": "x"}, "system": None}) == {"parameters": {"brand_new": "x"}}


def test_what_the_server_is_asked_for() -> None:
    assert request("own:1", CREATE) == {**CREATE, "model": "own:1"}
    assert request("own:1", {"system": "x"}, WEIGHTS, (ADAPTER,)) == {
        "model": "own:1",
        "system": "x",
        "files": {"model.gguf": f"sha256:{WEIGHTS}"},
        "adapters": {"adapter-0.gguf": f"sha256:{ADAPTER}"},
    }


def test_a_model_of_which_the_server_says_little() -> None:
    assert shown({}) == Definition(None, (), "", "", "", {}, (), "")
