# SPDX-License-Identifier: GPL-3.0-or-later
"""Docker's packages on every distribution, as the role's files say them, over captured os-release texts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.llmdesk.workstation.plugins.module_utils import docker_packages, probe

from tests.unit.test_packaging import COLLECTION

RELEASES = Path(__file__).parent / "fixtures" / "probe" / "os-release"
REPOSITORY = "https://download.docker.com/linux"
CE = ["docker-ce", "docker-ce-cli", "containerd.io"]


def plan(file: str, answers: bool = True, **wanted: Any) -> dict[str, Any]:
    """Return what is decided on a distribution."""
    system = {**probe.os_release((RELEASES / file).read_text()), "architecture": "x86_64"}
    name = docker_packages.family_file(system)
    family = yaml.safe_load((COLLECTION / "roles/docker/vars" / f"{name}.yml").read_text()) if name else {}
    wanted = {"repository": REPOSITORY, "edition": "auto", "version": "", **wanted}
    return docker_packages.installation(system, wanted, family.get("__docker_family", {}), answers)


@pytest.mark.parametrize(
    ("file", "ask"),
    [
        ("debian-12", "debian/dists/bookworm/Release"),
        ("debian-13", "debian/dists/trixie/Release"),
        ("ubuntu-24.04", "ubuntu/dists/noble/Release"),
        ("linuxmint-22", "ubuntu/dists/noble/Release"),
        ("fedora-42", "fedora/42/x86_64/stable/repodata/repomd.xml"),
        ("rhel-9", "centos/9/x86_64/stable/repodata/repomd.xml"),
        ("rocky-9", "centos/9/x86_64/stable/repodata/repomd.xml"),
        ("almalinux-9", "centos/9/x86_64/stable/repodata/repomd.xml"),
        ("centos-10", "centos/10/x86_64/stable/repodata/repomd.xml"),
    ],
)
def test_dockers_own_packages_where_their_repository_answers(file: str, ask: str) -> None:
    found = plan(file)
    assert (found["edition"], found["packages"], found["error"]) == ("ce", CE, "")
    assert found["ask"] == f"{REPOSITORY}/{ask}"
    assert found["repository"]["key"] == f"{REPOSITORY}/{ask.split('/')[0]}/gpg"
    assert not set(found["conflicts"]) & set(CE)
    assert "podman-docker" in found["conflicts"]


@pytest.mark.parametrize(
    ("file", "packages"),
    [
        ("debian-12", ["docker.io", "iptables"]),
        ("debian-13", ["docker.io", "iptables", "docker-cli"]),
        ("ubuntu-24.04", ["docker.io", "iptables"]),
        ("linuxmint-22", ["docker.io", "iptables"]),
        ("fedora-42", ["moby-engine", "docker-cli"]),
        ("leap-15.6", ["docker"]),
        ("tumbleweed", ["docker"]),
        ("arch", ["docker"]),
    ],
)
@pytest.mark.parametrize(("edition", "answers"), [("auto", False), ("distribution", True)])
def test_the_distributions_package_else(file: str, packages: list[str], edition: str, answers: bool) -> None:
    found = plan(file, answers, edition=edition)
    assert (found["edition"], found["packages"], found["error"]) == ("distribution", packages, "")
    assert not set(found["conflicts"]) & set(packages)
    assert "podman-docker" in found["conflicts"]


@pytest.mark.parametrize(
    ("file", "answers", "wanted", "words"),
    [
        ("rocky-9", False, {}, "rocky has no package of Docker Engine, and Docker's own repository does not answer"),
        ("rhel-9", False, {}, f"({REPOSITORY}/centos/9/x86_64/stable/repodata/repomd.xml)"),
        ("rocky-9", True, {"edition": "distribution"}, "rocky has no package of Docker Engine"),
        ("debian-12", False, {"edition": "ce"}, "docker_edition=distribution"),
        ("tumbleweed", True, {"edition": "ce"}, "Docker publishes no packages for opensuse-tumbleweed"),
        ("arch", True, {"version": "28.5.1"}, "Arch has only its newest Docker"),
        ("leap-15.6", True, {"edition": "distribution", "version": "28"}, "zypper takes whole versions only"),
        ("slackware-15", True, {}, "does not know how Docker comes to slackware 15.0. Install Docker Engine by hand"),
    ],
)
def test_what_cannot_be_is_said(file: str, answers: bool, wanted: dict[str, Any], words: str) -> None:
    assert words in plan(file, answers, **wanted)["error"]


@pytest.mark.parametrize(
    ("file", "answers", "version", "packages"),
    [
        ("debian-12", True, "28.5.1", ["docker-ce=5:28.5.1-*", "docker-ce-cli=5:28.5.1-*", "containerd.io"]),
        ("debian-12", True, "28", ["docker-ce=5:28.*", "docker-ce-cli=5:28.*", "containerd.io"]),
        ("debian-12", False, "20.10.24", ["docker.io=20.10.24[-+]*", "iptables"]),
        ("ubuntu-24.04", False, "28.2", ["docker.io=28.2.*", "iptables"]),
        ("fedora-42", True, "28.5.1", ["docker-ce-28.5.1", "docker-ce-cli-28.5.1", "containerd.io"]),
        ("rocky-9", True, "28", ["docker-ce-28.*", "docker-ce-cli-28.*", "containerd.io"]),
        ("leap-15.6", False, "28.5.1", ["docker=28.5.1_ce"]),
    ],
)
def test_a_version_is_pinned_as_the_manager_spells_it(
    file: str, answers: bool, version: str, packages: list[str]
) -> None:
    found = plan(file, answers, version=version)
    assert (found["packages"], found["error"]) == (packages, "")


DPKG = "ii  docker.io\nrc  docker-compose\nun  podman-docker\nhi  runc\n"
RPM = "package docker is not installed\npodman-docker\nrunc\n"


@pytest.mark.parametrize(
    ("manager", "said", "found"),
    [
        ("apt", DPKG, ["docker.io", "runc"]),
        ("apt", "", []),
        ("dnf", RPM, ["runc", "podman-docker"]),
        ("zypper", RPM, ["runc", "podman-docker"]),
        ("pacman", "podman-docker\n", ["podman-docker"]),
    ],
)
def test_what_is_installed(manager: str, said: str, found: list[str]) -> None:
    names = ["docker", "docker.io", "docker-compose", "runc", "podman-docker"]
    assert docker_packages.present(said, manager, names) == found


def test_conflicts_are_named_with_what_they_are_in_the_way_of() -> None:
    said = docker_packages.conflict(["docker.io", "runc"], plan("debian-12"))
    assert said.startswith("docker.io, runc are installed and cannot stand beside Docker's own packages (docker-ce, ")
    assert "-e docker_remove_conflicting=true" in said
    one = docker_packages.conflict(["podman-docker"], plan("arch"))
    assert one.startswith("podman-docker is installed and cannot stand beside the distribution's Docker (docker)")
    assert docker_packages.conflict([], plan("arch")) == ""


def test_every_file_of_a_distribution_is_complete() -> None:
    keys = {"manager", "repository", "ce", "pinned_ce", "distribution", "pinned_distribution", "conflicts_ce"}
    files = {path.stem: yaml.safe_load(path.read_text()) for path in (COLLECTION / "roles/docker/vars").glob("*.yml")}
    assert set(files) - {"main"} == set(docker_packages.FILES.values())
    for name, content in files.items():
        if name != "main":
            family = content["__docker_family"]
            assert keys | {"conflicts_distribution"} <= set(family), name
            assert (COLLECTION / "roles/docker/tasks" / f"{family['manager']}.yml").exists()
            assert family["manager"] in files["main"]["__docker_queries"]
