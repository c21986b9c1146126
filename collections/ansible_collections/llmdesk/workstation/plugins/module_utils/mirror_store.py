# SPDX-License-Identifier: GPL-3.0-or-later
"""A mirror's store of blobs. Runs on the mirror as a program as well, started by a timer.

A blob comes through nginx's cache, in slices that nobody has checked. When they are all there, they are hashed: what is
what its name says moves to the store, everything else is thrown out of the cache.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple

BLOCK = 1024 * 1024
HEAD = 8192
LINGER = 3600
"""Seconds that the slices of a stored blob stay: who is in the middle of them reads them to their end."""
RESERVE = 1024**3
"""Bytes of the disk that stay free."""
_FILE = re.compile(r"^[0-9a-f]{32}$")
_KEY = re.compile(rb"\nKEY: ([0-9a-f]{64}) bytes=(\d+)-\d+\n")
_RANGE = re.compile(rb"\r\ncontent-range: bytes (\d+)-(\d+)/(\d+)\r\n", re.IGNORECASE)


class Slice(NamedTuple):
    """A file of nginx's cache: where the bytes of the blob begin in it, which they are, and how many the blob has."""

    path: str
    offset: int
    first: int
    length: int
    total: int


class Kept(NamedTuple):
    """What a look at the cache has done: digests in hex, and sentences about what could not be done."""

    stored: list[str]
    wrong: list[str]
    said: list[str]


def path(state: str, digest: str) -> str:
    """Return the file of a blob in the store."""
    return os.path.join(state, "store", "blobs", f"sha256-{digest}")


def slices(state: str) -> dict[str, list[Slice]]:
    """Return what nginx's cache has, by the blobs' digests."""
    found: dict[str, list[Slice]] = {}
    for folder, _folders, names in os.walk(os.path.join(state, "cache", "blobs")):
        for name in filter(_FILE.match, names):
            entry = _read(os.path.join(folder, name))
            if entry:
                found.setdefault(entry[0], []).append(entry[1])
    return found


def _read(file: str) -> tuple[str, Slice] | None:
    try:
        with open(file, "rb") as opened:
            head = opened.read(HEAD)
            size = os.fstat(opened.fileno()).st_size
    except FileNotFoundError:
        return None
    key, ends = _KEY.search(head), head.find(b"\r\n\r\n")
    ranged = _RANGE.search(head, key.end() if key else 0, ends + 2)
    if not key or ends < 0 or not ranged:
        return None
    first, last, total = map(int, ranged.groups())
    length = last + 1 - first
    if size - ends - 4 != length:
        return None
    return key[1].decode(), Slice(file, ends + 4, first, length, total)


def whole(parts: list[Slice]) -> list[Slice]:
    """Return slices in order when they make a whole blob, none otherwise."""
    ordered = sorted(parts, key=lambda part: part.first)
    end = 0
    for part in ordered:
        if part.first != end or part.total != ordered[0].total:
            return []
        end += part.length
    return ordered if ordered and end == ordered[0].total else []


def keep(state: str, tell: Callable[[str, int, int], None] = lambda _digest, _total, _done: None) -> Kept:
    """Move every blob that is whole from the cache to the store, verified; one at a time on a machine.

    :param state: the mirror's folder.
    :param tell: called with a digest, its bytes, and how many of them were checked.
    """
    kept = Kept([], [], [])
    folder = os.open(os.path.join(state, "store", "blobs"), os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        found = slices(state)
        for digest, parts in sorted(found.items()):
            stored = path(state, digest)
            if os.path.exists(stored):
                if time.time() - os.stat(stored).st_mtime > LINGER:
                    _throw_out(parts)
                continue
            ordered = whole(parts)
            if not ordered:
                continue
            total = ordered[0].total
            if not _room(stored, total):
                for other in found:
                    if os.path.exists(path(state, other)):
                        _throw_out(found[other])
            if not _room(stored, total):
                kept.said.append(f"sha256:{digest} ({total / 1e6:.0f} MB) stays in the cache: the disk has no room")
                continue
            came = _assemble(stored, ordered, partial(tell, digest, total))
            if came == digest:
                kept.stored.append(digest)
            elif came:
                _throw_out(parts)
                kept.wrong.append(digest)
                kept.said.append(f"sha256:{digest} came with other bytes (sha256:{came}) and was thrown out")
    finally:
        os.close(folder)
    return kept


def _room(stored: str, total: int) -> bool:
    return shutil.disk_usage(os.path.dirname(stored)).free >= total + min(RESERVE, total)


def _assemble(stored: str, parts: list[Slice], tell: Callable[[int], None]) -> str:
    """Write a blob and return the sha256 of what was written, which is under its name only where that is right.

    Empty where nginx has thrown a slice out meanwhile, or the disk is full.
    """
    temporary = os.path.join(os.path.dirname(stored), f".{os.path.basename(stored)}.part")
    hashed = hashlib.sha256()
    done = 0
    try:
        # The folder is another user's where root runs this, and what stands there under that name may lead elsewhere.
        if os.path.lexists(temporary):
            os.unlink(temporary)
        made = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        with os.fdopen(made, "wb") as file:
            for part in parts:
                for block in _content(part):
                    hashed.update(block)
                    file.write(block)
                    done += len(block)
                    tell(done)
            file.flush()
            os.fsync(file.fileno())
            os.fchmod(file.fileno(), 0o644)
        found = hashed.hexdigest()
        if stored.endswith(f"-{found}"):
            os.replace(temporary, stored)
        return found if done == parts[0].total else ""
    except OSError:
        return ""
    finally:
        if os.path.exists(temporary):
            os.unlink(temporary)


def _content(part: Slice) -> Iterator[bytes]:
    with open(part.path, "rb") as file:
        file.seek(part.offset)
        left = part.length
        while left:
            block = file.read(min(BLOCK, left))
            if not block:
                raise OSError(f"{part.path} has become shorter")
            left -= len(block)
            yield block


def _throw_out(parts: list[Slice]) -> None:
    """Remove slices; nginx takes a file that is gone for one that it never had."""
    for part in parts:
        if os.path.exists(part.path):
            os.unlink(part.path)


def main() -> None:
    kept = keep(sys.argv[1])
    for digest in kept.stored:
        print(f"sha256:{digest} is verified and in the store")
    for sentence in kept.said:
        print(sentence)


if __name__ == "__main__":
    main()
