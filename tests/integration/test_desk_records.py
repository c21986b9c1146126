# SPDX-License-Identifier: GPL-3.0-or-later
"""The callback that keeps records, in real runs of ansible-playbook."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from tests.integration.story import STORY, play, windows

ROOT = Path(__file__).parents[2]
SCHEMA = json.loads((ROOT / "docs" / "schema" / "desk-record.schema.json").read_text())
RUN_SCHEMA = {**SCHEMA["$defs"]["run"], "$defs": SCHEMA["$defs"]}
BIN = Path(sys.executable).parent
NAME = "20261126-081510-story-4711"
NOBODY = [STORY, "-i", "desk7,", "-e", '{"ansible_port": 1, "ansible_host": "127.0.0.1"}']
"""The shortest run that there is: its only host is not reached."""


@dataclass
class Told:
    """A run: what it said, run.json, the records by host, and the folder of all runs."""

    rc: int
    said: str
    run: dict[str, Any]
    records: dict[str, dict[str, Any]]
    folder: Path


def tell(folder: Path, *arguments: str, **environment: str) -> Told:
    """Run ansible-playbook as a person types it, and check what it leaves against the schema."""
    done = subprocess.run(
        [str(BIN / "ansible-playbook"), *arguments],
        cwd=ROOT,
        env={
            **os.environ,
            "LLMDESK_RECORDS": str(folder),
            "LLMDESK_RUN": NAME,
            "ANSIBLE_REMOTE_TMP": str(folder.parent / "tmp"),
            **environment,
        },
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert "Callback dispatch" not in done.stdout, "Ansible says so where a callback breaks"
    here = folder / environment.get("LLMDESK_RUN", NAME)
    if not (here / "run.json").exists():
        return Told(done.returncode, done.stdout, {}, {}, folder)
    run = json.loads((here / "run.json").read_text())
    Draft202012Validator(RUN_SCHEMA).validate(run)
    records = [json.loads(path.read_text()) for path in here.glob("*.json") if path.name != "run.json"]
    for record in records:
        Draft202012Validator(SCHEMA).validate(record)
    return Told(done.returncode, done.stdout, run, {record["host"]: record for record in records}, folder)


SECRETS = {"vault": "vault-cd98f", "vaulted": "vaulted-00b20", "proxy": "proxy-4e980", "typed": "typed-d41d8"}


@pytest.fixture(scope="module")
def sent() -> Iterator[tuple[str, list[tuple[str | None, dict[str, Any]]]]]:
    """An address that takes records, and what it was sent: the token, and the record."""
    taken: list[tuple[str | None, dict[str, Any]]] = []

    class Taker(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            taken.append(
                (self.headers["Authorization"], json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            )
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_arguments: Any) -> None:
            pass

    running = HTTPServer(("127.0.0.1", 0), Taker)
    threading.Thread(target=running.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{running.server_port}/records", taken
    running.shutdown()
    running.server_close()


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory, sent: tuple[str, list[Any]]) -> Told:
    """One run with everything in it: a failure, a rescue, secrets of every kind, old runs, a place to send to."""
    place = tmp_path_factory.mktemp("told")
    (place / "key").write_text(SECRETS["vault"])
    (place / "token").write_text("t0ken\n")
    (place / "vars.yml").write_text(f"story_secret: {SECRETS['vaulted']}\n")
    encrypt = [
        str(BIN / "ansible-vault"),
        "encrypt",
        "--vault-password-file",
        str(place / "key"),
        str(place / "vars.yml"),
    ]
    subprocess.run(encrypt, check=True, capture_output=True)
    for day in range(3):
        (place / "records" / f"2026010{day + 1}-000000-story-1").mkdir(parents=True)
    return tell(
        place / "records",
        *play(story_seconds=0, story_pull_seconds=0, story_break="desk2").arguments(),
        *("-e", f"@{place}/vars.yml", "--vault-password-file", str(place / "key")),
        *("-e", f"admin_password={SECRETS['typed']}"),
        https_proxy=f"http://somebody:{SECRETS['proxy']}@127.0.0.1:9/",
        no_proxy="127.0.0.1",
        LLMDESK_RECORDS_KEEP="2",
        LLMDESK_RECORDS_URL=sent[0],
        LLMDESK_RECORDS_TOKEN_FILE=str(place / "token"),
        LLMDESK_PROGRESS="json",
    )


def test_a_failure_a_rescue_and_a_report(told: Told) -> None:
    assert told.rc == 2
    assert told.run["hosts"] == {"desk1": "changed", "desk2": "failed"}
    assert (told.run["playbook"], told.run["check"], told.run["limit"]) == ("story", False, None)
    one, two = told.records["desk1"], told.records["desk2"]
    assert [failure["task"] for failure in two["failures"]] == ["Break on purpose"]
    assert "no space left on device" in two["failures"][0]["message"]
    assert two["failures"][0]["path"].startswith(f"{STORY}:")
    assert one["failures"] == [], "one was rescued, and one ignored"
    assert one["verify"]["tokens_per_s"] == 74.2
    assert [change["task"] for change in one["changes"]] == ["Install Docker", "Pull the model"]
    assert set(one["phases"]) == {"Make every desk answer"}


def test_no_secret_is_in_a_record(told: Told) -> None:
    written = [path.read_text() for path in told.folder.rglob("*.json")]
    assert len(written) == 3
    for secret in (*SECRETS.values(), "t0ken", "/key"):
        assert [text for text in written if secret in text] == []
    assert "admin_password=…" in told.run["command"]


def test_only_their_owner_reads_them_and_old_ones_go(told: Told) -> None:
    assert sorted(path.name for path in told.folder.iterdir()) == ["20260103-000000-story-1", NAME]
    assert {path.stat().st_mode & 0o777 for path in told.folder.rglob("*.json")} == {0o600}
    assert (told.folder / NAME).stat().st_mode & 0o777 == 0o700


def test_they_are_sent_where_they_are_wanted(told: Told, sent: tuple[str, list[tuple[str | None, Any]]]) -> None:
    assert sorted(body["host"] for _token, body in sent[1]) == ["desk1", "desk2"]
    assert all(token == "Bearer t0ken" and body == told.records[body["host"]] for token, body in sent[1])


def test_the_command_line_is_told_whom_a_play_is_about(told: Told) -> None:
    assert told.said.count('llmdesk-hosts ["desk1", "desk2"]') == 1
    assert told.said.count('llmdesk-desks ["desk1", "desk2"]') == 1


INCLUDES = """
- name: Include things
  hosts: desks
  gather_facts: false
  tasks:
    - ansible.builtin.include_role: {name: llmdesk.workstation.desk, tasks_from: record}
      when: false
    - name: Ask in a role
      ansible.builtin.include_role: {name: llmdesk.workstation.desk, tasks_from: ask}
      vars: {desk_container: nobodys-desk}
    - name: Break in a loop
      ansible.builtin.command: echo {{ item }}
      loop: [one, two]
      failed_when: item == "two"
"""


def test_facts_come_out_of_an_included_role(tmp_path: Path) -> None:
    local = {"ansible_connection": "local", "ansible_python_interpreter": "/usr/bin/python3"}
    (tmp_path / "hosts.yml").write_text(json.dumps({"desks": {"hosts": {"desk1": None}, "vars": local}}))
    (tmp_path / "includes.yml").write_text(INCLUDES)
    included = tell(tmp_path / "records", f"{tmp_path}/includes.yml", "-i", f"{tmp_path}/hosts.yml")
    record = included.records["desk1"]
    assert record["facts"]["schema"] == 1
    assert set(record["phases"]) == {"Include things", "desk"}
    assert [(one["phase"], one["task"]) for one in record["failures"]] == [("Include things", "Break in a loop")]


def test_odd_names_and_check_mode(tmp_path: Path) -> None:
    local = {"ansible_connection": "local", "ansible_python_interpreter": "/usr/bin/python3"}
    (tmp_path / "odd.yml").write_text(json.dumps({"desks": {"hosts": {"run": None, "Büro/3 ..": None}, "vars": local}}))
    variables = '{"story_seconds": 0, "story_pull_seconds": 0}'
    odd = tell(tmp_path / "records", STORY, "-i", f"{tmp_path}/odd.yml", "-e", variables, "--check", "--limit", "all")
    assert set(odd.records) == set(odd.run["hosts"]) == {"run", "Büro/3 .."}
    assert (odd.run["check"], odd.run["limit"], odd.records["run"]["check"]) == (True, "all", True)


def test_both_halves_of_a_desk_under_windows(tmp_path: Path) -> None:
    both = tell(tmp_path / "records", *windows().arguments())
    assert set(both.run["hosts"]) == {"pc1", "pc1-wsl"}
    assert both.records["pc1"]["report"]["half"] == "windows"
    assert both.records["pc1-wsl"]["report"]["windows_host"] == "pc1"


def test_a_host_out_of_reach_and_an_address_that_is_dead(tmp_path: Path) -> None:
    lost = tell(tmp_path / "records", *NOBODY, LLMDESK_RECORDS_URL="http://ann:pa55@127.0.0.1:9/records")
    assert (lost.rc, lost.run["hosts"]) == (4, {"desk7": "unreachable"})
    assert "Connection refused" in lost.records["desk7"]["failures"][0]["message"]
    assert lost.said.count("could not be sent to") == 1
    assert "pa55" not in lost.said


def test_two_runs_at_once_are_two_records(tmp_path: Path) -> None:
    names = [f"2026112{day}-070000-story-1" for day in range(2)]
    threads = [
        threading.Thread(target=tell, args=(tmp_path / "records", *NOBODY), kwargs={"LLMDESK_RUN": name})
        for name in names
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(path.parent.name for path in (tmp_path / "records").glob("*/desk7.json")) == names


def test_a_full_disk_is_one_warning(tmp_path: Path) -> None:
    full = tmp_path / "full"
    full.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4k,nr_inodes=1", "tmpfs", str(full)], check=True)
    try:
        done = tell(full / "records", *NOBODY)
    finally:
        subprocess.run(["umount", str(full)], check=True)
    assert (done.rc, done.records) == (4, {}), "as without records"
    assert done.said.count("could not be kept in") == 1
    assert "No space left on device" in done.said.replace("\n", " ")


def test_an_empty_folder_name_keeps_nothing(tmp_path: Path) -> None:
    assert tell(tmp_path, *NOBODY, LLMDESK_RECORDS="", XDG_STATE_HOME=str(tmp_path / "state")).rc == 4
    assert not (tmp_path / "state" / "llmdesk").exists()
