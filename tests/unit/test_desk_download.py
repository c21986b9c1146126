# SPDX-License-Identifier: GPL-3.0-or-later
"""A small file out of the network, and what is said instead."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.unit.servers import Reply, loopback
from tests.unit.test_packaging import COLLECTION

MODULE = COLLECTION / "plugins" / "modules" / "desk_download.py"
PATH = "GET /key.asc"


def module(**wanted: Any) -> dict[str, Any]:
    """Run the module as a process of its own, which has no proxy but the one that it is given."""
    bare = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    done = subprocess.run(
        [sys.executable, str(MODULE)],
        input=json.dumps({"ANSIBLE_MODULE_ARGS": {"timeout": 2, **wanted}}),
        env={**bare, "PYTHONPATH": str(COLLECTION.parents[2])},
        capture_output=True,
        text=True,
        check=False,
    )
    found: dict[str, Any] = json.loads(done.stdout)
    found.pop("invocation")
    return found


def test_a_file_comes_once(tmp_path: Path) -> None:
    dest = tmp_path / "key.asc"
    with loopback({PATH: Reply(body="a key")}) as server:
        url = f"{server.url}/key.asc"
        would = module(url=url, dest=str(dest), _ansible_check_mode=True)
        assert (would, dest.exists()) == ({"changed": True, "status": 200}, False)
        assert module(url=url, dest=str(dest)) == {"changed": True, "status": 200}
        assert module(url=url, dest=str(dest)) == {"changed": False, "status": 200}
        assert module(url=url) == {"changed": False, "status": 200}
    assert (dest.read_text(), dest.stat().st_mode & 0o777) == ("a key", 0o644)


def test_what_does_not_come_is_one_sentence_and_keeps_the_old_file(tmp_path: Path) -> None:
    dest = tmp_path / "key.asc"
    dest.write_text("old")
    with loopback({PATH: Reply(503)}) as server:
        failed = module(url=f"{server.url}/key.asc", dest=str(dest))
        assert (failed["failed"], failed["status"]) == (True, 503)
        assert failed["msg"] == f"{server.url}/key.asc was not to be had: it answers with HTTP 503."
        port = server.server_port
    closed = module(url=f"http://127.0.0.1:{port}/key.asc", dest=str(dest))
    assert (closed["status"], "Connection refused" in closed["msg"]) == (0, True)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        said = module(url=f"http://127.0.0.1:{silent.getsockname()[1]}/", timeout=0.2)["msg"]
    assert "timed out" in said or "did not answer within 0.2 s" in said
    assert dest.read_text() == "old"


@pytest.mark.parametrize(("status", "words"), [(200, ""), (407, "does not take the user and the password")])
def test_it_goes_through_the_proxy_and_hides_what_opens_it(status: int, words: str) -> None:
    with loopback({"GET http://packages.lab.test/key.asc": Reply(status, "a key")}) as server:
        proxy = {"http": server.url, "https": server.url, "no_proxy": []}
        credentials = {"http": "desk:Sesame%40home", "https": "desk:Sesame%40home"}
        found = module(url="http://packages.lab.test/key.asc", proxy=proxy, proxy_credentials=credentials)
    assert found["status"] == status
    assert words in found.get("msg", "")
    assert "Sesame" not in json.dumps(found)
