# SPDX-License-Identifier: GPL-3.0-or-later
"""A company's proxy, the only way out of a network of its own: open, with a password, or re-signing TLS.

One real squid listens on a port for each. What it re-signs is signed by an authority that no desk trusts unless it is
told to.
"""

from __future__ import annotations

import fcntl
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any
from urllib.parse import urlsplit

import docker
from cryptography.hazmat.primitives import serialization
from docker.errors import NotFound
from docker.models.containers import Container
from docker.models.networks import Network

from lab import authority, cache, desk, models, registry, roots

NAME = "llmdesk-lab-proxy"
NETWORK = "llmdesk-lab-inside"
OPEN, GUARDED, RESIGNING = 3128, 3129, 3130
USER = "desk"
AUTHORITY = "llmdesk lab interception"

PACKAGES = "squid-openssl,openssl,ca-certificates,curl"
CONFIG = f"""
http_port {OPEN} name=open
http_port {GUARDED} name=guarded
http_port {RESIGNING} name=resigning ssl-bump cert=/ca.pem generate-host-certificates=on
sslcrtd_program /usr/lib/squid/security_file_certgen -s /var/spool/squid/certificates -M 4MB
acl hello at_step SslBump1
ssl_bump peek hello
ssl_bump bump all
tls_outgoing_options cafile=/trusted.crt
auth_param basic program /usr/lib/squid/basic_ncsa_auth /people
acl guarded myportname guarded
acl known proxy_auth REQUIRED
http_access deny guarded !known
http_access allow all
access_log stdio:/var/log/squid/access.log squid
cache deny all
shutdown_lifetime 0 seconds
"""
PEOPLE = f"""
printf '{USER}:%s\\n' "$(openssl passwd -apr1 -stdin < /password)" > /people
chown proxy: /people
"""
START = f"""{PEOPLE}
/usr/lib/squid/security_file_certgen -c -s /var/spool/squid/certificates -M 4MB > /dev/null
chown -R proxy: /var/spool/squid
exec squid -N -f /squid.conf
"""


@contextmanager
def turn() -> Iterator[None]:
    """Wait until nobody else on this machine has the proxy, and the registries behind it."""
    with (cache.folder("lab") / "proxy.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def up(password: str, say: Callable[[str], None]) -> Container:
    """Start the proxy in its network. The registries that desks shall reach through it have to run already.

    :param password: of :data:`USER`, for the port :data:`GUARDED`.
    :param say: called with a line before anything that takes long.
    """
    down()
    known = {
        registry.HOST: registry.address(registry.NAME),
        registry.MIRROR_HOST: registry.address(registry.MIRROR),
        models.HOST: models.address(),
    }
    container = make(NAME, password, say, extra_hosts={host: address for host, address in known.items() if address})
    _network().connect(container)
    start(container)
    return container


def make(name: str, password: str, say: Callable[[str], None], **options: Any) -> Container:
    """Make a proxy, and do not start it yet: it may need another network first.

    :param name: of its container.
    :param options: more of what Docker's SDK takes to create a container; ``labels`` are added to the lab's.
    """
    client = docker.from_env()
    tag = roots.image("debian-12", PACKAGES, say)
    say("starting the proxy")
    labels = {desk.LABEL: "proxy", **options.pop("labels", {})}
    container = client.containers.create(tag, ["sh", "-c", START], name=name, init=True, labels=labels, **options)
    certificate, key = authority.authority(AUTHORITY, "interception")
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    desk.put(container, "/ca.pem", certificate.public_bytes(serialization.Encoding.PEM) + secret, 0o600)
    desk.put(container, "/trusted.crt", authority.trusted())
    desk.put(container, "/password", password.encode(), 0o600)
    desk.put(container, "/squid.conf", CONFIG.encode())
    return container


def start(container: Container) -> None:
    """Start a proxy and wait until it listens."""
    container.start()
    desk.run(container, f"timeout 30 sh -c 'until curl -so /dev/null 127.0.0.1:{OPEN}; do sleep 0.1; done'")
    container.reload()


def change(password: str) -> None:
    """Let nobody in any more but with another password."""
    container = docker.from_env().containers.get(NAME)
    desk.put(container, "/password", password.encode(), 0o600)
    desk.run(container, PEOPLE + "kill -HUP $(pidof squid)")


def down() -> None:
    """Remove the proxy; its network goes with it once no desk is in it any more."""
    client = docker.from_env()
    with suppress(NotFound):
        client.containers.get(NAME).remove(force=True)
    with suppress(NotFound):
        network = client.networks.get(NETWORK)
        network.reload()
        if not network.containers:
            network.remove()


def address() -> str:
    """Return the proxy's address for desks of its network."""
    container = docker.from_env().containers.get(NAME)
    return str(container.attrs["NetworkSettings"]["Networks"][NETWORK]["IPAddress"])


def certificate() -> str:
    """Return the certificate of the authority that re-signs, in PEM."""
    return authority.authority(AUTHORITY, "interception")[0].public_bytes(serialization.Encoding.PEM).decode()


def asked(name: str = NAME, client: str = "") -> list[str]:
    """Return what went through a proxy, a line of squid's log each: method, address, result.

    :param client: the address of the only one whose lines are wanted.
    """
    logged = [fields for fields in _logged(name) if client in ("", fields[2])]
    return [" ".join((fields[5], fields[6], fields[3])) for fields in logged]


def carried(name: str = NAME, but: tuple[str, ...] = ()) -> int:
    """Return the bytes that a proxy has given to its clients. A tunnel that is still open is not among them.

    :param but: hosts that do not count.
    """
    hosts = [(urlsplit(f"//{fields[6].rpartition('//')[2]}").hostname, int(fields[4])) for fields in _logged(name)]
    return sum(sent for host, sent in hosts if host not in but)


def _logged(name: str) -> list[list[str]]:
    lines = desk.run(docker.from_env().containers.get(name), "cat /var/log/squid/access.log").splitlines()
    return [fields for fields in map(str.split, lines) if len(fields) > 6]


def _network() -> Network:
    client = docker.from_env()
    try:
        return client.networks.get(NETWORK)
    except NotFound:
        return client.networks.create(NETWORK, driver="bridge", internal=True, labels={desk.LABEL: "proxy"})
