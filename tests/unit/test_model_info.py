# SPDX-License-Identifier: GPL-3.0-or-later
"""What Ollama says of its models, read and put into words."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from ansible_collections.llmdesk.workstation.plugins.module_utils.model_info import (
    TITLE,
    as_parameters,
    asks_the_cloud,
    chosen,
    described,
    parameters,
    parse_parameters,
    processor,
    remote,
    spelled,
    title,
    understood,
)
from ansible_collections.llmdesk.workstation.plugins.module_utils.model_name import BadName

# --- Parameters -----------------------------------------------------------------------------------------------------


def line(name: str, value: str) -> str:
    """Return a line as Ollama prints it: the name in thirty columns."""
    return f"{name:<30} {value}"


@pytest.mark.parametrize(
    ("printed", "value"),
    [
        pytest.param('"<|im_end|>"', "<|im_end|>", id="a stop word"),
        pytest.param('"User:"', "User:", id="with a colon"),
        pytest.param('"two  words "', "two  words ", id="with spaces"),
        pytest.param('""', "", id="empty"),
        pytest.param('" "', " ", id="a space"),
        pytest.param(r'"\""', '"', id="a quote"),
        pytest.param(r'"say \"stop\" now"', 'say "stop" now', id="with quotes"),
        pytest.param(r'"\\"', "\\", id="a backslash"),
        pytest.param(r'"\\n"', r"\n", id="a backslash before a letter"),
        pytest.param(r'"\\\""', '\\"', id="a backslash before a quote"),
        pytest.param(r'"\n\nHuman:\t"', "\n\nHuman:\t", id="with line feeds"),
        pytest.param(r'"\x00\x1b[0m\x7f"', "\x00\x1b[0m\x7f", id="with bytes that do not print"),
        pytest.param(r'"\a\b\f\r\v"', "\a\b\f\r\v", id="with what JSON does not know"),
        pytest.param(r'"\u2028\u00ad"', "\u2028\u00ad", id="with characters that do not print"),
        pytest.param(r'"\U000e0001"', "\U000e0001", id="with a long code"),
        pytest.param('"<▁fin▁de▁phrase▁é>"', "<▁fin▁de▁phrase▁é>", id="beyond ASCII"),
        pytest.param('"4096"', "4096", id="a number in quotes"),
        pytest.param('"true"', "true", id="a word in quotes"),
        pytest.param("0.7", "0.7", id="a fraction"),
        pytest.param("1", "1", id="a whole number"),
        pytest.param("-1", "-1", id="a negative number"),
        pytest.param("131072", "131072", id="six digits"),
        pytest.param("1.048576e+06", "1048576", id="seven digits"),
        pytest.param("1e+06", "1000000", id="a million"),
        pytest.param("1e-05", "1e-05", id="a small number"),
        pytest.param("true", "true", id="true"),
        pytest.param("false", "false", id="false"),
        pytest.param("<nil>", "<nil>", id="nothing"),
        pytest.param('"', '"', id="a quote that stands alone"),
        pytest.param('"open', '"open', id="a quote without its fellow"),
    ],
)
def test_a_value(printed: str, value: str) -> None:
    assert parse_parameters(line("stop", printed)) == {"stop": [value]}


LINES = (
    line("num_ctx", "4096"),
    line("temperature", "0.7"),
    line("stop", '"<|im_start|>"\n') + line("stop", '"<|im_end|>"'),
)


@pytest.mark.parametrize("order", list(itertools.permutations(LINES)))
def test_the_order_of_names_says_nothing(order: tuple[str, ...]) -> None:
    assert parse_parameters("\n".join(order)) == {
        "num_ctx": ["4096"],
        "temperature": ["0.7"],
        "stop": ["<|im_start|>", "<|im_end|>"],
    }


def test_the_order_of_values_is_kept() -> None:
    # They may come apart, where another name stands between them.
    text = "\n".join((line("stop", '"b"'), line("top_k", "40"), line("stop", '"a"')))
    assert parse_parameters(text)["stop"] == ["b", "a"]


@pytest.mark.parametrize("text", ["", "\n", "  \n\n"])
def test_a_model_without_parameters(text: str) -> None:
    assert parse_parameters(text) == {}


def test_a_name_that_is_longer_than_its_column() -> None:
    name = "x" * 31
    assert parse_parameters(f'{name} "a b"') == {name: ["a b"]}


def test_a_name_without_a_value() -> None:
    assert parse_parameters("stop") == {"stop": [""]}


def test_lines_that_end_as_on_windows() -> None:
    assert parse_parameters(line("top_k", "40") + "\r\n" + line("stop", '"a"') + "\r\n") == {
        "top_k": ["40"],
        "stop": ["a"],
    }


@pytest.mark.parametrize(
    ("declared", "printed"),
    [
        ({"num_ctx": 1048576}, line("num_ctx", "1.048576e+06")),
        ({"num_ctx": 4096}, line("num_ctx", "4096")),
        ({"temperature": 0.1}, line("temperature", "0.1")),
        ({"temperature": 1.0}, line("temperature", "1")),
        ({"seed": 9007199254740993}, line("seed", "9.007199254740992e+15")),
        ({"use_mmap": False}, line("use_mmap", "false")),
        ({"stop": ["a", 'b"']}, line("stop", '"a"') + "\n" + line("stop", r'"b\""')),
        ({"stop": "a"}, line("stop", '"a"')),
        ({"stop": []}, ""),
        ({"stop": None}, ""),
        ({}, ""),
    ],
)
def test_what_is_declared_is_compared_with_what_is_printed(declared: dict[str, Any], printed: str) -> None:
    assert as_parameters(declared) == parse_parameters(printed)


def test_another_value_is_another_text() -> None:
    values = [0, 1, 2, -1, 0.1, 0.2, 1.5, 4096, 1e-05, 1048576, 1048577, True, False, "", "a", " a"]
    assert len({spelled(value) for value in values}) == len(values)


def test_parameters_with_their_types() -> None:
    text = "\n".join(
        (
            line("num_ctx", "1.048576e+06"),
            line("temperature", "0.7"),
            line("use_mmap", "true"),
            line("stop", '"1"'),
            line("penalty", "1"),
            line("penalty", "2"),
        )
    )
    read = parameters(text)
    assert read == {"num_ctx": 1048576, "temperature": 0.7, "use_mmap": True, "stop": "1", "penalty": [1, 2]}
    assert [type(value) for value in read.values()] == [int, float, bool, str, list]


# --- Which models ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("tutor", "tutor:latest"),
        ("registry.ollama.ai/library/llama3.2:3b", "llama3.2:3b"),
        ("llama:3b", "llama3.2:3b"),
        (" gpt-oss:120b-cloud", "gpt-oss:120b-cloud"),
    ],
)
def test_what_a_name_means(name: str, meant: str) -> None:
    assert understood(name) == meant


def test_a_name_that_cannot_be_one() -> None:
    with pytest.raises(BadName):
        understood("a b")


@pytest.mark.parametrize(
    ("wanted", "names"),
    [
        (None, ["A:1", "b:latest", "hf.co/x/Y:Q4_K_M"]),
        ([], []),
        (["b:latest", "A:1"], ["b:latest", "A:1"]),
        (["a:1", "HF.co/x/y:q4_k_m"], ["A:1", "hf.co/x/Y:Q4_K_M"]),
        (["b:latest", "B:latest", "b:latest"], ["b:latest"]),
        (["c:1", "b:1"], []),
    ],
    ids=["all", "none", "in their order", "in any case", "once", "unknown"],
)
def test_the_models_that_were_asked_for(wanted: list[str] | None, names: list[str]) -> None:
    assert chosen(wanted, ["b:latest", "hf.co/x/Y:Q4_K_M", "A:1"]) == names


CLOUD = {"name": "gpt-oss:120b-cloud", "remote_host": "https://ollama.com:443", "remote_model": "gpt-oss:120b"}


@pytest.mark.parametrize(
    ("listed", "told", "asked"),
    [
        ({"name": "a:1"}, None, False),
        ({"name": "a:1", "remote_host": "", "remote_model": ""}, None, False),
        (CLOUD, {"host": "https://ollama.com:443", "model": "gpt-oss:120b"}, True),
        (
            {"name": "mine:1", "remote_host": "https://ollama.com:443"},
            {"host": "https://ollama.com:443", "model": ""},
            True,
        ),
        # Ollama asks its cloud by the name alone, and calls the model remote only where it says so itself.
        ({"name": "a:cloud"}, None, True),
        ({"name": "a:1b-cloud"}, None, True),
        ({"name": "cloud:1"}, None, False),
    ],
)
def test_models_of_a_cloud(listed: dict[str, Any], told: dict[str, str] | None, asked: bool) -> None:
    assert (remote(listed), asks_the_cloud(listed)) == (told, asked)


# --- What is said of a model ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("size", "size_vram", "where"),
    [(100, 0, "cpu"), (100, None, "cpu"), (100, 40, "gpu-partly"), (100, 100, "gpu"), (100, 120, "gpu"), (0, 0, "cpu")],
)
def test_where_a_model_computes(size: int, size_vram: int | None, where: str) -> None:
    assert processor({"size": size, "size_vram": size_vram}) == where


LISTED = {
    "name": "a:1",
    "digest": "ab",
    "size": 7,
    "details": {
        "family": "llama",
        "parameter_size": "134.52M",
        "quantization_level": "unknown",
        "context_length": 8192,
    },
    "capabilities": ["completion"],
}
SHOWN = {
    "details": {"family": "llama", "parameter_size": "", "quantization_level": "Q4_1"},
    "model_info": {"general.architecture": "llama", "llama.context_length": 2048, "general.parameter_count": 134515008},
    "capabilities": ["completion", "tools"],
    "template": "{{ .Prompt }}",
    "parameters": line("stop", '"a"'),
    "license": "MIT License\n\nCopyright",
}


def test_without_details_the_list_says_all() -> None:
    assert described(LISTED, None) == {
        "name": "a:1",
        "digest": "ab",
        "size": 7,
        "family": "llama",
        "parameter_size": "134.52M",
        "quantization": "",
        "context_length": 8192,
        "capabilities": ["completion"],
        "remote": None,
        "loaded": None,
    }


def test_what_is_shown_is_believed_before_the_list() -> None:
    assert described(LISTED, None, SHOWN) == {
        **described(LISTED, None),
        "quantization": "Q4_1",
        "context_length": 2048,
        "capabilities": ["completion", "tools"],
        "parameter_count": 134515008,
        "template": "{{ .Prompt }}",
        "system": "",
        "parameters": {"stop": "a"},
        "license": "MIT License",
    }


def test_a_server_that_says_little() -> None:
    told = described({"name": "a:1", "digest": "ab", "size": 7}, None, {})
    assert (told["family"], told["context_length"], told["capabilities"], told["parameters"]) == ("", None, None, {})


@pytest.mark.parametrize(("text", "name"), [("", "apache-2.0"), ("MIT License", "MIT License")])
def test_a_license_without_a_text_is_what_the_weights_say(text: str, name: str) -> None:
    shown = {"license": text, "model_info": {"general.license": "apache-2.0"}}
    assert described(LISTED, None, shown)["license"] == name


@pytest.mark.parametrize("context", [{}, {"context_length": 0}])
def test_a_model_that_is_loaded_by_an_old_server(context: dict[str, int]) -> None:
    running = {"name": "a:1", "size": 9, "size_vram": 0, "expires_at": "2026-05-30T10:49:12Z", **context}
    assert described(LISTED, running)["loaded"] == {
        "processor": "cpu",
        "size": 9,
        "size_vram": 0,
        "context_length": None,
        "expires_at": "2026-05-30T10:49:12Z",
    }


APACHE = """
                                 Apache License
                           Version 2.0, January 2004
                        http://www.apache.org/licenses/

   TERMS AND CONDITIONS FOR USE, REPRODUCTION, AND DISTRIBUTION
"""


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("", ""),
        ("\n \n", ""),
        (APACHE, "Apache License Version 2.0, January 2004 http://www.apache.org/licenses/"),
        ("MIT License\r\n\r\nCopyright", "MIT License"),
        ("x" * TITLE, "x" * TITLE),
        ("x" * (TITLE - 2) + " " + "y" * TITLE, "x" * (TITLE - 2) + "…"),
    ],
    ids=["none", "white space", "of three lines", "of one line", "as long as it may be", "a text"],
)
def test_what_a_license_calls_itself(text: str, name: str) -> None:
    assert title(text) == name
