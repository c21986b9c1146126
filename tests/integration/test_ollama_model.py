# SPDX-License-Identifier: GPL-3.0-or-later
"""The module ollama_model, run by the real Ansible, on the real Ollama, which pulls from a real registry."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from lab import faults, models
from lab.engine import REPOSITORY
from tests.integration.rig import THERE, WEIGHTS, Ollama, on_a_desk, size, until


@dataclass(frozen=True)
class Ended:
    """How a run of ansible-playbook ended: its exit code, the module's result, and everything that was printed."""

    rc: int
    result: dict[str, Any]
    printed: str


class Ansible:
    """Runs a play of one task on this machine, where the lab's names are known as they are on a desk."""

    def __init__(self, home: Path, url: str, registry: str) -> None:
        self.home = home
        self._url = url
        self._inside = on_a_desk(home, registry)

    def start(self, arguments: dict[str, Any], *options: str, callback: str = "ansible.posix.json") -> Any:
        """Start ansible-playbook with a task of the module."""
        task = {"name": "Hold the model", "llmdesk.workstation.ollama_model": {"url": self._url, **arguments}}
        playbook = self.home / f"play-{arguments['name'].replace('/', '-')}.json"
        playbook.write_text(json.dumps([{"hosts": "localhost", "gather_facts": False, "tasks": [task]}]))
        return subprocess.Popen(
            [*self._inside, str(Path(sys.executable).with_name("ansible-playbook")), str(playbook), *options],
            cwd=REPOSITORY,
            env={
                **os.environ,
                "HOME": str(self.home),
                "ANSIBLE_REMOTE_TMP": str(self.home / "tmp"),
                "ANSIBLE_ASYNC_DIR": str(self.home / "async"),
                "ANSIBLE_STDOUT_CALLBACK": callback,
                "ANSIBLE_NOCOLOR": "1",
            },
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def finish(self, process: Any) -> Ended:
        """Wait for the end and read the result."""
        printed, _ = process.communicate(timeout=120)
        document, _end = json.JSONDecoder().raw_decode(printed, f"\n{printed}".index("\n{"))
        result = document["plays"][0]["tasks"][0]["hosts"]["localhost"]
        return Ended(process.returncode, result, printed)

    def __call__(self, name: str, *options: str, **more: Any) -> Ended:
        return self.finish(self.start({"name": name, **more}, *options))


@pytest.fixture
def ansible(ollama: Ollama, line: faults.Line, tmp_path: Path) -> Ansible:
    return Ansible(tmp_path, ollama.url, line.address)


def test_check_mode_shows_what_it_would_do(ansible: Ansible, ollama: Ollama) -> None:
    would = ansible("own:1", "--check", "--diff", sources=[{"from_file": str(models.demo()), "sha256": WEIGHTS}])
    assert (would.rc, would.result["changed"], ollama.models()) == (0, True, {})
    assert would.result["diff"]["before"] == {"own:1": None}


def test_a_pull_tells_how_far_it_is_while_it_runs(ansible: Ansible, ollama: Ollama) -> None:
    models.limit("8m")
    process = ansible.start({"name": THERE}, callback="default")
    seen = []
    for line in process.stdout:
        if line.startswith(f"localhost | {THERE}: ") and " MB (" in line:
            # Live: said while the bytes were still coming.
            seen.append((float(line.split()[3]), ollama.fetched()))
    assert process.wait(timeout=60) == 0
    assert len(seen) >= 2
    assert [said for said, _there in seen] == sorted(said for said, _there in seen)
    assert all(0 < said < size() / 1e6 and 0 < there < size() for said, there in seen)
    assert list(ollama.models()) == [THERE]


@pytest.mark.parametrize("killed", ["the controller", "the controller and its workers"])
def test_a_killed_run_leaves_nothing_at_work_and_the_next_one_finishes(
    ansible: Ansible, ollama: Ollama, killed: str
) -> None:
    models.limit("2m")
    process = ansible.start({"name": THERE})
    until(lambda: ollama.fetched() > 2_000_000, "the pull is under way")
    whole = at_work("ansible-playbook", ansible.home)
    for pid in [process.pid] if killed == "the controller" else whole:
        os.kill(pid, signal.SIGKILL)
    if killed != "the controller":
        # Nobody tells the module. What it looks at grows old within 30 s, here at once.
        (lease,) = ansible.home.glob("tmp/*/progress.lease")
        os.utime(lease, (0, 0))
    process.wait()
    until(lambda: not at_work("ansible", ansible.home), "everything has stopped", 15)
    assert ollama.models() == {}
    models.limit(None)
    ended = ansible(THERE)
    assert (ended.rc, ended.result["changed"]) == (0, True)


def at_work(word: str, home: Path) -> list[int]:
    """Return the processes of a run of ours, by a word of their command lines; its home is in their environment."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            mine = f"HOME={home}".encode() in (process / "environ").read_bytes().split(b"\0")
            if mine and word.encode() in (process / "cmdline").read_bytes():
                found.append(int(process.name))
    return found
