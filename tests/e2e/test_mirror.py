# SPDX-License-Identifier: GPL-3.0-or-later
"""A room with a mirror, by the site playbook: one copy of a model from outside, one build, and a second run.

One of the two desks is the mirror as well. The other has nothing in common with it but the network.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.llmdesk.workstation.plugins.module_utils.demo_model import DEMO
from docker.models.containers import Container

from lab import desk, models
from lab import registry as images
from lab.engine import REPOSITORY

NAMES = ("llmdesk-test-mirror-desk1", "llmdesk-test-mirror-desk2")
MODELS = "llmdesk-test-mirror-models"
UPSTREAMS = {models.HOST: 5443, images.HOST: 5444}
MODEL = f"{models.HOST}/library/{DEMO['name']}"

Say = Callable[[str], None]


@dataclass(frozen=True)
class Room:
    """The desks, and the folder of the controller."""

    desks: tuple[Container, ...]
    folder: Path

    def runs(self, *arguments: str, **more: Any) -> tuple[int, str]:
        """Run the site playbook over the room; what it printed comes on one line."""
        address = desk.run(self.desks[0], "hostname -i").split()[0]
        variables = {
            "ansible_connection": "community.docker.docker",
            "ansible_python_interpreter": "/usr/bin/python3",
            "desk_mirror": address,
            "desk_mirror_upstreams": UPSTREAMS,
            "model_mirror_upstreams": UPSTREAMS,
            "open_webui_image_sources": [{"build": True}],
            "ollama_models": [{"name": DEMO["name"], "sources": [{"name": MODEL}]}],
            **more,
        }
        inventory = {
            "all": {"vars": variables},
            "mirrors": {"hosts": {NAMES[0]: {}}},
            "desks": {"hosts": {name: {} for name in NAMES}},
        }
        (self.folder / "inventory.json").write_text(json.dumps(inventory))
        command = [str(Path(sys.executable).with_name("ansible-playbook")), "-i", f"{self.folder}/inventory.json"]
        done = subprocess.run(
            [*command, "site.yml", *arguments],
            cwd=REPOSITORY,
            env={
                **os.environ,
                "ANSIBLE_NOCOLOR": "1",
                "COLUMNS": "10000",
                "XDG_STATE_HOME": str(self.folder / "state"),
            },
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
        )
        return done.returncode, " ".join((done.stdout + done.stderr).split())


@pytest.fixture(scope="module")
def room(
    image: str, make_desk: Callable[..., Container], tmp_path_factory: pytest.TempPathFactory, say: Say
) -> Iterator[Room]:
    """Two desks with Docker; the first has the lab's cache, where the image lies that a build would make."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(models, "NAME", MODELS)
        images.down(MODELS)  # a killed run may have left one
        try:
            models.up(say)
            models.push(f"library/{DEMO['name']}", models.demo())
            made = []
            for name, system, cached in zip(NAMES, ("debian-12", "debian-13"), (True, False), strict=True):
                made.append(make_desk(name, system, with_docker=True, cached=cached))
                desk.run(made[-1], f"echo {models.address()} {models.HOST} {models.ELSEWHERE} >> /etc/hosts")
            yield Room(tuple(made), tmp_path_factory.mktemp("room"))
        finally:
            images.down(MODELS)


@pytest.fixture(scope="module")
def first(room: Room) -> tuple[int, str]:
    """The first run."""
    return room.runs()


def fetched() -> int:
    """Return the bytes of blobs that came from outside."""
    return sum(asked.sent for asked in models.asked() if "/blobs/" in asked.path and asked.method == "GET")


def test_a_room_costs_one_copy_of_the_model(first: tuple[int, str]) -> None:
    assert first[0] == 0, first[1]
    once = sum(models.layers(f"library/{DEMO['name']}").values())
    assert once <= fetched() <= 1.02 * once


def test_one_desk_builds_the_image_and_the_other_takes_it(first: tuple[int, str], room: Room) -> None:
    assert first[0] == 0, first[1]
    ids = {desk.run(each, "docker inspect --format '{{.Image}}' open-webui") for each in room.desks}
    assert len(ids) == 1
    assert desk.run(room.desks[1], "ls /var/cache/llmdesk/build 2>/dev/null || echo nothing").strip() == "nothing"


def test_a_second_run_is_one_module_a_desk_and_one_on_the_mirror(first: tuple[int, str], room: Room) -> None:
    rc, text = room.runs("-vvv")
    assert rc == 0, text
    assert len(re.findall(r"changed=0", text)) == len(NAMES)
    assert len(re.findall(r"EXEC .*?python3", text)) == len(NAMES) + 1


def test_a_mirror_that_is_dead_or_lies_is_passed_over_and_said(first: tuple[int, str], room: Room) -> None:
    tags = ("--limit", NAMES[1], "--tags", "ollama_models")
    desk.run(room.desks[1], f"docker exec open-webui ollama rm {DEMO['name']}")
    desk.run(room.desks[0], "systemctl stop llmdesk-mirror")
    rc, text = room.runs(*tags)
    assert rc == 0, text
    assert re.search(r":5443/library/smollm2:135m: \S+ cannot be reached", text), text
    assert DEMO["name"] in desk.run(room.desks[1], "docker exec open-webui ollama list")
    # Its registry has another one now, and the mirror cannot know.
    desk.run(room.desks[0], "systemctl start llmdesk-mirror && systemctl stop llmdesk-mirror-upstream")
    desk.run(room.desks[1], f"docker exec open-webui ollama rm {DEMO['name']}")
    other = room.folder / "other.gguf"
    other.write_bytes(b"GGUF, but for the rest")
    models.push(f"library/{DEMO['name']}", other)
    rc, text = room.runs(*tags)
    assert rc == 0, text
    assert "the mirror has the digest" in text
    listed = desk.run(room.desks[1], "curl -s http://127.0.0.1:11434/api/tags")
    assert models.digest(f"library/{DEMO['name']}") in listed
