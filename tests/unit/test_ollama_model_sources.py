# SPDX-License-Identifier: GPL-3.0-or-later
"""Which source of a model counts: what was not reached, what answered no, and what may stand in."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible_collections.llmdesk.workstation.plugins.module_utils import model_bringer, model_manifest, registry
from ansible_collections.llmdesk.workstation.plugins.module_utils.demo_model import DEMO, need_pip
from ansible_collections.llmdesk.workstation.plugins.module_utils.model_name import LIBRARY, tags
from ansible_collections.llmdesk.workstation.plugins.module_utils.registry import RegistryError
from ansible_collections.llmdesk.workstation.plugins.modules.ollama_model import Model, NoSourceLeft

from tests.unit.servers import Loopback, Reply, as_json, loopback

MANIFEST = '{"status":"pulling manifest"}\n'
NO_SUCH_TAG = '{"error":"pull model manifest: file does not exist"}\n'
SUCCESS = '{"status":"success"}\n'
GGUF = b"GGUF and so on"
DIGEST = hashlib.sha256(GGUF).hexdigest()


class Server:
    """An Ollama that has what is pulled from a registry that has ``pullable``, and answers no for everything else."""

    def __init__(self, loopback_server: Loopback) -> None:
        self.http = loopback_server
        self.pullable: set[str] = set()
        self.pulled: list[str] = []
        self.there: dict[str, str] = {}
        loopback_server.answers.update(
            {
                "GET /api/tags": lambda _body: as_json({"models": self._models()}),
                "POST /api/pull": self._pull,
                "POST /api/create": self._create,
                "POST /api/show": as_json({"capabilities": ["completion"], "template": "{{ .Messages }}"}),
                "POST /api/copy": self._copy,
                "DELETE /api/delete": self._delete,
                f"HEAD /api/blobs/sha256:{DIGEST}": Reply(200),
            }
        )

    def _models(self) -> list[dict[str, Any]]:
        return [{"name": name, "digest": digest, "size": 1} for name, digest in self.there.items()]

    def _pull(self, body: bytes) -> Reply:
        name = json.loads(body)["model"]
        self.pulled.append(name)
        if name not in self.pullable:
            return Reply(lines=(MANIFEST, NO_SUCH_TAG))
        self.there[name] = "pulled"
        return Reply(lines=(MANIFEST, SUCCESS))

    def _create(self, body: bytes) -> Reply:
        self.there[json.loads(body)["model"]] = "created"
        return Reply(lines=(SUCCESS,))

    def _copy(self, body: bytes) -> Reply:
        wanted = json.loads(body)
        self.there[wanted["destination"]] = self.there[wanted["source"]]
        return Reply()

    def _delete(self, body: bytes) -> Reply:
        del self.there[json.loads(body)["model"]]
        return Reply()


@pytest.fixture
def ollama(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Server]:
    """An Ollama, registries of which only those named ``dead`` cannot be reached, and a demo model of some bytes."""

    def manifest(name: str, _timeout: float, _insecure: bool) -> model_manifest.Manifest:
        host = name.split("/")[0] if name.count("/") == 2 else LIBRARY
        if host.startswith("dead"):
            raise RegistryError(f"{host} cannot be reached: No route to host", "unreachable")
        if name not in thin.pullable:
            raise RegistryError(f"{host} has no such model; its tags stand at {tags(name)}", "not_found")
        return model_manifest.Manifest("pulled", "", ())

    kept = tmp_path / "models" / f"{DIGEST}.gguf"
    kept.parent.mkdir()
    kept.write_bytes(GGUF)
    monkeypatch.setattr(registry, "manifest", manifest)
    monkeypatch.setitem(DEMO, "sha256", DIGEST)
    monkeypatch.setitem(DEMO, "size", len(GGUF))
    with loopback({}) as server:
        thin = Server(server)
        yield thin


@pytest.fixture
def ensure(ollama: Server, tmp_path: Path) -> Callable[..., dict[str, Any]]:
    def run(name: str, sources: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
        params = {
            "name": name,
            "state": "present",
            "sources": sources,
            "url": ollama.http.url,
            "cache_dir": str(tmp_path),
            "create": None,
            "loaded": None,
            "keep_alive": "-1m",
            "verify": "size",
            "transport": "http",
            "container": None,
            "models_dir": None,
            "timeout_connect": 1.0,
            "stall_timeout": 5.0,
            "retries": 0,
            "progress_file": None,
        }
        return Model(SimpleNamespace(params={**params, **more}, check_mode=False)).ensure()

    return run


def test_the_demo_stands_in_where_no_source_can_be_reached(ensure: Callable[..., dict[str, Any]]) -> None:
    result = ensure("llama3.2:3b", [{"name": "dead.example/library/llama3.2:3b"}, {"demo": True}])
    assert (result["model"]["name"], result["fell_back"], result["changed"]) == (DEMO["name"], True, True)
    assert [entry["error"] for entry in result["tried"]] == ["dead.example cannot be reached: No route to host"]


def test_the_demo_does_not_stand_in_for_a_tag_that_does_not_exist(
    ensure: Callable[..., dict[str, Any]], ollama: Server
) -> None:
    with pytest.raises(NoSourceLeft) as failure:
        ensure("llama3.2:3bb", [{"name": "llama3.2:3bb"}, {"demo": True}])
    assert (
        str(failure.value) == f"{LIBRARY} has no such model; its tags stand at https://ollama.com/library/llama3.2/tags"
    )
    assert ollama.there == {}


@pytest.mark.parametrize("order", [1, -1])
def test_one_answer_among_dead_registries_is_enough(ensure: Callable[..., dict[str, Any]], order: int) -> None:
    named = [{"name": "dead.example/library/llama3.2:3bb"}, {"name": "llama3.2:3bb"}][::order]
    with pytest.raises(NoSourceLeft, match=f"{LIBRARY} has no such model") as failure:
        ensure("llama3.2:3bb", [*named, {"demo": True}])
    assert "dead.example/library/llama3.2:3bb: dead.example cannot be reached" in str(failure.value)


def test_what_one_registry_does_not_have_another_may(ensure: Callable[..., dict[str, Any]], ollama: Server) -> None:
    ollama.pullable.add("mirror.example/library/llama3.2:3b")
    result = ensure("llama3.2:3b", [{"name": "llama3.2:3b"}, {"name": "mirror.example/library/llama3.2:3b"}])
    assert (result["model"]["name"], result["fell_back"]) == ("llama3.2:3b", False)
    assert ollama.there == {"llama3.2:3b": "pulled"}  # and not under the mirror's name


def test_a_file_after_a_no_is_the_model_itself(ensure: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    file = {"from_file": str(tmp_path / "models" / f"{DIGEST}.gguf"), "sha256": DIGEST.upper()}
    result = ensure("own:1", [{"name": "own:1"}, {"demo": True}, file])
    assert (result["model"]["name"], result["fell_back"]) == ("own:1", False)


def test_the_demo_may_stand_for_itself(ensure: Callable[..., dict[str, Any]]) -> None:
    mirrored = {"name": f"mirror.example/library/{DEMO['name']}"}
    result = ensure(DEMO["name"], [mirrored, {"demo": True}])
    assert (result["model"]["name"], result["fell_back"]) == (DEMO["name"], False)


def test_a_pull_that_moves_no_more_is_broken_off_though_its_lines_go_on(
    ensure: Callable[..., dict[str, Any]], ollama: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Ollama repeats its last line sixteen times a second while nothing comes.
    clock = iter(range(1_000))
    times = SimpleNamespace(monotonic=lambda: float(next(clock)), sleep=lambda _seconds: None)
    monkeypatch.setattr(model_bringer, "time", times)
    moving = [f'{{"status":"pulling aa","digest":"aa","total":900,"completed":{done}}}\n' for done in range(20)]
    monkeypatch.setattr(model_bringer.Bringer, "_pause", lambda *_arguments: None)
    ollama.pullable.add("own:1")
    ollama.http.answers["POST /api/pull"] = Reply(lines=(*moving, *moving[-1:] * 20, SUCCESS))
    with pytest.raises(NoSourceLeft, match=r"no byte came for 5 s, 1 times; 0\.0 MB are there"):
        ensure("own:1", [])
    ollama.http.answers["POST /api/pull"] = Reply(lines=(*moving, *moving[-1:] * 4, SUCCESS))
    with pytest.raises(NoSourceLeft, match="does not list"):
        ensure("own:1", [])


@pytest.mark.parametrize(
    ("name", "page"),
    [
        ("llama3.2", "https://ollama.com/library/llama3.2/tags"),
        ("llama:3b", "https://ollama.com/library/llama3.2/tags"),
        ("somebody/model:1", "https://ollama.com/somebody/model/tags"),
        ("hf.co/somebody/model:Q4_K_M", "https://hf.co/somebody/model"),
        ("models.example:5000/library/m:1", "https://models.example:5000/v2/library/m/tags/list"),
    ],
)
def test_where_the_tags_of_a_model_stand(name: str, page: str) -> None:
    assert tags(name) == page


@pytest.mark.parametrize("lists", ["readable", "one repository out of order"])
def test_pip_comes_after_the_package_lists_were_read(
    tmp_path: Path, lists: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # On a machine that was just set up, 'apt-get install' alone finds no package.
    log = tmp_path / "log"
    apt = tmp_path / "apt-get"
    fails = "1" if lists != "readable" else "0"
    apt.write_text(f'#!/bin/sh\necho "$*" >> {log}\n[ "$1" != update ] || exit {fails}\n')
    apt.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    need_pip(lambda *_told: None)
    assert [line.split()[0] for line in log.read_text().splitlines()] == ["update", "install"]


def test_a_mirror_that_has_something_else_is_passed_over(
    ensure: Callable[..., dict[str, Any]], ollama: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_mirror = "mirror:5443/library/tiny:1"
    sources = [{"name": on_mirror, "of": "tiny:1"}, {"name": "tiny:1"}]
    ollama.pullable |= {on_mirror, "tiny:1"}
    assert (ensure("tiny:1", sources)["source"], ollama.pulled) == (on_mirror, [on_mirror])
    assert list(ollama.there) == ["tiny:1"]

    def lies(name: str, _timeout: float, _insecure: bool) -> model_manifest.Manifest:
        return model_manifest.Manifest("other" if name == on_mirror else "pulled", "", ())

    monkeypatch.setattr(registry, "manifest", lies)
    ollama.there.clear()
    result = ensure("tiny:1", sources)
    assert (result["source"], result["fell_back"]) == ("tiny:1", False)
    said = f"the mirror has the digest other under that name, and {LIBRARY} pulled; nothing was pulled"
    assert result["tried"] == [{"source": on_mirror, "error": said, "reason": "digest_mismatch"}]


def test_a_mirror_is_believed_where_its_registry_cannot_be_asked(
    ensure: Callable[..., dict[str, Any]], ollama: Server
) -> None:
    on_mirror = "mirror:5443/library/tiny:1"
    ollama.pullable.add(on_mirror)
    source = {"name": on_mirror, "of": "dead.example/library/tiny:1"}
    assert ensure("tiny:1", [source])["source"] == on_mirror


@pytest.mark.parametrize("of", [None, "llama3.2:3b"])
def test_only_what_a_mirror_brings_is_the_lans(
    ensure: Callable[..., dict[str, Any]], ollama: Server, tmp_path: Path, of: str | None
) -> None:
    ollama.pullable.add("mirror.example/library/llama3.2:3b")
    (tmp_path / "progress.lease").touch()
    # As Ansible hands sources over: what was not given is there, and None.
    source = {"name": "mirror.example/library/llama3.2:3b", "of": of}
    ensure("llama3.2:3b", [source], progress_file=str(tmp_path / "progress"))
    assert json.loads((tmp_path / "progress").read_text())["lan"] is bool(of)
