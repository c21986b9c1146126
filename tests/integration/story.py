# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs playbooks/story.yml as the command line runs its own, or records it and windows.yml for the unit tests.

``python -m tests.integration.story --record tests/unit/fixtures/runner`` makes the unit tests' events anew.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import click

from llmdesk import screen
from llmdesk.commands import plays
from llmdesk.run import Play, run

PLAYBOOKS = "tests/integration/playbooks"
STORY = f"{PLAYBOOKS}/story.yml"
HOSTS = f"{PLAYBOOKS}/hosts.yml"
WINDOWS = "tests/unit/fixtures/windows/pc1.json"
REBOOT = {
    "story_plan": {
        "reboot": ["VirtualMachinePlatform was switched on and Windows has not been restarted since"],
        "steps": [
            {"do": "distribution", "reason": "PC1\\ann has no distro Ubuntu-24.04"},
            {"do": "keep_alive", "reason": "nothing keeps the distro running while nobody uses it"},
        ],
    },
    "story_changed": {
        "reboot_pending": ["component servicing"],
        "keep_alive": None,
        "wsl": {"distributions": []},
    },
}
"""A PC whose features were switched on a moment ago."""

# What the command line, or a person who reads a fixture, makes something of.
KEPT = ("event", "created", "stdout", "pid")
KEPT_DATA = (
    *("playbook", "play", "role", "task", "task_action", "task_path", "host", "remote_addr", "res", "duration"),
    *("ignore_errors", "event_loop", "diff"),
    *("processed", "ok", "changed", "failures", "dark", "skipped", "rescued", "ignored"),
)
DROPPED = ("invocation", "start", "end", "src")


def play(**options: Any) -> Play:
    """Return the story as a play; ``story_…`` are its variables."""
    variables = {name: options.pop(name) for name in list(options) if name.startswith("story_")}
    own = (json.dumps(variables),) if variables else ()
    return Play(STORY, inventory=(HOSTS,), extra_vars=(*own, *options.pop("extra_vars", ())), **options)


def windows(**variables: Any) -> Play:
    """Return the play of a desk of two halves; ``story_…`` are its variables."""
    given = {"story_windows": str(Path(WINDOWS).absolute()), **variables}
    return Play(
        f"{PLAYBOOKS}/windows.yml", inventory=(f"{PLAYBOOKS}/windows-hosts.yml",), extra_vars=(json.dumps(given),)
    )


def record(folder: Path) -> None:
    """Write a file for each way in which a run can go."""
    with tempfile.TemporaryDirectory() as temporary:
        unparsed = Path(temporary) / "unparsed.yml"
        unparsed.write_text("- hosts: [all\n  tasks: []\n")
        port = json.dumps({"ansible_port": 1, "ansible_host": "127.0.0.1"})
        runs = {
            "story": play(story_file=f"{temporary}/file", diff=True),
            "broken": play(story_break="desk2"),
            "unreachable": Play(STORY, inventory=("desk7,",), extra_vars=(port,)),
            "unparsed": Play(str(unparsed), inventory=(HOSTS,)),
            "windows": windows(),
            "windows-dead-distro": windows(story_connection="ssh"),
            "windows-reboot": windows(**REBOOT),
        }
        for name, wanted in runs.items():
            events: list[dict[str, Any]] = []
            run(wanted, events.append, keep=False)
            text = "".join(json.dumps(thinned(event)) + "\n" for event in events)
            here = f"{Path.cwd()}/"
            (folder / f"{name}.jsonl").write_text(text.replace(here, "").replace(f"{temporary}/", ""))


def thinned(event: dict[str, Any]) -> dict[str, Any]:
    """Return an event without what is of this machine, or of no use."""
    kept = {key: event[key] for key in KEPT if key in event}
    data = {key: event["event_data"][key] for key in KEPT_DATA if key in event.get("event_data", {})}
    if isinstance(data.get("res"), dict):
        data["res"] = {key: value for key, value in data["res"].items() if key not in DROPPED}
    return {**kept, "event_data": data} if data else kept


@click.command(help=__doc__)
@click.option("--json", "as_json", is_flag=True)
@click.option("--check", is_flag=True)
@click.option("--diff", is_flag=True)
@click.option("-e", "--extra-vars", multiple=True)
@click.option("--reboot", is_flag=True, help="Run windows.yml instead, on a PC that has to restart.")
@click.option("--record", "folder", type=click.Path(path_type=Path, file_okay=False, exists=True))
def main(as_json: bool, folder: Path | None, reboot: bool, **options: Any) -> None:
    """Run or record."""
    if folder:
        record(folder)
    else:
        wanted = windows(**REBOOT) if reboot else play(**options)
        plays.finish(wanted, screen.choose(as_json, verbose=False))


if __name__ == "__main__":
    main()
