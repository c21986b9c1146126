# SPDX-License-Identifier: GPL-3.0-or-later
"""How the desks of a room hand each other the blobs of models: aria2's words, and what a torrent of ours is like.

Measured with aria2 1.36: with the pieces in a random order, desks that begin together ask the web seed for different
ones, so that a web server alone is as good a beginning as a seed of BitTorrent (four desks: 1.1 copies sent).
"""

from __future__ import annotations

import re

SMALLEST = 4 * 1024 * 1024
"""Bytes below which a blob is not worth a torrent: templates and licenses, which come with the manifest in no time."""
PIECES = 1000
"""How many pieces a torrent has at the least. Nobody can pass on a piece before it is whole."""
EXPONENTS = (18, 24)
"""The smallest and the largest piece, 256 KiB to 16 MiB, as powers of two."""
ANNOUNCE = 10
"""Seconds between two questions to the tracker, which are a few hundred bytes: a tracker that was restarted knows the
room again after that time, and a desk that has just come is known to those before it."""
ABANDONED = 600
"""Seconds without a byte after which aria2 ends by itself, when nobody is there any more who would end it."""
NO_SPACE = 9
"""Exit code of aria2 on a full disk."""
DONE = ".done"
"""What the name of a blob that is whole has at its end, as the name of an empty file."""

# Arguments: number, files, path.
HOOK = f'#!/bin/sh\n: > "$3{DONE}"\n'

_SHOWN = re.compile(
    r"^Announce:\n (?P<tracker>\S+)\n.*^Info Hash: (?P<hash>[0-9a-f]{40})\n.*^URL List:\n (?P<seed>\S+)\n",
    re.MULTILINE | re.DOTALL,
)
_ERROR = re.compile(r"errorCode=\d+ (.+)")


def blob(digest: str) -> str:
    """Return what the file of a blob is called, in a model store and in a swarm."""
    return f"sha256-{digest}"


def piece(size: int) -> int:
    """Return the length of the pieces of a blob, as a power of two."""
    smallest, largest = EXPONENTS
    return min(largest, max(smallest, (size // PIECES).bit_length() - 1))


def tasks(digests: list[str]) -> str:
    """Return aria2's list of what to do, for a folder with a torrent of each blob in it."""
    return "".join(f"{blob(digest)}.torrent\n  index-out=1={blob(digest)}\n" for digest in digests)


def command(downloads: int, seed_minutes: float, upload_limit: str, address: str) -> list[str]:
    """Return the command that brings what stands in the file ``tasks`` of the working folder, and seeds it for a time.

    A torrent of ours is private, so peers come from its tracker alone; they are not asked for others, nobody else is
    told, and what passes between them is encrypted. That costs nothing that could be measured: the aria2 of eight desks
    took 9.2 seconds of the processor for 960 MB, and 10.0 without.

    :param downloads: how many there are; all go on at the same time.
    :param address: the desk's own in the LAN, which is the only one that others can reach it by.
    :param upload_limit: bytes a second to all peers together, as aria2 writes them, such as ``10M``; ``0`` for all.
    """
    return [
        "aria2c",
        "--no-conf=true",
        "--input-file=tasks",
        "--dir=.",
        f"--max-concurrent-downloads={downloads}",
        f"--seed-time={seed_minutes:g}",
        "--seed-ratio=0.0",
        f"--max-overall-upload-limit={upload_limit}",
        "--enable-dht=false",
        "--enable-dht6=false",
        "--enable-peer-exchange=false",
        "--bt-enable-lpd=false",
        f"--interface={address}",
        "--bt-require-crypto=true",
        "--bt-min-crypto-level=arc4",
        f"--bt-tracker-interval={ANNOUNCE}",
        f"--bt-stop-timeout={ABANDONED}",
        "--stream-piece-selector=random",
        # A web seed that is away for a while is asked again for as long as peers bring something.
        "--max-tries=0",
        "--retry-wait=5",
        "--connect-timeout=5",
        "--timeout=10",
        # What an earlier run has left is hashed, and what is wrong of it is brought anew.
        "--check-integrity=true",
        # How far it is can be seen by the blocks that the file has.
        "--file-allocation=none",
        "--disk-cache=0",
        "--on-bt-download-complete=./hook",
        "--console-log-level=error",
        "--summary-interval=0",
        "--show-console-readout=false",
    ]


def environment(path: str) -> dict[str, str]:
    """Return the environment of that command: no proxy in it, since a mirror of the LAN is not beyond the way out.

    :param path: where programs are.
    """
    return {"PATH": path, "LC_ALL": "C"}


def shown(said: str) -> tuple[str, str, str]:
    """Return what ``aria2c --show-files`` says of a torrent: its info hash, its tracker and its web seed.

    :raises ValueError: it says nothing of the kind.
    """
    found = _SHOWN.search(said)
    if found is None:
        raise ValueError("aria2c does not know it for a torrent")
    return found["hash"], found["tracker"], found["seed"]


def complaint(said: str) -> str:
    """Return the last thing that aria2 complained about, empty where it did not."""
    found = _ERROR.findall(said)
    return found[-1].strip() if found else ""
