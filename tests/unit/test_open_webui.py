"""The page's API, against a small server on loopback that answers as Open WebUI 0.12.4 does."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from ansible_collections.llmdesk.workstation.plugins.module_utils.open_webui import (
    EVERYBODY_READS,
    ChatFailed,
    OpenWebUI,
    PageUnreachable,
    SignInRefused,
    record_fields,
    speed,
    wanted_record,
)


class Page(ThreadingHTTPServer):
    """Remembers what was asked; ``answers`` maps "METHOD path" to (status, body) or to a list of them in turn."""

    daemon_threads = True

    def __init__(self, answers: dict[str, Any]) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers = answers
        self.asked: list[tuple[str, Any]] = []


class Handler(BaseHTTPRequestHandler):
    server: Page

    def respond(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        body = json.loads(self.rfile.read(length)) if length else None
        key = f"{self.command} {self.path}"
        self.server.asked.append((key, body))
        answer = self.server.answers.get(key, (404, {"detail": "Not Found"}))
        if callable(answer):
            answer = answer(self.server, body)
        status, content = answer
        self.send_response(status)
        self.end_headers()
        self.wfile.write(json.dumps(content).encode())

    do_GET = do_POST = do_DELETE = respond

    def log_message(self, *_arguments: Any) -> None:
        pass


@pytest.fixture
def page() -> Iterator[Page]:
    server = Page({})
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def client(page: Page) -> OpenWebUI:
    return OpenWebUI(f"http://127.0.0.1:{page.server_port}", timeout=5)


def chat_that_ends_with(page: Page, message: dict[str, Any]) -> None:
    """Serve a chat whose answer is empty at the first look and ``message`` at the second."""
    looks: list[int] = []

    def chat(server: Page, _body: Any) -> tuple[int, Any]:
        messages = next(body for key, body in server.asked if key.endswith("/new"))["chat"]["history"]["messages"]
        answered = next(key for key, value in messages.items() if value["role"] == "assistant")
        looks.append(1)
        return 200, {"chat": {"history": {"messages": {answered: message if len(looks) > 1 else {"content": ""}}}}}

    page.answers.update(
        {
            "POST /api/v1/chats/new": (200, {"id": "c1"}),
            "POST /api/chat/completions": (200, {"status": True, "task_ids": ["t1"]}),
            "GET /api/v1/chats/c1": chat,
            "DELETE /api/v1/chats/c1": (200, True),
        }
    )


def test_the_question_is_asked_as_the_page_asks_it(page: Page) -> None:
    chat_that_ends_with(page, {"content": "Paris.", "done": True, "usage": {"eval_count": 3}})
    answer = client(page).ask("m:1", "Capital?", timeout=5, poll=0)
    assert answer == {"content": "Paris.", "usage": {"eval_count": 3}}
    completion = next(body for key, body in page.asked if key == "POST /api/chat/completions")
    # Without a session the page's tools are left out, and the proof would prove nothing.
    assert completion["session_id"]
    assert completion["params"] == {"temperature": 0, "seed": 1}
    assert page.asked[-1][0] == "DELETE /api/v1/chats/c1"


def test_the_error_that_people_see_is_the_error_that_is_raised(page: Page) -> None:
    chat_that_ends_with(page, {"content": "", "error": {"content": "registry.ollama.ai/m does not support tools"}})
    with pytest.raises(ChatFailed, match="does not support tools"):
        client(page).ask("m:1", "Capital?", timeout=5, poll=0)
    assert page.asked[-1][0] == "DELETE /api/v1/chats/c1"


def test_an_answer_that_never_ends_is_not_waited_for(page: Page) -> None:
    chat_that_ends_with(page, {"content": "Pa"})
    with pytest.raises(ChatFailed, match="no answer within 0 s"):
        client(page).ask("m:1", "Capital?", timeout=0.05, poll=0.01)


def test_signing_in_keeps_the_token_out_of_the_result(page: Page) -> None:
    page.answers["POST /api/v1/auths/signin"] = (200, {"token": "secret", "role": "admin"})
    session = client(page)
    assert session.sign_in("admin@localhost", "pw") == {"role": "admin"} == session.account


@pytest.mark.parametrize("status", [400, 429])
def test_a_refused_sign_in_has_its_own_error(page: Page, status: int) -> None:
    page.answers["POST /api/v1/auths/signin"] = (status, {"detail": "The email or password provided is incorrect."})
    with pytest.raises(SignInRefused, match="incorrect"):
        client(page).sign_in("admin@localhost", "pw")


def test_nothing_under_the_address() -> None:
    with pytest.raises(PageUnreachable, match="refused"):
        OpenWebUI("http://127.0.0.1:1", timeout=1).request("GET", "/ready")


def test_a_new_record_lets_everybody_use_the_model() -> None:
    record = wanted_record(None, "m:1", tools=False)
    assert record["access_grants"] == [EVERYBODY_READS]
    assert record["meta"]["capabilities"] == {"builtin_tools": False}
    assert record["is_active"] is True


def test_a_record_keeps_what_the_administrator_wrote() -> None:
    present = {
        "id": "m:1",
        "name": "Our model",
        "base_model_id": None,
        "params": {"system": "Be kind."},
        "meta": {"description": "mine", "capabilities": {"vision": True, "builtin_tools": True}},
        "access_grants": [{"id": "g", "principal_type": "group", "principal_id": "x", "permission": "write"}],
        "is_active": False,
        "updated_at": 1,
    }
    record = wanted_record(present, "m:1", tools=False)
    assert record["name"] == "Our model"
    assert record["params"] == {"system": "Be kind."}
    assert record["is_active"] is False
    assert record["meta"] == {"description": "mine", "capabilities": {"vision": True, "builtin_tools": False}}
    assert record["access_grants"] == [{"principal_type": "group", "principal_id": "x", "permission": "write"}]
    assert wanted_record(dict(record, id="m:1"), "m:1", tools=False) == record_fields(record), "stable at once"


def test_speed_comes_from_ollamas_counters() -> None:
    usage = {"eval_count": 20, "eval_duration": 500_000_000, "load_duration": 600_000_000, "prompt_eval_duration": 1e8}
    assert speed(usage) == {"seconds_to_first_token": 0.7, "tokens_per_s": 40.0}
    assert speed({}) == {"seconds_to_first_token": None, "tokens_per_s": None}
