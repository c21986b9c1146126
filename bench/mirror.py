# SPDX-License-Identifier: GPL-3.0-or-later
"""Measures what a mirror costs: bytes over the WAN, and its throughput beside that of a plain nginx.

The mirror is a machine that the role ``model_mirror`` has made one; what it fetches comes from the lab's registry,
which counts what it sends. Desks are requests of this machine, all at the same time, for a model that the mirror has
not seen.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

from ansible_collections.llmdesk.workstation.plugins.plugin_utils.mirrors import authority_file
from docker.models.containers import Container

from lab import desk, models
from tests.machine import Machine

NAME = "llmdesk-bench-mirror"
PORT, PLAIN = 5443, 9443
MODEL = "library/bench:1"
STATE, CONFIG = "/var/lib/llmdesk-mirror", "/etc/llmdesk/mirror"
NGINX = f"""
user www-data;
pid /run/plain.pid;
events {{}}
http {{
    sendfile on;
    tcp_nopush on;
    server {{
        listen {PLAIN} ssl;
        ssl_certificate {CONFIG}/tls.crt;
        ssl_certificate_key {CONFIG}/tls.key;
        root {STATE}/store;
    }}
}}
"""


class Mirror:
    """The machine, and a blob that its registry has."""

    def __init__(self, container: Container, address: str, digest: str, size: int) -> None:
        self._container = container
        self._address = address
        self._digest = digest
        self._size = size
        self._model = f"https://{address}:{PORT}/v2/library/bench/blobs/sha256:{digest}"

    def copies(self, desks: int) -> float:
        """Return how many copies come over the WAN when so many desks want what nobody has asked for yet."""
        desk.run(self._container, f"find {STATE}/cache {STATE}/store -type f -delete")
        models.forget()
        running = [self._fetch(self._model) for _desk in range(desks)]
        if any(process.wait() for process in running):
            raise RuntimeError(f"not every one of {desks} desks got the model from the mirror")
        return sum(asked.sent for asked in models.asked() if "/blobs/" in asked.path) / self._size

    def keep(self) -> None:
        """Verify what has come and put it into the store, as the mirror's timer does."""
        desk.run(self._container, "systemctl start llmdesk-mirror-keep")
        desk.run(self._container, f"test -e {STATE}/store/blobs/sha256-{self._digest}")

    def hit(self) -> float:
        """Return the seconds that a blob of the store takes."""
        return self._timed(self._model)

    def plain(self) -> float:
        """Return the seconds that the same file takes from an nginx that does nothing else, with the same TLS."""
        return self._timed(f"https://{self._address}:{PLAIN}/blobs/sha256-{self._digest}")

    def _timed(self, url: str) -> float:
        began = time.perf_counter()
        if self._fetch(url).wait():
            raise RuntimeError(f"{url} could not be fetched")
        return time.perf_counter() - began

    def _fetch(self, url: str) -> subprocess.Popen[bytes]:
        command = ["curl", "--silent", "--fail", "--noproxy", "*", "--cacert", str(authority_file(self._address))]
        return subprocess.Popen([*command, "--output", "/dev/null", url])


@contextmanager
def mirror(file: Path, say: Callable[[str], None]) -> Iterator[Mirror]:
    """Make a mirror, and a registry that has a model with this file.

    :raises RuntimeError: the role has failed.
    """
    with tempfile.TemporaryDirectory() as name, patch.dict(os.environ, {"XDG_STATE_HOME": f"{name}/state"}):
        desk.destroy(NAME)  # a killed run may have left one
        try:
            models.up(say)
            models.push(MODEL, file)
            layers = models.layers(MODEL)
            digest = max(layers, key=layers.__getitem__)
            container = desk.create(NAME, "debian-12", say=say)
            container.reload()
            desk.run(container, f"echo {models.address()} {models.HOST} {models.ELSEWHERE} >> /etc/hosts")
            address = str(container.attrs["NetworkSettings"]["Networks"]["bridge"]["IPAddress"])
            say("making a mirror")
            upstreams = {models.HOST: PORT}
            made = Machine(container, Path(name)).runs_roles(
                "model_mirror", desk_mirror=address, model_mirror_upstreams=upstreams
            )
            if made.rc:
                raise RuntimeError(f"the mirror could not be made: {made.text[-800:]}")
            desk.put(container, "/etc/plain.conf", NGINX.encode())
            desk.run(container, "nginx -c /etc/plain.conf")
            yield Mirror(container, address, digest, file.stat().st_size)
        finally:
            desk.destroy(NAME)


def tables(turns: int, say: Callable[[str], None], file: Path, rooms: tuple[int, ...]) -> str:
    """Measure, and return two tables."""
    size = file.stat().st_size
    rows = ["| desks that want it at the same time | copies over the WAN | goal |", "|---|---|---|"]
    with mirror(file, say) as measured:
        for desks in rooms:
            say(f"{size / 1e6:.0f} MB over the WAN for {desks} desks")
            rows.append(f"| {desks} | {measured.copies(desks):.3f} | ≤ 1.02 |")
        measured.keep()
        ours: list[float] = []
        theirs: list[float] = []
        for turn in range(turns):
            say(f"{size / 1e6:.0f} MB from mirror and plain nginx, turn {turn + 1} of {turns}")
            theirs.append(measured.plain())
            ours.append(measured.hit())
    mine, plain = (size / statistics.median(seconds) / 1e6 for seconds in (ours, theirs))
    rows += ["", "| a blob that it has | plain nginx | throughput | goal |", "|---|---|---|---|"]
    rows.append(f"| {mine:.0f} MB/s | {plain:.0f} MB/s | {mine / plain:.2f} | ≥ 0.95 |")
    return "\n".join(rows)
