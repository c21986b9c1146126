# SPDX-License-Identifier: GPL-3.0-or-later
"""The folder of records on the controller: ``<folder>/<run>/run.json``, and a file a desk beside it."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

from ansible_collections.llmdesk.workstation.plugins.module_utils.whole_file import write_whole

RUN = "run.json"
LONGEST = 200
"""Characters of a file's name; file systems take 255 bytes, and a temporary name beside it needs some."""


def default_folder() -> Path:
    """Return the folder for records, as the XDG base directory specification places it."""
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "llmdesk" / "records"


def file_name(host: str) -> str:
    """Return the name of a host's record: the host's own where it can be a file's name, else without odd characters.

    Different hosts have different files, and none is ``run.json``, hidden, or outside of its folder.
    """
    name = quote(host, safe="@+=,")
    if name.startswith(".") or name == Path(RUN).stem:
        name = f"%{ord(name[0]):02X}{name[1:]}"
    if len(name) > LONGEST:
        digest = hashlib.sha256(host.encode()).hexdigest()[:16]
        name = f"{name[: LONGEST - 17]}-{digest}"
    return f"{name}.json"


def write(path: Path, document: dict[str, Any]) -> None:
    """Keep a document in a file that only its owner can read; the old one stays until the new one is complete.

    :raises OSError: it cannot be written.
    """
    os.makedirs(path.parents[1], mode=0o700, exist_ok=True)
    write_whole(str(path), json.dumps(document, ensure_ascii=False, separators=(",", ":")) + "\n")


def prune(folder: Path, playbook: str, keep: int) -> None:
    """Remove the oldest runs of a playbook; those of others stay, so that looks do not push out what they compare.

    :param keep: how many stay.
    """
    mine = [name for name in sorted(os.listdir(folder), reverse=True) if playbook_of(name) == playbook]
    for name in mine[keep:]:
        shutil.rmtree(folder / name, ignore_errors=True)  # another run may remove it at the same time


def playbook_of(run: str) -> str:
    """Return the playbook out of a run's name: ``20261126-081510-site-4711`` is one of ``site``."""
    return "-".join(run.split("-")[2:-1])


def runs(folder: Path) -> list[str]:
    """Return the names of all runs, the newest first; none where there is no folder."""
    try:
        return sorted((entry.name for entry in os.scandir(folder) if entry.is_dir()), reverse=True)
    except FileNotFoundError:
        return []


def read(path: Path) -> dict[str, Any]:
    """Return a document of the folder.

    :raises FileNotFoundError: there is none.
    :raises ValueError: it is none of this kind; the text says where and why.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is not a record: {error}") from None
    if not isinstance(document, dict) or document.get("schema") != 1:
        raise ValueError(f"{path} is not a record that this version can read")
    return document


def newest(folder: Path, host: str, playbooks: tuple[str, ...]) -> Iterator[dict[str, Any]]:
    """Yield a host's records of some playbooks, the newest first; what cannot be read is passed over."""
    for run in runs(folder):
        if playbook_of(run) in playbooks:
            try:
                yield read(folder / run / file_name(host))
            except (OSError, ValueError):
                continue
