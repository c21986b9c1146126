# SPDX-License-Identifier: GPL-3.0-or-later
"""Events of ansible-runner, captured from runs of tests/integration/playbooks/story.yml, become typed values."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from llmdesk.events import Event, Progress, Recap, Said, TaskEnded, TaskStarted, message, parse
from llmdesk.story import WINDOWS, Story, Work

RUNS = Path(__file__).parent / "fixtures" / "runner"


def events(run: str) -> list[Event]:
    lines = (RUNS / f"{run}.jsonl").read_text().splitlines()
    return [event for event in (parse(json.loads(line)) for line in lines) if event is not None]


def story(run: str) -> Story:
    told = Story()
    for event in events(run):
        told.add(event)
    return told


def ended(run: str, task: str) -> dict[str, TaskEnded]:
    return {e.host: e for e in events(run) if isinstance(e, TaskEnded) and e.task == task}


@pytest.mark.parametrize(
    ("task", "outcome"),
    [
        ("Ask the desk", "ok"),
        ("Install Docker", "changed"),
        ("Skip a step", "skipped"),
        ("Look for something that may be missing", "ignored"),
        ("Fail first", "failed"),
        ("Mend", "ok"),
    ],
)
def test_how_a_task_ends(task: str, outcome: str) -> None:
    assert {host: event.outcome for host, event in ended("story", task).items()} == {"desk1": outcome, "desk2": outcome}


def test_a_task_outside_of_roles_belongs_to_its_play() -> None:
    first = next(event for event in events("story") if isinstance(event, TaskStarted))
    assert (first.phase, first.task) == ("Make every desk answer", "Ask the desk")


def test_what_a_command_printed() -> None:
    assert ended("story", "Ask the desk")["desk1"].lines == ("26.1",)


def test_what_a_debug_task_says_is_a_note_and_a_report_is_not() -> None:
    assert ended("story", "Mend")["desk1"].note == "A mirror was used instead."
    report = ended("story", "Report the desk")["desk2"]
    assert report.note == ""
    assert report.report is not None
    assert report.report["proof"]["answer"] == "The capital of France is Paris."


def test_progress_comes_out_of_the_lines_of_an_action_plugin() -> None:
    told = [event for event in events("story") if isinstance(event, Progress) and event.host == "desk1"]
    assert [event.completed for event in told] == [0, 24590608, 49181216, 73771824, 98362432]
    assert {(event.item, event.total, event.unit) for event in told} == {("smollm2:135m", 98362432, "bytes")}


def test_a_line_that_only_looks_like_progress_is_shown_as_it_is() -> None:
    line = {"event": "verbose", "created": "2026-01-01T00:00:00+00:00", "stdout": 'llmdesk-progress {"host": "desk1"}'}
    assert isinstance(parse(line), Said)


def test_a_diff_is_shown() -> None:
    assert any("+a word" in event.text for event in events("story") if isinstance(event, Said))


def test_a_secret_stays_out() -> None:
    assert ended("story", "Say a secret")["desk1"].lines == ()


def test_a_failure_says_why_and_where() -> None:
    event = ended("broken", "Break on purpose")["desk2"]
    assert event.message == "non-zero return code\nE no space left on device"
    assert event.path.startswith("tests/integration/playbooks/story.yml:")
    assert event.broken


def test_a_desk_that_cannot_be_reached() -> None:
    event = ended("unreachable", "Ask the desk")["desk7"]
    assert event.outcome == "unreachable"
    assert "Connection refused" in event.message


def test_a_playbook_that_does_not_parse_says_so() -> None:
    assert events("unparsed")
    assert all(isinstance(event, Said) for event in events("unparsed"))


def test_the_recap_counts_per_host() -> None:
    recap = next(event for event in events("broken") if isinstance(event, Recap))
    assert recap.hosts["desk1"]["failed"] == 0
    assert recap.hosts["desk2"]["failed"] == 1


@pytest.mark.parametrize(
    ("result", "said"),
    [
        ({"msg": "no"}, "no"),
        ({"censored": "hidden"}, "hidden"),
        ({}, "It gave no reason."),
        ({"msg": "broke", "module_stderr": "a\nb"}, "broke\na\nb"),
        ({"msg": "E: broke", "stderr": "E: broke"}, "E: broke"),
        ({"results": [{"msg": "one", "failed": True}, {"msg": "fine"}, {"msg": "two", "failed": True}]}, "one\ntwo"),
        ({"msg": "All items completed", "results": [{"msg": "no route", "unreachable": True}]}, "no route"),
    ],
)
def test_why_a_task_failed(result: dict[str, object], said: str) -> None:
    assert message(result) == said


def test_a_long_output_is_cut_to_its_end() -> None:
    told = message({"msg": "broke", "stderr": "\n".join(f"line {number}" for number in range(100))})
    assert told.splitlines()[1] == "line 85"
    assert told.endswith("line 99")


# --- The story ---


def test_a_failure_that_a_rescue_mended_is_none() -> None:
    assert list(story("story").failures()) == []


def test_only_the_failure_that_ended_a_host_counts() -> None:
    assert [(event.host, event.task) for event in story("broken").failures()] == [("desk2", "Break on purpose")]


def test_phases_have_their_time() -> None:
    told = story("story")
    phase = told.phases["Make every desk answer"]
    assert phase.seconds == pytest.approx(told.seconds, abs=0.5)
    assert phase.changed
    assert not phase.failed


def test_a_phase_in_which_a_host_ended_has_failed() -> None:
    assert story("broken").phases["Make every desk answer"].failed == {"desk2"}


def test_every_desk_has_its_report() -> None:
    assert sorted(story("story").reports) == ["desk1", "desk2"]
    assert sorted(story("broken").reports) == ["desk1"]


def pull(at: float, completed: int, total: int | None = 1000) -> Progress:
    return Progress(at, "desk1", "model", completed, total, "bytes")


def test_rate_and_remaining_time() -> None:
    work = Work(pull(0, 0), 0)
    work.add(pull(0, 0))
    assert (work.rate, work.remaining) == (None, None)
    work.add(pull(2, 200))
    assert (work.rate, work.remaining) == (100, 8)


def test_the_rate_follows_a_line_that_slows_down() -> None:
    work = Work(pull(0, 0), 0)
    for second in range(10):
        work.add(pull(second, 50 * second))
    for second in range(10, 30):
        work.add(pull(second, 450 + second))
    assert work.rate == pytest.approx(1)
    assert len(work.past) <= WINDOWS["bytes"] + 1


def test_nobody_knows_the_rest_of_work_without_a_total() -> None:
    work = Work(pull(0, 0, None), 0)
    work.add(pull(0, 0, None))
    work.add(pull(1, 10, None))
    assert work.remaining is None


def test_the_next_item_starts_from_nothing() -> None:
    told = Story()
    told.add(TaskStarted(0, "models", "Pull"))
    told.add(pull(0, 0))
    told.add(pull(1, 100))
    told.add(Progress(2, "desk1", "other", 0, 10, "bytes"))
    assert told.work["desk1"].rate is None


@pytest.mark.parametrize(("outcome", "bytes_then"), [("changed", 100), ("failed", 40)])
def test_work_that_ended_well_has_brought_all_of_it(outcome: str, bytes_then: int) -> None:
    told = Story()
    told.add(Progress(1.0, "desk1", "llama3.2:3b", 40, 100, "bytes", lan=True))
    told.add(TaskEnded(2.0, "ollama_models", "Bring or remove the models", "desk1", outcome))
    assert told.bytes() == told.bytes_by_lan() == (bytes_then, bytes_then)
