# SPDX-License-Identifier: GPL-3.0-or-later
"""Careful roll-outs on the real ansible-playbook: the play of site.yml over five desks that are this machine.

Its keywords and its first role are the product's; what a desk does is replaced by a note that it was there.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from llmdesk.commands.options import TAGS
from llmdesk.events import parse
from llmdesk.run import REPOSITORY, Outcome, Play, run
from llmdesk.screen.room import unfinished
from llmdesk.story import Story

SITE = REPOSITORY / "collections/ansible_collections/llmdesk/workstation/playbooks/site.yml"
DESKS = [f"d{number}" for number in range(1, 6)]
KEYWORDS = ("hosts", "serial", "max_fail_percentage", "strategy", "gather_facts")


@pytest.fixture
def room(tmp_path: Path) -> Path:
    """A folder with an inventory of five desks, and the playbook."""
    (play,) = [play for play in yaml.safe_load(SITE.read_text()) if play["hosts"] == "desks"]
    (first,) = [task for task in play["tasks"] if "desks" in json.dumps(task.get("ansible.builtin.import_role", ""))]
    broken = {"ansible.builtin.fail": {"msg": "It is broken."}, "when": "inventory_hostname in broken"}
    tasks = [first, note("began"), broken, note("done")]
    kept = {key: play[key] for key in KEYWORDS if key in play}
    (tmp_path / "play.yml").write_text(yaml.safe_dump([{**kept, "tasks": tasks}]))
    local = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
    (tmp_path / "hosts.yml").write_text(yaml.safe_dump({"desks": {"hosts": dict.fromkeys(DESKS), "vars": local}}))
    return tmp_path


def note(word: str) -> dict[str, Any]:
    """Return a task that says on a desk how far it is."""
    return {"ansible.builtin.debug": {"msg": f"{{{{ inventory_hostname }}}} {word}"}}


def rolled(room: Path, **variables: Any) -> tuple[int, str, dict[str, list[str]]]:
    """Return Ansible's exit code, what it printed, and who began and who was done."""
    done = subprocess.run(
        [
            str(Path(sys.executable).with_name("ansible-playbook")),
            *("-i", str(room / "hosts.yml"), str(room / "play.yml"), "-e", json.dumps({"broken": [], **variables})),
        ],
        cwd=REPOSITORY,
        env={**os.environ, "ANSIBLE_NOCOLOR": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    said = done.stdout + done.stderr
    return done.returncode, said, {word: sorted(re.findall(rf"(d\d) {word}\b", said)) for word in ("began", "done")}


def test_without_a_word_everybody_goes_at_once_and_one_that_fails_holds_nobody(room: Path) -> None:
    rc, said, found = rolled(room, broken=["d2"])
    assert rc == 2
    assert found == {"began": DESKS, "done": ["d1", "d3", "d4", "d5"]}
    assert said.count("PLAY [") == 1
    assert "WARNING" not in said


@pytest.mark.parametrize("broken", ["d1", "d2"])
def test_nobody_else_is_touched_where_one_of_two_canaries_fails(room: Path, broken: str) -> None:
    rc, said, found = rolled(room, desks_canary=2, broken=[broken])
    assert rc == 2
    # The other canary still says whether it would have answered.
    assert found == {"began": ["d1", "d2"], "done": sorted({"d1", "d2"} - {broken})}
    assert f"{broken} went first and failed, so 3 other desks were not touched" in said


def test_nobody_else_is_touched_where_the_only_canary_fails(room: Path) -> None:
    rc, _said, found = rolled(room, desks_canary="1", broken=["d1"])
    assert (rc, found) == (2, {"began": ["d1"], "done": []})


def test_behind_canaries_that_answer_everybody_goes_and_one_that_fails_holds_nobody(room: Path) -> None:
    rc, said, found = rolled(room, desks_canary=2, broken=["d3"])
    assert rc == 2
    assert found == {"began": DESKS, "done": ["d1", "d2", "d4", "d5"]}
    assert "not touched" not in said


def test_a_canary_comes_before_batches(room: Path) -> None:
    rc, said, found = rolled(room, desks_canary=1, desks_serial="40%", broken=["d3"])
    assert rc == 2
    assert found["began"] == DESKS
    assert said.count("PLAY [") == 3  # d1, then two of five at a time


def test_everybody_stops_from_a_percentage_on(room: Path) -> None:
    rc, _said, found = rolled(room, desks_serial=2, desks_max_fail_percentage=0, broken=["d1"])
    assert (rc, found) == (2, {"began": ["d1", "d2"], "done": []})


def ran(
    room: Path, monkeypatch: pytest.MonkeyPatch, limit: str | None = None, **variables: Any
) -> tuple[Story, Outcome]:
    """Return the story of a run of the command line, and how it ended."""
    monkeypatch.setenv("XDG_STATE_HOME", str(room / "state"))
    told = Story()

    def take(raw: dict[str, Any]) -> None:
        event = parse(raw)
        if event is not None:
            told.add(event)

    given = json.dumps({"broken": [], **variables})
    play = Play(str(room / "play.yml"), inventory=(str(room / "hosts.yml"),), limit=limit, extra_vars=(given,))
    return told, run(play, take)


def undone(room: Path, monkeypatch: pytest.MonkeyPatch, limit: str | None = None, **variables: Any) -> list[str]:
    """Return whom a run of the command line leaves undone."""
    return unfinished(*ran(room, monkeypatch, limit, **variables))


def test_those_whom_a_failed_canary_kept_from_beginning_are_undone(room: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert undone(room, monkeypatch, desks_canary=1, broken=["d1"]) == DESKS
    assert undone(room, monkeypatch, desks_canary=2, broken=["d1"]) == [name for name in DESKS if name != "d2"]


def test_those_whom_a_percentage_stopped_are_undone(room: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert undone(room, monkeypatch, desks_serial=2, desks_max_fail_percentage=0, broken=["d1"]) == DESKS


def test_one_whom_a_percentage_stopped_is_not_said_to_be_done(room: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told, _outcome = ran(room, monkeypatch, desks_serial=2, desks_max_fail_percentage=0, broken=["d1"])
    assert {row.host: row.state(told.at) for row in told.rows() if row.began} == {"d1": "failed", "d2": "waiting"}


def test_those_who_would_have_had_their_models_of_a_failed_mirror_are_undone(
    room: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plays = yaml.safe_load((room / "play.yml").read_text())
    mirror = {"hosts": "mirrors", "gather_facts": False, "tasks": [{"ansible.builtin.fail": {"msg": "No room."}}]}
    (room / "play.yml").write_text(yaml.safe_dump([mirror, *plays]))
    hosts = yaml.safe_load((room / "hosts.yml").read_text())
    (room / "hosts.yml").write_text(yaml.safe_dump({**hosts, "mirrors": {"hosts": {"server": None}}}))
    assert undone(room, monkeypatch) == [*DESKS, "server"]
    assert undone(room, monkeypatch, limit="server,d2") == ["d2", "server"]


def test_a_desk_that_fails_alone_leaves_nobody_else_undone(room: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert undone(room, monkeypatch, broken=["d2"]) == ["d2"]


def test_a_slow_desk_holds_nobody_up(room: Path) -> None:
    (play,) = yaml.safe_load((room / "play.yml").read_text())
    mark = {"path": str(room / "all-others-done")}
    others = {"ansible.builtin.file": {**mark, "state": "touch"}, "when": "inventory_hostname == 'd5'"}
    slow = {"ansible.builtin.wait_for": {**mark, "timeout": 30}, "when": "inventory_hostname == 'd1'"}
    play["tasks"] = [slow, note("began"), others, note("done")]
    (room / "play.yml").write_text(yaml.safe_dump([play]))
    rc, said, found = rolled(room)
    assert (rc, found["done"]) == (0, DESKS), said
    assert "WARNING" not in said


def test_a_tag_selects_its_role_and_no_other() -> None:
    listed = subprocess.run(
        [str(Path(sys.executable).with_name("ansible-playbook")), "site.yml", "--list-tasks"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
    )
    found = re.findall(r"llmdesk\.workstation\.(\w+) : (?!Validating).*TAGS: \[(.*)\]", listed.stdout)
    tagged = {role: set(tags.split(", ")) - {"always"} for role, tags in found if role in TAGS}
    # Ansible lists nothing of what is included, and its tasks have no tag that is not handed on to them.
    for task in (task for play in yaml.safe_load(SITE.read_text()) for task in play["tasks"]):
        role = task.get("ansible.builtin.include_role", {})
        if "apply" in role:
            assert role["apply"]["tags"] == task["tags"]
            tagged |= {name: {tag} for name in TAGS for tag in [task["tags"]] if role["name"].endswith(f".{name}")}
    assert tagged == {tag: {tag} for tag in TAGS if tag != "wsl"}
