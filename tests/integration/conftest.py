# SPDX-License-Identifier: GPL-3.0-or-later
"""A registry of models, a line to it on which things go wrong, and Ollama servers."""

from __future__ import annotations

import fcntl
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from docker.models.containers import Container

from lab import cache, faults, models, ollamas

pytest.register_assert_rewrite("tests.integration.rig")
from tests.integration.rig import LARGER, THERE, Module, Ollama, publish, reach, serve  # noqa: E402  (after the line that it needs)

Say = Callable[[str], None]
SERVER = "llmdesk-test-ollama"


@pytest.fixture(scope="session")
def registry(image: str, tmp_path_factory: pytest.TempPathFactory, say: Say) -> Iterator[Container]:
    """A registry that has what a real Ollama has pushed: a small model, and one that is pulled in parts."""
    # Two runs on one machine take turns, or each would take the other's registry away.
    with (cache.folder("lab") / "models.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        models.down()  # a killed run may have left one
        try:
            container = models.up(say)
            with serve(f"{SERVER}-push", image, str(models.address()), tmp_path_factory.mktemp("push")) as pushing:
                publish(pushing, models.demo(), THERE)
                publish(pushing, models.larger(say), LARGER)
            yield container
        finally:
            models.down()


@pytest.fixture(scope="session")
def line(registry: Container, say: Say) -> Iterator[faults.Line]:
    """The line over which servers and modules reach the registry."""
    try:
        yield faults.up(say)
    finally:
        faults.down()


@pytest.fixture(scope="session")
def server(image: str, line: faults.Line, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ollama]:
    """The server of a desk's image."""
    with serve(SERVER, image, line.address, tmp_path_factory.mktemp("ollama")) as running:
        yield running


@pytest.fixture(scope="session")
def old_server(image: str, line: faults.Line, tmp_path_factory: pytest.TempPathFactory, say: Say) -> Iterator[Ollama]:
    """The server as it was a year ago."""
    program = ollamas.program(ollamas.OLD, say)
    with serve(f"{SERVER}-old", image, line.address, tmp_path_factory.mktemp("ollama"), program) as running:
        yield running


@pytest.fixture(scope="session")
def newest_server(
    image: str, line: faults.Line, tmp_path_factory: pytest.TempPathFactory, say: Say
) -> Iterator[Ollama]:
    """The server of today."""
    version = ollamas.newest(say)
    try:
        program = ollamas.program(version, say)
    except RuntimeError as error:
        pytest.skip(f"the newest Ollama cannot be made here: {error}")
    with serve(f"{SERVER}-newest", image, line.address, tmp_path_factory.mktemp("ollama"), program) as running:
        yield running


@pytest.fixture
def ollama(server: Ollama, line: faults.Line) -> Iterator[Ollama]:
    """A server without models, and a registry that serves as fast as it can."""
    prepare(server, line)
    yield server


def prepare(server: Ollama, line: faults.Line) -> None:
    """Take away what a test has left, a failed one too."""
    if not server.answers():
        server.start()
    server.forget()
    models.limit(None)
    line.clear()


@pytest.fixture
def module(ollama: Ollama, line: faults.Line, tmp_path: Path) -> Module:
    """The module, where everything that it waits for takes seconds."""
    return Module(tmp_path, line.address, **reach(ollama))
