# SPDX-License-Identifier: GPL-3.0-or-later
"""Programs that take a while, and what is told meanwhile."""

from __future__ import annotations

import subprocess
import tempfile
import time
from collections.abc import Callable


class ProgramFailed(Exception):
    """A program ended with an error; the text is all that it said."""


def run(command: list[str], tell: Callable[[], None], environment: dict[str, str] | None = None) -> str:
    """Run a program without input and return what it said; it ends with us.

    :param tell: called while it works.
    :param environment: of the program; ours when not given.
    :raises ProgramFailed: it failed.
    """
    with tempfile.TemporaryFile("w+") as output:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, env=environment
        )
        try:
            while process.poll() is None:
                tell()
                time.sleep(0.05)
        finally:
            if process.poll() is None:
                process.terminate()
                process.wait()
        output.seek(0)
        said = output.read()
    if process.returncode != 0:
        raise ProgramFailed(said)
    return said


def first_error(said: str, marks: tuple[str, ...] = ()) -> str:
    """Return the first line of what a program said that begins like an error, else the last line."""
    lines = [line for line in said.splitlines() if line.strip()]
    return next((line for line in lines if line.startswith(marks)), lines[-1] if lines else "it said nothing")
