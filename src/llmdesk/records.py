# SPDX-License-Identifier: GPL-3.0-or-later
"""The records of desks, as the callback ``llmdesk.workstation.desk_records`` keeps them, read again."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

Record = dict[str, Any]
"""A desk record, as docs/schema/desk-record.schema.json describes it."""

RUN = "run.json"
KEEP = 50
"""Runs of each playbook that are kept, as the callback does."""

SCHEMA = 1


def folder() -> Path:
    """Return the folder of all runs, as the callback chooses it."""
    chosen = os.environ.get("LLMDESK_RECORDS")
    state = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state")
    return Path(chosen).expanduser() if chosen else state / "llmdesk" / "records"


def runs() -> list[Record]:
    """Return ``run.json`` of every run, the newest first; one that cannot be read is passed over."""
    return [run for name in _names() if (run := _read(folder() / name / RUN, [])) is not None]


def latest(hosts: list[str] | None = None, broken: list[str] | None = None) -> dict[str, Record]:
    """Return the newest record of every host, or of some.

    :param broken: is given a sentence for every file that cannot be read.
    """
    found: dict[str, Record] = {}
    for record in history(hosts, broken):
        found.setdefault(record["host"], record)
        if hosts is not None and len(found) == len(set(hosts)):
            break
    return found


def previous(host: str, run: str) -> Record | None:
    """Return a host's record of the newest run before ``run``, None where there is none."""
    return next((record for record in history([host]) if record["run"] < run), None)


def history(hosts: list[str] | None = None, broken: list[str] | None = None) -> Iterator[Record]:
    """Yield records, those of the newest run first, without those of check mode: nothing of them has happened.

    :param hosts: whose; everybody's when not given.
    :param broken: is given a sentence for every file that cannot be read.
    """
    said: list[str] = [] if broken is None else broken
    for name in _names():
        run = _read(folder() / name / RUN, said)
        if run is None or run.get("check") or (hosts is not None and not set(hosts) & set(run.get("hosts") or {})):
            continue
        for path in sorted((folder() / name).glob("*.json")):
            record = None if path.name == RUN else _read(path, said)
            if record is not None and (hosts is None or record["host"] in hosts):
                yield record


def adopt(other: Path) -> None:
    """Move the runs of another folder of records, such as one that a worker sent back, in here."""
    here = folder()
    here.mkdir(mode=0o700, parents=True, exist_ok=True)
    for run in sorted(path for path in other.iterdir() if path.is_dir()):
        shutil.rmtree(here / run.name, ignore_errors=True)
        shutil.move(run, here / run.name)
        mine = [name for name in _names() if _playbook(name) == _playbook(run.name)]
        for old in mine[KEEP:]:
            shutil.rmtree(here / old, ignore_errors=True)


def _names() -> list[str]:
    try:
        return sorted((path.name for path in folder().iterdir() if path.is_dir()), reverse=True)
    except FileNotFoundError:
        return []


def _playbook(run: str) -> str:
    return "-".join(run.split("-")[2:-1])


def _read(path: Path, broken: list[str]) -> Record | None:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(document, dict) or document.get("schema") != SCHEMA:
            raise ValueError("it is of another version")
        if path.name != RUN and not {"host", "run", "outcome", "report", "facts"} <= set(document):
            raise ValueError("parts of it are missing")
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        broken.append(f"{path} cannot be read as a record: {error}")
        return None
    return document
