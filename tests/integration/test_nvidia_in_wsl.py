# SPDX-License-Identifier: GPL-3.0-or-later
"""NVIDIA's own container toolkit where Windows hands in the card: its mode for WSL, on a Debian 13 desk.

What is real: the toolkit, Docker, CDI, the role's tasks, the facts. What stands in: libdxcore, /dev/dxg and the files
of the driver (``lab/nvidia.py``). A desk in a container is no WSL, so the tasks are told that it is one.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.llmdesk.workstation.plugins.module_utils import probe
from docker.models.containers import Container

from lab import desk, nvidia
from lab.engine import REPOSITORY

Say = Callable[[str], None]
NAME = "llmdesk-test-nvidia-wsl"
OLD, NEW = "nv_dispi.inf_amd64_20ae8f14a487d5db", "nv_dispi.inf_amd64_7cc7738d8e428783"
ALL = ["nvidia.com/gpu=all"]
WSL = {"version": 2}
SERVICE = """[Service]
Type=oneshot
ExecStart=/bin/touch /run/service-was-asked
"""


@pytest.fixture(scope="module")
def machine(make_desk: Callable[..., Container], say: Say) -> Container:
    """A desk with Docker that knows CDI, the toolkit, and the card of Windows; the toolkit's service does nothing."""
    container = make_desk(NAME, "debian-13", with_docker=True, cached=False)
    nvidia.toolkit(container, say)
    nvidia.image(container)
    desk.put(container, "/etc/docker/daemon.json", b'{"features": {"cdi": true}}')
    desk.run(container, "systemctl restart docker")
    # As its first versions did in WSL, where they looked for a module of the kernel.
    desk.put(container, "/etc/systemd/system/nvidia-cdi-refresh.service", SERVICE.encode())
    desk.run(container, "systemctl daemon-reload")
    return container


@pytest.fixture
def play(tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """Describe the cards as the role does, and return what the desk then says of Docker."""

    def run(container: Container, describe: bool = True, wsl: Any = None) -> dict[str, Any]:
        facts = {"name": "Ask", "llmdesk.workstation.desk_facts": {}, "register": "asked"}
        in_wsl = "{{ asked | combine({'desk': {'wsl': wsl}}, recursive=true) }}"
        role = {"name": "llmdesk.workstation.nvidia_runtime", "tasks_from": "specification"}
        describing = {
            "name": "Describe",
            "ansible.builtin.include_role": role,
            "vars": {"desk_state": in_wsl, "wsl": wsl},
        }
        shown = {"dest": "/root/docker.json", "content": "{{ asked.desk.docker }}"}
        tasks = [facts, *([describing, facts] if describe else []), {"name": "Show", "ansible.builtin.copy": shown}]
        book = [{"name": "Test", "hosts": "all", "gather_facts": False, "tasks": tasks}]
        path = tmp_path / "play.yml"
        path.write_text(yaml.safe_dump(book))
        finished = subprocess.run(
            [
                str(Path(sys.executable).with_name("ansible-playbook")),
                *("-i", f"{container.name},", "-c", "community.docker.docker"),
                *("-e", "ansible_python_interpreter=/usr/bin/python3", str(path)),
            ],
            cwd=REPOSITORY,
            env={name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
        )
        assert finished.returncode == 0, finished.stdout[-6000:] + finished.stderr[-2000:]
        found: dict[str, Any] = json.loads(desk.run(container, "cat /root/docker.json"))
        return found

    return run


def test_the_toolkit_describes_what_windows_hands_in(
    machine: Container, play: Callable[..., dict[str, Any]], say: Say
) -> None:
    nvidia.card_of_windows(machine, OLD, say)
    docker = play(machine, wsl=WSL)
    assert (docker["cdi"], docker["cdi_driver"], docker["cdi_missing"]) == (ALL, None, None)
    text = desk.run(machine, "cat /etc/cdi/nvidia.yaml")
    store = f"/usr/lib/wsl/drivers/{OLD}"
    files = ["/usr/lib/wsl/lib/libdxcore.so", *(f"{store}/{name}" for name in nvidia.STORE)]
    assert probe.cdi_from_windows(text) == sorted(files)
    assert "path: /dev/dxg" in text
    assert desk.run(machine, "test -e /run/service-was-asked || echo no").strip() == "no"


def test_a_container_sees_the_card_by_that_description(machine: Container) -> None:
    said = desk.run(machine, f"docker run --rm --device={ALL[0]} --entrypoint nvidia-smi {nvidia.IMAGE} -L 2>&1")
    assert nvidia.UUID in said


def test_an_update_of_the_driver_in_windows_is_seen_and_healed(
    machine: Container, play: Callable[..., dict[str, Any]], say: Say
) -> None:
    nvidia.card_of_windows(machine, NEW, say)
    stale = play(machine, describe=False)
    assert stale["cdi"] == ALL, "as if all were well"
    assert stale["cdi_missing"].startswith(f"/usr/lib/wsl/drivers/{OLD}/")
    broken = desk.run(machine, f"docker run --rm --device={ALL[0]} {nvidia.IMAGE} ls 2>&1 || true")
    assert OLD in broken, "and no container would start"

    healed = play(machine, wsl=WSL)
    assert healed["cdi_missing"] is None
    said = desk.run(machine, f"docker run --rm --device={ALL[0]} --entrypoint nvidia-smi {nvidia.IMAGE} -L 2>&1")
    assert nvidia.UUID in said


def test_anywhere_else_the_toolkits_own_service_is_asked(
    machine: Container, play: Callable[..., dict[str, Any]]
) -> None:
    before = desk.run(machine, "cat /etc/cdi/nvidia.yaml")
    play(machine)
    assert desk.run(machine, "ls /run/service-was-asked").strip() == "/run/service-was-asked"
    assert desk.run(machine, "cat /etc/cdi/nvidia.yaml") == before
