# SPDX-License-Identifier: GPL-3.0-or-later
"""The last run is kept without secrets, run again on what it left undone, and two runs do not meet."""

from __future__ import annotations

import errno
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from llmdesk import again
from llmdesk.cli import main
from llmdesk.commands import plays
from llmdesk.lock import Busy, locked
from llmdesk.run import REPOSITORY, Outcome, Play
from llmdesk.screen.both import Both
from llmdesk.screen.json import JsonScreen

SITE = Play("site.yml", inventory=("room.yml",), limit="room1", tags=("docker",), forks=50, extra_vars=("a=1",))


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    return tmp_path / "llmdesk"


@pytest.fixture
def wanted(monkeypatch: pytest.MonkeyPatch) -> list[Play]:
    """Plays that would have been run."""
    found: list[Play] = []
    monkeypatch.setattr(plays, "finish", lambda play, *_more, **_options: found.append(play))
    return found


def typed(*arguments: str, given: str = "") -> Any:
    return CliRunner().invoke(main, list(arguments), input=given)


def test_a_run_is_repeated_on_those_that_it_left_undone(wanted: list[Play]) -> None:
    again.keep(SITE, ["desk2", "desk7"], "run1")
    assert typed("retry").exit_code == 0
    assert wanted[0].arguments() == [
        *("site.yml", "-i", "room.yml", "--limit", "desk2,desk7", "-e", "a=1", "--tags", "docker", "--forks", "50")
    ]


def test_passwords_are_asked_for_again_and_are_in_no_file(wanted: list[Play], state: Path) -> None:
    again.keep(Play("site.yml", become_password="hunter2", vault_password="hunter3"), ["desk2"], "run1")
    assert "hunter" not in (state / "last.json").read_text()
    assert (state / "last.json").stat().st_mode & 0o777 == 0o600
    assert typed("retry", given="one\ntwo\n").exit_code == 0
    assert (wanted[0].become_password, wanted[0].vault_password) == ("one", "two")


@pytest.mark.parametrize("secret", ["hf_token=hunter2", "desk_proxy=http://ann:hunter2@proxy:3128"])
def test_a_run_with_a_secret_is_not_kept_and_that_is_said(wanted: list[Play], state: Path, secret: str) -> None:
    again.keep(Play("site.yml", extra_vars=(secret,)), ["desk2", "desk7"], "run1")
    assert "hunter2" not in (state / "last.json").read_text()
    result = typed("retry")
    assert result.exit_code == 1
    assert "something secret" in result.output
    assert "--limit desk2,desk7" in result.output
    assert wanted == []


def test_the_names_alone() -> None:
    again.keep(SITE, ["desk2", "desk7"], "run1")
    assert typed("retry", "--list").output == "desk2\ndesk7\n"


def test_nothing_is_left_to_do(wanted: list[Play]) -> None:
    again.keep(SITE, [], "run1")
    result = typed("retry")
    assert result.exit_code == 0
    assert "left no desk undone" in result.output
    assert wanted == []


@pytest.mark.parametrize(
    "content", [None, "torn", "{}", '{"play": {"unknown": 1}, "asked": [], "hosts": [], "run": ""}']
)
def test_there_is_nothing_to_repeat(state: Path, content: str | None) -> None:
    if content is not None:
        state.mkdir()
        (state / "last.json").write_text(content)
    result = typed("retry")
    assert result.exit_code == 1
    assert "There is no run to repeat" in result.output


@pytest.mark.parametrize("play", [Play("llmdesk.workstation.status"), Play("site.yml", check=True)])
def test_what_changes_nothing_does_not_push_out_what_did(play: Play) -> None:
    again.keep(SITE, ["desk2"], "run1")
    again.keep(play, [], "run2")
    kept = again.last()
    assert kept is not None
    assert kept.run == "run1"


def finished(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, ending: OSError | Outcome) -> int:
    """Run the captured room up to an ending as the command line does; return its exit code."""
    lines = (REPOSITORY / "tests/unit/fixtures/runner/room.jsonl").read_text().splitlines()

    def run(_play: Play, take: Any, _keep: bool) -> Outcome:
        for line in lines[: len(lines) if isinstance(ending, Outcome) else len(lines) // 2]:
            take(json.loads(line))
        if isinstance(ending, OSError):
            raise ending
        return ending

    monkeypatch.setattr("llmdesk.run.run", run)
    monkeypatch.setattr(plays, "_hush", lambda: None)
    with (tmp_path / "out").open("w") as out, pytest.raises(SystemExit) as raised:
        plays.finish(Play("site.yml", inventory=("room.yml",)), JsonScreen(out))
    return int(str(raised.value.code))


def test_what_failed_is_kept_at_the_end(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert finished(monkeypatch, tmp_path, Outcome(4, 1.0, Path("/state/run1"))) == 4
    kept = again.last()
    assert kept is not None
    assert (kept.run, kept.hosts) == ("run1", ("desk03", "desk05", "desk08"))
    result = json.loads((tmp_path / "out").read_text().splitlines()[-1])
    assert result["unfinished"] == list(kept.hosts)


def test_a_dropped_line_leaves_what_is_not_done(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert finished(monkeypatch, tmp_path, OSError(errno.EIO, "Input/output error")) == 1
    kept = again.last()
    assert kept is not None
    assert len(kept.hosts) == 12


def test_a_record_that_cannot_be_written_leaves_no_older_one(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    again.keep(SITE, ["desk2"], "run1")

    def full(*_arguments: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(json, "dump", full)
    with pytest.raises(OSError, match="No space"):
        again.keep(SITE, ["desk3"], "run2")
    assert [path.name for path in state.iterdir()] == []


# --- The lock --------------------------------------------------------------------------------------------------------

HOLDER = """
import sys
from llmdesk.lock import locked
from llmdesk.run import Play
with locked(Play("site.yml", inventory=(sys.argv[1],), extra_vars=("hf_token=hunter2",))):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path: Path) -> Any:
    """Another process that works on an inventory."""
    (tmp_path / "room.yml").write_text("desks:\n  hosts:\n    desk1:\n")
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path / "room.yml")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=REPOSITORY,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.communicate()


def test_a_second_run_ends_at_once_and_names_the_first(holder: Any, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(Busy) as raised, locked(Play("llmdesk.workstation.down", inventory=("room.yml",))):
        pass
    said = str(raised.value)
    assert f"process {holder.pid}, since 20" in said
    assert f"$ ansible-playbook site.yml -i {tmp_path}/room.yml -e 'hf_token=…'" in said
    assert f"kill {holder.pid}" in said


def test_the_command_line_says_so_with_1(holder: Any, tmp_path: Path) -> None:
    result = typed("up", "-i", str(tmp_path / "room.yml"))
    assert result.exit_code == 1
    assert "Another run works on this inventory" in result.output


def test_what_changes_nothing_and_other_inventories_are_free(holder: Any, tmp_path: Path) -> None:
    room = (str(tmp_path / "room.yml"),)
    for play in (Play("llmdesk.workstation.status", inventory=room), Play("site.yml", inventory=room, check=True)):
        with locked(play):
            pass
    with locked(Play("site.yml", inventory=("desk1,",))):
        pass


def test_a_killed_run_leaves_no_lock(holder: Any, tmp_path: Path) -> None:
    holder.kill()
    holder.wait()
    with locked(Play("site.yml", inventory=(str(tmp_path / "room.yml"),))):
        pass


# --- The log ---------------------------------------------------------------------------------------------------------


def test_a_log_has_the_plain_screen_with_time_stamps(tmp_path: Path) -> None:
    from tests.unit.test_screens import show

    with (tmp_path / "out").open("w") as out:
        show(Both(JsonScreen(out), str(tmp_path / "log")), "story", 0)
        show(Both(JsonScreen(out), str(tmp_path / "log")), "story", 0)
    lines = (tmp_path / "log").read_text().splitlines()
    assert all(line[:2] == "20" and line[10] == "T" and line[24] == " " for line in lines)
    assert lines[0].endswith("ansible-playbook site.yml -e '{\"desk_port\": 8080}' --check")
    assert sum(line.endswith("changed=5, 12.3 s") for line in lines) == 2
    assert json.loads((tmp_path / "out").read_text().splitlines()[-1])["event"] == "result"
    assert (tmp_path / "log").stat().st_mode & 0o777 == 0o600


def test_a_log_that_cannot_be_written_is_said_before_anything_runs(tmp_path: Path) -> None:
    result = typed("up", "-i", "desk1,", "--log", str(tmp_path / "missing" / "log"))
    assert result.exit_code == 1
    assert "cannot be written (--log): No such file or directory." in result.output


def test_a_log_on_a_full_disk_does_not_end_the_run(tmp_path: Path) -> None:
    from tests.unit.test_screens import show

    with (tmp_path / "out").open("w") as out:
        show(Both(JsonScreen(out), "/dev/full"), "story", 0)
    said = [json.loads(line) for line in (tmp_path / "out").read_text().splitlines()]
    assert [document["text"] for document in said if "--log" in document.get("text", "")] == [
        "/dev/full cannot be written any more (--log): No space left on device."
    ]
    assert said[-1]["event"] == "result"
