# SPDX-License-Identifier: GPL-3.0-or-later
"""One JSON document a line: what happens as it happens, and at the end one whose ``event`` is ``result``.

``docs/schema/events.schema.json`` says what stands in each.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any, TextIO

from llmdesk.desks import as_json, desks, half_of
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
from llmdesk.run import Outcome, Play
from llmdesk.screen.room import unfinished
from llmdesk.story import Story
from llmdesk.words import remedy

_NAMES = {
    HostsNamed: "hosts",
    TaskStarted: "task",
    HostStarted: "start",
    TaskEnded: "end",
    Progress: "progress",
    Said: "said",
}


class JsonScreen:
    """Writes NDJSON."""

    def __init__(self, stream: TextIO) -> None:
        self.story = Story()
        self._stream = stream

    def abandon(self) -> None:
        """Leave what was written as it is."""

    def begin(self, play: Play) -> None:
        """Write what is going to run."""
        self._write({"event": "run", "command": play.command()})

    def show(self, event: Event) -> None:
        """Write one event; the recap, and who was left undone, go into the result."""
        self.story.add(event)
        if not isinstance(event, DesksNamed | PlayStopped | Recap):
            told = {key: value for key, value in asdict(event).items() if key != "text" or isinstance(event, Said)}
            self._write({"event": _NAMES[type(event)], **told})

    def end(self, outcome: Outcome) -> None:
        """Write the result."""
        story = self.story
        found = desks(story)
        hosts = {host: {**counts, "report": story.reports.get(host)} for host, counts in story.recap.items()}
        failures = [
            {
                "host": event.host,
                "phase": event.phase,
                "task": event.task,
                "outcome": event.outcome,
                "message": event.message,
                "path": event.path,
                "remedy": remedy(event, half_of(found, event.host)),
            }
            for event in story.failures()
        ]
        self._write(
            {
                "event": "result",
                "rc": outcome.rc,
                "seconds": round(outcome.seconds, 3),
                "changed": story.changed,
                "phases": {phase.name: round(phase.seconds, 3) for phase in story.phases.values()},
                "hosts": hosts,
                "desks": {desk.name: as_json(desk) for desk in found},
                "failures": failures,
                "unfinished": unfinished(story, outcome),
                "records": str(outcome.records),
            }
        )

    def _write(self, document: dict[str, Any]) -> None:
        self._stream.write(json.dumps(document, ensure_ascii=False) + "\n")
        self._stream.flush()
