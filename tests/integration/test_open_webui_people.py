# SPDX-License-Identifier: GPL-3.0-or-later
"""Accounts, groups and who sees which model, held by the real Ansible in the real Open WebUI."""

from __future__ import annotations

import json
import os
import re
import secrets
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import docker
import pytest
from ansible_collections.llmdesk.workstation.plugins.module_utils.open_webui import OpenWebUI, PageError
from docker.errors import NotFound
from docker.models.containers import Container

from lab import desk, models
from lab.engine import REPOSITORY

NAME = "llmdesk-test-open-webui"
MODEL = "smollm2:135m"
OWNER = {"name": "Owner", "email": "owner@localhost", "password": "Own-ers-pass-1"}

Say = Callable[[str], None]


def until(condition: Callable[[], Any], what: str, timeout: float = 30.0) -> Any:
    """Return the first answer of a condition that is true."""
    deadline = time.monotonic() + timeout
    while not (answer := condition()):
        assert time.monotonic() < deadline, f"after {timeout:g} s still not: {what}"
        time.sleep(0.05)
    return answer


class Page:
    """Open WebUI with Ollama and one model in a container of its own, and the session of the one who owns it."""

    def __init__(self, container: Container) -> None:
        self.container = container
        container.reload()
        ports = container.attrs["NetworkSettings"]["Ports"]
        self.port, self.ollama_port = (int(ports[f"{port}/tcp"][0]["HostPort"]) for port in (8080, 11434))
        self.url = f"http://127.0.0.1:{self.port}"
        self.owner = OpenWebUI(self.url)

    def as_person(self, email: str, password: str) -> OpenWebUI:
        person = OpenWebUI(self.url)
        person.sign_in(email, password)
        return person

    def account(self, email: str) -> dict[str, Any]:
        (found,) = [account for account in self.owner.accounts() if account["email"] == email]
        return found

    def add(self, email: str, role: str = "user") -> dict[str, str]:
        """Make an account by hand, as an administrator does in the page."""
        account = {"name": email.partition("@")[0], "email": email, "role": role, "password": "By-hand-1"}
        self.owner.add_account(account)
        return account

    def group(self, name: str) -> list[str]:
        """Return the addresses of a group's members."""
        (number,) = [group["id"] for group in self.owner.groups() if group["name"] == name]
        inside = self.owner.members(number)
        return sorted(account["email"] for account in self.owner.accounts() if account["id"] in inside)

    def forget(self) -> None:
        """Have no account but the owner's, no group and no record of a model."""
        for account in self.owner.accounts():
            if account["email"] != OWNER["email"]:
                self.owner.request("DELETE", f"/api/v1/users/{account['id']}")
        for group in self.owner.groups():
            self.owner.request("DELETE", f"/api/v1/groups/id/{group['id']}/delete")
        for record in self.owner.request("GET", "/api/v1/models/all"):
            self.owner.request("POST", "/api/v1/models/model/delete", {"id": record["id"]})
        self.owner.models()


def remove() -> None:
    """Remove the server with everything it has."""
    client = docker.from_env()
    with suppress(NotFound):
        client.containers.get(NAME).remove(force=True, v=True)


@pytest.fixture(scope="module")
def server(image: str) -> Iterator[Page]:
    remove()  # a killed run may have left one
    container = docker.from_env().containers.run(
        image,
        name=NAME,
        detach=True,
        init=True,
        environment={
            "OLLAMA_HOST": "0.0.0.0",
            "OLLAMA_BASE_URL": "http://127.0.0.1:11434",
            "OFFLINE_MODE": "True",
            "ENABLE_OPENAI_API": "False",
            "RAG_EMBEDDING_ENGINE": "ollama",
        },
        ports={"8080/tcp": ("127.0.0.1", 0), "11434/tcp": ("127.0.0.1", 0)},
        volumes={str(models.demo()): {"bind": "/demo.gguf", "mode": "ro"}},
    )
    try:
        page = Page(container)
        until(page.owner.ready, "the page is ready", 300)
        desk.run(container, f"echo FROM /demo.gguf > /Modelfile && ollama create {MODEL} -f /Modelfile")
        page.owner.request("POST", "/api/v1/auths/signup", OWNER)
        # The first account cannot be removed, and the page tells by the second which one that is.
        made = int(time.time())
        until(lambda: time.time() >= made + 1, "the second in which the owner came is over", 10)
        page.owner.sign_in(OWNER["email"], OWNER["password"])
        yield page
    finally:
        remove()


@pytest.fixture
def page(server: Page) -> Page:
    server.forget()
    return server


@dataclass(frozen=True)
class Ended:
    """How a run of ansible-playbook ended: its exit code, each task's result, and everything that was printed."""

    rc: int
    results: list[dict[str, Any]]
    printed: str

    @property
    def result(self) -> dict[str, Any]:
        return self.results[-1]


class Ansible:
    """Runs plays on this machine.

    Each test has an administrator of its own: the page takes fifteen sign-ins of one in three minutes.
    """

    def __init__(self, home: Path, page: Page) -> None:
        self.home, self.page = home, page
        self.config = home / "etc"
        self.sheet, self.memory = self.config / "users.tsv", self.config / "users.json"
        self.admin = f"admin-{secrets.token_hex(4)}@localhost"
        self.secret = page.add(self.admin, "admin")["password"]
        self.config.mkdir(mode=0o700)
        (self.config / "admin_password").write_text(self.secret + "\n")
        self._sign_in = {
            "url": page.url,
            "email": self.admin,
            "password_file": str(self.config / "admin_password"),
        }

    def users(self, users: list[dict[str, Any]], *options: str, times: int = 1, **more: Any) -> Ended:
        return self.run([self.task_of_users(users, **more)] * times, *options)

    def task_of_users(self, users: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
        files = {"passwords_file": str(self.sheet), "memory_file": str(self.memory)}
        return {"llmdesk.workstation.open_webui_users": {**self._sign_in, **files, "users": users, **more}}

    def access(
        self, access: str, *options: str, model: str = MODEL, groups: tuple[str, ...] = (), times: int = 1
    ) -> Ended:
        wanted = {"model": model, "access": access, "groups": list(groups)}
        task = {"llmdesk.workstation.open_webui_model_access": {**self._sign_in, **wanted}}
        return self.run([task] * times, *options)

    def settings(self, *names: str) -> Ended:
        return self.run([{"llmdesk.workstation.open_webui_settings": {**self._sign_in, "models": list(names)}}])

    def role(self, *options: str, **variables: Any) -> Ended:
        desk = {
            "desk_container": NAME,
            "desk_port": self.page.port,
            "desk_ollama_port": self.page.ollama_port,
            "desk_admin_email": self.admin,
            "desk_config_dir": str(self.config),
            "desk_state_dir": str(self.home / "state"),
            "desk_cache_dir": str(self.home / "cache"),
        }
        play = {"roles": ["llmdesk.workstation.open_webui_people"], "vars": {**desk, **variables}}
        return self.finish(self.start(play, *options))

    def run(self, tasks: list[dict[str, Any]], *options: str) -> Ended:
        return self.finish(self.start({"tasks": tasks}, *options))

    def start(self, play: dict[str, Any], *options: str) -> Any:
        playbook = self.home / "play.json"
        playbook.write_text(json.dumps([{"hosts": "localhost", "gather_facts": False, **play}]))
        return subprocess.Popen(
            [str(Path(sys.executable).with_name("ansible-playbook")), str(playbook), *options],
            cwd=REPOSITORY,
            env={
                **os.environ,
                "HOME": str(self.home),
                "ANSIBLE_REMOTE_TMP": str(self.home / "tmp"),
                "ANSIBLE_STDOUT_CALLBACK": "ansible.posix.json",
                "ANSIBLE_NOCOLOR": "1",
            },
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def finish(self, process: Any) -> Ended:
        printed, _ = process.communicate(timeout=180)
        document, _end = json.JSONDecoder().raw_decode(printed, f"\n{printed}".index("\n{"))
        tasks = document["plays"][0]["tasks"]
        return Ended(process.returncode, [task["hosts"]["localhost"] for task in tasks], printed)

    def passwords(self) -> dict[str, str]:
        """Return what a teacher reads on the sheet: the first passwords by address."""
        lines = self.sheet.read_text().splitlines()
        assert lines[0] == "name\taddress\tfirst password\tgroups"
        return {line.split("\t")[1]: line.split("\t")[2] for line in lines[1:]}

    def person(self, email: str) -> OpenWebUI:
        """Sign in with what is on the sheet."""
        return self.page.as_person(email, self.passwords()[email])


@pytest.fixture
def ansible(page: Page, tmp_path: Path) -> Ansible:
    return Ansible(tmp_path, page)


ADA = {"name": "Ada Lovelace", "email": "Ada@school.example", "groups": ["class 8b"]}
ALAN = {"name": "Alan Turing", "email": "alan@school.example", "groups": ["class 9a", "chess"]}
GRACE = {"name": "Grace Hopper", "email": "grace@localhost", "role": "admin", "password": "Given-by-hand-7"}


def test_a_class_gets_its_accounts_and_sees_the_model_that_it_is_shown(ansible: Ansible, page: Page) -> None:
    ended = ansible.users([ADA, ALAN, GRACE], times=2)
    assert ended.rc == 0, ended.printed
    first, again = ended.results
    assert first["made"] == ["ada@school.example", "alan@school.example", "grace@localhost"]
    assert first["groups"] == ["chess", "class 8b", "class 9a"]
    assert (again["changed"], again["diff"]) == (False, {"before": {}, "after": {}})
    assert [page.group(name) for name in ("class 8b", "class 9a", "chess")] == [
        ["ada@school.example"],
        ["alan@school.example"],
        ["alan@school.example"],
    ]
    assert page.account("grace@localhost")["role"] == "admin"

    ada, alan = ansible.person("ada@school.example"), ansible.person("alan@school.example")
    assert (ada.models(), alan.models()) == ([], []), "without a record a model is for administrators"
    assert page.as_person(GRACE["email"], GRACE["password"]).models() == [MODEL]

    first, again = ansible.access("everyone", times=2).results
    assert first["diff"] == {"before": {MODEL: None}, "after": {MODEL: ["everyone: read"]}}
    assert (again["changed"], again["diff"]) == (False, {"before": {}, "after": {}})
    assert (ada.models(), alan.models()) == ([MODEL], [MODEL])

    first, again = ansible.access("groups", groups=("class 9a",), times=2).results
    assert first["diff"] == {"before": {MODEL: ["everyone: read"]}, "after": {MODEL: ["group class 9a: read"]}}
    assert again["changed"] is False
    assert (ada.models(), alan.models()) == ([], [MODEL])

    first, again = ansible.access("admins", times=2).results
    assert (first["changed"], again["changed"]) == (True, False)
    assert (ada.models(), alan.models()) == ([], [])


def test_a_password_is_in_its_file_and_nowhere_else(ansible: Ansible, page: Page) -> None:
    ended = ansible.users([ADA, ALAN, GRACE], "-vvv", "--diff")
    holder = dict.fromkeys(ansible.passwords().values(), ansible.sheet)
    assert set(ansible.passwords()) == {"ada@school.example", "alan@school.example"}, "a given one is not kept"
    # The play of this test names it; a person takes it out of a vault.
    holder |= {GRACE["password"]: ansible.home / "play.json", ansible.secret: ansible.config / "admin_password"}
    private = (ansible.config, ansible.sheet, ansible.memory)
    assert [stat.S_IMODE(path.stat().st_mode) for path in private] == [0o700, 0o600, 0o600]
    files = {path: path.read_bytes() for path in ansible.home.rglob("*") if path.is_file()}
    assert ansible.memory in files
    said = ended.printed + page.container.logs().decode() + desk.run(page.container, "env; cat /proc/[0-9]*/cmdline")
    assert "ada@school.example" in ended.printed
    assert "VALUE_SPECIFIED_IN_NO_LOG_PARAMETER" in ended.printed
    for password, file in holder.items():
        assert password not in said
        assert [path for path, content in files.items() if password.encode() in content] == [file]


def test_who_leaves_the_list_is_shut_out_and_comes_back_with_it(ansible: Ansible, page: Page) -> None:
    ansible.users([ADA, ALAN])
    ansible.access("everyone")
    by_hand = page.add("teacher@localhost")
    alan = ansible.person("alan@school.example")
    assert alan.models() == [MODEL]

    left, again = ansible.users([ADA], times=2).results
    assert (left["disabled"], left["updated"], again["changed"]) == (["alan@school.example"], [], False)
    assert page.account("alan@school.example")["role"] == "pending"
    assert (page.group("chess"), page.group("class 9a")) == ([], [])
    with pytest.raises(PageError) as refused:
        alan.models()
    assert refused.value.status == 401, "even a session that was open"
    with pytest.raises(PageError):
        ansible.person("alan@school.example").models()
    assert "Alan Turing\talan@school.example" in ansible.sheet.read_text()
    assert ansible.sheet.read_text().endswith("\t(disabled)\n")
    assert page.as_person(by_hand["email"], by_hand["password"]).models() == [MODEL], "made by others"
    assert page.account(ansible.admin)["role"] == "admin"

    back = ansible.users([ADA, ALAN])
    assert (back.result["updated"], back.result["made"]) == (["alan@school.example"], [])
    assert ansible.person("alan@school.example").models() == [MODEL]
    assert page.group("chess") == ["alan@school.example"]


def test_accounts_of_others_are_held_while_they_are_listed_and_left_alone_after(ansible: Ansible, page: Page) -> None:
    by_hand = page.add("teacher@localhost")
    page.owner.change_members(page.owner.add_group("class 8b"), "add", [page.account("teacher@localhost")["id"]])
    ansible.users([ADA])
    assert page.group("class 8b") == ["ada@school.example", "teacher@localhost"]
    teacher = {"name": "Miss Teacher", "email": by_hand["email"], "role": "admin"}
    assert ansible.users([ADA, teacher]).result["updated"] == [by_hand["email"]]
    assert page.group("class 8b") == ["ada@school.example"], "the list says in which groups she is"
    assert set(ansible.passwords()) == {"ada@school.example"}
    page.as_person(by_hand["email"], by_hand["password"])
    gone = ansible.users([ADA])
    assert (gone.result["changed"], page.account(by_hand["email"])["role"]) == (False, "admin")


def test_people_keep_the_password_that_they_chose_until_all_are_set_back(ansible: Ansible, page: Page) -> None:
    ansible.users([ADA, GRACE])
    ada, first = ansible.person("ada@school.example"), ansible.passwords()["ada@school.example"]
    ada.request("POST", "/api/v1/auths/update/password", {"password": first, "new_password": "My-own-9"})
    assert ansible.users([ADA, GRACE]).result["changed"] is False
    page.as_person("ada@school.example", "My-own-9")
    back, again = ansible.users([ADA, GRACE], "--diff", times=2, update_password="always").results
    assert (back["updated"], again["changed"]) == (["ada@school.example"], False)
    assert back["diff"]["after"] == {"ada@school.example": {"password": "the declared one"}}
    ansible.person("ada@school.example")


def test_check_mode_says_what_it_would_do_and_does_nothing(ansible: Ansible, page: Page) -> None:
    would = ansible.users([ADA], "--check", "--diff")
    assert (would.rc, would.result["changed"], would.result["made"]) == (0, True, ["ada@school.example"])
    assert would.result["diff"]["before"] == {"ada@school.example": None}
    assert would.result["diff"]["after"]["ada@school.example"]["groups"] == ["class 8b"]
    assert not ansible.sheet.exists()
    assert not ansible.memory.exists()
    assert "ada@school.example" not in [account["email"] for account in page.owner.accounts()]
    assert page.owner.groups() == []
    would = ansible.access("groups", "--check", groups=("class 8b",))
    assert (would.rc, would.result["changed"]) == (0, True), "the group would be there by now"
    assert "The page has no group class 8b" in would.result["warnings"][0]
    assert page.owner.model_record(MODEL) is None


def test_a_group_that_is_not_there_is_one_error_that_names_those_that_are(ansible: Ansible, page: Page) -> None:
    page.owner.add_group("class 8b")
    page.owner.add_group("chess")
    ended = ansible.access("groups", groups=("clas 8b",))
    assert ended.rc == 2
    assert ended.result["msg"] == (
        "The page has no group clas 8b; its groups are: chess, class 8b. Correct the name, or make the group with "
        "llmdesk.workstation.open_webui_users."
    )
    assert page.owner.model_record(MODEL) is None


def test_a_list_that_cannot_be_held_changes_nothing_and_says_everything_at_once(ansible: Ansible, page: Page) -> None:
    ended = ansible.users([ADA, {"name": "", "email": "nobody"}, {"name": "Me", "email": ansible.admin}])
    assert ended.rc == 2
    for words in ("'nobody' () is no address", "nobody has no name", f"{ansible.admin} is the administrator"):
        assert words in ended.result["msg"]
    assert [account["email"] for account in page.owner.accounts()] == [ansible.admin, OWNER["email"]]


def test_access_and_settings_do_not_undo_each_other(ansible: Ansible, page: Page) -> None:
    ansible.users([ADA])
    ada = ansible.person("ada@school.example")
    ansible.settings(MODEL)
    assert ada.models() == [MODEL], "a model of which the page knew nothing"
    record = page.owner.model_record(MODEL)
    assert record is not None
    record["meta"]["description"] = "small and quick"
    record["params"] = {"system": "Be kind."}
    page.owner.request("POST", "/api/v1/models/model/update", record)

    ansible.access("admins")
    assert ansible.settings(MODEL).result["changed"] is False
    assert ada.models() == []
    ansible.access("groups", groups=("class 8b",))
    assert ansible.settings(MODEL).result["changed"] is False
    assert ada.models() == [MODEL]
    record = page.owner.model_record(MODEL)
    assert record is not None
    assert (record["meta"]["description"], record["params"]) == ("small and quick", {"system": "Be kind."})
    assert record["meta"]["capabilities"] == {"builtin_tools": False}


def test_who_may_change_a_model_still_may(ansible: Ansible, page: Page) -> None:
    ansible.users([ADA])
    ada = {"principal_type": "user", "principal_id": page.account("ada@school.example")["id"]}
    grants = [{**ada, "permission": permission} for permission in ("read", "write")]
    page.owner.request("POST", "/api/v1/models/model/access/update", {"id": MODEL, "access_grants": grants})
    ended = ansible.access("everyone")
    assert ended.result["diff"] == {
        "before": {MODEL: ["user ada@school.example: read", "user ada@school.example: write"]},
        "after": {MODEL: ["everyone: read", "user ada@school.example: write"]},
    }


def test_a_model_is_never_seen_by_others_when_it_was_declared_before_it_came(ansible: Ansible, page: Page) -> None:
    ansible.users([ADA])
    ada = ansible.person("ada@school.example")
    early = ansible.access("admins", model="later:1")
    assert early.result["changed"] is True
    assert f"The page offers no model later:1 yet, only {MODEL}" in early.result["warnings"][0]
    desk.run(page.container, f"ollama cp {MODEL} later:1")
    try:
        until(lambda: "later:1" in page.owner.models(), "the page offers it")
        ansible.settings(MODEL, "later:1")
        assert ada.models() == [MODEL]
    finally:
        desk.run(page.container, "ollama rm later:1")


def at_work(home: Path) -> list[int]:
    """Return the processes of a run of ours: its home is in their environment."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if f"HOME={home}".encode() in (process / "environ").read_bytes().split(b"\0"):
                found.append(int(process.name))
    return found


def test_a_run_that_is_killed_among_the_accounts_is_repaired_by_the_next(ansible: Ansible, page: Page) -> None:
    room = [{"name": f"Pupil {seat}", "email": f"pupil{seat}@school.example"} for seat in range(12)]
    process = ansible.start({"tasks": [ansible.task_of_users(room)]})
    until(lambda: 3 < len(page.owner.accounts()) < 13, "some are made", 60)
    for pid in at_work(ansible.home):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    process.wait()
    until(lambda: not at_work(ansible.home), "everything has stopped")
    sheet = ansible.passwords()
    assert len(sheet) == 12, "written before the first account was made"
    # As if it had been killed before it could remember them, too.
    memory = json.loads(ansible.memory.read_text())
    ansible.memory.write_text(json.dumps({**memory, "accounts": dict.fromkeys(memory["accounts"])}))

    whole = ansible.users(room)
    assert whole.rc == 0, whole.printed
    assert 0 < len(whole.result["made"]) < 12
    assert ansible.passwords() == sheet
    for seat in (0, 11):
        ansible.person(f"pupil{seat}@school.example")
    again, emptied = ansible.run([ansible.task_of_users(room), ansible.task_of_users([])]).results
    assert (again["changed"], len(emptied["disabled"])) == (False, 12), "all of them are known as ours"


def test_the_role_holds_a_classroom_and_then_asks_the_desk_alone(ansible: Ansible, page: Page) -> None:
    nobody = ansible.role("-vvv")
    assert (nobody.rc, executions(nobody)) == (0, 1), nobody.printed

    secret = ansible.config / "admin_password"
    away = secret.rename(ansible.home / "away")
    told = ansible.role(open_webui_people_users=[ADA])
    assert told.result["msg"].endswith(
        "as llmdesk can sign in: the page has an administrator whose password is not known here."
    )
    away.rename(secret)

    wanted = {
        "open_webui_people_users": [ADA, GRACE],
        "open_webui_people_models": [{"model": MODEL, "access": "groups", "groups": ["class 8b"]}],
    }
    would = ansible.role("--check", "--diff", **wanted)
    assert (would.rc, page.owner.groups()) == (0, []), would.printed
    first = ansible.role("-vvv", **wanted)
    assert first.rc == 0, first.printed
    assert ansible.person("ada@school.example").models() == [MODEL]
    assert GRACE["password"] not in first.printed
    assert ansible.passwords()["ada@school.example"] not in first.printed
    again = ansible.role("-vvv", **wanted)
    assert (again.rc, executions(again)) == (0, 1), again.printed

    (emptied,) = [result for result in ansible.role(open_webui_people_users=[]).results if "disabled" in result]
    assert emptied["disabled"] == ["ada@school.example", GRACE["email"]]
    assert executions(ansible.role("-vvv")) == 1


def executions(ended: Ended) -> int:
    """Return how many modules were run on the desk."""
    return len(re.findall(r"EXEC .*python3", ended.printed))
