# SPDX-License-Identifier: GPL-3.0-or-later
"""The daemon of Docker on this machine: who started it, and how it is asked to reload or to start anew."""

from __future__ import annotations

import contextlib
import glob
import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

from ansible_collections.llmdesk.workstation.plugins.module_utils.daemon_config import complaint, flag
from ansible_collections.llmdesk.workstation.plugins.module_utils.docker_socket import DockerFailure, DockerSocket

# As the role docker starts it where no service manager works.
PID_FILE = "/run/llmdesk-dockerd.pid"
LOG = "/var/log/dockerd.log"
# As Debian's init script keeps them.
INIT_PID_FILE = "/var/run/docker-ssd.pid"
INIT_LOG = "/var/log/docker.log"


class DaemonFailure(Exception):
    """The daemon did not do what it was asked; the message is its reason."""


class Daemon:
    """The daemon as it runs now, or would be started.

    :param run: runs a command and returns its exit code, output and errors.
    :param timeout: seconds that it may take to come back.
    """

    def __init__(self, run: Callable[[list[str]], tuple[int, str, str]], timeout: float) -> None:
        self._run = run
        self._timeout = timeout
        self._socket = DockerSocket(timeout=5.0)
        self._systemd = os.path.isdir("/run/systemd/system") and _read("/proc/1/comm").strip() == "systemd"
        self.owner, self.unit, self.pid = self._find()
        self.command = _command(self.pid)
        self._environment = _environment(self.pid)
        self._process: subprocess.Popen[bytes] | None = None
        self._log_start = 0

    # --- What it is ---------------------------------------------------------------------------------------------

    def _find(self) -> tuple[str, str, int]:
        """Return who started it (``systemd``, ``background``, ``init``, ``stranger``, ``nobody``), its unit and pid."""
        if self._systemd:
            pid = int(self._show("docker.service").get("MainPID") or 0)
            if is_dockerd(pid):
                return "systemd", "docker.service", pid
        for owner, file in (("background", PID_FILE), ("init", INIT_PID_FILE)):
            pid = _number(_read(file))
            if is_dockerd(pid):
                return owner, "", pid
        pid = next((number for number in _processes() if is_dockerd(number)), 0)
        if not pid:
            return "nobody", "", 0
        found = re.search(r"/system\.slice/([^/\s]+\.service)$", _read(f"/proc/{pid}/cgroup"), re.MULTILINE)
        if self._systemd and found and int(self._show(found.group(1)).get("MainPID") or 0) == pid:
            return "systemd", found.group(1), pid
        return "stranger", "", pid

    def _show(self, unit: str) -> dict[str, str]:
        _rc, said, _errors = self._run(["systemctl", "show", unit, "-p", "MainPID,ActiveState,SubState,Result"])
        return dict(line.split("=", 1) for line in said.splitlines() if "=" in line)

    def answers(self) -> str | None:
        """Return the version that answers, None where nobody does."""
        with contextlib.suppress(DockerFailure):
            return str(self._socket.get("/version")["Version"])
        return None

    def began(self) -> float:
        """Return when it was started, to the second, 0 where it does not run."""
        fields = _read(f"/proc/{self.pid}/stat").rpartition(")")[2].split() if self.pid else []
        boot = re.search(r"^btime (\d+)$", _read("/proc/stat"), re.MULTILINE)
        if len(fields) < 20 or not boot:
            return 0
        # The 22nd field of proc(5), of which the first two end with the name.
        return int(boot.group(1)) + int(fields[19]) / os.sysconf("SC_CLK_TCK")

    def info(self) -> dict[str, Any]:
        """Return what it says of itself, nothing where it does not answer."""
        with contextlib.suppress(DockerFailure):
            return dict(self._socket.get("/info"))
        return {}

    def file(self) -> str | None:
        """Return the settings' file that it was told to read, None where it reads its own."""
        return flag(self.command, ("--config-file",))

    def containers(self) -> dict[str, dict[str, Any]]:
        """Return the running containers by their names.

        Of each ``id``, ``started_at``, ``comes_back``, whether Docker starts it again, and ``ports``, those of this
        machine that it has.
        """
        found = {}
        with contextlib.suppress(DockerFailure):
            for entry in self._socket.get("/containers/json"):
                # One that has ended in between hides none of the others.
                with contextlib.suppress(DockerFailure):
                    one = self._socket.get(f"/containers/{entry['Id']}/json")
                    found[one["Name"].lstrip("/")] = {
                        "id": one["Id"],
                        "started_at": one["State"]["StartedAt"],
                        "comes_back": one["HostConfig"]["RestartPolicy"]["Name"] not in ("", "no"),
                        "ports": sorted({int(port["PublicPort"]) for port in entry["Ports"] if "PublicPort" in port}),
                    }
        return found

    def fate(self, before: dict[str, dict[str, Any]]) -> dict[str, list[str]]:
        """Return what became of containers that ran before; those that Docker starts again are waited for."""
        waited = {name for name, one in before.items() if one["comes_back"]}
        with contextlib.suppress(DaemonFailure):
            _until(lambda: waited.issubset(self.containers()), 20)
        now = self.containers()
        fate: dict[str, list[str]] = {"survived": [], "started_again": [], "stopped": []}
        for name, one in sorted(before.items()):
            after = now.get(name)
            if after is None:
                fate["stopped"].append(name)
            elif after["started_at"] == one["started_at"]:
                fate["survived"].append(name)
            else:
                fate["started_again"].append(name)
        return fate

    # --- What it is asked ---------------------------------------------------------------------------------------

    def reload(self) -> None:
        """Let it read its settings anew; its containers notice nothing.

        :raises DaemonFailure: it kept the old settings.
        """
        self._mark()
        began = time.time()
        os.kill(self.pid, signal.SIGHUP)
        filters = quote(json.dumps({"type": ["daemon"], "event": ["reload"]}))

        def reloaded() -> bool:
            # With an end, the answer comes at once and is complete.
            path = f"/events?since={began:.6f}&until={time.time():.6f}&filters={filters}"
            with contextlib.suppress(DockerFailure):
                return bool(list(self._socket.stream("GET", path)))
            return False

        def refused() -> bool:
            return "Error reconfiguring the daemon" in self.log() or not is_dockerd(self.pid)

        try:
            _until(lambda: reloaded() or refused(), 15)
        except DaemonFailure:
            raise DaemonFailure("it did not reload within 15 s") from None
        if refused():
            raise DaemonFailure(complaint(self.log()) or "it ended")

    def restart(self) -> None:
        """Stop and start it.

        :raises DaemonFailure: it did not come back; nothing of the kind is tried again here.
        """
        self._mark()
        old = self.pid
        if self.owner == "systemd":
            # Without a wait: a start that hangs would hang this too.
            self._run(["systemctl", "reset-failed", self.unit])
            self._run(["systemctl", "--no-block", "restart", self.unit])
        elif self.owner == "init":
            self._run(["service", "docker", "restart"])
        elif self.owner == "background":
            self._stop_background()
            self._start_background()
        else:
            raise DaemonFailure("nobody here knows how it was started")
        self._back(old)

    def start(self) -> None:
        """Start it after a failure.

        :raises DaemonFailure: it did not start.
        """
        old = self.pid if is_dockerd(self.pid) else 0
        if self.owner == "systemd":
            # Several failures in a row make systemd refuse the next start.
            self._run(["systemctl", "stop", self.unit])
            self._run(["systemctl", "reset-failed", self.unit])
            self._run(["systemctl", "--no-block", "start", self.unit])
        elif self.owner == "init":
            self._run(["service", "docker", "start"])
        else:
            self._stop_background()
            self._start_background()
        self._back(old)

    def _back(self, old: int) -> None:
        def state() -> str:
            if self.owner == "systemd":
                shown = self._show(self.unit)
                if shown.get("ActiveState") == "failed" or shown.get("SubState") == "auto-restart":
                    return "failed"
                self.pid = int(shown.get("MainPID") or 0)
                if shown.get("ActiveState") != "active":
                    return "waits"
            elif self._process is not None:
                if self._process.poll() is not None:
                    return "failed"
                self.pid = self._process.pid
            else:
                self.pid = _number(_read(INIT_PID_FILE))
                if not is_dockerd(self.pid):
                    return "failed" if complaint(self.log()) else "waits"
            return "back" if self.pid and self.pid != old and self.answers() else "waits"

        seen = [""]

        def over() -> bool:
            seen[0] = state()
            return seen[0] != "waits"

        try:
            _until(over, self._timeout)
        except DaemonFailure:
            raise DaemonFailure(
                complaint(self.log()) or f"it did not answer within {self._timeout:g} s and does not say why"
            ) from None
        if seen[0] == "failed":
            raise DaemonFailure(complaint(self.log()) or "it ended at once and does not say why")

    def _stop_background(self) -> None:
        pid = self._process.pid if self._process is not None else self.pid
        if self._process is not None and self._process.poll() is not None:
            return
        if not is_dockerd(pid):
            return
        os.kill(pid, signal.SIGTERM)
        try:
            # It gives its containers time to end.
            _until(lambda: self._ended(pid), max(self._timeout, 60))
        except DaemonFailure:
            raise DaemonFailure(f"dockerd (pid {pid}) did not end when it was asked to") from None

    def _ended(self, pid: int) -> bool:
        if self._process is not None and self._process.pid == pid:
            return self._process.poll() is not None
        return not is_dockerd(pid)

    def _start_background(self) -> None:
        with open(LOG, "ab") as log:
            self._process = subprocess.Popen(
                self.command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self._environment,
                cwd="/",
                start_new_session=True,
            )

    # --- What it says -------------------------------------------------------------------------------------------

    def _mark(self) -> None:
        """Remember where the log ends now."""
        self._since = time.time()
        file = {"background": LOG, "init": INIT_LOG}.get(self.owner, "")
        self._log_start = os.path.getsize(file) if file and os.path.exists(file) else 0

    def log(self) -> str:
        """Return what it has said since it was last asked for something."""
        if self.owner == "systemd":
            command = ["journalctl", "--unit", self.unit, "--since", f"@{self._since:.3f}", "--no-pager", "--quiet"]
            return str(self._run([*command, "--output", "cat"])[1])
        file = {"background": LOG, "init": INIT_LOG}.get(self.owner, "")
        return _read(file, self._log_start) if file else ""


def is_dockerd(pid: int) -> bool:
    """Return whether a process is a daemon of Docker, and lives."""
    return pid > 0 and re.match(r"\d+ \(dockerd\) [^ZX]", _read(f"/proc/{pid}/stat")) is not None


def _processes() -> list[int]:
    """Return the processes of this machine; a container's would be seen from outside as well."""
    here = os.readlink("/proc/self/ns/pid")
    found = []
    for folder in glob.glob("/proc/[0-9]*"):
        with contextlib.suppress(OSError):
            if os.readlink(folder + "/ns/pid") == here:
                found.append(int(os.path.basename(folder)))
    return sorted(found)


def _command(pid: int) -> list[str]:
    return [word for word in _read(f"/proc/{pid}/cmdline").split("\0") if word] if pid else []


def _environment(pid: int) -> dict[str, str]:
    pairs = [entry.split("=", 1) for entry in _read(f"/proc/{pid}/environ").split("\0") if "=" in entry] if pid else []
    return dict(pairs)


def _number(text: str) -> int:
    return int(text) if text.strip().isdigit() else 0


def _read(path: str, start: int = 0) -> str:
    try:
        with open(path, "rb") as file:
            file.seek(start)
            return file.read().decode("utf-8", "replace")
    except (OSError, ValueError):
        return ""


def _until(condition: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise DaemonFailure("the time is over")
        time.sleep(0.1)
