# SPDX-License-Identifier: GPL-3.0-or-later
"""What the writer of daemon.json refuses and shows, with daemons of many kinds; real ones are tried elsewhere."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible_collections.llmdesk.workstation.plugins.module_utils import daemon_config
from ansible_collections.llmdesk.workstation.plugins.module_utils.daemon_config import flag
from ansible_collections.llmdesk.workstation.plugins.module_utils.docker_daemon import DaemonFailure
from ansible_collections.llmdesk.workstation.plugins.modules import docker_daemon_config
from ansible_collections.llmdesk.workstation.plugins.modules.docker_daemon_config import Refused, Writer

PROXY = {"proxies": {"http-proxy": "http://anna:secret@proxy.lab.test:3128"}}
LOG = {"log-opts": {"max-size": "10m"}}


class Failed(Exception):
    """What the module ended with."""


class Daemon:
    """A daemon that does as it is told, and notes it."""

    def __init__(self, **kind: Any) -> None:
        self.owner: str = kind.get("owner", "systemd")
        self.command: list[str] = kind.get("command", ["/usr/sbin/dockerd", "-H", "fd://"])
        self.pid = 7
        self.version: str | None = kind.get("version", "28.5.1")
        self.fails: list[str] = kind.get("fails", [])
        self.done: list[str] = []
        self.start_time = 1.0

    def file(self) -> str | None:
        return flag(self.command, ("--config-file",))

    def answers(self) -> str | None:
        return self.version

    def info(self) -> dict[str, Any]:
        return {"Plugins": {"Log": ["json-file"]}}

    def containers(self) -> dict[str, Any]:
        return {}

    def began(self) -> float:
        return self.start_time

    def _does(self, what: str) -> None:
        self.done.append(what)
        if what in self.fails:
            self.fails.remove(what)
            raise DaemonFailure(f"{what} went wrong")

    def reload(self) -> None:
        self._does("reload")

    def restart(self) -> None:
        self._does("restart")

    def start(self) -> None:
        self._does("start")


class Machine:
    """A folder with a daemon.json that a daemon reads."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.file = folder / "daemon.json"
        self.commands: list[list[str]] = []
        self._monkeypatch = monkeypatch
        monkeypatch.setattr(docker_daemon_config, "DEFAULT", str(self.file))
        monkeypatch.setattr(daemon_config, "NOTE", str(folder / "note"))
        monkeypatch.setattr(shutil, "which", lambda _name: "/usr/sbin/dockerd")

    def sets(self, config: dict[str, Any], daemon: Daemon, check: bool = False, **options: Any) -> dict[str, Any]:
        params = {
            "config": config,
            "path": str(self.file),
            "backup_dir": None,
            "apply": "auto",
            "timeout": 5,
            **options,
        }

        def run(command: list[str]) -> tuple[int, str, str]:
            self.commands.append(command)
            return 0, "--validate" if "--help" in command else "configuration OK", ""

        def fail(**result: Any) -> None:
            raise Failed(result)

        module = SimpleNamespace(
            params=params,
            check_mode=check,
            run_command=run,
            fail_json=fail,
            add_cleanup_file=lambda _path: None,
            atomic_move=os.replace,
            preserved_copy=shutil.copy2,
        )
        self._monkeypatch.setattr(docker_daemon_config, "Daemon", lambda _run, _timeout: daemon)
        return Writer(module).run()


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(tmp_path, monkeypatch)


def test_a_password_is_in_the_file_and_not_in_what_is_shown(machine: Machine) -> None:
    daemon = Daemon()
    result = machine.sets(PROXY, daemon)
    assert json.loads(machine.file.read_text()) == PROXY
    assert machine.file.stat().st_mode & 0o777 == 0o600
    assert "secret" not in json.dumps(result)
    assert "http://***@proxy.lab.test:3128" in result["diff"]["after"]
    assert daemon.done == ["restart"]
    assert machine.sets(PROXY, daemon)["changed"] is False


def test_the_new_file_is_checked_with_the_flags_of_the_daemon(machine: Machine) -> None:
    machine.sets(LOG, Daemon(command=["dockerd", "-H", "fd://", f"--config-file={machine.file}"]))
    checked = machine.commands[-1]
    assert checked[:4] == ["dockerd", "-H", "fd://", "--validate"]
    assert not Path(checked[-1]).exists(), "the copy is gone"


def test_live_restore_is_on_before_the_restart(machine: Machine) -> None:
    daemon = Daemon()
    machine.sets({**LOG, "live-restore": True}, daemon)
    assert daemon.done == ["reload", "restart"]


@pytest.mark.parametrize(
    ("daemon", "config", "words"),
    [
        (
            Daemon(owner="stranger"),
            LOG,
            "log-opts need a restart of dockerd (pid 7), which somebody has started by hand",
        ),
        (Daemon(owner="nobody", command=[]), LOG, "as with Docker Desktop"),
        (Daemon(command=["dockerd", "--config-file", "/snap/daemon.json"]), LOG, "from /snap/daemon.json and not from"),
        (Daemon(), {"log-driver": "nonsense"}, "log-driver 'nonsense' is none of json-file"),
    ],
)
def test_nothing_is_changed_where_somebody_else_has_to_do_it(
    machine: Machine, daemon: Daemon, config: dict[str, Any], words: str
) -> None:
    machine.file.write_text("{}")
    with pytest.raises(Refused) as refused:
        machine.sets(config, daemon)
    assert words in str(refused.value)
    assert "nothing was changed" in str(refused.value)
    assert machine.file.read_text() == "{}"
    assert [path.name for path in machine.file.parent.iterdir()] == ["daemon.json"]
    assert daemon.done == []


@pytest.mark.parametrize("apply", ["none", "auto"])
def test_a_file_is_only_written_where_no_daemon_is(machine: Machine, apply: str) -> None:
    daemon = Daemon(owner="nobody", command=[], version=None)
    result = machine.sets(LOG, daemon, apply=apply)
    assert (result["changed"], result["applied"], result["backup"], daemon.done) == (True, "none", "", [])
    assert machine.file.stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize(
    ("config", "fails", "done", "words"),
    [
        (LOG, ["restart"], ["restart", "start"], "restart went wrong. The previous file is back, and Docker 28.5.1"),
        ({"debug": True}, ["reload"], ["reload", "reload"], "reload went wrong. The previous file is back, and Docker"),
        # It was not restarted: to start it anew would end the containers.
        ({**LOG, "live-restore": True}, ["reload"], ["reload", "reload"], "reload went wrong. The previous file is"),
        (LOG, ["restart", "start"], ["restart", "start"], "Docker does not come back with it either: start went wrong"),
    ],
)
def test_the_previous_file_comes_back(
    machine: Machine, config: dict[str, Any], fails: list[str], done: list[str], words: str
) -> None:
    machine.file.write_text('{"mtu":  1400}')
    daemon = Daemon(fails=fails)
    with pytest.raises(Failed) as failed:
        machine.sets(config, daemon)
    assert words in failed.value.args[0]["msg"]
    assert failed.value.args[0]["rolled_back"] is True
    assert machine.file.read_text() == '{"mtu":  1400}'
    assert daemon.done == done


def test_check_mode_writes_nothing(machine: Machine) -> None:
    daemon = Daemon()
    result = machine.sets(LOG, daemon, check=True)
    assert (result["changed"], result["applied"], result["validated"]) == (True, "restart", "dockerd --validate")
    assert not machine.file.exists()
    assert daemon.done == []


class Killed(BaseException):
    """Nothing of a process that is killed runs any more."""


def cut_off(machine: Machine, config: dict[str, Any]) -> None:
    """Let a run end between the file and the daemon."""

    class Cut(Daemon):
        def _does(self, what: str) -> None:
            raise Killed

    with pytest.raises(Killed):
        machine.sets(config, Cut())


def test_a_run_that_was_cut_off_is_taken_up_by_the_next(machine: Machine) -> None:
    machine.file.write_text('{"mtu":  1400}')
    cut_off(machine, LOG)
    assert json.loads(machine.file.read_text()) == {"mtu": 1400, **LOG}
    daemon = Daemon()
    result = machine.sets({}, daemon)
    assert (result["changed"], result["keys"], daemon.done) == (True, ["log-opts"], ["restart"])
    again = machine.sets({}, daemon)
    assert (again["changed"], daemon.done) == (False, ["restart"])


@pytest.mark.parametrize("text", ['{"mtu":  1400}', None])
def test_and_what_docker_does_not_take_of_it_is_taken_back(machine: Machine, text: str | None) -> None:
    if text:
        machine.file.write_text(text)
    cut_off(machine, LOG)
    with pytest.raises(Failed):
        machine.sets({"live-restore": False}, Daemon(fails=["restart"]))
    assert (machine.file.read_text() if machine.file.exists() else None) == text
    assert not Path(daemon_config.NOTE).exists()


def test_a_daemon_that_was_started_since_has_taken_it(machine: Machine) -> None:
    cut_off(machine, LOG)
    daemon = Daemon()
    daemon.start_time = Path(daemon_config.NOTE).stat().st_mtime + 1
    assert machine.sets({}, daemon)["changed"] is False
    assert daemon.done == []
    assert not Path(daemon_config.NOTE).exists()
