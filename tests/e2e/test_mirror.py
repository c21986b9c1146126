# SPDX-License-Identifier: GPL-3.0-or-later
"""A room with a mirror by two commands: one copy of image and model over the line, by the line's own counter.

desk1 is the mirror as well; desk2 has nothing in common with it but the network.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.llmdesk.workstation.plugins.module_utils.demo_model import DEMO

from lab import desk, models, proxy, registry
from lab.engine import REPOSITORY
from lab.room import MODEL, Room
from tests.e2e.controller import Controller, Result, manifest

PREFIX = "llmdesk-test-one-copy"
LAB = ["--prefix", PREFIX]
WAN = "1gbit"
NAME = str(DEMO["name"])
HEADS = 1.05
"""What the heads of packets add for the line's counter: 66 bytes to 1448, and a little of TLS."""
STATE = "/var/lib/llmdesk-mirror"

Say = Callable[[str], None]


@pytest.fixture(scope="module")
def controller(docker_engine: None, tmp_path_factory: pytest.TempPathFactory, say: Say) -> Controller:
    return Controller(tmp_path_factory.mktemp("state"), say)


@pytest.fixture(scope="module")
def room(controller: Controller, image: str) -> Iterator[Room]:
    """Two desks and their mirror, made by the command."""
    controller.types("lab", "down", *LAB)  # a killed run may have left one
    try:
        rc, lines = controller.types("lab", "up", "--desks", "2", "--wan", WAN, "--with-docker", *LAB)
        assert rc == 0, lines
        yield Room(2, WAN, with_docker=True, prefix=PREFIX, mirror=True)
    finally:
        controller.types("lab", "down", *LAB)


@pytest.fixture(scope="module")
def events() -> list[dict[str, Any]]:
    """What the first run tells a program."""
    return []


@pytest.fixture(scope="module")
def first(room: Room, controller: Controller, events: list[dict[str, Any]]) -> Result:
    """The first run."""
    result = controller.runs("up", "-i", str(room.inventory), on_line=events.append)
    assert result.rc == 0, result.text
    return result


def plays(room: Room, controller: Controller, *arguments: str, rc: int = 0) -> str:
    """Run the site playbook and return what it printed, on one line.

    :param rc: its exit code.
    """
    command = [str(Path(sys.executable).with_name("ansible-playbook")), "-i", str(room.inventory), "site.yml"]
    done = subprocess.run(
        [*command, *arguments],
        cwd=REPOSITORY,
        env={**os.environ, "ANSIBLE_NOCOLOR": "1", "COLUMNS": "10000", "XDG_STATE_HOME": str(controller.state)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    text = " ".join((done.stdout + done.stderr).split())
    assert done.returncode == rc, text
    return text


def image_of(room: Room, name: str) -> str:
    """Return the sha256 of the image that a desk's page runs in."""
    return desk.run(room.desk(name), "docker inspect --format '{{.Image}}' open-webui").strip()


def one_copy() -> int:
    """Return the bytes of one image and one model."""
    stores = ((f"{PREFIX}-registry", registry.REFERENCE), (f"{PREFIX}-models", MODEL))
    return sum(int(layer["size"]) for store, name in stores for layer in manifest(store, name, "layers"))


def test_a_room_costs_one_image_and_one_model(first: Result, room: Room) -> None:
    carried = room.wan_bytes() - HEADS * proxy.carried(f"{PREFIX}-proxy", but=(registry.HOST, models.HOST))
    assert one_copy() <= carried <= 1.02 * HEADS * one_copy()
    assert all("Paris" in first.answer(name) for name in room.names)
    assert len({image_of(room, name) for name in room.names}) == 1


def test_a_screen_can_tell_the_line_from_the_lan(first: Result, events: list[dict[str, Any]]) -> None:
    told = [event for event in events if event["event"] == "progress" and event["unit"] == "bytes"]
    # The mirror, which is desk1, fetches; then it is a desk like the other.
    assert {(event["host"], event["lan"]) for event in told if event["completed"]} == {
        ("desk1", False),
        ("desk1", True),
        ("desk2", True),
    }
    totals = {event["item"]: event["total"] for event in told if not event["lan"]}
    assert one_copy() <= sum(totals.values()) <= 1.02 * one_copy()


def test_a_second_run_is_one_module_a_desk_and_one_on_the_mirror(
    first: Result, room: Room, controller: Controller
) -> None:
    text = plays(room, controller, "-vvv")
    assert len(re.findall(r"changed=0", text)) == room.desks
    assert len(re.findall(r"SSH: EXEC ssh ", text)) == room.desks + 1


def test_desks_hand_the_model_to_each_other(first: Result, room: Room, controller: Controller) -> None:
    layers = manifest(f"{PREFIX}-models", MODEL, "layers")
    weights = max(layers, key=lambda layer: int(layer["size"]))["digest"]

    def asked() -> int:
        said = desk.run(room.desk("desk1"), "journalctl --output cat --identifier llmdesk_mirror")
        return len(re.findall(rf"GET /v2/\S+/blobs/{weights} ", said))

    for name in room.names:
        desk.run(room.desk(name), f"docker exec open-webui ollama rm {NAME}")
    before = asked()
    assert before, "the first run has, and the mirror says so"
    told = json.dumps({"desk_distribution": "swarm", "swarm_seed_minutes": 0.1})
    text = plays(room, controller, "-e", told)
    assert "it is wanted so" in text
    assert "No swarm" not in text
    for name in room.names:
        assert NAME in desk.run(room.desk(name), "docker exec open-webui ollama list")
        desk.run(room.desk(name), "timeout 30 sh -c 'while pgrep -x aria2c; do sleep 0.1; done'")
    assert asked() == before, "Ollama has found it in the store"
    # What is right is asked once: a desk what it is, the mirror what it has, and whether there is a torrent of it.
    again = plays(room, controller, "-vvv", "-e", told)
    assert len(re.findall(r"SSH: EXEC ssh ", again)) == room.desks + 2


def test_a_mirror_that_is_away_stops_nobody(first: Result, room: Room, controller: Controller) -> None:
    mirror = room.desk("desk1")
    desk.run(mirror, "systemctl stop ssh && pkill -KILL -x sshd")
    try:
        text = plays(room, controller, rc=4)  # desk1 is a desk as well
    finally:
        desk.run(mirror, "systemctl start ssh")
    assert "The mirror desk1 cannot be reached, and desks that need something go to the next source" in text
    assert re.search(r"desk2 : ok=\d+ changed=0 unreachable=0 failed=0", text), text


def test_one_desk_builds_the_image_and_the_other_takes_it(
    first: Result, room: Room, controller: Controller, image: str
) -> None:
    # What a build makes stands on desk1 under its name already, since building it takes many minutes.
    desk.run(room.desk("desk1"), f"docker tag {image_of(room, 'desk1')} {image}")
    before = room.wan_bytes()
    building = json.dumps({"open_webui_image_upgrade": True, "open_webui_image_sources": [{"build": True}]})
    # It goes first: whoever has the turn builds, and desk2 would do it for real.
    plays(room, controller, "--tags", "open_webui", "-e", building, "--limit", "desk1")
    plays(room, controller, "--tags", "open_webui", "-e", building)
    there = {desk.run(room.desk(name), f"docker image inspect --format '{{{{.Id}}}}' {image}") for name in room.names}
    assert there == {f"{image_of(room, 'desk1')}\n"}
    assert desk.run(room.desk("desk2"), "ls /var/cache/llmdesk/build 2>/dev/null || echo nothing").strip() == "nothing"
    assert room.wan_bytes() - before < 1e6


def test_a_mirror_that_is_dead_or_lies_is_passed_over_and_said(
    first: Result, room: Room, controller: Controller
) -> None:
    mirror, other = room.desk("desk1"), room.desk("desk2")
    tags = ("--limit", "desk2", "--tags", "ollama_models")
    desk.run(other, f"docker exec open-webui ollama rm {NAME}")
    desk.run(mirror, "systemctl stop llmdesk-mirror")
    assert re.search(rf":5443/library/{NAME}: \S+ cannot be reached", plays(room, controller, *tags))
    assert NAME in desk.run(other, "docker exec open-webui ollama list")
    # It has another manifest under that name, and cannot ask what its registry has.
    desk.run(
        mirror,
        "systemctl stop llmdesk-mirror-upstream && systemctl start llmdesk-mirror && "
        f"grep -lr smollm2 {STATE}/cache/manifests | xargs sed -i s/container.image.v1/container.image.v2/",
    )
    desk.run(other, f"docker exec open-webui ollama rm {NAME}")
    assert "the mirror has the digest" in plays(room, controller, *tags)
    assert NAME in desk.run(other, "docker exec open-webui ollama list")
