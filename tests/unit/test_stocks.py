# SPDX-License-Identifier: GPL-3.0-or-later
"""The models of a room: which desk has which, what pulling and removing means, and what the inventory will undo."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
from ansible_collections.llmdesk.workstation.plugins.module_utils.model_name import BadName
from ansible_collections.llmdesk.workstation.plugins.module_utils.model_plan import errands
from click.testing import CliRunner, Result

from llmdesk import run as runs
from llmdesk import stocks
from llmdesk.cli import main
from llmdesk.commands import plays as commands
from llmdesk.run import Play


def desk(*declared: str, **digests: str) -> dict[str, Any]:
    models = [{"name": f"{name}:1", "digest": digest * 16, "size": 2_000_000_000} for name, digest in digests.items()]
    return {"models": models, "declared": list(declared)}


ROOM = {
    "desk1": desk("a:1", "b:1", a="11aa", c="33cc"),
    "desk2": desk("a:1", "b:1", a="11aa", b="22bb"),
    "desk3": desk("a:1", a="99ff", b="22bb"),
}


def test_the_table_says_what_is_missing_and_what_differs() -> None:
    stream = io.StringIO()
    stocks.show(ROOM, stream)
    assert stream.getvalue().splitlines() == [
        "model  size    desk1    desk2  desk3",
        "a:1    2.0 GB  yes      yes    other",
        "b:1    2.0 GB  missing  yes    yes",
        "c:1    2.0 GB  yes      -      -",
        "",
        "a:1 is not the same everywhere: 11aa11aa11aa on desk1, desk2; 99ff99ff99ff on desk3",
    ]


def test_a_room_without_models() -> None:
    stream = io.StringIO()
    stocks.show({"desk1": desk()}, stream)
    assert stream.getvalue() == "No desk has any model.\n"


# --- What is done ---------------------------------------------------------------------------------------------------

MIRROR = {"name": "a:1", "sources": [{"name": "mirror.example.com/library/a:1"}]}
DECLARED = [MIRROR, {"name": "gone:1", "state": "absent"}, "b"]


def test_a_declared_model_comes_from_its_sources_and_another_from_its_registry_alone() -> None:
    done = errands(DECLARED, ["a:1", "x:2"], [])
    assert [model["sources"] for model in done["models"]] == [MIRROR["sources"], [{"name": "x:2"}]]
    assert {model["state"] for model in done["models"]} == {"present"}
    assert done["notes"] == []
    assert done["declared"] == ["a:1", "b:latest"]


@pytest.mark.parametrize(
    ("pull", "remove", "exclusive", "note"),
    [
        ([], ["b"], False, "b:latest is declared (ollama_models), so the next './llmdesk up' brings it back."),
        ([], ["x:2"], False, ""),
        (
            ["gone:1"],
            [],
            False,
            "gone:1 is declared absent (ollama_models), so the next './llmdesk up' removes it again.",
        ),
        (["x:2"], [], True, "x:2 is not declared, so the next './llmdesk up' removes it (ollama_models_exclusive)."),
        (["x:2"], [], False, ""),
    ],
)
def test_what_the_inventory_will_undo_is_said(pull: list[str], remove: list[str], exclusive: bool, note: str) -> None:
    assert errands(DECLARED, pull, remove, exclusive)["notes"] == ([note] if note else [])


def test_what_is_no_name_of_a_model() -> None:
    with pytest.raises(BadName):
        errands([], ["no such name"], [])


# --- The command ----------------------------------------------------------------------------------------------------


def typed(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["models", *arguments])


def test_list_asks_and_says_who_did_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 0)
    hosts: dict[str, Any] = {name: {"msg": {"desk_models": answer}} for name, answer in ROOM.items()}
    hosts["desk4"] = {"unreachable": True, "msg": "Connection timed out"}
    monkeypatch.setattr(runs, "ask", lambda _play: {"plays": [{"tasks": [{"hosts": hosts}]}]})
    result = typed("list")
    assert result.exit_code == 1
    assert "desk4: Connection timed out" in result.stderr
    assert result.stdout.startswith("model  size    desk1")
    answer = json.loads(typed("list", "--json").stdout)
    assert set(answer) == {"desks", "differing", "failures"}
    assert answer["failures"] == {"desk4": "Connection timed out"}


@pytest.mark.parametrize(("command", "variable"), [("pull", "ollama_models_pull"), ("remove", "ollama_models_remove")])
def test_pull_and_remove_are_plays(monkeypatch: pytest.MonkeyPatch, command: str, variable: str) -> None:
    wanted: list[Play] = []
    monkeypatch.setattr("os.geteuid", lambda: 0)
    monkeypatch.setattr(commands, "finish", lambda play, *_more, **_options: wanted.append(play))
    assert typed(command, "a:1", "b:1", "--check").exit_code == 0
    assert wanted[0].playbook == "llmdesk.workstation.models"
    assert wanted[0].check
    assert json.loads(wanted[0].extra_vars[0]) == {variable: ["a:1", "b:1"]}
    assert typed(command).exit_code == 2  # of which model?
