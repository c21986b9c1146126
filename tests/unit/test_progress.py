# SPDX-License-Identifier: GPL-3.0-or-later
"""How a long module tells what it does, and what its action plugin makes of it."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible.errors import AnsibleConnectionFailure
from ansible_collections.llmdesk.workstation.plugins.module_utils import progress as module_side
from ansible_collections.llmdesk.workstation.plugins.module_utils.progress import INTERVAL, Cancelled, Progress
from ansible_collections.llmdesk.workstation.plugins.plugin_utils import progress as action_side
from ansible_collections.llmdesk.workstation.plugins.plugin_utils.progress import (
    MARK,
    PATIENCE,
    POLL,
    QUIET,
    SPEAK,
    WINDOWS,
    ProgressActionBase,
    Teller,
    duration,
    line,
)


class Clock:
    """A clock that is moved by hand."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now

    def time(self) -> float:
        return time.time()

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    moved = Clock()
    monkeypatch.setattr(module_side, "time", moved)
    monkeypatch.setattr(action_side, "time", moved)
    return moved


# --- The module's side ----------------------------------------------------------------------------------------------


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "progress.lease").touch()
    return tmp_path / "progress"


def test_a_report_is_whole_or_not_there(file: Path, clock: Clock) -> None:
    Progress(str(file)).report("smollm2:135m", 5, 10, detail="pulling")
    assert json.loads(file.read_text()) == {
        "item": "smollm2:135m",
        "completed": 5,
        "total": 10,
        "unit": "bytes",
        "detail": "pulling",
        "lan": False,
    }
    assert sorted(path.name for path in file.parent.iterdir()) == ["progress", "progress.lease"]


def test_reports_are_written_no_oftener_than_they_are_read(file: Path, clock: Clock) -> None:
    progress = Progress(str(file))
    progress.report("m", 1)
    clock.now += INTERVAL / 2
    progress.report("m", 2)
    assert json.loads(file.read_text())["completed"] == 1
    clock.now += INTERVAL
    progress.report("m", 3)
    assert json.loads(file.read_text())["completed"] == 3


@pytest.mark.parametrize(("age", "cancelled"), [(59, False), (61, True), (None, True)])
def test_a_module_stops_when_its_controller_is_gone(file: Path, clock: Clock, age: int | None, cancelled: bool) -> None:
    lease = file.with_name("progress.lease")
    if age is None:
        lease.unlink()
    else:
        os.utime(lease, (time.time() - age, time.time() - age))
    if cancelled:
        with pytest.raises(Cancelled, match="run it again to carry on"):
            Progress(str(file)).report("m")
        assert not file.exists()
    else:
        Progress(str(file)).report("m")
        assert file.exists()


def test_a_module_without_its_action_plugin_tells_nobody(clock: Clock) -> None:
    Progress(None).report("m", 1, 2)


# --- The action plugin's side ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("report", "words"),
    [
        ({"item": "m:1", "completed": 12_000_000, "total": 98_400_000}, "m:1: 12.0 of 98.4 MB (12 %)"),
        ({"item": "m:1", "completed": 12_000_000}, "m:1: 12.0 MB"),
        ({"item": "m:1", "detail": "verifying sha256 digest"}, "m:1: verifying sha256 digest"),
        (
            {"item": "image", "completed": 82, "total": 164, "unit": "steps", "detail": "compiling llama.cpp"},
            "image: compiling llama.cpp, 82 of 164 (50 %)",
        ),
        ({"item": "image", "completed": 3, "unit": "steps"}, "image: 3"),
        ({"item": "m:1", "completed": 0, "total": 0}, "m:1: 0.0 MB"),
        ({"item": "m:1"}, "m:1"),
    ],
)
def test_a_report_in_words(report: dict[str, Any], words: str) -> None:
    assert line(report) == words


@pytest.mark.parametrize(
    ("report", "rate", "words"),
    [
        ({"completed": 60_000_000, "total": 100_000_000}, 5e6, "60.0 of 100.0 MB (60 %), 5.0 MB/s, 0:08 left"),
        ({"completed": 60_000_000, "total": 100_000_000}, 40_000, "60.0 of 100.0 MB (60 %), 40 kB/s, 16:40 left"),
        ({"completed": 60_000_000, "total": 100_000_000}, 0.0, "60.0 of 100.0 MB (60 %), 0 kB/s"),
        ({"completed": 60_000_000}, 5e6, "60.0 MB, 5.0 MB/s"),
        ({"completed": 60_000_000, "total": 60_000_000, "detail": "hashing"}, 5e6, "hashing, 60.0 of 60.0 MB (100 %)"),
        ({"detail": "pulling manifest"}, 5e6, "pulling manifest"),
        ({"completed": 82, "total": 164, "unit": "steps"}, 0.5, "82 of 164 (50 %), 2:44 left"),
        ({"completed": 82, "unit": "steps"}, 0.5, "82"),
    ],
)
def test_a_rate_in_words(report: dict[str, Any], rate: float, words: str) -> None:
    assert line({"item": "m:1", **report}, rate) == f"m:1: {words}"


@pytest.mark.parametrize(("seconds", "words"), [(0, "0:00"), (61.9, "1:01"), (3600, "60:00")])
def test_a_duration_in_words(seconds: float, words: str) -> None:
    assert duration(seconds) == words


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    lines: list[str] = []
    monkeypatch.setattr(action_side, "display", SimpleNamespace(display=lines.append))
    return lines


def test_a_person_hears_of_it_after_a_while_and_then_now_and_then(
    said: list[str], clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("LLMDESK_PROGRESS", raising=False)
    teller = Teller("desk1", "Bring the models")
    teller.tell({"item": "m:1", "completed": 1_000_000})
    assert said == [], "a short task needs no word"
    clock.now += QUIET
    teller.tell({"item": "m:1", "completed": 2_000_000})
    clock.now += SPEAK / 2
    teller.tell({"item": "m:1", "completed": 3_000_000})
    clock.now += SPEAK
    teller.tell({"item": "m:1", "completed": 4_000_000})
    teller.tell(None)
    assert said == ["desk1 | m:1: 2.0 MB, 500 kB/s | 0:02", "desk1 | m:1: 4.0 MB, 316 kB/s | 0:09"]


class Watched:
    """A pull that is looked at as often as it really is."""

    def __init__(self, clock: Clock, said: list[str]) -> None:
        self._clock = clock
        self._said = said
        self._teller = Teller("desk1", "Bring the models")
        self._completed = 0

    def goes_on(self, seconds: float, rate: float, **more: Any) -> str:
        """Return the last line that was said while it went on at so many bytes a second."""
        for _look in range(round(seconds / POLL)):
            self._clock.now += POLL
            self._completed += int(rate * POLL)
            self._teller.tell({"item": "m:1", "completed": self._completed, "total": 900_000_000, **more})
        return self._said[-1].split(" | ")[1].partition("%), ")[2] if self._said else ""


@pytest.fixture
def pull(said: list[str], clock: Clock, monkeypatch: pytest.MonkeyPatch) -> Watched:
    monkeypatch.delenv("LLMDESK_PROGRESS", raising=False)
    return Watched(clock, said)


def test_a_rate_is_that_of_the_last_seconds(pull: Watched, said: list[str]) -> None:
    assert pull.goes_on(QUIET, 10_000_000) == "10.0 MB/s, 1:28 left"
    assert said == ["desk1 | m:1: 20.0 of 900.0 MB (2 %), 10.0 MB/s, 1:28 left | 0:02"]
    pull.goes_on(20, 10_000_000)
    assert pull.goes_on(SPEAK, 2_000_000).startswith("6.0 MB/s, "), "half of the time at either rate"
    assert pull.goes_on(WINDOWS["bytes"] + SPEAK, 2_000_000).startswith("2.0 MB/s, ")


def test_a_glimpse_is_no_rate(pull: Watched, clock: Clock, said: list[str]) -> None:
    clock.now += QUIET - 2 * POLL
    pull.goes_on(2 * POLL, 10_000_000)
    assert said == ["desk1 | m:1: 10.0 of 900.0 MB (1 %) | 0:02"]
    assert pull.goes_on(SPEAK, 10_000_000).startswith("10.0 MB/s, ")


def test_a_pull_that_stands_still_has_no_time_left(pull: Watched) -> None:
    pull.goes_on(10, 10_000_000)
    assert pull.goes_on(WINDOWS["bytes"] + SPEAK, 0) == "0 kB/s"
    assert pull.goes_on(WINDOWS["bytes"] + SPEAK, 10_000_000) == "10.0 MB/s, 1:08 left"


def test_what_begins_anew_is_measured_anew(pull: Watched, clock: Clock) -> None:
    pull.goes_on(20, 20_000_000)
    pull._completed = 0
    assert pull.goes_on(SPEAK, 4_000_000, detail="hashing").startswith("4.0 MB/s, ")
    assert pull.goes_on(SPEAK, 1_000_000, item="m:2").startswith("1.0 MB/s, ")


def test_a_pause_without_a_count_is_no_measurement(pull: Watched, said: list[str], clock: Clock) -> None:
    pull.goes_on(QUIET, 10_000_000)
    clock.now += SPEAK
    pull._teller.tell({"item": "m:1", "completed": None, "total": None, "detail": "trying again (1 of 3)"})
    assert said[-1] == "desk1 | m:1: trying again (1 of 3) | 0:07"
    assert pull.goes_on(SPEAK, 10_000_000).startswith("5.0 MB/s, "), "the time that it took counts"


def test_a_program_hears_every_change_and_that_it_goes_on(
    said: list[str], clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LLMDESK_PROGRESS", "json")
    teller = Teller("desk1", "Bring the models")
    for seconds, completed in ((0, 1), (1, 1), (0, 2), (SPEAK, 2), (0, 2)):
        clock.now += seconds
        teller.tell({"item": "m:1", "completed": completed})
    events = [json.loads(text.removeprefix("llmdesk-progress ")) for text in said]
    assert [(event["completed"], event["elapsed"]) for event in events] == [(1, 0), (2, 1), (2, 1 + SPEAK)]
    assert (events[0]["host"], events[0]["task"]) == ("desk1", "Bring the models")


# --- A desk that is away for a while ----------------------------------------------------------------------------------


class Desk(ProgressActionBase):
    """A desk that answers, or does not, as it is told."""

    def __init__(self, *answers: str | Exception) -> None:
        self._task = SimpleNamespace(get_name=lambda: "Bring the models")
        self._answers = list(answers)

    def _low_level_execute_command(self, command: str) -> dict[str, Any]:
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        if isinstance(answer, Exception):
            raise answer
        return {"rc": 0, "stdout": answer, "stderr": ""}

    def ends(self) -> dict[str, Any]:
        return self._watch("/results", "/progress", "boot-1", {"inventory_hostname": "desk1"})


def looked(boot: str, outcome: str) -> str:
    return f"{boot}\n{MARK}\n{{}}\n{MARK}\n{outcome}"


BUSY = AnsibleConnectionFailure("Timeout (12s) waiting for privilege escalation prompt")
AT_WORK = looked("boot-1", '{"started": 1}')
DONE = looked("boot-1", '{"changed": true, "ansible_job_id": "j1"}')


def test_a_desk_too_busy_to_let_anybody_in_is_asked_again(clock: Clock, said: list[str]) -> None:
    assert Desk(AT_WORK, BUSY, BUSY, AT_WORK, BUSY, DONE).ends() == {"changed": True}


def test_a_desk_that_stays_away_is_unreachable_in_the_end(clock: Clock, said: list[str]) -> None:
    began = clock.now
    with pytest.raises(AnsibleConnectionFailure):
        Desk(AT_WORK, BUSY).ends()
    assert PATIENCE <= clock.now - began <= PATIENCE + 5


def test_a_desk_that_was_restarted_has_forgotten_the_module(clock: Clock, said: list[str]) -> None:
    told = Desk(AT_WORK, BUSY, looked("boot-2", '{"started": 1}')).ends()
    assert told == {"failed": True, "msg": "The desk was restarted meanwhile; run it again to carry on."}
    assert Desk(AT_WORK, looked("boot-2", '{"changed": false}')).ends() == {"changed": False}, "it was through before"


def test_looks_grow_rarer_once_it_takes_long(clock: Clock, said: list[str]) -> None:
    began = clock.now
    Desk(*[AT_WORK] * 200, DONE).ends()
    assert 200 < clock.now - began < 400
