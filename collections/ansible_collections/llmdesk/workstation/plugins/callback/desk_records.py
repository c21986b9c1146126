# GNU General Public License v3.0+ (see LICENSE)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
name: desk_records
type: aggregate
short_description: A record of every desk, kept after a run
version_added: 0.1.0
author:
  - llmdesk maintainers (@llmdesk)
description:
  - Writes what a run found, changed and could not do, one JSON file a host, into a folder of the run beside
    C(run.json), and sends it to an address where one is given.
  - Works in Ansible's own process, so that whoever runs a playbook, on whichever machine, leaves the same record.
  - Looks into no result that is hidden by C(no_log). A record that cannot be written is one warning, and no failure.
requirements:
  - To be named under C(callbacks_enabled) in ansible.cfg.
options:
  path:
    description:
      - The folder of all runs; empty for no files.
      - C($XDG_STATE_HOME/llmdesk/records), or C(~/.local/state/llmdesk/records), where it is not given.
    type: str
    env:
      - name: LLMDESK_RECORDS
    ini:
      - section: llmdesk
        key: records
  run:
    description: The name of the run's folder. Made of time, playbook and process where it is not given.
    type: str
    env:
      - name: LLMDESK_RUN
  keep:
    description: How many runs are kept of each playbook.
    type: int
    default: 50
    env:
      - name: LLMDESK_RECORDS_KEEP
    ini:
      - section: llmdesk
        key: records_keep
  url:
    description: An address, http or https, that every record is sent to by POST.
    type: str
    env:
      - name: LLMDESK_RECORDS_URL
    ini:
      - section: llmdesk
        key: records_url
  token_file:
    description: A file whose first line is sent along as a bearer token.
    type: path
    env:
      - name: LLMDESK_RECORDS_TOKEN_FILE
    ini:
      - section: llmdesk
        key: records_token_file
"""

import json
import os
import sys
import time
from datetime import datetime
from pathlib import Path
from typing import Any

from ansible import context
from ansible.plugins.callback import CallbackBase
from ansible.release import __version__ as ansible_version
from ansible_collections.llmdesk.workstation.plugins.module_utils.record import (
    SCHEMA,
    DeskRecord,
    TaskEnd,
    command,
    iso,
    redacted,
)
from ansible_collections.llmdesk.workstation.plugins.plugin_utils import records

TELLING = {"llmdesk.workstation.desk_facts", "ansible.builtin.debug", "debug"}
"""The actions of whose results anything is kept: the facts of a desk, and its report."""

POST_TIMEOUT = 5


class CallbackModule(CallbackBase):  # type: ignore[misc]
    """Keeps a record of every host."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "llmdesk.workstation.desk_records"
    CALLBACK_NEEDS_ENABLED = True

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._desks: dict[str, DeskRecord] = {}
        self._under_way: dict[tuple[str, str], float] = {}
        self._play = ""
        self._told: set[str] = set()
        self._run: dict[str, Any] = {}
        self._folder: Path | None = None
        self._url = ""

    def v2_playbook_on_start(self, playbook: Any) -> None:
        """Begin the record of the run."""
        now, name = time.time(), Path(playbook._file_name).stem
        path = self.get_option("path")
        chosen = records.default_folder() if path is None else Path(path).expanduser()
        run = self.get_option("run") or f"{datetime.fromtimestamp(now):%Y%m%d-%H%M%S}-{name}-{os.getpid()}"
        arguments = context.CLIARGS
        self._url = self.get_option("url") or ""
        self._run = {
            "schema": SCHEMA,
            "run": run,
            "playbook": name,
            "command": command([Path(sys.argv[0]).name, *sys.argv[1:]]),
            "inventory": [redacted(str(source)) for source in arguments.get("inventory") or []],
            "limit": arguments.get("subset"),
            "check": bool(arguments.get("check")),
            "began": iso(now),
            "ended": None,
            "hosts": {},
        }
        if path != "":
            self._folder = chosen / run
            self._keep_run()

    def v2_playbook_on_play_start(self, play: Any) -> None:
        """Remember the play, whose name stands for tasks outside of roles; tell the command line whom it is about."""
        self._play = play.get_name().strip()
        # Once a play, not once a batch of 'serial': a screen can say how many desks still wait.
        if os.environ.get("LLMDESK_PROGRESS") == "json" and play._uuid not in self._told:
            if not self._told:  # A play before theirs may end the run, and then theirs never begins.
                inventory = play.get_variable_manager()._inventory
                desks = inventory.get_hosts("desks", ignore_restrictions=True) if "desks" in inventory.groups else []
                self._display.display("llmdesk-desks " + json.dumps([host.name for host in desks]))
            self._told.add(play._uuid)
            hosts = play.get_variable_manager().get_vars(play=play)["ansible_play_hosts_all"]
            self._display.display("llmdesk-hosts " + json.dumps(list(hosts)))

    def v2_runner_on_start(self, host: Any, task: Any) -> None:
        """Remember when a host began with a task."""
        self._under_way[host.name, task._uuid] = time.time()

    def v2_runner_on_ok(self, result: Any) -> None:
        """Take a task that ended well."""
        self._end(result, "changed" if result.is_changed() else "ok")

    def v2_runner_on_skipped(self, result: Any) -> None:
        """Take a task that was not needed."""
        self._end(result, "skipped")

    def v2_runner_on_failed(self, result: Any, ignore_errors: bool = False) -> None:
        """Take a task that failed."""
        self._end(result, "ignored" if ignore_errors else "failed")

    def v2_runner_on_unreachable(self, result: Any) -> None:
        """Take a host that could not be reached."""
        self._end(result, "ignored" if result._task.ignore_unreachable else "unreachable")

    def v2_playbook_on_stats(self, stats: Any) -> None:
        """Write the records of all hosts."""
        run = dict(self._run, ansible=ansible_version)
        now = time.time()
        for host in sorted(stats.processed):
            desk = self._desks.get(host) or DeskRecord(host, now, now)
            record = desk.close(run, stats.summarize(host))
            self._run["hosts"][host] = record["outcome"]
            self._keep(records.file_name(host), record)
            self._send(record)
        self._run["ended"] = iso(now)
        self._keep_run()
        if self._folder:
            try:
                records.prune(self._folder.parent, self._run["playbook"], self.get_option("keep"))
            except OSError as error:
                self._give_up(error)

    def _end(self, result: Any, outcome: str) -> None:
        now, task, host = time.time(), result._task, result._host.name
        began = self._under_way.pop((host, task._uuid), now)
        desk = self._desks.get(host)
        if desk is None:
            desk = self._desks[host] = DeskRecord(host, began, now)
        broken = outcome in ("failed", "unreachable")
        role = task._role and task._role.get_name().rpartition(".")[2]
        desk.add(
            TaskEnd(
                host,
                phase=role or self._play,
                task=str(result.task_name).rpartition(" : ")[2],
                path=(task.get_path() or "").removeprefix(f"{Path.cwd()}/"),
                outcome=outcome,
                at=now,
                seconds=now - began,
                result=_open(result) if broken or task.action in TELLING else None,
            )
        )

    def _keep_run(self) -> None:
        self._keep(records.RUN, self._run)

    def _keep(self, name: str, document: dict[str, Any]) -> None:
        if self._folder:
            try:
                records.write(self._folder / name, document)
            except OSError as error:
                self._give_up(error)

    def _give_up(self, error: OSError) -> None:
        self._display.warning(
            f"The records of this run could not be kept in {self._folder}: {error.strerror or error}. The run goes on."
        )
        self._folder = None

    def _send(self, record: dict[str, Any]) -> None:
        if not self._url:
            return
        from ansible.module_utils.urls import open_url

        headers = {"Content-Type": "application/json"}
        try:
            if self.get_option("token_file"):
                token = Path(self.get_option("token_file")).read_text(encoding="utf-8").splitlines()[0].strip()
                headers["Authorization"] = f"Bearer {token}"
            open_url(
                self._url,
                data=json.dumps(record),
                headers=headers,
                method="POST",
                timeout=POST_TIMEOUT,
                follow_redirects="none",
            ).read()
        except Exception as error:  # Whatever is wrong over there, the desks are as they are.
            self._display.warning(
                f"The records of this run could not be sent to {redacted(self._url)}: {error}. The run goes on."
            )
            self._url = ""


def _open(result: Any) -> dict[str, Any] | None:
    """Return a task's result, None where it must not be looked into."""
    if result._task.no_log or result._result.get("_ansible_no_log") or "censored" in result._result:
        return None
    return dict(result._result)
