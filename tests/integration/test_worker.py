# SPDX-License-Identifier: GPL-3.0-or-later
"""A run that takes place on a second machine: a container with sshd, a clone, and a venv that the launcher makes."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pexpect
import pytest
import yaml
from docker.models.containers import Container

from lab import desk
from lab.engine import REPOSITORY
from llmdesk import run as runs
from llmdesk import worker
from tests.e2e.person import Person

NAME = "llmdesk-test-worker"
USER = "runner"
BECOME_PASSWORD = "Sesame-of-the-worker-4"
VAULT_PASSWORD = "Opens-the-inventory-5"
VAULTED = "Only-in-the-vault-6"
STATE = f"/home/{USER}/.local/state/llmdesk"

# What a run does over there: as root by a password, with what a vault has, and waiting for us where it is told to.
PLAY = [
    {
        "name": "Work on the worker",
        "hosts": "desks",
        "become": True,
        "gather_facts": False,
        "tasks": [
            {"name": "Say where", "ansible.builtin.command": "hostname", "register": "where", "changed_when": False},
            {"name": "Check it", "ansible.builtin.assert": {"that": "where.stdout == expected and inside == outside"}},
            {
                "name": "Look for passwords",
                "ansible.builtin.shell": "grep -rslE -e '{{ sought }}' /home /tmp /root /var/tmp || true",
                "register": "found",
                "changed_when": False,
            },
            {"name": "Say what was found", "ansible.builtin.debug": {"var": "found.stdout_lines"}},
            {"name": "Fail", "ansible.builtin.fail": {"msg": "as told"}, "when": "fails is defined"},
            {"name": "See it", "ansible.builtin.command": "test ! -e /broken", "changed_when": False},
            {
                "name": "Wait",
                "ansible.builtin.command": "sleep 300",
                # What root has started, nobody else can end.
                "become": False,
                "when": "waits is defined",
                "changed_when": False,
            },
        ],
    }
]


class Worker:
    """The second machine, this one's way to it, and a checkout of this machine's with a play of our own."""

    def __init__(self, machine: Container, folder: Path) -> None:
        self.machine, self.project = machine, folder / "project"
        self.address = machine.attrs["NetworkSettings"]["Networks"]["bridge"]["IPAddress"]
        self._key = folder / "key"
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", self._key], check=True)
        desk.put(machine, "/etc/ssh/authorized", self._key.with_suffix(".pub").read_bytes())
        desk.run(machine, "echo 'AuthorizedKeysFile /etc/ssh/authorized' > /etc/ssh/sshd_config.d/lab.conf")
        desk.run(machine, "mkdir -p /run/sshd; pgrep -x sshd || /usr/sbin/sshd")
        desk.run(machine, f"echo '{USER}:{BECOME_PASSWORD}' | chpasswd; usermod --append --groups sudo {USER}")
        host_key = desk.run(machine, "cat /etc/ssh/ssh_host_ed25519_key.pub")
        (folder / "known_hosts").write_text(f"{self.address} {host_key}")
        (folder / "config").write_text(
            f"IdentityFile {self._key}\nUserKnownHostsFile {folder}/known_hosts\nIdentitiesOnly yes\n"
        )
        # As a person's ~/.ssh/config, which is found by the account and not by HOME.
        (folder / "bin").mkdir()
        wrapper = folder / "bin" / "ssh"
        wrapper.write_text(f'#!/bin/sh\nexec {shutil.which("ssh")} -F {folder}/config "$@"\n')
        wrapper.chmod(0o755)
        self.path = f"{wrapper.parent}{os.pathsep}{os.environ['PATH']}"
        self._projects()

    def _projects(self) -> None:
        from ansible.constants import DEFAULT_VAULT_ID_MATCH
        from ansible.parsing.vault import VaultLib, VaultSecret

        self.project.mkdir()
        (self.project / "collections").symlink_to(REPOSITORY / "collections")
        (self.project / "ansible.cfg").symlink_to(REPOSITORY / "ansible.cfg")
        (self.project / "site.yml").write_text(yaml.safe_dump(PLAY))
        variables = self.project / "inventory" / "group_vars" / "desks"
        variables.mkdir(parents=True)
        own = {"ansible_connection": "local", "ansible_python_interpreter": "/usr/bin/python3", "expected": NAME}
        # Patterns that do not find themselves.
        own |= {"sought": f"{BECOME_PASSWORD[:-1]}[4]|{VAULT_PASSWORD[:-1]}[5]", "outside": VAULTED}
        (self.project / "inventory" / "local.yml").write_text(
            yaml.safe_dump({"desks": {"hosts": {"there": {}}, "vars": own}})
        )
        vault = VaultLib([(DEFAULT_VAULT_ID_MATCH, VaultSecret(VAULT_PASSWORD.encode()))])
        (variables / "vault.yml").write_bytes(vault.encrypt(f"inside: {VAULTED}\n"))

    def play(self, path: str = "", **variables: Any) -> runs.Play:
        """Return a play for this worker."""
        return runs.Play(
            "site.yml",
            extra_vars=(json.dumps(variables),),
            worker=f"{USER}@{self.address}{path}",
            become_password=BECOME_PASSWORD,
            vault_password=VAULT_PASSWORD,
        )

    def types(self, command: str) -> str:
        return bytes(self.machine.exec_run(["sh", "-c", command]).output).decode(errors="replace")  # type: ignore[arg-type]

    def at_work(self) -> str:
        """Return what Ansible is doing there."""
        return self.types("pgrep -a -f '[a]nsible-playbook|[s]leep 300'").strip()

    def awaits(self, condition: Callable[[], Any], what: str, timeout: float = 40) -> None:
        deadline = time.monotonic() + timeout
        while not condition():
            assert time.monotonic() < deadline, f"{what}: {self.at_work()}"
            time.sleep(0.2)


@pytest.fixture(scope="module")
def there(
    make_desk: Callable[..., Container], tmp_path_factory: pytest.TempPathFactory, say: Callable[[str], None]
) -> Worker:
    machine = make_desk(NAME, "debian-12", systemd=False, packages="openssh-server python3-venv")
    person = Person(machine, USER, say)
    person.clones()
    typed = person.types("./llmdesk --version")
    assert typed.rc == 0, typed.text
    desk.run(machine, f"rm -r {person.clone}/tests")  # which have the passwords that are looked for
    machine.reload()
    return Worker(machine, tmp_path_factory.mktemp("worker"))


@pytest.fixture(autouse=True)
def here(there: Worker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """This machine's folder for runs."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.setenv("PATH", there.path)
    monkeypatch.setattr(worker, "REPOSITORY", there.project)
    yield tmp_path / "llmdesk"
    there.awaits(lambda: not there.at_work(), "nothing stays at work")


class Watched:
    """A run, and what it said."""

    def __init__(self, play: runs.Play) -> None:
        self.events: list[dict[str, Any]] = []
        self.outcome = runs.run(play, self.events.append)
        self.text = "\n".join(event.get("stdout", "") for event in self.events)

    @property
    def kinds(self) -> list[str]:
        return [event["event"] for event in self.events]


def test_it_runs_there_and_everything_comes_back(there: Worker, here: Path) -> None:
    ran = Watched(there.play())
    assert ran.outcome.rc == 0, ran.text
    assert ran.kinds.index("playbook_on_start") < ran.kinds.index("runner_on_ok") < ran.kinds.index("playbook_on_stats")
    found = next(event for event in ran.events if event.get("event_data", {}).get("task") == "Say what was found")
    assert ran.outcome.records.is_relative_to(here)
    assert len(list((ran.outcome.records / "job_events").glob("*.json"))) > 5
    assert "PLAY RECAP" in (ran.outcome.records / "stdout").read_text()
    assert set(json.loads((ran.outcome.records / "command").read_text())) == {"command", "cwd"}
    assert found
    (record,) = (here / "records").glob("*/there.json")
    assert json.loads(record.read_text())["outcome"] == "ok"
    assert record.parent.name == ran.outcome.records.name
    assert not (ran.outcome.records / "records").exists()


def test_no_password_lies_on_its_disk(there: Worker, here: Path) -> None:
    ran = Watched(there.play())
    found = next(
        event["event_data"]["res"]["stdout_lines"]
        for event in ran.events
        if event["event"] == "runner_on_ok" and event["event_data"]["task"] == "Look for passwords"
    )
    assert found == [], "while it ran"
    secrets = f"-e {BECOME_PASSWORD} -e {VAULT_PASSWORD} -e {VAULTED}"
    assert "/etc" in there.types(f"echo {VAULTED} > /etc/planted; grep -rslF {secrets} /etc"), "it would be found"
    assert there.types(f"grep -rslF {secrets} /home /tmp /root /var /run || true").strip() == "", "afterwards"
    assert there.types(f"find {STATE} -type f").strip() == ""
    for path in here.rglob("*"):
        if path.is_file():
            assert BECOME_PASSWORD not in path.read_text(errors="replace"), path
            assert VAULT_PASSWORD not in path.read_text(errors="replace"), path


def test_a_failure_there_is_a_failure_here(there: Worker) -> None:
    ran = Watched(there.play(fails=True))
    assert ran.outcome.rc == 2
    assert "as told" in ran.text


@contextlib.contextmanager
def begun(there: Worker) -> Iterator[subprocess.Popen[str]]:
    """Start a run that waits, in a process of its own, and go on when it does."""
    script = (
        "import sys; from pathlib import Path; from llmdesk import run, worker\n"
        f"worker.REPOSITORY = Path({str(there.project)!r})\n"
        f"play = run.{there.play(waits=True)!r}\n"
        "outcome = run.run(play, lambda event: print(event.get('stdout', ''), flush=True))\n"
        "sys.exit(outcome.rc)"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(str(REPOSITORY / name) for name in ("src", "collections"))},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        there.awaits(lambda: "sleep 300" in there.at_work(), "the play waits")
        yield process
    finally:
        process.kill()
        process.communicate()


def test_ctrl_c_ends_the_work_there(there: Worker, here: Path) -> None:
    with begun(there) as process:
        process.send_signal(signal.SIGINT)
        said, _ = process.communicate(timeout=90)
    assert process.returncode == 130, said
    assert "Stopping, over there as well." in said
    there.awaits(lambda: not there.at_work(), "Ansible has ended", 5)
    assert there.types(f"ls {STATE}/worker").strip() == ""


def test_a_connection_that_is_lost_is_told_and_ends_the_work_there(there: Worker, here: Path) -> None:
    with begun(there) as process:
        there.types(f"pkill -f '^sshd: {USER}'")
        said, _ = process.communicate(timeout=90)
    assert process.returncode == 4, said
    assert f"The worker {USER}@{there.address} was lost in the middle of the run:" in said
    there.awaits(lambda: not there.at_work(), "Ansible has ended")
    there.awaits(lambda: not there.types(f"ls {STATE}/worker").strip(), "its folder is gone")


def test_another_version_gets_nothing(there: Worker) -> None:
    other = '#!/bin/sh\necho \'{"llmdesk": "0.0.9", "ansible-core": "2.18.1"}\'\nexec cat > /tmp/got\n'
    desk.put(there.machine, "/opt/old/llmdesk", other.encode(), 0o755)
    ran = Watched(there.play(":/opt/old"))
    assert ran.outcome.rc == 1
    assert "has llmdesk 0.0.9, ansible-core 2.18.1, and this machine llmdesk " in ran.text
    assert "Bring both to the same version; nothing was sent." in ran.text
    assert there.types("cat /tmp/got") == ""


def test_a_machine_without_llmdesk_is_told_from_one_out_of_reach(there: Worker) -> None:
    ran = Watched(there.play(":nowhere"))
    assert ran.outcome.rc == 1
    assert "has no llmdesk of this version in 'nowhere'" in ran.text
    ran = Watched(runs.Play("site.yml", worker="runner@127.0.0.1:x"))
    assert ran.outcome.rc == 4
    assert "The worker runner@127.0.0.1 was not reached: " in ran.text


def test_what_failed_there_is_tried_again_there(there: Worker, here: Path) -> None:
    """By the command line, which asks for the passwords both times: they are kept nowhere."""

    def types(*arguments: str) -> tuple[int, str]:
        script = (
            f"from pathlib import Path; from llmdesk import worker; worker.REPOSITORY = Path({str(there.project)!r})\n"
            "from llmdesk.cli import main; main()"
        )
        path = os.pathsep.join(str(REPOSITORY / name) for name in ("src", "collections"))
        child = pexpect.spawn(
            sys.executable,
            ["-c", script, *arguments],
            env={**os.environ, "PYTHONPATH": path, "CI": "1"},
            encoding="utf-8",
            timeout=90,
            dimensions=(40, 1000),
        )
        for prompt, password in (("BECOME password", BECOME_PASSWORD), ("Vault password", VAULT_PASSWORD)):
            child.expect_exact(prompt)
            child.sendline(password)
        child.expect(pexpect.EOF)
        child.close()
        return int(child.exitstatus or 0), str(child.before)

    there.types("touch /broken")
    rc, said = types("up", "-K", "--ask-vault-pass", "--worker", f"{USER}@{there.address}")
    assert rc == 2, said
    there.types("rm /broken")
    rc, said = types("retry")
    assert rc == 0, said
    assert "--limit there" in said
    assert BECOME_PASSWORD not in said
    first, second = (json.loads(path.read_text()) for path in sorted((here / "records").glob("*/there.json")))
    assert (first["outcome"], second["outcome"]) == ("failed", "ok")


def test_the_command_line_shows_it(there: Worker, here: Path) -> None:
    """The real checkout, an inventory from elsewhere, and the worker as the desk."""
    inventory = here.parent / "elsewhere.yml"
    own = {"ansible_connection": "local", "ansible_python_interpreter": "/usr/bin/python3"}
    inventory.write_text(yaml.safe_dump({"desks": {"hosts": {"far": {}}, "vars": own}}))
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "from llmdesk.cli import main; main()",
            "status",
            "-i",
            str(inventory),
            "--json",
            "--worker",
            f"{USER}@{there.address}",
            "-e",
            "ansible_become=false",
        ],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(str(REPOSITORY / name) for name in ("src", "collections"))},
        capture_output=True,
        text=True,
        check=False,
    )
    last = json.loads(done.stdout.strip().splitlines()[-1])
    assert last["event"] == "result", done.stdout + done.stderr
    assert "far" in last["hosts"]
