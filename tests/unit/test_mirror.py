# SPDX-License-Identifier: GPL-3.0-or-later
"""How things are called on a mirror, and which sources a desk asks in which order."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ansible_collections.llmdesk.workstation.plugins.filter import mirror as filters
from ansible_collections.llmdesk.workstation.plugins.filter import network as network_filter
from ansible_collections.llmdesk.workstation.plugins.module_utils import mirror
from ansible_collections.llmdesk.workstation.plugins.plugin_utils import mirrors

from lab import authority

UPSTREAMS = {"registry.ollama.ai": 5443, "ghcr.io": 5444}


@pytest.mark.parametrize(
    ("name", "there"),
    [
        ("llama3.2:3b", "mirror:5443/library/llama3.2:3b"),
        ("smollm2", "mirror:5443/library/smollm2:latest"),
        ("registry.ollama.ai/ann/own:1", "mirror:5443/ann/own:1"),
        ("hf.co/ann/own:1", ""),
    ],
)
def test_a_model_has_a_name_on_the_mirror_of_its_registry(name: str, there: str) -> None:
    assert mirror.model(name, "mirror", UPSTREAMS) == there
    assert mirror.model(name, "", UPSTREAMS) == ""


def test_an_image_has_a_reference_on_the_mirror_of_its_registry() -> None:
    reference = "ghcr.io/open-webui/open-webui:ollama"
    assert mirror.image(reference, "192.0.2.7", UPSTREAMS) == "192.0.2.7:5444/open-webui/open-webui:ollama"
    assert mirror.image("mirror.example.com/ghcr/x:1", "mirror", UPSTREAMS) == ""


def test_the_mirror_is_asked_first_and_the_canonical_name_after_it() -> None:
    pinned = {"name": "qwen3:4b", "sources": [{"name": "hf.co/a/b:1"}, {"name": "qwen3:4b", "digest": "d"}]}
    gone = {"name": "llama3.2:1b", "state": "absent"}
    found = mirror.models_mirrored(["llama3.2:3b", pinned, gone, "no/such/a/name"], "mirror", UPSTREAMS)
    assert found[0]["sources"] == [
        {"name": "mirror:5443/library/llama3.2:3b", "of": "llama3.2:3b"},
        {"name": "llama3.2:3b"},
        {"demo": True},
    ]
    assert found[1]["sources"] == [
        {"name": "hf.co/a/b:1"},
        {"name": "mirror:5443/library/qwen3:4b", "digest": "d", "of": "qwen3:4b"},
        {"name": "qwen3:4b", "digest": "d"},
    ]
    assert found[2]["state"] == "absent"
    assert found[3]["sources"] == [{"name": "no/such/a/name"}, {"demo": True}]  # refused where it is brought
    assert mirror.models_mirrored(["llama3.2:3b"], "", UPSTREAMS) == ["llama3.2:3b"]


def test_the_mirror_has_the_image_before_the_registry() -> None:
    sources: list[dict[str, Any]] = [{"registry": "ghcr.io/a/b:c", "engine": "cpu"}, {"build": True}]
    assert mirror.images_mirrored(sources, "mirror", UPSTREAMS) == [
        {"registry": "mirror:5444/a/b:c", "engine": "cpu", "of": "ghcr.io/a/b:c"},
        sources[0],
        {"build": True, "shared": "mirror:5445"},
    ]
    assert mirror.images_mirrored(sources, "", UPSTREAMS) == sources


def test_a_mirror_fetches_what_its_desks_declare_once() -> None:
    told = {
        "a": {"ollama_models": ["smollm2:135m", "auto", {"name": "x:1", "state": "absent"}]},
        "b": {"ollama_models": [{"name": "own:1", "create": {"from": "smollm2:135m"}}, "hf.co/a/b:1"]},
        "c": {"open_webui_image_sources": [{"build": True}]},
    }
    found = filters.mirror(told, ["a", "b", "c"], UPSTREAMS)
    upstream = {"upstream": "registry.ollama.ai"}
    assert found["models"] == [
        {"name": "smollm2:135m", **upstream, "repository": "library/smollm2", "tag": "135m"},
        # The role's own default, of the desk that declares nothing.
        {"name": "llama3.2:3b", **upstream, "repository": "library/llama3.2", "tag": "3b"},
    ]
    assert found["images"] == [
        {
            "name": "ghcr.io/open-webui/open-webui:ollama",
            "upstream": "ghcr.io",
            "repository": "open-webui/open-webui",
            "tag": "ollama",
        }
    ]


def test_a_desk_trusts_its_mirror_and_goes_to_it_without_the_proxy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    proxy = {"http": "http://proxy.example.com:3128", "no_proxy": [".example.com"]}
    assert network_filter.network(proxy, [], "mirror")["certificates"] == []
    kept = mirrors.authority_file("mirror")
    kept.parent.mkdir(parents=True)
    kept.write_bytes(authority.certificate("mirror")[0])
    found = network_filter.network(proxy, [], "mirror")
    assert found["certificates"] == [kept.read_text()]
    assert found["proxy"]["no_proxy"] == [".example.com", "mirror"]
    assert network_filter.network({}, [], "")["certificates"] == []


@pytest.mark.parametrize("name", ["mirror", "192.0.2.7", "fd00::7", "../../etc/passwd", "a/b"])
def test_a_certificate_is_kept_in_its_folder_and_nowhere_else(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert mirrors.authority_file(name).parent == tmp_path / "llmdesk" / "mirrors"
