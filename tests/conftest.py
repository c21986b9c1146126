"""What the tiers share: Docker on this machine, the image of a desk, a registry that serves it, and desks."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from docker.models.containers import Container

from lab import desk, engine, registry
from lab import image as built

Say = Callable[[str], None]


@pytest.fixture(scope="session")
def say(request: pytest.FixtureRequest) -> Say:
    """A line on the terminal at once, whatever is captured: what takes minutes must not look like a hang."""
    terminal = request.config.pluginmanager.get_plugin("terminalreporter")
    capture = request.config.pluginmanager.get_plugin("capturemanager")
    assert terminal is not None
    assert capture is not None

    def line(text: str) -> None:
        with capture.global_and_fixture_disabled():
            terminal.write_line(f"  lab: {text}")
            terminal.flush()

    return line


@pytest.fixture(scope="session", autouse=True)
def own_records(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep the records of the tests' runs apart from those of whoever runs the tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        yield


@pytest.fixture(scope="session")
def docker_engine(say: Say) -> Iterator[None]:
    """Docker on this machine, stopped again if it had to be started."""
    if os.geteuid() != 0:
        pytest.skip("desks are containers with rights of their own: run as root")
    with engine.running(say):
        yield


@pytest.fixture(scope="session")
def image(docker_engine: None, say: Say) -> str:
    """The tag of the image of a desk, built by the project's own recipe."""
    return built.image(say)


@pytest.fixture(scope="session")
def lab_registry(image: str, say: Say) -> Iterator[str]:
    """The reference under which desks pull that image from a registry with TLS."""
    registry.up(say)
    try:
        yield registry.push(image, say)
    finally:
        registry.down()


@pytest.fixture(scope="module")
def make_desk(docker_engine: None, say: Say) -> Iterator[Callable[..., Container]]:
    """Make desks that go away after the module's last test."""
    with ExitStack() as stack:

        def make(name: str, system: str, **options: Any) -> Container:
            desk.destroy(name)  # a killed run may have left one
            stack.callback(desk.destroy, name)
            return desk.create(name, system, say=say, **options)

        yield make


@pytest.fixture(scope="session")
def chromium(say: Say) -> None:
    """Chromium, installed where this machine has none."""
    if shutil.which("chromium"):
        return
    say("installing Chromium")
    for command in (["update", "-qq"], ["install", "-y", "-qq", "--no-install-recommends", "chromium"]):
        subprocess.run(["apt-get", *command], check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
