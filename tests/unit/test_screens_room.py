# SPDX-License-Identifier: GPL-3.0-or-later
"""What people see of a room: captured runs as golden text in 80 and 200 columns, and 200 made-up desks.

``python -m tests.unit.test_screens_room`` writes the golden text and the README's picture anew, to be looked at.
"""

from __future__ import annotations

import io
import json
import random
import re
import time
from functools import cache
from pathlib import Path

import pytest
from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from llmdesk import words
from llmdesk.events import DesksNamed, Event, HostsNamed, HostStarted, PlayStopped, Progress, Recap, TaskEnded
from llmdesk.run import INTERRUPTED, REPOSITORY, Outcome, Play
from llmdesk.screen.live import LiveScreen
from llmdesk.screen.plain import PlainScreen
from llmdesk.screen.room import Line, failures, frame, names, natural, reason, table, unfinished
from llmdesk.story import QUIET, STALLED, Story
from tests.unit.test_events import events, story

GOLDEN = Path(__file__).parent / "fixtures" / "screens"
PLAY = Play("site.yml", inventory=("room.yml",))
FAILED = Outcome(4, 12.34, Path("/state/runs/1"))
RUNS = ("room", "room-host-pinned")


def text(lines: list[Line]) -> str:
    return "".join("".join(piece for piece, _ in line).rstrip() + "\n" for line in lines)


def pictures(run: str, width: int) -> str:
    """Return frames of a run at three moments, and its end."""
    told, happened = Story(), events(run)
    shown = []
    for index, event in enumerate(happened):
        told.add(event)
        if index in (len(happened) * part // 20 for part in (3, 9, 15)):
            shown.append(text(frame(told, told.at, width, 18, ["A warning."], "$ ansible-playbook site.yml")))
    shown.append(text(table(told, width)) + text(failures(told, PLAY, FAILED)))
    return f"{'=' * width}\n".join(shown)


def plain(run: str) -> str:
    stream = io.StringIO()
    on = PlainScreen(stream, False)
    on.begin(PLAY)
    for event in events(run):
        on.show(event)
    on.end(FAILED)
    return stream.getvalue()


@cache
def golden() -> dict[str, str]:
    """Return every picture by the name of its file."""
    found = {f"{run}-{width}.txt": pictures(run, width) for run in RUNS for width in (80, 200)}
    return found | {f"{run}-plain.txt": plain(run) for run in RUNS}


@pytest.mark.parametrize("name", [f"{run}-{kind}.txt" for run in RUNS for kind in ("80", "200", "plain")])
def test_a_room_looks_as_it_should(name: str) -> None:
    assert golden()[name] == (GOLDEN / name).read_text()


def test_a_plain_room_has_no_line_for_every_desk_and_task() -> None:
    told = story("room-host-pinned")
    assert len(plain("room-host-pinned").splitlines()) < 5 * len(told.hosts) + 10


# --- 200 desks -------------------------------------------------------------------------------------------------------

PHASES = ("desk", "docker", "open_webui", "ollama_models", "verify")
MODEL = 2_000_000_000


def big(done: int = 120, broken: int = 8, working: int = 40, count: int = 200) -> Story:
    """Return a run in the middle, after 300 seconds: some done, some broken, some that pull, the rest to come."""
    told = Story()
    hosts = [f"desk{number:03}" for number in range(1, count + 1)]
    told.add(HostsNamed(0.0, tuple(hosts)))
    chance = random.Random(1)
    come = iter(hosts)

    def at_work(host: str, last: int, ends: bool) -> None:
        for index, phase in enumerate(PHASES[: last + 1]):
            told.add(HostStarted(10.0 * index, "Make every desk answer", phase, f"Do {phase}", host))
            if index < last or ends:
                told.add(TaskEnded(10.0 * index + 9, phase, f"Do {phase}", host, "changed"))

    for _ in range(done):
        host = next(come)
        at_work(host, 4, True)
        model = {"name": "llama3.2:3b", "on": "gpu"}
        report = {"model": model, "proof": {"tokens_per_s": 90.5}, "address": f"http://{host}:3000"}
        told.add(TaskEnded(200.0, "verify", "Report", host, "ok", report=report))
    for _ in range(broken):
        host = next(come)
        at_work(host, 1, False)
        told.add(TaskEnded(30.0, "docker", "Install Docker", host, "failed", message=f"No space left on {host}"))
    for _ in range(working):
        host = next(come)
        at_work(host, 3, False)
        for second in range(290, 301, 2):
            share = chance.random() / 10 + (second - 290) / 100
            told.add(Progress(float(second), host, "llama3.2:3b", int(MODEL * share), MODEL, "bytes"))
    return told


@pytest.mark.parametrize("width", [80, 100, 140, 200])
@pytest.mark.parametrize("height", [5, 8, 12, 24, 60])
def test_a_frame_never_has_more_than_the_terminal(width: int, height: int) -> None:
    for told in (big(), big(0, 0, 200), big(0, 200, 0), big(200, 0, 0), big(0, 0, 0)):
        lines = frame(told, 301.0, width, height, ["one", "two", "three"], "$ a command")
        assert len(lines) <= height
        assert max(cell_len("".join(piece for piece, _ in line)) for line in lines) <= width
        assert any("of 200 desks done" in "".join(piece for piece, _ in line) for line in lines)


def test_what_needs_a_person_stands_on_top_and_the_rest_is_counted() -> None:
    shown = text(frame(big(), 301.0, 80, 24)).splitlines()
    assert [line[2:9] for line in shown[:8]] == [f"desk{number}" for number in range(121, 129)]
    assert "No space left on desk121" in shown[0]
    assert any(line.startswith("• and ") and "more that work: ollama_models" in line for line in shown)
    assert any(line.startswith("· 32 desks waiting: desk169, ") for line in shown)
    assert any(line.startswith("✓ 120 desks done: desk001, ") for line in shown)
    assert "120 of 200 desks done, 8 failed, 40 working, 32 waiting" in shown[-2]
    assert "MB/s, about " in shown[-1]


def test_the_slowest_are_shown() -> None:
    told = big()
    host = "desk168"
    told.add(HostStarted(300.0, "Make every desk answer", "docker", "Install Docker", host))
    assert any(line.startswith("• desk168  docker") for line in text(frame(told, 301.0, 80, 20)).splitlines())


def test_what_does_not_move_needs_a_person() -> None:
    told = big(0, 0, 2, 2)
    told.add(Progress(300.0 + STALLED, "desk001", "llama3.2:3b", MODEL // 2, MODEL, "bytes"))
    first, second, *_ = text(frame(told, 301.0 + STALLED, 80, 20)).splitlines()
    assert first.startswith("! desk002  ollama_models  nothing moves for 1:01: llama3.2:3b ")
    assert second.startswith("• desk001")
    told.add(HostStarted(400.0, "Make every desk answer", "verify", "Chat", "desk001"))
    assert told.hosts["desk001"].state(400 + QUIET - 1) == "working"
    assert told.hosts["desk001"].state(400 + QUIET + 1) == "stalled"


def test_a_room_that_is_done_folds_what_is_healthy() -> None:
    told = big(190, 10, 0)
    shown = text(table(told, 100)).splitlines()
    assert len(shown) < 40
    assert [line.split()[1] for line in shown[2:12]] == [f"desk{number}" for number in range(191, 201)]
    assert "✓ and 170 desks more that are as they should be, 170 of them changed" in shown


def test_a_broken_link_and_drift_need_a_person_though_nothing_failed() -> None:
    told = big(6, 0, 0, 6)
    link = {"name": "ollama", "ok": False, "error": "it does not answer", "remedy": "Type './llmdesk up'."}
    drift = {"against": "run1", "found": [{"sentence": "The port is 3001.", "remedy": "Type './llmdesk up'."}]}
    for host, report in (("desk002", {"links": [link]}), ("desk004", {"drift": drift}), ("desk005", {"drift": drift})):
        told.add(TaskEnded(301.0, "verify", "Report", host, "ok", report=report))
    shown = text(table(told, 80)).splitlines()
    assert [line.split()[:3] for line in shown[2:5]] == [
        ["!", "desk002", "broken"],
        ["!", "desk004", "drift"],
        ["!", "desk005", "drift"],
    ]
    assert "broken   desk002: ollama: it does not answer. Type './llmdesk up'." in shown
    assert "drift    desk004, desk005: The port is 3001. Type './llmdesk up'." in shown


def test_the_same_failure_of_many_is_told_once() -> None:
    told = big(190, 10, 0)
    shown = text(failures(told, PLAY, FAILED))
    assert "desk191, desk192, desk193 and 7 more: docker | Install Docker" in shown
    assert shown.count("No space left") == 1
    hosts = ",".join(f"desk{number}" for number in range(191, 201))
    assert (
        f"Only those 10 again:\n  ./llmdesk retry\n  $ ansible-playbook site.yml -i room.yml --limit {hosts}\n" in shown
    )


def test_a_frame_of_200_desks_is_drawn_in_a_moment() -> None:
    told = big()
    began = time.process_time()
    for _ in range(20):
        frame(told, 301.0, 200, 60)
    assert (time.process_time() - began) / 20 < 0.1  # Two a second; a fortieth of that is usual.


# --- Small things ----------------------------------------------------------------------------------------------------


def test_a_room_begins_with_the_second_host_of_a_play() -> None:
    told = Story()
    told.add(HostStarted(0, "Make every Windows machine carry a desk", "wsl", "Ask", "pc1"))
    told.add(HostStarted(1, "Make every desk answer", "docker", "Ask", "pc1-wsl"))
    assert not told.room
    told.add(HostStarted(2, "Make every desk answer", "docker", "Ask", "pc2-wsl"))
    assert told.room


def test_windows_gives_way_to_the_distro_that_it_carries() -> None:
    assert [row.host for row in story("windows").rows()] == ["pc1-wsl"]
    assert {row.host for row in story("windows-dead-distro").rows()} == {"pc1-wsl"}
    assert [row.host for row in story("windows-reboot").rows()] == ["pc1"]


def test_a_rescue_takes_a_desk_out_of_the_failed() -> None:
    assert {row.state(row.ended or 0) for row in story("story").rows()} == {"done"}


def test_phases_of_desks_that_go_their_own_way_have_their_time() -> None:
    told = story("room-host-pinned")
    assert list(told.phases) == ["docker", "open_webui", "ollama_models", "verify"]
    assert all(0 < phase.seconds < told.seconds for phase in told.phases.values())
    assert told.phases["ollama_models"].seconds > 6  # Pulls of three seconds, with five at a time of twelve.


def test_bytes_and_time_left() -> None:
    told = big(0, 0, 2, 4)
    come, total = told.bytes()
    assert (come, total) == (sum(work.now.completed for work in told.work.values()), 2 * MODEL)
    assert told.rate(300.0) > 0
    assert told.left(300.0) is None  # Nobody knows how long those take that wait.
    told = big(2, 0, 2, 4)
    left = told.left(300.0)
    assert left is not None
    come, total = told.bytes()
    assert left == pytest.approx(
        (total - come) / told.rate(300.0)
    )  # They share a line: the last gets what the first had.
    assert told.rate(300.0 + STALLED) == 0


def test_what_the_line_carries_and_what_the_lan_does_stand_apart() -> None:
    told = Story()
    told.add(HostStarted(0, "Make the mirror", "model_mirror", "Bring it to the store, verified", "server"))
    told.add(Progress(1.0, "server", "llama3.2:3b", MODEL, MODEL, "bytes"))
    for host in ("desk1", "desk2", "desk3"):
        told.add(HostStarted(2.0, "Make every desk answer", "ollama_models", "Bring or remove the models", host))
        for at in (2.0, 3.0):
            told.add(Progress(at, host, "server:5443/library/llama3.2:3b", int(at * 1e8), MODEL, "bytes", lan=True))
    assert told.bytes() == (MODEL + 900_000_000, 4 * MODEL) and told.bytes_by_lan() == (900_000_000, 3 * MODEL)
    traffic = text(frame(told, 3.0, 80, 12)).splitlines()[-1]
    whole, room = words.size(MODEL), words.share(900_000_000, 3 * MODEL)
    assert traffic.startswith(f"{whole.split()[0]}/{whole} over the line, {room} in the LAN, 300.0 MB/s, about ")


def test_figures_are_whole_however_long_the_name_is() -> None:
    told = Story()
    told.add(HostStarted(0, "Make every desk answer", "open_webui", "Resolve the image", "desk1"))
    for at in (1.0, 2.0):
        item = "ghcr.example.com/open-webui/open-webui:ollama"
        told.add(Progress(at, "desk1", item, int(at * 30e6), 346_900_000, "bytes", ""))
    shown = text(frame(told, 2.0, 80, 12))
    assert "…" in shown
    assert "webui:ollama 60.0/346.9 MB, 30.0 MB/s, 0:09 left" in shown


def test_what_an_interrupted_run_leaves_undone() -> None:
    told = big(2, 1, 1, 5)
    assert unfinished(told, Outcome(INTERRUPTED, 1, Path())) == ["desk003", "desk004", "desk005"]
    assert unfinished(told, FAILED) == ["desk003", "desk004", "desk005"]  # Ansible was killed: it has counted nothing.
    assert unfinished(big(2, 1, 0, 3), FAILED) == ["desk003"]


COUNTS = {"ok": 1, "changed": 0, "failed": 0, "unreachable": 0, "skipped": 0, "rescued": 0, "ignored": 0}


def cut(named: tuple[str, ...], broken: str, *others: str, works: bool = True) -> Story:
    """Return a run about three desks, in a play that named some hosts and ended with the failure of one of them."""
    told = Story()
    told.add(DesksNamed(0.0, ("desk1", "desk2", "desk3")))
    told.add(HostsNamed(0.0, named))
    told.add(HostStarted(1.0, "A play", "docker", "Install Docker", broken))
    told.add(TaskEnded(2.0, "docker", "Install Docker", broken, "failed", message="No space left."))
    for host in others:
        told.add(HostStarted(3.0, "A play", "docker", "Say", host, works))
        told.add(TaskEnded(4.0, "docker", "Say", host, "ok"))
    told.add(Recap(5.0, {broken: {**COUNTS, "failed": 1}, **dict.fromkeys(others, COUNTS)}))
    return told


def test_a_mirror_that_failed_leaves_all_desks_undone() -> None:
    told = cut(("server",), "server")
    assert unfinished(told, FAILED) == ["desk1", "desk2", "desk3", "server"]
    assert "Only those" not in text(failures(told, PLAY, FAILED))  # It is the same command again.


def test_a_canary_that_failed_leaves_all_others_undone() -> None:
    # Why nobody else is touched is said on the first of them, which is nothing done to it.
    told = cut(("desk1", "desk2", "desk3"), "desk1", "desk2", works=False)
    assert unfinished(told, FAILED) == ["desk1", "desk2", "desk3"]


def test_a_run_that_too_many_failures_stopped_leaves_those_undone_that_have_not_reported() -> None:
    told = cut(("desk1", "desk2", "desk3"), "desk1", "desk2", "desk3")
    assert unfinished(told, FAILED) == ["desk1"]
    told.add(PlayStopped(5.0))
    told.add(TaskEnded(5.0, "verify", "Report", "desk3", "ok", report={}))
    assert unfinished(told, FAILED) == ["desk1", "desk2"]


def test_a_desk_of_a_run_that_too_many_failures_stopped_is_not_said_to_be_well() -> None:
    told = Story()
    told.add(HostStarted(0.0, "A mirror", "model_mirror", "Run the mirror", "server"))
    told.add(TaskEnded(1.0, "model_mirror", "Run the mirror", "server", "ok"))
    for host in ("desk1", "desk2", "desk3"):
        told.add(HostStarted(1.0, "A play", "docker", "Install Docker", host))
    told.add(TaskEnded(2.0, "docker", "Install Docker", "desk1", "failed", message="No space left."))
    told.add(TaskEnded(2.0, "docker", "Install Docker", "desk2", "ok"))
    told.add(TaskEnded(3.0, "finished", "Ask the desk", "desk3", "ok", report={}))
    told.add(PlayStopped(4.0))
    told.add(Recap(5.0, {"desk1": {**COUNTS, "failed": 1}, **dict.fromkeys(("server", "desk2", "desk3"), COUNTS)}))
    assert [line.split()[:3] for line in text(table(told, 100)).splitlines()[2:6]] == [
        ["✗", "desk1", "failed"],
        ["·", "desk2", "not"],
        ["✓", "desk3", "ok"],
        ["✓", "server", "ok"],
    ]


def test_a_run_that_went_well_leaves_nobody_undone() -> None:
    told = Story()
    told.add(DesksNamed(0.0, ("desk1", "desk2")))  # As with '--tags model_mirror', which is about no desk.
    told.add(Recap(1.0, {"server": COUNTS}))
    assert unfinished(told, Outcome(0, 1, Path())) == []


def test_both_halves_of_a_desk_are_run_again() -> None:
    assert unfinished(story("windows-dead-distro"), FAILED) == ["pc1", "pc1-wsl"]


def test_the_picture_in_the_documents_is_of_this_screen() -> None:
    assert picture() == (REPOSITORY / "docs" / "images" / "room.svg").read_text()


def test_names() -> None:
    assert names(["b10", "b9"]) == "b9, b10"
    assert names(["a1", "a2", "a3", "a4"]) == "a1, a2, a3, a4"
    assert names([f"a{number}" for number in range(1, 8)]) == "a1, a2, a3 and 4 more"
    assert sorted(["pc10-wsl", "pc9", "pc10"], key=natural) == ["pc9", "pc10", "pc10-wsl"]


@pytest.mark.parametrize(
    ("message", "said"),
    [
        ("non-zero return code\nhalf\nE: no space left", "E: no space left"),
        ("It broke.\nmore", "It broke."),
        (
            f"Failed to connect to the host via ssh: {'@' * 59}\nHost key verification failed.",
            "Host key verification failed.",
        ),
        ("", "it gave no reason"),
        (
            'Task failed: Data could not be sent to remote host "10.0.0.7". Make sure this host can be reached over'
            " ssh: ssh: connect to host 10.0.0.7 port 22: No route to host",
            "ssh: connect to host 10.0.0.7 port 22: No route to host",
        ),
    ],
)
def test_why_a_desk_broke_in_a_line(message: str, said: str) -> None:
    assert reason(TaskEnded(0, "docker", "Ask", "desk1", "failed", message=message)) == said


def seen(on: LiveScreen, happened: list[Event], outcome: Outcome) -> None:
    on.begin(PLAY)
    for event in happened:
        on.show(event)
    on.end(outcome)


def test_the_terminal_is_given_back_for_the_result() -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=80, height=24, highlight=False)
    seen(LiveScreen(False, console), events("room"), FAILED)
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    taken, given_back = shown.index("\x1b[?1049h"), shown.index("\x1b[?1049l")
    assert taken < given_back
    result = Text.from_ansi(shown[given_back:]).plain
    assert "desk05: docker | Install Docker" in result
    assert "./llmdesk retry" in result
    assert shown.rstrip().endswith("\x1b[0m")
    assert "Failed after 12.3 s." in result


def test_a_note_of_many_desks_is_told_once() -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=80, height=24, highlight=False, color_system=None)
    happened: list[Event] = [TaskEnded(1.0, "models", "Say", f"desk{n}", "ok", note="A mirror.") for n in range(1, 9)]
    named = HostsNamed(0.0, tuple(f"desk{n}" for n in range(1, 9)))
    seen(LiveScreen(False, console), [named, *happened], Outcome(0, 1.0, Path()))
    result = console.file.getvalue().partition("\x1b[?1049l")[2]  # type: ignore[attr-defined]
    assert "desk1, desk2, desk3 and 5 more: A mirror." in result
    assert result.count("A mirror.") == 1


def test_hosts_that_a_play_names_are_known_before_they_begin() -> None:
    line = {"event": "verbose", "created": "2026-01-01T00:00:00+00:00", "stdout": 'llmdesk-hosts ["desk1", "desk2"]'}
    from llmdesk.events import parse

    told = Story()
    event = parse(line)
    assert event is not None
    told.add(event)
    assert told.room
    assert [row.state(0) for row in told.rows()] == ["waiting", "waiting"]
    told.add(Recap(told.at, {}))
    assert json.dumps(words.clock(told.seconds)) == '"0:00"'


def picture(width: int = 110, height: int = 26) -> str:
    """Return a picture of a room in the middle of a run, as SVG that needs nothing from elsewhere."""
    told = big(14, 2, 22, 50)
    host = "desk031"
    told.add(HostStarted(300.0, "Make every desk answer", "open_webui", "Start the container", host))
    stalled = told.hosts["desk020"].work
    assert stalled is not None
    stalled.moved = 300.0 - 2 * STALLED
    console = Console(record=True, file=io.StringIO(), width=width, height=height, force_terminal=True)
    head = "$ ansible-playbook site.yml -i inventory/room.yml"
    for line in frame(told, 301.0, width, height, [], head):
        console.print(Text.assemble(*line), soft_wrap=True)
    drawn = console.export_svg(title="./llmdesk up -i inventory/room.yml", unique_id="room")
    return re.sub(r"@font-face \{.*?\}\s*", "", drawn, flags=re.DOTALL).replace("Fira Code, ", "") + "\n"


if __name__ == "__main__":
    GOLDEN.mkdir(exist_ok=True)
    for name, shown in golden().items():
        (GOLDEN / name).write_text(shown)
    (REPOSITORY / "docs" / "images" / "room.svg").write_text(picture())
