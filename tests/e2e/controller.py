# SPDX-License-Identifier: GPL-3.0-or-later
"""A person at this machine who runs ``./llmdesk`` over rooms, and what a room's registries have."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab import registry
from lab.engine import REPOSITORY
from tests.e2e.person import heard

Say = Callable[[str], None]


@dataclass(frozen=True)
class Controller:
    """This machine, with a folder of its own for the records of runs."""

    state: Path
    say: Say

    def begins(self, *arguments: str) -> subprocess.Popen[str]:
        """Start ``./llmdesk``."""
        return subprocess.Popen(
            [sys.executable, "-c", "from llmdesk.cli import main; main()", *arguments],
            cwd=REPOSITORY,
            env={**os.environ, "XDG_STATE_HOME": str(self.state), "ANSIBLE_NOCOLOR": "1"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            # What starts the tests in the background lets them ignore Ctrl-C, and their children with them.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )

    def types(self, *arguments: str, on_line: Callable[[str], None] = lambda _line: None) -> tuple[int, list[str]]:
        """Run ``./llmdesk`` to its end and return its exit code and lines."""
        lines = []
        process = self.begins(*arguments)
        with heard(process) as said:
            for line in said:
                lines.append(line.rstrip("\n"))
                on_line(line)
        return process.returncode, lines

    def runs(self, *arguments: str, on_line: Callable[[dict[str, Any]], None] | None = None) -> Result:
        """Run ``./llmdesk`` over a room."""

        def hand_on(line: str) -> None:
            if on_line and line.startswith("{"):
                on_line(json.loads(line))

        rc, lines = self.types(*arguments, "--json", on_line=hand_on)
        assert lines, rc
        document = json.loads(lines[-1])
        assert document["event"] == "result", lines[-20:]
        return Result(rc, document, "\n".join(lines[-30:]))


@dataclass(frozen=True)
class Result:
    """How a run ended."""

    rc: int
    document: dict[str, Any]
    text: str

    def answer(self, name: str) -> str:
        """What a desk answered."""
        report = self.document["hosts"][name]["report"]
        assert report, self.text
        return str(report["proof"]["answer"])


def manifest(name: str, reference: str, part: str) -> Any:
    """Return a part of the manifest that a registry of the room has."""
    repository, _colon, tag = reference.partition("/")[2].partition(":")
    url = f"http://{registry.push_address(name)}/v2/{repository}/manifests/{tag}"
    wanted = {"Accept": "application/vnd.docker.distribution.manifest.v2+json"}
    with urllib.request.urlopen(urllib.request.Request(url, headers=wanted), timeout=10) as response:
        return json.load(response)[part]
