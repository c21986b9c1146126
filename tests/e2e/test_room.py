# SPDX-License-Identifier: GPL-3.0-or-later
"""A room of desks from nothing to their answers by one command, a desk that dies on the way, and what its line carries.

The desks have Docker and share nothing but the registries outside; whatever they fetch comes over the shaped line.
"""

from __future__ import annotations

import hashlib
import json
import signal
import stat
import subprocess
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import docker
import pytest
from ansible_collections.llmdesk.workstation.plugins.module_utils.demo_model import DEMO

from lab import desk, models, proxy, registry, wan
from lab.room import MODEL, ROOM, Room
from tests.e2e.controller import Controller, Result, manifest

PREFIX = "llmdesk-test-room"
LAB = ["--prefix", PREFIX, "--with-docker", "--no-mirror"]
LABELLED: dict[str, str | list[str] | bool] = {"label": f"{ROOM}={PREFIX}"}
PULLING = "1gbit"
"""So fast that a test can wait for an image."""
SLOW = "20mbit"
SLOW_BYTES = (2.3e6, 2.6e6)
"""What a person sees of it, in bytes a second: 2.5 million, less the heads of packets, and what the bucket saved."""

Say = Callable[[str], None]


def parts() -> dict[str, list[str]]:
    """Return everything that this machine's Docker has of the room, by label or by name."""
    client = docker.from_env()
    return {
        "containers": [str(found.name) for found in client.containers.list(all=True) if PREFIX in str(found.name)],
        "labelled": [
            str(found.name) for found in client.containers.list(all=True, filters={"label": ROOM + "=" + PREFIX})
        ],
        "volumes": [str(found.name) for found in client.volumes.list() if PREFIX in str(found.name)],
        "networks": [str(found.name) for found in client.networks.list() if PREFIX in str(found.name)],
    }


def shaped() -> set[str]:
    """Return the interfaces of this machine whose way out is held to a rate."""
    listed = subprocess.run(["tc", "-json", "qdisc", "show"], check=True, capture_output=True, text=True).stdout
    return {found["dev"] for found in json.loads(listed) if found["kind"] == "tbf"}


@pytest.fixture(scope="module")
def controller(docker_engine: None, tmp_path_factory: pytest.TempPathFactory, say: Say) -> Controller:
    return Controller(tmp_path_factory.mktemp("state"), say)


@pytest.fixture(scope="module")
def room(controller: Controller, image: str) -> Iterator[Room]:
    """Two desks, made by the command."""
    controller.types("lab", "down", "--prefix", PREFIX)  # a killed run may have left one
    wanted = Room(2, PULLING, with_docker=True, prefix=PREFIX)

    def hand_on(line: str) -> None:
        if line.startswith("lab: "):
            controller.say(line.strip().removeprefix("lab: "))

    try:
        rc, lines = controller.types("lab", "up", "--desks", "2", "--wan", PULLING, *LAB, on_line=hand_on)
        assert rc == 0, lines
        yield wanted
    finally:
        controller.types("lab", "down", "--prefix", PREFIX)


@pytest.fixture(scope="module")
def first(room: Room, controller: Controller) -> Result:
    """The first run; desk2 loses its power while it unpacks the image."""
    killed: list[bool] = []

    def watch(event: dict[str, Any]) -> None:
        if not killed and event.get("host") == "desk2" and "unpacking" in str(event.get("detail")):
            controller.say("desk2 dies")
            room.desk("desk2").kill()
            killed.append(True)

    result = controller.runs("up", "-i", str(room.inventory), on_line=watch)
    assert killed, result.text
    return result


@pytest.fixture(scope="module")
def second(first: Result, room: Room, controller: Controller) -> Result:
    """What is left to do, after the desk that died was switched on again."""
    assert controller.types("retry", "--list") == (0, ["desk2"])
    desk.boot(room.desk("desk2"))
    return controller.runs("retry")


def test_the_others_answer_when_a_desk_dies(first: Result) -> None:
    assert first.rc == 4, first.text
    assert "Paris" in first.answer("desk1")
    assert first.document["hosts"]["desk2"]["unreachable"] == 1
    assert [failure["host"] for failure in first.document["failures"]] == ["desk2"]


def test_a_second_run_mends_the_desk_that_died(second: Result) -> None:
    assert second.rc == 0, second.text
    assert "Paris" in second.answer("desk2")


def test_everything_came_through_the_proxy_and_over_the_line(second: Result, room: Room) -> None:
    asked = proxy.asked(f"{PREFIX}-proxy")
    assert any(line.startswith(f"CONNECT {registry.HOST}:443") for line in asked)
    assert any(line.startswith(f"CONNECT {models.HOST}:443") for line in asked)
    layers = sum(layer["size"] for layer in manifest(f"{PREFIX}-registry", registry.REFERENCE, "layers"))
    model = sum(layer["size"] for layer in manifest(f"{PREFIX}-models", MODEL, "layers"))
    carried = room.wan_bytes()
    # Each desk fetched both; the one that died has begun anew at the most once.
    assert 2 * (layers + model) < carried < 3.5 * (layers + model)


def test_there_is_no_other_way_out(room: Room) -> None:
    outside = docker.from_env().containers.get(f"{PREFIX}-registry")
    address = outside.attrs["NetworkSettings"]["Networks"][room.outside]["IPAddress"]
    direct = f"timeout 3 bash -c 'exec 3<> /dev/tcp/{address}/443'"
    assert room.desk("desk1").exec_run(["sh", "-c", direct]).exit_code != 0


def test_a_second_time_changes_nothing(room: Room, controller: Controller) -> None:
    before = {container.id: container.attrs["State"]["StartedAt"] for container in containers()}
    rc, lines = controller.types("lab", "up", "--desks", "2", "--wan", PULLING, *LAB)
    assert rc == 0, lines
    assert not [line for line in lines if line.startswith("lab:")]
    assert {container.id: container.attrs["State"]["StartedAt"] for container in containers()} == before


def containers() -> list[Any]:
    return list(docker.from_env().containers.list(filters=LABELLED))


def listed(room: Room, controller: Controller) -> tuple[int, dict[str, Any]]:
    """Return what ``models list`` ends with, and what it says for programs."""
    rc, lines = controller.types("models", "list", "-i", str(room.inventory), "--json")
    answer: dict[str, Any] = json.loads(next(line for line in lines if line.startswith("{")))
    return rc, answer


def test_models_are_brought_listed_and_removed_over_the_room(
    second: Result, room: Room, controller: Controller
) -> None:
    declared = str(DEMO["name"])
    pulled = controller.runs("models", "pull", MODEL, "-i", str(room.inventory))
    assert pulled.rc == 0, pulled.text
    rc, answer = listed(room, controller)
    assert (rc, answer["differing"], answer["failures"]) == (0, [], {})
    assert list(answer["desks"]) == ["desk1", "desk2"]
    for found in answer["desks"].values():
        assert found["declared"] == [declared]
        assert sorted(model["name"] for model in found["models"]) == [MODEL, declared]
    # One that the inventory declares would come back, and that is said.
    rc, lines = controller.types("models", "remove", MODEL, declared, "-i", str(room.inventory), "--check")
    assert rc == 0, lines
    assert any(f"{declared} is declared" in line and "brings it back" in line for line in lines), lines
    removed = controller.runs("models", "remove", MODEL, "-i", str(room.inventory))
    assert removed.rc == 0, removed.text
    for name in room.names:
        there = desk.run(room.desk(name), "docker exec open-webui ollama list").splitlines()[1:]
        assert [line.split()[0] for line in there] == [declared]


class Bundle:
    """A support bundle, made and opened."""

    def __init__(self, room: Room, controller: Controller, archive: Path, *arguments: str) -> None:
        self.rc, self.lines = controller.types(
            "support-bundle", "-i", str(room.inventory), "-o", str(archive), *arguments
        )
        assert stat.S_IMODE(archive.stat().st_mode) == 0o600, self.lines
        with tarfile.open(archive) as opened:
            self.files = {
                member.name.removeprefix("llmdesk-support/"): opened.extractfile(member).read()  # type: ignore[union-attr]
                for member in opened.getmembers()
            }
        self.manifest = json.loads(self.files["manifest.json"])

    def said(self, name: str) -> str:
        return self.files[name].decode()


def test_a_bundle_of_a_room_has_everything_and_no_secret(
    second: Result, room: Room, controller: Controller, tmp_path: Path
) -> None:
    opened, given = "Opens-the-proxy-8", "Given-by-hand-9"
    secrets = {opened, given}
    for name in room.names:
        machine = room.desk(name)
        secrets.add(desk.run(machine, "cat /etc/llmdesk/admin_password").strip())
        secrets.add(desk.run(machine, "docker exec open-webui cat /app/backend/data/.webui_secret_key").strip())
        line = f"'GET http://ann:{opened}@proxy.example.com/ for ann@example.com'"
        desk.run(machine, f'docker exec open-webui sh -c "echo {line} > /proc/1/fd/1"')
    bundle = Bundle(room, controller, tmp_path / "room.tar.gz", "-e", f"open_webui_admin_password={given}")
    assert bundle.rc == 0, bundle.lines
    assert bundle.manifest["desks"] == {"desk1": "answered", "desk2": "answered"}
    for name, about in bundle.manifest["files"].items():
        assert hashlib.sha256(bundle.files[name]).hexdigest() == about["sha256"]
    for secret in secrets:
        assert len(secret) > 10
        assert [name for name, content in bundle.files.items() if secret.encode() in content] == []
    for name in room.names:
        assert "GET http://[removed]@proxy.example.com/ for [removed]" in bundle.said(f"desks/{name}/container.log")
        assert json.loads(bundle.said(f"desks/{name}/container.json"))[0]["Name"] == "/open-webui"
        assert "Server:" in bundle.said(f"desks/{name}/docker-info.txt")
        assert json.loads(bundle.said(f"desks/{name}/facts.json"))["ollama"]["state"] == "answers"
    assert "ansible-core 2." in bundle.said("controller/versions.txt")
    assert "desk2" in bundle.said("controller/inventory.json")
    assert any(name.startswith("controller/records/") for name in bundle.files)
    # What is there stays.
    rc, lines = controller.types("support-bundle", "-i", str(room.inventory), "-o", str(tmp_path / "room.tar.gz"))
    assert rc == 1
    assert "is there and stays as it is" in lines[-1]


def test_the_line_carries_its_rate_in_both_directions_and_counts_it(room: Room, controller: Controller) -> None:
    rc, lines = controller.types("lab", "up", "--desks", "2", "--wan", SLOW, *LAB)
    assert rc == 0, lines
    layer = min(
        (layer for layer in manifest(f"{PREFIX}-registry", registry.REFERENCE, "layers") if layer["size"] > 12e6),
        key=lambda layer: int(layer["size"]),
    )
    url = f"https://{registry.HOST}/v2/{registry.REPOSITORY}/blobs"
    curl = f"curl -sS --fail --max-time 120 --proxy http://{inside(room)}:{proxy.OPEN}"

    size = int(layer["size"])
    taken = "-w '%{time_total} %{time_starttransfer}'"
    carried = best_rate(room, f"{curl} -o /dev/null {taken} {url}/{layer['digest']}", size)
    assert size < carried.down < 1.1 * size
    assert carried.up < 0.1 * size

    size = 12 * 1024 * 1024
    place = "place=$(sed -n 's/^Location: *//Ip' /tmp/heads | tr -d '\\r')"
    upload = f"""
set -e
head -c {size} /dev/urandom > /tmp/random
{curl} -X POST -D /tmp/heads -o /dev/null {url}/uploads/
{place}
{curl} -X PATCH -H 'Content-Type: application/octet-stream' -T /tmp/random -D /tmp/heads -o /dev/null \\
    -w '%{{time_total}} %{{time_pretransfer}}' "$place"
{place}
{curl} -X DELETE -o /dev/null "$place"
"""
    carried = best_rate(room, upload, size)
    assert size < carried.up < 1.1 * size
    assert carried.down < 0.1 * size


def best_rate(room: Room, transfer: str, size: int) -> wan.Counted:
    """Move bytes until that goes as fast as the line is, which a busy machine may not manage at once.

    :param transfer: a command for a desk that prints the seconds of its whole time, and those before the first byte.
    :returns: what the line's counters say of the last time.
    """
    for _attempt in range(3):
        before = wan.counted(room.proxy())
        total, begun = map(float, desk.run(room.desk("desk1"), transfer).split())
        after = wan.counted(room.proxy())
        rate = size / (total - begun)
        assert rate < SLOW_BYTES[1]
        if rate > SLOW_BYTES[0]:
            return wan.Counted(after.down - before.down, after.up - before.up)
    raise AssertionError(f"{rate / 1e6:.2f} MB/s at the best")


def inside(room: Room) -> str:
    """Return the proxy's address for the desks."""
    return str(room.proxy().attrs["NetworkSettings"]["Networks"][room.inside]["IPAddress"])


def test_a_desk_that_restarts_in_the_middle_is_told_and_carries_on(
    second: Result, room: Room, controller: Controller
) -> None:
    """The line is slow, so that it is in the middle of its model."""
    machine = room.desk("desk2")
    desk.run(machine, f"docker exec open-webui ollama rm {DEMO['name']}")
    restarted: list[bool] = []

    def watch(event: dict[str, Any]) -> None:
        pulls = (event.get("host"), event.get("item"), event.get("unit")) == ("desk2", MODEL, "bytes")
        if pulls and event["completed"] and not restarted:
            restarted.append(True)
            machine.kill()
            desk.boot(machine)

    result = controller.runs("up", "-i", str(room.inventory), on_line=watch)
    assert restarted, result.text
    assert result.rc in (2, 4), result.text
    (failure,) = result.document["failures"]
    assert failure["host"] == "desk2"
    rc, lines = controller.types("lab", "up", "--desks", "2", "--wan", PULLING, *LAB)
    assert rc == 0, lines
    mended = controller.runs("retry")
    assert mended.rc == 0, mended.text
    assert "Paris" in mended.answer("desk2")


def test_nonsense_is_refused_in_a_sentence(room: Room, controller: Controller) -> None:
    for arguments, sentence in (
        (["--desks", "1"], f"The room {PREFIX} has 2 desks, more than 1"),
        (["--desks", "2", "--system", "debian-13"], "take it down first"),
    ):
        rc, lines = controller.types("lab", "up", *arguments, *LAB)
        assert rc == 1
        assert sentence in lines[-1]


def test_a_desk_that_is_away_and_one_whose_docker_is_dead_are_told(
    second: Result, room: Room, controller: Controller, tmp_path: Path
) -> None:
    dead, away = room.desk("desk1"), room.desk("desk2")
    desk.run(dead, "systemctl mask --runtime docker.socket docker.service && pkill -KILL -x dockerd")
    desk.run(away, "systemctl stop ssh && pkill -KILL -x sshd")
    try:
        bundle = Bundle(room, controller, tmp_path / "room.tar.gz")
        rc, answer = listed(room, controller)
    finally:
        desk.run(away, "systemctl start ssh")
    assert bundle.rc == 4, bundle.lines
    assert bundle.manifest["desks"]["desk1"] == "answered"
    assert "port 22: Connection refused" in bundle.manifest["desks"]["desk2"]
    assert any(line.startswith("desk2: ") for line in bundle.lines), bundle.lines
    assert "Cannot connect to the Docker daemon" in bundle.said("desks/desk1/docker-info.txt")
    assert json.loads(bundle.said("desks/desk1/facts.json"))["docker"]["state"] != "running"
    assert not [name for name in bundle.files if name.startswith("desks/desk2/")]
    assert (rc, answer["desks"]) == (1, {})
    assert "Run './llmdesk up' to start it." in answer["failures"]["desk1"]
    assert "Connection refused" in answer["failures"]["desk2"]


def test_what_was_stopped_in_the_middle_is_removed_without_a_trace(room: Room, controller: Controller) -> None:
    device = wan.device(room.proxy())
    assert device in shaped()
    with controller.begins("lab", "up", "--desks", "4", "--wan", PULLING, *LAB) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if "starting 2 desks" in line:
                process.send_signal(signal.SIGINT)
                break
        rest = process.stdout.read()
    assert process.returncode == 130, rest
    assert "./llmdesk lab down" in rest
    rc, lines = controller.types("lab", "down", "--prefix", PREFIX)
    assert rc == 0, lines
    assert parts() == {"containers": [], "labelled": [], "volumes": [], "networks": []}
    assert device not in shaped()
    assert not room.inventory.exists()
    assert controller.types("lab", "down", "--prefix", PREFIX) == (0, ["There was nothing to remove."])
