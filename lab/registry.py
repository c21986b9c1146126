"""A container registry with TLS, in place of ghcr.io."""

from __future__ import annotations

import json
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

import docker
from docker.errors import NotFound
from docker.models.containers import Container

from lab import authority, roots
from lab.saying import saying

HOST = "ghcr.lab.test"
NAME = "llmdesk-lab-registry"
MIRROR_HOST = "mirror.lab.test"
MIRROR = "llmdesk-lab-mirror"
REPOSITORY, TAG = "open-webui/open-webui", "ollama"
REFERENCE = f"{HOST}/{REPOSITORY}:{TAG}"

# One server over one store, twice: with TLS for desks, and plain on this machine's loopback, where Docker pushes
# without a certificate.
START = """
cd /etc/docker/registry
registry=$(command -v docker-registry || command -v registry)
REGISTRY_HTTP_ADDR=:5000 $registry serve config.yml &
REGISTRY_HTTP_ADDR=:443 REGISTRY_HTTP_TLS_CERTIFICATE=/tls.crt REGISTRY_HTTP_TLS_KEY=/tls.key \
    exec $registry serve config.yml
"""
CONFIG = b"""version: 0.1
storage:
  filesystem:
    rootdirectory: /var/lib/registry
http:
  addr: :5000
"""


def up(say: Callable[[str], None]) -> Container:
    """Start the registry, or return the one that runs."""
    return serve(NAME, HOST, START, {"/etc/docker/registry/config.yml": CONFIG}, say)


def mirror(say: Callable[[str], None]) -> Container:
    """Start another registry, which may have the same or something else, or return the one that runs."""
    return serve(MIRROR, MIRROR_HOST, START, {"/etc/docker/registry/config.yml": CONFIG}, say)


def serve(
    name: str,
    host: str,
    start: str,
    files: dict[str, bytes],
    say: Callable[[str], None],
    *,
    store: Path | None = None,
    network: str | None = None,
    labels: dict[str, str] | None = None,
) -> Container:
    """Start a container with docker-registry in it, or return the one of that name.

    :param name: the container's name, and that of the volume with what it stores unless there is a folder.
    :param host: the host name that its certificate is for.
    :param start: the shell script that it runs; it serves plain on port 5000 as well.
    :param files: more files, path to content.
    :param say: called with a line before anything that takes long.
    :param store: a folder of this machine for what it stores; several may share one, as long as one of them writes.
    :param network: the only network that it is in, under its host name; Docker's own when not given.
    :param labels: of the container, beside the lab's.
    """
    from lab import desk

    client = docker.from_env()
    try:
        container = client.containers.get(name)
        if container.status == "created":  # Somebody was stopped in the middle of it: it has not all its files.
            container.remove()
            raise NotFound(name)
        container.start()
    except NotFound:
        tag = roots.image("debian-12", roots.REGISTRY, say)
        say(f"starting the registry {host}")
        container = client.containers.create(
            tag,
            ["sh", "-c", start],
            name=name,
            init=True,
            labels={desk.LABEL: "registry", **(labels or {})},
            ports={"5000/tcp": ("127.0.0.1", 0)},
            volumes={str(store or name): {"bind": "/var/lib/registry", "mode": "rw"}},
            network=network,
            networking_config={network: client.api.create_endpoint_config(aliases=[host])} if network else None,
        )
        certificate, key = authority.certificate(host)
        desk.put(container, "/tls.crt", certificate)
        desk.put(container, "/tls.key", key, 0o600)
        for path, content in files.items():
            desk.put(container, path, content)
        container.start()
    _await(push_address(name))
    return container


def down(name: str = NAME) -> None:
    """Remove a registry and everything in it."""
    client = docker.from_env()
    try:
        client.containers.get(name).remove(force=True)
        client.volumes.get(name).remove()
    except NotFound:
        pass


def address(name: str = NAME) -> str | None:
    """Return a registry's address for desks, None where it does not run."""
    try:
        container = docker.from_env().containers.get(name)
    except NotFound:
        return None
    return container.attrs["NetworkSettings"]["Networks"]["bridge"]["IPAddress"] or None


def push_address(name: str = NAME) -> str:
    """Return a registry's address for this machine's Docker."""
    container = docker.from_env().containers.get(name)
    container.reload()
    return f"127.0.0.1:{container.attrs['NetworkSettings']['Ports']['5000/tcp'][0]['HostPort']}"


def push(image: str, say: Callable[[str], None], name: str = NAME) -> str:
    """Put an image of this machine's Docker into a registry, under the name of the one it stands in for.

    :returns: the reference by which a desk pulls it.
    """
    pushed = f"{push_address(name)}/{REPOSITORY}:{TAG}"
    subprocess.run(["docker", "tag", image, pushed], check=True)
    try:
        with saying(say, f"pushing {image} into {HOST}"):
            subprocess.run(["docker", "push", "--quiet", pushed], check=True, stdout=subprocess.DEVNULL)
    finally:
        subprocess.run(["docker", "rmi", pushed], check=False, stdout=subprocess.DEVNULL)
    return REFERENCE


def holds(image: str, name: str = NAME) -> bool:
    """Say whether a registry has an image of this machine's Docker under that reference."""
    url = f"http://{push_address(name)}/v2/{REPOSITORY}/manifests/{TAG}"
    request = urllib.request.Request(url, headers={"Accept": "application/vnd.docker.distribution.manifest.v2+json"})
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=30) as response:
            manifest = json.load(response)
    except urllib.error.HTTPError as error:
        if error.code == 404:
            return False
        raise
    return bool(manifest["config"]["digest"] == docker.from_env().images.get(image).id)


def _await(host: str, timeout: float = 30.0) -> None:
    deadline = time.monotonic() + timeout
    while True:
        try:
            urllib.request.urlopen(f"http://{host}/v2/", timeout=2).close()
            return
        except (urllib.error.URLError, OSError) as error:
            if time.monotonic() > deadline:
                raise RuntimeError(f"the registry does not answer under {host}: {error}") from error
            time.sleep(0.2)
