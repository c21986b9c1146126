# SPDX-License-Identifier: GPL-3.0-or-later
"""The base of action plugins that show what their module does while it works.

The module is started once through ``async_wrapper`` and then watched by plain shell commands: they read its progress,
touch its lease and fetch its result. So a task with progress is still one module execution on the desk.
"""

from __future__ import annotations

import json
import os
import shlex
import time
from collections import deque
from collections.abc import Iterator
from typing import Any

from ansible import constants
from ansible.errors import AnsibleConnectionFailure
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display

display = Display()

DAY = 86400
MARK = "--llmdesk--"
# What differs after a restart, of a machine or of a container: the kernel's number of its boot, and when PID 1 began.
BOOT = "echo $(cat /proc/sys/kernel/random/boot_id; cut -d' ' -f22 /proc/1/stat)"
POLL = 0.5  # seconds between two looks
POLL_LATER = 2.0  # and once it takes long: each look costs the desk a shell as root, and the controller one a desk
PATIENCE = 45.0  # seconds that a desk may be out of reach meanwhile; the module waits a little longer for a look
QUIET = 2.0  # seconds that a task may take without a word
SPEAK = 5.0  # seconds between two lines for a person
# Seconds over which a rate is measured. A line that slows down is seen soon; one step of a compiler takes a second and
# the next a minute, so that only many of them tell anything. The command line's bars measure alike.
WINDOWS = {"bytes": 10.0, "steps": 120.0}
SHORTEST = 1.0  # seconds in which a rate can be seen; a report may be half a second old when it is read


class ProgressActionBase(ActionBase):  # type: ignore[misc]
    """Runs the module of the same name and shows its progress."""

    _supports_check_mode = True
    _supports_async = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return the module's result."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        if self._task.check_mode or self._task.async_val:
            result.update(self._execute_module(task_vars=task_vars, wrap_async=self._task.async_val))
            return result
        folder = self._make_tmp_path()
        progress = self._connection._shell.join_path(folder, "progress")
        boot = self._low_level_execute_command(f"touch {shlex.quote(progress)}.lease; {BOOT}")["stdout"].strip()
        arguments = dict(self._task.args, progress_file=progress, **self._more_arguments(folder))
        self._task.async_val = DAY
        try:
            started = self._execute_module(module_args=arguments, task_vars=task_vars, wrap_async=True)
        finally:
            self._task.async_val = 0
        results_file = started.get("results_file")
        if started.get("failed") or results_file is None:
            result.update(started)
        else:
            result.update(self._watch(results_file, progress, boot, task_vars or {}))
        self._remove(folder, results_file)
        return result

    def _more_arguments(self, folder: str) -> dict[str, Any]:
        """Return arguments that only the controller knows; files for the desk may be put into ``folder`` there."""
        return {}

    def _remove(self, folder: str, results_file: str | None) -> None:
        """Remove what is left of a run on the desk: ``async_wrapper`` removes some of it, seconds later."""
        left = [results_file, None if constants.DEFAULT_KEEP_REMOTE_FILES else folder]
        removed = self._low_level_execute_command(f"rm -rf {' '.join(shlex.quote(path) for path in left if path)}")
        if removed["rc"] != 0:  # The folder is the login's, and may be beyond the account that the task becomes.
            self._remove_tmp_path(folder, force=True)

    def _watch(self, results_file: str, progress: str, boot: str, task_vars: dict[str, Any]) -> dict[str, Any]:
        """Show the progress until the result is there, and return it."""
        teller = Teller(task_vars.get("inventory_hostname", "?"), self._task.get_name())
        file, said = shlex.quote(results_file), shlex.quote(progress)
        command = f"touch {said}.lease; {BOOT}; echo {MARK}; cat {said} 2>/dev/null; echo; echo {MARK}; cat {file}"
        began = time.monotonic()
        # A worker outlives a controller that was killed, and would hold the lease until the module is through.
        controller = os.getppid()
        while os.getppid() == controller:
            answer = self._look(command)
            if answer["rc"] != 0:
                return {"failed": True, "msg": f"The desk stopped answering: {answer['stderr'].strip()}"}
            booted, report, outcome = answer["stdout"].split(MARK, 2)
            result = _decoded(outcome)
            # async_wrapper keeps a note of its own in the file, with "started", until the module has ended.
            if result is not None and "started" not in result:
                result.pop("ansible_job_id", None)
                return result
            if booted.strip() != boot:
                return {"failed": True, "msg": "The desk was restarted meanwhile; run it again to carry on."}
            teller.tell(_decoded(report))
            time.sleep(min(POLL_LATER, max(POLL, (time.monotonic() - began) / 20)))
        self._low_level_execute_command(f"rm -f {said}.lease")
        return {"failed": True, "msg": "The run was killed; run it again to carry on."}

    def _look(self, command: str) -> dict[str, Any]:
        """Return what a command on the desk says; one that is too busy to let anybody in, or away, is asked again.

        :raises AnsibleConnectionFailure: it was out of reach for too long.
        """
        since = time.monotonic()
        while True:
            try:
                answer: dict[str, Any] = self._low_level_execute_command(command)
                return answer
            except AnsibleConnectionFailure:
                if time.monotonic() - since > PATIENCE:
                    raise
                time.sleep(POLL_LATER)


class Pace:
    """How fast a piece of work goes, by its recent past."""

    def __init__(self) -> None:
        self._of: tuple[str, str] | None = None
        self._past: deque[tuple[float, int]] = deque()

    def add(self, now: float, report: dict[str, Any]) -> None:
        """Take the next measurement; other work, and work that begins anew, has no past."""
        completed, of = report.get("completed"), (report["item"], report.get("unit", "bytes"))
        if completed is None:
            return
        if of != self._of or (self._past and completed < self._past[-1][1]):
            self._past.clear()
        self._of = of
        self._past.append((now, completed))
        while now - self._past[0][0] > WINDOWS[of[1]]:
            self._past.popleft()

    @property
    def rate(self) -> float | None:
        """Bytes or steps a second, None until there is enough to measure."""
        if not self._past:
            return None
        (began, first), (ended, last) = self._past[0], self._past[-1]
        return (last - first) / (ended - began) if ended - began >= SHORTEST else None


class Teller:
    """Turns what a module reports into lines, for a person or for a program.

    :param host: the desk's name in the inventory.
    :param task: the task's name.
    """

    def __init__(self, host: str, task: str) -> None:
        self._host = host
        self._task = task
        self._started = self._spoken = time.monotonic()
        self._last: dict[str, Any] | None = None
        self._pace = Pace()
        self._for_a_program = os.environ.get("LLMDESK_PROGRESS") == "json"

    def tell(self, report: dict[str, Any] | None) -> None:
        """Show a report, if it is new and its time has come."""
        now = time.monotonic()
        if report:
            self._pace.add(now, report)
        # What has not changed is said again now and then: silence looks like a hang.
        if not report or (report == self._last and now - self._spoken < SPEAK):
            return
        if self._for_a_program:
            self._spoken, self._last = now, report
            event = dict(report, host=self._host, task=self._task, elapsed=round(now - self._started, 1))
            display.display("llmdesk-progress " + json.dumps(event))
        elif now - self._spoken >= (QUIET if self._last is None else SPEAK):
            self._spoken, self._last = now, report
            display.display(f"{self._host} | {line(report, self._pace.rate)} | {duration(now - self._started)}")


def line(report: dict[str, Any], rate: float | None = None) -> str:
    """Return a report in words, such as ``smollm2:135m: 12.0 of 98.4 MB (12 %), 4.0 MB/s, 0:21 left``.

    :param rate: bytes or steps a second, None where nobody knows.
    """
    completed, total = report.get("completed"), report.get("total")
    if completed is None:
        count = ""
    elif report.get("unit") == "steps":
        count = f"{completed} of {total}" if total else str(completed)
    else:
        count = f"{completed / 1e6:.1f} of {total / 1e6:.1f} MB" if total else f"{completed / 1e6:.1f} MB"
    if completed is not None and total:
        count += f" ({100 * completed // total} %)"
    told = (report.get("detail"), count, *_pace(report, rate))
    return ": ".join(filter(None, (report["item"], ", ".join(filter(None, told)))))


def _pace(report: dict[str, Any], rate: float | None) -> Iterator[str]:
    completed, total = report.get("completed"), report.get("total")
    if completed is None or rate is None or (total and completed >= total):
        return
    if report.get("unit") != "steps":
        yield f"{rate / 1e6:.1f} MB/s" if rate >= 1e6 else f"{rate / 1e3:.0f} kB/s"
    if total and rate:
        yield f"{duration(max(0, total - completed) / rate)} left"


def duration(seconds: float) -> str:
    """Return seconds as ``m:ss``."""
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"


def _decoded(text: str) -> dict[str, Any] | None:
    try:
        value = json.loads(text)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None
