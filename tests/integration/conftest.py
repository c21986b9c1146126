# SPDX-License-Identifier: GPL-3.0-or-later
"""A registry of models, a line to it on which things go wrong, and Ollama servers."""

from __future__ import annotations

import fcntl
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from docker.models.containers import Container

from lab import cache, faults, models, old_ollama

pytest.register_assert_rewrite("tests.integration.rig")
from tests.integration.rig import TINY, Module, Ollama, reach, serve  # noqa: E402  (after the line that it needs)

Say = Callable[[str], None]
SERVER = "llmdesk-test-ollama"


@pytest.fixture(scope="module")
def registry(docker_engine: None, say: Say) -> Iterator[Container]:
    """A registry that has one small model."""
    # Two runs on one machine take turns, or each would take the other's registry away.
    with (cache.folder("lab") / "models.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        models.down()  # a killed run may have left one
        try:
            container = models.up(say)
            models.push(f"library/{TINY}", models.demo())
            yield container
        finally:
            models.down()


@pytest.fixture(scope="module")
def line(registry: Container, say: Say) -> Iterator[faults.Line]:
    """The line over which servers and modules reach the registry."""
    try:
        yield faults.up(say)
    finally:
        faults.down()


@pytest.fixture(scope="module")
def server(image: str, line: faults.Line, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ollama]:
    """The server of a desk's image."""
    with serve(SERVER, image, line, tmp_path_factory.mktemp("ollama")) as running:
        yield running


@pytest.fixture(scope="module")
def old_server(image: str, line: faults.Line, tmp_path_factory: pytest.TempPathFactory, say: Say) -> Iterator[Ollama]:
    """The server as it was a year ago."""
    folder = tmp_path_factory.mktemp("old-ollama")
    with serve(f"{SERVER}-old", image, line, folder, old_ollama.program(say)) as running:
        yield running


@pytest.fixture
def ollama(server: Ollama, line: faults.Line) -> Iterator[Ollama]:
    """A server without models, and a registry that serves as fast as it can."""
    server.forget()
    models.limit(None)
    line.clear()
    yield server


@pytest.fixture
def module(ollama: Ollama, line: faults.Line, tmp_path: Path) -> Module:
    """The module, where everything that it waits for takes seconds."""
    return Module(tmp_path, line.address, **reach(ollama))
