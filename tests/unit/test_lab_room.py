# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab's room as far as it needs no Docker: what is refused, what is named, and signs of life."""

from __future__ import annotations

import os
import time
from typing import Any

import pytest
from click.testing import CliRunner

from lab import engine, room, wan
from lab.saying import saying
from llmdesk.cli import main


@pytest.mark.parametrize(
    ("rate", "bits"),
    [("20mbit", 20e6), ("2.5mbit", 2.5e6), ("64kbit", 64e3), ("10gbit", 10e9)],
)
def test_a_rate_is_read_as_tc_reads_it(rate: str, bits: float) -> None:
    assert wan.bits(rate) == bits


@pytest.mark.parametrize(
    "rate", ["", "fast", "20", "20 mbit", "20mbps", "-1mbit", "0mbit", "1kbit", "11gbit", "20mbit;"]
)
def test_what_is_no_rate_is_refused(rate: str) -> None:
    with pytest.raises(ValueError, match=r"write one from 64kbit to 10gbit, such as 20mbit\.$"):
        wan.bits(rate)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"desks": 0}, "A room has 1 to 100 desks, not 0."),
        ({"desks": 101}, "A room has 1 to 100 desks, not 101."),
        ({"wan": "fast"}, "'fast' is no rate for the WAN: write one from 64kbit to 10gbit, such as 20mbit."),
        ({"system": "windows"}, "A desk is a debian-12 or a debian-13, not a windows."),
        ({"prefix": "../x"}, "'../x' cannot begin a container's name: use small letters, digits and hyphens."),
    ],
)
def test_nonsense_is_refused_before_docker_is_asked(
    options: dict[str, Any], sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(room.Refused) as refused:
        room.check(room.Room(**{"desks": 2, **options}))
    assert str(refused.value) == sentence
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere")
    words = [word for name, value in options.items() for word in (f"--{name}", str(value))]
    typed = CliRunner().invoke(main, ["lab", "up", *words])
    assert (typed.exit_code, typed.output) == (1, f"Error: {sentence}\n")


def test_the_lab_wants_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    typed = CliRunner().invoke(main, ["lab", "up"])
    assert typed.exit_code == 1
    assert "run it as root" in typed.output


def test_a_room_is_taken_down_only_where_docker_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere")
    typed = CliRunner().invoke(main, ["lab", "down"])
    assert typed.exit_code == 1
    assert "nothing to remove" in typed.output


def test_every_name_of_a_room_has_its_prefix() -> None:
    wanted = room.Room(3, prefix="mine")
    assert wanted.names == ["desk1", "desk2", "desk3"]
    assert (wanted.inside, wanted.outside) == ("mine-inside", "mine-outside")
    assert wanted.made_as == "debian-12, bare, sharing nothing"


def test_what_a_machine_is_short_of_is_said_in_a_sentence() -> None:
    assert room.short_of(10, {"memory": 24e9, "disk": 60e9}) == []
    assert room.short_of(20, {"memory": 24e9, "disk": 60e9}) == [
        "20 desks want 26 GB of memory once they answer, and 24 GB are left"
    ]


def test_docker_is_brought_only_where_it_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    played: list[str] = []
    monkeypatch.setattr(engine, "_play", played.append)
    for answers in (True, False):
        monkeypatch.setattr(engine, "answers", lambda answers=answers: answers)
        assert engine.bring(lambda _text: None) is not answers
    assert played == ["main"]


def test_what_takes_long_is_said_again_and_again() -> None:
    said: list[str] = []
    with saying(said.append, "making a root", pause=0.01):
        deadline = time.monotonic() + 5
        while len(said) < 3 and time.monotonic() < deadline:
            time.sleep(0.005)
    assert said[:3] == ["making a root", "making a root: 0 s", "making a root: 0 s"]
