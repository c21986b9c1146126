# SPDX-License-Identifier: GPL-3.0-or-later
"""What a room's screen costs: the same play under llmdesk and under ansible-playbook, its memory, its processor time.

The desks are simulated: connection ``local``, and an action plugin that prints progress as the collection's do. So the
play itself costs as little as it can, and what its watcher costs shows most.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from bench.race import Race
from llmdesk.run import REPOSITORY
from tests.integration.story import room

DESKS = 50
MANY = 200
FORKS = 50
PULL = {"room_pull_seconds": 60, "room_pull_steps": 120}
"""A model that comes in a minute, with two lines a second, as the collection's own pulls have."""

SHORT = {"room_pull_seconds": 20, "room_pull_steps": 40}

OURS = """
import resource, sys
from tests.integration.story import room
from pathlib import Path
from llmdesk.commands import plays
from llmdesk.screen.live import LiveScreen
from llmdesk.story import Story
from rich.console import Console
class Blind:
    story = Story()
    def begin(self, play): pass
    def show(self, event): pass
    def end(self, outcome): pass
    def abandon(self): pass
wanted = room(Path(sys.argv[1]), int(sys.argv[2]), "host_pinned", forks=50, **eval(sys.argv[3]))
console = Console(file=open("/dev/null", "w"), force_terminal=True, width=200, height=60, highlight=False)
try:
    plays.finish(wanted, LiveScreen(False, console) if sys.argv[4] == "live" else Blind())
finally:
    used = resource.getrusage(resource.RUSAGE_SELF)
    print(used.ru_utime + used.ru_stime, used.ru_maxrss, file=sys.stderr)
"""


def _ours(folder: Path, desks: int, screen: str, **variables: float) -> tuple[float, float, float]:
    """Return the seconds that a room takes under llmdesk, and its own processor seconds and peak of memory in MiB.

    :param screen: ``live``, or ``none`` for nobody who watches.
    """
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", OURS, str(folder), str(desks), repr(variables), screen],
        cwd=REPOSITORY,
        env={**os.environ, "XDG_STATE_HOME": str(folder / "state")},
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    took = time.monotonic() - began
    processor, memory = done.stderr.split()[-2:]
    return took, float(processor), int(memory) / 1024


def _theirs(folder: Path, desks: int, **variables: float) -> float:
    """Return the seconds that the same play takes under ansible-playbook."""
    wanted = room(folder, desks, "host_pinned", forks=FORKS, **variables)
    began = time.monotonic()
    subprocess.run(
        [str(Path(sys.executable).with_name("ansible-playbook")), *wanted.arguments()],
        cwd=REPOSITORY,
        env={**os.environ, "LLMDESK_PROGRESS": "json", "LLMDESK_RECORDS": ""},
        stdout=subprocess.DEVNULL,
        check=False,
    )
    return time.monotonic() - began


def table(turns: int, say: Callable[[str], None]) -> str:
    """Measure and return rows."""
    ours, theirs, shares, screens, memory = [], [], [], [], []
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for turn in range(turns):
            say(f"{DESKS} desks, turn {turn + 1} of {turns}")
            theirs.append(_theirs(folder, DESKS, **PULL))
            took, processor, used = _ours(folder, DESKS, "live", **PULL)
            ours.append(took)
            shares.append(100 * processor / took)
            _took, unseen, _used = _ours(folder, DESKS, "none", **PULL)
            screens.append(100 * (processor - unseen) / took)
            memory.append(used)
        say(f"{MANY} desks")
        _took, _processor, much = _ours(folder, MANY, "live", **SHORT)
    race = Race(f"`llmdesk`, {DESKS} desks that pull", "`ansible-playbook`, the same play", ours, theirs, 1.05)
    rows = [
        race.row(),
        f"| processor time with the screen less that without it, of the run | {max(screens):.1f} % | | | | ≤ 5 % |",
        f"| the same of all of `llmdesk`, with ansible-runner in it | {max(shares):.1f} % | | | | |",
        f"| peak of the controller's memory, {DESKS} desks | {max(memory):.0f} MiB | | | | |",
        f"| the same, {MANY} desks | {much:.0f} MiB | | | | ≤ 300 MiB |",
    ]
    return "\n".join(rows)
