# SPDX-License-Identifier: GPL-3.0-or-later
"""Measures how a model spreads over a LAN: from one web server, and from desk to desk.

Hosts are network namespaces with a port of 100 Mbit/s each. nginx is one host, and the same nginx with a tracker is the
web seed of the swarm; desks run curl, or aria2 with the options that they have in the role ``swarm``. Nothing is
installed, verified by sha256 or loaded: that costs the same on both sides.

All hosts share this machine's processor, which real desks do not. A figure is worth something as long as that was not
at its limit, so its share stands beside it.
"""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pygal
from ansible_collections.llmdesk.workstation.plugins.module_utils import swarm

from bench.chart import look
from bench.mirror import tables as mirror_tables
from lab import models, roots, wan
from lab.engine import REPOSITORY
from lab.lan import Host, lan
from lab.seed import serve

PREFIX = "llmdesk-bench"
HEAD = (
    "| desks | from | until all have it | copies at a port's speed | goal | copies sent by the mirror | processor |\n"
    "|---|---|---|---|---|---|---|"
)
RATE = "100mbit"
ROOMS = ((4, RATE), (8, RATE), (16, RATE), (4, "50mbit"), (16, "50mbit"))
"""Desks, and the speed of their ports. Two cores carry about a gigabit of a swarm a second: 16 desks at full speed are
held up by them, and show at half of it what a LAN would do."""
HELD = (8, RATE)
"""The room whose swarm is held to 1.5 times one copy."""
WAN = (2, 8, 16)
PATIENCE = 600.0
"""Seconds after which a transfer has failed."""

TITLE = "One model for a room, by the number of desks"
PICTURE = REPOSITORY / "docs/images/fanout.svg"

# The growth model.
GROWTH = (8, 50, 200, 1000)
NEIGHBOURS = 50
"""Peers that the tracker names to a desk that asks, as aria2 wants them."""
PIECES = 241
"""Pieces that the model has in the simulation, one MiB each."""


@dataclass(frozen=True)
class Spread:
    """One transfer: seconds until the last desk had it, copies that the mirror sent, the processor's share."""

    seconds: float
    copies: float
    processor: float


class Room:
    """A mirror with one blob, and desks without."""

    def __init__(self, folder: Path, hosts: dict[str, Host], file: Path, digest: str) -> None:
        self._folder = folder
        self._mirror = hosts["mirror"]
        self._desks = [host for name, host in hosts.items() if name != "mirror"]
        self._size = file.stat().st_size
        self._digest = digest

    def one_server(self) -> Spread:
        """Let every desk fetch the blob from the mirror."""
        url = f"http://mirror:8080/blobs/{swarm.blob(self._digest)}"

        def start(desk: Host, folder: Path) -> subprocess.Popen[str]:
            fetch = ["curl", "--silent", "--fail", "--noproxy", "*", "--output", str(folder / "blob"), url]
            return desk.start("sh", "-c", '"$@" && : > "$0"', str(folder / swarm.DONE), *fetch)

        return self._spread(start, swarm.DONE)

    def swarm(self) -> Spread:
        """Let desks fetch it from the mirror and from each other."""
        torrent = self._folder / "mirror" / "store" / "torrents" / f"{swarm.blob(self._digest)}.torrent"

        def start(desk: Host, folder: Path) -> subprocess.Popen[str]:
            shutil.copy(torrent, folder)
            (folder / "tasks").write_text(swarm.tasks([self._digest]))
            (folder / "hook").write_text(swarm.HOOK)
            (folder / "hook").chmod(0o755)
            command = swarm.command(1, seed_minutes=10, upload_limit="0", address=desk.address)
            quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
            return desk.start(*command, cwd=folder, env=swarm.environment(os.environ["PATH"]), **quiet)

        return self._spread(start, swarm.blob(self._digest) + swarm.DONE)

    def _spread(self, start: Callable[[Host, Path], subprocess.Popen[str]], done: str) -> Spread:
        """Start a transfer on every desk, wait until all are done, and end what is still running."""
        folders = [self._folder / desk.name for desk in self._desks]
        for folder in folders:
            folder.mkdir()
        sent, busy, began = self._mirror.sent(), _busy(), time.monotonic()
        running = [start(desk, folder) for desk, folder in zip(self._desks, folders, strict=True)]
        try:
            while not all((folder / done).exists() for folder in folders):
                if time.monotonic() - began > PATIENCE:
                    raise RuntimeError(f"not every desk had the model after {PATIENCE:.0f} s")
                time.sleep(0.02)
            seconds = time.monotonic() - began
            processor = (_busy() - busy) / seconds / (os.cpu_count() or 1)
            return Spread(seconds, (self._mirror.sent() - sent) / self._size, processor)
        finally:
            for process in running:
                process.kill()
                process.wait()
            for folder in folders:
                shutil.rmtree(folder)


@contextmanager
def room(desks: int, file: Path, digest: str, rate: str = RATE) -> Iterator[Room]:
    """Make a room whose mirror has a blob."""
    names = ["mirror", *(f"desk{number}" for number in range(1, desks + 1))]
    with tempfile.TemporaryDirectory() as name, lan(PREFIX, names, rate) as hosts:
        folder = Path(name)
        folder.chmod(0o755)  # the tracker is nobody in particular
        with serve(hosts["mirror"], folder / "mirror", {digest: file}):
            yield Room(folder, hosts, file, digest)


def _busy() -> float:
    """Return the seconds that the processor has worked since the machine began, all cores together."""
    user, nice, system, _idle, _waits, irq, softirq = map(int, Path("/proc/stat").read_text().split()[1:8])
    return (user + nice + system + irq + softirq) / os.sysconf("SC_CLK_TCK")


def rounds(desks: int, pieces: int, neighbours: int, seed: int) -> int:
    """Return how many times a piece goes over every port until all desks have all of them, simulated.

    Assumptions: all ports are equally fast in both directions, and the switch is never the limit; in one round each
    port sends one piece and receives one; the mirror knows every desk, and a desk as many others as the tracker has
    named; who sends chooses at random among those that lack something it has, and a piece at random; nobody leaves.
    """
    chance = random.Random(seed)
    whole = (1 << pieces) - 1
    have = [0] * desks
    known = [chance.sample(range(desks), min(desks, neighbours)) for _desk in range(desks)]
    count = 0
    while any(held != whole for held in have):
        count += 1
        before = list(have)  # a piece is passed on once it is whole
        served: set[int] = set()
        for sender in chance.sample(range(-1, desks), desks + 1):
            mirror = sender < 0
            held = whole if mirror else before[sender]
            if not held:
                continue
            others = range(desks) if mirror else known[sender]
            wants = [other for other in others if other not in served and held & ~have[other]]
            if wants:
                receiver = chance.choice(wants)
                served.add(receiver)
                have[receiver] |= _any_bit(held & ~have[receiver], pieces, chance)
    return count


def _any_bit(bits: int, width: int, chance: random.Random) -> int:
    above = bits >> (start := chance.randrange(width)) << start
    chosen = above or bits
    return chosen & -chosen


def table(
    turns: int, say: Callable[[str], None], file: Path | None = None, rooms: tuple[tuple[int, str], ...] = ROOMS
) -> str:
    """Measure, simulate, and return the rows, and the tables of :mod:`bench.mirror` below them.

    :param file: the model, that of 253 MB when not given; the others are for a look whether the bench works.
    """
    roots.install("aria2", "curl", "iproute2", "mktorrent", "nginx-light", "opentracker")
    file = file or models.larger(say)
    with file.open("rb") as opened:
        digest = hashlib.file_digest(opened, "sha256").hexdigest()
    size, limit = file.stat().st_size, file.stat().st_size * 8 / wan.bits(RATE)
    rows = []
    lines: dict[str, dict[int, float]] = {}
    for desks, rate in rooms:
        with room(desks, file, digest, rate) as measured:
            if rate == RATE:  # once, since the ports leave it no choice
                say(f"{size / 1e6:.0f} MB to {desks} desks from one server")
                alone = measured.one_server()
                rows.append(_row(desks, "one server", [alone], limit, f"≤ {1.05 * desks:.1f}"))
                lines.setdefault("one server", {})[desks] = alone.seconds / limit
            many = []
            for turn in range(turns):
                say(f"{size / 1e6:.0f} MB to {desks} desks by swarm, turn {turn + 1} of {turns}")
                many.append(measured.swarm())
        way = "swarm" if rate == RATE else f"swarm, ports of {rate}/s"
        one_copy = size * 8 / wan.bits(rate)
        rows.append(_row(desks, way, many, one_copy, "≤ 1.50" if (desks, rate) == HELD else ""))
        lines.setdefault(way, {})[desks] = statistics.median(turn.seconds for turn in many) / one_copy
    for desks in GROWTH:
        say(f"simulating {desks} desks")
        growth = rounds(desks, PIECES, NEIGHBOURS, seed=desks) / PIECES
        rows.append(f"| {desks} | one server, simulated | {desks * limit:.0f} s | {desks:.2f} | | {desks:.1f} | |")
        rows.append(f"| {desks} | swarm, simulated | {growth * limit:.0f} s | {growth:.2f} | | | |")
        lines.setdefault("one server, simulated", {})[desks] = float(desks)
        lines.setdefault("swarm, simulated", {})[desks] = growth
    draw(lines)
    flat = [flatness(way, line) for way, line in lines.items() if way.startswith("swarm") and "simulated" not in way]
    picture = f"![{TITLE}](../docs/images/{PICTURE.name})"
    return "\n".join([*rows, "", *flat, "", picture, "", mirror_tables(turns, say, file, WAN)])


def draw(lines: dict[str, dict[int, float]]) -> None:
    """Write the growth as a picture.

    :param lines: of each way, the time against that of one copy, by the number of desks.
    """
    sizes = sorted({desks for line in lines.values() for desks in line})
    chart = pygal.Line(
        title=TITLE,
        x_title="desks",
        y_title="time against one copy at a port's speed",
        x_labels=[str(desks) for desks in sizes],
        y_labels=(1, 2, 5, 10, 20, 50, 100, 200, 500, 1000),
        range=(1, 1000),
        logarithmic=True,
        **look("#e8590c", "#0b7285", "#5f3dc4", "#ffa94d", "#66d9e8"),
    )
    for name, line in lines.items():
        chart.add(name, [round(line[desks], 2) if desks in line else None for desks in sizes])
    PICTURE.write_text(chart.render())


def flatness(way: str, line: dict[int, float]) -> str:
    """Return in words how much the time of a way depends on the number of desks."""
    mean = statistics.mean(line.values())
    least, most = min(line.values()), max(line.values())
    return (
        f"From {min(line)} to {max(line)} desks, {way}: {least:.2f} to {most:.2f}, which is {least / mean - 1:+.0%} to"
        f" {most / mean - 1:+.0%} of the mean (goal: ± 25 %).\n"
    )


def _row(desks: int, way: str, turns: list[Spread], limit: float, goal: str) -> str:
    """Return a row; ``limit`` is the time of one copy at a port's speed."""
    seconds = [turn.seconds for turn in turns]
    middle = statistics.median(seconds)
    sent = statistics.median(turn.copies for turn in turns)
    processor = max(turn.processor for turn in turns)
    took = f"{middle:.1f} s ({min(seconds):.1f} to {max(seconds):.1f})"
    return f"| {desks} | {way} | {took} | {middle / limit:.2f} | {goal} | {sent:.1f} | {processor:.0%} |"
