# SPDX-License-Identifier: GPL-3.0-or-later
"""The role's own tasks with real apt, dnf, zypper and pacman, which Debian ships, on a desk that says what it is.

The packages are empty and bear Docker's names and versions; their repositories are signed and served on loopback.
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
from docker.models.containers import Container

from lab import desk
from lab.engine import REPOSITORY

NAME = "llmdesk-test-packages"
TOOLS = "apt-utils python3-apt dnf zypper pacman-package-manager makepkg createrepo-c rpm gnupg libarchive-tools"
RELEASES = REPOSITORY / "tests" / "unit" / "fixtures" / "probe" / "os-release"
SERVED = "http://127.0.0.1:8001"

# Name, epoch and version; what is newer is what must not come where a version is held.
RPMS = [
    *(("docker-ce", 3, version) for version in ("28.5.1", "28.5.10", "29.0.0")),
    *(("docker-ce-cli", 1, version) for version in ("28.5.1", "28.5.10", "29.0.0")),
    ("containerd.io", 0, "1.7.28"),
    *(("docker", 0, version) for version in ("28.5.1_ce", "29.0.0_ce")),
    ("runc", 4, "1.2.0"),
]
DEBS = [
    *(
        (name, f"5:{version}-1~debian.13~trixie")
        for name in ("docker-ce", "docker-ce-cli")
        for version in ("28.5.1", "28.5.10", "29.0.0")
    ),
    ("containerd.io", "1.7.28-1"),
    ("podman-docker", "5.4.2+ds1-2"),
]
KEY = (
    "gpg --batch --passphrase '' --quick-gen-key lab@lab.test rsa2048 default never 2> /dev/null && "
    "gpg --armor --export lab@lab.test"
)
SIGN = "rpmsign --define '_gpg_name lab@lab.test' --addsign"
RPM = """
Name: {name}
Epoch: {epoch}
Version: {version}
Release: 1
Summary: An empty package
License: GPL-3.0-or-later
BuildArch: noarch
%description
An empty package.
%files
"""
RELEASE = (
    "cd /srv/repo/debian && apt-ftparchive -o APT::FTPArchive::Release::Suite=trixie "
    "-o APT::FTPArchive::Release::Codename=trixie -o APT::FTPArchive::Release::Components=stable "
    "-o APT::FTPArchive::Release::Architectures=amd64 release dists/trixie > /tmp/Release && "
    "mv /tmp/Release dists/trixie/Release && cd dists/trixie && gpg --batch --clearsign -o InRelease Release && "
    "gpg --batch --armor --detach-sign -o Release.gpg Release"
)


class Machine:
    """A desk that can be told which distribution it is."""

    def __init__(self, container: Container) -> None:
        self.container = container
        self.own = self.does("cat /etc/os-release")

    def does(self, command: str) -> str:
        return desk.run(self.container, command)

    def is_a(self, release: str) -> None:
        text = (RELEASES / release).read_text() if release else self.own
        desk.put(self.container, "/etc/os-release", text.encode())

    def installs(self, **variables: Any) -> tuple[int, str]:
        """Run the role's tasks and return how they ended and what was said."""
        given = {"docker_repository": SERVED, "ansible_connection": "community.docker.docker", **variables}
        given["ansible_python_interpreter"] = "/usr/bin/python3"
        command = [str(Path(sys.executable).with_name("ansible-playbook")), "tests/integration/playbooks/install.yml"]
        done = subprocess.run(
            [*command, "-i", f"{self.container.name},", "-e", json.dumps(given)],
            cwd=REPOSITORY,
            env={**os.environ, "ANSIBLE_NOCOLOR": "1"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
        )
        return done.returncode, " ".join((done.stdout + done.stderr).split())

    def rpms(self, *names: str) -> list[str]:
        said = self.does(f"rpm -q --qf '%{{NAME}} %{{VERSION}}\\n' {' '.join(names)} || true")
        return [line for line in said.splitlines() if "not installed" not in line]


@pytest.fixture(scope="module")
def machine(make_desk: Callable[..., Container]) -> Machine:
    made = Machine(make_desk(NAME, "debian-13", cached=False, packages=TOOLS))
    key = made.does(KEY)
    for name, epoch, version in RPMS:
        spec = RPM.format(name=name, epoch=epoch, version=version).encode()
        desk.put(made.container, f"/srv/specs/{name}-{version}.spec", spec)
    made.does("rpmbuild -bb --define '_topdir /srv/build' /srv/specs/*.spec > /dev/null 2>&1")
    made.does(f"{SIGN} /srv/build/RPMS/noarch/*.rpm > /dev/null 2>&1")
    for folder, names in (
        ("centos/9", "docker-ce-* containerd.io-* "),
        ("fedora/42", "docker-ce-* containerd.io-*"),
        ("suse", "docker-2*"),
    ):
        path = f"/srv/repo/{folder}/x86_64/stable"
        made.does(f"mkdir -p {path} && cd /srv/build/RPMS/noarch && cp {names} {path} && createrepo_c -q {path}")
    for name, version in DEBS:
        control = f"Package: {name}\nVersion: {version}\nArchitecture: all\nMaintainer: lab\nDescription: empty\n"
        desk.put(made.container, "/srv/deb/DEBIAN/control", control.encode())
        made.does("mkdir -p /srv/repo/debian/pool && dpkg-deb --build /srv/deb /srv/repo/debian/pool > /dev/null")
    made.does(
        "cd /srv/repo/debian && mkdir -p dists/trixie/stable/binary-amd64 && "
        f"apt-ftparchive packages pool > dists/trixie/stable/binary-amd64/Packages && {RELEASE}"
    )
    for folder in ("debian", "centos", "fedora"):
        desk.put(made.container, f"/srv/repo/{folder}/gpg", key.encode())
    info = "pkgname = docker\npkgver = 1:28.5.1-1\npkgdesc = empty\narch = any\nsize = 0\nbuilddate = 1\n"
    desk.put(made.container, "/srv/arch/.PKGINFO", info.encode())
    made.does(
        "mkdir -p /srv/repo/arch && cd /srv/repo/arch && "
        "bsdtar -czf docker-1:28.5.1-1-any.pkg.tar.gz -C /srv/arch .PKGINFO && "
        "repo-add -q extra.db.tar.gz *.pkg.tar.gz > /dev/null 2>&1"
    )
    made.does("(setsid python3 -m http.server 8001 --bind 127.0.0.1 --directory /srv/repo > /dev/null 2>&1 &)")
    made.does(f"timeout 20 sh -c 'until curl -sf {SERVED}/ > /dev/null; do sleep 0.1; done'")
    # From here on nothing comes from Debian, and its long lists need not be fetched again and again.
    made.does("mkdir -p /etc/pki/rpm-gpg /etc/yum.repos.d; rm -rf /etc/apt/sources.list /etc/apt/sources.list.d/*")
    return made


def test_apt_brings_the_version_that_is_held_and_makes_way_for_it(machine: Machine) -> None:
    machine.is_a("")
    machine.does("dpkg --install /srv/repo/debian/pool/podman-docker*.deb > /dev/null")
    rc, said = machine.installs(docker_version="28.5.1")
    assert rc == 2
    assert "podman-docker is installed and cannot stand beside Docker's own packages" in said
    assert "-e docker_remove_conflicting=true" in said
    rc, said = machine.installs(docker_version="28.5.10", docker_remove_conflicting=True)
    assert rc == 0, said
    assert "5:28.5.10-1" in machine.does("dpkg-query -W docker-ce")
    assert "Signed-By: /etc/apt/keyrings/docker.asc" in machine.does("cat /etc/apt/sources.list.d/docker.sources")
    rc, said = machine.installs(docker_version="28.5.1")
    assert rc == 0, said
    listed = machine.does("dpkg-query -W -f '${Package} ${Version} ${Status}\n' 'docker-ce*' containerd.io")
    version = "5:28.5.1-1~debian.13~trixie install ok installed"
    assert f"docker-ce {version}" in listed, "back, and not the one whose number begins alike"
    assert f"docker-ce-cli {version}" in listed
    assert "containerd.io" in listed
    rc, said = machine.installs(docker_version="28.5.1")
    assert "changed=0" in said, "a second time"


@pytest.mark.parametrize(
    ("release", "wanted", "version"), [("rocky-9", "28.5.1", "28.5.1"), ("fedora-42", "28", "28.5.10")]
)
def test_dnf_brings_the_version_that_is_held(machine: Machine, release: str, wanted: str, version: str) -> None:
    machine.is_a(release)
    machine.does("rpm --erase --nodeps docker-ce docker-ce-cli containerd.io > /dev/null 2>&1 || true")
    rc, said = machine.installs(docker_version=wanted)
    assert rc == 0, said
    assert machine.rpms("docker-ce", "docker-ce-cli") == [f"docker-ce {version}", f"docker-ce-cli {version}"]
    assert machine.rpms("containerd.io") == ["containerd.io 1.7.28"]
    rc, said = machine.installs(docker_version=wanted)
    assert "changed=0" in said, "a second time"


def test_dnf_takes_nothing_that_docker_has_not_signed(machine: Machine) -> None:
    machine.is_a("rocky-9")
    machine.does("rpm --erase --nodeps docker-ce docker-ce-cli containerd.io > /dev/null 2>&1 || true")
    path = "/srv/repo/centos/9/x86_64/stable"
    unsigned, anew = f"{path}/containerd.io-*.rpm", f"createrepo_c -q {path} && dnf clean all -q"
    machine.does(f"rpmsign --delsign {unsigned} > /dev/null 2>&1; {anew}")
    rc, said = machine.installs()
    assert rc == 2
    assert "is not signed" in said
    assert machine.rpms("docker-ce", "containerd.io") == []
    machine.does(f"{SIGN} {unsigned} > /dev/null 2>&1; {anew}")


def test_dnf_removes_what_conflicts_only_where_that_is_agreed_to(machine: Machine) -> None:
    machine.is_a("rocky-9")
    machine.does("dnf install --assumeyes --quiet --nogpgcheck /srv/build/RPMS/noarch/runc-*.rpm")
    rc, said = machine.installs()
    assert rc == 2
    assert "runc is installed and cannot stand beside Docker's own packages" in said
    assert machine.rpms("runc") == ["runc 1.2.0"]
    rc, said = machine.installs(docker_remove_conflicting=True)
    assert rc == 0, said
    assert machine.rpms("runc") == []


def test_zypper_brings_the_distributions_package(machine: Machine) -> None:
    machine.is_a("leap-15.6")
    machine.does(f"zypper --non-interactive addrepo --no-gpgcheck {SERVED}/suse/x86_64/stable oss")
    # One to conflict, and one to stay: zypper ends with an error where it has removed the last package of all.
    machine.does("cd /srv/build/RPMS/noarch && dnf install -y -q --nogpgcheck ./containerd.io-*.rpm ./runc-*.rpm")
    rc, said = machine.installs(docker_version="28.5.1")
    assert rc == 2
    assert "cannot stand beside the distribution's Docker (docker=28.5.1_ce)" in said
    rc, said = machine.installs(docker_version="28.5.1", docker_remove_conflicting=True)
    assert rc == 0, said
    assert machine.rpms("docker") == ["docker 28.5.1_ce"]
    assert machine.rpms("docker-ce", "docker-ce-cli", "containerd.io") == []
    rc, said = machine.installs(docker_version="28.5.1")
    assert "changed=0" in said, "a second time"


def test_pacman_brings_the_distributions_package(machine: Machine) -> None:
    machine.is_a("arch")
    conf = f"[options]\nArchitecture = auto\nSigLevel = Never\n[extra]\nServer = {SERVED}/arch\n"
    desk.put(machine.container, "/etc/pacman.conf", conf.encode())
    rc, said = machine.installs()
    assert rc == 2
    assert "pacman did not install Docker" in said
    assert "pacman -Syu" in said, "its list of packages was never brought"
    machine.does("pacman --sync --refresh > /dev/null 2>&1")
    rc, said = machine.installs()
    assert rc == 0, said
    assert machine.does("pacman --query docker").strip() == "docker 1:28.5.1-1"
    rc, said = machine.installs()
    assert "changed=0" in said, "a second time"
    rc, said = machine.installs(docker_version="28")
    assert "Arch has only its newest Docker" in said
