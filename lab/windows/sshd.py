"""The PC's door: a real OpenSSH server in a container, whose only command is the lab's wsl.exe."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import docker
from docker.errors import NotFound

from lab import desk, roots
from lab.engine import REPOSITORY

PACKAGES = "openssh-server,python3,docker-cli,iproute2"
USER = "ann"
SOCKET = "/var/run/docker.sock"
# The user is root by another name, because it has to reach this machine's Docker.
CONFIG = f"""
Port 22
HostKey /etc/ssh/ssh_host_ed25519_key
AuthorizedKeysFile /etc/ssh/authorized_keys
StrictModes no
UsePAM no
PasswordAuthentication no
PermitRootLogin yes
AllowUsers {USER}
UseDNS no
MaxStartups 100
ForceCommand env PYTHONPATH=/llmdesk LAB_PC=/pc/pc.json python3 -m lab.windows.wsl_exe
"""
START = f"""
id {USER} > /dev/null 2>&1 || useradd --non-unique --uid 0 --home-dir /root --password '*' {USER}
mkdir -p /run/sshd
exec /usr/sbin/sshd -D -e -f /etc/ssh/lab_config
"""


def up(name: str, file: Path, key: Path, say: Callable[[str], None]) -> tuple[str, str]:
    """Start the server for a PC and return its address, and the line of known_hosts that it is known by.

    :param name: of its container.
    :param file: the PC's, named ``pc.json``: the server shares its folder.
    :param key: the private key that it lets in, made where it is missing.
    :param say: called with a line before anything that takes long.
    """
    down(name)
    client = docker.from_env()
    tag = roots.image("debian-13", PACKAGES, say)
    if not key.exists():
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    container = client.containers.create(
        tag,
        ["sh", "-c", START],
        name=name,
        init=True,
        labels={desk.LABEL: "pc"},
        volumes={
            SOCKET: {"bind": SOCKET},
            str(REPOSITORY): {"bind": "/llmdesk", "mode": "ro"},
            str(file.parent): {"bind": "/pc"},
        },
    )
    desk.put(container, "/etc/ssh/lab_config", CONFIG.encode())
    desk.put(container, "/etc/ssh/authorized_keys", Path(f"{key}.pub").read_bytes())
    container.start()
    desk.run(container, "timeout 20 sh -c 'until ss -tln | grep -q :22; do sleep 0.1; done'")
    container.reload()
    address = str(container.attrs["NetworkSettings"]["Networks"]["bridge"]["IPAddress"])
    own = desk.run(container, "cat /etc/ssh/ssh_host_ed25519_key.pub").split()
    return address, f"{address} {own[0]} {own[1]}\n"


def down(name: str) -> None:
    """Remove it."""
    with suppress(NotFound):
        docker.from_env().containers.get(name).remove(force=True)
