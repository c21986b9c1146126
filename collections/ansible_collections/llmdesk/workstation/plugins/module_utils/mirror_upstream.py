# SPDX-License-Identifier: GPL-3.0-or-later
"""A mirror's way out. Runs on the mirror as a program of its own, behind nginx, which caches what it answers.

nginx can neither go through a proxy nor sign in to a registry, and looks names up past ``/etc/hosts``. So this stands
between nginx and the registries: it goes through the machine's proxy, trusts what the machine trusts, fetches the token
that a registry has for everybody, follows it to another host for the blobs, comes back when it was told to, and carries
on where a line broke. What it does not do is keep anything.
"""

from __future__ import annotations

import base64
import http.client
import json
import os
import re
import socket
import socketserver
import ssl
import sys
import threading
import time
import urllib.parse
import urllib.request
from http.server import BaseHTTPRequestHandler
from typing import Any

BLOB = re.compile(r"^/v2/.+/blobs/(sha256:[0-9a-f]{64})$")
ASKED = ("Accept", "If-Modified-Since", "If-None-Match", "Range")
ANSWERED = ("Content-Type", "Content-Length", "Content-Range", "Docker-Content-Digest", "Retry-After")
DATED = ("ETag", "Last-Modified")
BLOCK = 256 * 1024
CONNECT = 4.0
"""Seconds that a registry may take to answer; a desk that asks the mirror waits five."""
STALL = 30.0
"""Seconds that a registry may be silent in the middle of a blob."""
PATIENCE = 150.0
"""Seconds without a byte after which a blob is given up: a line may be cut for two minutes."""
BUSY = (429, 500, 502, 503, 504)
REDIRECTS = (301, 302, 303, 307, 308)
LONGEST_WAIT = 10.0
IDLE = 8
_CHALLENGE = re.compile(r'(\w+)="([^"]*)"')


class Refused(Exception):
    """A registry leads somewhere that nobody should follow."""


class Left(Exception):
    """Who has asked is no longer there."""


class Lines:
    """Connections to registries, kept open: a blob is asked for in hundreds of pieces."""

    def __init__(self) -> None:
        self._context = ssl.create_default_context()
        # Authorities of companies leave out what Python wants from 3.13 on, and hardly anybody else does.
        self._context.verify_flags &= ~ssl.VERIFY_X509_STRICT
        self._idle: dict[str, list[http.client.HTTPSConnection]] = {}
        self._lock = threading.Lock()

    def ask(
        self, method: str, url: str, headers: dict[str, str]
    ) -> tuple[http.client.HTTPResponse, http.client.HTTPSConnection]:
        """Return an answer, and the connection to hand back by :meth:`keep` when it is read to its end.

        :raises OSError: nobody answers.
        """
        parts = urllib.parse.urlsplit(url)
        if parts.scheme != "https" or not parts.netloc:
            raise Refused(f"it leads to {parts.scheme}://{parts.netloc}, and only https is followed")
        path = urllib.parse.urlunsplit(("", "", parts.path or "/", parts.query, ""))
        while True:
            with self._lock:
                idle = self._idle.get(parts.netloc)
                kept = idle.pop() if idle else None
            line = kept or self._open(parts)
            try:
                line.request(method, path, headers={**headers, "Accept-Encoding": "identity"})
                answer = line.getresponse()
            except (OSError, http.client.HTTPException):
                line.close()
                if kept:
                    continue  # The other side has closed it meanwhile.
                raise
            if line.sock:
                line.sock.settimeout(STALL)
            return answer, line

    def keep(self, url: str, answer: http.client.HTTPResponse, line: http.client.HTTPSConnection) -> None:
        """Take a connection back whose answer has been read."""
        host = urllib.parse.urlsplit(url).netloc
        with self._lock:
            idle = self._idle.setdefault(host, [])
            if not answer.isclosed() or line.sock is None or len(idle) >= IDLE:
                line.close()
            else:
                line.sock.settimeout(CONNECT)
                idle.append(line)

    def _open(self, parts: urllib.parse.SplitResult) -> http.client.HTTPSConnection:
        through = urllib.request.getproxies().get("https")
        if not through or urllib.request.proxy_bypass(parts.hostname or ""):
            return http.client.HTTPSConnection(parts.netloc, timeout=CONNECT, context=self._context)
        proxy = urllib.parse.urlsplit(through)
        line = http.client.HTTPSConnection(
            proxy.hostname or "", proxy.port or 3128, timeout=CONNECT, context=self._context
        )
        opened = {}
        if proxy.username:
            known = f"{urllib.parse.unquote(proxy.username)}:{urllib.parse.unquote(proxy.password or '')}"
            opened["Proxy-Authorization"] = "Basic " + base64.b64encode(known.encode()).decode()
        line.set_tunnel(parts.hostname or "", parts.port or 443, opened)
        return line


class Registry:
    """One registry."""

    def __init__(self, host: str, lines: Lines) -> None:
        self.host = host
        self._lines = lines
        self._tokens: dict[str, tuple[str, float]] = {}
        self.bytes = 0
        self.answers: dict[int, int] = {}

    def ask(
        self, method: str, path: str, headers: dict[str, str]
    ) -> tuple[http.client.HTTPResponse, http.client.HTTPSConnection, str]:
        """Return an answer that is neither a redirect nor asks for a token; the connection; and its address."""
        scope = "/".join(path.split("/")[2:-2])
        url = f"https://{self.host}{path}"
        for _hop in range(6):
            sent = dict(headers)
            token, ends = self._tokens.get(scope, ("", 0.0))
            if urllib.parse.urlsplit(url).netloc == self.host and token and time.monotonic() < ends:
                sent["Authorization"] = f"Bearer {token}"
            answer, line = self._lines.ask(method, url, sent)
            self.answers[answer.status] = self.answers.get(answer.status, 0) + 1
            challenge = answer.headers.get("WWW-Authenticate") or ""
            if answer.status == 401 and "Authorization" not in sent and challenge.lower().startswith("bearer"):
                answer.read()
                self._lines.keep(url, answer, line)
                self._tokens[scope] = self._token(challenge)
            elif answer.status in REDIRECTS and answer.headers.get("Location"):
                answer.read()
                self._lines.keep(url, answer, line)
                url = urllib.parse.urljoin(url, answer.headers["Location"])
            else:
                return answer, line, url
        raise Refused("it leads from place to place without end")

    def _token(self, challenge: str) -> tuple[str, float]:
        asked = dict(_CHALLENGE.findall(challenge))
        url = f"{asked.pop('realm', '')}?{urllib.parse.urlencode(asked)}"
        answer, line = self._lines.ask("GET", url, {})
        body = answer.read()
        self._lines.keep(url, answer, line)
        try:
            given: Any = json.loads(body)
            token, lasts = given.get("token") or given.get("access_token") or "", float(given.get("expires_in") or 60)
        except (ValueError, AttributeError):
            return "", 0.0
        return str(token), time.monotonic() + lasts * 0.9

    def keep(self, url: str, answer: http.client.HTTPResponse, line: http.client.HTTPSConnection) -> None:
        """Take a connection back whose answer has been read."""
        self._lines.keep(url, answer, line)


class Handler(BaseHTTPRequestHandler):
    """Answers nginx."""

    server: Server
    protocol_version = "HTTP/1.0"

    def do_HEAD(self) -> None:
        """Answer without a body."""
        self.do_GET()

    def do_GET(self) -> None:
        """Pass on what a registry answers."""
        if self.path == "/metrics":
            return self._metrics()
        registry = self.server.registries.get(self.headers.get("Host") or "")
        if registry is None:
            return self._fail(404, "no such registry here")
        headers = {name: self.headers[name] for name in ASKED if name in self.headers}
        try:
            if BLOB.match(self.path):
                self._blob(registry, headers)
            else:
                self._plain(registry, headers)
        except Left:
            self.close_connection = True
        except Refused as error:
            self._fail(502, f"{registry.host}{self.path}: {error}")
        except (OSError, http.client.HTTPException) as error:
            self._fail(504, f"{registry.host}{self.path}: {error or type(error).__name__}")
        return None

    def _plain(self, registry: Registry, headers: dict[str, str]) -> None:
        answer, line, url = registry.ask(self.command, self.path, headers)
        body = answer.read()
        registry.bytes += len(body)
        registry.keep(url, answer, line)
        self._head(answer, {name: answer.headers[name] for name in DATED if answer.headers.get(name)})
        self._write(body)

    def _blob(self, registry: Registry, headers: dict[str, str]) -> None:
        """Pass a blob on, or a piece of it, and carry on where the line breaks."""
        sent, wanted, begun = 0, None, False
        first, last = _range(headers.get("Range"))
        given_up = time.monotonic() + PATIENCE
        wait = 0.5
        while True:
            piece = dict(headers)
            if sent:
                piece["Range"] = f"bytes={first + sent}-{'' if last is None else last}"
            try:
                answer, line, url = registry.ask(self.command, self.path, piece)
                if answer.status in BUSY and time.monotonic() < given_up:
                    wait = _seconds(answer.headers.get("Retry-After"), wait)
                    answer.read()
                    registry.keep(url, answer, line)
                    raise ConnectionError(f"HTTP {answer.status}")
                if begun and answer.status != 206:
                    line.close()
                    raise Refused(f"HTTP {answer.status} in the middle of a blob")
                if not begun:
                    digest = BLOB.match(self.path)
                    self._head(answer, {"ETag": f'"{digest[1]}"'} if digest else {})
                    begun, wanted = True, answer.length
                while self.command == "GET":
                    block = answer.read(BLOCK)
                    if not block:
                        break
                    registry.bytes += len(block)
                    self._write(block)
                    sent += len(block)
                    given_up, wait = time.monotonic() + PATIENCE, 0.5
                if self.command == "GET" and wanted is not None and sent < wanted:
                    raise ConnectionError("the answer broke off")
                registry.keep(url, answer, line)
                return
            except (OSError, http.client.HTTPException) as error:
                if time.monotonic() + wait > given_up:
                    if begun:
                        self.log_message("%s%s broke off: %s", registry.host, self.path, error)
                        raise Left from error
                    raise
                time.sleep(wait)
                wait = min(wait * 2, LONGEST_WAIT)

    def _head(self, answer: http.client.HTTPResponse, more: dict[str, str]) -> None:
        self.send_response_only(answer.status)
        for name in ANSWERED:
            if answer.headers.get(name):
                self.send_header(name, answer.headers[name])
        for name, value in more.items():
            self.send_header(name, value)
        try:
            self.end_headers()
        except OSError as error:
            raise Left from error

    def _write(self, block: bytes) -> None:
        try:
            self.wfile.write(block)
        except OSError as error:
            raise Left from error

    def _fail(self, status: int, why: str) -> None:
        self.log_message("%s", why)
        body = json.dumps({"errors": [{"code": "UNAVAILABLE", "message": why}]}).encode()
        try:
            self.send_response_only(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
        except OSError:
            self.close_connection = True

    def _metrics(self) -> None:
        body = "".join(self.server.metrics()).encode()
        self.send_response_only(200)
        self.send_header("Content-Type", "text/plain; version=0.0.4")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self._write(body)

    def address_string(self) -> str:
        """Return who has asked: nginx, by a socket that has no address."""
        return "nginx"

    def log_message(self, format: str, *args: Any) -> None:
        """Say something to the journal, which knows the time."""
        print(format % args, file=sys.stderr, flush=True)


class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    """Listens on a socket that only nginx may open."""

    daemon_threads = True
    request_queue_size = 256

    def __init__(self, path: str, hosts: list[str], store: str) -> None:
        lines = Lines()
        self.registries = {host: Registry(host, lines) for host in hosts}
        self._store = store
        if os.path.exists(path):
            os.unlink(path)
        super().__init__(path, Handler)
        os.chmod(path, 0o660)

    def metrics(self) -> list[str]:
        """Return what a Prometheus reads."""
        lines = ["# TYPE llmdesk_mirror_upstream_bytes_total counter\n"]
        for host, registry in self.registries.items():
            lines.append(f'llmdesk_mirror_upstream_bytes_total{{upstream="{host}"}} {registry.bytes}\n')
        lines.append("# TYPE llmdesk_mirror_upstream_answers_total counter\n")
        for host, registry in self.registries.items():
            for status, count in sorted(registry.answers.items()):
                labels = f'upstream="{host}",status="{status}"'
                lines.append(f"llmdesk_mirror_upstream_answers_total{{{labels}}} {count}\n")
        blobs = [entry.stat().st_size for entry in os.scandir(self._store) if not entry.name.startswith(".")]
        lines.append(f"# TYPE llmdesk_mirror_store_bytes gauge\nllmdesk_mirror_store_bytes {sum(blobs)}\n")
        lines.append(f"# TYPE llmdesk_mirror_store_blobs gauge\nllmdesk_mirror_store_blobs {len(blobs)}\n")
        return lines


def _range(said: str | None) -> tuple[int, int | None]:
    """Return the first byte that is wanted, and the last, None for the end."""
    found = re.match(r"^bytes=(\d+)-(\d*)$", said or "")
    return (int(found[1]), int(found[2]) if found[2] else None) if found else (0, None)


def _seconds(said: str | None, otherwise: float) -> float:
    try:
        return min(LONGEST_WAIT, max(0.1, float(said or otherwise)))
    except ValueError:
        return otherwise


def main() -> None:
    path, store, *hosts = sys.argv[1:]
    socket.setdefaulttimeout(STALL)
    Server(path, hosts, store).serve_forever()


if __name__ == "__main__":
    main()
