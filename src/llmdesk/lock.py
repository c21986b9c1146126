# SPDX-License-Identifier: GPL-3.0-or-later
"""One run at a time may change the desks of an inventory."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path

from llmdesk.run import REPOSITORY, Play, home
from llmdesk.words import command


class Busy(Exception):
    """Another run works on this inventory; the text says which, and what to do."""


@contextlib.contextmanager
def locked(play: Play) -> Iterator[None]:
    """Keep other changing runs away from a play's inventory while this lasts; one that changes nothing needs no lock.

    The lock belongs to this process and goes with it, however that ends. It is this machine's alone.

    :raises Busy: another run holds it.
    :raises OSError: the folder for locks cannot be written.
    """
    if not play.changes:
        yield
        return
    folder = home() / "locks"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(folder / f"{_name(play)}.lock", os.O_RDWR | os.O_CREAT, 0o600)
    with os.fdopen(descriptor, "r+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Busy(_who(file.read())) from None
        holder = {"pid": os.getpid(), "command": command(play.command()), "since": f"{time.strftime('%F %T')}"}
        file.truncate(0)
        file.write(json.dumps(holder))
        file.flush()
        yield


def _name(play: Play) -> str:
    """Return what is the same for every way to write the same inventories."""
    given = play.inventory or (os.environ.get("ANSIBLE_INVENTORY") or str(REPOSITORY / "inventory" / "local.yml"),)
    where = sorted(str(Path(path).resolve()) if Path(path).exists() else path for path in given)
    return hashlib.sha256("\n".join(where).encode()).hexdigest()[:16]


def _who(holder: str) -> str:
    try:
        told = json.loads(holder)
        who = f"process {told['pid']}, since {told['since']}:\n  $ {told['command']}\n"
        stop = f"kill {told['pid']}"
    except (ValueError, KeyError, TypeError):  # It has only just taken the lock.
        return "Another run works on this inventory. Wait until it is through, then type the same command again."
    return (
        f"Another run works on this inventory: {who}"
        f"Wait until it is through, or end it with '{stop}'. Then type the same command again."
    )
