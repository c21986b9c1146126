"""Debian roots that the lab's containers are made of, by mmdebstrap."""

from __future__ import annotations

import fcntl
import hashlib
import shutil
import subprocess
from collections.abc import Callable

import docker
from docker.errors import ImageNotFound

from lab import cache
from lab.saying import saying

SUITES = {"debian-12": "bookworm", "debian-13": "trixie"}
DESK = "systemd,systemd-sysv,dbus,sudo,python3,ca-certificates,iproute2,curl,procps"
REGISTRY = "docker-registry,nginx-light,ca-certificates,curl"
DOCKER = {"debian-12": ",docker.io,iptables", "debian-13": ",docker.io,docker-cli,iptables"}


def image(system: str, packages: str, say: Callable[[str], None]) -> str:
    """Return the tag of a root, made where this Docker has none.

    :param system: ``debian-12`` or ``debian-13``.
    :param packages: what mmdebstrap includes, separated by commas.
    :param say: called with a line before anything that takes long.
    """
    # One at a time: two that make the same root, or install mmdebstrap, would trip over each other.
    with (cache.folder("roots") / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        return _make(system, packages, say)


def _make(system: str, packages: str, say: Callable[[str], None]) -> str:
    recipe = hashlib.sha256(f"{system} {packages}".encode()).hexdigest()[:12]
    tag = f"llmdesk-lab/{system}:{recipe}"
    client = docker.from_env()
    try:
        client.images.get(tag)
        return tag
    except ImageNotFound:
        pass
    archive = cache.folder("roots") / f"{system}-{recipe}.tar"
    if not archive.exists():
        with saying(say, f"making a {system} root (about 40 s)"):
            if shutil.which("mmdebstrap") is None:
                install("mmdebstrap", "debian-archive-keyring")
            part = archive.with_suffix(".part.tar")
            _run("mmdebstrap", "--quiet", "--variant=minbase", f"--include={packages}", SUITES[system], str(part))
            part.rename(archive)
    with saying(say, f"importing the {system} root"):
        _run("docker", "import", str(archive), tag)
    return tag


def install(*packages: str) -> None:
    """Install packages of the system on this machine.

    :raises RuntimeError: they could not be installed.
    """
    # Somebody else may be at it.
    patient = ("apt-get", "-o", "DPkg::Lock::Timeout=600", "-qq")
    with (cache.folder("roots") / "apt.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        _run(*patient, "update")
        _run(*patient, "install", "-y", "--no-install-recommends", *packages)


def _run(*command: str) -> None:
    finished = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if finished.returncode != 0:
        raise RuntimeError(f"{' '.join(command[:3])} failed: {finished.stderr.strip()[-800:]}")
