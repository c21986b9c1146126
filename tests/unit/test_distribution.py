# SPDX-License-Identifier: GPL-3.0-or-later
"""Which way models come to a room, what a torrent is like, and that the simulation grows as it says."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.llmdesk.workstation.plugins.module_utils import swarm
from ansible_collections.llmdesk.workstation.plugins.module_utils.distribution import distribution, to_come

from bench.fanout import rounds

GB = 1_000_000_000
LICENSE = {"digest": "0f" * 32, "size": 12_000}


def model(size: int, name: str = "llama3.2:3b") -> dict[str, Any]:
    return {"name": name, "blobs": [{"digest": f"{size:064x}", "size": size}, LICENSE]}


@pytest.mark.parametrize(
    ("desks", "size", "way"),
    [
        (1, 20 * GB, "mirror"),  # nobody to share with
        (2, 2 * GB, "mirror"),
        (2, 20 * GB, "swarm"),
        (3, 2 * GB, "swarm"),
        (8, 98_000_000, "mirror"),  # over before a swarm has begun
        (8, 2 * GB, "swarm"),
        (50, 98_000_000, "swarm"),
        (50, 20 * GB, "swarm"),
        (200, 12_000_000, "swarm"),
    ],
)
def test_the_way_follows_from_desks_and_bytes(desks: int, size: int, way: str) -> None:
    chosen = distribution("auto", "mirror.example.com", desks, [model(size)])
    assert chosen["way"] == way, chosen["why"]
    assert f"of {desks} desk" in chosen["why"]
    assert chosen["blobs"] == ([{"digest": f"{size:064x}", "size": size}] if way == "swarm" else [])


@pytest.mark.parametrize("way", ["swarm", "mirror", "direct"])
def test_what_is_wanted_is_done_where_there_is_a_mirror(way: str) -> None:
    assert distribution(way, "mirror.example.com", 1, [model(GB)])["way"] == way
    assert distribution(way, "", 50, [model(GB)]) == {"way": "direct", "why": "no mirror is named", "blobs": []}


def test_small_blobs_and_nothing_are_no_swarm() -> None:
    for models in ([], [model(1000)]):
        chosen = distribution("swarm", "mirror.example.com", 50, models)
        assert (chosen["way"], chosen["blobs"]) == ("mirror", [])


def test_a_blob_of_two_models_comes_once() -> None:
    two = [model(GB), model(GB, "tutor:1")]
    assert len(distribution("swarm", "mirror.example.com", 5, two)["blobs"]) == 1


def test_models_are_known_however_they_are_spelled() -> None:
    there = [model(GB, "llama3.2:latest"), model(GB, "qwen3:4b")]
    here = [
        {"name": "mirror:5443/library/llama3.2:latest", "of": "registry.ollama.ai/library/llama3.2"},
        {"demo": True},
    ]
    gone = {"name": "qwen3:4b", "state": "absent", "reason": "is here and not declared"}
    assert to_come(there, [{"name": "tutor", "sources": here}, gone]) == there[:1]


@pytest.mark.parametrize(("size", "exponent"), [(1, 18), (253_113_024, 18), (2 * GB, 20), (20 * GB, 24), (99 * GB, 24)])
def test_a_piece_is_a_thousandth(size: int, exponent: int) -> None:
    assert swarm.piece(size) == exponent


def test_nothing_leaves_the_room() -> None:
    command = swarm.command(2, 0.5, "10M", "192.168.1.7")
    for off in ("enable-dht", "enable-dht6", "enable-peer-exchange", "bt-enable-lpd"):
        assert f"--{off}=false" in command
    assert {
        "--interface=192.168.1.7",
        "--bt-require-crypto=true",
        "--seed-time=0.5",
        "--max-overall-upload-limit=10M",
    } <= set(command)
    assert set(swarm.environment("/bin")) == {"PATH", "LC_ALL"}


def test_aria2_is_understood() -> None:
    said = "Announce:\n http://m:6969/announce\nInfo Hash: {}\nURL List:\n https://m:5443/blobs/sha256-1\n"
    found = ("ab" * 20, "http://m:6969/announce", "https://m:5443/blobs/sha256-1")
    assert swarm.shown(said.format("ab" * 20)) == found
    with pytest.raises(ValueError, match="does not know it"):
        swarm.shown("Exception: bad bencode")
    assert swarm.complaint("x\n[ERROR] errorCode=9 No space left\n[ERROR] errorCode=1 Timeout.\n") == "Timeout."
    assert swarm.complaint("all is well") == ""


def test_a_swarm_of_the_simulation_does_not_grow_with_the_room() -> None:
    few, many = (rounds(desks, 60, 50, seed=1) / 60 for desks in (8, 64))
    assert 1 <= few < 1.5
    assert many < few * 1.25
