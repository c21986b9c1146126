"""Every scenario of Molecule: converge, the same again without a change, and testinfra on Debian 12 and 13."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import docker
import pytest

from lab import desk
from lab.engine import REPOSITORY

Scenario = Callable[[str], None]

ACTION = re.compile(r"INFO +\[(\w+) > (\w+)\] Executing$")
TASK = re.compile(r"(?:TASK|RUNNING HANDLER) \[(.+?)\] \**$")
TESTED = re.compile(r"::(\w+)\[.*?([\w-]+)\] (PASSED|FAILED|ERROR)")
TESTS_PASSED = re.compile(r"=+ \d+ passed in ")
TAIL = 120
"""Lines of Molecule's output that are shown when a scenario fails."""


@pytest.fixture(scope="module")
def started(
    request: pytest.FixtureRequest, docker_engine: None, say: Callable[[str], None]
) -> Iterator[dict[str, Future[str]]]:
    """All scenarios that are asked for, side by side: each waits much of its time. Their desks go in any case."""
    here = [item for item in request.session.items if item.path == request.path]
    names = [item.name.removeprefix("test_") for item in here]
    if any("lab_registry" in getattr(item, "fixturenames", ()) for item in here):
        request.getfixturevalue("lab_registry")
    processes: list[subprocess.Popen[str]] = []
    try:
        with ThreadPoolExecutor() as pool:
            try:
                yield {name: pool.submit(_run, name, processes, say) for name in names}
            except BaseException:
                for process in processes:
                    process.terminate()
                raise
    finally:
        for name in names:
            prefix = f"llmdesk-molecule-{name.replace('_', '-')}-"
            for container in docker.from_env().containers.list(all=True, filters={"name": prefix}):
                desk.destroy(str(container.name))


@pytest.fixture
def scenario(started: dict[str, Future[str]]) -> Scenario:
    """Wait for a scenario's end, and see that it was a good one."""

    def ends(name: str) -> None:
        output = started[name].result()
        # Molecule is content with a scenario that has no tests.
        assert TESTS_PASSED.search(output), output

    return ends


def _run(name: str, processes: list[subprocess.Popen[str]], say: Callable[[str], None]) -> str:
    """Run a scenario to its end, a line for everything that begins, and return what it said."""
    lines: list[str] = []
    with _molecule("test", name) as process:
        processes.append(process)
        assert process.stdout is not None
        for line in process.stdout:
            lines.append(line)
            _follow(name, line, say)
    assert process.returncode == 0, f"Molecule failed; the end of what it said:\n{''.join(lines[-TAIL:])}"
    return "".join(lines)


def test_docker(scenario: Scenario) -> None:
    scenario("docker")


def test_open_webui(scenario: Scenario, lab_registry: str) -> None:
    scenario("open_webui")


def test_ollama_models(scenario: Scenario, lab_registry: str) -> None:
    scenario("ollama_models")


def _molecule(command: str, name: str) -> subprocess.Popen[str]:
    scripts = Path(sys.executable).parent
    plain = {"NO_COLOR": "1", "PY_COLORS": "0", "ANSIBLE_NOCOLOR": "1", "MOLECULE_COMMAND_BORDERS": "0"}
    # Molecule looks for its configuration in a clone only, and this may be an unpacked archive.
    base = ["--base-config", ".config/molecule/config.yml"]
    return subprocess.Popen(
        [str(scripts / "molecule"), *base, command, "--scenario-name", name],
        cwd=REPOSITORY,
        env={**os.environ, **plain, "PATH": f"{scripts}:{os.environ['PATH']}", "PYTHONUNBUFFERED": "1"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def _follow(name: str, line: str, say: Callable[[str], None]) -> None:
    if found := ACTION.search(line):
        say(f"{name}: {found[2]}")
    elif (found := TASK.search(line)) and "Validating arguments" not in line:
        say(f"{name}: {found[1].removeprefix('llmdesk.workstation.')}")
    elif found := TESTED.search(line):
        say(f"{name}: {found[3].lower()} on {found[2]}: {found[1].removeprefix('test_').replace('_', ' ')}")
