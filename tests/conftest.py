"""What the tiers share: Docker on this machine, the image of a desk, a registry that serves it, and desks.

Modules run side by side, in as many processes as ``pytest -n`` says: a desk waits for much of its time.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from docker.models.containers import Container
from xdist.scheduler import LoadScopeScheduling

from lab import desk, engine, registry, roots
from lab import image as built

Say = Callable[[str], None]

TIERS = ("e2e", "molecule", "integration", "unit")
"""The tiers, the one whose modules take longest first, so that nobody waits for a long one in the end."""

MODELS = re.compile(r"/integration/test_(ollama|progress|model_mirror)")
"""The modules that share a registry of models, and what goes wrong on the line to it."""

PROXY = re.compile(r"/(integration/test_proxy|e2e/test_behind_a_proxy)")
"""Those that take turns at the proxy."""


class Together(LoadScopeScheduling):  # type: ignore[misc]
    """Gives a process what has to stay in one."""

    def _split_scope(self, nodeid: str) -> str:
        return together(nodeid)


def together(nodeid: str) -> str:
    """Return what a test stays in one process with: its module, or those that would wait for each other."""
    if MODELS.search(nodeid):
        return "models"
    return "proxy" if PROXY.search(nodeid) else nodeid.partition("::")[0]


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Together:
    """Let ``-n`` hand out what belongs together."""
    return Together(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what takes longest: the models, then tier by tier."""
    for item in items:
        uses = item.path.parent.name == "integration" and "registry" in getattr(item, "fixturenames", ())
        if uses and together(item.nodeid) != "models":
            raise pytest.UsageError(f"{item.nodeid} uses the registry of models, and MODELS does not name its module")
    items.sort(key=_place)


def _place(item: pytest.Item) -> int:
    tier, group = item.path.parent.name, together(item.nodeid)
    return -1 if group in ("models", "proxy") else TIERS.index(tier) if tier in TIERS else 0


@pytest.fixture(scope="session")
def say(request: pytest.FixtureRequest) -> Say:
    """A line on the terminal at once, whatever is captured: what takes minutes must not look like a hang."""
    capture = request.config.pluginmanager.get_plugin("capturemanager")
    assert capture is not None

    def line(text: str) -> None:
        with capture.global_and_fixture_disabled():
            print(f"  lab: {text}", file=sys.stderr, flush=True)

    return line


@pytest.fixture(scope="session")
def shared_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of all processes of this run of the tests, and of no other run."""
    own = tmp_path_factory.getbasetemp()
    return own.parent if "PYTEST_XDIST_WORKER" in os.environ else own


@contextmanager
def shared(path: Path, begin: Callable[[], object], end: Callable[[], object]) -> Iterator[None]:
    """Share something between the processes of a run: each begins it, which costs the first, and the last ends it.

    :param path: a file that stands for it.
    """
    with path.open("w") as used:
        with door(path):
            begin()
            fcntl.flock(used, fcntl.LOCK_SH)
        try:
            yield
        finally:
            with door(path):
                if _last(used.fileno()):
                    end()


@contextmanager
def door(path: Path) -> Iterator[None]:
    """Let one process at a time begin or end something."""
    with path.with_suffix(".door").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _last(used: int) -> bool:
    try:
        fcntl.flock(used, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@pytest.fixture(scope="session", autouse=True)
def own_records(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep the records of the tests' runs apart from those of whoever runs the tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        yield


@pytest.fixture(scope="session")
def docker_engine(say: Say, shared_folder: Path) -> Iterator[None]:
    """Docker on this machine, stopped again if it had to be started."""
    if os.geteuid() != 0:
        pytest.skip("desks are containers with rights of their own: run as root")
    started = shared_folder / "docker.started"

    def begin() -> None:
        if engine.bring(say):
            started.touch()

    def end() -> None:
        if started.exists():
            engine.stop()

    with shared(shared_folder / "docker.lock", begin, end):
        yield


@pytest.fixture(scope="session")
def image(docker_engine: None, say: Say, shared_folder: Path) -> str:
    """The tag of the image of a desk, built by the project's own recipe."""
    with door(shared_folder / "image"):
        return built.image(say)


@pytest.fixture(scope="session")
def lab_registry(image: str, say: Say, shared_folder: Path) -> Iterator[str]:
    """The reference under which desks pull that image from a registry with TLS."""

    def begin() -> None:
        registry.up(say)
        registry.push(image, say)

    with shared(shared_folder / "registry.lock", begin, registry.down):
        yield registry.REFERENCE


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
    roots.install("chromium")
