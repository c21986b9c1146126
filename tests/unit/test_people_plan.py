# SPDX-License-Identifier: GPL-3.0-or-later
"""When a desk's page is held to its people, decided over the desk facts."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.llmdesk.workstation.plugins.filter.plan import FilterModule
from ansible_collections.llmdesk.workstation.plugins.module_utils.people_plan import people_plan

WANTED: dict[str, Any] = {
    "users": [{"name": "Ada", "email": "ada@school.example", "groups": ["class 8b"], "password": "Given-by-hand-7"}],
    "models": [{"model": "smollm2:135m", "access": "groups", "groups": ["class 8b"]}],
    "update_password": "on_create",
}
NOBODY: dict[str, Any] = {"users": [], "models": [], "update_password": "on_create"}


def desk(**changed: Any) -> dict[str, Any]:
    """Return the facts that count, of a desk where everything is right but for what is changed."""
    facts: dict[str, Any] = {
        "container": {"config_hash": "h"},
        "ollama": {"models": [{"name": "smollm2:135m", "digest": "33ea"}]},
        "account": {"state": "managed"},
        "record": {"people": None},
    }
    return {**facts, **changed}


def held(wanted: dict[str, Any]) -> dict[str, Any]:
    """Return the record of a desk that was held to that."""
    return {"people": {"identity": people_plan(desk(), wanted)["identity"]}}


def test_nothing_is_done_where_nobody_is_declared() -> None:
    plan = people_plan(desk(), NOBODY)
    assert (plan["act"], plan["reason"]) == (False, "nobody is declared")
    assert people_plan(desk(), {**NOBODY, "update_password": "always"})["act"] is False


def test_people_are_held_once() -> None:
    plan = people_plan(desk(), WANTED)
    assert (plan["act"], plan["do"]) == (True, "hold")
    assert people_plan(desk(record=held(WANTED)), WANTED)["act"] is False


def test_a_list_that_was_emptied_is_held_once_as_well() -> None:
    assert people_plan(desk(record=held(WANTED)), NOBODY)["act"] is True
    assert people_plan(desk(record=held(NOBODY)), NOBODY)["act"] is False
    assert people_plan(desk(record=held(NOBODY)), {**NOBODY, "update_password": "always"})["act"] is False


@pytest.mark.parametrize(
    ("changed", "wanted"),
    [
        ({"container": {"config_hash": "other"}}, {}),
        ({"container": None}, {}),
        ({"ollama": {"models": []}}, {}),
        ({}, {"users": []}),
        ({}, {"models": []}),
        ({}, {"update_password": "always"}),
    ],
)
def test_people_are_held_again_after_a_change(changed: dict[str, Any], wanted: dict[str, Any]) -> None:
    assert people_plan(desk(record=held(WANTED), **changed), {**WANTED, **wanted})["act"] is True


def test_a_model_that_was_pulled_anew_changes_nobody() -> None:
    again = {"models": [{"name": "smollm2:135m", "digest": "another"}]}
    assert people_plan(desk(record=held(WANTED), ollama=again), WANTED)["act"] is False


def test_no_password_is_in_what_everybody_on_the_desk_can_read() -> None:
    other = {**WANTED, "users": [{**WANTED["users"][0], "password": "another"}]}
    assert people_plan(desk(), other)["identity"] == people_plan(desk(), WANTED)["identity"]


@pytest.mark.parametrize(
    ("state", "reason"),
    [("none", "has no administrator yet"), ("unknown", "does not answer"), ("unmanaged", "password is not known here")],
)
def test_people_who_cannot_be_helped_are_told_of(state: str, reason: str) -> None:
    plan = people_plan(desk(account={"state": state}), WANTED)
    assert (plan["act"], plan["do"]) == (True, "say")
    assert reason in plan["reason"]
    assert people_plan(desk(account={"state": state}), NOBODY)["act"] is False


def test_tasks_ask_for_it_by_its_name() -> None:
    assert FilterModule().filters()["plan"](desk(), "people", WANTED) == people_plan(desk(), WANTED)
