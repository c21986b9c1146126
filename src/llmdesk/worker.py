# SPDX-License-Identifier: GPL-3.0-or-later
"""A run that takes place on another machine, over ssh: ansible-runner's transmit here, worker there, process here.

What is sent is this checkout's playbooks, its collection and the inventory, so that both machines run the same; what
comes back are events, the artifacts, and the desks' records. The other machine's ``llmdesk worker`` says first which
version it is, and gets nothing, and no password, where that is not ours. Its standard input stays open: a line on it,
or its end, is the wish to stop.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import io
import json
import os
import select
import shlex
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

from ansible_runner.streaming import Processor, Transmitter, Worker
from ansible_runner.utils import cleanup_artifact_dir

from llmdesk import __version__
from llmdesk.run import (
    GRACE,
    REPOSITORY,
    RUNS_KEPT,
    Interruption,
    Play,
    ansible_playbook,
    environment,
    forget_environment,
    home,
    secret_files,
    state_dir,
    verbose,
)

REFUSED = 1
"""Exit code where the other machine cannot be a worker of ours."""

LOST = 4
"""Ansible's exit code where a host is out of reach; a worker that is, counts as one."""

SSH = ["ssh", "-T", "-o", "BatchMode=yes", "-o", "ConnectTimeout=15", "-o", "ServerAliveInterval=10"]
SSH += ["-o", "ServerAliveCountMax=3"]

PROJECT = ("ansible.cfg", "site.yml", "collections", "inventory")
"""What of the checkout a run needs."""


def versions() -> dict[str, str]:
    """Return what has to be the same on both machines."""
    return {"llmdesk": __version__, "ansible-core": importlib.metadata.version("ansible-core")}


# --- Here -----------------------------------------------------------------------------------------------------------


def drive(
    play: Play, ident: str, handle: Callable[[dict[str, Any]], bool], interruption: Interruption, keep: bool
) -> int:
    """Run a play on its worker.

    :param ident: the run's name, and its folder's among the artifacts.
    :param handle: called with every event, and with a line of ours where something is wrong.
    :param interruption: whose ``asked`` counts a person's wishes to stop.
    :param keep: whether the desks' records are kept.
    :returns: Ansible's exit code; 4 where the worker was not reached or was lost, 1 where it cannot be one.
    """
    assert play.worker
    host, _colon, folder = play.worker.partition(":")
    there = _There(host, folder.removeprefix("~/") or "llmdesk", handle, interruption)
    artifacts = state_dir() / "artifacts" / ident
    with tempfile.TemporaryFile() as job, there.started():
        answer = there.greeting()
        if interruption.asked:
            return LOST
        if answer != versions():
            return there.refused(answer)
        sent = _transmit(play, ident, keep, job)
        there.send({"bytes": job.tell(), **sent}, job)
        processor = Processor(
            _input=there.stream,
            private_data_dir=str(state_dir()),
            ident=ident,
            quiet=True,
            # Processes of another machine are not ours to end by their numbers.
            event_handler=lambda event: handle({**event, "pid": None}),
            status_handler=there.status,
        )
        processor.run()
        cleanup_artifact_dir(str(artifacts.parent), RUNS_KEPT)
        if (artifacts / "records").exists():
            from llmdesk import records

            records.adopt(artifacts / "records")
            shutil.rmtree(artifacts / "records", ignore_errors=True)
        if (artifacts / "rc").exists():
            return int((artifacts / "rc").read_text())
        return there.lost()


def _transmit(play: Play, ident: str, keep: bool, job: IO[bytes]) -> dict[str, str | None]:
    """Write what the worker is to run, and return the passwords, which are not part of it."""
    vault_password = play.vault_password
    if play.vault_password_file:
        vault_password = _password(Path(play.vault_password_file))
    with tempfile.TemporaryDirectory(dir=state_dir()) as folder:
        packed = _pack(replace(play, vault_password_file=None), Path(folder))
        Transmitter(
            _output=job,
            private_data_dir=folder,
            ident=ident,
            cmdline=shlex.join(packed.arguments()),
            envvars=environment(ident if keep else None),
            fact_cache_type="memory",
            suppress_env_files=True,
        ).run()
    return {"become_password": play.become_password, "vault_password": vault_password}


def _password(file: Path) -> str:
    """Return the password out of a file or, as Ansible has it, of a script that prints it."""
    if os.access(file, os.X_OK):
        return subprocess.run([str(file)], check=True, stdout=subprocess.PIPE, text=True).stdout.rstrip("\n")
    return file.read_text().strip()


def _pack(play: Play, folder: Path) -> Play:
    """Copy what a play needs into a folder of ansible-runner's, and return the play with the paths that hold there."""
    project = folder / "project"
    for name in PROJECT:
        _copy(REPOSITORY / name, project / name)
    (folder / "env").mkdir()
    (folder / "env" / "settings").write_text('{"pexpect_timeout": 0.2}')

    def given(path: str, *beside: str) -> str:
        source = Path(path).resolve()
        if source.is_relative_to(REPOSITORY / "inventory"):
            return str(source.relative_to(REPOSITORY))
        target = Path(tempfile.mkdtemp(dir=folder, prefix="given-"))
        for name in (source.name, *(name for name in beside if (source.parent / name).exists())):
            _copy(source.parent / name, target / name)
        return f"../{target.name}/{source.name}"

    inventories = (
        given(one, *(("group_vars", "host_vars") if Path(one).is_file() else ()))
        if (REPOSITORY / one).exists()
        else one
        for one in play.inventory
    )
    variables = (f"@{given(one[1:])}" if one.startswith("@") else one for one in play.extra_vars)
    return replace(play, inventory=tuple(inventories), extra_vars=tuple(variables))


def _copy(source: Path, target: Path) -> None:
    if source.is_dir():
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__", ".git"))
    else:
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, target)


class _There:
    """The other machine, seen from here."""

    def __init__(
        self, host: str, folder: str, handle: Callable[[dict[str, Any]], bool], interruption: Interruption
    ) -> None:
        self._host, self._folder, self._handle, self._interruption = host, folder, handle, interruption
        self._sent = False
        self._passed_on = 0
        self._deadline: float | None = None
        self._explained = ""
        self._said: list[str] = []

    @contextlib.contextmanager
    def started(self) -> Iterator[None]:
        """Hold the connection."""
        # In a session of its own: a terminal's Ctrl-C is passed on, and must not end ssh before that.
        self._process = subprocess.Popen(
            [*SSH, "--", self._host, f"{shlex.quote(self._folder + '/llmdesk')} worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        assert self._process.stdin and self._process.stdout and self._process.stderr
        self.stream = io.BufferedReader(_Patient(self._process.stdout, self._process.stderr, self._hear, self._tick))
        try:
            yield
        finally:
            self._end()

    def _end(self) -> int:
        """End the connection, which may stay open where somebody over there holds it, and return ssh's exit code."""
        with contextlib.suppress(OSError):
            assert self._process.stdin
            self._process.stdin.close()
        try:
            return self._process.wait(GRACE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()

    def greeting(self) -> dict[str, str] | None:
        """Return the versions that the worker has, None where none came; what a shell says before is passed on."""
        while line := self.stream.readline():
            try:
                found = json.loads(line)
            except ValueError:
                found = None
            if isinstance(found, dict) and "llmdesk" in found:
                return found
            self._hear(line.decode(errors="replace"))
        return None

    def send(self, header: dict[str, Any], job: IO[bytes]) -> None:
        """Send the passwords and what is to be run."""
        job.seek(0)
        self._sent = True
        # Where the connection breaks meanwhile, the end of the other direction tells.
        with contextlib.suppress(OSError):
            assert self._process.stdin
            self._process.stdin.write(json.dumps(header).encode() + b"\n")
            shutil.copyfileobj(job, self._process.stdin)
            self._process.stdin.flush()

    def status(self, status: dict[str, Any], **_more: Any) -> None:
        """Note why ansible-runner there could not do its work."""
        if status["status"] == "error" and "worker stream" not in status.get("job_explanation", ""):
            self._explained = status.get("job_explanation", "")

    def refused(self, answer: dict[str, str] | None) -> int:
        """Say why the other machine is no worker of ours."""
        if answer is not None:
            theirs, ours = (", ".join(map(" ".join, one.items())) for one in (answer, versions()))
            return self._fail(
                REFUSED, f"has {theirs}, and this machine {ours}. Bring both to the same version; nothing was sent."
            )
        rc = self._end()
        if rc == 255:
            return self._fail(LOST, f"was not reached: {self._last() or 'ssh gave no reason'}")
        return self._fail(
            REFUSED,
            f"has no llmdesk of this version in {self._folder!r} ({self._last() or f'exit code {rc}'}). Put a clone of"
            " the same version there, or name its folder: --worker user@host:path.",
        )

    def lost(self) -> int:
        """Say that there was no proper end."""
        if self._explained:
            return self._fail(REFUSED, f"could not begin: {self._explained}")
        if self._interruption.asked:
            return LOST
        reason = self._last() or "its process has ended"
        return self._fail(
            LOST,
            f"was lost in the middle of the run: {reason}. It stops there; the same command goes on from where it was.",
        )

    def _fail(self, rc: int, what: str) -> int:
        self._handle(verbose(f"The worker {self._host} {what}"))
        return rc

    def _last(self) -> str:
        return self._said[-1] if self._said else ""

    def _hear(self, text: str) -> None:
        """Take what is said over there beside the events: by ssh, a login shell, the launcher that makes a venv."""
        for line in filter(None, map(str.strip, text.splitlines())):
            self._said.append(line)
            self._handle(verbose(f"{self._host}: {line}"))

    def _tick(self) -> None:
        """Pass a person's wish to stop on, and do not wait for ever."""
        if self._interruption.asked and not self._sent:
            self._process.kill()
        elif self._interruption.asked > self._passed_on:
            if not self._passed_on:
                self._handle(verbose("Stopping, over there as well. Ctrl-C again does not wait for a clean end."))
            self._passed_on = self._interruption.asked
            self._deadline = time.monotonic() + (2 * GRACE if self._passed_on == 1 else GRACE / 2)
            with contextlib.suppress(OSError, ValueError):
                assert self._process.stdin
                self._process.stdin.write(b"stop\n")
                self._process.stdin.flush()
        if self._deadline is not None and time.monotonic() > self._deadline:
            self._process.kill()


class _Patient(io.RawIOBase):
    """A pipe that is read in this thread, while another one and the clock are looked after."""

    def __init__(
        self, pipe: IO[bytes], beside: IO[bytes], hear: Callable[[str], None], tick: Callable[[], None]
    ) -> None:
        self._pipe, self._beside, self._hear, self._tick = pipe.fileno(), beside.fileno(), hear, tick
        self._watched = [self._pipe, self._beside]

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while True:
            ready, _, _ = select.select(self._watched, [], [], 0.2)
            self._tick()
            if self._beside in ready:
                text = os.read(self._beside, 65536)
                if not text:
                    self._watched.remove(self._beside)
                self._hear(text.decode(errors="replace"))
            elif self._pipe in ready:
                data = os.read(self._pipe, len(buffer))
                buffer[: len(data)] = data
                return len(data)


# --- There ----------------------------------------------------------------------------------------------------------


def serve() -> int:
    """Be the worker: read a job from standard input, run it, and write what comes of it to standard output."""
    # Whatever else prints must not stand between the events.
    with os.fdopen(os.dup(1), "wb") as stdout:
        os.dup2(2, 1)
        stdout.write(json.dumps(versions()).encode() + b"\n")
        stdout.flush()
        stdin = sys.stdin.buffer
        line = stdin.readline()
        if not line:
            return REFUSED
        header = json.loads(line)
        job = io.BytesIO(stdin.read(header["bytes"]))
        interruption = Interruption(lambda: None)
        threading.Thread(target=_listen, args=(stdin, interruption), daemon=True).start()
        passwords = Play("", become_password=header["become_password"], vault_password=header["vault_password"])
        with _folder() as folder, secret_files(passwords) as secrets, interruption.watched():
            output = _Output(stdout, interruption)
            _Served(folder, secrets, job, output, interruption).run()
    return 0


def _listen(stdin: IO[bytes], interruption: Interruption) -> None:
    """Take every line for a wish to stop, and the end, which is a connection that was lost."""
    while stdin.readline():
        interruption.ask()
    interruption.ask()


@contextlib.contextmanager
def _folder() -> Iterator[Path]:
    """Yield a folder for one run, which leaves nothing behind; take away what a killed one has left."""
    base = home() / "worker"
    base.mkdir(mode=0o700, parents=True, exist_ok=True)
    for left in base.iterdir():
        if not Path("/proc", left.name.partition("-")[0]).exists():
            shutil.rmtree(left, ignore_errors=True)
    with tempfile.TemporaryDirectory(dir=base, prefix=f"{os.getpid()}-") as folder:
        yield Path(folder)


class _Output:
    """Standard output that may break: then the run is asked to stop, and nothing more is said."""

    name = "worker"

    def __init__(self, stdout: IO[bytes], interruption: Interruption) -> None:
        self._stdout, self._interruption = stdout, interruption
        self._broken = False

    def write(self, data: bytes) -> int:
        self._try(lambda: self._stdout.write(data))
        return len(data)

    def flush(self) -> None:
        self._try(self._stdout.flush)

    def _try(self, action: Callable[[], object]) -> None:
        if not self._broken:
            try:
                action()
            except OSError:
                # Raised into ansible-runner, it would leave Ansible at work without us.
                self._broken = True
                self._interruption.ask()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stdout, name)


class _Served(Worker):  # type: ignore[misc]
    """ansible-runner's worker, with what only this machine knows."""

    def __init__(
        self, folder: Path, secrets: list[str], job: io.BytesIO, output: _Output, interruption: Interruption
    ) -> None:
        super().__init__(
            _input=job,
            _output=output,
            private_data_dir=str(folder),
            binary=ansible_playbook(),
            cancel_callback=interruption.must_kill,
        )
        self._secrets, self._interruption = secrets, interruption

    def update_paths(self, kwargs: dict[str, Any]) -> dict[str, Any]:
        """Add the passwords' files, and the folder in which records come back."""
        kwargs["cmdline"] = f"{kwargs['cmdline']} {shlex.join(self._secrets)}"
        if kwargs["envvars"]["LLMDESK_RECORDS"]:
            kwargs["envvars"]["LLMDESK_RECORDS"] = str(
                Path(self.private_data_dir, "artifacts", kwargs["ident"], "records")
            )
        return kwargs

    def event_handler(self, event_data: dict[str, Any]) -> None:
        """Note whom a wish to stop has to reach."""
        self._interruption.pid = event_data.get("pid") or self._interruption.pid
        super().event_handler(event_data)

    def status_handler(self, status_data: dict[str, Any], runner_config: Any) -> None:
        """Keep this machine's environment to itself."""
        if runner_config is not None:
            forget_environment(status_data, runner_config)
        super().status_handler({name: value for name, value in status_data.items() if name != "env"}, runner_config)
