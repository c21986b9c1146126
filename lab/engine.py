"""Docker on this machine, brought and started by the project's own role."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import docker
from docker.errors import DockerException

from lab.saying import saying

REPOSITORY = Path(__file__).resolve().parents[1]


def answers() -> bool:
    """Say whether Docker answers here."""
    try:
        docker.from_env().ping()
    except DockerException:
        return False
    return True


def bring(say: Callable[[str], None]) -> bool:
    """Bring Docker to this machine and start it where it does not answer.

    :param say: called with a line before anything that takes long.
    :returns: whether it had to be started.
    :raises RuntimeError: the role failed.
    """
    if answers():
        return False
    with saying(say, "bringing Docker to this machine with the role docker"):
        _play("main")
    return True


@contextlib.contextmanager
def running(say: Callable[[str], None]) -> Iterator[None]:
    """Hold Docker running: start it where it does not, and stop then what was started.

    :param say: called with a line before anything that takes long.
    :raises RuntimeError: the role failed.
    """
    started = bring(say)
    try:
        yield
    finally:
        if started:
            stop()


def stop() -> None:
    """Stop the Docker that was started here.

    :raises RuntimeError: the role failed.
    """
    _play("stop")


def _play(tasks_from: str) -> None:
    command = [str(Path(sys.executable).with_name("ansible-playbook")), "lab/docker.yml"]
    finished = subprocess.run(
        [*command, "-e", f"lab_tasks_from={tasks_from}"],
        cwd=REPOSITORY,
        env={**os.environ, "ANSIBLE_NOCOLOR": "1"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    if finished.returncode != 0:
        raise RuntimeError(f"{' '.join(command)} failed:\n{finished.stdout[-4000:]}{finished.stderr[-1000:]}")
