# SPDX-License-Identifier: GPL-3.0-or-later
"""A model store with everything in it that a crash can leave."""

from __future__ import annotations

import hashlib
import json
import os
import time
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.llmdesk.workstation.plugins.module_utils import model_manifest, model_store
from ansible_collections.llmdesk.workstation.plugins.module_utils.model_manifest import Manifest
from ansible_collections.llmdesk.workstation.plugins.module_utils.model_store import Store, blocks, in_volume

WEIGHTS = b"GGUF" + bytes(range(256)) * 4096
TEMPLATE = b"{{ .Prompt }}"
NAME = "mirror.example.com/library/tiny:1"


def sha(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def document(**sizes: int) -> bytes:
    layers = [
        {"digest": f"sha256:{sha(content)}", "size": sizes.get(kind, len(content)), "mediaType": kind}
        for kind, content in (("weights", WEIGHTS), ("template", TEMPLATE))
    ]
    return json.dumps({"layers": layers}).encode()


MANIFEST = model_manifest.parse(document())


@pytest.fixture
def store(tmp_path: Path) -> Store:
    folder = tmp_path / "manifests" / "mirror.example.com" / "library" / "tiny"
    folder.mkdir(parents=True)
    (folder / "1").write_bytes(document())
    (tmp_path / "blobs").mkdir()
    for content in (WEIGHTS, TEMPLATE):
        blob(tmp_path, content).write_bytes(content)
    return Store(str(tmp_path))


def blob(folder: Path | str, content: bytes, more: str = "") -> Path:
    return Path(folder) / "blobs" / f"sha256-{sha(content)}{more}"


def sentences(store: Store, manifest: Manifest = MANIFEST, full: bool = False) -> list[str]:
    return [fault.sentence for fault in store.faults(manifest, store.blobs(manifest) if full else ())]


def test_a_store_that_is_whole(store: Store) -> None:
    assert store.manifest(NAME) == MANIFEST
    assert (sentences(store), sentences(store, full=True), store.missing(MANIFEST)) == ([], [], 0)
    assert store.broken_downloads(MANIFEST) == []


@pytest.mark.parametrize("text", [None, "", "<html>"])
def test_a_manifest_that_cannot_be_read_is_none(store: Store, text: str | None) -> None:
    path = Path(store.folder, "manifests", "mirror.example.com", "library", "tiny", "1")
    path.unlink()
    if text is not None:
        path.write_text(text)
    assert store.manifest(NAME) is None


def test_a_missing_blob_and_a_short_one_are_found_and_mended(store: Store) -> None:
    blob(store.folder, TEMPLATE).unlink()
    blob(store.folder, WEIGHTS).write_bytes(WEIGHTS[:100])
    faults = store.faults(MANIFEST)
    assert [fault.sentence for fault in faults] == [
        f"the bytes of blob {sha(WEIGHTS)[:12]} are not those of its name",
        f"blob {sha(TEMPLATE)[:12]} is missing",
    ]
    for fault in faults:
        store.mend(fault)
    assert list(Path(store.folder, "blobs").iterdir()) == []


def test_zeroed_bytes_of_the_right_size_are_found_by_hashing_alone(store: Store) -> None:
    blob(store.folder, WEIGHTS).write_bytes(bytes(len(WEIGHTS)))
    assert sentences(store) == []
    assert sentences(store, full=True) == [f"the bytes of blob {sha(WEIGHTS)[:12]} are not those of its name"]


def test_hashing_tells_how_far_it_is(store: Store) -> None:
    told: list[tuple[int, int]] = []
    store.faults(MANIFEST, store.blobs(MANIFEST), lambda done, total: told.append((done, total)))
    assert told[-1] == (MANIFEST.size, MANIFEST.size)


def test_a_manifest_that_lies_is_no_reason_to_throw_right_bytes_away(store: Store) -> None:
    lying = model_manifest.parse(document(weights=12345))
    assert sentences(store, lying) == []
    assert store.untrue(lying) == (
        f"the manifest says that blob {sha(WEIGHTS)[:12]} has 12345 bytes, and it has {len(WEIGHTS)}"
    )
    assert store.untrue(MANIFEST) == ""


def partial(store: Store, content: bytes, *notes: str, age: float = 60) -> list[Path]:
    paths = [blob(store.folder, content, "-partial")]
    paths[0].write_bytes(b"")
    for number, note in enumerate(notes):
        path = blob(store.folder, content, f"-partial-{number}")
        path.write_text(note)
        os.utime(path, (time.time() - age, time.time() - age))
        paths.append(path)
    return paths


def note(size: int) -> str:
    return f'{{"N":0,"Offset":0,"Size":{size},"Completed":5}}\n'


@pytest.mark.parametrize("text", ["", "{", "[]", '{"N": 1}', "null", note(104)])
def test_a_download_whose_notes_a_crash_has_broken_is_taken_away_alone(store: Store, text: str) -> None:
    others = [*partial(store, b"another model", text), *partial(store, TEMPLATE, note(len(TEMPLATE)))]
    broken = partial(store, WEIGHTS, note(len(WEIGHTS) - 4), text)
    (fault,) = store.broken_downloads(MANIFEST)
    assert "are broken" in fault.sentence
    store.mend(fault)
    store.mend(fault)  # twice is no harm
    assert [path.exists() for path in (*broken, *others)] == [False] * 3 + [True] * 4


def test_a_note_that_is_just_being_written_is_left_alone(store: Store) -> None:
    partial(store, WEIGHTS, "", age=0)
    assert store.broken_downloads(MANIFEST) == []
    assert len(store.broken_downloads(MANIFEST, at_work=0)) == 1


def test_a_download_in_several_parts_may_be_carried_on(store: Store) -> None:
    partial(store, WEIGHTS, note(len(WEIGHTS) - 4), note(4))
    assert store.broken_downloads(MANIFEST) == []


def test_what_is_partly_here_counts(store: Store) -> None:
    path = blob(store.folder, WEIGHTS)
    path.unlink()
    assert store.missing(MANIFEST) == len(WEIGHTS)
    with path.with_name(f"{path.name}-partial").open("wb") as sparse:
        sparse.truncate(len(WEIGHTS))
        sparse.write(WEIGHTS[: 512 * 1024])
    assert len(WEIGHTS) - 600 * 1024 < store.missing(MANIFEST) < len(WEIGHTS) - 400 * 1024


def test_the_room_is_that_of_the_file_system(store: Store) -> None:
    assert 0 < store.free() <= os.statvfs(store.folder).f_blocks * os.statvfs(store.folder).f_frsize


def test_a_file_is_read_in_pieces(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(bytes(model_store.BLOCK * 2 + 1))
    assert [len(piece) for piece in blocks(str(tmp_path / "x"))] == [model_store.BLOCK, model_store.BLOCK, 1]


@pytest.mark.parametrize(
    ("mounts", "environment", "expected"),
    [
        ({"/root/.ollama": "/vol/ollama/_data"}, [], "/vol/ollama/_data/models"),
        ({"/root/.ollama/models": "/disk"}, [], "/disk"),
        ({"/root": "/r", "/root/.ollama": "/o"}, [], "/o/models"),
        ({"/app": "/a"}, [], None),
        ({}, [], None),
        ({"/data": "/d"}, ["PATH=/bin", "OLLAMA_MODELS=/data/m/"], "/d/m"),
        ({"/root/.ollama": "/o"}, ["OLLAMA_MODELS="], "/o/models"),
        ({"/root/.oll": "/o"}, [], None),
        ({"/root/.ollama": "/o"}, None, "/o/models"),
    ],
)
def test_where_a_containers_store_lies(mounts: dict[str, str], environment: list[str] | None, expected: Any) -> None:
    listed = [{"Destination": inside, "Source": outside} for inside, outside in mounts.items()]
    assert in_volume(listed, environment) == expected
