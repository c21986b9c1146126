# SPDX-License-Identifier: GPL-3.0-or-later
"""A person at this machine who runs plays on a desk."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import yaml
from docker.models.containers import Container

from lab import proxy
from lab.engine import REPOSITORY


@dataclass(frozen=True)
class Ran:
    """How a play ended, and what it said, on one line."""

    rc: int
    text: str

    @property
    def executions(self) -> int:
        """How many modules the desk has executed; told by ``-vvv`` alone."""
        return len(re.findall(r"EXEC .*?python3", self.text))


@dataclass(frozen=True)
class Machine:
    """A desk, and a folder of this machine for what is run on it."""

    container: Container
    folder: Path

    def runs(self, playbook: str, verbosity: int = 0, check: bool = False, **variables: Any) -> Ran:
        """Run a playbook; the variables stand in a file, as an inventory's do."""
        own = {
            "ansible_connection": "community.docker.docker",
            "ansible_python_interpreter": "/usr/bin/python3",
            **variables,
        }
        inventory = {"desks": {"hosts": {str(self.container.name): {}}, "vars": own}}
        (self.folder / "inventory.json").write_text(json.dumps(inventory))
        command = [str(Path(sys.executable).with_name("ansible-playbook")), "-i", f"{self.folder}/inventory.json"]
        command += [playbook] + ["-" + "v" * verbosity] * bool(verbosity) + ["--check"] * check
        done = subprocess.run(
            command,
            cwd=REPOSITORY,
            env={**os.environ, "ANSIBLE_NOCOLOR": "1", "COLUMNS": "10000"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
        )
        return Ran(done.returncode, " ".join((done.stdout + done.stderr).split()))

    def plays(self, tasks: list[dict[str, Any]], **options: Any) -> Ran:
        """Run tasks."""
        play = [{"hosts": "all", "gather_facts": False, "tasks": tasks}]
        (self.folder / "play.yml").write_text(yaml.safe_dump(play))
        return self.runs(str(self.folder / "play.yml"), **options)

    def runs_roles(self, *roles: str, **options: Any) -> Ran:
        """Run roles in order."""
        tasks = [{"ansible.builtin.import_role": {"name": f"llmdesk.workstation.{role}"}} for role in roles]
        return self.plays(tasks, **options)

    def types(self, command: str) -> str:
        """Return what a command says, whether it fails or not."""
        return bytes(self.container.exec_run(["sh", "-c", command]).output).decode(errors="replace")  # type: ignore[arg-type]


def through(port: int, password: str = "") -> dict[str, Any]:
    """Return ``desk_proxy`` for a port of the lab's proxy."""
    opened = f"{proxy.USER}:{quote(password, safe='')}@" if password else ""
    return {"http": f"http://{opened}{proxy.address()}:{port}"}
