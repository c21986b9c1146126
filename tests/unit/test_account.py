# SPDX-License-Identifier: GPL-3.0-or-later
"""The administrator's account, with a docker that says what the page would say."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible_collections.llmdesk.workstation.plugins.module_utils.whole_file import write_whole
from ansible_collections.llmdesk.workstation.plugins.modules.open_webui_account import (
    ONE_SHOT,
    Account,
    AccountError,
    read_password,
)

# --- The password's file --------------------------------------------------------------------------------------------


def test_the_password_is_for_its_owner_alone(tmp_path: Path) -> None:
    file = tmp_path / "llmdesk" / "admin_password"
    write_whole(str(file), "secret\n")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    assert read_password(str(file)) == "secret"
    assert [path.name for path in file.parent.iterdir()] == ["admin_password"]


def test_a_wide_umask_opens_nothing(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        write_whole(str(tmp_path / "llmdesk" / "admin_password"), "secret\n")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "llmdesk" / "admin_password").stat().st_mode) == 0o600


def test_the_old_password_stays_until_the_new_is_complete(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "admin_password"
    write_whole(str(file), "old\n")

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_whole(str(file), "new\n")
    assert read_password(str(file)) == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["admin_password"]


def test_where_there_is_no_file_there_is_no_password(tmp_path: Path) -> None:
    assert read_password(str(tmp_path / "none")) == ""


# --- The account ----------------------------------------------------------------------------------------------------


class Desk:
    """A desk's docker: containers that use the data volume, and a page that has accounts or none."""

    def __init__(self, users: str = "") -> None:
        self.users = users
        self.accounts: dict[str, str] = {}
        self.commands: list[list[str]] = []
        self.sent: list[str | None] = []
        self.running = True
        self.replies: dict[str, tuple[int, str, str]] = {}
        self.before_signup: Callable[[], None] = lambda: None

    def run_command(self, command: list[str], data: str | None = None) -> tuple[int, str, str]:
        self.commands.append(command)
        self.sent.append(data)
        for words, reply in self.replies.items():
            if words in " ".join(command):
                return reply
        if command[1] == "ps":
            return 0, self.users, ""
        if command[1] == "inspect":
            return 0, "true\n" if self.running else "false\n", ""
        if command[1] == "logs":
            return 0, "", "sqlite3.OperationalError: database is locked\n"
        if command[1] == "exec" and command[-1].endswith("/api/config"):
            return 0, json.dumps({"status": True, **({} if self.accounts else {"onboarding": True})}), ""
        if command[1] == "exec" and command[-1].endswith("/signup"):
            self.before_signup()
            person = json.loads(data or "")
            self.accounts[person["email"]] = person["password"]
            return 0, json.dumps({"token": "t", "role": "admin"}), ""
        if command[1] == "exec" and command[-1].endswith("/signin"):
            person = json.loads(data or "")
            right = self.accounts.get(person["email"]) == person["password"]
            return 0, json.dumps({"token": "t"} if right else {"detail": "incorrect"}), ""
        return 0, "", ""

    def asked(self, verb: str) -> list[list[str]]:
        return [command for command in self.commands if command[1] == verb]


def account(desk: Desk, tmp_path: Path, **more: Any) -> Account:
    wanted = {
        "container": "open-webui",
        "image": "sha256:1",
        "volume": "open-webui",
        "environment": {"B": "2", "A": "1"},
        "email": "admin@localhost",
        "name": "Administrator",
        "password": None,
        "password_file": str(tmp_path / "llmdesk" / "admin_password"),
        "timeout": 1,
        **more,
    }
    return Account(SimpleNamespace(params=wanted, run_command=desk.run_command))


def test_the_account_is_made_before_anybody_can_reach_the_page(tmp_path: Path) -> None:
    desk = Desk()
    result = account(desk, tmp_path).ensure()
    password = read_password(str(tmp_path / "llmdesk" / "admin_password"))
    assert result == {
        "changed": True,
        "account": {
            "state": "managed",
            "email": "admin@localhost",
            "password_file": str(tmp_path / "llmdesk" / "admin_password"),
        },
    }
    assert desk.accounts == {"admin@localhost": password}
    assert len(password) >= 24
    (run,) = desk.asked("run")
    assert run[run.index("--network") + 1] == "none"
    assert "--publish" not in run
    assert run[-7:] == ["--env", "A=1", "--env", "B=2", "--env", "USE_OLLAMA_DOCKER=false", "sha256:1"]
    assert desk.commands[-2:] == [["docker", "stop", "--time", "30", ONE_SHOT], ["docker", "rm", "--force", ONE_SHOT]]


def test_the_password_is_in_no_argument(tmp_path: Path) -> None:
    desk = Desk()
    account(desk, tmp_path, password="out of the vault").ensure()
    assert "out of the vault" not in json.dumps(desk.commands)
    assert any("out of the vault" in (sent or "") for sent in desk.sent)


def test_the_password_is_on_disk_before_the_account_is_made(tmp_path: Path) -> None:
    desk, kept = Desk(), tmp_path / "llmdesk" / "admin_password"
    seen: list[str] = []
    desk.before_signup = lambda: seen.append(read_password(str(kept)))
    account(desk, tmp_path).ensure()
    assert seen == [desk.accounts["admin@localhost"]]


def test_a_run_that_was_killed_goes_on_with_its_password(tmp_path: Path) -> None:
    desk = Desk()
    write_whole(str(tmp_path / "llmdesk" / "admin_password"), "kept\n")
    account(desk, tmp_path).ensure()
    assert desk.accounts == {"admin@localhost": "kept"}


def test_a_running_container_is_used_as_it_is(tmp_path: Path) -> None:
    desk = Desk(users="open-webui\n")
    assert account(desk, tmp_path).ensure()["changed"] is True
    assert desk.asked("run") == desk.asked("stop") == []


def test_two_servers_on_one_database_are_never_started(tmp_path: Path) -> None:
    desk = Desk(users="somebody\n")
    with pytest.raises(AccountError, match=r"in use by the container somebody.*docker stop somebody"):
        account(desk, tmp_path).ensure()
    assert desk.asked("run") == []


@pytest.mark.parametrize(
    ("given", "kept", "state", "changed", "left"),
    [
        (None, "right", "managed", False, "right"),
        ("right", "", "managed", True, "right"),
        ("right", "wrong", "managed", True, "right"),
        ("wrong", "right", "managed", False, "right"),
        (None, "", "unmanaged", False, ""),
        ("wrong", "", "unmanaged", False, ""),
    ],
)
def test_accounts_that_are_there_are_left_as_they_are(
    tmp_path: Path, given: str | None, kept: str, state: str, changed: bool, left: str
) -> None:
    file = str(tmp_path / "llmdesk" / "admin_password")
    if kept:
        write_whole(file, kept + "\n")
    desk = Desk()
    desk.accounts = {"admin@localhost": "right"}
    result = account(desk, tmp_path, password=given).ensure()
    assert (result["account"]["state"], result["changed"]) == (state, changed)
    assert read_password(file) == left
    assert desk.accounts == {"admin@localhost": "right"}


def test_a_page_that_stops_says_why_and_is_tidied_up(tmp_path: Path) -> None:
    desk = Desk()
    desk.running = False
    with pytest.raises(AccountError, match=r"stopped while it started: sqlite3\.OperationalError: database is locked"):
        account(desk, tmp_path).ensure()
    assert desk.commands[-1] == ["docker", "rm", "--force", ONE_SHOT]


def test_a_page_that_never_starts_is_not_waited_for(tmp_path: Path) -> None:
    desk = Desk()
    desk.replies["/ready"] = (22, "", "")
    with pytest.raises(AccountError, match="did not start within 0 s"):
        account(desk, tmp_path, timeout=0).ensure()


@pytest.mark.parametrize(
    ("words", "reply", "error"),
    [
        ("/api/config", (7, "", "curl: (7) Failed to connect"), "did not answer /api/config: curl: \\(7\\)"),
        ("/api/config", (0, "<!doctype html>", ""), "not answer /api/config with JSON but with: <!doctype"),
        ("/signup", (0, '{"detail": "no sign-up"}', ""), "refused to make the account admin@localhost"),
        ("docker run", (125, "", "No such image: sha256:1"), "'docker run' failed: No such image"),
        ("docker ps", (1, "", "Cannot connect to the Docker daemon"), "'docker ps' failed: Cannot connect"),
    ],
)
def test_who_refused_and_with_which_words(tmp_path: Path, words: str, reply: tuple[int, str, str], error: str) -> None:
    desk = Desk()
    desk.replies[words] = reply
    with pytest.raises(AccountError, match=error):
        account(desk, tmp_path).ensure()
