# SPDX-License-Identifier: GPL-3.0-or-later
"""Small real servers, on loopback and on a unix socket, that replay what a real one has said."""

from __future__ import annotations

import json
import socketserver
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Reply:
    """One answer.

    ``lines`` are sent as chunks, as Ollama and Docker stream; ``cut`` closes the connection before the end of the
    answer; ``silent`` never says the rest of it.
    """

    status: int = 200
    body: str = ""
    lines: tuple[str, ...] | None = None
    cut: bool = False
    silent: bool = False


def as_json(value: Any, status: int = 200) -> Reply:
    return Reply(status, json.dumps(value))


def streamed(path: Path, cut: bool = False) -> Reply:
    """Return a captured stream, line by line."""
    return Reply(lines=tuple(path.read_text().splitlines(keepends=True)), cut=cut)


Answer = Reply | Callable[[Any], Reply]


class Asked:
    """What a server was asked, and what it answers to ``METHOD path``."""

    answers: dict[str, Answer]
    asked: list[tuple[str, Any]]
    unknown: Reply
    over: threading.Event


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Any

    def respond(self) -> None:
        body = self._body()
        key = f"{self.command} {self.path}"
        self.server.asked.append((key, body))
        answer = self.server.answers.get(key, self.server.unknown)
        reply: Reply = answer(body) if callable(answer) else answer
        self.send_response(reply.status)
        if reply.lines is not None:
            self._stream(reply)
        else:
            self._whole(reply)
        self.wfile.flush()
        if reply.silent:
            self.server.over.wait()
        self.close_connection = reply.cut or self.close_connection

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") == "chunked":
            chunks = b""
            while size := int(self.rfile.readline(), 16):
                chunks += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return chunks
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def _whole(self, reply: Reply) -> None:
        data = reply.body.encode()
        more = 1 if reply.cut or reply.silent else 0
        self.send_header("Content-Length", str(len(data) + more))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def _stream(self, reply: Reply) -> None:
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for line in reply.lines or ():
            self.wfile.write(f"{len(line.encode()):x}\r\n{line}\r\n".encode())
        if not reply.cut and not reply.silent:
            self.wfile.write(b"0\r\n\r\n")

    do_GET = do_POST = do_DELETE = do_HEAD = respond

    def log_message(self, *_arguments: Any) -> None:
        pass


class Loopback(ThreadingHTTPServer, Asked):
    daemon_threads = True

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class UnixSocket(socketserver.ThreadingUnixStreamServer, Asked):
    daemon_threads = True


@contextmanager
def serving(server: Any, answers: dict[str, Answer], unknown: Reply) -> Iterator[Any]:
    server.answers, server.asked, server.unknown, server.over = answers, [], unknown, threading.Event()
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.over.set()
        server.shutdown()
        server.server_close()


@contextmanager
def loopback(answers: dict[str, Answer]) -> Iterator[Loopback]:
    """Serve on a free port of loopback."""
    with serving(Loopback(("127.0.0.1", 0), Handler), answers, Reply(404, "404 page not found")) as server:
        yield server


@contextmanager
def docker_socket(path: Path, answers: dict[str, Answer]) -> Iterator[UnixSocket]:
    """Serve on a unix socket, and say what Docker says to a path it does not know."""
    unknown = as_json({"message": "page not found"}, 404)
    with serving(UnixSocket(str(path), Handler), answers, unknown) as server:
        yield server
