# SPDX-License-Identifier: GPL-3.0-or-later
"""What a run leaves behind about every desk: made of plain events, and without secrets."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any

SCHEMA = 1
"""The version of the record's shape, as docs/schema/desk-record.schema.json describes it."""

VERSION = "0.1.0"
"""The collection's own version: a callback has no cheap way to ask for it."""

REBOOT = "Reboot and run again"
"""How the message of a failure begins that needs nothing but a restart of Windows."""

TAIL = 15
"""Lines of a failed command's output that are worth keeping."""

COLLECTION = "ansible_collections/llmdesk/workstation/"

_OPENED = re.compile(r"(\w+://)[^\s/@'\"]+@")
# Of a file that holds a secret, the path may be read.
_SECRET = re.compile(
    r"""(?i)(\w*(?:password|passwd|secret|token|api_?key)(?!\w*_file)\w*["']?\s*[=:]\s*)"""
    r"""("[^"]*"|'[^']*'|[^\s,}]+)"""
)
_PASSWORD_FILES = ("--become-password-file", "--vault-password-file", "--connection-password-file", "--vault-id")


@dataclass(frozen=True)
class TaskEnd:
    """A task's end on one host.

    ``outcome`` is ok, changed, skipped, failed, ignored or unreachable; ``at`` is in seconds since the epoch, and
    ``result`` None where it must not be looked into (no_log), or tells nothing.
    """

    host: str
    phase: str
    task: str
    path: str
    outcome: str
    at: float
    seconds: float
    result: dict[str, Any] | None = None


@dataclass
class DeskRecord:
    """What is known of one host in a run so far."""

    host: str
    began: float
    ended: float = 0.0
    facts: dict[str, Any] | None = None
    report: dict[str, Any] | None = None
    changes: list[dict[str, str]] = field(default_factory=list)
    failures: list[dict[str, str]] = field(default_factory=list)
    phases: dict[str, float] = field(default_factory=dict)

    def add(self, end: TaskEnd) -> None:
        """Take the next task's end."""
        self.ended = end.at
        self.phases[end.phase] = self.phases.get(end.phase, 0.0) + end.seconds
        result = end.result or {}
        self.facts = _facts(result) or self.facts
        self.report = _report(result) or self.report
        place = {"phase": end.phase, "task": end.task, "path": short(end.path)}
        if end.outcome == "changed":
            self.changes.append(place)
        if end.outcome in ("failed", "unreachable"):
            self.failures.append({**place, "message": redacted(message(end.result))})

    def close(self, run: dict[str, Any], counts: dict[str, int]) -> dict[str, Any]:
        """Return the record, as docs/schema/desk-record.schema.json describes it.

        :param run: ``run``, ``playbook``, ``check`` and ``ansible``, the version.
        :param counts: the host's line in Ansible's recap; of the failures those stay that no rescue mended.
        """
        broken = counts.get("failures", 0) + counts.get("unreachable", 0)
        failures = self.failures[-broken:] if broken else []
        report = dict(self.report or {})
        wanted = report.pop("wanted", None)
        facts = self.facts or {}
        return {
            "schema": SCHEMA,
            "run": run["run"],
            "playbook": run["playbook"],
            "host": self.host,
            "began": iso(self.began),
            "ended": iso(self.ended),
            "outcome": outcome(counts, failures),
            "check": run["check"],
            "facts": self.facts,
            "wanted": wanted,
            "changes": self.changes,
            "phases": {phase: round(seconds, 2) for phase, seconds in self.phases.items()},
            "verify": report.get("proof"),
            "warnings": list(report.get("warnings") or []),
            "failures": failures,
            "report": report or None,
            "versions": {
                "llmdesk": VERSION,
                "ansible": run["ansible"],
                "open_webui": (facts.get("page") or {}).get("version"),
                "ollama": (facts.get("ollama") or {}).get("version"),
                "docker": (facts.get("docker") or {}).get("version"),
                "driver": driver(facts),
            },
        }


def iso(at: float) -> str:
    """Return a time in seconds since the epoch as ISO 8601 has it, in UTC."""
    return datetime.fromtimestamp(at, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def outcome(counts: dict[str, int], failures: list[dict[str, str]]) -> str:
    """Return how a host's run ended: ok, changed, failed, unreachable, or rebooting.

    :param counts: the host's line in Ansible's recap.
    :param failures: those that ended it.
    """
    if counts.get("unreachable"):
        return "unreachable"
    if counts.get("failures"):
        waits = bool(failures) and all(failure["message"].startswith(REBOOT) for failure in failures)
        return "rebooting" if waits else "failed"
    return "changed" if counts.get("changed") else "ok"


def driver(facts: dict[str, Any]) -> str | None:
    """Return the version of the graphics driver that the containers depend on, None where there is none.

    Of AMD and Intel it is the kernel's own, whose name says nothing of a version.
    """
    return next((card["driver"] for card in facts.get("gpus") or [] if card.get("vendor") == "nvidia"), None)


def message(result: dict[str, Any] | None) -> str:
    """Return why a task failed: its message, and the end of what the command or module printed."""
    if result is None:
        return "Its output is hidden, because it may hold a secret (no_log)."
    items = [item for item in result.get("results") or [] if isinstance(item, dict)]
    failed = [item for item in items if item.get("failed") or item.get("unreachable")]
    if failed:
        return "\n".join(message(item) for item in failed)
    said = str(result.get("msg") or result.get("censored") or "It gave no reason.").strip()
    for stream in ("stderr", "module_stderr", "stdout", "module_stdout"):
        lines = str(result.get(stream) or "").strip().splitlines()
        if lines:
            return "\n".join([said, *(line for line in lines[-TAIL:] if line.strip() not in said.splitlines())])
    return said


def redacted(text: str) -> str:
    """Return a text without what opens an address, and without the values of what is named like a secret."""
    return _SECRET.sub(r"\1…", _OPENED.sub(r"\1…@", text))


def command(arguments: list[str]) -> str:
    """Return a command as it can be typed again, without secrets and without the files that passwords came from."""
    kept: list[str] = []
    skip = False
    for argument in arguments:
        if skip or argument.split("=")[0] in _PASSWORD_FILES:
            skip = not skip and "=" not in argument
            continue
        kept.append(redacted(argument))
    return shlex.join(kept)


def short(path: str) -> str:
    """Return a task's place from the collection on, or as it is where it is none of ours."""
    return path.rpartition(COLLECTION)[2]


def _facts(result: dict[str, Any]) -> dict[str, Any] | None:
    desk = result.get("desk")
    return desk if isinstance(desk, dict) and "schema" in desk else None


def _report(result: dict[str, Any]) -> dict[str, Any] | None:
    # Of a desk that needs nothing, the question itself has it; of the others a task shows it.
    for place in (result, result.get("msg")):
        if isinstance(place, dict) and isinstance(place.get("desk_report"), dict):
            report: dict[str, Any] = place["desk_report"]
            return report
    return None
