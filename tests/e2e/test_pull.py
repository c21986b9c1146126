# SPDX-License-Identifier: GPL-3.0-or-later
"""Desks without a controller: they converge by themselves from a git server, undo drift, and run nothing unsigned.

One desk is held to the whole site; the other two, to be cheap, to Docker and its settings alone. All three make their
own venv, by their own timers and services.
"""

from __future__ import annotations

import http.server
import json
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import docker
import pytest
import yaml
from docker.models.containers import Container

from lab import desk
from lab.engine import REPOSITORY
from tests.machine import Machine, Ran

WHOLE, SIGNED, PINNED = "llmdesk-e2e-pull1", "llmdesk-e2e-pull2", "llmdesk-e2e-pull3"
OFTEN = "*:*:0/30"
"""Every half minute."""
VAULT_PASSWORD = "Opens-the-room-7"
TOKEN = "Posts-records-9"
MODEL = "smollm2:135m"
CHECKOUT = "/var/lib/llmdesk/pull/checkout"
PART = [
    {
        "name": "Hold Docker to its settings",
        "hosts": "desks",
        "become": True,
        "gather_facts": False,
        "roles": ["llmdesk.workstation.docker"],
    }
]


def until(condition: Callable[[], Any], what: Callable[[], str], timeout: float) -> Any:
    deadline = time.monotonic() + timeout
    while not (answer := condition()):
        assert time.monotonic() < deadline, what()
        time.sleep(0.5)
    return answer


class GitServer:
    """A git server on this machine's side of Docker's network, and the admin who pushes to it."""

    def __init__(self, folder: Path, address: str) -> None:
        self.work, self.keys, self.address = folder / "site", folder / "keys", address
        self._bare = folder / "served" / "site.git"
        self.keys.mkdir(mode=0o700)
        for name in ("admin", "stranger"):
            self._run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", str(self.keys / name))
        generate = ["--batch", "--quiet", "--passphrase", "", "--quick-generate-key", "deputy@room.example", "ed25519"]
        self._run("gpg", "--homedir", str(self.keys), *generate)
        self._process: subprocess.Popen[bytes] | None = None
        self.url = ""

    def _run(self, *command: str, **options: Any) -> str:
        environment = {"PATH": "/usr/bin:/bin", "GNUPGHOME": str(self.keys), "HOME": str(self.keys)}
        done: subprocess.CompletedProcess[str] = subprocess.run(
            command, check=True, capture_output=True, text=True, env=environment, **options
        )
        return done.stdout.strip()

    def public(self, name: str) -> str:
        """Return a public key as ``desk_pull_keys`` takes it."""
        if name == "deputy":
            return self._run("gpg", "--armor", "--export", "deputy@room.example")
        return (self.keys / f"{name}.pub").read_text().strip()

    def begins(self) -> None:
        """Make the repository, of the files that git tracks here, and serve it."""
        listed = subprocess.run(["git", "ls-files", "-z"], cwd=REPOSITORY, check=True, capture_output=True).stdout
        self.work.mkdir()
        archive = subprocess.Popen(
            ["tar", "--create", "--null", "--files-from=-"],
            cwd=REPOSITORY,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert archive.stdin is not None
        archive.stdin.write(listed)
        archive.stdin.close()
        subprocess.run(["tar", "--extract"], cwd=self.work, stdin=archive.stdout, check=True)
        self._run("git", "init", "--quiet", "--bare", "--initial-branch=main", str(self._bare))
        self._run("git", "init", "--quiet", "--initial-branch=main", str(self.work))
        self.serves()

    def serves(self) -> None:
        """Answer, on the port of before where there was one."""
        port = self.url.rpartition(":")[2].partition("/")[0] or "0"
        if port == "0":
            with http.server.HTTPServer((self.address, 0), http.server.BaseHTTPRequestHandler) as free:
                port = str(free.server_port)
        listen = [f"--listen={self.address}", f"--port={port}", "--reuseaddr", "--export-all"]
        self._process = subprocess.Popen(
            ["git", "daemon", *listen, f"--base-path={self._bare.parent}"], stderr=subprocess.DEVNULL
        )
        self.url = f"git://{self.address}:{port}/site.git"

    def goes(self) -> None:
        """Stop answering."""
        if self._process:
            self._process.terminate()
            self._process.wait()

    def ends(self) -> None:
        """Stop answering for ever, and the agent that gpg has left behind."""
        self.goes()
        self._run("gpgconf", "--homedir", str(self.keys), "--kill", "all")

    def push(self, message: str, files: dict[str, str], signer: str | None) -> str:
        """Commit files, signed by somebody or nobody, push, and return the commit's id."""
        for path, content in files.items():
            (self.work / path).parent.mkdir(parents=True, exist_ok=True)
            (self.work / path).write_text(content)
        sign = {
            None: ["-c", "commit.gpgsign=false"],
            "deputy": ["-c", "user.signingkey=deputy@room.example", "-c", "commit.gpgsign=true"],
        }.get(signer) or ["-c", "gpg.format=ssh", "-c", f"user.signingkey={self.keys / str(signer)}.pub"]
        sign += ["-c", "commit.gpgsign=true"] * (signer is not None)
        who = ["-c", "user.name=admin", "-c", "user.email=admin@room.example"]
        self._run("git", "add", "--all", cwd=self.work)
        self._run("git", *who, *sign, "commit", "--quiet", "--message", message, cwd=self.work)
        self._run("git", "push", "--quiet", "--force", str(self._bare), "HEAD:main", cwd=self.work)
        return self._run("git", "rev-parse", "HEAD", cwd=self.work)


class Inbox(http.server.ThreadingHTTPServer):
    """Where records are posted to."""

    def __init__(self, address: str) -> None:
        self.posted: list[tuple[str, dict[str, Any]]] = []
        inbox = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                inbox.posted.append((self.headers["Authorization"], json.loads(body)))
                self.send_response(204)
                self.end_headers()

            def log_message(self, *_arguments: Any) -> None:
                pass

        super().__init__((address, 0), Handler)
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def record(self, host: str) -> dict[str, Any]:
        """Return the first record of a desk."""
        return next(record for _key, record in self.posted if record["host"] == host)

    @property
    def url(self) -> str:
        return f"http://{self.server_address[0]!s}:{self.server_port}/records"


class Desk(Machine):
    """A desk that pulls."""

    @property
    def says(self) -> str:
        """The line of ``systemctl status``."""
        return self.types("systemctl show --property StatusText --value llmdesk-pull").strip()

    @property
    def head(self) -> str:
        return self.types(f"git -C {CHECKOUT} rev-parse HEAD").strip()

    def pulls(self) -> str:
        """Pull now, wait for the end, and return how the service ended and what its status says."""
        self.types("systemctl start llmdesk-pull")
        return f"{self.types('systemctl show --property Result --value llmdesk-pull').strip()}: {self.says}"

    def journal(self) -> str:
        return self.types("journalctl --no-pager -t llmdesk-pull | tail -n 60")

    def awaits(self, commit: str, timeout: float) -> None:
        wanted = f"{self.container.name} is as commit {commit[:7]} says."
        until(lambda: self.says == wanted, self.journal, timeout)

    @property
    def log_size(self) -> str:
        """What Docker's settings say; it is all that two of the desks are held to."""
        found = json.loads(self.types("cat /etc/docker/daemon.json"))
        return str(found["log-opts"]["max-size"])


class Room:
    """Three desks, their git server, and where their records go."""

    def __init__(self, server: GitServer, inbox: Inbox, desks: dict[str, Desk], first: str) -> None:
        self.server, self.inbox, self.desks, self.first = server, inbox, desks, first

    def variables(self, name: str) -> dict[str, Any]:
        """Return what a desk is told about pulling."""
        common = {
            "desk_pull_url": self.server.url,
            "desk_pull_inventory": "inventory/room.yml",
            "desk_pull_delay": 0,
            "desk_pull_records_url": self.inbox.url,
            "desk_pull_records_token": TOKEN,
            "desk_pull_vault_password": VAULT_PASSWORD,
        }
        keys = [self.server.public("admin"), self.server.public("deputy")]
        own: dict[str, dict[str, Any]] = {
            # Its repository says how it pulls, too, and says the same at first.
            WHOLE: {
                "desk_pull_keys": keys[:1],
                "desk_pull_schedule": OFTEN,
                "desk_pull_playbooks": ["site.yml", "llmdesk.workstation.pull"],
            },
            SIGNED: {"desk_pull_keys": keys, "desk_pull_playbooks": ["part.yml"], "desk_pull_schedule": "yearly"},
            PINNED: {
                "desk_pull_version": self.first,
                "desk_pull_playbooks": ["part.yml"],
                "desk_pull_schedule": "yearly",
            },
        }
        return {**common, **own[name]}

    def declared(self, **other: Any) -> dict[str, Any]:
        """Return the same of the desk whose repository says it, with the secrets in the vault."""
        secret = {
            "desk_pull_records_token": "{{ vaulted_token }}",
            "desk_pull_vault_password": "{{ vaulted_password }}",
        }
        return {**self.variables(WHOLE), **secret, **other}

    def told(self, name: str, **options: Any) -> Ran:
        """Run the playbook that lets a desk pull."""
        return self.desks[name].runs("llmdesk.workstation.pull", **{**self.variables(name), **options})


def inventory(image: str, log_size: str, **whole: Any) -> str:
    """Return the inventory of the room, as it stands in the repository.

    :param whole: what it says beside that about the desk that is held to the whole site.
    """
    desks = {
        "hosts": {
            WHOLE: {"ollama_models": [MODEL], "open_webui_image_sources": [{"registry": image}], **whole},
            SIGNED: {"docker_log_max_size": log_size, "docker_log_driver": "json-file"},
            PINNED: {"docker_log_max_size": "{{ vaulted_size }}", "docker_log_driver": "json-file"},
        },
        "vars": {"ansible_python_interpreter": "/usr/bin/python3"},
    }
    return yaml.safe_dump({"desks": desks})


def vaulted(text: str) -> str:
    from ansible.constants import DEFAULT_VAULT_ID_MATCH
    from ansible.parsing.vault import VaultLib, VaultSecret

    secret = VaultSecret(VAULT_PASSWORD.encode())
    sealed: bytes = VaultLib([(DEFAULT_VAULT_ID_MATCH, secret)]).encrypt(text)
    return sealed.decode()


@pytest.fixture(scope="module")
def room(
    make_desk: Callable[..., Container], lab_registry: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Room]:
    folder = tmp_path_factory.mktemp("pull")
    # Docker names the gateway of its own network only after its second start; it is the first address anyway.
    network = docker.from_env().networks.get("bridge").attrs["IPAM"]["Config"][0]
    gateway = str(next(ip_network(network["Subnet"]).hosts()))
    systems = {WHOLE: "debian-12", SIGNED: "debian-13", PINNED: "debian-12"}
    desks = {}
    for name, system in systems.items():
        (folder / name).mkdir()
        desks[name] = Desk(make_desk(name, system, with_docker=True), folder / name)
    server = GitServer(folder, gateway)
    with Inbox(gateway) as inbox:
        server.begins()
        try:
            room = Room(server, inbox, desks, "")
            files = {
                "inventory/room.yml": inventory(lab_registry, "10m", **room.declared()),
                "inventory/group_vars/desks/vault.yml": vaulted(
                    f"vaulted_size: 7m\nvaulted_token: {TOKEN}\nvaulted_password: {VAULT_PASSWORD}\n"
                ),
                "part.yml": yaml.safe_dump(PART),
            }
            room.first = server.push("Begin the room", files, "admin")
            yield room
        finally:
            server.ends()
            inbox.shutdown()


@pytest.fixture(scope="module")
def converged(room: Room, say: Callable[[str], None]) -> Room:
    """The room, after the one time that a controller was there, and the desks' first pull."""
    began = time.monotonic()
    with ThreadPoolExecutor() as pool:
        for ran in pool.map(room.told, room.desks):
            assert ran.rc == 0, ran.text
    say(f"three desks were told to pull after {time.monotonic() - began:.0f} s")
    for machine in room.desks.values():
        machine.awaits(room.first, 900)
    say(f"three desks are as the repository says after {time.monotonic() - began:.0f} s")
    return room


def models(machine: Desk) -> str:
    return machine.types("docker exec open-webui ollama list")


def test_the_desks_converge_by_themselves(converged: Room) -> None:
    assert MODEL in models(converged.desks[WHOLE])
    assert converged.desks[WHOLE].types("curl -s -o /dev/null -w '%{http_code}' 127.0.0.1:3000/ready") == "200"
    assert converged.desks[SIGNED].log_size == "10m"
    assert converged.desks[PINNED].log_size == "7m", "out of the vault"


def test_their_records_arrive(converged: Room) -> None:
    for name in converged.desks:
        record = converged.inbox.record(name)
        assert record["outcome"] in ("changed", "ok")
        assert "-pull-" in record["run"]
    assert {key for key, _record in converged.inbox.posted} == {f"Bearer {TOKEN}"}
    kept = converged.desks[SIGNED].types("cat /var/lib/llmdesk/records/*/*.json")
    assert f'"{SIGNED}"' in kept


def test_drift_is_undone_within_a_period(converged: Room) -> None:
    machine = converged.desks[WHOLE]
    machine.types(f"docker exec open-webui ollama rm {MODEL} && docker rm --force open-webui")
    gone = time.monotonic()
    until(lambda: MODEL in models(machine), machine.journal, 150)
    machine.awaits(converged.first, 150)
    began = machine.types("systemctl show --property ExecMainStartTimestamp --value llmdesk-pull")
    assert began.strip(), f"the timer has started it, {time.monotonic() - gone:.0f} s ago at most"
    assert machine.types("curl -s -o /dev/null -w '%{http_code}' 127.0.0.1:3000/ready") == "200"


def test_the_repository_says_how_a_desk_pulls(converged: Room, lab_registry: str) -> None:
    machine = converged.desks[WHOLE]
    # The last pull that has ended may be the one that undid the drift; what it says now is told by the next.
    ended = "journalctl --no-pager -t llmdesk-pull | grep changed= | tail -n 1"
    until(lambda: "changed=0" in machine.types(ended), machine.journal, 150)
    files = {"inventory/room.yml": inventory(lab_registry, "10m", **converged.declared(desk_pull_schedule="yearly"))}
    commit = converged.server.push("Pull once a year", files, "admin")
    machine.pulls()
    machine.awaits(commit, 60)
    assert "OnCalendar=yearly" in machine.types("systemctl cat llmdesk-pull.timer")
    assert machine.types("systemctl is-active llmdesk-pull.timer llmdesk-pull.service").split() == [
        "active",
        "inactive",
    ]


def test_no_secret_is_to_be_seen(converged: Room) -> None:
    machine = converged.desks[PINNED]
    assert machine.types("find /etc/llmdesk/pull -type f -perm /077").strip() == ""
    # But for this very file, which came with the repository.
    sought = f"grep -rlsF --exclude-dir=tests -e {VAULT_PASSWORD} -e {TOKEN}"
    holders = machine.types(f"journalctl > /journal; {sought} /etc /var/lib/llmdesk /tmp /root /journal")
    assert sorted(holders.split()) == ["/etc/llmdesk/pull/records_token", "/etc/llmdesk/pull/vault_password"]


def test_a_second_time_changes_nothing(converged: Room) -> None:
    again = converged.told(SIGNED)
    assert "changed=0" in again.text, again.text
    other = converged.told(SIGNED, check=True, desk_pull_schedule="daily")
    assert other.rc == 0, other.text
    assert "changed=0" not in other.text
    assert "yearly" in converged.desks[SIGNED].types("systemctl cat llmdesk-pull.timer")


def test_two_never_pull_at_once(converged: Room) -> None:
    held = "flock /var/lib/llmdesk/pull/lock llmdesk-pull; echo ended $?"
    said = converged.desks[SIGNED].types(held)
    assert "Another pull is at work; nothing was started." in said
    assert "ended 1" in said


@pytest.mark.parametrize("signer", [None, "stranger"])
def test_what_nobody_has_signed_who_counts_is_not_run(converged: Room, lab_registry: str, signer: str | None) -> None:
    machine = converged.desks[SIGNED]
    # Its playbook and its launcher would both tell that they ran.
    trap = "#!/bin/sh\ntouch /trapped\n"
    play = [{"hosts": "all", "tasks": [{"ansible.builtin.file": {"path": "/trapped", "state": "touch"}}]}]
    before = {name: (converged.server.work / name).read_text() for name in ("llmdesk", "part.yml")}
    commit = converged.server.push(f"By {signer}", {"llmdesk": trap, "part.yml": yaml.safe_dump(play)}, signer)
    said = machine.pulls()
    converged.server.push("Put it back", before, signer)
    assert said.startswith(f"exit-code: Commit {commit[:7]} is not signed by any key of desk_pull_keys"), said
    assert "The desk stays as it is." in said
    assert machine.types("ls /trapped").startswith("ls:")
    assert machine.head == converged.first
    assert machine.log_size == "10m"


def test_a_broken_commit_changes_nothing_and_the_next_one_mends_it(converged: Room, lab_registry: str) -> None:
    machine = converged.desks[SIGNED]
    broken = converged.server.push("Break it", {"part.yml": "- hosts: [desks\n  roles: }\n"}, "admin")
    said = machine.pulls()
    assert said.startswith(f"exit-code: Commit {broken[:7]} did not get through on {SIGNED}"), said
    assert machine.log_size == "10m"
    files = {"part.yml": yaml.safe_dump(PART), "inventory/room.yml": inventory(lab_registry, "20m")}
    good = converged.server.push("Mend it", files, "deputy")
    assert machine.pulls() == f"success: {SIGNED} is as commit {good[:7]} says."
    assert machine.log_size == "20m"


def test_a_pinned_desk_stays_where_it_is(converged: Room) -> None:
    machine = converged.desks[PINNED]
    assert machine.pulls() == f"success: {PINNED} is as commit {converged.first[:7]} says."
    assert machine.head == converged.first


def test_without_the_git_server_drift_is_undone_all_the_same(converged: Room) -> None:
    machine = converged.desks[PINNED]
    machine.types("echo '{}' > /etc/docker/daemon.json")
    converged.server.goes()
    try:
        said = machine.pulls()
    finally:
        converged.server.serves()
    assert said == f"success: {PINNED} is as commit {converged.first[:7]} says, the last that was fetched."
    assert f"{converged.server.url} was not to be fetched" in machine.journal()
    assert machine.log_size == "7m"


def test_a_key_that_no_longer_counts_ends_it(converged: Room) -> None:
    machine = converged.desks[SIGNED]
    ran = converged.told(SIGNED, desk_pull_keys=[converged.server.public("stranger")])
    assert ran.rc == 0, ran.text
    until(lambda: "is not signed by any key" in machine.says, machine.journal, 30)


def test_absent_takes_it_away_and_leaves_the_desk(converged: Room) -> None:
    machine = converged.desks[SIGNED]
    assert converged.told(SIGNED, desk_pull_state="absent", check=True).rc == 0
    assert "llmdesk-pull.timer" in machine.types("systemctl list-timers")
    ran = converged.told(SIGNED, desk_pull_state="absent")
    assert ran.rc == 0, ran.text
    assert "llmdesk-pull" not in machine.types("systemctl list-timers --all; systemctl list-unit-files")
    left = machine.types("find / -xdev -name '*pull*' -path '*llmdesk*' -not -path '/var/lib/llmdesk/records/*'")
    assert left.strip() == ""
    assert machine.log_size == "20m"
    again = converged.told(SIGNED, desk_pull_state="absent")
    assert "changed=0" in again.text, again.text


def test_without_systemd_it_says_so(make_desk: Callable[..., Container], tmp_path: Path) -> None:
    machine = Machine(make_desk("llmdesk-e2e-pull-bare", "debian-12", systemd=False), tmp_path)
    ran = machine.runs(
        "llmdesk.workstation.pull", desk_pull_url="https://git.example.com/site", desk_pull_version="0" * 40
    )
    assert ran.rc == 2
    assert "has no systemd that runs" in ran.text
    assert desk.run(machine.container, "ls /etc/llmdesk 2>/dev/null || :").strip() == ""
