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


def room(folder: Path, desks: int, strategy: str = "linear", forks: int | None = None, **variables: Any) -> Play:
    """Return the play of a room; ``room_…`` are its variables.

    Its inventory is written into a folder. Three desks of twelve go wrong: one cannot be reached, one has no space for
    Docker, and to one a model comes torn.
    """
    names = [f"desk{number:02}" for number in range(1, desks + 1)]
    hosts: dict[str, dict[str, Any]] = {name: {"room_tokens": 70 + index} for index, name in enumerate(names)}
    if desks >= 12:
        hosts["desk03"] = {"ansible_connection": "ssh", "ansible_host": "127.0.0.1", "ansible_port": 1}
        hosts["desk05"] = {"room_break": "echo 'E: no space left on device' >&2; exit 100"}
        hosts["desk08"]["room_torn"] = True
        hosts["desk11"]["room_warnings"] = ["llama3.2:3b was not to be had; smollm2:135m stands in for it."]
    own = {"ansible_connection": "local", "ansible_python_interpreter": "/usr/bin/python3"}
    inventory = folder / "room.json"
    inventory.write_text(json.dumps({"desks": {"hosts": hosts, "vars": own}}))
    given = json.dumps({"room_strategy": strategy, **variables})
    return Play(f"{PLAYBOOKS}/room.yml", inventory=(str(inventory),), extra_vars=(given,), forks=forks)


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
            "room": room(Path(temporary), 12, forks=12, room_pull_seconds=3),
            "room-host-pinned": room(Path(temporary), 12, "host_pinned", forks=5, room_pull_seconds=3),
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
    if event["event"] == "runner_on_start":
        data = {key: data[key] for key in ("play", "role", "task", "task_action", "host") if key in data}
    if isinstance(data.get("res"), dict):
        data["res"] = {key: value for key, value in data["res"].items() if key not in DROPPED}
    return {**kept, "event_data": data} if data else kept


@click.command(help=__doc__)
@click.option("--json", "as_json", is_flag=True)
@click.option("--check", is_flag=True)
@click.option("--diff", is_flag=True)
@click.option("-e", "--extra-vars", multiple=True)
@click.option("--reboot", is_flag=True, help="Run windows.yml instead, on a PC that has to restart.")
@click.option("--room", "desks", type=click.IntRange(2), help="Run room.yml instead, with so many desks.")
@click.option("--record", "folder", type=click.Path(path_type=Path, file_okay=False, exists=True))
def main(as_json: bool, folder: Path | None, reboot: bool, desks: int | None, **options: Any) -> None:
    """Run or record."""
    if folder:
        record(folder)
        return
    with tempfile.TemporaryDirectory() as temporary:
        if desks:
            given = json.loads(options["extra_vars"][0]) if options["extra_vars"] else {}
            wanted = room(Path(temporary), desks, "host_pinned", **given)
        else:
            wanted = windows(**REBOOT) if reboot else play(**options)
        plays.finish(wanted, screen.choose(as_json, verbose=False))


if __name__ == "__main__":
    main()
