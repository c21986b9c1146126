# SPDX-License-Identifier: GPL-3.0-or-later
"""Open WebUI's own HTTP API, used the way its page uses it.

Facts measured on Open WebUI 0.12.4: the page saves a chat, starts a completion that carries a session, and
reads the answer back from the saved chat. Only that path adds the page's built-in tools, so only that path
shows the errors that people see.
"""

from __future__ import annotations

import http.client
import json
import time
import uuid
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import quote
from urllib.request import OpenerDirector, ProxyHandler, Request, build_opener


class PageError(Exception):
    """The page answered with an error.

    Attributes: ``status`` is the HTTP status, 0 where no answer came; ``detail`` is the page's own sentence.
    """

    def __init__(self, detail: str, status: int = 0) -> None:
        super().__init__(detail)
        self.detail = detail
        self.status = status


class PageUnreachable(PageError):
    """Nothing answers under the page's address."""


class SignInRefused(PageError):
    """The page knows no such account and password."""


class ChatFailed(PageError):
    """The page shows an error in place of the answer."""


# What every module that signs in as the administrator takes.
SIGN_IN: dict[str, Any] = {
    "url": {"type": "str", "default": "http://127.0.0.1:3000"},
    "email": {"type": "str", "default": "admin@localhost"},
    "password_file": {"type": "path", "default": "/etc/llmdesk/admin_password", "no_log": False},
}


def local_opener() -> OpenerDirector:
    """Return an opener that ignores the proxies of the environment: the page is on this machine."""
    return build_opener(ProxyHandler({}))


class OpenWebUI:
    """A person's session with the page.

    :param url: the page's address without a trailing slash, such as ``http://127.0.0.1:3000``.
    :param opener: what carries the requests; a test may give its own.
    :param timeout: seconds that a single request may take.
    """

    def __init__(self, url: str, opener: OpenerDirector | None = None, timeout: float = 30.0) -> None:
        self.url = url.rstrip("/")
        self._opener = opener or local_opener()
        self._timeout = timeout
        self._token = ""
        self.account: dict[str, Any] = {}

    def request(self, method: str, path: str, body: Any = None) -> Any:
        """Send one request and return the decoded JSON answer.

        :raises PageUnreachable: nothing answers.
        :raises PageError: the answer is an error, or no JSON.
        """
        headers = {"Accept": "application/json"}
        if self._token:
            headers["Authorization"] = "Bearer " + self._token
        data = None
        if body is not None:
            headers["Content-Type"] = "application/json"
            data = json.dumps(body).encode()
        try:
            request = Request(self.url + path, data=data, headers=headers, method=method)
            with self._opener.open(request, timeout=self._timeout) as response:
                return json.loads(response.read() or b"null")
        except HTTPError as error:
            raise PageError(_detail(error), error.code) from error
        except (URLError, OSError, http.client.HTTPException) as error:
            raise PageUnreachable(str(getattr(error, "reason", error))) from error
        except ValueError as error:
            raise PageError(f"{path} did not answer with JSON: {error}") from error

    def ready(self) -> bool:
        """Say whether the page's start-up is complete (``/ready`` is 503 until then)."""
        try:
            self.request("GET", "/ready")
        except PageError:
            return False
        return True

    def sign_in(self, email: str, password: str) -> dict[str, Any]:
        """Sign in, and keep the session's token and, as ``account``, whose it is.

        :returns: the account, with ``id``, ``role``, ``name`` and ``email``.
        :raises SignInRefused: wrong address or password (the page says 400), or too many tries (429).
        """
        try:
            account: dict[str, Any] = self.request(
                "POST", "/api/v1/auths/signin", {"email": email, "password": password}
            )
        except PageError as error:
            if error.status in (400, 401, 403, 429):
                raise SignInRefused(error.detail, error.status) from error
            raise
        self._token = account.pop("token", "")
        self.account = account
        return account

    def models(self) -> list[str]:
        """Return the names of the models the page offers; asking makes the page read its records anew."""
        return [model["id"] for model in self.request("GET", "/api/models")["data"]]

    def model_record(self, name: str) -> dict[str, Any] | None:
        """Return the page's own record of a model, None where it keeps none."""
        try:
            record: dict[str, Any] | None = self.request("GET", "/api/v1/models/model?id=" + quote(name, safe=""))
        except PageError as error:
            if error.status in (401, 404):  # 0.12.4 says 404 for "not found", others say 401
                return None
            raise
        return record

    def save_model_record(self, record: dict[str, Any], present: dict[str, Any] | None) -> None:
        """Write the page's record of a model, as far as it differs.

        :param record: the record as it should be.
        :param present: the record as it is, None where the page keeps none.
        """
        if present is None:
            self.request("POST", "/api/v1/models/create", record)
            return
        before = record_fields(present)
        if dict(before, access_grants=[]) != dict(record, access_grants=[]):
            self.request("POST", "/api/v1/models/model/update", record)
        if before["access_grants"] != record["access_grants"]:
            # 0.12.4 takes grants of an existing record here alone; its update leaves them as they are.
            access = {key: record[key] for key in ("id", "name", "access_grants")}
            self.request("POST", "/api/v1/models/model/access/update", access)

    def accounts(self) -> list[dict[str, Any]]:
        """Return every account, each with ``id``, ``email``, ``name`` and ``role``."""
        accounts: list[dict[str, Any]] = self.request("GET", "/api/v1/users/all")["users"]
        return accounts

    def add_account(self, account: dict[str, str]) -> str:
        """Make an account.

        :param account: ``name``, ``email``, ``role`` and ``password``.
        :returns: its id.
        """
        return str(self.request("POST", "/api/v1/auths/add", account)["id"])

    def change_account(self, number: str, changes: dict[str, str]) -> None:
        """Change an account.

        :param number: its id.
        :param changes: any of ``name``, ``email``, ``role`` and ``password``.
        """
        self.request("POST", f"/api/v1/users/{number}/update", changes)

    def groups(self) -> list[dict[str, Any]]:
        """Return every group, each with ``id`` and ``name``."""
        groups: list[dict[str, Any]] = self.request("GET", "/api/v1/groups/")
        return groups

    def add_group(self, name: str) -> str:
        """Make a group and return its id."""
        return str(self.request("POST", "/api/v1/groups/create", {"name": name, "description": ""})["id"])

    def members(self, group: str) -> list[str]:
        """Return the ids of a group's own members."""
        members: list[str] = self.request("GET", f"/api/v1/groups/id/{group}/export")["user_ids"]
        return members

    def change_members(self, group: str, verb: str, accounts: list[str]) -> None:
        """Put accounts into a group, or take them out of it.

        :param group: its id.
        :param verb: ``add`` or ``remove``.
        :param accounts: their ids.
        """
        self.request("POST", f"/api/v1/groups/id/{group}/users/{verb}", {"user_ids": accounts})

    def ask(self, model: str, question: str, timeout: float, poll: float = 0.2) -> dict[str, Any]:
        """Ask a question as the page does, and take the chat away again.

        :param timeout: seconds to wait for the whole answer.
        :returns: ``content`` and ``usage`` (Ollama's counters, durations in nanoseconds).
        :raises ChatFailed: the page shows an error, or nothing came in time.
        """
        asked, answered = str(uuid.uuid4()), str(uuid.uuid4())
        chat_id = self.request("POST", "/api/v1/chats/new", {"chat": new_chat(model, question, asked, answered)})["id"]
        try:
            self.request(
                "POST",
                "/api/chat/completions",
                {
                    "stream": True,
                    "model": model,
                    "messages": [{"role": "user", "content": question}],
                    # A proof must not depend on luck: same question, same answer.
                    "params": {"temperature": 0, "seed": 1},
                    "session_id": str(uuid.uuid4()),
                    "chat_id": chat_id,
                    "id": answered,
                    "parent_id": asked,
                    "background_tasks": {},
                },
            )
            deadline = time.monotonic() + timeout
            while time.monotonic() < deadline:
                message = self.request("GET", "/api/v1/chats/" + chat_id)["chat"]["history"]["messages"][answered]
                if message.get("error"):
                    error = message["error"]
                    raise ChatFailed(str(error.get("content", error) if isinstance(error, dict) else error))
                if message.get("done"):
                    return {"content": message.get("content", ""), "usage": message.get("usage") or {}}
                time.sleep(poll)
            raise ChatFailed(f"no answer within {timeout:.0f} s")
        finally:
            self.request("DELETE", "/api/v1/chats/" + chat_id)


def new_chat(model: str, question: str, asked: str, answered: str) -> dict[str, Any]:
    """Return the chat that the page saves before it asks: one question and its answer, still empty."""
    return {
        "title": "llmdesk verify",
        "models": [model],
        "messages": [],
        "history": {
            "currentId": answered,
            "messages": {
                asked: {
                    "id": asked,
                    "parentId": None,
                    "childrenIds": [answered],
                    "role": "user",
                    "content": question,
                    "models": [model],
                },
                answered: {
                    "id": answered,
                    "parentId": asked,
                    "childrenIds": [],
                    "role": "assistant",
                    "content": "",
                    "model": model,
                },
            },
        },
    }


def signed_in(wanted: dict[str, Any]) -> OpenWebUI:
    """Return the administrator's session with the page.

    :param wanted: the options in ``SIGN_IN``.
    :raises PageError: the page does not answer, or refuses.
    :raises OSError: the password's file cannot be read.
    """
    page = OpenWebUI(wanted["url"])
    with open(wanted["password_file"], encoding="utf-8") as file:
        page.sign_in(wanted["email"], file.read().strip())
    return page


EVERYBODY_READS = {"principal_type": "user", "principal_id": "*", "permission": "read"}


def group_reads(group: str) -> dict[str, str]:
    """Return the grant that shows a model to a group, given by its id."""
    return {"principal_type": "group", "principal_id": group, "permission": "read"}


def group_ids(groups: list[dict[str, Any]], names: list[str]) -> dict[str, str]:
    """Return the ids of the groups of these names, by name, for those that the page has.

    :param groups: the page's groups, each with ``id`` and ``name``.
    :raises PageError: a name says nothing, because the page has two groups of it.
    """
    found: dict[str, str] = {}
    for group in groups:
        if group["name"] in found:
            raise PageError(f"it has two groups named {group['name']}; rename one of them in the page")
        if group["name"] in names:
            found[group["name"]] = group["id"]
    return found


def record_fields(record: dict[str, Any]) -> dict[str, Any]:
    """Return the fields of a model's record that its form carries, without the page's own book-keeping."""
    fields = {key: record.get(key) for key in ("id", "base_model_id", "name", "meta", "params", "is_active")}
    grants = [{key: grant.get(key) for key in EVERYBODY_READS} for grant in record.get("access_grants") or []]
    return dict(fields, access_grants=grants)


def wanted_record(
    present: dict[str, Any] | None,
    name: str,
    tools: bool | None = None,
    readers: list[dict[str, str]] | None = None,
) -> dict[str, Any]:
    """Return the page's record of a model as it should be.

    Without a record, only administrators see a model. So a record that is there, with whatever grants, is somebody's
    decision about who sees it, and only a declared one replaces it. Whatever else an administrator wrote into the
    record stays, and so does who may change it.

    :param present: the record as it is, None where the page keeps none.
    :param tools: whether the page sends its own tools to the model; None leaves that as it is.
    :param readers: the grants to see the model; None leaves them as they are, and lets everybody see a model without
        a record.
    """
    record = record_fields(present or {"id": name, "name": name, "params": {}, "is_active": True})
    record["meta"] = record["meta"] or {}
    if tools is not None:
        capabilities = dict(record["meta"].get("capabilities") or {}, builtin_tools=tools)
        record["meta"] = dict(record["meta"], capabilities=capabilities)
    if readers is None and present is None:
        readers = [EVERYBODY_READS]
    if readers is not None:
        kept = [grant for grant in record["access_grants"] if grant["permission"] != "read" or grant in readers]
        record["access_grants"] = [*kept, *(grant for grant in readers if grant not in kept)]
    return record


def speed(usage: dict[str, Any]) -> dict[str, float | None]:
    """Return what Ollama's counters say of an answer.

    :param usage: ``eval_count`` and durations in nanoseconds, as in Ollama's ``/api/chat``.
    :returns: ``seconds_to_first_token`` (loading the model and reading the question) and ``tokens_per_s``,
        None where the counters are missing.
    """
    evaluated, spent = usage.get("eval_count"), usage.get("eval_duration")
    before = [usage.get("load_duration"), usage.get("prompt_eval_duration")]
    return {
        "seconds_to_first_token": round(sum(ns or 0 for ns in before) / 1e9, 2) if any(before) else None,
        "tokens_per_s": round(evaluated / (spent / 1e9), 1) if evaluated and spent else None,
    }


def _detail(error: HTTPError) -> str:
    text = error.read().decode(errors="replace")
    try:
        return str(json.loads(text)["detail"])
    except (ValueError, KeyError, TypeError):
        return text.strip()[:200] or f"HTTP {error.code}"
