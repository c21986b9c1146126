# SPDX-License-Identifier: GPL-3.0-or-later
"""A bundle: what has to be in it, how it comes, what is wrong with one, and who needs what of it."""

from __future__ import annotations

import errno
import hashlib
import io
import json
import re
import subprocess
import tarfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from ansible_collections.llmdesk.workstation.plugins.action.bundle_files import parcels
from ansible_collections.llmdesk.workstation.plugins.module_utils import (
    bundle,
    bundle_packages,
    bundle_sources,
    bundle_wheels,
    demo_model,
    model_bringer,
    oci_layout,
    probe,
    program,
)
from ansible_collections.llmdesk.workstation.plugins.module_utils.bundle_sources import NoSource
from ansible_collections.llmdesk.workstation.plugins.module_utils.model_bringer import Bringer, Limits, SourceFailed
from ansible_collections.llmdesk.workstation.plugins.module_utils.model_store import Store
from ansible_collections.llmdesk.workstation.plugins.module_utils.ollama import Ollama
from ansible_collections.llmdesk.workstation.plugins.module_utils.progress import Progress
from ansible_collections.llmdesk.workstation.plugins.module_utils.registry import RegistryError
from ansible_collections.llmdesk.workstation.plugins.module_utils.registry_files import (
    PART,
    NotWritten,
    RegistryFiles,
)
from ansible_collections.llmdesk.workstation.plugins.modules import bundle as making
from ansible_collections.llmdesk.workstation.plugins.modules import open_webui_image
from ansible_collections.llmdesk.workstation.plugins.modules.bundle_files import Damaged, Files

from llmdesk import suggest
from llmdesk.run import Play, ask
from tests.unit.servers import Loopback, Reply, as_json, loopback
from tests.unit.test_packaging import COLLECTION, ROOT

FINISHED = json.loads((ROOT / "tests/unit/fixtures/desk/finished.json").read_text())


def sha(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


# --- A registry that serves ranges, as real ones do -------------------------------------------------------------------


class Registry(ThreadingHTTPServer):
    """``content`` by path; ``asked`` has each path with its range and its token; ``cut`` ends an answer early, once."""

    daemon_threads = True
    content: dict[str, bytes]
    asked: list[tuple[str, str, str]]
    ranges = True
    cut = 0
    wants_token = False

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.server_port}"

    def files(self, retries: int = 1) -> RegistryFiles:
        return RegistryFiles(self.host, "library/tiny", 2, retries, insecure=True)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Registry

    def do_GET(self) -> None:
        opened, given = self.headers.get("Authorization") or "", self.headers.get("Range") or ""
        self.server.asked.append((self.path, given, opened))
        body = self.server.content.get(self.path)
        first = int(given[6:-1]) if given and self.server.ranges else 0
        if self.path.startswith("/token"):
            self._send(200, b'{"token": "t0ken"}')
        elif self.server.wants_token and not opened:
            challenge = f'Bearer realm="http://{self.server.host}/token",service="x"'
            self._send(401, b"", {"WWW-Authenticate": challenge})
        elif body is None:
            self._send(404, b"")
        elif first >= len(body):
            self._send(416, b"")
        else:
            self._send(206 if first else 200, body[first:])

    def _send(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {**(headers or {}), "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.server.cut and len(body) > self.server.cut:
            body, self.server.cut, self.close_connection = body[: self.server.cut], 0, True
        self.wfile.write(body)

    def log_message(self, *_arguments: Any) -> None:
        pass


@contextmanager
def serving() -> Iterator[Registry]:
    server = Registry(("127.0.0.1", 0), Handler)
    server.content, server.asked = {}, []
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture
def registry() -> Iterator[Registry]:
    with serving() as server:
        yield server


BLOB = bytes(range(256)) * 4000
PATH = f"/v2/library/tiny/blobs/sha256:{sha(BLOB)}"


def tell(_done: int, _detail: str) -> None:
    pass


@pytest.mark.parametrize("ranges", [True, False])
def test_a_blob_that_was_cut_off_is_carried_on(registry: Registry, tmp_path: Path, ranges: bool) -> None:
    registry.content[PATH], registry.ranges = BLOB, ranges
    (tmp_path / f"blob{PART}").write_bytes(BLOB[:1000])
    registry.files().blob(sha(BLOB), f"{tmp_path}/blob", tell)
    assert (tmp_path / "blob").read_bytes() == BLOB
    assert registry.asked == [(PATH, "bytes=1000-", "")]
    assert [path.name for path in tmp_path.iterdir()] == ["blob"]


def test_an_answer_that_ends_early_is_carried_on_from_there(registry: Registry, tmp_path: Path) -> None:
    registry.content[PATH], registry.cut = BLOB, 600_000
    registry.files().blob(sha(BLOB), f"{tmp_path}/blob", tell)
    assert (tmp_path / "blob").read_bytes() == BLOB
    assert [given for _path, given, _opened in registry.asked] == ["", "bytes=600000-"]


def test_a_blob_that_is_there_is_looked_at_and_one_with_a_flipped_byte_comes_anew(
    registry: Registry, tmp_path: Path
) -> None:
    registry.content[PATH] = BLOB
    (tmp_path / "blob").write_bytes(BLOB)
    registry.files().blob(sha(BLOB), f"{tmp_path}/blob", tell)
    assert registry.asked == []
    (tmp_path / "blob").write_bytes(b"x" + BLOB[1:])
    registry.files().blob(sha(BLOB), f"{tmp_path}/blob", tell)
    assert (tmp_path / "blob").read_bytes() == BLOB


def test_what_was_left_damaged_is_fetched_once_more_from_the_beginning(registry: Registry, tmp_path: Path) -> None:
    registry.content[PATH] = BLOB
    (tmp_path / f"blob{PART}").write_bytes(b"x" * 1000)
    registry.files().blob(sha(BLOB), f"{tmp_path}/blob", tell)
    assert (tmp_path / "blob").read_bytes() == BLOB
    assert [given for _path, given, _opened in registry.asked] == ["bytes=1000-", ""]


def test_a_registry_that_sends_other_bytes_is_told_from_one_that_has_none(registry: Registry, tmp_path: Path) -> None:
    registry.content[PATH] = b"x" * len(BLOB)
    with pytest.raises(RegistryError, match="sent other bytes than those of sha256") as wrong:
        registry.files().blob(sha(BLOB), f"{tmp_path}/blob", tell)
    assert wrong.value.reason == "digest_mismatch"
    del registry.content[PATH]
    with pytest.raises(RegistryError, match="library/tiny, or not all of it") as missing:
        registry.files().blob(sha(BLOB), f"{tmp_path}/blob", tell)
    assert missing.value.reason == "not_found"
    assert list(tmp_path.iterdir()) == []


def test_a_token_that_everybody_gets_is_fetched_and_shown(registry: Registry, tmp_path: Path) -> None:
    registry.content[PATH], registry.wants_token = BLOB, True
    registry.files().blob(sha(BLOB), f"{tmp_path}/blob", tell)
    assert (tmp_path / "blob").read_bytes() == BLOB
    assert registry.asked[-1] == (PATH, "", "Bearer t0ken")


def test_a_full_disk_is_no_broken_line(registry: Registry) -> None:
    registry.content[PATH] = BLOB
    with pytest.raises(NotWritten) as full:
        registry.files()._carry_on(sha(BLOB), "/dev/full", tell)
    assert isinstance(full.value.__cause__, OSError)
    assert full.value.__cause__.errno == errno.ENOSPC


# --- An image as a folder ---------------------------------------------------------------------------------------------

IMAGE = "ghcr.example.com/open-webui/open-webui:ollama"
LAYER = b"a layer, compressed or not" * 100


def laid_out(folder: Path) -> dict[str, str]:
    """Make a layout with one image, and return the sha256 of its parts."""
    config = json.dumps({"rootfs": {"diff_ids": ["sha256:" + sha(LAYER)]}}).encode()
    parts = {"config": config, "layer": LAYER}
    named = {kind: {"digest": f"sha256:{sha(part)}", "size": len(part)} for kind, part in parts.items()}
    parts["manifest"] = json.dumps({"config": named["config"], "layers": [named["layer"]]}).encode()
    blobs = folder / "blobs" / "sha256"
    blobs.mkdir(parents=True)
    for part in parts.values():
        (blobs / sha(part)).write_bytes(part)
    entry = {"digest": f"sha256:{sha(parts['manifest'])}", "annotations": {oci_layout.NAME: IMAGE}}
    (folder / "index.json").write_text(json.dumps({"manifests": [entry]}))
    return {kind: sha(part) for kind, part in parts.items()}


def test_a_layout_becomes_an_archive_as_docker_takes_it(tmp_path: Path) -> None:
    sums = laid_out(tmp_path)
    with tarfile.open(fileobj=io.BytesIO(b"".join(oci_layout.archive(str(tmp_path), IMAGE)))) as archive:
        content = {member.name: archive.extractfile(member).read() for member in archive}  # type: ignore[union-attr]
    config, layer = (f"blobs/sha256/{sums[kind]}" for kind in ("config", "layer"))
    assert json.loads(content["manifest.json"]) == [{"Config": config, "RepoTags": [IMAGE], "Layers": [layer]}]
    assert content[layer] == LAYER


@pytest.mark.parametrize("kind", ["manifest", "config", "layer"])
def test_a_flipped_byte_in_an_image_is_named_with_what_mends_it(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "blobs" / "sha256" / laid_out(tmp_path)[kind]
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(oci_layout.Damaged, match=f"{path} is damaged.*'./llmdesk bundle' brings it anew"):
        list(oci_layout.archive(str(tmp_path), IMAGE))
    path.unlink()
    with pytest.raises(oci_layout.Damaged, match=f"{path} is missing"):
        list(oci_layout.archive(str(tmp_path), IMAGE))


def test_what_to_do_about_the_network_is_said_where_a_source_would_use_it() -> None:
    carried = {"archive": "/usb/images", "reference": IMAGE, "engine": "cuda"}
    assert open_webui_image.failed("it is damaged", [carried]) == "No source has the image. it is damaged."
    for source in ({"registry": IMAGE}, {"build": True}):
        assert "Free the network" in open_webui_image.failed("nobody answers", [carried, source])


def test_a_copy_on_a_desk_that_is_damaged_goes_and_the_next_run_brings_it_anew(tmp_path: Path) -> None:
    (tmp_path / probe.COPY).touch()
    path = tmp_path / "images" / "blobs" / "sha256" / laid_out(tmp_path / "images")["layer"]
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(oci_layout.Damaged, match=f"{path} was damaged.*; the same command brings it anew"):
        list(oci_layout.archive(f"{tmp_path}/images", IMAGE))
    assert not path.exists()


# --- A model as a folder ----------------------------------------------------------------------------------------------


class Taking:
    """An Ollama that takes blobs in, holds them to their names, and lists what has a manifest in its store."""

    def __init__(self, server: Loopback, store: Path) -> None:
        self.store = store
        for digest in map(sha, (BLOB, b"{}")):
            server.answers[f"HEAD /api/blobs/sha256:{digest}"] = partial(self._has, digest)
            server.answers[f"POST /api/blobs/sha256:{digest}"] = partial(self._take, digest)
        server.answers["GET /api/tags"] = lambda _body: self._tags()

    def _has(self, digest: str, _body: bytes) -> Reply:
        return Reply(200 if (self.store / "blobs" / f"sha256-{digest}").exists() else 404)

    def _take(self, digest: str, body: bytes) -> Reply:
        if sha(body) != digest:
            return as_json({"error": f"digest mismatch, expected {digest!r}"}, 400)
        (self.store / "blobs" / f"sha256-{digest}").write_bytes(body)
        return Reply(201)

    def _tags(self) -> Reply:
        there = [path for path in self.store.glob("manifests/*/*/*/*") if path.is_file()]
        names = [f"{path.parent.name}:{path.name}" for path in there]
        return as_json({"models": [{"name": name, "digest": "d", "size": 1} for name in names]})


@pytest.fixture
def carried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Bringer, Path, Path]]:
    """Something that brings models, a bundle's models with one in it, and the store of a server."""
    monkeypatch.setattr(model_bringer, "TORN", 0.0)
    given, store = tmp_path / "usb" / "models", tmp_path / "store"
    for folder in (given / "blobs", given / "manifests/registry.ollama.ai/library/tiny", store / "blobs"):
        folder.mkdir(parents=True)
    layers = [{"digest": f"sha256:{sha(part)}", "size": len(part), "mediaType": "x"} for part in (BLOB, b"{}")]
    (given / "manifests/registry.ollama.ai/library/tiny/1").write_text(json.dumps({"layers": layers}))
    (given / "blobs" / f"sha256-{sha(BLOB)}").write_bytes(BLOB)
    (given / "blobs" / f"sha256-{sha(b'{}')}").write_bytes(b"{}")
    with loopback({}) as server:
        Taking(server, store)
        limits = Limits(1, 1, 0)
        yield Bringer(Ollama(server.url), Store(str(store)), Progress(None), limits), given, store


def test_a_model_is_carried_out_of_a_folder_with_its_manifest_last(carried: tuple[Bringer, Path, Path]) -> None:
    bringer, given, store = carried
    assert bringer.carry(str(given), "tiny:1") == len(BLOB) + 2
    there = {path.relative_to(store): path.read_bytes() for path in store.rglob("*") if path.is_file()}
    assert there == {path.relative_to(given): path.read_bytes() for path in given.rglob("*") if path.is_file()}
    assert bringer.carry(str(given), "tiny:1") == 0


def test_a_blob_that_a_crash_left_wrong_on_the_desk_is_brought_anew(carried: tuple[Bringer, Path, Path]) -> None:
    bringer, given, store = carried
    (store / "blobs" / f"sha256-{sha(BLOB)}").write_bytes(b"x" * len(BLOB))
    bringer.carry(str(given), "tiny:1")
    assert (store / "blobs" / f"sha256-{sha(BLOB)}").read_bytes() == BLOB


def test_a_model_that_is_damaged_or_not_all_there_is_named_and_not_listed(carried: tuple[Bringer, Path, Path]) -> None:
    bringer, given, store = carried
    path = given / "blobs" / f"sha256-{sha(BLOB)}"
    path.write_bytes(b"x" + BLOB[1:])
    with pytest.raises(SourceFailed, match=f"{path} is damaged: its bytes .*'./llmdesk bundle' brings it anew"):
        bringer.carry(str(given), "tiny:1")
    path.unlink()
    with pytest.raises(SourceFailed, match=f"{path} is missing"):
        bringer.carry(str(given), "tiny:1")
    with pytest.raises(SourceFailed, match="has no other:1"):
        bringer.carry(str(given), "other:1")
    assert list(store.rglob("manifests/**/1")) == []


def test_a_copy_of_a_model_that_is_damaged_goes(carried: tuple[Bringer, Path, Path]) -> None:
    bringer, given, _store = carried
    (given.parent / probe.COPY).touch()
    path = given / "blobs" / f"sha256-{sha(BLOB)}"
    path.write_bytes(b"x" + BLOB[1:])
    with pytest.raises(SourceFailed, match=f"{path} was damaged.*; the same command brings it anew"):
        bringer.carry(str(given), "tiny:1")
    assert not path.exists()


# --- What has to be in it ---------------------------------------------------------------------------------------------

DEFAULTS: dict[str, Any] = {}
for role in ("open_webui", "ollama_models"):
    DEFAULTS |= yaml.safe_load((COLLECTION / "roles" / role / "defaults" / "main.yml").read_text())


def desk(name: str = "desk1", said: str = "trixie\namd64", **variables: Any) -> dict[str, Any]:
    return {"inventory_hostname": name, "__bundle_said": {"stdout": said}, **variables}


def test_a_bundle_has_what_the_inventory_needs_once() -> None:
    own = [{"registry": "registry.example.com/webui:1"}]
    desks = [desk(), desk("desk2"), desk("desk3", "noble x86_64", ollama_models=["qwen3:4b"])]
    desks.append(desk("desk4", "", open_webui_image_sources=own, ollama_models=[{"name": "x:1", "state": "absent"}]))
    found = bundle.wanted(desks, DEFAULTS, [])
    assert found["images"] == [DEFAULTS["open_webui_image_sources"], own]
    assert [entry["name"] for entry in found["models"]] == ["llama3.2:3b", "qwen3:4b"]
    assert (found["systems"], found["errors"]) == (["debian-13-amd64", "ubuntu-24.04-amd64"], [])
    assert found["silent"] == ["desk4"]
    assert bundle.wanted(desks, DEFAULTS, ["debian-13"])["silent"] == []


def test_desks_that_did_not_answer_are_named_with_what_is_missing_for_others() -> None:
    made = {"bundle": {"images": [], "models": {}, "systems": ["debian-13-amd64"]}, "bytes": 1, "tried": []}
    assert bundle.said(made, "/usb", False, ["desk30", "desk31"]).splitlines()[0] == (
        "desk30, desk31 did not answer: of packages, only those for debian-13-amd64 are here; where that is not the "
        "system, name it with --system."
    )
    assert "did not answer" not in bundle.said(made, "/usb", False)


def test_a_registry_with_a_port_is_refused_in_a_model_s_own_name() -> None:
    """Its manifest would lie in a folder of that name, which exFAT refuses."""
    for name in ("host.example.com:5000/ns/m:1", {"name": "mine:1", "create": {"from": "localhost:5000/ns/m:1"}}):
        (error,) = bundle.wanted([desk(ollama_models=[name])], DEFAULTS, [])["errors"]
        assert "declare it under a plain name, with that registry in sources" in error
    plain: dict[str, Any] = {"name": "m:1", "sources": [{"name": "host.example.com:5000/ns/m:1"}]}
    assert bundle.wanted([desk(ollama_models=[plain, "hf.co/ns/m:Q4"])], DEFAULTS, [])["errors"] == []


@pytest.mark.parametrize(
    ("given", "systems", "words"),
    [
        (desk(ollama_models=["auto"]), [], "desk1 chooses its model by itself"),
        (desk(said="sid\namd64"), [], "desk1 has a system whose packages no bundle has"),
        (desk(said=""), [], "No desk has answered"),
        (desk(), ["debian-12", "debian-13-arm64"], "A bundle is for machines of one kind"),
        (desk(), ["fedora-43"], "fedora-43 is no system whose packages a bundle has: debian-12,"),
    ],
)
def test_what_nobody_can_bring_along_is_said_before_anything_comes(
    given: dict[str, Any], systems: list[str], words: str
) -> None:
    (error,) = bundle.wanted([given], DEFAULTS, systems)["errors"]
    assert error.startswith(words)
    assert "--system" in error or "--model" in error or systems


def test_systems_that_are_named_are_taken_as_they_are() -> None:
    found = bundle.wanted([desk(said="")], DEFAULTS, ["debian-12", "debian-13-amd64"])
    assert (found["systems"], found["errors"]) == (["debian-12-amd64", "debian-13-amd64"], [])
    assert bundle.wanted([desk(said="")], DEFAULTS, ["none"])["systems"] == []


def test_the_systems_are_everywhere_the_same() -> None:
    assert suggest.SYSTEMS == tuple(bundle.SYSTEMS) == tuple(bundle_packages.PACKAGES)


def test_packages_for_another_release_come_from_where_those_of_this_machine_do() -> None:
    own = [
        "http://deb.example.com/debian bookworm main /keys/debian.gpg",
        "http://deb.example.com/debian-security bookworm-security main $(SIGNED_BY)",
        "https://docker.example.com/linux bookworm stable",
    ]
    assert bundle_packages.sources("debian-13", own).splitlines() == [
        "deb [signed-by=/keys/debian.gpg] http://deb.example.com/debian trixie main",
        "deb http://deb.example.com/debian-security trixie-security main",
    ]
    with pytest.raises(bundle_packages.NotFetched, match=r"ubuntu-24\.04 come on a machine with Ubuntu"):
        bundle_packages.sources("ubuntu-24.04", own)
    stable = ["http://deb.example.com/debian stable main", "https://chrome.example.com/linux stable main"]
    with pytest.raises(bundle_packages.NotFetched, match=r"this machine's name none .*\(bookworm, trixie\)"):
        bundle_packages.sources("debian-13", stable)
    with pytest.raises(bundle_packages.NotFetched, match="this one has another system"):
        bundle_packages.sources("debian-13", stable[1:])


def test_a_folder_of_packages_is_described_as_the_repositories_do() -> None:
    said = f"""Reading package lists...
'http://deb.example.com/pool/a/attr/libattr1_2.5_amd64.deb' libattr1_1%3a2.5_amd64.deb 22 SHA256:{"a" * 64}
"""
    wanted = bundle_packages.listed(said)
    assert wanted == {"libattr1_1%3a2.5_amd64.deb": "a" * 64}
    record = f"Package: libattr1\nFilename: pool/a/attr/libattr1_2.5_amd64.deb\nSize: 22\nSHA256: {'a' * 64}"
    other = f"Package: libattr1\nFilename: pool/a/attr/libattr1_2.5+b1_amd64.deb\nSize: 23\nSHA256: {'b' * 64}"
    assert bundle_packages.index(f"{record}\n\n{other}\n\n", wanted) == (
        f"Package: libattr1\nSize: 22\nSHA256: {'a' * 64}\nFilename: ./libattr1_1%3a2.5_amd64.deb\n"
    )


# --- Making one, of a registry alone ----------------------------------------------------------------------------------


LIMITS: dict[str, Any] = {"timeout_connect": 2, "retries": 0, "progress_file": None}


class Made:
    """A bundle in the making: no packages, no wheels, and every registry without TLS."""

    def __init__(self, registry: Registry, folder: Path, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.registry, self.folder, self.project = registry, folder, project
        project.mkdir()
        (project / "llmdesk").write_text("#!/bin/sh\n")
        config = json.dumps({"architecture": "amd64"}).encode()
        parts = {"config": config, "layer": LAYER}
        named = {kind: {"digest": f"sha256:{sha(part)}", "size": len(part)} for kind, part in parts.items()}
        image = json.dumps({"mediaType": "m", "config": named["config"], "layers": [named["layer"]]}).encode()
        listed = [{"digest": f"sha256:{sha(image)}", "platform": {"architecture": "amd64"}}]
        content = registry.content
        content["/v2/webui/manifests/1"] = json.dumps({"manifests": listed}).encode()
        content[f"/v2/webui/manifests/sha256:{sha(image)}"] = image
        content.update({f"/v2/webui/blobs/sha256:{sha(part)}": part for part in parts.values()})
        layers = [{"digest": f"sha256:{sha(BLOB)}", "size": len(BLOB), "mediaType": "x"}]
        content["/v2/library/tiny/manifests/1"] = json.dumps({"layers": layers}).encode()
        content[PATH] = BLOB
        real = RegistryFiles

        def plain(host: str, repository: str, timeout: float, retries: int, insecure: bool = True) -> RegistryFiles:
            return real(host, repository, timeout, retries, True)

        monkeypatch.setattr(bundle_sources, "RegistryFiles", plain)
        monkeypatch.setattr(bundle_wheels, "fetch", lambda *_arguments: set())

    def make(self, check: bool = False, **more: Any) -> dict[str, Any]:
        params = {
            "path": str(self.folder),
            "images": [[{"registry": f"{self.registry.host}/webui:1"}, {"build": True}]],
            "models": [{"name": "tiny:1", "sources": [{"name": f"{self.registry.host}/library/tiny:1"}]}],
            "systems": [],
            "project": str(self.project),
            **LIMITS,
            **more,
        }
        return making.Bundle(SimpleNamespace(params=params, check_mode=check)).make()


@pytest.fixture
def made(registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Made:
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    return Made(registry, tmp_path / "usb", tmp_path / "project", monkeypatch)


def test_a_bundle_is_made_whole_and_a_second_time_only_looked_at(made: Made) -> None:
    predicted = made.make(check=True)
    assert predicted["bytes"] == len(BLOB) + len(LAYER) + len(json.dumps({"architecture": "amd64"}))
    assert not made.folder.exists()
    assert made.make()["changed"]
    for line in (made.folder / bundle.SUMS).read_text().splitlines():
        digest, name = line.split("  ")
        assert sha((made.folder / name).read_bytes()) == digest
    content = bundle.read(str(made.folder))
    assert content["models"]["tiny:1"]["digest"] == sha(made.registry.content["/v2/library/tiny/manifests/1"])
    assert len(b"".join(oci_layout.archive(f"{made.folder}/images", f"{made.registry.host}/webui:1"))) > len(LAYER)
    made.registry.asked.clear()
    assert not made.make()["changed"]
    assert not any("/blobs/" in path for path, _range, _opened in made.registry.asked)


def test_what_is_wrong_comes_anew_and_what_nobody_needs_goes(made: Made) -> None:
    made.make()
    blob = made.folder / "models" / "blobs" / f"sha256-{sha(BLOB)}"
    blob.write_bytes(b"x" + BLOB[1:])
    (made.folder / "models" / "blobs" / "sha256-old").write_bytes(b"old")
    (made.folder / "holidays.jpg").write_bytes(b"not ours")
    made.make()
    assert blob.read_bytes() == BLOB
    assert sorted(path.name for path in blob.parent.iterdir()) == [blob.name]
    assert (made.folder / "holidays.jpg").exists()


def test_an_inventory_of_ones_own_does_not_go_along(made: Made) -> None:
    for name in ("inventory/local.yml", "inventory/room.yml", "inventory/examples/room.yml", ".venv/bin/pip"):
        (made.project / name).parent.mkdir(parents=True, exist_ok=True)
        (made.project / name).write_text("")
    made.make()
    assert packed(made) == ["inventory/examples/room.yml", "inventory/local.yml", "llmdesk"]
    with tarfile.open(made.folder / "llmdesk.tar.gz") as archive:
        assert {time.gmtime(entry.mtime).tm_year for entry in archive} == {1980}, "no wheel takes earlier ones"


def test_the_disk_has_everything_before_the_lists_say_so(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    run, there = program.run, list[set[str]]()

    def watched(command: list[str], tell: Any) -> str:
        if command == ["sync", "-f", str(made.folder)]:
            there.append({path.name for path in made.folder.iterdir()})
        return run(command, tell)

    monkeypatch.setattr(program, "run", watched)
    made.make()
    before, after = there
    lists = {bundle.SUMS, bundle.CONTENT}
    assert (before & lists, after & lists) == (set(), lists)
    assert {"images", "models", "llmdesk.tar.gz", "README.txt"} <= before


def test_a_disk_that_fails_when_it_is_written_to_is_a_sentence(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(command: list[str], _tell: Any) -> str:
        raise program.ProgramFailed(f"{command[0]}: error syncing '/usb': Input/output error\n")

    monkeypatch.setattr(program, "run", run)
    with pytest.raises(making.NotMade, match=r"does not keep it all: sync: error .*Input/output error\.$"):
        made.make()
    assert not (made.folder / bundle.CONTENT).exists()


def packed(made: Made) -> list[str]:
    with tarfile.open(made.folder / "llmdesk.tar.gz") as archive:
        return archive.getnames()


def git(folder: Path, *words: str) -> None:
    subprocess.run(["git", "-C", str(folder), *words], check=True, capture_output=True)


@pytest.mark.parametrize("tracked", [True, False])
def test_a_bundle_inside_the_checkout_does_not_pack_itself(made: Made, tracked: bool) -> None:
    made.folder = made.project / "usb"
    made.make()
    if tracked:
        git(made.project, "init")
        git(made.project, "add", ".")
    made.make()
    assert packed(made) == ["llmdesk"]


@pytest.mark.parametrize("check", [True, False])
def test_the_checkout_itself_is_no_bundle(made: Made, check: bool) -> None:
    made.folder = made.project
    with pytest.raises(making.NotMade, match="is llmdesk's own folder"):
        made.make(check)
    assert [path.name for path in made.project.iterdir()] == ["llmdesk"]


def test_an_inventory_that_was_committed_does_not_go_along_either(made: Made) -> None:
    (made.project / "inventory").mkdir()
    for name in ("inventory/local.yml", "inventory/room.yml"):
        (made.project / name).write_text("")
    git(made.project, "init")
    git(made.project, "add", ".")
    (made.project / "untracked").write_text("")
    made.make()
    assert packed(made) == ["inventory/local.yml", "llmdesk"]


def test_a_checkout_inside_a_repository_that_does_not_know_it_is_packed(made: Made) -> None:
    git(made.project.parent, "init")
    made.make()
    assert packed(made) == ["llmdesk"]


def test_a_run_that_was_cut_off_leaves_no_bundle_and_the_next_one_ends_it(made: Made) -> None:
    made.make()
    (made.folder / "models" / "blobs" / f"sha256-{sha(BLOB)}").unlink()
    made.registry.cut = 600_000
    with pytest.raises(making.NotMade, match="What has come stays; the same command carries on"):
        made.make()
    with pytest.raises(bundle.NoBundle, match=r"has no whole bundle in it .*: it carries on from what is there"):
        bundle.read(str(made.folder))
    made.registry.asked.clear()
    made.make()
    assert (PATH, "bytes=600000-", "") in made.registry.asked
    bundle.read(str(made.folder))


def test_no_source_and_no_room_are_a_sentence_each(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(NoSource, match=r"No source has the image: .*webui, or not all of it.*--image REF"):
        made.make(images=[[{"registry": f"{made.registry.host}/webui:2"}, {"build": True}]])
    with pytest.raises(NoSource, match=r"No source has the model tiny:2: .*library/tiny"):
        sources = [{"name": f"{made.registry.host}/library/tiny:2"}, {"demo": True}]
        made.make(models=[{"name": "tiny:2", "sources": sources}])
    monkeypatch.setattr("shutil.disk_usage", lambda _path: SimpleNamespace(free=1000))
    with pytest.raises(making.NotMade, match=r"is too small: 0\.0 GB are still to come and 0\.0 GB are free there"):
        made.make()
    maker = making.Bundle(SimpleNamespace(params={"path": "/usb", **LIMITS}, check_mode=False))
    assert "its file system is FAT32" in maker.unwritable(OSError(errno.EFBIG, "File too large"))
    assert maker.unwritable(OSError(errno.ENOSPC, "No space")).startswith("/usb is too small: 0.0 GB are free there")
    assert maker.unwritable(OSError(errno.EROFS, "Read-only file system", "/usb/x")).startswith("/usb/x cannot be writ")


def test_a_model_that_nobody_has_is_stood_in_for_only_where_no_registry_answered(
    made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    demo = made.folder / bundle.DEMO_FILE
    demo.parent.mkdir(parents=True)
    monkeypatch.setattr(demo_model, "fetch", lambda _folder, _tell: demo.write_bytes(b"GGUF"))
    answer = made.make(models=[{"name": "tiny:2", "sources": [{"name": "127.0.0.1:9/library/x:1"}, {"demo": True}]}])
    assert answer["bundle"]["models"]["tiny:2"]["demo"]
    assert "The demo model goes along: smollm2:135m, which stands in for it, for tiny:2" in bundle.said(
        answer, "/u", False
    )


# --- Who needs what of it ---------------------------------------------------------------------------------------------

SOURCES: list[dict[str, Any]] = [{"registry": IMAGE}, {"build": True}]
BUNDLE: dict[str, Any] = {
    "images": [
        {
            "wanted": SOURCES,
            "reference": IMAGE,
            "architecture": "amd64",
            "engine": "cuda",
            "files": ["images/index.json"],
        }
    ],
    "models": {
        "tiny:1": {"files": ["models/blobs/sha256-1"], "demo": False, "source": "tiny:1"},
        "big:1": {"files": [bundle.DEMO_FILE], "demo": True, "source": "demo"},
    },
    "systems": ["debian-13-amd64"],
    "files": {
        name: {"size": 1, "sha256": "0"}
        for name in (
            "images/index.json",
            "models/blobs/sha256-1",
            bundle.DEMO_FILE,
            "packages/debian-13-amd64/Packages",
        )
    },
}
BARE = {
    **FINISHED,
    "image": None,
    "docker": {**FINISHED["docker"], "state": "absent"},
    "ollama": {**FINISHED["ollama"], "models": []},
    "system": {**FINISHED["system"], "codename": "trixie", "base_codename": "", "architecture": "x86_64"},
}


def test_a_bare_desk_lacks_everything_and_a_finished_one_nothing() -> None:
    asked = {"sources": SOURCES, "models": ["tiny:1"]}
    found = bundle.for_desk(BUNDLE, BARE, asked)
    assert (found["errors"], found["packages"]) == ([], "packages/debian-13-amd64")
    assert set(found["files"]) == set(BUNDLE["files"]) - {bundle.DEMO_FILE}
    there = {**FINISHED, "ollama": {**FINISHED["ollama"], "models": [{"name": "tiny:1", "digest": "d", "size": 1}]}}
    there["python"] = {**FINISHED["python"], "requests": True}
    there["record"] = {**FINISHED["record"], "image": {"wanted": SOURCES}}
    assert bundle.for_desk(BUNDLE, there, asked) == {"packages": "", "files": {}, "errors": []}


@pytest.mark.parametrize(
    ("change", "asked", "words"),
    [
        ({"codename": "bookworm"}, {}, "no packages for debian-12-amd64, but for debian-13-amd64"),
        ({"codename": "", "distribution": "fedora", "version": "43"}, {}, "no packages for fedora 43"),
        ({"architecture": "aarch64"}, {}, "no image of this desk's sources for arm64"),
        ({}, {"models": ["qwen3:4b"]}, "no model qwen3:4b"),
        ({}, {"sources": [{"registry": "other.example.com/webui:1"}]}, "no image of this desk's sources for amd64"),
    ],
)
def test_a_bundle_for_others_is_refused_in_one_sentence(
    change: dict[str, Any], asked: dict[str, Any], words: str
) -> None:
    system = {**BARE, "system": {**BARE["system"], **change}}
    (error,) = bundle.for_desk(BUNDLE, system, {"sources": SOURCES, "models": ["tiny:1"], **asked})["errors"]
    assert words in error
    assert "Type './llmdesk bundle' again" in error


def test_everything_comes_out_of_the_bundle_but_what_is_on_the_desk_already() -> None:
    file = {"from_file": "/srv/x.gguf", "sha256": "0"}
    entries: list[dict[str, Any]] = [
        {"name": "tiny:1", "state": "present", "sources": [{"name": "tiny:1"}, {"demo": True}]},
        {"name": "own:1", "state": "present", "create": {"from": "tiny:1"}, "sources": [file, {"name": "tiny:1"}]},
        {"name": "big:1", "state": "present", "sources": [{"name": "big:1"}, {"demo": True}]},
        {"name": "old:1", "state": "absent"},
    ]
    found = bundle.model_sources(entries, BUNDLE, "/usb")
    assert [entry.get("sources") for entry in found] == [
        [{"store": "/usb/models"}],
        [file, {"store": "/usb/models"}],
        [{"demo": True}],
        None,
    ]
    assert bundle.model_sources(entries, {}, "") is entries
    image = {"archive": "/usb/images", "reference": IMAGE, "engine": "cuda"}
    assert bundle.image_sources(SOURCES, BUNDLE, BARE, "/usb") == [image]
    assert bundle.image_sources(SOURCES, {}, BARE, "") is SOURCES


def test_a_part_that_is_missing_or_short_is_named(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"12")
    (tmp_path / bundle.CONTENT).write_text(json.dumps({"files": {"a": {"size": 2}}}))
    bundle.read(str(tmp_path))
    (tmp_path / "a").write_bytes(b"1")
    with pytest.raises(
        bundle.NoBundle, match=f"{tmp_path}/a has 1 bytes, and not 2. Type './llmdesk bundle {tmp_path}'"
    ):
        bundle.read(str(tmp_path))
    (tmp_path / "a").unlink()
    with pytest.raises(bundle.NoBundle, match=f"{tmp_path}/a is missing"):
        bundle.read(str(tmp_path))


# --- To a desk --------------------------------------------------------------------------------------------------------


def test_parcels_have_many_small_files_or_a_piece_of_a_large_one() -> None:
    sizes = {"a": 3, "b": 25, "c": 0, "d": 2}
    found = list(parcels(sizes, {"a": 0, "b": 4, "c": 0, "d": 0}, largest=10))
    assert found == [[("a", 0, 3), ("b", 4, 7)], [("b", 11, 10)], [("b", 21, 4), ("c", 0, 0), ("d", 0, 2)]]


def test_a_desk_takes_parcels_and_carries_on_where_it_was(tmp_path: Path) -> None:
    content = {"models/blobs/x": b"0123456789", "packages/p.deb": b"deb"}
    files = {name: {"size": len(part), "sha256": sha(part)} for name, part in content.items()}
    params = {"source": "/usb", "path": str(tmp_path / "there"), "files": files}
    there = Files(SimpleNamespace(params=params))
    parcel = tmp_path / "parcel"
    for offset in (0, 5):
        assert there.missing() == {"models/blobs/x": offset, "packages/p.deb": 0}
        parcel.write_bytes(content["models/blobs/x"][offset : offset + 5])
        there.take(str(parcel), [("models/blobs/x", offset, 5)])
    parcel.write_bytes(b"dxb")
    with pytest.raises(Damaged, match=r"/usb/packages/p\.deb is damaged.*Type './llmdesk bundle /usb' on"):
        there.take(str(parcel), [("packages/p.deb", 0, 3)])
    assert there.missing() == {"packages/p.deb": 0}
    parcel.write_bytes(b"deb")
    there.take(str(parcel), [("packages/p.deb", 0, 3)])
    assert there.missing() == {}
    there.check()
    (tmp_path / "there" / "packages" / "p.deb").write_bytes(b"xxx")
    with pytest.raises(Damaged, match=r"p\.deb is damaged"):
        there.check()


def test_what_an_older_bundle_left_on_a_desk_is_missing(tmp_path: Path) -> None:
    files = {name: {"size": 3, "sha256": sha(b"new")} for name in ("images/index.json", "models/blobs/x")}
    for name in files:
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_bytes(b"old")
    there = Files(SimpleNamespace(params={"source": "/usb", "path": str(tmp_path), "files": files}))
    assert there.missing(closely=True) == {"images/index.json": 0}
    assert there.missing() == {}
    (tmp_path / "parcel").write_bytes(b"new")
    there.take(f"{tmp_path}/parcel", [("images/index.json", 0, 3)])
    assert there.missing(closely=True) == {}
    assert (tmp_path / probe.COPY).exists(), "what is damaged is known for a copy by it"


def test_a_mirror_has_nothing_to_do_with_a_room_that_has_a_bundle(tmp_path: Path) -> None:
    site = yaml.safe_load((COLLECTION / "playbooks" / "site.yml").read_text())
    (play,) = (play for play in site if play["name"] == "Make the mirror")
    (tmp_path / "play.yml").write_text(yaml.safe_dump([{**play, "become": False}]))
    mirrors = {"hosts": {"server": {"ansible_connection": "local"}}}
    (tmp_path / "room.yml").write_text(yaml.safe_dump({"all": {"children": {"mirrors": mirrors}}}))
    extra = ('{"desk_bundle": "/media/usb"}',)
    ran = ask(Play(str(tmp_path / "play.yml"), inventory=(str(tmp_path / "room.yml"),), extra_vars=extra))
    results = [task["hosts"]["server"] for task in ran["plays"][0]["tasks"] if "server" in task["hosts"]]
    assert results
    assert all(result.get("skipped") for result in results), results


@pytest.mark.parametrize(
    ("given", "left", "gone"),
    [
        ("", ["bundle", "bundle-apt"], {"bundle", "bundle-apt"}),
        ("/media/usb", [], {"bundle", "bundle-apt"}),
        ("", [], set()),
        ("bundle", ["bundle", "bundle-apt"], {"bundle-apt"}),
    ],
)
def test_what_was_brought_goes_at_the_end_and_what_was_left_before(
    tmp_path: Path, given: str, left: list[str], gone: set[str]
) -> None:
    for name in ("bundle", "bundle-apt", "models"):
        (tmp_path / name).mkdir()
    variables = {
        "ansible_connection": "local",
        "ansible_python_interpreter": "{{ ansible_playbook_python }}",
        "desk_bundle": str(tmp_path / given) if given else "",
        "__desk_bundle_folder": str(tmp_path / "bundle"),
        "__desk_bundle_apt": str(tmp_path / "bundle-apt"),
        "desk_state": {"desk": {"leftovers": [str(tmp_path / name) for name in left]}},
    }
    leave = {"name": "llmdesk.workstation.bundle", "tasks_from": "leave", "rolespec_validate": False}
    tasks = [{"name": "Leave", "ansible.builtin.import_role": leave}]
    play = {"name": "Leave", "hosts": "all", "gather_facts": False, "tasks": tasks}
    (tmp_path / "play.yml").write_text(yaml.safe_dump([play]))
    (tmp_path / "room.yml").write_text(yaml.safe_dump({"all": {"hosts": {"desk1": variables}}}))
    ran = ask(Play(str(tmp_path / "play.yml"), inventory=(str(tmp_path / "room.yml"),)))
    assert ran["stats"]["desk1"]["failures"] == 0
    there = {path.name for path in tmp_path.iterdir() if path.is_dir()}
    assert {"bundle", "bundle-apt", "models"} - there == gone


def test_the_page_names_what_there_is_to_type() -> None:
    page = (ROOT / "docs" / "bundle.md").read_text()
    assert set(re.findall(r"`((?:debian|ubuntu)-[\d.]+)`", page)) == set(bundle.SYSTEMS)
    assert bundle.SUMS in page
