# SPDX-License-Identifier: GPL-3.0-or-later
"""What becomes of the slices in nginx's cache: files that a real nginx 1.22 has written look like these."""

from __future__ import annotations

import hashlib
import os
import time
from pathlib import Path

import pytest
from ansible_collections.llmdesk.workstation.plugins.module_utils import mirror_store

SLICE = 100
CONTENT = bytes(range(256)) + b"\r\n\r\nKEY: " * 3
DIGEST = hashlib.sha256(CONTENT).hexdigest()
HEAD = b'\x05\0\0\0"sha256:x"\0\0\nKEY: %s bytes=%d-%d\nHTTP/1.0 206 Partial Content\r\n'


@pytest.fixture
def state(tmp_path: Path) -> Path:
    (tmp_path / "store" / "blobs").mkdir(parents=True)
    return tmp_path


def cache(state: Path, content: bytes = CONTENT, digest: str = DIGEST, leave_out: int = -1) -> list[Path]:
    made = []
    for first in range(0, len(content), SLICE):
        if first == leave_out:
            continue
        part = content[first : first + SLICE]
        name = hashlib.md5(f"{digest}{first}".encode()).hexdigest()
        path = state / "cache" / "blobs" / name[-1] / name[-3:-1] / name
        path.parent.mkdir(parents=True, exist_ok=True)
        head = HEAD % (digest.encode(), first, first + SLICE - 1)
        said = f"Content-Range: bytes {first}-{first + len(part) - 1}/{len(content)}\r\n\r\n"
        path.write_bytes(head + said.encode() + part)
        made.append(path)
    return made


def stored(state: Path) -> list[str]:
    return sorted(path.name for path in (state / "store" / "blobs").iterdir())


def test_a_whole_blob_with_the_right_bytes_moves_to_the_store(state: Path) -> None:
    made = cache(state)
    assert mirror_store.keep(str(state)) == mirror_store.Kept([DIGEST], [], [])
    path = state / "store" / "blobs" / f"sha256-{DIGEST}"
    assert path.read_bytes() == CONTENT
    assert path.stat().st_mode & 0o777 == 0o644
    assert all(slice.exists() for slice in made), "somebody may be in the middle of them"
    assert mirror_store.keep(str(state)) == mirror_store.Kept([], [], [])
    os.utime(path, (time.time(), time.time() - mirror_store.LINGER - 1))
    mirror_store.keep(str(state))
    assert not any(slice.exists() for slice in made)


def test_wrong_bytes_are_thrown_out_and_never_stored(state: Path) -> None:
    made = cache(state, CONTENT[:-1] + b"x")
    kept = mirror_store.keep(str(state))
    assert (kept.stored, kept.wrong) == ([], [DIGEST])
    assert f"sha256:{DIGEST} came with other bytes" in kept.said[0]
    assert stored(state) == []
    assert not any(slice.exists() for slice in made)


@pytest.mark.parametrize("leave_out", [0, SLICE, 2 * SLICE])
def test_what_is_not_whole_waits(state: Path, leave_out: int) -> None:
    made = cache(state, leave_out=leave_out)
    assert mirror_store.keep(str(state)) == mirror_store.Kept([], [], [])
    assert stored(state) == []
    assert all(slice.exists() for slice in made)


def test_a_slice_that_is_still_being_written_is_no_slice(state: Path) -> None:
    made = cache(state)
    made[-1].write_bytes(made[-1].read_bytes()[:-1])
    assert mirror_store.keep(str(state)).stored == []
    half = state / "cache" / "blobs" / "a" / "0123456789"
    half.parent.mkdir(exist_ok=True)
    half.write_bytes(b"")
    (state / "cache" / "blobs" / "a" / ("0" * 32)).write_bytes(b"nothing that nginx writes")
    assert mirror_store.slices(str(state)).keys() == {DIGEST}


def test_a_full_disk_leaves_it_in_the_cache(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = cache(state)
    monkeypatch.setattr("shutil.disk_usage", lambda _path: Free())
    kept = mirror_store.keep(str(state))
    assert kept.stored == []
    assert "the disk has no room" in kept.said[0]
    assert all(slice.exists() for slice in made)


def test_a_link_in_the_place_of_a_part_is_not_followed(state: Path) -> None:
    cache(state)
    elsewhere = state / "elsewhere"
    elsewhere.write_text("somebody's")
    (state / "store" / "blobs" / f".sha256-{DIGEST}.part").symlink_to(elsewhere)
    assert mirror_store.keep(str(state)).stored == [DIGEST]
    assert elsewhere.read_text() == "somebody's"


def test_slices_of_what_is_stored_make_room(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = CONTENT + b"another"
    cache(state, other, hashlib.sha256(other).hexdigest())
    mirror_store.keep(str(state))
    cache(state)

    class Disk:
        @property
        def free(self) -> int:
            return 10 * len(CONTENT) if mirror_store.slices(str(state)).keys() == {DIGEST} else len(CONTENT)

    monkeypatch.setattr("shutil.disk_usage", lambda _path: Disk())
    assert mirror_store.keep(str(state)) == mirror_store.Kept([DIGEST], [], [])


class Free:
    free = len(CONTENT)
