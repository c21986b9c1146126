# SPDX-License-Identifier: GPL-3.0-or-later
"""The accounts of a page, decided over captured answers of Open WebUI 0.12.4, and carried out on a page that
replays them."""

from __future__ import annotations

import json
import re
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible_collections.llmdesk.workstation.plugins.module_utils.open_webui import PageError
from ansible_collections.llmdesk.workstation.plugins.module_utils.open_webui_users import (
    HEADER,
    BadSheet,
    declared,
    doubtful,
    faults,
    generated,
    held_groups,
    read_memory,
    read_sheet,
    remembered,
    sheet,
    users_plan,
)
from ansible_collections.llmdesk.workstation.plugins.module_utils.whole_file import is_private, write_whole
from ansible_collections.llmdesk.workstation.plugins.modules.open_webui_users import Users

from tests.unit.servers import Loopback, Reply, as_json, loopback

FIXTURES = Path(__file__).parent / "fixtures" / "open_webui"


def captured(name: str) -> Any:
    return json.loads((FIXTURES / f"{name}.json").read_text())


ACCOUNTS: list[dict[str, Any]] = captured("users-all")["users"]
ID = {account["email"]: account["id"] for account in ACCOUNTS}
OWNER, ADA, ALAN, TEACHER = "owner@localhost", "ada@school.example", "alan@school.example", "teacher@localhost"
MEMBERS: dict[str, list[str]] = {"class 8b": captured("group-export")["user_ids"], "chess": []}
OURS: dict[str, Any] = {"accounts": {ADA: ID[ADA], ALAN: ID[ALAN]}, "groups": ["class 8b"]}
NOTHING: dict[str, Any] = {"accounts": {}, "groups": []}

LIST: list[dict[str, Any]] = [
    {"name": "Ada Lovelace", "email": "Ada@School.example ", "groups": ["class 8b"]},
    {"name": "Alan Turing", "email": ALAN},
]


def user(email: str, name: str = "Somebody", **more: Any) -> dict[str, Any]:
    return {"name": name, "email": email, **more}


def plan(users: list[dict[str, Any]], memory: Any = OURS, **more: Any) -> dict[str, Any]:
    wanted = {"accounts": ACCOUNTS, "members": MEMBERS, "administrator": ID[OWNER], **more}
    return users_plan(declared(users), memory=memory, **wanted)


# --- The list -------------------------------------------------------------------------------------------------------


def test_the_captured_page_is_as_these_tests_think_of_it() -> None:
    assert {email: account["role"] for email, account in zip(ID, ACCOUNTS, strict=True)} == {
        OWNER: "admin",
        **dict.fromkeys((ADA, ALAN, TEACHER), "user"),
    }
    assert sorted(MEMBERS["class 8b"]) == sorted([ID[ADA], ID[TEACHER]])


@pytest.mark.parametrize(
    ("users", "words"),
    [
        ([user("nobody")], ["'nobody' (Somebody) is no address"]),
        ([user("a b@school.example")], ["is no address"]),
        ([user("ada@school")], ["is no address"]),
        ([user(ADA), user(ADA.upper())], [f"{ADA} stands in the list twice"]),
        ([user("OWNER@localhost")], [f"{OWNER} is the administrator"]),
        ([user(ADA, name=" ")], [f"{ADA} has no name"]),
        ([user(ADA, groups=["class 8b", " "])], ["a group without a name"]),
        ([user(ADA, password="")], ["is empty; leave it out"]),
        ([user(ADA, name="A\tb"), user(ALAN, password="a\nb")], [f"{ADA} has a tab", f"{ALAN} has a tab"]),
        ([user("pupil@localhost"), user(ADA, password="x", groups=["class 8b"])], []),
    ],
)
def test_what_is_wrong_with_a_list(users: list[dict[str, Any]], words: list[str]) -> None:
    found = faults(users, OWNER)
    assert len(found) == len(words)
    assert all(part in sentence for part, sentence in zip(words, found, strict=True))


def test_a_list_is_read_as_the_page_would_show_it() -> None:
    assert declared([user(" ADA@school.example", " Ada ", groups=["b ", "a", "b"], password=" p ")]) == {
        ADA: {"name": "Ada", "role": "user", "groups": ["a", "b"], "password": " p "}
    }


def test_groups_that_were_in_the_list_are_held_until_they_are_left() -> None:
    assert held_groups(declared(LIST), {"accounts": {}, "groups": ["chess"]}) == ["chess", "class 8b"]


# --- The plan -------------------------------------------------------------------------------------------------------


def test_nothing_is_done_where_everything_is_right() -> None:
    right = plan(LIST)
    assert right["accounts"] == {ADA: ID[ADA], ALAN: ID[ALAN]}
    assert not any(right[key] for key in right if key != "accounts")


def test_who_is_not_there_is_made() -> None:
    new = plan([*LIST, user("Grace@localhost", "Grace", role="admin", groups=["new", "chess"])])
    assert (new["make"], new["add_groups"]) == (["grace@localhost"], ["new"])
    assert new["join"] == {"chess": ["grace@localhost"], "new": ["grace@localhost"]}
    assert new["before"] == {"grace@localhost": None}
    assert new["after"]["grace@localhost"]["role"] == "admin"
    assert new["change"] == {}


def test_names_roles_and_groups_are_held() -> None:
    held = plan([user(ADA, "Countess", role="admin", groups=["chess"]), LIST[1]])
    assert held["change"] == {ID[ADA]: {"name": "Countess", "role": "admin"}}
    assert (held["join"], held["leave"]) == ({"chess": [ADA]}, {"class 8b": [ADA]})
    assert held["before"][ADA] == {"email": ADA, "name": "Ada Lovelace", "role": "user", "groups": ["class 8b"]}
    assert held["after"][ADA] == {"email": ADA, "name": "Countess", "role": "admin", "groups": ["chess"]}
    assert list(held["before"]) == [ADA]


def test_who_leaves_is_disabled_and_leaves_the_groups_of_the_list() -> None:
    left = plan([LIST[1]])
    assert left["left"] == {ADA: ID[ADA]}
    assert left["change"] == {ID[ADA]: {"role": "pending"}}
    assert left["leave"] == {"class 8b": [ADA]}
    assert left["after"][ADA]["name"] == "Ada Lovelace"


def test_who_left_before_is_left_alone() -> None:
    accounts = [dict(account, role="pending") if account["email"] == ALAN else account for account in ACCOUNTS]
    before = plan([LIST[0]], accounts=accounts)
    assert (before["left"], before["change"], before["before"]) == ({ALAN: ID[ALAN]}, {}, {})
    back = plan(LIST, accounts=accounts)
    assert back["change"] == {ID[ALAN]: {"role": "user"}}


@pytest.mark.parametrize("memory", [NOTHING, {"accounts": {ADA: "an account that is gone"}, "groups": []}])
def test_accounts_of_others_are_never_disabled(memory: dict[str, Any]) -> None:
    alone = plan([], memory)
    assert not any(alone.values())


def test_accounts_of_others_are_held_while_they_are_listed() -> None:
    listed = plan([*LIST, user(TEACHER, "Teacher")])
    assert listed["change"] == {ID[TEACHER]: {"name": "Teacher"}}
    assert listed["leave"] == {"class 8b": [TEACHER]}
    assert plan(LIST)["leave"] == {}, "and their groups are theirs when they are not"


def test_the_administrator_who_signs_in_is_never_touched() -> None:
    assert plan(LIST, {"accounts": {**OURS["accounts"], OWNER: ID[OWNER]}, "groups": []})["change"] == {}


def test_an_address_that_was_changed_in_the_page_is_held_too() -> None:
    accounts = [dict(account, email="new@localhost") if account["email"] == ADA else account for account in ACCOUNTS]
    changed = plan(LIST, accounts=accounts)
    assert (changed["make"], changed["left"]) == ([], {})
    assert changed["change"] == {ID[ADA]: {"email": ADA}}


def test_one_account_is_not_two_people() -> None:
    accounts = [dict(account, email="eve@localhost") if account["email"] == ADA else account for account in ACCOUNTS]
    split = plan([*LIST, user("eve@localhost", "Eve")], accounts=accounts)
    assert split["make"] == [ADA]
    assert split["accounts"] == {ALAN: ID[ALAN], "eve@localhost": ID[ADA]}


def test_an_account_that_was_deleted_in_the_page_is_made_again() -> None:
    gone = [account for account in ACCOUNTS if account["email"] != ADA]
    assert plan(LIST, accounts=gone)["make"] == [ADA]


def test_what_is_remembered_is_what_is_ours() -> None:
    users = [LIST[0], user(TEACHER)]
    assert remembered(declared(users), plan(users), OURS) == {
        "accounts": {ADA: ID[ADA], ALAN: ID[ALAN]},
        "groups": ["class 8b"],
    }


def test_only_accounts_that_were_about_to_be_made_are_doubtful() -> None:
    memory = {"accounts": {ADA: None, ALAN: ID[ALAN], "never@localhost": None}, "groups": []}
    assert doubtful(ACCOUNTS, memory) == {ADA: ID[ADA]}


# --- Passwords and files --------------------------------------------------------------------------------------------


def test_a_generated_password_can_be_typed_from_paper() -> None:
    made = {generated() for _turn in range(500)}
    assert len(made) == 500
    # The rule of pages with ENABLE_PASSWORD_VALIDATION, as Open WebUI has it by default.
    strict = re.compile(r"^(?=.*[a-z])(?=.*[A-Z])(?=.*\d)(?=.*[^\w\s]).{8,}$")
    for password in made:
        assert re.fullmatch(r"[A-Z][a-z2-9]{3}-[a-z2-9]{4}-[a-z2-9]{3}[2-9]", password)
        assert not set(password) & set("01oilIOL")
    assert sum(bool(strict.match(password)) for password in made) == 500


def test_the_sheet_has_one_line_an_account_in_the_order_of_the_list() -> None:
    rows = {"gone@localhost": ["Gone", "gone@localhost", "G-1", "chess"]}
    passwords = {ALAN: "B-2", ADA: "A-1", "gone@localhost": "G-1"}
    text = sheet(declared([*LIST, user(TEACHER, password="given")]), {"gone@localhost": "7"}, passwords, rows)
    assert text.splitlines() == [
        HEADER,
        f"Ada Lovelace\t{ADA}\tA-1\tclass 8b",
        f"Alan Turing\t{ALAN}\tB-2\t",
        "Gone\tgone@localhost\tG-1\t(disabled)",
    ]
    assert {address: row[2] for address, row in read_sheet(text).items()} == passwords


def test_a_sheet_that_is_gone_is_an_empty_one() -> None:
    assert read_sheet(None) == read_sheet(HEADER + "\n\n") == {}


@pytest.mark.parametrize("line", ["Ada\tada@localhost", "Ada ada@localhost A-1 ", "Ada\t\tA-1\t", "Ada\ta@b.c\t\t"])
def test_a_line_that_cannot_be_read_is_named(line: str) -> None:
    with pytest.raises(BadSheet, match="line 2 is not name, address"):
        read_sheet(f"{HEADER}\n{line}\n")


@pytest.mark.parametrize("text", ["{", "[]", '{"accounts": {}}', '{"accounts": 1, "groups": []}'])
def test_a_memory_that_cannot_be_read_is_an_error(text: str) -> None:
    with pytest.raises(BadSheet, match="not what was written"):
        read_memory(text)


def test_a_file_of_passwords_is_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "llmdesk" / "users.tsv"
    assert not is_private(str(path), "a")
    write_whole(str(path), "a")
    assert is_private(str(path), "a")
    assert [stat.S_IMODE(each.stat().st_mode) for each in (path, path.parent)] == [0o600, 0o700]
    path.chmod(0o644)
    assert not is_private(str(path), "a"), "an open one is written anew"
    write_whole(str(path), "a")
    assert is_private(str(path), "a")
    assert not is_private(str(path), "b")


def test_the_old_file_stays_until_the_new_one_is_complete(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    write_whole(str(tmp_path / "users.tsv"), "old")
    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_whole(str(tmp_path / "users.tsv"), "new")
    assert [path.read_text() for path in tmp_path.iterdir()] == ["old"]


# --- What is carried out --------------------------------------------------------------------------------------------


class Desk:
    """A desk whose page replays what the real one said, and a module that runs on it."""

    def __init__(self, page: Loopback, folder: Path) -> None:
        self.page, self.folder = page, folder
        self.sheet, self.memory = folder / "etc" / "users.tsv", folder / "etc" / "users.json"
        (folder / "admin_password").write_text("Own-ers-pass-1\n")
        self.accounts = [dict(account) for account in ACCOUNTS]
        groups = captured("groups")
        numbers = {group["name"]: group["id"] for group in groups}
        self.members = {name: list(MEMBERS[name]) for name in numbers}
        self.opens = {OWNER: "Own-ers-pass-1"}
        self.before_add: Callable[[dict[str, Any]], Reply | None] = lambda _account: None
        page.answers.update(
            {
                "POST /api/v1/auths/signin": self._sign_in,
                "GET /api/v1/users/all": lambda _body: as_json({"users": self.accounts, "total": 4}),
                "GET /api/v1/groups/": as_json(groups),
                "POST /api/v1/auths/add": self._add,
                **{f"GET /api/v1/groups/id/{number}/export": self._export(name) for name, number in numbers.items()},
                **{
                    f"POST /api/v1/groups/id/{number}/users/{verb}": self._members(name, verb)
                    for name, number in numbers.items()
                    for verb in ("add", "remove")
                },
                **{
                    f"POST /api/v1/users/{account['id']}/update": as_json(captured("user-update"))
                    for account in ACCOUNTS
                },
            }
        )

    def _sign_in(self, body: bytes) -> Reply:
        asked = json.loads(body)
        if self.opens.get(asked["email"]) == asked["password"]:
            return as_json(captured("sign-in"))
        return as_json(captured("refused-sign-in"), 400)

    def _add(self, body: bytes) -> Reply:
        account = json.loads(body)
        refused = self.before_add(account)
        if refused:
            return refused
        number = f"id-{len(self.accounts)}"
        self.accounts.append({**ACCOUNTS[0], "id": number, **account})
        self.opens[account["email"]] = account["password"]
        self.page.answers[f"POST /api/v1/users/{number}/update"] = as_json(captured("user-update"))
        return as_json({**captured("add"), "id": number, "email": account["email"]})

    def _export(self, name: str) -> Callable[[bytes], Reply]:
        return lambda _body: as_json({**captured("group-export"), "user_ids": self.members[name]})

    def _members(self, name: str, verb: str) -> Callable[[bytes], Reply]:
        def change(body: bytes) -> Reply:
            for number in json.loads(body)["user_ids"]:
                (self.members[name].append if verb == "add" else self.members[name].remove)(number)
            return as_json(captured("group-users-add"))

        return change

    def module(self, users: list[dict[str, Any]], **more: Any) -> Any:
        params = {
            "url": self.page.url,
            "email": OWNER,
            "password_file": str(self.folder / "admin_password"),
            "users": users,
            "update_password": "on_create",
            "passwords_file": str(self.sheet),
            "memory_file": str(self.memory),
        }
        return SimpleNamespace(params={**params, **more}, check_mode=False, no_log_values=set())

    def hold(self, users: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
        self.page.asked.clear()
        return Users(self.module(users, **more)).hold()

    def asked(self, word: str) -> list[Any]:
        return [json.loads(body) for key, body in self.page.asked if word in key and body]


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    with loopback({}) as page:
        yield Desk(page, tmp_path)


NEW = user("new@localhost", "New", groups=["class 8b"])


def test_the_password_is_on_the_desk_before_the_account_is_made(desk: Desk) -> None:
    seen: list[Any] = []
    desk.before_add = lambda account: seen.append(
        (account["password"], desk.sheet.read_text(), json.loads(desk.memory.read_text()))
    )
    desk.hold([NEW, user("other@localhost", "Other")])
    password, on_sheet, in_memory = seen[0]
    assert f"New\tnew@localhost\t{password}\tclass 8b\n" in on_sheet
    assert on_sheet.count("\n") == 3, "that of the second one as well"
    assert in_memory["accounts"] == {"new@localhost": None, "other@localhost": None}
    assert json.loads(desk.memory.read_text()) == {
        "accounts": {"new@localhost": "id-4", "other@localhost": "id-5"},
        "groups": ["class 8b"],
    }


def test_a_second_run_is_one_sign_in_and_a_few_questions(desk: Desk) -> None:
    assert desk.hold([NEW])["changed"] is True
    assert desk.hold([NEW])["changed"] is False
    assert [re.sub(r"[0-9a-f-]{36}", "ID", key) for key, _body in desk.page.asked] == [
        "POST /api/v1/auths/signin",
        "GET /api/v1/users/all",
        "GET /api/v1/groups/",
        "GET /api/v1/groups/id/ID/export",
    ]


def test_a_given_password_is_not_written_down(desk: Desk) -> None:
    result = desk.hold([user("new@localhost", password="Given-by-hand-7")])
    assert desk.asked("/auths/add")[0]["password"] == "Given-by-hand-7"
    assert [path.name for path in desk.sheet.parent.iterdir()] == ["users.json"]
    assert "Given-by-hand-7" not in desk.memory.read_text() + json.dumps(result)


def test_no_password_is_in_the_result_and_ansible_is_told_them_all(desk: Desk) -> None:
    module = desk.module([NEW])
    result = Users(module).hold()
    password = desk.opens["new@localhost"]
    assert password not in json.dumps(result)
    assert module.no_log_values == {password}


def test_a_page_that_repeats_what_it_refuses_gives_no_password_away(desk: Desk) -> None:
    """Open WebUI 0.12.4 says no more than "Invalid authentication request."; not every version need be as careful."""
    desk.before_add = lambda account: as_json({"detail": f"not understood: {account}"}, 422)
    module = desk.module([NEW])
    with pytest.raises(PageError, match=r"^new@localhost: ") as refused:
        Users(module).hold()
    (password,) = module.no_log_values
    assert desk.asked("/auths/add")[0]["password"] == password
    assert password not in str(refused.value).replace(password, "***")


def test_a_refusal_names_the_account_and_what_was_done_is_remembered(desk: Desk) -> None:
    desk.before_add = lambda account: (
        as_json(captured("refused-password-too-long"), 400) if account["email"] == "other@localhost" else None
    )
    users = [NEW, user("other@localhost", "Other", password="x" * 80)]
    with pytest.raises(PageError, match=r"^other@localhost: .*long"):
        desk.hold(users)
    assert json.loads(desk.memory.read_text())["accounts"] == {"new@localhost": "id-4", "other@localhost": None}
    password = desk.opens["new@localhost"]
    desk.before_add = lambda _account: None
    result = desk.hold([NEW, user("other@localhost", "Other")])
    assert (result["made"], result["updated"]) == (["other@localhost"], ["new@localhost"])
    assert read_sheet(desk.sheet.read_text())["new@localhost"][2] == password
    assert ID[ADA] in desk.members["class 8b"]


def test_an_account_made_by_a_run_that_was_cut_off_is_known_by_its_password(desk: Desk) -> None:
    desk.hold([NEW])
    memory = json.loads(desk.memory.read_text())
    desk.memory.write_text(json.dumps({**memory, "accounts": {"new@localhost": None}}))
    assert desk.hold([])["disabled"] == ["new@localhost"]


def test_an_account_that_somebody_else_made_in_between_is_theirs(desk: Desk) -> None:
    desk.hold([NEW])
    desk.opens["new@localhost"] = "theirs"
    memory = json.loads(desk.memory.read_text())
    desk.memory.write_text(json.dumps({**memory, "accounts": {"new@localhost": None}}))
    assert desk.hold([NEW])["made"] == []
    assert json.loads(desk.memory.read_text())["accounts"] == {}
    assert desk.sheet.read_text() == HEADER + "\n", "the password on it opens nothing"
    assert desk.hold([])["disabled"] == []


def test_a_memory_that_was_lost_is_found_on_the_sheet(desk: Desk) -> None:
    desk.hold([NEW])
    desk.memory.unlink()
    before = desk.sheet.read_text()
    assert desk.hold([NEW])["changed"] is False
    assert desk.sheet.read_text() == before
    assert json.loads(desk.memory.read_text())["accounts"] == {"new@localhost": "id-4"}


def test_a_sheet_that_was_handed_out_may_be_removed(desk: Desk) -> None:
    desk.hold([NEW])
    desk.sheet.unlink()
    assert desk.hold([NEW])["changed"] is False
    assert not desk.sheet.exists()


def test_an_account_that_was_deleted_comes_back_with_the_password_on_paper(desk: Desk) -> None:
    desk.hold([NEW])
    password = desk.opens.pop("new@localhost")
    desk.accounts = [account for account in desk.accounts if account["email"] != "new@localhost"]
    desk.members["class 8b"].remove("id-4")
    assert desk.hold([NEW])["made"] == ["new@localhost"]
    assert desk.opens["new@localhost"] == password


def test_the_default_group_of_the_page_is_no_reason_for_a_second_change(desk: Desk) -> None:
    desk.before_add = lambda _account: desk.members["chess"].append(f"id-{len(desk.accounts)}")
    users = [NEW, user("other@localhost", "Other", groups=["chess"])]
    desk.hold(users)
    assert desk.members["chess"] == ["id-5"]
    assert desk.hold(users)["changed"] is False


def test_passwords_are_set_back_only_where_they_are_others(desk: Desk) -> None:
    given = user(ADA, "Ada Lovelace", groups=["class 8b"], password="Given-by-hand-7")
    desk.hold([NEW, given])
    assert desk.asked("/update") == [], "an account that is there keeps its own"
    first = desk.opens["new@localhost"]
    desk.opens.update({ADA: "Given-by-hand-7", "new@localhost": "My-own-9"})
    result = desk.hold([NEW, given], update_password="always")
    assert result["updated"] == ["new@localhost"]
    assert result["diff"] == {
        "before": {"new@localhost": {"password": "another"}},
        "after": {"new@localhost": {"password": "the declared one"}},
    }
    assert [body for key, body in desk.page.asked if key == "POST /api/v1/users/id-4/update"] == [
        json.dumps({"password": first}).encode()
    ]


def test_a_page_that_takes_no_more_sign_ins_says_nothing_about_a_password(desk: Desk) -> None:
    desk.hold([NEW])
    known = desk._sign_in
    desk.page.answers["POST /api/v1/auths/signin"] = lambda body: (
        known(body) if json.loads(body)["email"] == OWNER else as_json(captured("refused-too-many"), 429)
    )
    with pytest.raises(PageError, match=r"^new@localhost: "):
        desk.hold([NEW], update_password="always")
    assert desk.asked("/update") == []


def test_check_mode_writes_nothing_anywhere(desk: Desk) -> None:
    module = desk.module([NEW])
    module.check_mode = True
    result = Users(module).hold()
    assert (result["changed"], result["made"]) == (True, ["new@localhost"])
    assert not desk.sheet.parent.exists()
    assert {key.partition(" ")[0] for key, _body in desk.page.asked[1:]} == {"GET"}
