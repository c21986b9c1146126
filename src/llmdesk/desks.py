# SPDX-License-Identifier: GPL-3.0-or-later
"""The desks of a run: most are one host; one under Windows is two, the Windows host and the distro that it carries."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from llmdesk.events import TaskEnded
from llmdesk.story import Story


@dataclass(frozen=True)
class Desk:
    """A desk, named after its host, or after its Windows host.

    ``host`` and ``report`` are those of the Linux that serves the page, ``windows_host`` and ``windows`` those of the
    Windows that carries it, None where there is none. A half without a report is dead, and ``why`` or ``windows_why``
    is what ended it, empty where it was not asked in this run.
    """

    name: str
    host: str
    report: dict[str, Any] | None
    why: str = ""
    windows_host: str | None = None
    windows: dict[str, Any] | None = None
    windows_why: str = ""


def desks(story: Story) -> list[Desk]:
    """Return the desks that said anything in a run, by their names."""
    broken = {event.host: event for event in story.failures()}
    halves = {host: report for host, report in story.reports.items() if report.get("half") == "windows"}
    served = {host: report for host, report in story.reports.items() if host not in halves}
    carriers = {host: str(report["windows_host"]) for host, report in served.items() if report.get("windows_host")}
    carriers |= {str(report["desk"] or host): host for host, report in halves.items()}
    found = [Desk(host, host, report) for host, report in served.items() if host not in carriers]
    for host, carrier in carriers.items():
        # Where Windows ended, nobody has asked its distro.
        before = f"{carrier} ended before {host} was asked" if carrier in broken and host not in served else ""
        found.append(
            Desk(
                carrier,
                host,
                served.get(host),
                why=_reason(broken.get(host)) or before,
                windows_host=carrier,
                windows=halves.get(carrier),
                windows_why=_reason(broken.get(carrier)),
            )
        )
    return sorted(found, key=lambda desk: desk.name)


def half_of(found: list[Desk], host: str) -> Desk | None:
    """Return the desk that a host is a half of, None where the host is all of it."""
    return next((desk for desk in found if desk.windows_host and host in (desk.host, desk.windows_host)), None)


def as_json(desk: Desk) -> dict[str, Any]:
    """Return a desk as the JSON screen tells it: its halves with ``host``, ``report`` and ``reason``."""
    linux = {"host": desk.host, "report": desk.report, "reason": desk.why}
    windows = {"host": desk.windows_host, "report": desk.windows, "reason": desk.windows_why}
    return {"windows": windows if desk.windows_host else None, "linux": linux}


def _reason(event: TaskEnded | None) -> str:
    if event is None:
        return ""
    said = (event.message.strip().splitlines() or ["it gave no reason"])[0]
    return f"{event.host} could not be reached: {said}" if event.outcome == "unreachable" else said
