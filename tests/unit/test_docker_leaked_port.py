# SPDX-License-Identifier: GPL-3.0-or-later
"""When Docker may be restarted for a port that it holds for nobody; real ones are tried elsewhere."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.llmdesk.workstation.plugins.module_utils import docker_daemon
from ansible_collections.llmdesk.workstation.plugins.module_utils.docker_socket import DockerFailure
from ansible_collections.llmdesk.workstation.plugins.module_utils.leaked_port import refusal


def running(comes_back: bool = True, ports: tuple[int, ...] = ()) -> dict[str, Any]:
    return {"comes_back": comes_back, "ports": list(ports)}


@pytest.mark.parametrize("owner", ["systemd", "init", "background"])
def test_it_is_restarted_where_that_ends_nothing_for_good(owner: str) -> None:
    assert refusal(11434, owner, {}, live_restore=False) == ""
    assert refusal(11434, owner, {"database": running(ports=(5432,))}, live_restore=False) == ""


def test_a_port_that_a_container_has_is_no_leak() -> None:
    said = refusal(11434, "systemd", {"my-ollama": running(ports=(11434,))}, live_restore=False)
    assert "belongs to the container my-ollama" in said


def test_containers_that_would_not_come_back_are_named() -> None:
    there = {"work": running(comes_back=False), "lab": running(comes_back=False), "database": running()}
    said = refusal(11434, "systemd", there, live_restore=False)
    assert "would end lab, work, which" in said
    assert refusal(11434, "systemd", there, live_restore=True) == ""


@pytest.mark.parametrize(("owner", "remedy"), [("nobody", "restart Docker Desktop"), ("stranger", "it by hand")])
def test_a_docker_of_somebody_else_is_left_alone(owner: str, remedy: str) -> None:
    assert remedy in refusal(11434, owner, {}, live_restore=False)


class Socket:
    """A Docker of which one container ends between the two questions."""

    def get(self, path: str) -> Any:
        if path == "/containers/json":
            return [{"Id": "gone", "Ports": []}, {"Id": "work", "Ports": [{"PublicPort": 8080}, {"PrivatePort": 53}]}]
        if "gone" in path:
            raise DockerFailure("No such container: gone")
        policy = {"RestartPolicy": {"Name": "no"}}
        return {"Id": "work", "Name": "/work", "State": {"StartedAt": "now"}, "HostConfig": policy}


def test_a_container_that_just_ended_hides_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(docker_daemon, "DockerSocket", lambda timeout: Socket())
    found = docker_daemon.Daemon(lambda _command: (0, "", ""), 1).containers()
    assert found == {"work": {"id": "work", "started_at": "now", "comes_back": False, "ports": [8080]}}
