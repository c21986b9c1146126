# SPDX-License-Identifier: GPL-3.0-or-later
"""A bundle for people who help: what desks and this machine tell, without secrets, in one archive."""

from __future__ import annotations

import hashlib
import io
import json
import os
import platform
import subprocess
import sys
import tarfile
from collections.abc import Iterable
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from llmdesk import redaction
from llmdesk.run import REPOSITORY, records_dir, state_dir

RUNS = 3
"""Runs whose records go along, the last ones."""

LARGEST = 4 * 1024 * 1024
"""Bytes of one file at most: of a longer one, its end."""

PACKAGES = ("ansible", "ansible-core", "ansible-runner", "click", "paramiko", "rich")


class Bundle:
    """Files on their way into an archive, each without secrets.

    :param known: secrets themselves, which are taken out wherever they stand.
    :param emails: whether the addresses of people stay.
    """

    def __init__(self, known: Iterable[str] = (), emails: bool = False) -> None:
        self._known = tuple(known)
        self._emails = emails
        self._files: dict[str, bytes] = {}

    def add(self, name: str, text: str) -> None:
        """Take a text: one of JSON is looked at by its names, any other by its lines."""
        text = text[-LARGEST:]
        try:
            document = json.loads(text)
        except ValueError:
            clean = redaction.redacted(text, self._known, self._emails)
        else:
            clean = json.dumps(redaction.cleaned(document, self._known, self._emails), indent=1, ensure_ascii=False)
        self._files[_safe(name)] = clean.encode(errors="replace")

    def add_json(self, name: str, document: Any) -> None:
        """Take a document of JSON."""
        self.add(name, json.dumps(document))

    def write(self, path: Path, about: dict[str, Any]) -> None:
        """Write the archive, for its owner alone, whole or not at all.

        :param about: what the manifest says beside the files.
        :raises OSError: it cannot be written.
        """
        about = redaction.cleaned(about, self._known, self._emails)
        files = {
            name: {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
            for name, content in sorted(self._files.items())
        }
        manifest = json.dumps({"schema": 1, **about, "files": files}, indent=1, ensure_ascii=False).encode()
        new = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            with (
                os.fdopen(os.open(new, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb") as stream,
                tarfile.open(fileobj=stream, mode="w:gz") as archive,
            ):
                for name, content in [("manifest.json", manifest), *sorted(self._files.items())]:
                    entry = tarfile.TarInfo(f"llmdesk-support/{name}")
                    entry.size, entry.mode, entry.mtime = len(content), 0o600, int(datetime.now(UTC).timestamp())
                    archive.addfile(entry, io.BytesIO(content))
            new.replace(path)
        finally:
            new.unlink(missing_ok=True)


def versions() -> str:
    """Return which programs are at work on this machine, a line each."""
    lines = [f"llmdesk {version('llmdesk')} {commit()}", f"python {sys.version.split()[0]}"]
    lines += [f"{package} {version(package)}" for package in PACKAGES]
    return "\n".join([*lines, platform.platform(), ""])


def commit() -> str:
    """Return the commit of this checkout; nothing of one that came as an archive, or where git is not installed."""
    try:
        done = subprocess.run(["git", "rev-parse", "HEAD"], cwd=REPOSITORY, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return ""
    return done.stdout.strip()


def inventory(sources: Iterable[str]) -> str:
    """Return the inventory as Ansible understands it, as JSON: vaulted variables stay closed."""
    command = [str(Path(sys.executable).with_name("ansible-inventory")), "--list"]
    for source in sources:
        command += ["-i", source]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    return done.stdout if done.returncode == 0 else done.stderr


def runs() -> list[tuple[str, Path]]:
    """Return the files that the last runs left on this machine, each with its name in the archive."""
    found = []
    for kind, folder in (("records", records_dir()), ("artifacts", state_dir() / "artifacts")):
        last = sorted((run for run in folder.glob("*") if run.is_dir()), key=lambda run: run.stat().st_mtime)[-RUNS:]
        for run in last:
            # Of Ansible's events, the text is enough.
            files = [file for file in run.rglob("*") if file.is_file() and "job_events" not in file.parts]
            found += [(f"controller/{kind}/{file.relative_to(folder)}", file) for file in sorted(files)]
    return found


def desks(document: dict[str, Any]) -> tuple[dict[str, dict[str, Any]], dict[str, dict[str, str]], dict[str, str]]:
    """Return what every desk is, what its commands said by name, and for which desks something is missing, and why.

    :param document: the document of the callback ``ansible.posix.json``.
    """
    from llmdesk.events import answers

    facts, failures = answers(document, "desk_facts")
    said, _failures = answers(document, "desk_support")
    return facts, said, failures


def _safe(name: str) -> str:
    return "/".join("".join(c if c.isalnum() or c in "._-" else "_" for c in part) for part in name.split("/"))
