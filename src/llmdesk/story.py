# SPDX-License-Identifier: GPL-3.0-or-later
"""The story of a run so far, told by its events: desks, phases, work, failures, reports. Every screen reads it."""

from __future__ import annotations

import statistics
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

from llmdesk.events import (
    DesksNamed,
    Event,
    HostsNamed,
    HostStarted,
    PlayStopped,
    Progress,
    Recap,
    Said,
    TaskEnded,
    TaskStarted,
)
from llmdesk.run import HOST_FAILED, REBOOT_NEEDED

WINDOWS = {"bytes": 10.0, "steps": 120.0}
"""Seconds over which a rate is measured, by unit. A line that slows down should be seen at once; one step of a
compiler takes a second and the next a minute, so that only many of them tell anything."""

STALLED = 60.0
"""Seconds after which a download that does not move deserves attention."""

QUIET = 600.0
"""Seconds after which a task that says nothing does: the installation of Docker over a slow line takes minutes."""

State = Literal["failed", "unreachable", "reboot", "stalled", "working", "waiting", "done"]
"""How a desk is in the middle of a run; ``waiting`` is one that has not begun, or that waits for the others."""

ATTENTION: tuple[State, ...] = ("failed", "unreachable", "reboot", "stalled")
"""The states that a person should look at, worst first."""


@dataclass
class Phase:
    """A role's part of the run; ``failed`` names the hosts that it broke.

    ``seconds`` counts up to the last event the time in which any host was in it.
    """

    name: str
    seconds: float = 0.0
    changed: bool = False
    failed: set[str] = field(default_factory=set)


@dataclass
class Work:
    """A long piece of work on one host, with its recent past; ``moved`` is when it last got further."""

    now: Progress
    began: float
    moved: float = 0.0
    past: deque[tuple[float, int]] = field(default_factory=deque)

    def add(self, progress: Progress) -> None:
        """Take the next measurement."""
        if not self.past or (progress.completed, progress.detail) != (self.now.completed, self.now.detail):
            self.moved = progress.at
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

    @property
    def bytes(self) -> tuple[int, int]:
        """How many bytes have come, and how many there will be as far as that is known."""
        if self.now.unit != "bytes":
            return 0, 0
        return self.now.completed, max(self.now.completed, self.now.total or 0)


@dataclass
class Row:
    """One host's part of the run.

    ``began`` is None before its first task, ``ended`` until it reported, broke, or the run was over, and for good where
    Ansible has ``stopped`` its play before. ``touched`` says whether a task has begun that does more than to say
    something. ``play`` and ``phase`` are where it is, ``since`` is when its task began, ``busy`` whether that is still
    under way. ``brought`` counts bytes of work that is over, and ``brought_by_lan`` those of them that did not come
    from outside.
    """

    host: str
    began: float | None = None
    touched: bool = False
    ended: float | None = None
    stopped: bool = False
    play: str = ""
    phase: str = ""
    task: str = ""
    since: float = 0.0
    busy: bool = False
    changed: int = 0
    brought: int = 0
    brought_by_lan: int = 0
    work: Work | None = None
    broken: TaskEnded | None = None
    report: dict[str, Any] | None = None

    def state(self, now: float) -> State:
        """Return how the host is.

        :param now: the time on the clock of the events.
        """
        if self.busy:
            quiet = now - self.work.moved > STALLED if self.work else now - self.since > QUIET
            return "stalled" if quiet else "working"
        if self.broken:
            if self.broken.waits_for_reboot:
                return "reboot"
            return "unreachable" if self.broken.outcome == "unreachable" else "failed"
        return "waiting" if self.ended is None else "done"

    def seconds(self, now: float) -> float:
        """Return how long it has taken, or took."""
        return 0.0 if self.began is None else max(0.0, (now if self.ended is None else self.ended) - self.began)


@dataclass
class Story:
    """All that a screen needs to know."""

    began: float | None = None
    at: float = 0.0
    phases: dict[str, Phase] = field(default_factory=dict)
    phase: Phase | None = None
    task: str = ""
    hosts: dict[str, Row] = field(default_factory=dict)
    work: dict[str, Work] = field(default_factory=dict)
    broken: dict[str, TaskEnded] = field(default_factory=dict)
    reports: dict[str, dict[str, Any]] = field(default_factory=dict)
    said: list[str] = field(default_factory=list)
    recap: dict[str, dict[str, int]] = field(default_factory=dict)
    expected: tuple[str, ...] = ()
    """The desks that the run is about, those too whose play has not begun, or never will."""
    stopped: bool = False
    """Whether Ansible has ended a play before all of its hosts were through."""
    room: bool = False
    """Whether several hosts take part in one play. A distro and the Windows that carries it have plays of their own."""

    _inside: dict[str, str] = field(default_factory=dict)
    _plays: dict[str, str] = field(default_factory=dict)
    _play: str = ""

    def add(self, event: Event) -> None:
        """Take the next event."""
        self._pass_time(event.at)
        if isinstance(event, TaskStarted):
            self._start(event)
        elif isinstance(event, HostStarted):
            self._start_on(event)
        elif isinstance(event, TaskEnded):
            self._end(event)
        elif isinstance(event, Progress):
            self._progress(event)
        elif isinstance(event, Said):
            self.said.append(event.text)
        elif isinstance(event, HostsNamed):
            self.room |= len(event.hosts) > 1
            for host in event.hosts:
                self.hosts.setdefault(host, Row(host))
        elif isinstance(event, DesksNamed):
            self.expected = event.hosts
        elif isinstance(event, PlayStopped):
            self._stop()
        elif isinstance(event, Recap):
            self._finish(event)

    @property
    def seconds(self) -> float:
        """How long it has taken up to the last event."""
        return 0.0 if self.began is None else self.at - self.began

    @property
    def changed(self) -> int:
        """How many tasks changed something, over all hosts."""
        return sum(counts["changed"] for counts in self.recap.values())

    def rows(self) -> list[Row]:
        """Return a row a desk: a Windows host that has done its part gives way to the distro that it carries."""
        gone = set()
        for host, report in self.reports.items():
            distro = self.hosts.get(str(report.get("desk"))) if report.get("half") == "windows" else None
            if distro and distro.began is not None and not self.hosts[host].broken:
                gone.add(host)
        return [row for host, row in self.hosts.items() if host not in gone]

    def untouched(self) -> set[str]:
        """Return the hosts that this run is about and on which nothing was done yet."""
        touched = {host for host, row in self.hosts.items() if row.touched}
        return {*self.hosts, *self.expected} - touched

    def bytes(self) -> tuple[int, int]:
        """Return how many bytes the desks have brought, and how many that will be as far as is known."""
        done = sum(row.brought for row in self.hosts.values())
        under_way = [work.bytes for work in self.work.values()]
        return done + sum(come for come, _ in under_way), done + sum(total for _, total in under_way)

    def bytes_by_lan(self) -> tuple[int, int]:
        """Return the same of what comes from a mirror or other desks, and costs the line to the outside nothing."""
        done = sum(row.brought_by_lan for row in self.hosts.values())
        under_way = [work.bytes for work in self.work.values() if work.now.lan]
        return done + sum(come for come, _ in under_way), done + sum(total for _, total in under_way)

    def rate(self, now: float) -> float:
        """Return the bytes a second that come to all desks together."""
        window = WINDOWS["bytes"]
        moving = (work for work in self.work.values() if work.now.unit == "bytes" and now - work.moved <= window)
        return sum(work.rate or 0.0 for work in moving)

    def left(self, now: float) -> float | None:
        """Return the seconds that are left, None where nobody can know.

        They are estimated from the desks that are done and had something to do, and from the bytes that are missing.
        A room shares its line, so what one desk has to wait for is taken from all: the one that is behind gets faster
        when the others have theirs.
        """
        rate = self.rate(now)
        come, total = self.bytes()
        took = [row.seconds(now) for row in self.hosts.values() if row.state(now) == "done" and row.changed]
        typical = statistics.median(took) if took else None
        under_way = [row for row in self.hosts.values() if row.busy]
        rest = []
        for row in under_way:
            guesses = []
            if row.work:
                shares = row.work.now.unit == "bytes" and rate
                guesses.append((total - come) / rate if shares else row.work.remaining)
            if typical is not None:
                guesses.append(typical - row.seconds(now))
            known = [guess for guess in guesses if guess is not None]
            if known:
                rest.append(max(0.0, *known))
        if not under_way or 2 * len(rest) < len(under_way):
            return None
        ahead = sum(row.began is None for row in self.hosts.values())
        if ahead and typical is None:
            return None
        return max(rest) + -(-ahead // len(under_way)) * (typical or 0.0)

    def failures(self) -> Iterator[TaskEnded]:
        """Yield the failure that ended each host's run; one that a rescue mended is none."""
        for host, event in self.broken.items():
            counts = self.recap.get(host)
            if counts is None or counts["failed"] or counts["unreachable"]:
                yield event

    def exit_code(self, rc: int) -> int:
        """Return the exit code to hand on for Ansible's own.

        A run that only waits for a restart has one of its own, and drift that was asked for has that of a failure.
        """
        if rc == 0 and any((report.get("drift") or {}).get("found") for report in self.reports.values()):
            return HOST_FAILED
        failures = list(self.failures())
        waits = rc == HOST_FAILED and failures and all(event.waits_for_reboot for event in failures)
        return REBOOT_NEEDED if waits else rc

    def _pass_time(self, at: float) -> None:
        if self.began is None:
            self.began = self.at = at
        passed = max(0.0, at - self.at)
        for name in set(self._inside.values()) or ({self.phase.name} if self.phase else set()):
            self.phases[name].seconds += passed
        self.at = max(self.at, at)

    def _start(self, event: TaskStarted) -> None:
        self.phase = self.phases.setdefault(event.phase, Phase(event.phase))
        self.task = event.task

    def _start_on(self, event: HostStarted) -> None:
        row = self.hosts.setdefault(event.host, Row(event.host))
        self.room |= self._plays.setdefault(event.play, event.host) != event.host
        self._put_away(row)
        self.phases.setdefault(event.phase, Phase(event.phase))
        self._inside[event.host] = event.phase
        row.began = event.at if row.began is None else row.began
        row.play = self._play = event.play
        row.touched |= event.works
        row.ended = None
        row.phase, row.task, row.since, row.busy = event.phase, event.task, event.at, True

    def _end(self, event: TaskEnded) -> None:
        row = self.hosts.setdefault(event.host, Row(event.host))
        row.busy = event.item
        row.changed += event.outcome == "changed"
        phase = self.phases.setdefault(event.phase, Phase(event.phase))
        phase.changed |= event.outcome == "changed"
        if event.broken:
            phase.failed.add(event.host)
            self.broken[event.host] = row.broken = event
        elif event.outcome != "skipped":  # A rescue mended it.
            phase.failed.discard(event.host)
            row.broken = None
        if event.report is not None:
            self.reports[event.host] = row.report = event.report
        if event.broken or event.report is not None:
            row.ended = event.at
            self._inside.pop(event.host, None)
        if not event.item:
            self._put_away(row, whole=not event.broken)

    def _put_away(self, row: Row, whole: bool = False) -> None:
        """Count what a host's work has brought.

        :param whole: it is over and was no failure, so that the last of it has come since it was told.
        """
        if row.work is not None:
            come, total = row.work.bytes
            brought = total if whole else come
            row.brought += brought
            row.brought_by_lan += brought * row.work.now.lan
            row.work = None
            self.work.pop(row.host, None)

    def _progress(self, event: Progress) -> None:
        row = self.hosts.setdefault(event.host, Row(event.host))
        work = row.work
        if work is None or (work.now.item, work.now.unit, work.now.lan) != (event.item, event.unit, event.lan):
            self._put_away(row)
            work = row.work = self.work[event.host] = Work(event, event.at)
        work.add(event)

    def _stop(self) -> None:
        self.stopped = True
        for row in self.hosts.values():
            row.stopped = row.play == self._play and row.ended is None

    def _finish(self, event: Recap) -> None:
        self.recap = event.hosts
        for host, counts in event.hosts.items():
            row = self.hosts.setdefault(host, Row(host))
            row.busy = False
            if row.ended is None and not row.stopped:
                row.ended = event.at
            row.broken = self.broken.get(host) if counts["failed"] or counts["unreachable"] else None
