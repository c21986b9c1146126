#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: docker_daemon_config
short_description: Settings of Docker's daemon, merged into what is there
description:
  - Merges settings into Docker's C(daemon.json) and lets the daemon take them. What others have written there stays.
  - The new file is checked by the daemon's own program before it takes the old one's place, and the old one is kept.
  - The daemon reloads where that brings the changed settings into force, and is restarted otherwise. Containers survive
    a restart where C(live-restore) is on; where it is among the new settings, it is on before the restart.
  - A daemon that does not take the new file gets the old one back, is started with it, and the module fails with the
    daemon's own words.
  - A change that a run has written and that was cut off before Docker took it is taken up by the next run.
version_added: 0.1.0
author:
  - llmdesk maintainers (@llmdesk)
options:
  config:
    description:
      - The settings. Objects are merged, lists get the entries that they lack, and a key that is null is taken away.
    type: dict
    required: true
  path:
    description: The file. The running daemon has to read it.
    type: path
    default: /etc/docker/daemon.json
  backup_dir:
    description: Folder of the copies of earlier files; beside the file where it is not given.
    type: path
  apply:
    description:
      - How the daemon takes the change. V(auto) is what the changed settings need, V(none) only writes the file.
    type: str
    choices: [auto, reload, restart, none]
    default: auto
  timeout:
    description: Seconds after which a daemon that does not answer after its restart counts as failed.
    type: int
    default: 60
attributes:
  check_mode:
    support: full
    description: Checks the new file and says what would be done.
  diff_mode:
    support: full
    description: Shows the file before and after, without passwords.
notes:
  - A daemon that somebody has started by hand is reloaded, but never stopped.
"""

EXAMPLES = r"""
- name: Offer the NVIDIA runtime beside everything that is set already
  llmdesk.workstation.docker_daemon_config:
    config:
      runtimes:
        nvidia:
          path: nvidia-container-runtime

- name: Let containers outlive the daemon, and forget about the old mirror
  llmdesk.workstation.docker_daemon_config:
    config:
      live-restore: true
      registry-mirrors: null
"""

RETURN = r"""
path:
  description: The file.
  returned: always
  type: str
  sample: /etc/docker/daemon.json
keys:
  description: The settings that changed.
  returned: success
  type: list
  elements: str
  sample: [live-restore]
applied:
  description: What the daemon did to take them, V(none), V(reload) or V(restart); in check mode, what it would do.
  returned: success
  type: str
  sample: reload
validated:
  description:
    - How the file was checked, by V(dockerd --validate), by V(a scratch copy) where dockerd has no such option, or
      V(not at all) without Docker.
  returned: success
  type: str
  sample: dockerd --validate
backup:
  description: The copy of the file that was replaced; empty where there was none.
  returned: changed
  type: str
  sample: /etc/docker/daemon.json.20261126T011500Z
containers:
  description: What a restart meant to the containers that ran, C(survived), C(started_again) and C(stopped), by names.
  returned: success
  type: dict
  sample: {survived: [open-webui], started_again: [], stopped: []}
rolled_back:
  description: Whether the previous file was put back.
  returned: failure
  type: bool
  sample: true
"""

import json
import os
import shutil
import tempfile
import time
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.llmdesk.workstation.plugins.module_utils import daemon_config
from ansible_collections.llmdesk.workstation.plugins.module_utils.docker_daemon import Daemon, DaemonFailure

DEFAULT = "/etc/docker/daemon.json"
NO_FATE: dict[str, list[str]] = {"survived": [], "started_again": [], "stopped": []}
# Flags that a scratch copy has to set by itself, with their short names.
OWN_FLAGS = {
    "data-root": ("--data-root", "-g", "--graph"),
    "exec-root": ("--exec-root",),
    "pidfile": ("--pidfile", "-p"),
}
# How a daemon that has read its settings and found them right says that another one runs.
RUNS_ALREADY = "ensure docker is not running"


class Refused(Exception):
    """Nothing was changed; the message says why and what to do."""


class Writer:
    """One change to one daemon.json."""

    def __init__(self, module: AnsibleModule) -> None:
        self._module = module
        self._path: str = module.params["path"]
        self._daemon = Daemon(module.run_command, module.params["timeout"])

    def run(self) -> dict[str, Any]:
        """Return the result.

        :raises Refused: nothing was changed.
        """
        present = self._present()
        note = self._cut_off()
        # What Docker runs with: a run that was cut off has written the file, and let nobody take it.
        before_text = present if note is None else self._present(note) if note else None
        before = self._parsed(before_text)
        after = daemon_config.merge(self._parsed(present), self._module.params["config"])
        keys = daemon_config.changed_keys(before, after)
        result: dict[str, Any] = {"changed": bool(keys), "path": self._path, "keys": keys, "applied": "none"}
        result.update(containers=NO_FATE, validated="not at all")
        if not keys:
            self._forget()
            return result
        after_text = daemon_config.render(after, present)
        result["diff"] = {
            "before_header": self._path,
            "after_header": self._path,
            "before": daemon_config.redacted_text(before_text or ""),
            "after": daemon_config.redacted_text(after_text),
        }
        apply = self._apply(before, after)
        self._may(before_text, apply, keys)
        result.update(validated=self._validate(after), applied=apply)
        if not self._module.check_mode:
            result["backup"] = self._backup(before_text) if note is None else note
            ran = self._daemon.containers() if apply == "restart" else {}
            if apply != "none":
                self._note(result["backup"])
            self._write(after_text)
            self._take(before_text, before, after, apply, result["backup"])
            self._forget()
            result["containers"] = self._daemon.fate(ran) if ran else NO_FATE
        return result

    # --- Reading ------------------------------------------------------------------------------------------------

    def _present(self, path: str = "") -> str | None:
        try:
            with open(path or self._path, encoding="utf-8-sig", newline="") as file:
                return file.read()
        except FileNotFoundError:
            return None
        except UnicodeDecodeError as error:
            raise Refused(f"{self._path} is not UTF-8 text: {error}. Mend it; nothing was changed.") from error
        except OSError as error:
            raise Refused(f"{self._path} cannot be read: {error.strerror}. Nothing was changed.") from error

    def _parsed(self, text: str | None) -> dict[str, Any]:
        try:
            return daemon_config.parse(text or "")
        except daemon_config.NotJson as error:
            raise Refused(
                f"{self._path} is not valid JSON: {error}. Docker would not start with it. Mend that line and run "
                "again; nothing was changed."
            ) from error

    def _cut_off(self) -> str | None:
        """Return the copy of the file that Docker still runs with, where a run was cut off before Docker took its own.

        Empty where there was no file, None where no run was cut off, or Docker was started since.
        """
        try:
            with open(daemon_config.NOTE, encoding="utf-8") as file:
                note = json.load(file)
            written = os.stat(daemon_config.NOTE).st_mtime
            if note["path"] == self._path and 0 < self._daemon.began() < written:
                backup = str(note["backup"])
                return backup if not backup or os.path.exists(backup) else None
        except (OSError, ValueError, KeyError, TypeError):
            pass
        return None

    def _note(self, backup: str) -> None:
        with open(daemon_config.NOTE, "w", encoding="utf-8") as file:
            json.dump({"path": self._path, "backup": backup}, file)

    def _forget(self) -> None:
        if not self._module.check_mode and os.path.exists(daemon_config.NOTE):
            os.unlink(daemon_config.NOTE)

    # --- Deciding -----------------------------------------------------------------------------------------------

    def _apply(self, before: dict[str, Any], after: dict[str, Any]) -> str:
        wanted: str = self._module.params["apply"]
        if self._daemon.owner == "nobody" or wanted != "auto":
            return "none" if self._daemon.owner == "nobody" else wanted
        return "restart" if daemon_config.needs(before, after)["restart"] else "reload"

    def _may(self, before_text: str | None, apply: str, keys: list[str]) -> None:
        """Refuse what somebody else has to do."""
        there = f"Set {', '.join(keys)} there, and this file is left alone; nothing was changed."
        if os.path.islink(self._path):
            raise Refused(f"{self._path} is a link to {os.path.realpath(self._path)}, so another tool owns it. {there}")
        read = self._daemon.file() or DEFAULT
        if apply != "none" and os.path.realpath(read) != os.path.realpath(self._path):
            raise Refused(f"Docker reads its settings from {read} and not from {self._path}. {there}")
        if self._daemon.owner == "nobody" and self._daemon.answers():
            raise Refused(
                "Docker answers, but its daemon does not run on this machine, as with Docker Desktop, whose settings "
                f"stand in its window under Docker Engine. {there}"
            )
        if apply == "restart" and self._daemon.owner == "stranger":
            raise Refused(
                f"{', '.join(keys)} need a restart of dockerd (pid {self._daemon.pid}), which somebody has started by "
                f"hand: '{' '.join(self._daemon.command)}'. It is not killed. Stop it and run again; nothing was "
                "changed."
            )
        if before_text is not None and not os.access(self._path, os.W_OK):
            raise Refused(f"{self._path} may not be written by this user. {there}")

    # --- Checking -----------------------------------------------------------------------------------------------

    def _validate(self, after: dict[str, Any]) -> str:
        program = self._daemon.command[0] if self._daemon.command else shutil.which("dockerd")
        if program is None:
            return "not at all"
        scratch = tempfile.mkdtemp()
        try:
            _rc, usage, _errors = self._module.run_command([program, "--help"])
            if "--validate" in usage:
                self._by_validate(program, after, scratch)
                how = "dockerd --validate"
            else:
                self._by_scratch_copy(program, after, scratch)
                how = "a scratch copy"
        finally:
            # Where its mount is shared with nobody, the daemon has made the folder one of its own: onto itself, which
            # os.path.ismount does not see.
            if os.path.exists(scratch + "/data"):
                self._module.run_command(["umount", scratch + "/data"])
            shutil.rmtree(scratch)
        self._log_driver(after)
        return how

    def _by_validate(self, program: str, after: dict[str, Any], scratch: str) -> None:
        flags = daemon_config.flags(self._daemon.command, ("--config-file",))
        file = _put(scratch, after)
        rc, said, errors = self._module.run_command([program, *flags, "--validate", "--config-file", file])
        if rc != 0:
            self._wrong(said + errors, file)

    def _by_scratch_copy(self, program: str, after: dict[str, Any], scratch: str) -> None:
        """Start a second daemon that reads the settings, then sees that one runs already, and ends.

        Its folders are of its own, and its pid file names a process that certainly lives; it comes no further than
        that file.
        """
        for key, names in OWN_FLAGS.items():
            given = daemon_config.flag(self._daemon.command, names)
            if given and key in after:
                self._wrong(f"{key} is given both as a flag ({given}) and in the file", "")
        own = {"data-root": scratch + "/data", "exec-root": scratch + "/exec", "pidfile": scratch + "/pid"}
        with open(own["pidfile"], "w", encoding="ascii") as file:
            file.write(str(os.getpid()))
        dropped = ("--config-file", *(name for names in OWN_FLAGS.values() for name in names))
        copy = _put(scratch, {key: value for key, value in {**after, **own}.items() if key != "graph"})
        flags = daemon_config.flags(self._daemon.command, dropped)
        _rc, said, errors = self._module.run_command(["timeout", "20", program, *flags, "--config-file", copy])
        if RUNS_ALREADY not in said + errors:
            self._wrong(said + errors, copy)

    def _log_driver(self, after: dict[str, Any]) -> None:
        """Refuse a log driver that Docker lacks: it would start with it, and then start no container any more."""
        drivers = (self._daemon.info().get("Plugins") or {}).get("Log") or []
        driver = after.get("log-driver")
        if driver and drivers and driver != "none" and driver not in drivers and ":" not in driver:
            self._wrong(f"log-driver {driver!r} is none of {', '.join(drivers)}", "")

    def _wrong(self, said: str, file: str) -> None:
        words = daemon_config.complaint(said) or said.strip().splitlines()[-1]
        words = daemon_config.redacted_text(words.replace(file, self._path) if file else words).rstrip(".")
        raise Refused(f"Docker would not take these settings: {words}. Mend them; nothing was changed.")

    # --- Writing ------------------------------------------------------------------------------------------------

    def _backup(self, text: str | None) -> str:
        if text is None:
            return ""
        folder = self._module.params["backup_dir"] or os.path.dirname(self._path)
        name = os.path.join(folder, os.path.basename(self._path) + time.strftime(".%Y%m%dT%H%M%SZ", time.gmtime()))
        number, path = 1, name
        while os.path.exists(path):
            number, path = number + 1, f"{name}-{number}"
        try:
            os.makedirs(folder, mode=0o755, exist_ok=True)
            self._module.preserved_copy(self._path, path)
        except OSError as error:
            raise Refused(
                f"{self._path} could not be kept as {path}: {error.strerror}. Nothing was changed."
            ) from error
        return path

    def _write(self, text: str) -> None:
        """Put a text into the file in one step; owner, mode and SELinux's label of the old one are kept."""
        folder = os.path.dirname(self._path)
        try:
            os.makedirs(folder, mode=0o755, exist_ok=True)
            handle, temporary = tempfile.mkstemp(dir=folder)
            with os.fdopen(handle, "w", encoding="utf-8", newline="") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise Refused(f"{self._path} cannot be written: {error.strerror}. Nothing was changed.") from error
        self._module.add_cleanup_file(temporary)
        new = not os.path.exists(self._path)
        self._module.atomic_move(temporary, self._path)
        if new:
            # Only root's daemon reads it, and it may hold a proxy's password.
            os.chmod(self._path, 0o600 if daemon_config.redacted_text(text) != text else 0o644)

    def _restore(self, text: str | None) -> None:
        if text is None:
            os.unlink(self._path)
        else:
            self._write(text)

    def _take(
        self, before_text: str | None, before: dict[str, Any], after: dict[str, Any], apply: str, backup: str
    ) -> None:
        """Let the daemon take the new file, and put the old one back where it does not."""
        restarts = False
        try:
            # On before the restart, so that the containers outlive it.
            keeps = after.get("live-restore") is True and before.get("live-restore") is not True
            if apply == "reload" or (apply == "restart" and keeps):
                self._daemon.reload()
            if apply == "restart":
                restarts = True
                self._daemon.restart()
        except DaemonFailure as failure:
            self._restore(before_text)
            back = self._back(restarts)
            self._forget()
            self._module.fail_json(
                msg=f"Docker did not take the new {self._path}: {str(failure).rstrip('.')}. "
                f"{'The previous file is back' if before_text is not None else 'The file is gone again'}, and {back}",
                path=self._path,
                backup=backup,
                rolled_back=True,
            )

    def _back(self, restarts: bool) -> str:
        """Let the daemon live with the previous file, and return the end of a sentence about it."""
        try:
            if restarts:
                self._daemon.start()
            else:
                self._daemon.reload()
        except DaemonFailure as failure:
            return (
                f"Docker does not come back with it either: {str(failure).rstrip('.')}. Look into its log "
                "('journalctl -u docker') and start it by hand."
            )
        return f"Docker {self._daemon.answers()} answers with it. Mend the setting and run again."


def _put(folder: str, settings: dict[str, Any]) -> str:
    path = os.path.join(folder, "daemon.json")
    with open(path, "w", encoding="utf-8") as file:
        json.dump(settings, file)
    return path


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "config": {"type": "dict", "required": True},
            "path": {"type": "path", "default": DEFAULT},
            "backup_dir": {"type": "path"},
            "apply": {"type": "str", "choices": ["auto", "reload", "restart", "none"], "default": "auto"},
            "timeout": {"type": "int", "default": 60},
        },
        supports_check_mode=True,
    )
    # Not the whole option: its other values are words such as true.
    module.no_log_values.update(daemon_config.secrets(module.params["config"]))
    try:
        module.exit_json(**Writer(module).run())
    except Refused as refusal:
        module.fail_json(msg=str(refusal), path=module.params["path"], rolled_back=False)


if __name__ == "__main__":
    main()
