"""Measures what the module ``ollama_model`` costs: time, processor and memory, with Ollama's own pull beside it.

Registry and server are the lab's. The module runs on this machine as a process of its own, as Ansible starts it on a
desk; ``ollama pull`` runs where the server is. They pull in turn, from the same registry to the same server, which has
nothing before; who begins changes from turn to turn.
"""

from __future__ import annotations

import hashlib
import json
import os
import statistics
import struct
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.race import Race
from lab import desk, models, registry
from lab import image as built
from lab.engine import REPOSITORY
from tests.integration.rig import Ollama, on_a_desk, serve

NAME = "llmdesk-bench-models"
SMALL = "library/gemma3:270m"
LARGE = "library/zeros:10g"
LARGE_SIZE = 10_000_000_000
# GGUF 3 with no tensor and one value, a string (8) that names its architecture: less would be no model to Ollama.
KEY, TEXT = b"general.architecture", b"llama"
HEAD = struct.pack(f"<4sIQQQ{len(KEY)}sIQ{len(TEXT)}s", b"GGUF", 3, 0, 1, len(KEY), KEY, 8, len(TEXT), TEXT)
RATE = "4m"
"""Of each of the three connections that Ollama makes for the small one: together a line of 100 Mbit/s."""
LOOKS = 20
"""How often a model that is there is looked at: that is over in no time."""

# The module as its own program is, with a clock around it, and what the kernel remembers of its memory.
INSIDE = """
import json, re, sys, time
from ansible_collections.llmdesk.workstation.plugins.modules import ollama_model
began = time.perf_counter()
try:
    ollama_model.main()
except SystemExit:
    inside = time.perf_counter() - began
    with open("/proc/self/status") as file:
        peak = int(re.search(r"^VmHWM:\\s*([0-9]+) kB$", file.read(), re.MULTILINE)[1]) * 1024
    print(json.dumps({"inside": inside, "cpu": time.process_time(), "memory": peak}), file=sys.stderr)
"""


@dataclass(frozen=True)
class Cost:
    """What a run of the module cost: seconds as a whole, inside of it, of the processor; bytes of memory at most."""

    seconds: float
    inside: float
    cpu: float
    memory: int


class Bench:
    """A registry with models, a server without any, and the two that pull."""

    def __init__(self, server: Ollama, folder: Path) -> None:
        self._server = server
        self._folder = folder
        self._inside = on_a_desk(folder, str(models.address()))
        # What the action plugin touches while it waits; nobody does it here, so it is good for a day.
        lease = folder / "progress.lease"
        lease.touch()
        os.utime(lease, (time.time() + 86400,) * 2)

    def forget(self) -> None:
        """Take everything from the server, and let the disk come to rest."""
        self._server.forget()
        os.sync()

    def module(self, name: str) -> Cost:
        """Hold a model with the module, and return what that cost."""
        given = {
            "name": name,
            "url": self._server.url,
            "models_dir": str(self._server.store),
            "progress_file": str(self._folder / "progress"),
            "_ansible_remote_tmp": str(self._folder),
        }
        began = time.monotonic()
        finished = subprocess.run(
            [*self._inside, sys.executable, "-c", INSIDE],
            input=json.dumps({"ANSIBLE_MODULE_ARGS": given}),
            env={
                **os.environ,
                "HOME": str(self._folder),
                "PYTHONPATH": str(REPOSITORY / "collections"),
            },
            capture_output=True,
            text=True,
            check=False,
        )
        seconds = time.monotonic() - began
        result = json.loads(finished.stdout.strip().splitlines()[-1])
        if result.get("failed") or name not in self._server.models():
            raise RuntimeError(f"the module did not bring {name}: {result.get('msg')}")
        return Cost(seconds=seconds, **json.loads(finished.stderr.strip().splitlines()[-1]))

    def ollama_pull(self, name: str) -> float:
        """Pull a model with Ollama's own command, and return the seconds that it took where the server is."""
        timed = f"began=$(date +%s%N); ollama pull {name} > /dev/null 2>&1 || exit; echo $(($(date +%s%N) - began))"
        return int(desk.run(self._server.container, timed)) / 1e9

    def race(self, name: str, turns: int) -> tuple[list[Cost], list[float]]:
        """Let both pull a model in turn, and return what it cost the module, and the seconds of the other."""
        ours: list[Cost] = []
        theirs: list[float] = []
        both: list[Callable[[], None]] = [
            lambda: ours.append(self.module(name)),
            lambda: theirs.append(self.ollama_pull(name)),
        ]
        for turn in range(turns):
            for pull in both if turn % 2 else reversed(both):
                self.forget()
                pull()
        return ours, theirs


def table(turns: int, say: Callable[[str], None]) -> str:
    """Measure, and return the rows.

    :param turns: how often each side pulls.
    :param say: called with a line before anything that takes long.
    """
    with _bench(say) as bench:
        small, large = f"{models.HOST}/{SMALL}", f"{models.HOST}/{LARGE}"
        say(f"pulling {small} over a line of 100 Mbit/s, {turns} turns")
        models.limit(RATE)
        ours, theirs = bench.race(small, turns)
        say(f"pulling {small} as fast as this machine can, {turns} turns")
        models.limit(None)
        fast, fast_theirs = bench.race(small, turns)
        say(f"looking at {small}, which is there, {LOOKS} times")
        bench.module(small)
        looks = [bench.module(small) for _look in range(LOOKS)]
        say(f"pulling {large}")
        bench.forget()
        whole = bench.module(large)
        bench.forget()
    what = "`ollama_model`, a pull of 253 MB"
    rows = [
        Race(f"{what} over 100 Mbit/s", "`ollama pull`", [turn.seconds for turn in ours], theirs, 1.02).row(),
        Race(f"{what} without a limit", "`ollama pull`", [turn.seconds for turn in fast], fast_theirs).row(),
        _row("processor time in the first of them", [turn.cpu for turn in ours], "s", 2),
        _row("peak of its memory there", [turn.memory / 2**20 for turn in ours], "MiB", 1, "≤ 60 MiB"),
        _row("peak of its memory in a pull of 10 GB", [whole.memory / 2**20], "MiB", 1, "≤ 60 MiB"),
        _row("the same pull's processor time", [whole.cpu], "s", 2),
        _row(
            "a model that is there, time inside the module", [look.inside * 1e3 for look in looks], "ms", 0, "≤ 30 ms"
        ),
    ]
    return "\n".join(rows)


def _row(what: str, figures: list[float], unit: str, digits: int, goal: str = "") -> str:
    middle = f"{statistics.median(figures):.{digits}f} {unit}"
    spread = f" ({min(figures):.{digits}f} to {max(figures):.{digits}f})" if len(figures) > 1 else ""
    return f"| {what} | {middle}{spread} | | | | {goal} |"


@contextmanager
def _bench(say: Callable[[str], None]) -> Iterator[Bench]:
    image, weights = built.image(say), models.larger(say)
    models.down()  # a killed run may have left one
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        try:
            models.up(say)
            say("filling the registry of models")
            models.push(SMALL, weights)
            _push_zeros(folder)
            # Nothing goes wrong here, so no line stands before the registry.
            with serve(NAME, image, str(models.address()), folder) as server:
                yield Bench(server, folder)
        finally:
            models.down()


def _push_zeros(folder: Path) -> None:
    """Put a model of almost nothing but zeros into the registry: a file with holes, which costs its disk nothing."""
    stub = folder / "stub"
    stub.write_bytes(HEAD)
    models.push(LARGE, stub)
    repository, _colon, tag = LARGE.partition(":")
    url = f"http://{registry.push_address(models.NAME)}/v2/{repository}/manifests/{tag}"
    manifest = json.loads(_ask(urllib.request.Request(url, headers={"Accept": models.MANIFEST})))
    digest = _digest(HEAD, LARGE_SIZE)
    files = "/var/lib/registry/docker/registry/v2"
    blob = f"{files}/blobs/sha256/{digest[:2]}/{digest}"
    link = f"{files}/repositories/{repository}/_layers/sha256/{digest}"
    container = models.up(lambda _text: None)
    desk.run(container, f"mkdir -p {blob} {link} && printf sha256:{digest} > {link}/link")
    desk.put(container, f"{blob}/data", HEAD)
    desk.run(container, f"truncate -s {LARGE_SIZE} {blob}/data")
    manifest["layers"][0].update(digest=f"sha256:{digest}", size=LARGE_SIZE)
    _ask(urllib.request.Request(url, json.dumps(manifest).encode(), {"Content-Type": models.MANIFEST}, method="PUT"))


def _digest(head: bytes, size: int) -> str:
    """Return the sha256 of a file of this size that has nothing but zeros after its head."""
    hashed, left = hashlib.sha256(head), size - len(head)
    block = bytes(min(1_000_000, left))
    while left:
        hashed.update(block[:left])
        left -= min(left, len(block))
    return hashed.hexdigest()


def _ask(request: urllib.request.Request) -> bytes:
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=60) as response:
        return bytes(response.read())
