# SPDX-License-Identifier: GPL-3.0-or-later
"""The story of a run so far, told by its events: phases, work under way, failures, reports. Every screen reads it."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from llmdesk.events import Event, Progress, Recap, Said, TaskEnded, TaskStarted
from llmdesk.run import HOST_FAILED, REBOOT_NEEDED

WINDOWS = {"bytes": 10.0, "steps": 120.0}
"""Seconds over which a rate is measured, by unit. A line that slows down should be seen at once; one step of a
compiler takes a second and the next a minute, so that only many of them tell anything."""


@dataclass
class Phase:
    """A role's part of the run; ``seconds`` counts up to its last event, ``failed`` names the hosts that it broke."""

    name: str
    seconds: float = 0.0
    changed: bool = False
    failed: set[str] = field(default_factory=set)


@dataclass
class Work:
    """A long piece of work on one host, with its recent past."""

    now: Progress
    began: float
    past: deque[tuple[float, int]] = field(default_factory=deque)

    def add(self, progress: Progress) -> None:
        """Take the next measurement."""
        self.now = progress
        self.past.append((progress.at, progress.completed))
        while progress.at - self.past[0][0] > WINDOWS[progress.unit]:
            self.past.popleft()

    @property
    def rate(self) -> float | None:
        """Units a second, None until two measurements differ in time."""
        if not self.past or (first := self.past[0])[0] == (last := self.past[-1])[0]:
            return None
        return (last[1] - first[1]) / (last[0] - first[0])

    @property
    def remaining(self) -> float | None:
        """Seconds that are left at this rate, None where nobody can know."""
        if self.now.total is None or not self.rate or self.rate < 0:
            return None
        return max(0, self.now.total - self.now.completed) / self.rate


@dataclass
class Story:
    """All that a screen needs to know."""

    began: float | None = None
    at: float = 0.0
    phases: dict[str, Phase] = field(default_factory=dict)
    phase: Phase | None = None
    task: str = ""
    work: dict[str, Work] = field(default_factory=dict)
    broken: dict[str, TaskEnded] = field(default_factory=dict)
    reports: dict[str, dict[str, Any]] = field(default_factory=dict)
    said: list[str] = field(default_factory=list)
    recap: dict[str, dict[str, int]] = field(default_factory=dict)

    def add(self, event: Event) -> None:
        """Take the next event."""
        self._pass_time(event.at)
        if isinstance(event, TaskStarted):
            self._start(event)
        elif isinstance(event, TaskEnded):
            self._end(event)
        elif isinstance(event, Progress):
            self._progress(event)
        elif isinstance(event, Said):
            self.said.append(event.text)
        elif isinstance(event, Recap):
            self.recap = event.hosts

    @property
    def seconds(self) -> float:
        """How long it has taken up to the last event."""
        return 0.0 if self.began is None else self.at - self.began

    @property
    def changed(self) -> int:
        """How many tasks changed something, over all hosts."""
        return sum(counts["changed"] for counts in self.recap.values())

    def failures(self) -> Iterator[TaskEnded]:
        """Yield the failure that ended each host's run; one that a rescue mended is none."""
        for host, event in self.broken.items():
            counts = self.recap.get(host)
            if counts is None or counts["failed"] or counts["unreachable"]:
                yield event

    def exit_code(self, rc: int) -> int:
        """Return the exit code to hand on for Ansible's own: a run that only waits for a restart has one of its own."""
        failures = list(self.failures())
        waits = rc == HOST_FAILED and failures and all(event.waits_for_reboot for event in failures)
        return REBOOT_NEEDED if waits else rc

    def _pass_time(self, at: float) -> None:
        if self.began is None:
            self.began = self.at = at
        if self.phase:
            self.phase.seconds += max(0.0, at - self.at)
        self.at = max(self.at, at)

    def _start(self, event: TaskStarted) -> None:
        self.phase = self.phases.setdefault(event.phase, Phase(event.phase))
        self.task = event.task
        self.work.clear()

    def _end(self, event: TaskEnded) -> None:
        phase = self.phases.setdefault(event.phase, Phase(event.phase))
        phase.changed |= event.outcome == "changed"
        if event.broken:
            phase.failed.add(event.host)
            self.broken[event.host] = event
        elif event.outcome != "skipped":  # A rescue mended it.
            phase.failed.discard(event.host)
        if event.report is not None:
            self.reports[event.host] = event.report
        self.work.pop(event.host, None)

    def _progress(self, event: Progress) -> None:
        work = self.work.get(event.host)
        if work is None or work.now.item != event.item or work.now.unit != event.unit:
            work = self.work[event.host] = Work(event, event.at)
        work.add(event)
