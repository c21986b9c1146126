# SPDX-License-Identifier: GPL-3.0-or-later
"""A room of desks: machines on a network of their own, reached by ssh, whose only way out is a proxy on a slow line.

```
 this machine ──ssh──► desk1 … deskN ──► PREFIX-proxy ══ the WAN ══► ghcr.lab.test, models.lab.test, package registries
                       PREFIX-inside      squid           tc-tbf      PREFIX-outside
```

Everything of a room has its prefix in its name and on a label, and nothing is shared between rooms but what the
registries store, which is in the lab's cache. Whatever joins the network PREFIX-outside under an alias can be reached
through the proxy by that name.
"""

from __future__ import annotations

import fcntl
import hashlib
import io
import os
import re
import secrets
import shlex
import shutil
import tarfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

import docker
import yaml
from ansible_collections.llmdesk.workstation.plugins.module_utils.demo_model import DEMO
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from docker.errors import APIError, ImageNotFound, NotFound
from docker.models.containers import Container
from docker.models.networks import Network
from docker.types import IPAMConfig, IPAMPool

from lab import authority, cache, desk, models, proxy, registry, roots, wan
from lab import image as built
from lab.saying import saying

ROOM = "llmdesk.lab.room"
"""Label of everything that belongs to a room: its prefix."""
MADE_AS = "llmdesk.lab.made-as"
"""Label of a room's desks: what they were made as."""
PREFIX = "llmdesk-room"
MOST = 100
USER = "desk"
MODEL = f"{models.HOST}/library/{DEMO['name']}"
AT_ONCE = 4
"""Desks that boot at the same time."""
HOST_KEY = "/etc/ssh/ssh_host_ed25519_key.pub"
PROXY = 2
"""The proxy's address in the desks' network, counted from its beginning."""
FIRST_DESK = 10
"""The address of desk1 in its network is the one after this."""

A_DESK = 1.3e9
"""Bytes of memory that a desk takes once it answers, and of the disk."""

Say = Callable[[str], None]

SETUP = f"""
set -e
useradd --create-home --shell /bin/bash --password "*" {USER}
mkdir -m 0700 /home/{USER}/.ssh
mv /authorized_keys /home/{USER}/.ssh/
chown -R {USER}: /home/{USER}/.ssh
update-ca-certificates > /dev/null
rm -f /etc/ssh/ssh_host_*
"""
SUDOERS = f"{USER} ALL=(ALL) NOPASSWD: ALL\n".encode()
SSHD = b"HostKey /etc/ssh/ssh_host_ed25519_key\nUseDNS no\nMaxStartups 100\n"
PUBLISH = f"""
set -e
ollama serve 2> /ollama.log &
until ollama list > /dev/null 2>&1; do sleep 0.1; done
echo FROM /weights.gguf > /Modelfile
ollama create -f /Modelfile {MODEL}
ollama push {MODEL}
"""


class Refused(ValueError):
    """What was asked for makes no sense; the text is one sentence for a person."""


@dataclass(frozen=True)
class Room:
    """What a room is, and the way to its parts.

    :param desks: how many.
    :param wan: the rate of its line in both directions, such as ``20mbit``.
    :param system: of its desks, ``debian-12`` or ``debian-13``.
    :param with_docker: whether the desks have the distribution's Docker Engine already; bare otherwise.
    :param cached: whether the desks share the lab's cache of downloads and images.
    :param prefix: of the names of its containers, networks and volumes.
    :param mirror: whether its inventory makes desk1 the mirror of all.
    """

    desks: int
    wan: str = "20mbit"
    system: str = "debian-12"
    with_docker: bool = False
    cached: bool = False
    prefix: str = PREFIX
    mirror: bool = False

    @property
    def names(self) -> list[str]:
        """The desks' names in the inventory."""
        return [f"desk{number}" for number in range(1, self.desks + 1)]

    @property
    def folder(self) -> Path:
        """The folder of this machine with its inventory and what ssh needs."""
        return cache.folder("rooms", self.prefix)

    @property
    def inventory(self) -> Path:
        """Ansible's inventory of it, for ``./llmdesk up -i``."""
        return self.folder / "inventory.yml"

    @property
    def ssh_config(self) -> Path:
        """The configuration of ssh for a person: ``ssh -F FILE desk1``."""
        return self.folder / "ssh_config"

    @property
    def inside(self) -> str:
        """The network of the desks, which leads nowhere."""
        return f"{self.prefix}-inside"

    @property
    def outside(self) -> str:
        """The network of what the proxy reaches."""
        return f"{self.prefix}-outside"

    @property
    def made_as(self) -> str:
        """What a desk is made as, in words."""
        kind = "with Docker" if self.with_docker else "bare"
        return f"{self.system}, {kind}, {'sharing the cache' if self.cached else 'sharing nothing'}"

    def desk(self, name: str) -> Container:
        """Return a desk's container, which may be stopped and started as a machine is."""
        return docker.from_env().containers.get(f"{self.prefix}-{name}")

    def proxy(self) -> Container:
        """Return the proxy's container; its way out is the WAN."""
        return docker.from_env().containers.get(f"{self.prefix}-proxy")

    def wan_bytes(self) -> int:
        """Return the bytes that came in over the WAN since the room was made, by the WAN's own counter."""
        return carried(self.prefix).down

    def down(self) -> None:
        """Remove it with everything in it."""
        down(self.prefix)


def up(room: Room, say: Say) -> Room:
    """Bring a room to where it should be: make what is missing, start what is stopped, shape the line.

    :param say: called with a line before anything that takes long.
    :returns: the room.
    :raises Refused: it makes no sense, or another one has that prefix.
    :raises RuntimeError: something failed; the same call carries on, :func:`down` removes what is there.
    """
    check(room)
    with _turn(room.prefix):
        _check_against(room)
        _tools(say)
        _inotify(room, say)
        inside, outside = _network(room, room.inside, internal=True), _network(room, room.outside, internal=False)
        _registries(room, say)
        _proxy(room, inside, outside, say)
        _desks(room, inside, say)
        _write(room, inside)
    return room


def down(prefix: str = PREFIX, say: Say = lambda _text: None) -> int:
    """Remove a room with everything in it, or what is left of one.

    :param say: called with a line now and then.
    :returns: how many containers, networks and volumes were removed.
    :raises Refused: somebody is at work on that room.
    """
    client = docker.from_env()
    mine: dict[str, str | list[str] | bool] = {"label": f"{ROOM}={prefix}"}
    with _turn(prefix):
        containers = client.containers.list(all=True, filters=mine)
        for number, container in enumerate(containers, 1):
            say(f"removing {container.name} ({number} of {len(containers)})")
            with suppress(NotFound):
                container.remove(force=True, v=True)
        volumes, networks = client.volumes.list(filters=mine), client.networks.list(filters=mine)
        for volume in volumes:
            volume.remove()
        for network in networks:
            network.reload()
            for guest in network.containers:  # A server that somebody put beside the registries does not keep it.
                network.disconnect(guest, force=True)
            network.remove()
        shutil.rmtree(cache.folder("rooms", prefix))
    return len(containers) + len(volumes) + len(networks)


def carried(prefix: str = PREFIX) -> wan.Counted:
    """Return what a room's line has carried, by its own counters.

    :raises Refused: there is no such room.
    """
    try:
        return wan.counted(docker.from_env().containers.get(f"{prefix}-proxy"))
    except NotFound:
        raise Refused(f"There is no room {prefix} on this machine: './llmdesk lab up' makes one.") from None


def everywhere() -> set[str]:
    """Return the prefixes of the rooms that this machine has, or has remains of."""
    client = docker.from_env()
    mine: dict[str, str | list[str] | bool] = {"label": ROOM}
    labels = [container.labels for container in client.containers.list(all=True, filters=mine)]
    labels += [volume.attrs["Labels"] for volume in client.volumes.list(filters=mine)]
    labels += [network.attrs["Labels"] for network in client.networks.list(filters=mine)]
    return {found[ROOM] for found in labels}


def check(room: Room) -> None:
    """Refuse what makes no sense.

    :raises Refused: with a sentence.
    """
    if not 1 <= room.desks <= MOST:
        raise Refused(f"A room has 1 to {MOST} desks, not {room.desks}.")
    if room.system not in roots.SUITES:
        raise Refused(f"A desk is a {' or a '.join(roots.SUITES)}, not a {room.system}.")
    if not re.fullmatch(r"[a-z][a-z0-9-]{1,30}", room.prefix):
        raise Refused(f"{room.prefix!r} cannot begin a container's name: use small letters, digits and hyphens.")
    try:
        wan.bits(room.wan)
    except ValueError as error:
        raise Refused(str(error)) from None


def _check_against(room: Room) -> None:
    """Refuse a room that cannot become the wanted one."""
    there = _containers(room, "desk")
    if len(there) > room.desks:
        raise Refused(
            f"The room {room.prefix} has {len(there)} desks, more than {room.desks}: take it down to make it smaller."
        )
    others = {container.labels[MADE_AS] for container in there} - {room.made_as}
    if others:
        raise Refused(
            f"The room {room.prefix} has other desks ({others.pop()}) than wanted ({room.made_as}): take it down first."
        )


@contextmanager
def _turn(prefix: str) -> Iterator[None]:
    """Have a room to ourselves."""
    with (cache.folder("rooms") / f"{prefix}.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Refused(f"Somebody else is at work on the room {prefix}: wait, and type the same again.") from None
        yield


def _containers(room: Room, kind: str) -> list[Container]:
    wanted = [f"{ROOM}={room.prefix}", f"{desk.LABEL}={kind}"]
    found: list[Container] = docker.from_env().containers.list(all=True, filters={"label": wanted})
    return found


def _tools(say: Say) -> None:
    """Bring what this machine needs to enter a desk and to shape a line."""
    packages = {"ssh": "openssh-client", "tc": "iproute2", "nsenter": "util-linux"}
    missing = [package for program, package in packages.items() if shutil.which(program) is None]
    if missing:
        with saying(say, f"installing {', '.join(missing)}"):
            roots.install(*missing)


def _inotify(room: Room, say: Say) -> None:
    """Let so many service managers watch files: root has 128 watchers on most systems, and 20 desks need more."""
    setting = Path("/proc/sys/fs/inotify/max_user_instances")
    wanted = 128 + 32 * room.desks
    if setting.exists() and int(setting.read_text()) < wanted:
        say(f"raising fs.inotify.max_user_instances to {wanted} until this machine restarts")
        setting.write_text(str(wanted))


def _network(room: Room, name: str, internal: bool) -> Network:
    """Return one of the room's networks, made where it is missing."""
    client = docker.from_env()
    with suppress(NotFound):
        return client.networks.get(name)
    labels = {ROOM: room.prefix}
    for attempt in range(5):
        # Docker gives addresses of our own choice only in a network whose range was said to it. It knows best which one
        # is free, so that it is asked first, by another name: who stops us here leaves no network that leads out.
        free = client.networks.create(f"{name}-range", driver="bridge", labels=labels)
        subnet = free.attrs["IPAM"]["Config"][0]["Subnet"]
        free.remove()
        ranged = IPAMConfig(pool_configs=[IPAMPool(subnet=subnet)])
        try:
            return client.networks.create(name, driver="bridge", internal=internal, labels=labels, ipam=ranged)
        except APIError:
            if attempt == 4:
                raise
    raise AssertionError


def _address(network: Network, number: int) -> str:
    return str(IPv4Network(network.attrs["IPAM"]["Config"][0]["Subnet"])[number])


def _registries(room: Room, say: Say) -> None:
    """Start the registries with an image and a model in them."""
    name, shelf = f"{room.prefix}-registry", f"{room.prefix}-models"
    options: dict[str, Any] = {"network": room.outside, "labels": {ROOM: room.prefix}}
    config = {"/etc/docker/registry/config.yml": registry.CONFIG}
    store = cache.folder("rooms-registries", "images")
    registry.serve(name, registry.HOST, registry.START, config, say, store=store, **options)
    store = cache.folder("rooms-registries", "models")
    models.serve(shelf, say, store=store, **options)
    # What they store is shared, so one at a time.
    with (cache.folder("rooms-registries") / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        image = built.image(say)
        if not registry.holds(image, name):
            registry.push(image, say, name)
        repository, tag = DEMO["name"].split(":")
        if not (store / f"docker/registry/v2/repositories/library/{repository}/_manifests/tags/{tag}").exists():
            _publish(room, image, say)


def _publish(room: Room, image: str, say: Say) -> None:
    """Make a model of the demo model's file and push it, as a person does."""
    client = docker.from_env()
    name = f"{room.prefix}-push"
    with suppress(NotFound):
        client.containers.get(name).remove(force=True, v=True)
    container = client.containers.create(
        image,
        ["sh", "-c", PUBLISH],
        name=name,
        init=True,
        labels={ROOM: room.prefix},
        environment={"SSL_CERT_FILE": "/trusted.crt"},
        network=room.outside,
        volumes={str(models.demo()): {"bind": "/weights.gguf", "mode": "ro"}},
    )
    try:
        desk.put(container, "/trusted.crt", authority.trusted())
        with saying(say, f"pushing {MODEL}"):
            container.start()
            rc = container.wait()["StatusCode"]
        if rc != 0:
            raise RuntimeError(f"{MODEL} could not be pushed: {container.logs(tail=20).decode(errors='replace')}")
    finally:
        container.remove(force=True, v=True)


def _proxy(room: Room, inside: Network, outside: Network, say: Say) -> None:
    """Start the proxy, and hold its way out to the WAN's rate."""
    client = docker.from_env()
    name = f"{room.prefix}-proxy"
    address = _address(inside, PROXY)
    try:
        container = client.containers.get(name)
        if container.status == "created":  # Somebody was stopped in the middle of it.
            container.remove(force=True)
            raise NotFound(name)
        container.start()
    except NotFound:
        options = {"network": outside.name, "labels": {ROOM: room.prefix}}
        container = proxy.make(name, secrets.token_urlsafe(), say, **options)
        inside.connect(container, ipv4_address=address)
        proxy.start(container)
    wan.shape(container, room.wan)


def _desks(room: Room, inside: Network, say: Say) -> None:
    """Make the desks that are missing and start those that are stopped, several at a time."""
    client = docker.from_env()
    there = {str(container.name): container for container in _containers(room, "desk")}
    for name, container in list(there.items()):
        if container.status == "created":  # Half made: what is put into it before its first start is not all there.
            container.remove(force=True, v=True)
            with suppress(NotFound):
                client.volumes.get(f"{name}-docker").remove()
            del there[name]
    wanted = {f"{room.prefix}-{name}": number for number, name in enumerate(room.names, 1)}
    idle = [name for name in wanted if name not in there or there[name].status != "running"]
    if not idle:
        return
    for sentence in short_of(len(wanted.keys() - there.keys()), _free()):
        say(sentence)
    root = _root(room, say)

    def bring(name: str) -> str:
        container = there.get(name)
        if container is None:
            container = desk.prepare(
                name,
                root,
                cached=room.cached,
                network=room.inside,
                address=_address(inside, FIRST_DESK + wanted[name]),
                hostname=name.removeprefix(f"{room.prefix}-"),
                labels={ROOM: room.prefix, MADE_AS: room.made_as},
            )
            key = Ed25519PrivateKey.generate()
            desk.put(container, HOST_KEY.removesuffix(".pub"), _private(key), 0o600)
            desk.put(container, HOST_KEY, _public(key))
        desk.boot(container)
        return name

    say(f"starting {len(idle)} desk{'s' * (len(idle) > 1)}")
    pool = ThreadPoolExecutor(AT_ONCE)
    try:
        for done, name in enumerate(pool.map(bring, idle), 1):
            say(f"{name} is up ({done} of {len(idle)})")
    finally:
        pool.shutdown(cancel_futures=True)


def short_of(desks: int, free: dict[str, float]) -> list[str]:
    """Return what new desks may run short of once they answer, a sentence each.

    :param free: bytes that this machine has left, by what they are of.
    """
    wanted = desks * A_DESK
    return [
        f"{desks} desks want {wanted / 1e9:.0f} GB of {what} once they answer, and {left / 1e9:.0f} GB are left"
        for what, left in free.items()
        if left < wanted
    ]


def _free() -> dict[str, float]:
    memory = re.search(r"^MemAvailable: +(\d+) kB", Path("/proc/meminfo").read_text(), re.MULTILINE)
    assert memory is not None
    disk = shutil.disk_usage(docker.from_env().info()["DockerRootDir"])
    return {"memory": float(memory[1]) * 1024, "disk": float(disk.free)}


def _root(room: Room, say: Say) -> str:
    """Return the tag of a desk's root with what the lab puts into every one, made where this Docker has none.

    So a desk is ready when it has booted, and nothing has to be done to it then.
    """
    packages = roots.DESK + (roots.DOCKER[room.system] if room.with_docker else "") + ",openssh-server"
    root = roots.image(room.system, packages, say)
    files = {
        "/authorized_keys": _public(_key()),
        f"/etc/sudoers.d/{USER}": SUDOERS,
        "/etc/ssh/sshd_config.d/lab.conf": SSHD,
    }
    made_of = hashlib.sha256(repr([root, SETUP, files]).encode() + authority.trusted())
    tag = f"llmdesk-lab/room-{room.system}:{made_of.hexdigest()[:12]}"
    client = docker.from_env()
    with (cache.folder("roots") / "room.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with suppress(ImageNotFound):
            client.images.get(tag)
            return tag
        container = client.containers.create(root, ["sh", "-c", SETUP], labels={ROOM: room.prefix})
        try:
            for path, content in files.items():
                desk.put(container, path, content, 0o440 if "sudoers" in path else 0o644)
            present = _read(container, str(authority.SYSTEM_BUNDLE))
            for number, certificate in enumerate(authority.missing(authority.trusted(), present)):
                desk.put(container, f"/usr/local/share/ca-certificates/lab-{number}.crt", certificate)
            with saying(say, f"preparing the {room.system} root for a room"):
                container.start()
                if container.wait()["StatusCode"] != 0:
                    raise RuntimeError(f"a desk's root could not be made: {container.logs().decode(errors='replace')}")
                container.commit(*tag.split(":"))
        finally:
            container.remove(force=True)
    return tag


def _write(room: Room, inside: Network) -> None:
    """Write the inventory, and what ssh needs, into the room's folder."""
    hosts = {name: _address(inside, FIRST_DESK + number) for number, name in enumerate(room.names, 1)}
    known_hosts = room.folder / "known_hosts"
    keys = {name: _read(room.desk(name), HOST_KEY).decode().strip() for name in hosts}
    known_hosts.write_text("".join(f"{name},{address} {keys[name]}\n" for name, address in hosts.items()))
    (room.folder / "lab-ca.pem").write_bytes(authority.authority()[0].public_bytes(serialization.Encoding.PEM))
    address = f"http://{_address(inside, PROXY)}:{proxy.OPEN}"
    told = f"-o UserKnownHostsFile={shlex.quote(str(known_hosts))} -o StrictHostKeyChecking=yes -o IdentitiesOnly=yes"
    variables: dict[str, Any] = {
        "ansible_user": USER,
        "ansible_ssh_private_key_file": str(_key_file()),
        "ansible_ssh_common_args": told,
        "ansible_python_interpreter": "/usr/bin/python3",
        "desk_proxy": {"http": address, "https": address},
        "desk_ca_certificates": [str(room.folder / "lab-ca.pem")],
        "open_webui_image_sources": [{"registry": registry.REFERENCE}],
        "ollama_models": [{"name": DEMO["name"], "sources": [{"name": MODEL}]}],
    }
    inventory: dict[str, Any] = {
        "desks": {"vars": variables, "hosts": {name: {"ansible_host": host} for name, host in hosts.items()}}
    }
    if room.mirror:
        ports = {models.HOST: 5443, registry.HOST: 5444}
        first = next(iter(hosts))
        variables.update(desk_mirror=hosts[first], desk_mirror_upstreams=ports, model_mirror_upstreams=ports)
        inventory = {"mirrors": {"hosts": {first: None}}, **inventory}
    header = "# Written by './llmdesk lab up', and written anew every time.\n"
    room.inventory.write_text(header + yaml.safe_dump(inventory, sort_keys=False))
    own = [("User", USER), ("IdentityFile", _key_file()), ("UserKnownHostsFile", known_hosts)]
    lines = [f"Host {name}\n    HostName {address}\n" for name, address in hosts.items()]
    lines += ["Host *\n", *(f'    {option} "{value}"\n' for option, value in own), "    StrictHostKeyChecking yes\n"]
    room.ssh_config.write_text("".join(lines))


def _key_file() -> Path:
    return cache.folder("lab") / "ssh_ed25519"


def _key() -> Ed25519PrivateKey:
    """Return the key that opens the desks of every room, made at the first call and kept in the cache."""
    file = _key_file()
    if not file.exists():
        part = file.with_name(f"{file.name}.{os.getpid()}")
        part.touch(mode=0o600)
        part.write_bytes(_private(Ed25519PrivateKey.generate()))
        with suppress(FileExistsError):  # Whoever was first has made it.
            file.hardlink_to(part)
        part.unlink()
    kept = serialization.load_ssh_private_key(file.read_bytes(), None)
    assert isinstance(kept, Ed25519PrivateKey)
    return kept


def _private(key: Ed25519PrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
    )


def _public(key: Ed25519PrivateKey) -> bytes:
    form = serialization.PublicFormat.OpenSSH
    return key.public_key().public_bytes(serialization.Encoding.OpenSSH, form) + b"\n"


def _read(container: Container, path: str) -> bytes:
    """Return a file of a container, which need not run."""
    chunks, _stat = container.get_archive(path)
    with tarfile.open(fileobj=io.BytesIO(b"".join(chunks))) as archive:
        file = archive.extractfile(archive.next() or "")
        assert file is not None
        return file.read()
