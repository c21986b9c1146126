# SPDX-License-Identifier: GPL-3.0-or-later
"""The last run that changed desks, kept so that ``llmdesk retry`` can run it again on those that it left undone."""

from __future__ import annotations

import json
import os
import shlex
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from llmdesk.run import Play, home
from llmdesk.words import command

PASSWORDS = ("become_password", "vault_password")


@dataclass(frozen=True)
class Kept:
    """A run of which ``hosts`` were left undone; ``asked`` names the passwords to ask for again.

    ``play`` is None where its command held something that looks like a secret; ``run`` is its name in the records.
    """

    play: Play | None
    asked: tuple[str, ...]
    hosts: tuple[str, ...]
    run: str


def keep(play: Play, hosts: list[str], run: str) -> None:
    """Keep a run, in a file that nobody else can read, without its passwords. One that changes nothing is not kept.

    :raises OSError: it cannot be written, and the one before is not kept either.
    """
    if not play.changes:
        return
    asked = [name for name in PASSWORDS if getattr(play, name) is not None]
    bare = replace(play, become_password=None, vault_password=None)
    secret = command(bare.arguments()) != shlex.join(bare.arguments())
    told = {"play": None if secret else asdict(bare), "asked": asked, "hosts": hosts, "run": run}
    home().mkdir(mode=0o700, parents=True, exist_ok=True)
    new = _file().with_suffix(f".{os.getpid()}")
    try:
        with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            json.dump(told, file)
        new.replace(_file())
    except OSError:
        _file().unlink(missing_ok=True)
        raise
    finally:
        new.unlink(missing_ok=True)


def last() -> Kept | None:
    """Return the last run that changed desks, None where there was none, or none that this version can read."""
    try:
        told: dict[str, Any] = json.loads(_file().read_text())
        play = told["play"]
        lists = {field.name for field in fields(Play) if str(field.type).startswith("tuple")}
        given: dict[str, Any] = {name: tuple(value) if name in lists else value for name, value in (play or {}).items()}
        return Kept(Play(**given) if play else None, tuple(told["asked"]), tuple(told["hosts"]), told["run"])
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError):
        return None


def _file() -> Path:
    return home() / "last.json"
