# SPDX-License-Identifier: GPL-3.0-or-later
"""Who sees which model, decided over captured answers of Open WebUI 0.12.4, and carried out on a page that replays
them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible_collections.llmdesk.workstation.plugins.module_utils.open_webui import (
    EVERYBODY_READS,
    OpenWebUI,
    PageError,
    group_ids,
    group_reads,
    record_fields,
    wanted_record,
)
from ansible_collections.llmdesk.workstation.plugins.module_utils.open_webui_access import (
    access_fault,
    named_grants,
    readers,
    unknown_groups,
)
from ansible_collections.llmdesk.workstation.plugins.modules.open_webui_model_access import hold
from ansible_collections.llmdesk.workstation.plugins.modules.open_webui_settings import difference

from tests.unit.servers import Loopback, as_json, loopback

FIXTURES = Path(__file__).parent / "fixtures" / "open_webui"


def captured(name: str) -> Any:
    return json.loads((FIXTURES / f"{name}.json").read_text())


MODEL = "smollm2:135m"
GROUPS = captured("groups")
NUMBER = {group["name"]: group["id"] for group in GROUPS}
NAMES = {group["id"]: group["name"] for group in GROUPS} | {
    account["id"]: account["email"] for account in captured("users-all")["users"]
}
# As an administrator left it: a description, a system prompt, one group and one person who see it, one who writes.
RECORD = captured("model-record-groups")


def entry(access: str, *groups: str, model: str = MODEL) -> dict[str, Any]:
    return {"model": model, "access": access, "groups": list(groups)}


# --- Decisions ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("entries", "words"),
    [
        ([entry("everyone"), entry("groups", "chess", model="other:1")], ""),
        ([entry("groups")], f"{MODEL}: 'access: groups' needs 'groups'"),
        ([entry("admins", "chess")], "not with 'access: admins'"),
        ([entry("everyone"), entry("admins")], f"{MODEL} is declared twice"),
    ],
)
def test_what_is_wrong_with_a_declaration(entries: list[dict[str, Any]], words: str) -> None:
    fault = access_fault(entries)
    assert words in fault
    assert bool(fault) == bool(words)


def test_what_an_access_stands_for() -> None:
    assert readers("everyone", [], GROUPS) == ([EVERYBODY_READS], [])
    assert readers("admins", [], GROUPS) == ([], [])
    assert readers("groups", ["chess", "chess", "class 8b"], GROUPS) == (
        [group_reads(NUMBER["chess"]), group_reads(NUMBER["class 8b"])],
        [],
    )


def test_groups_that_are_not_there_are_named_with_those_that_are() -> None:
    grants, unknown = readers("groups", ["clas 8b", "chess"], GROUPS)
    assert (grants[0], unknown) == (group_reads("clas 8b"), ["clas 8b"])
    assert unknown_groups(unknown, GROUPS).startswith(
        "The page has no group clas 8b; its groups are: chess, class 8b. Correct the name"
    )
    assert "its groups are: none" in unknown_groups(["chess"], [])


def test_two_groups_of_one_name_are_not_chosen_from() -> None:
    with pytest.raises(PageError, match="two groups named chess"):
        group_ids([*GROUPS, {"id": "7", "name": "chess"}], ["chess"])
    assert group_ids([*GROUPS, {"id": "7", "name": "other"}, {"id": "8", "name": "other"}], ["chess"]) == {
        "chess": NUMBER["chess"]
    }


def test_grants_are_read_by_names() -> None:
    assert named_grants(record_fields(RECORD)["access_grants"], NAMES) == [
        "group class 8b: read",
        "user teacher@localhost: read",
        "user teacher@localhost: write",
    ]
    assert named_grants([EVERYBODY_READS, group_reads("gone")], NAMES) == ["everyone: read", "group gone: read"]


@pytest.mark.parametrize(
    ("access", "groups", "grants"),
    [
        ("everyone", [], ["everyone: read"]),
        ("admins", [], []),
        ("groups", ["chess"], ["group chess: read"]),
        ("groups", ["chess", "class 8b"], ["group chess: read", "group class 8b: read"]),
    ],
)
def test_the_readers_become_those_declared_and_everything_else_stays(
    access: str, groups: list[str], grants: list[str]
) -> None:
    declared, _unknown = readers(access, groups, GROUPS)
    wanted = wanted_record(RECORD, MODEL, readers=declared)
    assert named_grants(wanted["access_grants"], NAMES) == [*grants, "user teacher@localhost: write"]
    assert dict(wanted, access_grants=[]) == dict(record_fields(RECORD), access_grants=[])
    assert wanted_record(wanted, MODEL, readers=declared) == wanted, "stable at once"


@pytest.mark.parametrize("access", ["everyone", "admins"])
def test_a_model_without_a_record_gets_one(access: str) -> None:
    declared, _unknown = readers(access, [], GROUPS)
    wanted = wanted_record(None, MODEL, readers=declared)
    assert (wanted["access_grants"], wanted["meta"], wanted["is_active"]) == (declared, {}, True)


# --- What is carried out --------------------------------------------------------------------------------------------


class Desk:
    def __init__(self, page: Loopback, folder: Path, record: Any) -> None:
        self.page, self.warnings = page, list[str]()
        (folder / "admin_password").write_text("Own-ers-pass-1\n")
        self.params = {"url": page.url, "email": "owner@localhost", "password_file": str(folder / "admin_password")}
        self.check_mode = False
        none = (captured("model-record-none"), 404)
        page.answers.update(
            {
                "POST /api/v1/auths/signin": as_json(captured("sign-in")),
                "GET /api/models": as_json(captured("models")),
                "GET /api/v1/groups/": as_json(GROUPS),
                "GET /api/v1/users/all": as_json(captured("users-all")),
                f"GET /api/v1/models/model?id={MODEL.replace(':', '%3A')}": as_json(
                    *(none if record is None else (record,))
                ),
                "GET /api/v1/models/model?id=other%3A1": as_json(*none),
                "POST /api/v1/models/create": as_json(captured("model-record")),
                "POST /api/v1/models/model/update": as_json(captured("model-record")),
                "POST /api/v1/models/model/access/update": as_json(captured("model-access-update")),
                "POST /ollama/api/show": as_json({"capabilities": ["completion"]}),
            }
        )

    def hold(self, *entries: dict[str, Any]) -> dict[str, Any]:
        def fail(msg: str) -> None:
            raise AssertionError(msg)

        module: Any = SimpleNamespace(
            params=self.params, check_mode=self.check_mode, warn=self.warnings.append, fail_json=fail
        )
        return hold(module, list(entries))

    def written(self) -> list[tuple[str, Any]]:
        posts = [(key.rpartition("/api/v1/models/")[2], body) for key, body in self.page.asked if "/v1/models/" in key]
        return [(key, json.loads(body)) for key, body in posts if body]


@pytest.fixture
def desk(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Desk]:
    with loopback({}) as page:
        yield Desk(page, tmp_path, getattr(request, "param", RECORD))


without_a_record = pytest.mark.parametrize("desk", [None], indirect=True)
seen_by_everyone = pytest.mark.parametrize("desk", [captured("model-record")], indirect=True)


def test_grants_are_written_where_the_page_takes_them(desk: Desk) -> None:
    result = desk.hold(entry("groups", "chess"))
    ((where, body),) = desk.written()
    assert where == "model/access/update"
    assert body["id"] == MODEL
    assert named_grants(body["access_grants"], NAMES) == ["group chess: read", "user teacher@localhost: write"]
    assert result["changes"] == [MODEL]
    assert result["readers"] == {MODEL: ["group chess"]}
    assert result["diff"] == {
        "before": {MODEL: ["group class 8b: read", "user teacher@localhost: read", "user teacher@localhost: write"]},
        "after": {MODEL: ["group chess: read", "user teacher@localhost: write"]},
    }
    assert desk.page.asked[-2][0] == "GET /api/models", "the page takes a changed record into use when it is asked"


@without_a_record
def test_a_record_is_made_in_one_step(desk: Desk) -> None:
    """In two, everybody might see the model in between."""
    result = desk.hold(entry("admins"))
    ((where, body),) = desk.written()
    assert (where, body["access_grants"]) == ("create", [])
    assert result["diff"] == {"before": {MODEL: None}, "after": {MODEL: []}}


@seen_by_everyone
def test_a_second_run_asks_and_changes_nothing(desk: Desk) -> None:
    result = desk.hold(entry("everyone"))
    assert (result["changed"], result["diff"]) == (False, {"before": {}, "after": {}})
    assert [key for key, _body in desk.page.asked] == [
        "POST /api/v1/auths/signin",
        "GET /api/models",
        "GET /api/v1/groups/",
        "GET /api/v1/models/model?id=smollm2%3A135m",
    ]


def test_several_models_are_one_sign_in(desk: Desk) -> None:
    result = desk.hold(entry("everyone"), entry("admins", model="other:1"))
    assert result["changes"] == [MODEL, "other:1"]
    assert [key for key, _body in desk.page.asked].count("POST /api/v1/auths/signin") == 1
    assert [where for where, _body in desk.written()] == ["model/access/update", "create"]
    assert desk.warnings == [
        f"The page offers no model other:1 yet, only {MODEL}. Its access holds from the moment that there "
        "is one; correct the name if it is another."
    ]


def test_a_wrong_group_changes_nothing(desk: Desk) -> None:
    with pytest.raises(AssertionError, match="no group clas 8b; its groups are: chess, class 8b"):
        desk.hold(entry("everyone"), entry("groups", "clas 8b", model="other:1"))
    assert desk.written() == []


def test_check_mode_takes_a_group_on_trust(desk: Desk) -> None:
    desk.check_mode = True
    result = desk.hold(entry("groups", "class 9a"))
    assert result["diff"]["after"] == {MODEL: ["group class 9a: read", "user teacher@localhost: write"]}
    assert "The page has no group class 9a" in desk.warnings[0]
    assert desk.written() == []


# --- Beside open_webui_settings -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "desk",
    [RECORD, dict(RECORD, access_grants=[]), captured("model-record")],
    indirect=True,
    ids=["group", "admins", "all"],
)
def test_settings_leave_a_decided_access_alone(desk: Desk) -> None:
    page = OpenWebUI(desk.page.url)
    before, after = difference(page, {}, [MODEL])
    assert after["models"][MODEL]["meta"]["capabilities"] == {"builtin_tools": False}
    assert after["models"][MODEL]["access_grants"] == before["models"][MODEL]["access_grants"]
    page.save_model_record(after["models"][MODEL], before["models"][MODEL])
    assert [where for where, _body in desk.written()] == ["model/update"]


@without_a_record
def test_settings_let_everybody_see_a_model_that_nobody_decided_about(desk: Desk) -> None:
    before, after = difference(OpenWebUI(desk.page.url), {}, [MODEL])
    assert before["models"] == {MODEL: None}
    assert after["models"][MODEL]["access_grants"] == [EVERYBODY_READS]
