# SPDX-License-Identifier: GPL-3.0-or-later
"""A room of desks from nothing to their answers by one command, a desk that dies on the way, and what its line carries.

The desks have Docker and share nothing but the registries outside; whatever they fetch comes over the shaped line.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import docker
import pytest

from lab import desk, models, proxy, registry, wan
from lab.engine import REPOSITORY
from lab.room import MODEL, ROOM, Room

PREFIX = "llmdesk-test-room"
LAB = ["--prefix", PREFIX, "--with-docker"]
LABELLED: dict[str, str | list[str] | bool] = {"label": f"{ROOM}={PREFIX}"}
PULLING = "1gbit"
"""So fast that a test can wait for an image."""
SLOW = "20mbit"
SLOW_BYTES = (2.3e6, 2.6e6)
"""What a person sees of it, in bytes a second: 2.5 million, less the heads of packets, and what the bucket saved."""

Say = Callable[[str], None]


@dataclass(frozen=True)
class Controller:
    """This machine, with a folder of its own for the records of runs."""

    state: Path
    say: Say

    def begins(self, *arguments: str) -> subprocess.Popen[str]:
        """Start ``./llmdesk``."""
        return subprocess.Popen(
            [sys.executable, "-c", "from llmdesk.cli import main; main()", *arguments],
            cwd=REPOSITORY,
            env={**os.environ, "XDG_STATE_HOME": str(self.state), "ANSIBLE_NOCOLOR": "1"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            # What starts the tests in the background lets them ignore Ctrl-C, and their children with them.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )

    def types(self, *arguments: str, on_line: Callable[[str], None] = lambda _line: None) -> tuple[int, list[str]]:
        """Run ``./llmdesk`` to its end and return its exit code and lines."""
        lines = []
        with self.begins(*arguments) as process:
            assert process.stdout is not None
            for line in process.stdout:
                lines.append(line.rstrip("\n"))
                on_line(line)
        return process.returncode, lines

    def runs(self, *arguments: str, on_line: Callable[[dict[str, Any]], None] | None = None) -> Result:
        """Run ``./llmdesk`` over a room."""

        def hand_on(line: str) -> None:
            if on_line and line.startswith("{"):
                on_line(json.loads(line))

        rc, lines = self.types(*arguments, "--json", on_line=hand_on)
        assert lines, rc
        document = json.loads(lines[-1])
        assert document["event"] == "result", lines[-20:]
        return Result(rc, document, "\n".join(lines[-30:]))


@dataclass(frozen=True)
class Result:
    """How a run ended."""

    rc: int
    document: dict[str, Any]
    text: str

    def answer(self, name: str) -> str:
        """What a desk answered."""
        report = self.document["hosts"][name]["report"]
        assert report, self.text
        return str(report["proof"]["answer"])


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


def manifest(name: str, reference: str, part: str) -> Any:
    """Return a part of the manifest that a registry of the room has."""
    repository, _colon, tag = reference.partition("/")[2].partition(":")
    url = f"http://{registry.push_address(name)}/v2/{repository}/manifests/{tag}"
    wanted = {"Accept": "application/vnd.docker.distribution.manifest.v2+json"}
    with urllib.request.urlopen(urllib.request.Request(url, headers=wanted), timeout=10) as response:
        return json.load(response)[part]


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


def test_nonsense_is_refused_in_a_sentence(room: Room, controller: Controller) -> None:
    for arguments, sentence in (
        (["--desks", "1"], f"The room {PREFIX} has 2 desks, more than 1"),
        (["--desks", "2", "--system", "debian-13"], "take it down first"),
    ):
        rc, lines = controller.types("lab", "up", *arguments, *LAB)
        assert rc == 1
        assert sentence in lines[-1]


def test_what_was_stopped_in_the_middle_is_removed_without_a_trace(room: Room, controller: Controller) -> None:
    devices = shaped()
    assert devices
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
    assert len(shaped()) == len(devices) - 1
    assert not room.inventory.exists()
    assert controller.types("lab", "down", "--prefix", PREFIX) == (0, ["There was nothing to remove."])
