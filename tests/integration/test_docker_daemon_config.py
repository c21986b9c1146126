# SPDX-License-Identifier: GPL-3.0-or-later
"""The settings of real Docker daemons: Debian 12's, without --validate, and Debian 13's."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from docker.models.containers import Container

from lab import desk
from tests.integration.docker_desk import DockerDesk

SYSTEMS = ("debian-12", "debian-13")
FILE = "/etc/docker/daemon.json"
PID_FILE = "/run/llmdesk-dockerd.pid"
ANSWERS = "timeout 30 sh -c 'until docker version; do sleep 0.1; done' > /dev/null 2>&1"
# As a toolkit and a person have left it.
NVIDIA = {
    "runtimes": {"nvidia": {"path": "/usr/bin/runc", "runtimeArgs": []}},
    "max-concurrent-downloads": 2,
    "labels": ["room=12"],
}


class Machine(DockerDesk):
    """A desk whose Docker runs with one daemon.json and then with another."""

    def __init__(self, container: Container) -> None:
        super().__init__(container)
        # The file that Docker was started with, and its pid then; None where it has been told something else since.
        self._runs_with: tuple[str | None, str] | None = None

    def has(self, text: str | dict[str, Any] | None) -> None:
        """Let a daemon.json be there, and Docker run with it."""
        self.does("rm -rf /etc/docker && mkdir /etc/docker && rm -rf /root/kept")
        plain = json.dumps(text) if isinstance(text, dict) else text
        if plain is not None:
            desk.put(self.container, FILE, plain.encode())
        if self._runs_with != (plain, self.pid()):
            self.does("systemctl reset-failed docker; systemctl restart docker")
            self._runs_with = (plain, self.pid())

    def text(self) -> str:
        return self.does(f"cat {FILE} 2>/dev/null || true")

    def settings(self) -> Any:
        return json.loads(self.text())

    def pid(self) -> str:
        return self.does("systemctl show docker -p MainPID --value").strip()

    def info(self) -> Any:
        return json.loads(self.does("curl -s --unix-socket /var/run/docker.sock http://docker/info"))

    def backups(self) -> list[str]:
        return self.does("cd /etc/docker && ls -d daemon.json* 2>/dev/null || true").split()

    def sets(self, config: dict[str, Any], check: bool = False, **options: Any) -> dict[str, Any]:
        """Run the module."""
        result = self.runs("docker_daemon_config", config=config, _ansible_check_mode=check, **options)
        if result.get("applied") in ("reload", "restart") or result.get("rolled_back"):
            self._runs_with = None
        return result


@pytest.fixture(scope="module", params=SYSTEMS)
def machine(request: pytest.FixtureRequest, make_desk: Callable[..., Container]) -> Machine:
    return Machine(make_desk(f"llmdesk-test-daemon-{request.param}", request.param, with_docker=True, cached=False))


def runs(machine: Machine, name: str, restart: str = "no") -> str:
    """Run a container and return when it was started."""
    machine.does(
        f"docker rm --force {name} 2>/dev/null; "
        f"docker run -d --net=none --stop-timeout=1 --restart={restart} --name {name} sleeper sleep 3600"
    )
    return machine.does(f"docker inspect -f '{{{{.State.StartedAt}}}}' {name}")


def started(machine: Machine, name: str) -> str:
    return machine.does(f"docker inspect -f '{{{{.State.StartedAt}}}}' {name}")


def test_what_others_have_set_stays(machine: Machine) -> None:
    machine.has(NVIDIA)
    done = machine.sets({"runtimes": {"other": {"path": "/usr/bin/runc"}}, "labels": ["desk=3"], "debug": True})
    assert (done["changed"], done["applied"]) == (True, "reload"), done
    assert machine.settings() == {
        "runtimes": {**NVIDIA["runtimes"], "other": {"path": "/usr/bin/runc"}},  # type: ignore[dict-item]
        "max-concurrent-downloads": 2,
        "labels": ["room=12", "desk=3"],
        "debug": True,
    }
    assert {"nvidia", "other"} <= set(machine.info()["Runtimes"])
    assert json.loads(machine.does(f"cat {done['backup']}")) == NVIDIA


def test_a_reload_leaves_the_daemon_where_it_is(machine: Machine) -> None:
    machine.has(None)
    before = machine.pid()
    done = machine.sets({"live-restore": True, "registry-mirrors": ["https://mirror.lab.test"]})
    assert (done["applied"], done["backup"], machine.pid()) == ("reload", "", before)
    info = machine.info()
    assert info["LiveRestoreEnabled"] is True
    assert info["RegistryConfig"]["Mirrors"] == ["https://mirror.lab.test/"]


def test_a_container_survives_a_restart_with_live_restore(machine: Machine) -> None:
    machine.has({"debug": False})
    began = runs(machine, "lasting")
    before = machine.pid()
    done = machine.sets({"live-restore": True, "log-opts": {"max-size": "10m"}})
    assert (done["applied"], done["keys"]) == ("restart", ["live-restore", "log-opts"]), done
    assert done["containers"] == {"survived": ["lasting"], "started_again": [], "stopped": []}
    assert machine.pid() != before
    assert started(machine, "lasting") == began
    machine.does("docker rm --force lasting")


def test_what_a_restart_without_live_restore_does_is_said(machine: Machine) -> None:
    machine.has(None)
    runs(machine, "ending")
    runs(machine, "returning", restart="always")
    done = machine.sets({"log-opts": {"max-size": "10m"}})
    assert done["containers"] == {"survived": [], "started_again": ["returning"], "stopped": ["ending"]}
    machine.does("docker rm --force ending returning")


def test_a_second_time_changes_nothing(machine: Machine) -> None:
    machine.has(None)
    wanted = {"live-restore": True, "log-opts": {"max-size": "10m"}}
    assert machine.sets(wanted)["changed"] is True
    text, pid, files = machine.text(), machine.pid(), machine.backups()
    again = machine.sets(wanted)
    assert (again["changed"], again["applied"]) == (False, "none")
    assert (machine.text(), machine.pid(), machine.backups()) == (text, pid, files)


def test_check_mode_says_what_would_be_done_and_does_nothing(machine: Machine) -> None:
    machine.has('{"debug":  false}')
    pid, files = machine.pid(), machine.backups()
    would = machine.sets({"log-opts": {"max-size": "10m"}}, check=True)
    assert (would["changed"], would["applied"]) == (True, "restart")
    assert '"max-size": "10m"' in would["diff"]["after"]
    assert (machine.text(), machine.pid(), machine.backups()) == ('{"debug":  false}', pid, files)


def test_a_setting_that_docker_does_not_know_changes_nothing(machine: Machine) -> None:
    machine.has(NVIDIA)
    pid = machine.pid()
    refused = machine.sets({"nonsense": 1})
    assert refused["msg"] == (
        f"Docker would not take these settings: unable to configure the Docker daemon with file {FILE}: the following "
        "directives don't match any configuration option: nonsense. Mend them; nothing was changed."
    )
    assert (machine.settings(), machine.pid(), machine.backups()) == (NVIDIA, pid, ["daemon.json"])


def test_a_setting_that_is_a_flag_already_changes_nothing(machine: Machine) -> None:
    machine.has(None)
    refused = machine.sets({"hosts": ["unix:///srv/docker.sock"]})
    assert "specified both as a flag and in the configuration file: hosts" in refused["msg"]
    assert machine.text() == ""


def test_a_log_driver_that_docker_lacks_changes_nothing(machine: Machine) -> None:
    machine.has(None)
    refused = machine.sets({"log-driver": "jurnald"})
    assert "log-driver 'jurnald' is none of" in refused["msg"]
    assert machine.text() == ""


@pytest.mark.parametrize("there", [None, NVIDIA], ids=["no file", "a file"])
def test_a_daemon_that_does_not_come_back_gets_its_file_back(machine: Machine, there: Any) -> None:
    machine.has(there)
    runs(machine, "returning", restart="always")
    before = machine.text()
    failed = machine.sets({"bip": "no address"})
    assert failed["failed"] is True
    assert failed["rolled_back"] is True
    back = "The previous file is back" if there else "The file is gone again"
    assert f"Docker did not take the new {FILE}: failed to start daemon: " in failed["msg"]
    assert f"invalid CIDR address: no address. {back}, and Docker " in failed["msg"]
    assert machine.text() == before
    assert machine.does("docker version --format '{{.Server.Version}}'").strip() in failed["msg"]
    assert "returning" in machine.does("docker ps --format '{{.Names}}'")
    assert machine.does("systemctl is-active docker").strip() == "active"
    machine.does("docker rm --force returning")


@pytest.mark.parametrize(("config", "taken"), [({"mtu": 1400}, True), ({"bip": "no address"}, False)])
def test_a_run_that_was_cut_off_is_taken_up_by_the_next(machine: Machine, config: dict[str, Any], taken: bool) -> None:
    machine.has(NVIDIA)
    pid = machine.pid()
    machine.does(f"cp {FILE} {FILE}.kept")
    desk.put(machine.container, FILE, json.dumps({**NVIDIA, **config}).encode())
    note = json.dumps({"path": FILE, "backup": f"{FILE}.kept"})
    desk.put(machine.container, "/root/note", note.encode())
    machine.does("cp /root/note /run/llmdesk-daemon-config.json")
    done = machine.sets({})
    assert machine.pid() != pid
    if taken:
        assert (done["applied"], done["keys"], done["backup"]) == ("restart", ["mtu"], f"{FILE}.kept")
    else:
        assert done["rolled_back"] is True
    assert machine.settings() == {**NVIDIA, **(config if taken else {})}
    pid = machine.pid()
    assert (machine.sets({})["changed"], machine.pid()) == (False, pid)


def test_a_daemon_that_refuses_a_reload_gets_its_file_back(machine: Machine) -> None:
    machine.has(NVIDIA)
    pid = machine.pid()
    failed = machine.sets({"registry-mirrors": ["ftp://mirror.lab.test"]})
    assert failed["rolled_back"] is True
    assert 'unsupported scheme "ftp"' in failed["msg"]
    assert (machine.settings(), machine.pid()) == (NVIDIA, pid)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{\n  // a note\n  "debug": false\n}\n', "line 2, column 3: a comment, and JSON has none"),
        ('{\n  "debug": false,\n}\n', "line 2, column 17: a comma with nothing behind it"),
    ],
)
def test_what_is_no_json_is_refused_with_its_place(machine: Machine, text: str, words: str) -> None:
    machine.has(None)
    pid = machine.pid()
    desk.put(machine.container, FILE, text.encode())
    refused = machine.sets({"debug": True})
    assert refused["msg"] == (
        f"{FILE} is not valid JSON: {words}. Docker would not start with it. Mend that line and run again; nothing was "
        "changed."
    )
    assert (machine.text(), machine.pid(), machine.backups()) == (text, pid, ["daemon.json"])


def test_owner_and_mode_are_kept(machine: Machine) -> None:
    machine.has({"debug": False})
    machine.does(f"chown daemon:adm {FILE}; chmod 640 {FILE}")
    done = machine.sets({"debug": True}, backup_dir="/root/kept")
    for path in (FILE, done["backup"]):
        assert machine.does(f"stat -c '%U:%G %a' {path}").strip() == "daemon:adm 640"
    assert done["backup"].startswith("/root/kept/daemon.json.")


def test_a_file_that_another_tool_owns_is_left_to_it(machine: Machine) -> None:
    machine.has(None)
    machine.does(f"echo '{{}}' > /srv/theirs.json; ln -s /srv/theirs.json {FILE}")
    refused = machine.sets({"debug": True})
    assert f"{FILE} is a link to /srv/theirs.json, so another tool owns it. Set debug there" in refused["msg"]
    assert machine.does("cat /srv/theirs.json") == "{}\n"


@pytest.fixture
def by_hand(machine: Machine) -> Any:
    """A daemon that somebody has started in a terminal."""
    machine.has(None)
    machine.does("systemctl stop docker docker.socket")
    machine.does(
        "setsid dockerd > /root/log 2>&1 & timeout 30 sh -c 'until docker version; do sleep 0.1; done' >/dev/null 2>&1"
    )
    yield machine.does("cat /var/run/docker.pid").strip()
    machine.does(
        "kill $(cat /var/run/docker.pid); timeout 30 sh -c 'while [ -e /var/run/docker.pid ]; do sleep 0.1; done'"
    )
    machine.does("systemctl start docker.socket docker")


def test_a_daemon_of_somebody_elses_is_reloaded_and_not_killed(machine: Machine, by_hand: str) -> None:
    assert machine.sets({"debug": True})["applied"] == "reload"
    refused = machine.sets({"log-opts": {"max-size": "10m"}})
    assert f"need a restart of dockerd (pid {by_hand}), which somebody has started by hand: 'dockerd'" in refused["msg"]
    assert machine.settings() == {"debug": True}
    assert machine.does("cat /var/run/docker.pid").strip() == by_hand


@pytest.fixture
def in_the_background(machine: Machine) -> Any:
    """A daemon as the role starts it where no service manager works."""
    machine.has(None)
    machine.does("systemctl stop docker docker.socket")
    machine.does(f"setsid dockerd --pidfile {PID_FILE} < /dev/null >> /var/log/dockerd.log 2>&1 & {ANSWERS}")
    yield machine.does(f"cat {PID_FILE}").strip()
    machine.does(f"pid=$(cat {PID_FILE}); kill $pid; timeout 30 tail --pid=$pid -f /dev/null")
    machine.does("systemctl start docker.socket docker")


def test_the_background_daemon_is_restarted_as_it_was(machine: Machine, in_the_background: str) -> None:
    began = runs(machine, "lasting")
    done = machine.sets({"live-restore": True, "log-opts": {"max-size": "10m"}})
    assert (done["applied"], done["containers"]["survived"]) == ("restart", ["lasting"]), done
    now = machine.does(f"cat {PID_FILE}").strip()
    assert now != in_the_background
    assert started(machine, "lasting") == began
    failed = machine.sets({"registry-mirrors": ["ftp://mirror.lab.test"], "log-opts": {"max-size": "20m"}})
    assert 'unsupported scheme "ftp" in "ftp://mirror.lab.test". The previous file is back, and' in failed["msg"]
    assert machine.settings() == {"live-restore": True, "log-opts": {"max-size": "10m"}}
    assert machine.does("docker version --format '{{.Server.Version}}'").strip() in failed["msg"]
    assert started(machine, "lasting") == began
    machine.does("docker rm --force lasting")
