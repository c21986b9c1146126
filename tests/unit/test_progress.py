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
from ansible_collections.llmdesk.workstation.plugins.module_utils import progress as module_side
from ansible_collections.llmdesk.workstation.plugins.module_utils.progress import INTERVAL, Cancelled, Progress
from ansible_collections.llmdesk.workstation.plugins.plugin_utils import progress as action_side
from ansible_collections.llmdesk.workstation.plugins.plugin_utils.progress import QUIET, SPEAK, Teller, duration, line


class Clock:
    """A clock that is moved by hand."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now

    def time(self) -> float:
        return time.time()


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


@pytest.mark.parametrize(("age", "cancelled"), [(29, False), (31, True), (None, True)])
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
    assert said == ["desk1 | m:1: 2.0 MB | 0:02", "desk1 | m:1: 4.0 MB | 0:09"]


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
