"""Measures a second run over rooms of several sizes, against Ansible's own gathering of facts and against pyinfra.

The desks are a room of the lab, reached by ssh as a controller reaches them. Where a size is larger than the room, a
desk stands in the inventory under several names: connections, processes and answers are as many, memory is not.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import venv
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any

import pygal
import yaml

from bench.chart import look
from bench.race import Race
from lab import cache
from lab.engine import REPOSITORY

SIZES = (1, 5, 10, 20, 50)
NAMES_A_DESK = 5
PREFIX = "llmdesk-bench"
PYINFRA = "pyinfra==3.10.0"
DEPLOY = Path(__file__).with_name("pyinfra_deploy.py")
TITLE = "A second run, by the number of desks"
PICTURE = REPOSITORY / "docs/images/second-run.svg"

Say = Callable[[str], None]


@dataclass(frozen=True)
class Turns:
    """What a second run took over some desks, in seconds a turn."""

    desks: int
    site: list[float]
    setup: list[float]
    pyinfra: list[float]

    def rows(self) -> str:
        """Return two rows of the table."""
        what = f"`ansible-playbook site.yml`, {self.desks} desk{'s' if self.desks > 1 else ''}"
        against = (("`ansible -m setup`", self.setup), ("a pyinfra deploy", self.pyinfra))
        return "\n".join(Race(what, name, self.site, theirs, 1.0).row() for name, theirs in against)


class Fleet:
    """Desks that are finished, and what reaches them.

    :param inventory: Ansible's, whose group ``desks`` they are.
    :param folder: for inventories of this bench.
    """

    def __init__(self, inventory: Path, folder: Path) -> None:
        self._folder = folder
        listed = json.loads(tool("ansible-inventory", "-i", str(inventory), "--list"))
        known = listed["_meta"]["hostvars"]
        self.hosts: list[tuple[str, dict[str, Any]]] = [(name, known[name]) for name in listed["desks"]["hosts"]]
        self._pyinfra = pyinfra()

    def names(self, desks: int) -> dict[str, dict[str, Any]]:
        """Return as many names, with the variables of the desks they stand for, and all that is real first."""
        rounds = -(-desks // len(self.hosts))
        if rounds > NAMES_A_DESK:
            raise RuntimeError(f"{desks} names need more than {NAMES_A_DESK} a desk: there are {len(self.hosts)}")
        named = {
            f"{name}-{number}" if number else name: {"ansible_host": name, **variables}
            for number in range(rounds)
            for name, variables in self.hosts
        }
        return dict(list(named.items())[:desks])

    def second_runs(self, desks: int, turns: int, say: Say) -> Turns:
        """Let the three take turns over some desks; who begins changes."""
        hosts = self.names(desks)
        ours, theirs = self._folder / f"{desks}.yml", self._folder / f"{desks}.py"
        ours.write_text(yaml.safe_dump({"desks": {"hosts": hosts}}))
        theirs.write_text(f"hosts = {[(name, reached(variables)) for name, variables in hosts.items()]!r}\n")
        at = ["-i", str(ours), "-f", str(max(desks, 20))]
        tools = {
            "site": lambda: tool("ansible-playbook", "site.yml", *at),
            "setup": lambda: tool("ansible", "desks", "-b", "-m", "ansible.builtin.setup", *at),
            "pyinfra": lambda: run([str(self._pyinfra), "-y", str(theirs), str(DEPLOY)]),
        }
        took: dict[str, list[float]] = {name: [] for name in tools}
        for turn in range(turns + 1):  # the first warms all of them up, and nobody measures it
            say(f"second run of {desks}, turn {turn} of {turns}")
            for name in list(tools)[turn % len(tools) :] + list(tools)[: turn % len(tools)]:
                began = monotonic()
                said = tools[name]()
                if turn:
                    took[name].append(monotonic() - began)
                if name == "site" and said.count("changed=0 ") != desks:
                    raise RuntimeError(f"a second run changed something:\n{said[-2000:]}")
        return Turns(desks, **took)


def reached(variables: dict[str, Any]) -> dict[str, Any]:
    """Return how pyinfra reaches a host, out of Ansible's variables."""
    options = str(variables.get("ansible_ssh_common_args", "")).replace("-o ", "").split()
    known = dict(option.split("=", 1) for option in options if "=" in option)
    return {
        "ssh_hostname": variables["ansible_host"],
        "ssh_user": variables.get("ansible_user"),
        "ssh_port": int(variables.get("ansible_port", 22)),
        "ssh_key": variables.get("ansible_ssh_private_key_file"),
        "ssh_known_hosts_file": known.get("UserKnownHostsFile", str(Path("~/.ssh/known_hosts").expanduser())),
        "ssh_strict_host_key_checking": "accept-new",
    }


def tool(name: str, *arguments: str, ends: int = 0) -> str:
    """Run one of Ansible's programs in the checkout and return what it said."""
    return run([str(Path(sys.executable).with_name(name)), *arguments], ends)


def run(command: list[str], ends: int = 0) -> str:
    """Run a command in the checkout and return what it said.

    Python keeps its byte code, as on a machine of a person who has run it once.

    :param ends: the exit code that is expected.
    :raises RuntimeError: it ended otherwise.
    """
    kept = {"PYTHONPYCACHEPREFIX": str(cache.folder("bench", "bytecode")), "ANSIBLE_NOCOLOR": "1"}
    own = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    done = subprocess.run(
        command,
        cwd=REPOSITORY,
        env={**own, **kept},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode != ends:
        raise RuntimeError(f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout[-2000:]}")
    return done.stdout


def pyinfra() -> Path:
    """Return pyinfra's program, in an environment of its own that is made where it is missing."""
    folder = cache.folder("bench") / PYINFRA.replace("==", "-")
    program = folder / "bin" / "pyinfra"
    if not program.exists():
        venv.create(folder, with_pip=True, clear=True)
        run([str(folder / "bin" / "pip"), "install", "--quiet", PYINFRA])
    return program


def table(turns: int, say: Say, keep: bool, desks: int, inventory: Path | None) -> str:
    """Measure, draw the picture, and return the rows.

    :param turns: how often each side runs.
    :param keep: whether the room is left standing.
    :param desks: how many real ones the room has.
    :param inventory: of a room that is there and finished, instead of one of the lab.
    """
    with finished(desks, say, keep, inventory) as fleet:
        sizes = [size for size in SIZES if size <= len(fleet.hosts) * NAMES_A_DESK]
        measured = [fleet.second_runs(size, turns, say) for size in sizes]
    say("\n".join(turns.rows() for turns in measured))
    draw(measured)
    real = len(fleet.hosts)
    note = f"The room has {real} desks; of more, each stands under up to {NAMES_A_DESK} names."
    return "\n".join(turns.rows() for turns in measured) + f"\n\n{note}\n\n![{TITLE}](../docs/images/{PICTURE.name})"


@contextmanager
def finished(desks: int, say: Say, keep: bool, inventory: Path | None) -> Iterator[Fleet]:
    """Yield the desks of a room on which nothing is left to do.

    :param desks: how many it has.
    :param keep: whether it is left standing.
    :param inventory: of a room that is there, instead of one of the lab.
    """
    from lab import room

    with tempfile.TemporaryDirectory() as folder:
        if inventory:
            yield Fleet(inventory, Path(folder))
            return
        made = room.up(room.Room(desks, with_docker=True, prefix=PREFIX, wan="1000mbit"), say)
        try:
            say("the first run over all of them, which nobody measures")
            tool("ansible-playbook", "site.yml", "-i", str(made.inventory))
            yield Fleet(made.inventory, Path(folder))
        finally:
            if not keep:
                made.down()


def draw(measured: list[Turns]) -> None:
    """Write the growth of the three as a picture."""
    slowest = max(map(max, (turns.setup + turns.pyinfra + turns.site for turns in measured)))
    colors = look("#0b7285", "#868e96", "#e8590c")
    chart = pygal.XY(title=TITLE, x_title="desks", y_title="seconds", range=(0, slowest), **colors)
    for title, name in (("llmdesk", "site"), ("ansible -m setup", "setup"), ("pyinfra", "pyinfra")):
        chart.add(title, [(turns.desks, round(statistics.median(getattr(turns, name)), 2)) for turns in measured])
    PICTURE.write_text(chart.render())
