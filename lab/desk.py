"""A desk: a Debian machine with systemd, as a container that can run a Docker of its own."""

from __future__ import annotations

import contextlib
import io
import tarfile
from collections.abc import Callable
from pathlib import Path

import docker
from docker.errors import NotFound
from docker.models.containers import Container

from lab import authority, cache, registry, roots

LABEL = "llmdesk.lab"
PIP_CONF = Path("/etc/pip.conf")

# A nested Docker cannot switch IPv6 off in its containers here, and refuses to run them unless it is told not to mind.
NESTED_DOCKER = b"[Service]\nEnvironment=DOCKER_ALLOW_IPV6_ON_IPV4_INTERFACE=1\n"

# In a network of its own nobody knows a name outside, and that is said at once; Docker's name server, which every start
# writes there anew, would be silent for 20 s.
NO_NAMES = b"f+ /etc/resolv.conf 0644 root root - nameserver 127.0.0.1\\n\n"

# systemd does not listen yet in its first moments.
BOOTED = """
timeout 60 sh -c 'until systemctl is-system-running --wait > /dev/null 2>&1; do sleep 0.1; done' && exit
systemctl is-system-running
systemctl --failed --no-legend
exit 1
"""


def create(
    name: str,
    system: str,
    *,
    systemd: bool = True,
    with_docker: bool = False,
    cached: bool = True,
    network: str | None = None,
    packages: str = "",
    folders: dict[str, str] | None = None,
    say: Callable[[str], None],
) -> Container:
    """Make and start a desk, or return the one of that name.

    :param name: the container's name.
    :param system: ``debian-12`` or ``debian-13``.
    :param systemd: whether systemd runs; without it, nothing in the desk can start a service.
    :param with_docker: whether the distribution's Docker Engine is in the root already; bare otherwise.
    :param cached: whether the desk shares the lab's cache of downloads and images, and so has a fast cold start.
    :param network: the only network that the desk is in, Docker's own when not given.
    :param packages: what its root has besides, separated by blanks.
    :param folders: folders of this machine, each with its place in the desk, as a disk is that somebody plugs in.
    :param say: called with a line before anything that takes long.
    """
    try:
        return docker.from_env().containers.get(name)
    except NotFound:
        pass
    own = roots.DESK + (roots.DOCKER[system] if with_docker else "")
    tag = roots.image(system, ",".join([own, *packages.split()]), say)
    say(f"starting the desk {name}")
    container = prepare(name, tag, systemd=systemd, cached=cached, network=network, folders=folders)
    boot(container)
    # Only now: while systemd boots, it empties /tmp under everybody's hands.
    _trust(container)
    return container


def prepare(
    name: str,
    tag: str,
    *,
    systemd: bool = True,
    cached: bool = True,
    network: str | None = None,
    address: str | None = None,
    hostname: str | None = None,
    labels: dict[str, str] | None = None,
    folders: dict[str, str] | None = None,
) -> Container:
    """Make a desk of a root, and do not start it yet.

    :param tag: the root, as an image of this machine's Docker.
    :param address: the one that it has in its network, whichever Docker chooses when not given.
    :param hostname: what it calls itself, as its container when not given.
    :param labels: of the container and of its Docker's volume, beside :data:`LABEL`.
    :param folders: folders of this machine, each with its place in the desk.
    """
    client = docker.from_env()
    marked = {LABEL: "desk", **(labels or {})}
    data = client.volumes.create(f"{name}-docker", labels=marked)
    volumes = {str(data.name): {"bind": "/var/lib/docker", "mode": "rw"}}
    volumes["/sys/fs/cgroup"] = {"bind": "/sys/fs/cgroup", "mode": "rw"}
    if cached:
        volumes[str(cache.folder("desk"))] = {"bind": "/var/cache/llmdesk", "mode": "rw"}
    volumes.update({folder: {"bind": place, "mode": "rw"} for folder, place in (folders or {}).items()})
    known = None if network else registry.address()
    place = {network: client.api.create_endpoint_config(ipv4_address=address)} if network and address else None
    container = client.containers.create(
        tag,
        ["/sbin/init"] if systemd else ["sleep", "infinity"],
        name=name,
        hostname=hostname or name,
        init=not systemd,
        labels=marked,
        cap_add=["ALL"],
        cap_drop=["SYS_RESOURCE"],
        security_opt=["seccomp=unconfined", "apparmor=unconfined"],
        cgroupns="host",
        tmpfs={"/run": "", "/run/lock": "", "/tmp": "exec"},
        volumes=volumes,
        environment={"container": "docker", "DOCKER_ALLOW_IPV6_ON_IPV4_INTERFACE": "1"},
        network=network,
        networking_config=place,
        extra_hosts={registry.HOST: known} if known else {},
    )
    put(container, "/etc/systemd/system/docker.service.d/lab.conf", NESTED_DOCKER)
    if systemd:
        # An empty unit never runs: this one fails where the kernel belongs to somebody else.
        put(container, "/etc/systemd/system/systemd-modules-load.service", b"")
        if network:
            put(container, "/etc/tmpfiles.d/lab.conf", NO_NAMES)
    if PIP_CONF.exists():
        put(container, "/etc/pip.conf", PIP_CONF.read_bytes())
    return container


def boot(container: Container) -> None:
    """Start a desk and wait until it is up; one that runs already is only waited for.

    :raises RuntimeError: a unit of its system failed.
    """
    container.start()
    if not container.attrs["HostConfig"]["Init"]:
        run(container, BOOTED)


def destroy(name: str) -> None:
    """Remove a desk with its Docker's data."""
    client = docker.from_env()
    try:
        container = client.containers.get(name)
        if container.labels.get(LABEL) != "desk":
            raise RuntimeError(f"{name} is no desk of the lab")
        container.remove(force=True, v=True)
    except NotFound:
        pass
    with contextlib.suppress(NotFound):
        client.volumes.get(f"{name}-docker").remove()


def run(container: Container, command: str) -> str:
    """Run a shell command in a desk and return its output.

    :raises RuntimeError: it failed.
    """
    finished = container.exec_run(["sh", "-c", command])
    text = bytes(finished.output).decode(errors="replace")  # type: ignore[arg-type]
    if finished.exit_code != 0:
        raise RuntimeError(f"{container.name}: {command!r} failed ({finished.exit_code}): {text.strip()[-800:]}")
    return text


def put(container: Container, path: str, content: bytes, mode: int = 0o644) -> None:
    """Write a file into a desk."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        entry = tarfile.TarInfo(path.lstrip("/"))
        entry.size, entry.mode = len(content), mode
        archive.addfile(entry, io.BytesIO(content))
    container.put_archive("/", buffer.getvalue())


def _trust(container: Container) -> None:
    """Let a desk trust what this machine trusts, and the lab's registry."""
    present = run(container, f"cat {authority.SYSTEM_BUNDLE}").encode()
    for number, certificate in enumerate(authority.missing(authority.trusted(), present)):
        put(container, f"/usr/local/share/ca-certificates/lab-{number}.crt", certificate)
    run(container, "update-ca-certificates")
