# SPDX-License-Identifier: GPL-3.0-or-later
"""What goes wrong between a client and a registry of models, and between a client and an Ollama server.

The connection itself is toxiproxy's business: it stands where the clients look for the registry. What a registry or a
server would say is nginx's: answers are its ``location`` blocks, for :func:`lab.models.answer` and :meth:`Line.reply`.
"""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import docker
from docker.errors import NotFound
from docker.models.containers import Container

from lab import desk, golang, models, registry, roots

NAME = "llmdesk-lab-line"
TOXIPROXY = "2.5.0"

# Both have to be there before a single byte comes through, and the container ends with the first of them that ends.
START = """
> /etc/nginx/reply.conf
nginx
exec /toxiproxy -host 0.0.0.0 -port 8474
"""
NGINX = """
events {}
error_log stderr;
http {
    access_log off;
    client_max_body_size 0;
    server {
        listen 11434;
        proxy_http_version 1.1;
        proxy_buffering off;
        proxy_request_buffering off;
        proxy_read_timeout 1h;
        include /etc/nginx/reply.conf;
        include /etc/nginx/server.conf;
    }
}
"""

MANIFEST = "location ~ /manifests/"
BLOB = "location ~ /blobs/sha256:"
PORTAL = "<!DOCTYPE html><html><head><title>Welcome</title></head><body>Sign in to use this network.</body></html>"


def status(code: int, where: str = MANIFEST, **headers: str) -> str:
    """Return an answer that is nothing but a status, with nginx's own page for it.

    :param where: ``MANIFEST`` or ``BLOB``.
    :param headers: more headers, with underscores for the hyphens in their names.
    """
    lines = "".join(f"add_header {name.replace('_', '-')} '{text}' always; " for name, text in headers.items())
    return f"{where} {{ {lines}return {code}; }}"


def chunk_status(code: int) -> str:
    """Return an answer that is a status for every part of a blob, and only for these."""
    return f"{BLOB} {{ if ($http_range) {{ return {code}; }} {models.BLOB} }}"


def portal(text: str = PORTAL) -> str:
    """Return the page of a network that wants a person to sign in, for everything that is asked."""
    return f"location ^~ /v2/ {{ default_type text/html; return 200 '{text}'; }}"


def elsewhere(code: int = 307, host: str = models.ELSEWHERE) -> str:
    """Return an answer that sends clients to another host for the blobs."""
    return f"{BLOB} {{ return {code} https://{host}$request_uri; }}"


def no_ranges() -> str:
    """Return an answer that is always a whole blob, whatever part of it was asked for."""
    return f"{BLOB} {{ proxy_set_header Range ''; {models.BLOB} }}"


def stream(*lines: dict[str, Any]) -> str:
    """Return an Ollama server's answer to every pull, under HTTP 200."""
    text = "".join(json.dumps(line) + "\\n" for line in lines).replace("'", "\\'")
    return f"location = /api/pull {{ default_type application/x-ndjson; return 200 '{text}'; }}"


class Line:
    """The line between clients and the registry, and the one between clients and an Ollama server.

    :param container: where toxiproxy and nginx run.
    """

    def __init__(self, container: Container) -> None:
        container.reload()
        self.container = container
        self.address = container.attrs["NetworkSettings"]["Networks"]["bridge"]["IPAddress"]
        ports = container.attrs["NetworkSettings"]["Ports"]
        self._toxiproxy = f"http://127.0.0.1:{ports['8474/tcp'][0]['HostPort']}"
        self.ollama = f"http://127.0.0.1:{ports['11434/tcp'][0]['HostPort']}"
        """Where the Ollama server of :meth:`lead` is reached through this line."""
        self.inside = f"http://{self.address}:11434"
        """The same, for containers."""

    def clear(self) -> None:
        """Let everything through again. What comes over a connection that stalls or is cut breaks off."""
        self._say("POST", "/reset")

    def latency(self, milliseconds: int) -> None:
        """Let every answer take longer."""
        self._toxic("latency", latency=milliseconds)

    def bandwidth(self, rate: int) -> None:
        """Let so many kB a second through on each connection, those that there are included."""
        self._toxic("bandwidth", rate=rate)

    def stall(self) -> None:
        """Let nothing through any more, with every connection open."""
        self._toxic("timeout", timeout=0)

    def cut(self, size: int) -> None:
        """Close every connection in order after so many bytes of it."""
        self._toxic("limit_data", bytes=size)

    def reset(self, size: int) -> None:
        """Reset every new connection after so many bytes of it."""
        # toxiproxy's own reset lets nothing through. At a toxicity of nothing, all that is left of it is that a
        # connection ends with a reset, whatever ends it.
        self._toxic("reset_peer", 0.0, timeout=0)
        self.cut(size)

    def lead(self, address: str) -> None:
        """Say where the Ollama server is.

        :param address: of its container.
        """
        desk.put(
            self.container, "/etc/nginx/server.conf", f"location / {{ proxy_pass http://{address}:11434; }}".encode()
        )
        self.reply("")

    def reply(self, locations: str) -> None:
        """Answer in the Ollama server's place.

        :param locations: nginx's ``location`` blocks, such as :func:`stream`; empty to let the server answer.
        """
        desk.put(self.container, "/etc/nginx/reply.conf", locations.encode())
        desk.run(self.container, f"{models.NGINX_STOP}; {models.NGINX_AGAIN}")

    def _toxic(self, kind: str, toxicity: float = 1.0, **attributes: int) -> None:
        toxic = {"name": kind, "type": kind, "stream": "downstream", "toxicity": toxicity, "attributes": attributes}
        self._say("POST", "/proxies/registry/toxics", toxic)

    def _say(self, method: str, path: str, body: Any = None) -> None:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self._toxiproxy + path, data, method=method)
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=10):
            pass

    def lay(self) -> None:
        """Lead the line to the registry, wherever that is now."""
        self._say("POST", "/proxies/registry", {"upstream": f"{models.address()}:443"})

    def begin(self, timeout: float = 30.0) -> None:
        """Wait for toxiproxy, and let clients in."""
        proxy = {"name": "registry", "listen": "0.0.0.0:443", "upstream": f"{models.address()}:443", "enabled": True}
        deadline = time.monotonic() + timeout
        while True:
            try:
                self._say("POST", "/proxies", proxy)
                return
            except urllib.error.HTTPError as error:
                raise RuntimeError(f"toxiproxy refuses the line: {error.read().decode(errors='replace')}") from error
            except OSError as error:
                if time.monotonic() > deadline:
                    raise RuntimeError(f"toxiproxy does not answer: {error}") from error
                time.sleep(0.05)


def up(say: Callable[[str], None]) -> Line:
    """Start a line to the registry of models, which has to run.

    :param say: called with a line before anything that takes long.
    """
    down()
    if models.address() is None:
        raise RuntimeError("the registry of models does not run: call lab.models.up first")
    package = f"github.com/Shopify/toxiproxy/v2/cmd/server@v{TOXIPROXY}"
    toxiproxy = golang.program("toxiproxy", package, "-s -w", say)
    container = docker.from_env().containers.create(
        roots.image("debian-12", roots.REGISTRY, say),
        ["sh", "-c", START],
        name=NAME,
        init=True,
        labels={desk.LABEL: "line"},
        ports={"8474/tcp": ("127.0.0.1", 0), "11434/tcp": ("127.0.0.1", 0)},
        volumes={str(toxiproxy): {"bind": "/toxiproxy", "mode": "ro"}},
    )
    desk.put(container, "/etc/nginx/nginx.conf", NGINX.encode())
    desk.put(container, "/etc/nginx/server.conf", b"")
    container.start()
    line = Line(container)
    line.begin()
    return line


def down() -> None:
    """Remove the line."""
    with suppress(NotFound):
        docker.from_env().containers.get(NAME).remove(force=True)


def address(container: Container) -> str:
    """Return a container's address on Docker's own network."""
    return registry.address(str(container.name)) or ""
