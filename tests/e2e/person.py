"""A person at a desk: types commands into it, and uses its browser."""

from __future__ import annotations

import contextlib
import io
import json
import shutil
import subprocess
import tarfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from docker.models.containers import Container
from playwright.sync_api import Browser, sync_playwright

from lab import desk
from lab.engine import REPOSITORY

SPEAK = 15.0
"""Seconds between two lines about the same command."""


@dataclass(frozen=True)
class Typed:
    """What a command printed, and its exit code."""

    rc: int
    text: str

    @property
    def result(self) -> dict[str, Any]:
        """The last document of ``--json``."""
        found: dict[str, Any] = json.loads(self.text.strip().splitlines()[-1])
        assert found["event"] == "result", self.text
        return found


@contextlib.contextmanager
def heard(process: subprocess.Popen[str]) -> Iterator[IO[str]]:
    """Listen to a process to its end; a test whose time is over does not wait for it."""
    with process:
        assert process.stdout is not None
        try:
            yield process.stdout
        except BaseException:
            process.kill()
            raise


class Person:
    """Somebody who works at a desk.

    :param machine: the desk.
    :param user: who they are there; the home folder is made where it is missing.
    :param say: called with a line now and then.
    """

    def __init__(self, machine: Container, user: str, say: Callable[[str], None]) -> None:
        self.machine = machine
        self.user = user
        self.say = say
        if user != "root":
            desk.run(machine, f"id {user} >/dev/null 2>&1 || useradd --create-home --shell /bin/bash {user}")
        # Not asked for: once in many runs Docker lost the only line of a command that short.
        self.home = "/root" if user == "root" else f"/home/{user}"
        self.clone = f"{self.home}/llmdesk"

    def clones(self) -> None:
        """Put a clean clone into the home folder: the files that git tracks, as they are now."""
        listed = subprocess.run(["git", "ls-files", "-z"], cwd=REPOSITORY, check=True, capture_output=True).stdout
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w") as archive:
            for name in listed.decode().rstrip("\0").split("\0"):
                archive.add(REPOSITORY / name, f"llmdesk/{name}")
        self.machine.put_archive(self.home, buffer.getvalue())
        desk.run(self.machine, f"chown -R {self.user}: {self.clone}")

    def begins(self, command: str) -> subprocess.Popen[str]:
        """Start a command in the clone, with a pipe for its output and no input."""
        shell = f"cd {self.clone} 2>/dev/null; {command}"
        enter = ["docker", "exec", "--user", self.user, "--env", f"HOME={self.home}", str(self.machine.name)]
        return subprocess.Popen(
            [*enter, "bash", "-c", shell],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def types(self, command: str) -> Typed:
        """Run a command in the clone to its end, with a line now and then about how far it is."""
        lines = []
        spoken = time.monotonic()
        process = self.begins(command)
        with heard(process) as said:
            for line in said:
                lines.append(line)
                if time.monotonic() - spoken > SPEAK:
                    spoken = time.monotonic()
                    self.say(f"{self.machine.name}: {line.strip()[:110]}")
        return Typed(process.returncode, "".join(lines))

    @contextlib.contextmanager
    def browser(self, folder: Path) -> Iterator[Browser]:
        """Open Chromium on the desk: this machine's program, in the desk's network.

        :param folder: for the wrapper that enters the network.
        """
        chromium = shutil.which("chromium")
        assert chromium, "Chromium is not installed"
        self.machine.reload()
        pid = self.machine.attrs["State"]["Pid"]
        wrapper = folder / "chromium"
        wrapper.write_text(f'#!/bin/sh\nexec nsenter --net=/proc/{pid}/ns/net {chromium} "$@"\n')
        wrapper.chmod(0o755)
        with sync_playwright() as playwright:
            opened = playwright.chromium.launch(executable_path=wrapper, args=["--no-sandbox"])
            try:
                yield opened
            finally:
                opened.close()
