# SPDX-License-Identifier: GPL-3.0-or-later
"""The module with its action plugin, in real plays: what a person sees meanwhile, and what is left afterwards."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from lab import faults, models
from lab.engine import REPOSITORY
from tests.integration.rig import THERE, Ollama, on_a_desk, reach, size, until, whole

LINE = re.compile(
    r"^(?P<host>\w+) \| (?P<item>\S+): (?P<done>[\d.]+) of (?P<total>[\d.]+) MB \((?P<share>\d+) %\)"
    r"(?:, (?P<rate>[\d.]+ [kM]B/s))?(?:, (?P<left>\d+:\d\d) left)? \| (?P<elapsed>\d+:\d\d)$"
)
RESULT = re.compile(r"^ok: \[(\w+)\] => ", re.MULTILINE)


@dataclass(frozen=True)
class Ended:
    """A play that has ended: its exit code, all that it printed, and what its task returned, by host."""

    rc: int
    printed: str
    results: dict[str, dict[str, Any]]

    def told(self, host: str) -> list[dict[str, str]]:
        """Return what was said of a host's pull, a line each."""
        found = [match.groupdict() for text in self.printed.splitlines() if (match := LINE.match(text))]
        return [words for words in found if words["host"] == host]


class Player:
    """Runs plays with ``ansible-playbook``, on hosts that are all this machine.

    :param folder: for its files; its home is in there, with all that Ansible leaves.
    """

    def __init__(self, folder: Path, registry: str, ollama: Ollama) -> None:
        self.home = folder / "home"
        self.home.mkdir()
        self._folder = folder
        self._inside = on_a_desk(folder, registry)
        self._given = reach(ollama)

    def task(self, name: str = THERE) -> dict[str, Any]:
        """Return a task that brings a model, and whose result is the play's."""
        given = {"name": name, **self._given}
        return {"name": "Bring it", "llmdesk.workstation.ollama_model": given, "register": "result"}

    def start(self, *tasks: dict[str, Any], hosts: tuple[str, ...] = ("desk1",), check: bool = False) -> Any:
        """Start a play."""
        here = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
        inventory = self._folder / "inventory.json"
        inventory.write_text(json.dumps({"all": {"hosts": dict.fromkeys(hosts, here)}}))
        show = {"name": "Show it", "ansible.builtin.debug": {"var": "result"}}
        playbook = self._folder / "play.json"
        playbook.write_text(json.dumps([{"hosts": "all", "gather_facts": False, "tasks": [*tasks, show]}]))
        program = str(Path(sys.executable).with_name("ansible-playbook"))
        mine = {name: text for name, text in os.environ.items() if not name.startswith(("ANSIBLE_", "LLMDESK_"))}
        return subprocess.Popen(
            [*self._inside, program, "-i", str(inventory), str(playbook), *(["--check"] if check else [])],
            cwd=self._folder,
            env={
                **mine,
                "HOME": str(self.home),
                # Ansible asks for the home of the account, which is not the one that is given here.
                "ANSIBLE_REMOTE_TMP": str(self.home / ".ansible" / "tmp"),
                "ANSIBLE_ASYNC_DIR": str(self.home / ".ansible_async"),
                "ANSIBLE_COLLECTIONS_PATH": str(REPOSITORY / "collections"),
                "ANSIBLE_NOCOLOR": "1",
                "PYTHONUNBUFFERED": "1",
            },
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    @staticmethod
    def finish(process: Any, printed: str = "") -> Ended:
        """Wait for a play's end.

        :param printed: what was read of it already.
        """
        try:
            printed += process.communicate(timeout=90)[0]
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            raise
        results = {
            match[1]: json.JSONDecoder().raw_decode(printed, match.end())[0]["result"]
            for match in RESULT.finditer(printed)
        }
        return Ended(process.returncode, printed, results)

    def __call__(self, *tasks: dict[str, Any], **more: Any) -> Ended:
        """Run a play."""
        return self.finish(self.start(*tasks, **more))

    def left(self) -> list[str]:
        """Return the files that a play has left on the desk, and the folders of its tasks."""
        kept = [path for path in self.home.rglob("*") if path.is_file() or "-tmp-" in path.name]
        return sorted(str(path.relative_to(self.home)) for path in kept)


@pytest.fixture
def play(ollama: Ollama, line: faults.Line, tmp_path: Path) -> Iterator[Player]:
    """Plays on a server without models."""
    yield Player(tmp_path, line.address, ollama)
    models.limit(None)


def seconds(words: str) -> int:
    minutes, rest = words.split(":")
    return 60 * int(minutes) + int(rest)


def test_a_slow_pull_says_now_and_then_how_far_it_is(play: Player, ollama: Ollama) -> None:
    models.limit("8m")
    process = play.start(play.task())
    printed = ""
    for text in process.stdout:
        printed += text
        if LINE.match(text):
            break
    assert ollama.models() == {}, "it was said when all was over"
    ended = play.finish(process, printed)
    assert ended.rc == 0, ended.printed
    first, *more = ended.told("desk1")
    assert (first["item"], first["total"]) == (THERE, f"{size() / 1e6:.1f}")
    assert more, ended.printed
    for words in more:  # the first may come before there are two measurements
        rate = float(words["rate"].removesuffix(" MB/s"))
        assert 2 < rate < 17, words  # nginx lets 8.4 through, and in the first second twice as much
        left = (float(words["total"]) - float(words["done"])) / rate
        assert abs(seconds(words["left"]) - left) <= 2, words
        assert abs(int(words["share"]) - 100 * float(words["done"]) / float(words["total"])) <= 1.1, words
    times = [seconds(words["elapsed"]) for words in (first, *more)]
    assert all(5 <= later - earlier <= 10 for earlier, later in pairwise(times)), times
    result = ended.results["desk1"]
    assert (result["changed"], result["action"], result["bytes"]) == (True, "pull", size())
    assert result["model"]["digest"] == whole(ollama)
    assert not {"ansible_job_id", "results_file", "started", "finished"} & set(result), "it is not the module's own"
    assert play.left() == []


def test_every_host_has_its_line(play: Player, ollama: Ollama) -> None:
    models.limit("16m")
    ended = play(play.task(), hosts=("desk1", "desk2"))
    assert ended.rc == 0, ended.printed
    for host in ("desk1", "desk2"):
        assert ended.told(host), ended.printed
        assert ended.results[host]["model"]["digest"] == whole(ollama)
    assert play.left() == []


def test_a_failure_is_the_modules_own_and_leaves_nothing(play: Player) -> None:
    ended = play(play.task("a b"), play.task(f"{models.HOST}/library/nobody-has-this:1"))
    assert (ended.rc, ended.results) == (2, {})
    assert '"reason": "bad_name"' in ended.printed
    assert play.left() == []


@pytest.mark.parametrize("words", [{}, {"async": 600, "poll": 1}], ids=["plain", "async"])
def test_check_mode_says_what_would_come_and_leaves_nothing(play: Player, ollama: Ollama, words: Any) -> None:
    ended = play({**play.task(), **words}, check=True)
    assert ended.rc == 0, ended.printed
    result = ended.results["desk1"]
    assert (result["changed"], result["action"], result["bytes"]) == (True, "pull", size())
    assert (ollama.models(), ollama.fetched(), ended.told("desk1")) == ({}, 0, [])
    assert (play.home / ".ansible_async").exists() is bool(words)
    # Of a task with async, Ansible's own wrapper removes the rest, at the next multiple of five seconds.
    until(lambda: play.left() == [], "nothing is left", 15 if words else 0)


def test_a_task_with_async_brings_the_model_and_returns_the_modules_result(play: Player, ollama: Ollama) -> None:
    ended = play({**play.task(), "async": 600, "poll": 1})
    assert ended.rc == 0, ended.printed
    result = ended.results["desk1"]
    assert (result["changed"], result["action"], result["model"]["digest"]) == (True, "pull", whole(ollama))
    until(lambda: play.left() == [], "nothing is left", 15)


def test_a_task_that_is_fired_and_forgotten_is_asked_for_later(play: Player, ollama: Ollama) -> None:
    fired = {**play.task(), "async": 600, "poll": 0, "register": "fired"}
    job = {"jid": "{{ fired.ansible_job_id }}"}
    wait = {
        "name": "Wait for it",
        "ansible.builtin.async_status": job,
        "register": "result",
        "until": "result is finished",
        "retries": 60,
        "delay": 1,
    }
    ended = play(fired, wait, {"name": "Forget it", "ansible.builtin.async_status": {**job, "mode": "cleanup"}})
    assert ended.rc == 0, ended.printed
    result = ended.results["desk1"]
    assert (result["changed"], result["action"], result["model"]["digest"]) == (True, "pull", whole(ollama))
    until(lambda: play.left() == [], "nothing is left", 15)
