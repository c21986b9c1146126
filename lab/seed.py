# SPDX-License-Identifier: GPL-3.0-or-later
"""A mirror's part in a swarm on a host of a LAN: blobs and torrents by nginx, and a tracker that knows these alone.

The layout is that of the role ``model_mirror``; the torrents are made by the module ``swarm_torrents``, as there.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab.engine import REPOSITORY
from lab.lan import Host

MODULES = REPOSITORY / "collections/ansible_collections/llmdesk/workstation/plugins/modules"
PORT, TRACKER = 8080, 6969
NGINX = """
daemon off;
master_process off;
user root;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{}}
http {{
    access_log {folder}/access.log;
    sendfile on;
    client_body_temp_path {folder}/nginx;
    server {{
        listen {port};
        root {folder}/store;
    }}
}}
"""


@dataclass
class Seed:
    """A mirror that runs.

    :param url: where its store is.
    """

    host: Host
    folder: Path
    url: str
    running: list[subprocess.Popen[str]]

    def stop(self) -> None:
        """End server and tracker, as a restart of the machine does."""
        for process in self.running:
            process.terminate()
            process.wait()
        self.running = []

    def start(self) -> None:
        """Start both, and wait until they answer."""
        quiet: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        self.running = [
            self.host.start("nginx", "-c", str(self.folder / "nginx.conf"), **quiet),
            # Root it refuses to be, and it sees nothing but its folder.
            self.host.start(
                *("opentracker", "-p", str(TRACKER), "-P", str(TRACKER)),
                *("-u", "nobody", "-d", str(self.folder / "tracker"), "-w", "/whitelist"),
                **quiet,
            ),
        ]
        for port in (PORT, TRACKER):
            self._await(port)

    def _await(self, port: int) -> None:
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            with suppress(RuntimeError):
                self.host.run("curl", "--silent", "--noproxy", "*", f"http://127.0.0.1:{port}/")
                return
            time.sleep(0.05)
        raise RuntimeError(f"nobody listens on port {port} of {self.host.name}")


@contextmanager
def serve(host: Host, folder: Path, files: dict[str, Path]) -> Iterator[Seed]:
    """Run a mirror's part.

    :param folder: where it keeps everything, made here; its folder ``store`` is what it serves.
    :param files: blobs, the sha256 of each in hex and its file, which is linked if that can be.
    """
    store = folder / "store"
    for path in (store / "blobs", folder / "tracker"):
        path.mkdir(parents=True)
    for digest, file in files.items():
        kept = store / "blobs" / f"sha256-{digest}"
        try:
            kept.hardlink_to(file)
        except OSError:
            shutil.copyfile(file, kept)
    (folder / "nginx.conf").write_text(NGINX.format(folder=folder, port=PORT))
    url = f"http://{host.name}:{PORT}"
    tracker = f"http://{host.name}:{TRACKER}/announce"
    torrents(store=str(store), url=url, announce=tracker, whitelist=str(folder / "tracker" / "whitelist"))
    seed = Seed(host, folder, url, [])
    try:
        seed.start()
        yield seed
    finally:
        seed.stop()


def torrents(**arguments: str) -> dict[str, Any]:
    """Run the module ``swarm_torrents``, and return what it says."""
    done = subprocess.run(
        [sys.executable, str(MODULES / "swarm_torrents.py")],
        input=json.dumps({"ANSIBLE_MODULE_ARGS": arguments}),
        env={**os.environ, "PYTHONPATH": str(REPOSITORY / "collections")},
        capture_output=True,
        text=True,
        check=False,
    )
    result: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    if result.get("failed"):
        raise RuntimeError(result["msg"])
    return result
