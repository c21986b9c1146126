"""Measures what Ansible's settings are worth over a room: a second run, the first long task, a desk that sleeps.

Only what shows a gain here stands in ansible.cfg, and what it gains stands beside it there.
"""

from __future__ import annotations

import os
import statistics
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic

import docker
import yaml

from bench.room import finished, tool

Say = Callable[[str], None]
HEAD = "| what | setting | seconds |\n|---|---|---|"
DESKS = 10
# What each is set to beside what ansible.cfg says, and the play that feels it.
SECOND_RUN: dict[str, dict[str, str]] = {
    "as ansible.cfg has it": {},
    "5 forks": {"ANSIBLE_FORKS": "5"},
    "50 forks": {"ANSIBLE_FORKS": "50"},
    "without pipelining": {"ANSIBLE_PIPELINING": "false"},
    "without pipelining, files piped": {"ANSIBLE_PIPELINING": "false", "ANSIBLE_SSH_TRANSFER_METHOD": "piped"},
    "without a connection kept": {"ANSIBLE_SSH_ARGS": "-o ControlMaster=no"},
}
SLOW_DESK = {
    name: {"ANSIBLE_STRATEGY": f"ansible.builtin.{name}", "ANSIBLE_FORKS": "20"}
    for name in ("linear", "host_pinned", "free")
}
# A connection that is kept would be there before it sleeps.
SLEEPING_DESK = {
    f"{seconds} s": {"ANSIBLE_TIMEOUT": str(seconds), "ANSIBLE_SSH_ARGS": "-o ControlMaster=no"} for seconds in (10, 5)
}
UNREACHABLE = 4
"""Ansible's exit code where a host is out of reach."""

# Four steps of a second each; on the first desk the second of them takes ten. What counts is when the others are done.
STEPS = """
- name: Work
  hosts: desks
  gather_facts: false
  tasks:
{tasks}
"""
STEP = (
    "    - name: Step {step}\n"
    "      ansible.builtin.command: sleep {{{{ {slow} if inventory_hostname == groups.desks[0] else 1 }}}}\n"
    "      changed_when: false\n"
    "    - name: Say when {step}\n"
    '      ansible.builtin.debug: msg="at {{{{ now().timestamp() }}}} {{{{ inventory_hostname }}}} {step}"\n'
)


def table(turns: int, say: Say, keep: bool, inventory: Path | None) -> str:
    """Measure over a finished room of ten, and return the rows.

    :param turns: how often each setting runs.
    :param keep: whether the room is left standing.
    :param inventory: of a room that is there, instead of one of the lab.
    """
    with tempfile.TemporaryDirectory() as name, finished(DESKS, say, keep, inventory) as fleet:
        folder = Path(name)
        hosts = fleet.names(len(fleet.hosts))
        room, steps = folder / "room.yml", folder / "steps.yml"
        room.write_text(yaml.safe_dump({"desks": {"hosts": hosts}}))
        steps.write_text(STEPS.format(tasks="".join(STEP.format(step=n, slow=10 if n == 2 else 1) for n in range(4))))
        rows = []
        again = _measured(SECOND_RUN, turns, say, lambda: _seconds("site.yml", room))
        rows += [_row("a second run", setting, figures) for setting, figures in again.items()]
        slow = _measured(SLOW_DESK, turns, say, lambda: _others_done(str(steps), room))
        rows += [_row("four steps beside a slow desk, the last of the others", *one) for one in slow.items()]
        with _asleep(hosts):
            dead = _measured(SLEEPING_DESK, turns, say, lambda: _seconds("site.yml", room, broken=True))
        rows += [_row("a second run with a desk that sleeps, time-out", *one) for one in dead.items()]
    return "\n".join(rows)


def _measured(
    settings: dict[str, dict[str, str]], turns: int, say: Say, measure: Callable[[], float]
) -> dict[str, list[float]]:
    """Return the figures of each setting; they take turns, and the first round warms up."""
    took: dict[str, list[float]] = {name: [] for name in settings}
    for turn in range(turns + 1):
        for name, environment in settings.items():
            say(f"{name}, turn {turn} of {turns}")
            before = {key: os.environ.get(key) for key in environment}
            os.environ.update(environment)
            try:
                figure = measure()
            finally:
                for key, value in before.items():
                    os.environ.pop(key) if value is None else os.environ.update({key: value})
            if turn:
                took[name].append(figure)
    return took


def _seconds(playbook: str, room: Path, broken: bool = False) -> float:
    began = monotonic()
    tool("ansible-playbook", playbook, "-i", str(room), ends=UNREACHABLE if broken else 0)
    return monotonic() - began


def _others_done(playbook: str, room: Path) -> float:
    """Return the seconds from the first end of a step to the last of every desk but the first."""
    said = tool("ansible-playbook", playbook, "-i", str(room))
    ends = [line.split("at ", 1)[1].split() for line in said.splitlines() if "msg: at " in line]
    first = min(float(end[0]) for end in ends)
    slow = next(iter(yaml.safe_load(room.read_text())["desks"]["hosts"]))
    return max(float(end[0]) for end in ends if end[1] != slow) - first


@contextmanager
def _asleep(hosts: dict[str, dict[str, object]]) -> Iterator[None]:
    """Put the first desk of the lab to sleep: the kernel takes its connections, and nobody answers."""
    address = next(iter(hosts.values()))["ansible_host"]
    (desk,) = (
        container
        for container in docker.from_env().containers.list()
        for network in container.attrs["NetworkSettings"]["Networks"].values()
        if network["IPAddress"] == address
    )
    desk.pause()
    try:
        yield
    finally:
        desk.unpause()


def _row(what: str, setting: str, figures: list[float]) -> str:
    middle = f"{statistics.median(figures):.1f} s ({min(figures):.1f} to {max(figures):.1f})"
    return f"| {what} | {setting} | {middle} |"
