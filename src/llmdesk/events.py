# SPDX-License-Identifier: GPL-3.0-or-later
"""What happens in a run, as typed values made of ansible-runner's events. Pure: no screen, no clock."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

PROGRESS = "llmdesk-progress "
"""How a line begins that the collection's action plugins print while a module works."""

HOSTS = "llmdesk-hosts "
"""How the line begins by which the collection's callback names the hosts of a play, those of later batches too."""

DESKS = "llmdesk-desks "
"""How the line begins by which it names all desks that the run is about, before the first play."""

REBOOT = "Reboot and run again"
"""How the message of a failure begins that needs nothing but a restart of Windows."""

TAIL = 15
"""Lines of a failed command's output that are worth showing."""


@dataclass(frozen=True)
class Event:
    """Something that happened, ``at`` seconds since the epoch."""

    at: float


@dataclass(frozen=True)
class TaskStarted(Event):
    """A task began on its hosts; ``phase`` is its role's short name, or its play's name outside of roles.

    ``works`` is false for one that only includes others or says something: nobody waits for it.
    """

    phase: str
    task: str
    works: bool = True


@dataclass(frozen=True)
class HostsNamed(Event):
    """A play is going to work on these hosts, if not at once."""

    hosts: tuple[str, ...]


@dataclass(frozen=True)
class DesksNamed(Event):
    """The run is about these desks, although a play before theirs may end it."""

    hosts: tuple[str, ...]


@dataclass(frozen=True)
class PlayStopped(Event):
    """Ansible ended a play before all of its hosts were through: too many have failed, or all."""


@dataclass(frozen=True)
class HostStarted(Event):
    """A task began on one host: what strategies have in common, of which some know no task that all hosts begin."""

    play: str
    phase: str
    task: str
    host: str
    works: bool = True


@dataclass(frozen=True)
class TaskEnded(Event):
    """A task ended on one host.

    ``outcome`` is ok, changed, skipped, failed, ignored or unreachable; ``item`` tells that only one of a loop's items
    ended. ``note`` is what a debug task says,
    ``report`` a desk's report, ``lines`` the output of a command, ``message`` and ``path`` tell of a failure, and
    ``text`` is what Ansible itself prints about it.
    """

    phase: str
    task: str
    host: str
    outcome: str
    seconds: float = 0.0
    note: str = ""
    report: dict[str, Any] | None = None
    lines: tuple[str, ...] = ()
    message: str = ""
    path: str = ""
    text: str = ""
    item: bool = False

    @property
    def waits_for_reboot(self) -> bool:
        """Tell whether nothing is wrong but that Windows has to be restarted."""
        return self.outcome == "failed" and self.message.startswith(REBOOT)

    @property
    def broken(self) -> bool:
        """Tell whether the host cannot go on, unless a rescue mends it."""
        return self.outcome in ("failed", "unreachable")


@dataclass(frozen=True)
class Progress(Event):
    """How far a long piece of work is; ``total`` is None while nobody knows, ``unit`` is bytes or steps.

    ``lan`` says that it comes from a mirror or other desks, and not over the line to the outside.
    """

    host: str
    item: str
    completed: int
    total: int | None
    unit: str
    detail: str = ""
    lan: bool = False


@dataclass(frozen=True)
class Said(Event):
    """A line of Ansible's own that belongs to no result: a warning, or why it did not even start."""

    text: str


@dataclass(frozen=True)
class Recap(Event):
    """The counts of every host: ok, changed, failed, unreachable, skipped, rescued, ignored."""

    hosts: dict[str, dict[str, int]] = field(default_factory=dict)


_STARTS = ("playbook_on_task_start", "playbook_on_handler_task_start", "runner_on_start")
_ENDS = {
    "runner_on_ok": "ok",
    "runner_item_on_ok": "ok",
    "runner_on_failed": "failed",
    "runner_on_skipped": "skipped",
    "runner_on_unreachable": "unreachable",
}
_NO_WORK = ("include_role", "include_tasks", "debug", "meta")
_SAID = ("verbose", "error", "warning", "system_warning", "deprecated", "runner_on_file_diff")
_COUNTS = {
    "ok": "ok",
    "changed": "changed",
    "failures": "failed",
    "dark": "unreachable",
    "skipped": "skipped",
    "rescued": "rescued",
    "ignored": "ignored",
}


def parse(event: dict[str, Any]) -> Event | None:
    """Return the typed value of one event of ansible-runner, None for those that tell a person nothing."""
    kind, data = event["event"], event.get("event_data", {})
    text = event.get("stdout", "").replace("\r\n", "\n").strip()
    at = datetime.fromisoformat(event["created"]).timestamp()
    if kind in _STARTS:
        if data["task_action"] == "ansible.builtin.validate_argument_spec":  # Ansible's own, at the door of a role.
            return None
        works = data["task_action"].rpartition(".")[2] not in _NO_WORK
        if kind == "runner_on_start":
            return HostStarted(at, data["play"], _phase(data), data["task"], data["host"], works)
        return TaskStarted(at, _phase(data), data["task"], works)
    if kind in _ENDS:
        return _ended(at, kind, data, text)
    if kind == "playbook_on_stats":
        return Recap(at, _recap(data))
    if kind == "playbook_on_no_hosts_remaining":
        return PlayStopped(at)
    if kind in _SAID:
        return _said(at, text)
    return None


def _phase(data: dict[str, Any]) -> str:
    return str(data.get("role") or data["play"]).rpartition(".")[2]


def _ended(at: float, kind: str, data: dict[str, Any], text: str) -> TaskEnded:
    result = data.get("res") or {}
    outcome = _ENDS[kind]
    # Of a loop, the task's own end says whether anything changed.
    if outcome == "ok" and result.get("changed") and kind != "runner_item_on_ok":
        outcome = "changed"
    if outcome == "failed" and data.get("ignore_errors"):
        outcome = "ignored"
    failed = outcome in ("failed", "unreachable")
    return TaskEnded(
        at,
        phase=_phase(data),
        task=data["task"],
        host=data["host"],
        outcome=outcome,
        seconds=float(data.get("duration") or 0),
        note=_note(data, result),
        report=_report(result),
        lines=tuple(result.get("stdout_lines") or str(result.get("stdout") or "").splitlines()),
        message=message(result) if failed else "",
        path=data.get("task_path") or "",
        text=text,
        item=kind == "runner_item_on_ok",
    )


def _note(data: dict[str, Any], result: dict[str, Any]) -> str:
    said = result.get("msg")
    if data.get("task_action") not in ("debug", "ansible.builtin.debug") or "results" in result:
        return ""
    if isinstance(said, list):
        return "\n".join(str(line) for line in said)
    return said if isinstance(said, str) else ""


def _report(result: dict[str, Any]) -> dict[str, Any] | None:
    for place in (result, result.get("msg")):
        if isinstance(place, dict) and isinstance(place.get("desk_report"), dict):
            report: dict[str, Any] = place["desk_report"]
            return report
    return None


def answers(document: dict[str, Any], key: str) -> tuple[dict[str, Any], dict[str, str]]:
    """Return what a play showed under a key, by host, and for the other hosts why there is nothing.

    :param document: the document of the callback ``ansible.posix.json``.
    """
    found: dict[str, Any] = {}
    failures: dict[str, str] = {}
    for play in document["plays"]:
        for task in play["tasks"]:
            for host, result in task["hosts"].items():
                if result.get("failed") or result.get("unreachable"):
                    failures[host] = message(result)
                elif isinstance(result.get("msg"), dict) and key in result["msg"]:
                    found[host] = result["msg"][key]
    return found, failures


def message(result: dict[str, Any]) -> str:
    """Return why a task failed: its message, and the end of what the command or module printed."""
    failed = [item for item in result.get("results") or [] if item.get("failed") or item.get("unreachable")]
    if failed:
        return "\n".join(message(item) for item in failed)
    said = str(result.get("msg") or result.get("censored") or "It gave no reason.").strip()
    for stream in ("stderr", "module_stderr", "stdout", "module_stdout"):
        lines = str(result.get(stream) or "").strip().splitlines()
        if lines:
            return "\n".join([said, *(line for line in lines[-TAIL:] if line.strip() not in said.splitlines())])
    return said


def _recap(data: dict[str, Any]) -> dict[str, dict[str, int]]:
    hosts = sorted(data.get("processed", {}))
    return {host: {word: int(data.get(count, {}).get(host, 0)) for count, word in _COUNTS.items()} for host in hosts}


def _said(at: float, line: str) -> Event | None:
    if line.startswith(HOSTS):
        return HostsNamed(at, tuple(json.loads(line[len(HOSTS) :])))
    if line.startswith(DESKS):
        return DesksNamed(at, tuple(json.loads(line[len(DESKS) :])))
    if not line.startswith(PROGRESS):
        return Said(at, line) if line else None
    try:
        told = json.loads(line[len(PROGRESS) :])
        total = told.get("total")
        return Progress(
            at,
            host=str(told["host"]),
            item=str(told["item"]),
            completed=int(told.get("completed") or 0),
            total=None if total is None else int(total),
            unit="bytes" if told.get("unit") == "bytes" else "steps",
            detail=str(told.get("detail") or ""),
            lan=told.get("lan") is True,
        )
    except (ValueError, KeyError, TypeError):
        return Said(at, line)
