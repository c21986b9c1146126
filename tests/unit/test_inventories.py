# SPDX-License-Identifier: GPL-3.0-or-later
"""Inventories that are none, a sentence each; and the examples, which are."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.llmdesk.workstation.plugins.module_utils import variable_names

from llmdesk import inventories
from llmdesk.inventories import BadInventory

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted((ROOT / "inventory" / "examples").glob("*.yml"))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("desks:\n  hosts:\n    a:\n    b:\n    a:\n", "line 5: a stands there twice; remove one of them."),
        ("desks:\n  hosts: [a\n", "line 3: this is not YAML"),
        ("desks:\n\thosts:\n", "line 2: this is not YAML"),
        ("hello, this is prose", "has to begin with a group"),
        ("", "has no desks"),
        ("desks:\n  hosts:\n", "has no desks"),
        ("desk:\n  hosts: {a: }\n", "has no desks"),
        ("desks:\n  hosts:\n    - a\n    - b\n", "hosts of the group desks have to be a line 'NAME:' each"),
        ("desks:\n  hosts: {a: }\n  var: {x: 1}\n", "Did you mean vars?"),
        ("desks: [a]\n", "the group desks has to have 'hosts:'"),
    ],
)
def test_what_is_no_inventory_is_said_in_a_sentence(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "room.yml").write_text(text)
    with pytest.raises(BadInventory) as raised:
        inventories.check([str(tmp_path / "room.yml")])
    assert str(raised.value).startswith(str(tmp_path / "room.yml"))
    assert words in str(raised.value)
    assert "\n" not in str(raised.value)


def test_an_inventory_that_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "room.yml").write_text("")
    with pytest.raises(
        BadInventory, match=rf"There is no inventory {tmp_path}/rom.yml. Did you mean {tmp_path}/room.yml"
    ):
        inventories.check([str(tmp_path / "rom.yml")])
    with pytest.raises(BadInventory, match="init' makes one"):
        inventories.check([str(tmp_path / "classroom")])


@pytest.mark.parametrize(
    "text",
    [
        "desks: {hosts: {a: }}",
        "all: {children: {desks: {children: {left: {hosts: {a: }}}}}}",
        "windows: {hosts: {pc1: }}",
        "plugin: community.docker.docker_containers",
        "desks:\n  hosts:\n    a:\n      secret: !vault |\n        $ANSIBLE_VAULT;1.1;AES256\n        61\n",
        "left: {hosts: &left {a: }}\ndesks: {hosts: {<<: *left, b: }}",
    ],
)
def test_what_is_one_passes(tmp_path: Path, text: str) -> None:
    (tmp_path / "room.yml").write_text(text)
    inventories.check([str(tmp_path / "room.yml")])


def test_what_is_ansibles_own_business_passes(tmp_path: Path) -> None:
    (tmp_path / "hosts").write_text("[desks]\na\n")
    inventories.check(["desk1,desk2,", str(tmp_path), str(tmp_path / "hosts")])


def test_a_room_in_several_files(tmp_path: Path) -> None:
    (tmp_path / "a.yml").write_text("left: {vars: {x: 1}}")
    (tmp_path / "b.yml").write_text("desks: {hosts: {b: }}")
    inventories.check([str(tmp_path / "a.yml"), str(tmp_path / "b.yml")])


def test_hosts_of_a_pattern_are_named_one_by_one() -> None:
    content: dict[str, Any] = {
        "desks": {"children": {"row": {"hosts": {"desk[08:10]": None}}}, "hosts": {"desk09": None}}
    }
    assert inventories.hosts(content) == ["desk09", "desk08", "desk10"]


def understood(file: Path) -> dict[str, Any]:
    """Return what Ansible makes of an inventory."""
    command = [str(Path(sys.executable).with_name("ansible-inventory")), "-i", str(file), "--list"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert "WARNING" not in done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize("file", EXAMPLES, ids=lambda file: file.name)
def test_an_example_is_an_inventory_whose_variables_are_all_known(file: Path) -> None:
    inventories.check([str(file)])
    variables = understood(file)["_meta"]["hostvars"]
    assert sorted(variables) == sorted(inventories.hosts(inventories.read(file)))
    assert {name for host in variables.values() for name, _meant in variable_names.unknown(host)} == set()


def test_the_classroom_has_thirty_desks_and_the_teachers() -> None:
    found = understood(ROOT / "inventory" / "examples" / "classroom.yml")
    assert len(found["_meta"]["hostvars"]) == 31
    assert {"desk01", "desk30", "teacher"} <= set(found["_meta"]["hostvars"])


def test_ansible_itself_refuses_a_host_that_stands_twice(tmp_path: Path) -> None:
    (tmp_path / "room.yml").write_text("desks:\n  hosts:\n    a: {}\n    a: {}\n")
    command = [str(Path(sys.executable).with_name("ansible-inventory")), "-i", str(tmp_path / "room.yml"), "--list"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "Found duplicate mapping key 'a'" in done.stderr
