# SPDX-License-Identifier: GPL-3.0-or-later
"""NVIDIA's own container toolkit on a Debian 13 desk, with a stand-in for the card: see ``lab/nvidia.py``.

What is real: the toolkit, Docker, CDI, the role, the facts. What is not: the card and its driver, so nothing here says
how a model runs on one.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.llmdesk.workstation.plugins.module_utils.gpu_plan import docker_options, gpu_plan
from docker.models.containers import Container

from lab import desk, nvidia
from lab.engine import REPOSITORY

Say = Callable[[str], None]
NAME = "llmdesk-test-nvidia"


@pytest.fixture(scope="module")
def machine(make_desk: Callable[..., Container], say: Say) -> Container:
    """A desk with the card and its driver, Docker and an image, and nothing between them."""
    container = make_desk(NAME, "debian-13", with_docker=True, cached=False)
    nvidia.card(container)
    nvidia.image(container)
    return container


@pytest.fixture
def play(machine: Container, tmp_path: Path) -> Callable[..., str]:
    """Run roles on the desk and return what they said."""

    def run(roles: list[str], fails: bool = False, **variables: Any) -> str:
        tasks = [{"name": f"Run {role}", "ansible.builtin.include_role": {"name": role}} for role in roles]
        shown = {"name": "Show", "ansible.builtin.debug": {"msg": "FACTS {{ desk_state.desk | to_json }} END"}}
        book = [{"name": "Test", "hosts": "all", "gather_facts": False, "vars": variables, "tasks": [*tasks, shown]}]
        path = tmp_path / "play.yml"
        path.write_text(yaml.safe_dump(book))
        finished = subprocess.run(
            [
                str(Path(sys.executable).with_name("ansible-playbook")),
                *(
                    "-i",
                    f"{NAME},",
                    "-c",
                    "community.docker.docker",
                    "-e",
                    "ansible_python_interpreter=/usr/bin/python3",
                ),
                str(path),
            ],
            cwd=REPOSITORY,
            env={**_environment(), "ANSIBLE_NOCOLOR": "1", "ANSIBLE_CALLBACK_RESULT_FORMAT": "json"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
        )
        assert (finished.returncode != 0) is fails, finished.stdout[-6000:] + finished.stderr[-2000:]
        return finished.stdout

    return run


def _environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")}


def facts(said: str) -> dict[str, Any]:
    """Return the desk facts that a play showed."""
    shown = re.findall(r'"msg": ("FACTS .* END")', said)
    found: dict[str, Any] = json.loads(json.loads(shown[-1]).removeprefix("FACTS ").removesuffix(" END"))
    return found


def changed(said: str) -> int:
    """Return how many tasks changed something."""
    return int(re.findall(r"changed=(\d+)", said)[-1])


def see(machine: Container, options: list[str]) -> str:
    """Return what nvidia-smi says in a container with these options."""
    return desk.run(machine, f"docker run --rm {' '.join(options)} --entrypoint nvidia-smi {nvidia.IMAGE} -L 2>&1")


ROLE = ["llmdesk.workstation.nvidia_runtime"]


def test_a_card_without_the_toolkit_and_a_repository_that_cannot_be_reached(play: Callable[..., str]) -> None:
    """nvidia.github.io cannot be reached from here, which is what this is about: the desk goes on with its CPU."""
    said = play(ROLE, nvidia_runtime_repository="https://127.0.0.1:9/libnvidia-container")
    assert "cpu: NVIDIA Lab Card, driver 570.86.15, but Docker has neither a CDI device" in said
    assert "https://127.0.0.1:9/libnvidia-container/gpgkey was not to be had: it cannot be reached" in said
    desk_facts = facts(said)
    assert "cannot be reached" in desk_facts["record"]["gpu"]["tried"]["toolkit"]
    plan = gpu_plan(desk_facts, {})
    assert (plan["path"], plan["error"]) == ("cpu", "")

    again = play(ROLE, nvidia_runtime_repository="https://127.0.0.1:9/libnvidia-container")
    assert changed(again) == 0
    assert "tries again" in again, "said once more, and not tried"
    assert "Toolkit |" not in again

    demanded = play(
        ROLE, fails=True, nvidia_runtime_repository="https://127.0.0.1:9/libnvidia-container", desk_gpu="nvidia"
    )
    assert "desk_gpu is nvidia, but NVIDIA Lab Card" in demanded


def test_a_driver_that_hangs_is_not_waited_for(machine: Container, play: Callable[..., str]) -> None:
    desk.run(machine, "touch /run/nvidia-smi-hangs")
    try:
        said = play(ROLE, desk_gpu_timeout=0.5)
    finally:
        desk.run(machine, "rm /run/nvidia-smi-hangs")
    assert "cpu: nvidia-smi did not answer within 0.5 s" in said
    assert facts(said)["took_ms"] < 5000


def test_the_toolkit_comes_as_one_set_of_four(machine: Container, play: Callable[..., str], say: Say) -> None:
    repository = nvidia.repository(machine, ["1.20.1-1", "1.20.2-1"], say)
    desk.put(
        machine, "/etc/apt/sources.list.d/libnvidia-container.list", b"deb [signed-by=/old] http://127.0.0.1:9/ /\n"
    )
    # The lab's card has no driver's library to ask, so the toolkit is told to go by the CDI specification.
    nvidia.specification(machine)
    desk.run(machine, "mkdir -p /etc/nvidia-container-runtime")
    desk.put(machine, "/etc/nvidia-container-runtime/config.toml", b'[nvidia-container-runtime]\nmode = "cdi"\n')

    wanted = {"nvidia_runtime_repository": repository, "nvidia_runtime_toolkit_version": "1.20.1"}
    said = play(ROLE, **wanted)

    installed = desk.run(machine, "dpkg-query -W -f '${Package} ${Version}\\n' '*nvidia-container*'").split("\n")
    assert sorted(filter(None, installed)) == sorted(f"{name} 1.20.1-1" for name in nvidia.PACKAGES)
    lists = desk.run(machine, "ls /etc/apt/sources.list.d")
    assert "libnvidia-container.list.replaced-by-llmdesk" in lists
    upgrade = desk.run(machine, "apt-get --simulate upgrade")
    assert "nvidia" not in upgrade, "held together at that version"

    found = facts(said)
    assert found["docker"]["runtimes"].count("nvidia") == 1, "in daemon.json, by its one writer"
    assert gpu_plan(found, {})["path"] == "gpus"

    again = play(ROLE, **wanted)
    assert changed(again) == 0
    assert "Step |" not in again


def test_every_way_that_is_decided_shows_a_container_the_card(machine: Container, play: Callable[..., str]) -> None:
    found = facts(play(ROLE))
    by_runtime = gpu_plan(found, {})
    assert by_runtime["path"] == "gpus"
    assert nvidia.UUID in see(machine, docker_options(by_runtime["container"]))
    one = gpu_plan(found, {"devices": ["0"]})["container"]
    assert nvidia.UUID in see(machine, docker_options(one))
    refused = desk.run(machine, f"docker run --rm --gpus=all {nvidia.IMAGE} ls 2>&1 || true")
    assert "could not select device driver" in refused, "Docker was started before the toolkit came, and only reloaded"

    found = facts(play(ROLE, desk_gpu_path="cdi"))
    assert found["docker"]["cdi_enabled"]
    both = ["--gpus=all", "--runtime=nvidia"]
    assert nvidia.UUID in see(machine, both), "by the hook, now that Docker was started again"
    by_cdi = gpu_plan(found, {"path": "cdi"})
    assert by_cdi["path"] == "cdi"
    assert nvidia.UUID in see(machine, docker_options(by_cdi["container"]))
    assert gpu_plan(found, {})["path"] == "cdi", "which goes before the runtime where both are there"


def test_somebody_who_overwrites_daemon_json_takes_nothing_from_the_desk(
    machine: Container, play: Callable[..., str]
) -> None:
    desk.put(machine, "/etc/docker/daemon.json", b'{"log-opts": {"max-size": "7m"}}')
    desk.run(machine, "systemctl restart docker")
    found = facts(play(ROLE))
    assert gpu_plan(found, {})["path"] == "gpus"
    assert json.loads(desk.run(machine, "cat /etc/docker/daemon.json"))["log-opts"] == {"max-size": "7m"}


def test_a_lost_gpu_is_seen_and_found_again_by_cdi(machine: Container, play: Callable[..., str]) -> None:
    found = facts(play(ROLE))
    way = gpu_plan(found, {})
    assert way["path"] == "gpus"
    options = " ".join(docker_options(way["container"]))
    desk.run(machine, f"docker run -d --name open-webui {options} {nvidia.IMAGE} sleep 3600")
    assert nvidia.UUID in desk.run(machine, "docker exec open-webui nvidia-smi -L")
    identity = desk.run(machine, "docker inspect --format '{{.Id}}' open-webui").strip()
    desk.run(machine, "mkdir -p /var/lib/llmdesk")
    desk.put(machine, "/var/lib/llmdesk/gpu.json", json.dumps({"unused_by": identity}).encode())
    assert facts(play(["llmdesk.workstation.desk"]))["container"]["gpu_lost"] is None

    desk.run(machine, "docker exec open-webui touch /etc/nvml-lost")
    before = facts(play(["llmdesk.workstation.desk"]))
    assert before["container"]["gpu_lost"] == nvidia.LOST

    after = facts(play(ROLE))
    assert gpu_plan(after, {})["path"] == "cdi", "the way on which it cannot be lost"
    assert nvidia.UUID in see(machine, docker_options(gpu_plan(after, {})["container"]))
    desk.run(machine, "docker rm --force open-webui")


def test_dockers_own_gpus_goes_through_nvidias_hook(machine: Container) -> None:
    """What Docker Desktop is asked for: the hook is real, the program that it calls is the lab's."""
    nvidia.command_line(machine)
    desk.run(machine, "rm /etc/nvidia-container-runtime/config.toml && systemctl restart docker")
    request = {"driver": "nvidia", "count": 0, "device_ids": [nvidia.UUID], "capabilities": [["gpu"]]}
    nothing = {"devices": [], "groups": [], "environment": {}, "runtime": ""}
    options = docker_options({**nothing, "device_requests": [request]})
    assert nvidia.UUID in see(machine, [f"'{option}'" for option in options])
    assert f"--device={nvidia.UUID}" in desk.run(machine, "cat /var/log/nvidia-container-cli")
