# SPDX-License-Identifier: GPL-3.0-or-later
"""What people and programs see of captured runs."""

from __future__ import annotations

import io
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from rich.console import Console, RenderableType

from llmdesk import screen, words
from llmdesk.desks import desks
from llmdesk.events import Event, Progress, TaskEnded, TaskStarted, parse
from llmdesk.run import INTERRUPTED, REBOOT_NEEDED, REPOSITORY, Outcome, Play
from llmdesk.screen.json import JsonScreen
from llmdesk.screen.live import LiveScreen, panel
from llmdesk.screen.log import LogScreen
from llmdesk.screen.plain import PlainScreen
from tests.unit.test_events import story

RUNS = Path(__file__).parent / "fixtures" / "runner"
PLAY = Play("site.yml", extra_vars=('{"desk_port": 8080}',), check=True)


def show(on: Any, run: str, rc: int) -> None:
    """Show a run; of ``story`` only what concerns desk1, as if it were alone."""
    on.begin(PLAY)
    for line in (RUNS / f"{run}.jsonl").read_text().splitlines():
        event = parse(json.loads(line))
        if event is not None and not (run == "story" and getattr(event, "host", "") == "desk2"):
            on.show(event)
    on.end(Outcome(rc, 12.34, Path("/state/runs/1")))


def plain(run: str, rc: int = 0, verbose: bool = False) -> str:
    stream = io.StringIO()
    show(PlainScreen(stream, verbose), run, rc)
    return stream.getvalue()


def live(run: str, rc: int = 0) -> str:
    console = Console(file=io.StringIO(), force_terminal=True, width=100, height=40, highlight=False)
    show(LiveScreen(False, console), run, rc)
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert isinstance(text, str)
    return text


# --- Desks of two halves: what a person sees in 80 columns, without colours and without a terminal -------------------

WINDOWS_HALF = """
  windows  Windows 11 专业版, build 26100.2314
  wsl      2.5.10.0, Ubuntu-24.04, networking mirrored, 16.0 of 31.9 GiB memory
  awake    kept running by a scheduled task of PC1\\王芳
  gpu      NVIDIA GeForce RTX 4070 Ti, 12.0 GiB, driver 566.03 in Windows
"""
HEALTHY = f"""{WINDOWS_HALF}\
  distro   pc1-wsl
  address  http://127.0.0.1:3000
  account  admin@localhost, password in /etc/llmdesk/admin_password (or: ./llmdesk password)
  model    llama3.2:3b on the GPU
  gpu      cdi: by CDI
  answer   The capital of France is Paris.
  speed    94.0 tokens/s, the first after 0.31 s, asked at 2026-01-01T10:00:00Z
  warning  Windows has NVIDIA's driver 566.03, and this distro sees 560.94, as it does after an update of the driver: \
run 'wsl --shutdown' in Windows, which stops every distro, and './llmdesk up' again.

changed=1, 12.3 s
"""
REFUSED = (
    'Task failed: Data could not be sent to remote host "127.0.0.1". Make sure this host can be reached over ssh: '
    "ssh: connect to host 127.0.0.1 port 1: Connection refused"
)
DEAD = f"""{WINDOWS_HALF}\
  distro   no answer: pc1-wsl could not be reached: {REFUSED}

pc1-wsl: Make every desk answer | Ask the desk (unreachable)
  {REFUSED}
  at tests/integration/playbooks/windows.yml:63
  See that 'ssh pc1 wsl -d Ubuntu-24.04 --exec true' says nothing, then type the same command again.

Failed after 12.3 s. Records: /state/runs/1
"""
WAITING = """
  windows  Windows 11 专业版, build 26100.2314
  wsl      2.5.10.0, networking mirrored, 16.0 of 31.9 GiB memory
  gpu      NVIDIA GeForce RTX 4070 Ti, 12.0 GiB, driver 566.03 in Windows
  reboot   the desk waits for a restart: VirtualMachinePlatform was switched on and Windows has not been restarted since
  broken   wsl: PC1\\ann has no distro Ubuntu-24.04. After the restart, type './llmdesk up'.
  broken   wsl: nothing keeps the distro running while nobody uses it. After the restart, type './llmdesk up'.
  distro   no answer: pc1 ended before pc1-wsl was asked

pc1: Bring Windows to carry its desk | Ask for the restart
  Reboot and run again: VirtualMachinePlatform was switched on and Windows has not restarted since. Restart pc1, or \
let the run do it with -e wsl_reboot=true.
  at tests/integration/playbooks/windows.yml:19
  Once it has restarted, type the same command again: it carries on where it stopped.

Ended after 12.3 s: Windows has to restart. Then type the same command again and it carries on.
"""


@pytest.mark.parametrize(
    ("run", "rc", "screen_end"),
    [("windows", 0, HEALTHY), ("windows-dead-distro", 4, DEAD), ("windows-reboot", REBOOT_NEEDED, WAITING)],
)
def test_plain_shows_a_desk_of_two_halves(run: str, rc: int, screen_end: str) -> None:
    text = plain(run, rc)
    assert text[text.index("\n\n") + 1 :] == screen_end


FRAME = """\
╭──────────────────────────────────────────────────────────────────────────────╮
│ windows  Windows 11 专业版, build 26100.2314                                 │
│ wsl      2.5.10.0, networking mirrored, 16.0 of 31.9 GiB memory              │
│ gpu      NVIDIA GeForce RTX 4070 Ti, 12.0 GiB, driver 566.03 in Windows      │
│ reboot   the desk waits for a restart: VirtualMachinePlatform was switched   │
│          on and Windows has not been restarted since                         │
│ broken   wsl: PC1\\ann has no distro Ubuntu-24.04. After the restart, type    │
│          './llmdesk up'.                                                     │
│ broken   wsl: nothing keeps the distro running while nobody uses it. After   │
│          the restart, type './llmdesk up'.                                   │
│ distro   no answer: pc1 ended before pc1-wsl was asked                       │
╰──────────────────────────────────────────────────────────────────────────────╯
"""


def drawn(renderable: RenderableType, width: int) -> str:
    console = Console(file=io.StringIO(), width=width, highlight=False, color_system=None)
    console.print(renderable)
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert isinstance(text, str)
    return text


def test_a_distro_that_is_not_there_and_one_that_was_left_out() -> None:
    (pc1,) = desks(story("windows"))
    assert pc1.windows is not None
    bare = {**pc1.windows, "distribution": {"name": "Ubuntu-24.04", "version": None}}
    assert ("distro", "none yet") in words.whole(replace(pc1, report=None, windows=bare))
    assert ("distro", "pc1-wsl was not asked") in words.whole(replace(pc1, report=None))
    gone = replace(pc1, windows=None, windows_why="pc1 could not be reached: timed out")
    assert words.whole(gone)[:2] == [
        ("windows", "no answer: pc1 could not be reached: timed out"),
        ("distro", "pc1-wsl"),
    ]


def test_a_frame_holds_both_halves_in_80_columns() -> None:
    (desk,) = desks(story("windows-reboot"))
    assert drawn(panel(desk, REBOOT_NEEDED), 80) == FRAME
    assert "distro" in live("windows")


def test_json_tells_both_halves() -> None:
    result = documents("windows", 0)[-1]
    assert set(result["hosts"]) == {"pc1", "pc1-wsl"}
    assert result["hosts"]["pc1"]["report"]["half"] == "windows"
    pc1 = result["desks"]["pc1"]
    assert list(result["desks"]) == ["pc1"]
    assert (pc1["windows"]["host"], pc1["linux"]["host"]) == ("pc1", "pc1-wsl")
    assert pc1["windows"]["report"] == result["hosts"]["pc1"]["report"]
    assert pc1["linux"]["report"]["windows_host"] == "pc1"

    dead = documents("windows-dead-distro", 4)[-1]
    assert dead["desks"]["pc1"]["linux"]["report"] is None
    assert dead["desks"]["pc1"]["linux"]["reason"].startswith("pc1-wsl could not be reached: ")
    assert "wsl -d Ubuntu-24.04" in dead["failures"][0]["remedy"]
    assert [desk["windows"] for desk in documents("broken", 2)[-1]["desks"].values()] == [None]


# --- One desk after the other ----------------------------------------------------------------------------------------


def test_plain_begins_with_the_command_that_does_the_same() -> None:
    assert plain("story").splitlines()[0] == """$ ansible-playbook site.yml -e '{"desk_port": 8080}' --check"""


def test_plain_has_no_colours_and_no_cursor_movements() -> None:
    assert not set(plain("story")) & {"\x1b", "\r", "\b"}


def test_plain_shows_tasks_progress_notes_and_the_reports() -> None:
    text = plain("story")
    assert "Make every desk answer | Install Docker: desk1 changed" in text
    assert "desk1 | smollm2:135m: 98.4/98.4 MB" in text
    assert "\nA mirror was used instead.\n" in text
    assert "\n  address  http://127.0.0.1:3000\n" in text
    assert "  answer   The capital of France is Paris.\n" in text
    assert "  warning  llama3.2:3b was not to be had; smollm2:135m stands in for it.\n" in text
    assert text.endswith("\nchanged=5, 12.3 s\n")


def test_plain_does_not_repeat_work_under_way_every_moment() -> None:
    assert sum("desk1 | smollm2" in line for line in plain("story").splitlines()) == 2


def test_plain_names_no_task_that_only_says_something() -> None:
    lines = [line.partition(" | ")[2] for line in plain("story").splitlines()]
    assert "Install Docker" in lines
    assert "Report the desk" not in lines


def test_verbose_shows_what_ansible_prints() -> None:
    assert "changed: [desk1]" in plain("story", verbose=True)
    assert "changed: [desk1]" not in plain("story")


def test_a_failure_names_host_task_place_reason_and_what_to_do() -> None:
    text = plain("broken", 2)
    assert "desk2: Make every desk answer | Break on purpose\n  non-zero return code\n  E no space left" in text
    assert "  at tests/integration/playbooks/story.yml:" in text
    assert "Then type the same command again" in text
    assert text.endswith("Failed after 12.3 s. Records: /state/runs/1\n")


def test_a_desk_that_cannot_be_reached_has_a_remedy() -> None:
    assert "See that 'ssh desk7' works" in plain("unreachable", 4)


def test_a_playbook_that_does_not_parse_is_not_silent() -> None:
    assert "[ERROR]: YAML parsing failed" in plain("unparsed", 4)


def test_an_interruption_says_how_to_go_on() -> None:
    assert "Type the same command again and it carries on." in plain("story", INTERRUPTED)


def test_live_ends_with_the_desk() -> None:
    text = live("story")
    assert "✓" in text
    assert "Paris" in text
    assert text.rstrip().endswith("changed=5, 12.3 s\x1b[0m")


def test_live_shows_bars_while_a_model_is_pulled() -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=100, height=40, highlight=False)
    on = LiveScreen(False, console)
    on.begin(PLAY)
    on.show(TaskStarted(0, "ollama_models", "Pull the model"))
    on.show(Progress(1, "localhost", "smollm2:135m", 40, 100, "bytes"))
    on._live.refresh()
    on.end(Outcome(0, 3.0, Path("/state")))
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert "smollm2:135m" in text
    assert "━" in text


def test_live_shows_whole_figures_in_80_columns() -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=80, height=24, highlight=False, color_system=None)
    on = LiveScreen(False, console)
    on.begin(PLAY)
    on.show(TaskStarted(0, "open_webui", "Resolve the image"))
    for at in (1.0, 2.0):
        item = "ghcr.example.com/open-webui/open-webui:ollama"
        on.show(Progress(at, "desk7", item, int(at * 30e6), 346_900_000, "bytes"))
    on._live.refresh()
    text = console.file.getvalue()  # type: ignore[attr-defined]
    on.abandon()
    assert "60.0/346.9 MB 30.0 MB/s, 0:09 left" in text


def test_live_leaves_the_failure_standing() -> None:
    text = live("unreachable", 4)
    assert "✗" in text
    assert "Connection refused" in text


def test_a_few_desks_are_shown_whole() -> None:
    for text in (plain("broken", 2), live("broken", 2)):
        assert "desk1" in text
        assert "The capital of France is Paris." in text
        assert "desk2: Make every desk answer | Break on purpose" in text
        assert "Only that one again:" in text


def test_live_shows_one_desk_in_a_panel() -> None:
    report = {"address": "http://127.0.0.1:3000", "proof": {"answer": "Paris.", "fresh": True, "tokens_per_s": 74.2}}
    console = Console(file=io.StringIO(), width=80)
    on = LiveScreen(False, console)
    on.begin(PLAY)
    on.show(TaskEnded(1.0, "verify", "Report", "localhost", "ok", report=report))
    on.end(Outcome(0, 3.0, Path("/state")))
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert "╭" in text
    assert "74.2 tokens/s, asked just now" in text


def documents(run: str, rc: int) -> list[dict[str, Any]]:
    stream = io.StringIO()
    show(JsonScreen(stream), run, rc)
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_json_is_one_document_a_line_with_the_result_last() -> None:
    told = documents("broken", 2)
    assert told[0]["event"] == "run"
    assert {document["event"] for document in told} == {"run", "task", "start", "end", "progress", "result"}
    assert {document["event"] for document in documents("unparsed", 4)} == {"run", "said", "result"}
    result = told[-1]
    assert result["rc"] == 2
    assert result["hosts"]["desk1"]["report"]["model"]["name"] == "smollm2:135m"
    assert result["hosts"]["desk2"]["report"] is None
    assert [(failure["host"], failure["task"]) for failure in result["failures"]] == [("desk2", "Break on purpose")]


@pytest.mark.parametrize("run", sorted(path.stem for path in RUNS.glob("*.jsonl")))
def test_json_is_what_its_schema_says(run: str) -> None:
    schema = json.loads((REPOSITORY / "docs/schema/events.schema.json").read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    for document in documents(run, 2):
        validator.validate(document)


def log(*events: Event) -> str:
    stream = io.StringIO()
    on = LogScreen(stream, io.StringIO())
    for event in events:
        on.show(event)
    return stream.getvalue()


def read(*lines: str, host: str = "localhost") -> TaskEnded:
    return TaskEnded(0, "open_webui", "Read the log", host, "ok", lines=lines)


def test_a_followed_log_has_every_line_once() -> None:
    first = read("2026-01-01T00:00:01.000000000Z one", "2026-01-01T00:00:02.000000000Z two")
    again = read("2026-01-01T00:00:02.000000000Z two", "2026-01-01T00:00:03.000000000Z three")
    assert log(first, again) == "one\ntwo\nthree\n"


def test_logs_of_several_desks_name_them() -> None:
    assert log(read("1 one", host="desk1"), read("1 one", host="desk2")) == "desk1 | one\ndesk2 | one\n"


@pytest.mark.parametrize(("count", "text"), [(0, "0 B"), (999, "999 B"), (98362432, "98.4 MB"), (2e12, "2.0 TB")])
def test_sizes(count: float, text: str) -> None:
    assert words.size(count) == text


@pytest.mark.parametrize(
    ("come", "whole", "text"),
    [(24590608, 98362432, "24.6/98.4 MB"), (0, 98362432, "0.0/98.4 MB"), (276e6, 2e9, "0.3/2.0 GB"), (5, 0, "5 B")],
)
def test_bytes_of_a_whole(come: int, whole: int, text: str) -> None:
    assert words.share(int(come), int(whole)) == text


@pytest.mark.parametrize(("seconds", "text"), [(0, "0:00"), (75.9, "1:15"), (3675, "1:01:15")])
def test_clocks(seconds: float, text: str) -> None:
    assert words.clock(seconds) == text


def test_an_old_proof_shows_its_time() -> None:
    rows = dict(words.desk({"proof": {"answer": "Paris.", "at": "2026-01-01T10:00:00Z", "fresh": False}}))
    assert rows["speed"] == "asked at 2026-01-01T10:00:00Z"


def test_a_broken_link_comes_with_its_remedy() -> None:
    link = {"name": "ollama", "ok": False, "error": "it does not answer", "remedy": "Type './llmdesk up'."}
    assert ("broken", "ollama: it does not answer. Type './llmdesk up'.") in words.desk({"links": [link]})


@pytest.mark.parametrize(
    ("reason", "remedy"),
    [
        ("sudo: a password is required", "Add -K"),
        ("pypsrp or dependencies are not installed: No module named 'pypsrp'", "Type '.venv/bin/pip install pypsrp'"),
        ("winrm or requests is not installed: No module named 'winrm'", "Type '.venv/bin/pip install pywinrm'"),
        ("Missing sudo password", "Add -K"),
        ("Incorrect sudo password", "was not taken"),
        ("Host key verification failed.", "'ssh desk1'"),
        ("@ WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED! @\nHost key verification failed.", "ssh-keygen -R"),
        ("ann@10.0.0.7: Permission denied (publickey).", "--private-key"),
        ('Load key "/k": invalid format\nann@10.0.0.7: Permission denied (publickey).', "none that ssh can read"),
        ("Permissions 0644 for '/k' are too open. WARNING: UNPROTECTED PRIVATE KEY FILE!", "chmod 600"),
        ("Shared connection to 10.0.0.7 closed by remote host.", "went away in the middle"),
        ("Connection to 10.0.0.7 closed by remote host.", "went away in the middle"),
        ("System is going down. Unprivileged users are not permitted to log in anymore.", "went away in the middle"),
        ("ssh: Could not resolve hostname desk1: Name or service not known", "Nobody knows this name"),
        ("ssh: connect to host 10.0.0.7 port 22: Connection timed out", "switched on"),
        ("ssh: connect to host 10.0.0.7 port 22: No route to host", "switched on"),
    ],
)
def test_failures_that_everybody_meets_have_a_remedy(reason: str, remedy: str) -> None:
    assert remedy in words.remedy(TaskEnded(0, "desk", "Ask", "desk1", "failed", message=reason))


@pytest.mark.parametrize(
    "given", ["open_webui_admin_password=hunter2", '{"open_webui_admin_password": "hunter2"}', "hf_token: hunter2"]
)
def test_the_command_shows_no_secret(given: str) -> None:
    assert "hunter2" not in words.command(["ansible-playbook", "-e", given])


@pytest.mark.parametrize(
    ("variables", "json_wanted", "kind"),
    [
        ({}, False, LiveScreen),
        ({"NO_COLOR": "1"}, False, PlainScreen),
        ({"CI": "true"}, False, PlainScreen),
        ({"TERM": "dumb"}, False, PlainScreen),
        ({}, True, JsonScreen),
    ],
)
def test_the_screen_fits_the_output(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], json_wanted: bool, kind: type
) -> None:
    for name in ("NO_COLOR", "CI"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    assert isinstance(screen.choose(json_wanted, False), kind)


def test_a_pipe_gets_plain_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: False, raising=False)
    assert isinstance(screen.choose(False, False), PlainScreen)


# --- A desk in WSL, whose Windows no run reaches ----------------------------------------------------------------------

LONG = f"$line = 'longer than the screen, and {12 * 'not broken '}'"
BY_HAND = {"missing": ["Nothing keeps it running."], "block": f"# PowerShell\n{LONG}"}


@pytest.mark.parametrize("moving", [False, True], ids=["plain", "live"])
def test_what_has_to_be_pasted_into_windows_can_be_copied_as_it_is(moving: bool) -> None:
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=True, width=60, height=40, highlight=False, color_system=None)
    on = LiveScreen(False, console) if moving else PlainScreen(stream, False)
    on.begin(PLAY)
    report = {"address": "http://127.0.0.1:3000", "windows": BY_HAND}
    on.show(TaskEnded(0.0, "verify", "Report the desk", "localhost", "ok", report=report))
    on.end(Outcome(0, 12.34, Path("/state/runs/1")))
    said = stream.getvalue()
    assert "Nothing keeps it running." in said
    assert f"\n{BY_HAND['block']}\n" in said
    assert words.paste({"windows": None}) == words.paste(None) == []


@pytest.mark.parametrize(
    ("gpu", "rows"),
    [
        (None, []),
        ({"path": "cpu", "reason": "no GPU was found"}, []),
        ({"path": "cdi", "reason": "RTX A6000, offered by CDI"}, [("gpu", "cdi: RTX A6000, offered by CDI")]),
    ],
)
def test_the_way_to_a_gpu_is_said(gpu: dict[str, str] | None, rows: list[tuple[str, str]]) -> None:
    assert [row for row in words.desk({"gpu": gpu}) if row[0] == "gpu"] == rows
