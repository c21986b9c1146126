"""A bare desk got a Docker that works."""

from __future__ import annotations

import json
import re

import pytest
import testinfra
from testinfra.host import Host

# Python and what it needs, out of the desk's own files: a root to run without a registry.
ROOT = (
    "cd / && tar -c --ignore-failed-read bin lib lib64 usr/lib64 usr/bin/python3* usr/lib/python3* "
    "usr/lib/*-linux-gnu/*.so* 2>/dev/null | docker import - root"
)
SERVER = "docker run -d --name server -p 127.0.0.1:8000:8000 root python3 -m http.server 8000"
REFUSED = 111
"""What a connection to a closed port says, if the packets went there and back."""


@pytest.fixture(scope="module")
def root(host: Host) -> str:
    host.check_output(ROOT)
    return "root"


@pytest.fixture(scope="module")
def neighbour(host: Host) -> str:
    """The address of the other desk."""
    name = str(host.backend.hostname)
    other = name.replace("debian-12", "debian-13") if "debian-12" in name else name.replace("debian-13", "debian-12")
    address = testinfra.get_host(f"docker://{other}").check_output("ip -4 -o addr show eth0")
    found = re.search(r"inet ([0-9.]+)/", address)
    assert found, address
    return found[1]


def test_docker_answers(host: Host) -> None:
    assert int(host.check_output("docker version --format '{{.Server.Version}}'").split(".")[0]) >= 20


def test_the_service_runs_and_comes_back_after_a_restart(host: Host) -> None:
    service = host.service("docker")
    assert service.is_running, host.check_output("journalctl --no-pager -n 50 -u docker")
    assert service.is_enabled


def test_the_package_is_the_distributions_and_no_repository_is_left_behind(host: Host) -> None:
    assert host.package("docker.io").is_installed
    assert not host.package("docker-ce").is_installed
    assert host.package("docker-cli").is_installed == (host.system_info.codename == "trixie")
    assert not host.file("/etc/apt/sources.list.d/docker.sources").exists
    assert not host.file("/etc/apt/keyrings/docker.asc").exists


def test_a_container_is_reached_and_reaches_others(host: Host, root: str, neighbour: str) -> None:
    host.check_output(SERVER)
    try:
        asked = host.run("curl -fs -o /dev/null --retry 10 --retry-delay 1 --retry-all-errors http://127.0.0.1:8000/")
        assert asked.rc == 0, host.check_output("docker logs server 2>&1")
        connect = f"import socket; print(socket.socket().connect_ex(('{neighbour}', 9)))"
        assert int(host.check_output(f'timeout 10 docker exec server python3 -c "{connect}"')) == REFUSED
    finally:
        host.run("docker rm --force server")


def test_the_settings_of_docker_are_what_was_asked_for(host: Host) -> None:
    settings = host.file("/etc/docker/daemon.json")
    if "debian-13" in str(host.backend.hostname):
        assert json.loads(settings.content_string) == {"live-restore": True, "log-opts": {"max-size": "10m"}}
        assert host.check_output("docker info --format '{{.LiveRestoreEnabled}}'") == "true"
        assert "docker" in host.user("daemon").groups
        return
    assert settings.content_string == '{"max-concurrent-downloads":  2}'
    assert settings.mode == 0o600
