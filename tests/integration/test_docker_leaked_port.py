# SPDX-License-Identifier: GPL-3.0-or-later
"""A real Docker whose machine lost its power while it started a container."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from docker.models.containers import Container

from lab import desk
from tests import power_cut
from tests.integration.docker_desk import DockerDesk

PORT = 11434
RUN = f"docker run -d -p 127.0.0.1:{PORT}:{PORT} --name {{}} sleeper sleep 3600"


@pytest.fixture(scope="module", params=("debian-12", "debian-13"))
def leaking(request: pytest.FixtureRequest, make_desk: Callable[..., Container]) -> DockerDesk:
    """A desk whose Docker holds a port for nobody."""
    name = f"llmdesk-test-port-{request.param}"
    made = DockerDesk(make_desk(name, request.param, with_docker=True, cached=False))
    power_cut.await_start(made.container, PORT)
    made.does(RUN.format("cut-off") + " > /dev/null 2>&1 &")
    made.does(f"timeout 60 sh -c 'until [ -e {power_cut.HELD} ]; do sleep 0.1; done'")
    made.container.kill()
    desk.boot(made.container)
    made.does("docker rm --force cut-off")
    return made


def frees(machine: DockerDesk, check: bool = False) -> dict[str, Any]:
    return machine.runs("docker_leaked_port", port=PORT, _ansible_check_mode=check)


def test_docker_refuses_the_port_to_everybody(leaking: DockerDesk) -> None:
    refused = leaking.tries(RUN.format("page"))
    assert f"Bind for 127.0.0.1:{PORT} failed: port is already allocated" in refused
    assert leaking.does("docker ps --quiet") == ""
    leaking.does("docker rm page")


def test_what_docker_would_not_start_again_is_not_ended(leaking: DockerDesk) -> None:
    leaking.does("docker run -d --net=none --name work sleeper sleep 3600")
    assert "That would end work, which Docker does not start again." in frees(leaking)["msg"]
    assert leaking.does("docker ps --format '{{.Names}}'").split() == ["work"]
    leaking.does("docker rm --force work")


def test_check_mode_leaves_docker_alone(leaking: DockerDesk) -> None:
    before = leaking.does("systemctl show docker -p MainPID --value")
    assert frees(leaking, check=True)["changed"] is True
    assert leaking.does("systemctl show docker -p MainPID --value") == before


def test_docker_lets_go_of_it(leaking: DockerDesk) -> None:
    leaking.does("docker run -d --net=none --restart=always --stop-timeout=1 --name database sleeper sleep 3600")
    done = frees(leaking)
    assert (done["changed"], done["containers"]["started_again"]) == (True, ["database"]), done
    leaking.does(RUN.format("page"))
    assert "page" in leaking.does("docker ps --format '{{.Names}}'").split()


def test_a_port_that_a_container_has_stays_with_it(leaking: DockerDesk) -> None:
    assert f"Port {PORT} belongs to the container page." in frees(leaking)["msg"]
    assert "page" in leaking.does("docker ps --format '{{.Names}}'").split()
