# SPDX-License-Identifier: GPL-3.0-or-later
"""What the processes of a run of tests share: one begins it, all use it at once, the last ends it."""

from __future__ import annotations

import multiprocessing
from multiprocessing.connection import Connection
from pathlib import Path

from tests.conftest import shared


def use(path: Path, told: Connection) -> None:
    """Be a process of the run: use it until told to go."""
    log = path.with_suffix(".log")

    def note(word: str) -> None:
        with log.open("a") as file:
            file.write(f"{word}\n")

    with shared(path, lambda: note("begin"), lambda: note("end")):
        told.send("here")
        told.recv()


def test_two_use_it_at_once_and_the_last_ends_it(tmp_path: Path) -> None:
    path = tmp_path / "docker"
    context = multiprocessing.get_context("fork")
    people = []
    for _ in range(2):
        ours, theirs = context.Pipe()
        process = context.Process(target=use, args=(path, theirs))
        process.start()
        people.append((process, ours))
        assert ours.poll(10), "it waits for the other"
        assert ours.recv() == "here"
    for process, ours in people:
        assert path.with_suffix(".log").read_text().split() == ["begin", "begin"]
        ours.send("go")
        process.join(10)
    assert path.with_suffix(".log").read_text().split() == ["begin", "begin", "end"]
