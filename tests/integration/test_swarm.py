# SPDX-License-Identifier: GPL-3.0-or-later
"""Desks that hand a blob to each other, over a LAN of namespaces with real aria2, opentracker and nginx, and faults."""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import docker
import pytest
import yaml
from ansible_collections.llmdesk.workstation.plugins.module_utils import swarm

from lab import desk as desks
from lab import roots, seed
from lab.engine import REPOSITORY
from lab.lan import Host, lan
from llmdesk.run import Play, ask
from tests.integration.rig import in_memory, remove, until

PREFIX = "llmdesk-test-swarm"
RATE = "80mbit"
SIZE = 16_000_000
"""Bytes, 1.6 seconds of a port."""
BLOB = random.Random(8).randbytes(SIZE)
DIGEST = hashlib.sha256(BLOB).hexdigest()
NAME = swarm.blob(DIGEST)
ROLE = """
- name: Bring the models
  hosts: all
  gather_facts: false
  roles:
    - role: llmdesk.workstation.swarm
"""
FACTS = REPOSITORY / "tests/unit/fixtures/desk/finished.json"
Say = Callable[[str], None]
QUIET: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}


class Desk:
    """A desk with a model store of its own; the module runs there as a process, as Ansible starts it."""

    def __init__(self, host: Host, folder: Path, mirror: seed.Seed) -> None:
        self.host = host
        self.store = folder / host.name
        self.blob = self.store / "blobs" / NAME
        self.beside = self.store / "llmdesk-swarm"
        self._mirror = mirror
        (self.store / "blobs").mkdir(parents=True)

    def start(self, *, check: bool = False, **arguments: Any) -> subprocess.Popen[str]:
        """Start the module."""
        given = {
            "blobs": [{"digest": DIGEST, "size": SIZE}, {"digest": "0" * 64, "size": 17}],
            "url": self._mirror.url,
            "models_dir": str(self.store),
            "stall_timeout": 5,
            "_ansible_check_mode": check,
            **arguments,
        }
        process = subprocess.Popen(
            self.host.command(sys.executable, str(seed.MODULES / "swarm_blobs.py")),
            env={**os.environ, "PYTHONPATH": str(REPOSITORY / "collections"), "http_proxy": "http://nobody.test:1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert process.stdin is not None
        process.stdin.write(json.dumps({"ANSIBLE_MODULE_ARGS": given}))
        process.stdin.close()
        process.stdin = None  # which communicate() would close once more
        return process

    @staticmethod
    def finish(process: subprocess.Popen[str]) -> dict[str, Any]:
        """Wait for its end and return its result."""
        printed, errors = process.communicate(timeout=60)
        assert printed.strip(), f"the module printed nothing:\n{errors}"
        result: dict[str, Any] = json.loads(printed.strip().splitlines()[-1])
        return result

    def __call__(self, **arguments: Any) -> dict[str, Any]:
        """Run the module and return its result."""
        return self.finish(self.start(**arguments))

    def peers(self) -> set[str]:
        """Return the addresses that it is connected with."""
        said = self.host.run("ss", "--no-header", "--numeric", "--tcp", "state", "established")
        return {line.split()[3].rpartition(":")[0] for line in said.splitlines()}

    def arrived(self) -> int:
        """Return the bytes that have come and are not in the store yet."""
        part = self.beside / NAME
        return part.stat().st_blocks * 512 if part.exists() else 0

    def whole(self, result: dict[str, Any]) -> None:
        """Require that a run has brought the blob, with nothing beside it that takes room."""
        assert (result.get("brought"), result.get("left")) == ([DIGEST], []), result
        assert hashlib.sha256(self.blob.read_bytes()).hexdigest() == DIGEST
        assert sum(path.stat().st_blocks * 512 for path in self.beside.iterdir()) < 100_000

    def clear(self) -> None:
        """Take everything from it, and end what runs there."""
        for pid in self.processes():
            subprocess.run(["kill", "-KILL", pid], check=False, **QUIET)
        until(lambda: not self.processes(), "nothing runs")
        for folder in (self.store / "blobs", self.beside):
            shutil.rmtree(folder, ignore_errors=True)
        (self.store / "blobs").mkdir()

    def processes(self) -> list[str]:
        """Return what runs there."""
        return subprocess.run(
            ["ip", "netns", "pids", self.host.namespace], capture_output=True, text=True, check=True
        ).stdout.split()


class Room:
    """A mirror with one blob, another mirror with the same, four desks, and one who means no good."""

    def __init__(self, folder: Path, hosts: dict[str, Host], mirror: seed.Seed, other: seed.Seed) -> None:
        self.hosts = hosts
        self.mirror, self.other = mirror, other
        self.desks = [Desk(hosts[f"desk{number}"], folder, mirror) for number in range(1, 5)]
        self.shelf = mirror.folder / "store" / "blobs" / NAME


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Room]:
    if os.geteuid() != 0:
        pytest.skip("a LAN is made of network namespaces: run as root")
    programs = {"aria2c": "aria2", "mktorrent": "mktorrent", "nginx": "nginx-light", "opentracker": "opentracker"}
    missing = [package for program, package in programs.items() if shutil.which(program) is None]
    if missing:
        roots.install(*missing)
    folder = tmp_path_factory.mktemp("swarm")
    for path in (folder, *folder.parents[:2]):
        path.chmod(0o755)  # the tracker, and who fetches, are nobody in particular
    file = folder / "blob"
    file.write_bytes(BLOB)
    names = ["mirror", "other", "desk1", "desk2", "desk3", "desk4", "liar"]
    with (
        lan(PREFIX, names, RATE) as hosts,
        seed.serve(hosts["mirror"], folder / "mirror", {DIGEST: file}) as mirror,
        seed.serve(hosts["other"], folder / "other", {DIGEST: file}) as other,
    ):
        yield Room(folder, hosts, mirror, other)


@pytest.fixture
def room(built: Room) -> Iterator[Room]:
    """The room with desks that have nothing."""
    yield built
    for desk in built.desks:
        desk.clear()


def together(*desks: Desk, **arguments: Any) -> list[dict[str, Any]]:
    """Run the module on several desks at the same time."""
    running = [desk.start(**arguments) for desk in desks]
    return [desk.finish(process) for desk, process in zip(desks, running, strict=True)]


def test_four_desks_get_it_from_each_other_and_hand_it_on(room: Room) -> None:
    last, *first = room.desks
    assert last(check=True) == last(check=True) | {"changed": True, "bytes": SIZE, "brought": [], "left": []}
    assert not last.beside.exists()
    sent = room.hosts["mirror"].sent()
    for desk, result in zip(first, together(*first), strict=True):
        desk.whole(result)
        assert result["changed"]
        assert desk.blob.stat().st_uid == desk.blob.parent.stat().st_uid
    assert room.hosts["mirror"].sent() - sent < 2.6 * SIZE  # of three copies
    # Though the file has another name by now: the mirror has nothing but the torrent any more.
    room.shelf.rename(room.shelf.with_suffix(".gone"))
    try:
        last.whole(last(seed_minutes=0.02))
    finally:
        room.shelf.with_suffix(".gone").rename(room.shelf)
    # Nothing stays.
    until(lambda: not last.processes(), "aria2 has ended")
    assert list(last.beside.iterdir()) == []
    again = last()
    assert (again["changed"], again["bytes"], last.processes()) == (False, 0, [])


def test_a_peer_that_serves_wrong_bytes_spoils_nothing(room: Room, tmp_path: Path) -> None:
    liar = room.hosts["liar"]
    shutil.copy(room.mirror.folder / "store" / "torrents" / f"{NAME}.torrent", tmp_path)
    (tmp_path / NAME).write_bytes(bytes(SIZE))
    (tmp_path / "tasks").write_text(swarm.tasks([DIGEST]))
    command = swarm.command(1, 10, "0", liar.address)
    unchecked = [word for word in command if "check-integrity" not in word and "hook" not in word]
    lies = liar.start(*unchecked, "--bt-seed-unverified=true", cwd=tmp_path, env=swarm.environment(os.defpath), **QUIET)
    sent = liar.sent()
    try:
        for desk, result in zip(room.desks[:2], together(*room.desks[:2]), strict=True):
            desk.whole(result)
        assert liar.sent() - sent > 200_000, "nobody has asked it"
    finally:
        lies.kill()
        lies.wait()


def test_a_mirror_that_lies_is_found_out_by_the_sha256(room: Room) -> None:
    desk, store = room.desks[0], room.other.folder / "store"
    true = store / "blobs" / NAME
    torrent = store / "torrents" / f"{NAME}.torrent"
    true.rename(true.with_suffix(".true"))
    torrent.rename(torrent.with_suffix(".true"))
    try:
        true.write_bytes(bytes(SIZE))
        tracker = "http://other:6969/announce"
        whitelist = room.other.folder / "tracker" / "whitelist"
        seed.torrents(store=str(store), url=room.other.url, announce=tracker, whitelist=str(whitelist))
        result = desk(url=room.other.url)
    finally:
        true.with_suffix(".true").rename(true)
        torrent.with_suffix(".true").rename(torrent)
    assert result["left"] == [{"digest": DIGEST, "why": "the bytes that came are not those of its name"}]
    assert (result["changed"], list(desk.blob.parent.iterdir()), list(desk.beside.iterdir())) == (False, [], [])
    until(lambda: not desk.processes(), "aria2 has ended")


def test_the_others_go_on_when_a_desk_leaves(built: Room, room: Room) -> None:
    leaver, *others = room.desks[:3]
    running = [desk.start() for desk in (leaver, *others)]
    until(lambda: leaver.arrived() > SIZE / 4, "some of it has come")
    leaver.host.leave()
    try:
        for desk, process in zip(others, running[1:], strict=True):
            desk.whole(desk.finish(process))
    finally:
        leaver.host.run("ip", "link", "set", "eth0", "up")
        running[0].communicate()
    # A run that died with its desk is carried on.
    assert leaver.arrived() > SIZE / 4
    leaver.whole(leaver())


def test_a_mirror_that_is_restarted_in_the_middle(room: Room) -> None:
    desks = room.desks[:2]
    running = [desk.start() for desk in desks]
    until(lambda: desks[0].arrived() > SIZE / 4, "some of it has come")
    room.mirror.stop()
    before = [desk.arrived() for desk in desks]
    assert max(before) < SIZE, "it was too late to tell anything"
    time.sleep(1)  # for which it is away
    room.mirror.start()
    for desk, process in zip(desks, running, strict=True):
        desk.whole(desk.finish(process))


def test_a_mirror_that_is_away_or_has_no_torrent_is_left_to_the_next_source(room: Room) -> None:
    desk = room.desks[0]
    assert "the mirror cannot be reached" in desk(url="http://mirror:1")["left"][0]["why"]
    missing = desk(url=f"{room.mirror.url}/nowhere")
    assert missing["left"] == [{"digest": DIGEST, "why": "the mirror has no torrent of it (HTTP 404)"}]
    # Known, and nobody has it any more.
    room.shelf.rename(room.shelf.with_suffix(".gone"))
    try:
        stalled = desk(stall_timeout=2)
    finally:
        room.shelf.with_suffix(".gone").rename(room.shelf)
    assert stalled["left"][0]["why"] == "no byte came for 2 s", stalled
    assert (desk.processes(), list(desk.beside.iterdir())) == ([], [])


def test_a_full_disk_is_one_sentence_and_room_ends_it(room: Room) -> None:
    desk = room.desks[0]
    with in_memory(desk.store, "8m") as larger:
        refused = desk()
        assert (refused["failed"], refused["reason"]) == (True, "disk_full")
        assert f"{desk.store} has room for" in refused["msg"]
        larger("32m")
        (desk.store / "blobs").mkdir(exist_ok=True)
        running = desk.start()
        until(lambda: desk.arrived() > SIZE / 8, "some of it has come")
        other = desk.store / "other"
        with pytest.raises(OSError, match="No space left"):  # somebody else fills it meanwhile
            other.write_bytes(bytes(32 << 20))
        full = desk.finish(running)
        assert (full.get("failed"), full.get("reason")) == (True, "disk_full"), full
        assert desk.processes() == []
        other.unlink()
        desk.whole(desk())
        desk.clear()


def test_two_rooms_at_once_do_not_meet(room: Room) -> None:
    ours, theirs = room.desks[:2], room.desks[2:]
    running = [desk.start() for desk in ours] + [desk.start(url=room.other.url) for desk in theirs]
    until(lambda: room.hosts["desk2"].address in ours[0].peers(), "the two of a room have met")
    seen = ours[0].peers() | ours[1].peers()
    for desk, process in zip(room.desks, running, strict=True):
        desk.whole(desk.finish(process))
    assert seen <= {room.hosts[name].address for name in ("mirror", "desk1", "desk2")}


def test_a_run_that_nobody_waits_for_ends_and_is_carried_on(room: Room, tmp_path: Path) -> None:
    desk = room.desks[0]
    progress = tmp_path / "progress"
    lease = Path(f"{progress}.lease")
    lease.touch()
    running = desk.start(progress_file=str(progress))
    until(lambda: desk.arrived() > SIZE / 4, "some of it has come")
    assert json.loads(progress.read_text())["total"] == SIZE
    os.utime(lease, (0, 0))
    cancelled = desk.finish(running)
    assert cancelled["reason"] == "cancelled"
    until(lambda: not desk.processes(), "aria2 has ended")
    kept, received = desk.arrived(), desk.host.received()
    desk.whole(desk())
    assert desk.host.received() - received < SIZE - kept / 2


@pytest.fixture
def containers(docker_engine: None, say: Say) -> Iterator[dict[str, Path]]:
    """Containers with a volume each, which need not run: the role looks where their models are."""
    client, made = docker.from_env(), {}
    tag = roots.image("debian-12", roots.REGISTRY, say)
    names = [f"{PREFIX}-{name}" for name in ("desk1", "desk2")]
    try:
        for name in names:
            remove(name)
            client.containers.create(
                tag, ["true"], name=name, labels={desks.LABEL: "test"}, volumes={name: {"bind": "/root/.ollama"}}
            )
            made[name] = Path(client.volumes.get(name).attrs["Mountpoint"], "models")
        yield made
    finally:
        for name in names:
            remove(name)


def play(folder: Path, room: Room, *names: str) -> dict[str, dict[str, Any]]:
    """Run the role for desks, each in its place on the LAN, and return its tasks' results by desk."""
    inventory: dict[str, Any] = {"desks": {"hosts": {}}}
    for name in names:
        there = folder / f"python-{name}"
        there.write_text(f'#!/bin/sh\nexec {" ".join(room.hosts[name].command("/usr/bin/python3"))} "$@"\n')
        there.chmod(0o755)
        inventory["desks"]["hosts"][name] = {
            "ansible_connection": "local",
            "ansible_python_interpreter": str(there),
            "desk_container": f"{PREFIX}-{name}",
        }
    (folder / "room.yml").write_text(yaml.safe_dump(inventory))
    (folder / "play.yml").write_text(ROLE)
    given = {
        "desk_state": {"desk": json.loads(FACTS.read_text())},
        "desk_mirror": "mirror",
        "desk_distribution": "swarm",
        "swarm_models": [{"name": "tiny:1", "blobs": [{"digest": DIGEST, "size": SIZE}]}],
        "swarm_url": room.mirror.url,
        "swarm_seed_minutes": 0.05,
    }
    document = ask(
        Play(
            str(folder / "play.yml"),
            inventory=(str(folder / "room.yml"),),
            extra_vars=(json.dumps(given),),
        )
    )
    tasks = [task for found in document["plays"] for task in found["tasks"]]
    return {
        desk: {
            task["task"]["name"].rpartition(" : ")[2]: task["hosts"][desk] for task in tasks if desk in task["hosts"]
        }
        for desk in inventory["desks"]["hosts"]
    }


def test_the_role_brings_it_where_ollama_looks(room: Room, containers: dict[str, Path], tmp_path: Path) -> None:
    told = play(tmp_path, room, "desk1", "desk2")
    for name, store in containers.items():
        result = told[name.removeprefix(f"{PREFIX}-")]["Fetch what is large, and hand it on"]
        assert (result.get("brought"), result.get("left")) == ([DIGEST], []), result
        assert hashlib.sha256((store / "blobs" / NAME).read_bytes()).hexdigest() == DIGEST
    assert told["desk1"]["Say why it is a swarm"]["msg"] == "it is wanted so"
    room.mirror.stop()
    try:
        (containers[f"{PREFIX}-desk1"] / "blobs" / NAME).unlink()
        alone = play(tmp_path, room, "desk1")["desk1"]
    finally:
        room.mirror.start()
    (said,) = alone["Say what comes from the mirror instead"]["msg"]
    assert said.startswith("No swarm: the mirror cannot be reached")
