# SPDX-License-Identifier: GPL-3.0-or-later
"""The command line's machinery on the real ansible-runner: events as they happen, every ending, nothing left behind."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import signal
import struct
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from llmdesk import run as machinery
from llmdesk.desks import desks
from llmdesk.events import Progress, Recap, parse
from llmdesk.run import INTERRUPTED, REBOOT_NEEDED, RUNS_KEPT, Outcome, Play, ask, run
from llmdesk.story import Story
from tests.integration.story import HOSTS, STORY, play, windows

LONG = 600
"""Seconds that no test waits for: what takes so long is at work until somebody ends it."""


def until(condition: Callable[[], Any], what: str, timeout: float = 30.0) -> Any:
    """Return the first answer of a condition that is true."""
    deadline = time.monotonic() + timeout
    while not (answer := condition()):
        assert time.monotonic() < deadline, f"after {timeout:g} s still not: {what}"
        time.sleep(0.05)
    return answer


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A state folder of the test's own, which also marks every process of a run."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("ANSIBLE_REMOTE_TMP", str(tmp_path / "tmp"))
    return tmp_path / "state"


def at_work(state: Path) -> list[str]:
    """Return the command lines of all processes of a run, by the state folder in their environment."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if f"XDG_STATE_HOME={state}".encode() in (process / "environ").read_bytes().split(b"\0"):
                line = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                if line and int(process.name) != os.getpid():
                    found.append(line)
    return found


def told(wanted: Play) -> tuple[Outcome, list[dict[str, Any]]]:
    events: list[dict[str, Any]] = []
    return run(wanted, events.append), events


# --- Events ---


def test_events_come_in_order_and_while_ansible_works(state: Path) -> None:
    alive: list[bool] = []
    events: list[dict[str, Any]] = []

    def take(event: dict[str, Any]) -> None:
        events.append(event)
        if isinstance(parse(event), Progress):
            with suppress(OSError):
                os.kill(event["pid"], 0)
                alive.append(True)

    outcome = run(play(story_seconds=0, story_pull_seconds=1), take)
    assert outcome.rc == 0
    assert [event["counter"] for event in events] == sorted(event["counter"] for event in events)
    times = [datetime.fromisoformat(event["created"]) for event in events]
    assert times == sorted(times)
    assert isinstance(parse(events[-1]), Recap)
    # Five lines of each of two desks, none of them held back until the end.
    assert len(alive) == 10
    assert at_work(state) == []


def test_a_failure_has_ansibles_exit_code_and_its_records(state: Path) -> None:
    outcome, events = told(play(story_seconds=0, story_break="desk2"))
    assert outcome.rc == 2
    assert outcome.records.parent == state / "llmdesk" / "runs" / "artifacts"
    kept = [event for event in events if "llmdesk-progress" not in event["stdout"]]
    assert 0 < len(kept) < len(events)
    assert len(list((outcome.records / "job_events").glob("*.json"))) == len(kept)
    assert (state / "llmdesk" / "runs").stat().st_mode & 0o777 == 0o700


def test_a_windows_and_its_distro_are_one_desk(state: Path) -> None:
    """The distro is added by the play itself, and its report reads what Windows answered in the same run."""
    seen = Story()
    outcome = run(windows(), lambda raw: seen.add(event) if (event := parse(raw)) else None)
    assert outcome.rc == 0
    (desk,) = desks(seen)
    assert (desk.windows_host, desk.host) == ("pc1", "pc1-wsl")
    assert desk.report is not None
    assert "Windows has NVIDIA's driver 566.03, and this distro sees 560.94" in desk.report["warnings"][0]


def test_check_and_diff_reach_ansible(state: Path, tmp_path: Path) -> None:
    file = tmp_path / "file"
    outcome, events = told(play(story_file=str(file), check=True, diff=True))
    assert outcome.rc == 0
    assert not file.exists()
    assert any("+a word" in event["stdout"] for event in events)


def test_what_does_not_even_start_is_said(state: Path, tmp_path: Path) -> None:
    (tmp_path / "torn.yml").write_text("- hosts: [all\n")
    outcome, events = told(Play(str(tmp_path / "torn.yml"), inventory=(HOSTS,)))
    assert outcome.rc == 4
    assert any("YAML parsing failed" in event["stdout"] for event in events)


# --- Records ---


def test_no_secret_is_in_any_record(state: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    become, vault, vaulted, proxy = "become-d41d8", "vault-cd98f", "vaulted-00b20", "proxy-4e980"
    monkeypatch.setenv("https_proxy", f"http://somebody:{proxy}@127.0.0.1:9/")
    (tmp_path / "key").write_text(vault)
    (tmp_path / "vars.yml").write_text(f"story_secret: {vaulted}\n")
    encrypt = [str(Path(sys.executable).with_name("ansible-vault")), "encrypt", "--vault-password-file"]
    subprocess.run([*encrypt, str(tmp_path / "key"), str(tmp_path / "vars.yml")], check=True, capture_output=True)
    given = {"become_password": become, "vault_password": vault, "extra_vars": (f"@{tmp_path}/vars.yml",)}
    outcome, events = told(play(story_seconds=0, **given))
    assert outcome.rc == 0  # the vaulted variable was read
    written = {path: path.read_bytes() for path in state.rglob("*") if path.is_file()}
    assert len(written) > 10
    for secret in (become, vault, vaulted, proxy):
        assert [path for path, content in written.items() if secret.encode() in content] == []
        assert secret not in json.dumps(events)
    assert sorted(path.name for path in (state / "llmdesk" / "runs" / "env").iterdir()) == ["settings"]


def test_what_is_only_asked_leaves_no_record(state: Path) -> None:
    document = ask(play(story_seconds=0, become_password="become-d41d8"))
    results = [task["hosts"]["desk1"] for task in document["plays"][0]["tasks"]]
    assert results[0]["stdout"] == "26.1"
    assert [path for path in state.rglob("*") if path.is_file()] == []


def test_what_cannot_be_asked_says_why(state: Path) -> None:
    with pytest.raises(RuntimeError, match=r"missing\.yml"):
        ask(Play("missing.yml", inventory=(HOSTS,)))


def test_old_records_go(state: Path) -> None:
    artifacts = state / "llmdesk" / "runs" / "artifacts"
    for number in range(RUNS_KEPT + 3):
        old = artifacts / f"20260101-0000{number:02}-site-1"
        (old / "job_events").mkdir(parents=True)
        os.utime(old, (number, number))
    outcome, _ = told(play(story_seconds=0, story_pull_seconds=0))
    kept = sorted(path.name for path in artifacts.iterdir())
    assert outcome.records.name in kept
    assert len(kept) <= RUNS_KEPT + 1
    assert "20260101-000000-site-1" not in kept


def test_a_signal_finds_its_old_handler_after_a_run(state: Path) -> None:
    before = signal.getsignal(signal.SIGINT)
    told(Play(STORY, inventory=("nobody,",), limit="none", check=True))
    assert signal.getsignal(signal.SIGINT) is before


# --- Endings, seen from outside ---


class Child:
    """A run in a process of its own, as a person starts it."""

    def __init__(self, state: Path, *options: str, output: int = subprocess.PIPE, **environment: str) -> None:
        plain = {name: value for name, value in os.environ.items() if name not in ("CI", "NO_COLOR")}
        self.state = state
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.integration.story", *options],
            cwd=machinery.REPOSITORY,
            env={**plain, "TERM": "xterm", **environment},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.PIPE,
            text=True,
        )

    def line(self, word: str) -> str:
        """Return the first line from now on that has a word in it."""
        assert self.process.stdout is not None
        return next(line for line in self.process.stdout if word in line)

    def end(self) -> str:
        """Return what is left of the output, when everything is over."""
        printed, _ = self.process.communicate(timeout=40)
        return printed

    def ansible(self) -> int:
        """Return the id of ansible-playbook's own process, which ansible-runner started."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        (found,) = (pid for pid in children if b"ansible-playbook" in Path(f"/proc/{pid}/cmdline").read_bytes())
        return int(found)


@pytest.fixture
def start(state: Path) -> Iterator[Callable[..., Child]]:
    """Start runs, of which a failed test leaves none."""
    children: list[Child] = []

    def child(*options: str, **more: Any) -> Child:
        children.append(Child(state, *options, **more))
        return children[-1]

    yield child
    for started in children:
        started.process.kill()
        started.process.wait()


WORKS = {
    "a command on the desk": {"story_seconds": LONG},
    "an action plugin": {"story_seconds": 0, "story_pull_seconds": LONG},
}


@pytest.mark.parametrize("work", WORKS)
def test_ctrl_c_ends_everything(start: Callable[..., Child], state: Path, work: str) -> None:
    child = start("-e", json.dumps(WORKS[work]))
    child.line("Make every desk answer")
    until(lambda: len(at_work(state)) >= 4, "both desks are at work")
    child.process.send_signal(signal.SIGINT)
    printed = child.end()
    assert child.process.returncode == INTERRUPTED
    assert "Stopping." in printed
    assert printed.splitlines()[-1].startswith("Interrupted after ")
    until(lambda: at_work(state) == [], f"nothing is left of {at_work(state)}", 5)


def test_a_second_ctrl_c_does_not_wait(start: Callable[..., Child], state: Path) -> None:
    child = start("-e", json.dumps({"story_seconds": LONG}))
    child.line("Make every desk answer")
    until(lambda: len(at_work(state)) >= 4, "both desks are at work")
    os.kill(child.ansible(), signal.SIGSTOP)  # so that it cannot end cleanly
    child.process.send_signal(signal.SIGINT)
    child.line("Stopping.")
    child.process.send_signal(signal.SIGINT)
    assert child.end().splitlines()[-1].startswith("Interrupted after ")
    assert child.process.returncode == INTERRUPTED
    until(lambda: at_work(state) == [], f"nothing is left of {at_work(state)}", 5)


def test_an_ansible_that_is_killed_is_a_failure_in_words(start: Callable[..., Child], state: Path) -> None:
    child = start("-e", json.dumps({"story_seconds": 0, "story_pull_seconds": 2}))
    child.line("Make every desk answer")
    os.kill(child.ansible(), signal.SIGKILL)  # as the kernel does when memory runs out
    printed, said = child.process.communicate(timeout=40)
    assert child.process.returncode == 1
    assert printed.splitlines()[-1].startswith("Failed after ")
    assert "Traceback" not in printed + said
    until(lambda: at_work(state) == [], f"nothing is left of {at_work(state)}")


def test_a_closed_pipe_ends_everything(start: Callable[..., Child], state: Path) -> None:
    child = start("-e", json.dumps({"story_seconds": 0, "story_pull_seconds": 8}))
    child.line("Make every desk answer")
    assert child.process.stdout is not None
    child.process.stdout.close()
    child.process.stdout = None
    assert child.process.wait(timeout=40) not in (0, INTERRUPTED)
    until(lambda: at_work(state) == [], f"nothing is left of {at_work(state)}", 5)


def terminal(start: Callable[..., Child], *options: str, **environment: str) -> tuple[Child, int]:
    """Start a run in a terminal of its own, as a login over ssh has; return it and our end of the terminal."""
    ours, theirs = pty.openpty()
    child = start(*options, output=theirs, **environment)
    os.close(theirs)
    return child, ours


@pytest.mark.parametrize("moves", [True, False], ids=["live", "plain"])
def test_a_closed_terminal_ends_everything_without_a_word(
    start: Callable[..., Child], state: Path, moves: bool
) -> None:
    child, ours = terminal(start, "--room", "3", "-e", '{"room_pull_seconds": 9}', **({} if moves else {"CI": "1"}))
    until(lambda: len(at_work(state)) >= 4, "the desks are at work")
    os.read(ours, 4096)
    os.close(ours)
    child.process.send_signal(signal.SIGHUP)  # What the kernel does where it is the controlling terminal.
    assert child.process.stderr is not None
    said = child.process.stderr.read()
    assert child.process.wait(timeout=40) in (1, INTERRUPTED)
    assert "Traceback" not in said
    until(lambda: at_work(state) == [], f"nothing is left of {at_work(state)}", 5)


def test_sigterm_ends_a_room_and_gives_the_terminal_back(start: Callable[..., Child], state: Path) -> None:
    child, ours = terminal(start, "--room", "3", "-e", '{"room_pull_seconds": 9}')
    shown = b""
    while b"Pull the model" not in shown and b"smollm2" not in shown:
        shown += os.read(ours, 65536)
    fcntl.ioctl(ours, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 60, 0, 0))
    child.process.send_signal(signal.SIGTERM)
    with suppress(OSError):
        while chunk := os.read(ours, 65536):
            shown += chunk
    os.close(ours)
    assert child.process.wait(timeout=40) == INTERRUPTED
    text = shown.decode()
    assert text.index("\x1b[?1049h") < text.index("\x1b[?1049l")
    assert "Interrupted after" in text.rpartition("\x1b[?1049l")[2]
    until(lambda: at_work(state) == [], f"nothing is left of {at_work(state)}", 5)


# Where the disk is full before anything is done, and in the middle of what Ansible says of it.
@pytest.mark.parametrize("size", ["120k", "300k"])
def test_a_full_disk_ends_everything_with_one_clear_word(start: Callable[..., Child], state: Path, size: str) -> None:
    state.mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(state)], check=True)
    try:
        child = start("--room", "4", "-e", '{"room_pull_seconds": 9}')
        printed, said = child.process.communicate(timeout=60)
        assert child.process.returncode == 1
        assert "No space left on device: the records of runs in" in said
        assert "Make room there" in said
        assert "Traceback" not in printed + said
        until(lambda: at_work(state) == [], f"nothing is left of {at_work(state)}", 5)
    finally:
        subprocess.run(["umount", "--lazy", str(state)], check=True)


def test_a_room_without_a_terminal_gets_few_lines(start: Callable[..., Child]) -> None:
    child = start("--room", "6", "-e", '{"room_pull_seconds": 0.5}')
    printed = child.end()
    assert child.process.returncode == 0
    assert "6 of 6 desks done" in printed
    assert "ollama_models: " in printed
    assert len(printed.splitlines()) < 40


# --- Screens ---


def test_a_pipe_gets_plain_lines(start: Callable[..., Child]) -> None:
    child = start("-e", '{"story_seconds": 0}')
    printed = child.end()
    assert child.process.returncode == 0
    assert not set(printed) & {"\x1b", "\r"}
    assert printed.startswith("$ ansible-playbook tests/integration/playbooks/story.yml")
    assert printed.splitlines()[-1].startswith("changed=")


def test_json_ends_with_the_result(start: Callable[..., Child]) -> None:
    child = start("--json", "-e", '{"story_seconds": 0, "story_break": "desk2"}')
    documents = [json.loads(line) for line in child.end().splitlines()]
    assert child.process.returncode == 2
    assert documents[0]["event"] == "run"
    assert [document["event"] for document in documents].count("result") == 1
    result = documents[-1]
    assert (result["event"], result["rc"]) == ("result", 2)
    assert [failure["task"] for failure in result["failures"]] == ["Break on purpose"]
    assert result["hosts"]["desk1"]["report"]["model"]["name"] == "smollm2:135m"


@pytest.mark.parametrize(
    ("environment", "moves"),
    [({}, True), ({"NO_COLOR": "1"}, False), ({"CI": "true"}, False), ({"TERM": "dumb"}, False)],
)
def test_only_a_terminal_that_wants_it_gets_a_screen_that_moves(
    start: Callable[..., Child], environment: dict[str, str], moves: bool
) -> None:
    ours, theirs = pty.openpty()
    child = start("-e", '{"story_seconds": 0, "story_pull_seconds": 0}', output=theirs, **environment)
    os.close(theirs)
    chunks: list[bytes] = []

    def read() -> None:
        with suppress(OSError):  # how a terminal says that nobody writes to it any more
            while chunk := os.read(ours, 4096):
                chunks.append(chunk)

    reader = threading.Thread(target=read)
    reader.start()
    assert child.process.wait(timeout=40) == 0
    reader.join()
    os.close(ours)
    shown = b"".join(chunks).decode()
    assert ("\x1b[" in shown) is moves
    assert "Paris" in shown
    assert "changed=" in shown.splitlines()[-1]


def test_a_run_that_waits_for_a_restart_of_windows_ends_with_3(start: Callable[..., Child]) -> None:
    child = start("--reboot", NO_COLOR="1")
    printed = child.end()
    assert child.process.returncode == REBOOT_NEEDED == 3
    assert "\n  reboot   the desk waits for a restart: " in printed
    assert "\n  distro   no answer: pc1 ended before pc1-wsl was asked\n" in printed
    assert printed.splitlines()[-1].endswith("Then type the same command again and it carries on.")
