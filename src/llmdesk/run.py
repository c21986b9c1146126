# SPDX-License-Identifier: GPL-3.0-or-later
"""One run of a playbook through ansible-runner: the command it stands for, its events, and a clean end on Ctrl-C."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from llmdesk.events import PROGRESS

REPOSITORY = Path(__file__).resolve().parents[2]
"""The checkout: its ansible.cfg, inventory and collection apply."""

INTERRUPTED = 130
"""Exit code of a run that a person ended, as shells count it."""

REBOOT_NEEDED = 3
"""Exit code of a run that waits for a restart of Windows, and for nothing else. Ansible has no such code."""

HOST_FAILED = 2
"""Ansible's exit code where a task failed on a host, and no host was out of reach."""

GRACE = 10.0
"""Seconds that Ansible has to end its workers and tidy up on the desks before it is killed."""

RUNS_KEPT = 10

ROOM_WANTED = 64 * 1024
"""Bytes that a run must still be able to write to its records."""

LOOK = 1.0
"""Seconds between two looks whether that is so."""

FULL = (errno.ENOSPC, errno.EDQUOT)

CHANGING = ("site", "down", "models", "pull")
"""The playbooks, by their short names, that change desks."""

_OPENED = re.compile(r"(\w+://)[^\s/@'\"]+@")
"""User and password in an address, such as a proxy's given by -e."""


@dataclass(frozen=True)
class Play:
    """What to run, in the words of ``ansible-playbook``.

    ``playbook`` is a path in the checkout or a collection's playbook; ``become_password`` and ``vault_password`` are
    None where nobody was asked. ``private_key`` and ``vault_password_file`` are paths on this machine. ``worker`` is
    another machine that runs it in this one's place, as ``user@host[:path]``.
    """

    playbook: str
    inventory: tuple[str, ...] = ()
    limit: str | None = None
    extra_vars: tuple[str, ...] = ()
    check: bool = False
    diff: bool = False
    verbosity: int = 0
    tags: tuple[str, ...] = ()
    skip_tags: tuple[str, ...] = ()
    forks: int | None = None
    private_key: str | None = None
    user: str | None = None
    vault_password_file: str | None = None
    worker: str | None = None
    become_password: str | None = None
    vault_password: str | None = None

    @property
    def name(self) -> str:
        """The playbook's short name: ``site``, ``status``."""
        return self.playbook.removesuffix(".yml").replace("/", ".").rpartition(".")[2]

    @property
    def changes(self) -> bool:
        """Whether it brings desks to where they should be, so that two of its kind would get in each other's way."""
        return self.name in CHANGING and not self.check

    def arguments(self) -> list[str]:
        """Return the arguments of ``ansible-playbook``, passwords apart."""
        arguments = [self.playbook]
        for inventory in self.inventory:
            arguments += ["-i", inventory]
        if self.limit:
            arguments += ["--limit", self.limit]
        for variables in self.extra_vars:
            arguments += ["-e", variables]
        for option, given in (
            ("--tags", ",".join(self.tags)),
            ("--skip-tags", ",".join(self.skip_tags)),
            ("--forks", self.forks),
            ("--private-key", self.private_key),
            ("--user", self.user),
            ("--vault-password-file", self.vault_password_file),
        ):
            arguments += [option, str(given)] * bool(given)
        arguments += ["--check"] * self.check + ["--diff"] * self.diff
        return arguments + ["-" + "v" * self.verbosity] * bool(self.verbosity)

    def command(self) -> list[str]:
        """Return the command a person would type for the same run."""
        asked = ["-K"] * (self.become_password is not None) + ["--ask-vault-pass"] * (self.vault_password is not None)
        return ["ansible-playbook", *self.arguments(), *asked]


@dataclass(frozen=True)
class Outcome:
    """How a run ended: the exit code to hand on, how long it took, and the folder with its records."""

    rc: int
    seconds: float
    records: Path


def home() -> Path:
    """Return the folder for all that is kept between runs, as the XDG base directory specification places it."""
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "llmdesk"


def state_dir() -> Path:
    """Return the folder for what ansible-runner keeps of runs."""
    return home() / "runs"


def records_dir() -> Path:
    """Return the folder for the records of desks."""
    return home() / "records"


def run(play: Play, on_event: Callable[[dict[str, Any]], None], keep: bool = True) -> Outcome:
    """Run a playbook and hand every event of ansible-runner to ``on_event``, in order and in this thread.

    :param keep: whether events, and what the desks are found to be, are written to the records as well.
    :returns: the outcome; its ``rc`` is Ansible's, or 130 when the run was interrupted.
    :raises OSError: the records cannot be written, a full disk say; nothing is left at work.
    """
    began = time.monotonic()
    records = state_dir()
    records.mkdir(mode=0o700, parents=True, exist_ok=True)
    (records / "env").mkdir(exist_ok=True)
    # Seconds between two looks for Ctrl-C. Settings given as an argument are lost where this file is missing.
    (records / "env" / "settings").write_text('{"pexpect_timeout": 0.2}')
    ident = f"{datetime.now():%Y%m%d-%H%M%S}-{play.name}-{os.getpid()}"
    stopping = "Stopping. Ctrl-C again does not wait for a clean end."
    interruption = Interruption(lambda: handle(verbose(stopping)))
    broken: list[Exception] = []

    def handle(event: dict[str, Any]) -> bool:
        interruption.pid = event.get("pid") or interruption.pid
        progress = event.get("stdout", "").startswith(PROGRESS)
        try:
            if "event" not in event:  # ansible-runner reads the rest of it from a file, which Ansible could not write.
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(home()))
            if event["event"] == "verbose" and not (progress or broken):  # Ansible may say how a full disk broke it.
                _need_room(records)
            if not broken:
                on_event(event)
        except Exception as error:  # A closed pipe, say. Raised here, it would leave Ansible at work without us.
            broken.append(error)
            interruption.ask()
        # Nobody reads later how far a pull was every half a second; fifty desks would write a file each time.
        return keep and not progress

    looked = time.monotonic()

    def must_kill() -> bool:
        # Where Ansible cannot write down what a desk has answered, it may lose the answer and wait for it for ever.
        nonlocal looked
        if time.monotonic() - looked >= LOOK and not broken:
            looked = time.monotonic()
            try:
                _need_room(records)
            except OSError as error:
                broken.append(error)
                interruption.ask()
        return interruption.must_kill()

    with interruption.watched():
        if play.worker is not None:
            from llmdesk import worker

            rc = worker.drive(play, ident, handle, interruption, keep)
        else:
            rc = _run_here(play, ident, handle, must_kill, keep)
    if broken:
        raise broken[0]
    rc = INTERRUPTED if interruption.asked else rc
    return Outcome(rc, time.monotonic() - began, state_dir() / "artifacts" / ident)


def _run_here(
    play: Play, ident: str, handle: Callable[[dict[str, Any]], bool], must_kill: Callable[[], bool], keep: bool
) -> int:
    import ansible_runner  # A fifth of a second that --help and completion need not wait for.

    with secret_files(play) as secrets, _nothing_left():
        runner = ansible_runner.run(
            private_data_dir=str(state_dir()),
            project_dir=str(REPOSITORY),
            ident=ident,
            binary=ansible_playbook(),
            cmdline=shlex.join([*play.arguments(), *secrets]),
            envvars=environment(ident if keep else None),
            # Facts of one run must not hide from the next what has changed since.
            fact_cache_type="memory",
            rotate_artifacts=RUNS_KEPT,
            suppress_env_files=True,
            quiet=True,
            event_handler=handle,
            status_handler=forget_environment,
            cancel_callback=must_kill,
        )
    # None where a signal has ended Ansible, as the kernel does when memory runs out.
    return 1 if runner.rc is None else int(runner.rc)


def _need_room(folder: Path) -> None:
    """See whether as much as a run needs for its next steps can still be written to a folder.

    :raises OSError: the disk is full, or what this account may have of it.
    """
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            os.posix_fallocate(file.fileno(), 0, ROOM_WANTED)
    except OSError as error:
        if error.errno in FULL:
            raise


def environment(ident: str | None = None) -> dict[str, str]:
    """Return what Ansible's environment has beside the person's own.

    :param ident: the run's name in the records, None for a run of which none are kept.
    """
    return {
        # ansible-runner would switch the check off.
        "ANSIBLE_HOST_KEY_CHECKING": os.environ.get("ANSIBLE_HOST_KEY_CHECKING", "True"),
        "ANSIBLE_NOCOLOR": "1",
        "LLMDESK_PROGRESS": "json",
        "LLMDESK_RECORDS": str(records_dir()) if ident else "",
        "LLMDESK_RUN": ident or "",
    }


def ask(play: Play) -> dict[str, Any]:
    """Run a playbook beside ansible-runner, so that nothing of it is recorded anywhere.

    :returns: the document of the callback ``ansible.posix.json``: ``plays`` with ``tasks`` with ``hosts``.
    :raises RuntimeError: Ansible did not get as far as a play; the text is what it said.
    """
    quiet = {"ANSIBLE_STDOUT_CALLBACK": "ansible.posix.json", "ANSIBLE_LOG_PATH": os.devnull}
    with secret_files(play) as secrets:
        done = subprocess.run(
            [ansible_playbook(), *play.arguments(), *secrets],
            cwd=REPOSITORY,
            env={**os.environ, **environment(), **quiet},
            capture_output=True,
            text=True,
            check=False,
        )
    try:
        # The document follows whatever action plugins have said.
        document: dict[str, Any] = json.loads(done.stdout[f"\n{done.stdout}".index("\n{") :])
    except ValueError:
        raise RuntimeError((done.stderr + done.stdout).strip()) from None
    return document


def ansible_playbook() -> str:
    """Return the path of the program, which lies beside this Python."""
    return str(Path(sys.executable).with_name("ansible-playbook"))


def verbose(text: str) -> dict[str, Any]:
    """Return a line of ours in the shape of ansible-runner's events."""
    return {"event": "verbose", "created": datetime.now(UTC).isoformat(), "stdout": text}


def forget_environment(status: dict[str, Any], runner_config: Any) -> None:
    """Rewrite the record of the command without the environment, where proxies and tokens have their passwords.

    What opens an address goes as well.
    """
    if status["status"] == "running":
        command = runner_config.command
        Path(runner_config.artifact_dir, "command").write_text(
            json.dumps({"command": [_OPENED.sub(r"\1", part) for part in command], "cwd": runner_config.cwd})
        )


@contextlib.contextmanager
def secret_files(play: Play) -> Iterator[list[str]]:
    """Yield arguments that name the passwords' files.

    A password stands in memory alone, which ends with this process. Ansible follows links to where no file is, so what
    it gets is a script that prints it.
    """
    arguments: list[str] = []
    with contextlib.ExitStack() as stack:
        for option, secret in (
            ("--become-password-file", play.become_password),
            ("--vault-password-file", play.vault_password),
        ):
            if secret is not None:
                descriptor = os.memfd_create(option)
                stack.callback(os.close, descriptor)
                os.fchmod(descriptor, 0o600)
                os.write(descriptor, secret.encode())
                state_dir().mkdir(mode=0o700, parents=True, exist_ok=True)
                script = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=state_dir())), "password")
                script.write_text(f"#!/bin/sh\nexec cat /proc/{os.getpid()}/fd/{descriptor}\n")
                script.chmod(0o700)
                arguments += [option, str(script)]
        yield arguments


@contextlib.contextmanager
def _nothing_left() -> Iterator[None]:
    """End Ansible where ansible-runner breaks and forgets it, as on a full disk."""
    try:
        yield
    except BaseException:
        _kill_family(os.getpid())
        raise


def _kill_family(pid: int) -> None:
    """Kill what a process has started, and what that has started."""
    with contextlib.suppress(OSError):
        for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            _kill_family(int(child))
            os.kill(int(child), signal.SIGKILL)


class Interruption:
    """A person's Ctrl-C, or a signal to end: asks Ansible to stop, and lets it be killed when it does not.

    Ansible's workers lead process groups of their own, so killing its group would leave them at work.
    """

    def __init__(self, on_ask: Callable[[], object]) -> None:
        self._on_ask = on_ask
        self.pid: int | None = None
        self.asked = 0
        self._deadline: float | None = None

    @contextlib.contextmanager
    def watched(self) -> Iterator[None]:
        """Take the signals while a run lasts."""
        signals = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        before = {number: signal.signal(number, self.ask) for number in signals}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def ask(self, *_signal: object) -> None:
        """Take one wish to end the run."""
        self.asked += 1

    def must_kill(self) -> bool:
        """Pass the wish on once; tell whether the time for a clean end is over, or a second Ctrl-C came."""
        if not self.asked:
            return False
        if self._deadline is None:
            self._deadline = time.monotonic() + (GRACE if self.pid else 0)
            self._on_ask()
            if self.pid:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(self.pid, signal.SIGINT)
        over = self.asked > 1 or time.monotonic() > self._deadline
        if over and self.pid:
            _kill_family(self.pid)
        return over
