# SPDX-License-Identifier: GPL-3.0-or-later
"""What a run leaves behind of a host: the pure builder, the names of files, what is kept, and what is hidden."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.llmdesk.workstation.plugins.module_utils import record as builder
from ansible_collections.llmdesk.workstation.plugins.module_utils.record import DeskRecord, TaskEnd
from ansible_collections.llmdesk.workstation.plugins.plugin_utils import records
from jsonschema import Draft202012Validator

import llmdesk
from llmdesk import records as reader
from tests.unit import rooms

ROOT = Path(__file__).parents[2]
SCHEMA = json.loads((ROOT / "docs" / "schema" / "desk-record.schema.json").read_text())
RUN = {"run": "20261126-081510-site-4711", "playbook": "site", "check": False, "ansible": "2.19.14"}
WHEN = 1_795_000_000.0


def end(outcome: str, result: dict[str, Any] | None = None, **changed: Any) -> TaskEnd:
    given: dict[str, Any] = {"host": "desk1", "phase": "docker", "task": "Install Docker", "path": "", "at": WHEN + 5}
    return TaskEnd(**{**given, "outcome": outcome, "seconds": 1.5, "result": result, **changed})


def closed(*ends: TaskEnd, **counts: int) -> dict[str, Any]:
    desk = DeskRecord("desk1", WHEN)
    for one in ends:
        desk.add(one)
    made = desk.close(RUN, counts)
    Draft202012Validator(SCHEMA).validate(made)
    return made


def test_the_schema_is_one_and_takes_a_real_record() -> None:
    Draft202012Validator.check_schema(SCHEMA)
    Draft202012Validator(SCHEMA).validate(rooms.REAL)
    assert list(Draft202012Validator(SCHEMA).iter_errors({**rooms.REAL, "outcome": "fine"}))


def test_every_record_of_a_made_up_room_fits_the_schema() -> None:
    for of_one in rooms.room(24).values():
        for one in of_one:
            Draft202012Validator(SCHEMA).validate(one)


def test_the_collections_version_is_the_projects() -> None:
    assert llmdesk.__version__ == builder.VERSION


def test_a_desk_that_needs_nothing_is_reported_by_the_question_itself() -> None:
    made = closed(end("ok", {"desk": rooms.REAL["facts"], "desk_report": rooms.REAL["report"]}, phase="desk"), ok=1)
    assert (made["outcome"], made["facts"], made["report"]) == ("ok", rooms.REAL["facts"], rooms.REAL["report"])


def test_a_desk_with_its_facts_changes_and_phases() -> None:
    facts, report = rooms.REAL["facts"], {**rooms.REAL["report"], "wanted": rooms.REAL["wanted"]}
    made = closed(
        end("ok", {"desk": facts}, phase="desk"),
        end("changed", path="/x/ansible_collections/llmdesk/workstation/roles/docker/tasks/apt.yml:12"),
        end("skipped"),
        end("ok", {"msg": {"desk_report": report}}, phase="verify"),
        ok=3,
        changed=1,
    )
    assert (made["outcome"], made["phases"]) == ("changed", {"desk": 1.5, "docker": 3.0, "verify": 1.5})
    place = "roles/docker/tasks/apt.yml:12"
    assert made["changes"] == [{"phase": "docker", "task": "Install Docker", "path": place}]
    assert made["facts"] == facts
    assert made["wanted"] == rooms.REAL["wanted"]
    assert "wanted" not in made["report"]
    assert made["verify"] == report["proof"]
    assert made["versions"] == rooms.REAL["versions"]
    assert made["began"] == "2026-11-18T11:06:40Z"


def test_the_facts_are_those_that_were_seen_last() -> None:
    first, last = {"schema": 1, "asked_at": "first"}, {**rooms.REAL["facts"], "asked_at": "last"}
    assert closed(end("ok", {"desk": first}), end("ok", {"desk": last}))["facts"]["asked_at"] == "last"


def test_what_a_rescue_mended_is_no_failure() -> None:
    made = closed(end("failed", {"msg": "no"}), end("ok"), ok=1, rescued=1)
    assert (made["outcome"], made["failures"]) == ("ok", [])


def test_of_a_rescue_that_gives_up_its_own_words_stay() -> None:
    made = closed(end("failed", {"msg": "first"}), end("failed", {"msg": "last"}), failures=1, rescued=1)
    assert (made["outcome"], [failure["message"] for failure in made["failures"]]) == ("failed", ["last"])


@pytest.mark.parametrize(
    ("ended", "counts", "outcome"),
    [
        (end("unreachable", {"msg": "No route to host"}), {"unreachable": 1}, "unreachable"),
        (end("failed", {"msg": "Reboot and run again: Windows has to restart."}), {"failures": 1}, "rebooting"),
        (end("ignored", {"msg": "no"}), {"ok": 1, "ignored": 1}, "ok"),
    ],
)
def test_how_a_run_may_end(ended: TaskEnd, counts: dict[str, int], outcome: str) -> None:
    assert closed(ended, **counts)["outcome"] == outcome


def test_a_windows_half_has_a_report_and_no_facts() -> None:
    made = closed(end("ok", {"msg": {"desk_report": {"half": "windows", "warnings": ["old driver"]}}}), ok=1)
    assert (made["facts"], made["warnings"], made["verify"]) == (None, ["old driver"], None)


def test_a_failure_says_what_the_command_printed_and_hides_what_opens_anything() -> None:
    failed = end("failed", {"msg": "non-zero return code", "stderr": "proxy http://ann:pa55@10.0.0.1 refused\n"})
    (failure,) = closed(failed, failures=1)["failures"]
    assert failure["message"] == "non-zero return code\nproxy http://…@10.0.0.1 refused"


def test_of_a_hidden_result_nothing_is_told() -> None:
    (failure,) = closed(end("failed", None), failures=1)["failures"]
    assert failure["message"] == "Its output is hidden, because it may hold a secret (no_log)."


@pytest.mark.parametrize(
    ("typed", "kept"),
    [
        (["-e", "admin_password=hunter2 x=1"], "-e 'admin_password=… x=1'"),
        (["-e", '{"api_token": "hunter2, too", "x": 1}'], """-e '{"api_token": …, "x": 1}'"""),
        (["-e", "https_proxy=http://ann:hunter2@proxy:3128"], "-e 'https_proxy=http://…@proxy:3128'"),
        (["--become-password-file", "/tmp/hunter2", "site.yml"], "site.yml"),
        (["--vault-password-file=/tmp/hunter2", "site.yml"], "site.yml"),
        (["-e", "open_webui_password_file=/etc/x"], "-e open_webui_password_file=/etc/x"),
    ],
)
def test_a_command_is_kept_without_secrets(typed: list[str], kept: str) -> None:
    assert builder.command(["ansible-playbook", *typed]) == f"ansible-playbook {kept}"


# --- Files ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("host", ["desk1", "desk-1.example.com", "ann@10.0.0.1"])
def test_an_ordinary_host_names_its_file(host: str) -> None:
    assert records.file_name(host) == f"{host}.json"


@pytest.mark.parametrize(
    "host", ["run", "..", ".", ".x", "a/b", "../../etc/x", "[fe80::1]:22", "Büro 3", "x" * 300, "\n"]
)
def test_an_odd_host_has_a_file_of_its_own_inside_of_the_folder(host: str, tmp_path: Path) -> None:
    name = records.file_name(host)
    assert name != records.RUN
    assert not name.startswith(".")
    records.write(tmp_path / "run1" / name, {"schema": 1, "host": host})
    assert [path.name for path in (tmp_path / "run1").iterdir()] == [name]
    assert (tmp_path / "run1" / name).stat().st_mode & 0o777 == 0o600


def test_hosts_that_differ_have_files_that_differ() -> None:
    hosts = ["run", "%72un", "a/b", "a%2Fb", "x" * 300, "x" * 299 + "y"]
    assert len({records.file_name(host) for host in hosts}) == len(hosts)


def test_old_runs_go_and_those_of_other_playbooks_stay(tmp_path: Path) -> None:
    names = [f"2026112{day}-070000-{playbook}-1" for day in range(5) for playbook in ("site", "status")]
    for name in names:
        (tmp_path / name).mkdir()
    records.prune(tmp_path, "status", 2)
    left = records.runs(tmp_path)
    assert [name for name in left if "status" in name] == ["20261124-070000-status-1", "20261123-070000-status-1"]
    assert sum("site" in name for name in left) == 5


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a room of twelve."""
    monkeypatch.setenv("LLMDESK_RECORDS", str(tmp_path))
    rooms.write(tmp_path, rooms.room(12))
    return tmp_path


def test_the_newest_record_and_the_one_before(kept: Path) -> None:
    assert set(reader.latest()) == {f"desk{number}" for number in range(1, 13)}
    assert reader.latest(["desk3"])["desk3"]["run"] == rooms.SITE
    before = reader.previous("desk3", rooms.SITE)
    assert before is not None
    assert before["run"] == rooms.BEFORE
    assert reader.previous("desk3", rooms.BEFORE) is None
    assert [run["run"] for run in reader.runs()] == [rooms.SITE, rooms.BEFORE]


def test_a_torn_record_is_passed_over_and_named(kept: Path) -> None:
    (kept / rooms.SITE / "desk3.json").write_text('{"schema": 1, "ho')
    (kept / rooms.SITE / "desk4.json").write_text('{"schema": 2}')
    (kept / rooms.SITE / "desk5.json").write_text('{"schema": 1, "host": "desk5"}')
    broken: list[str] = []
    found = reader.latest(None, broken)
    assert {found[host]["run"] for host in ("desk3", "desk4", "desk5")} == {rooms.BEFORE}
    assert [Path(sentence.split(" ")[0]).name for sentence in broken] == ["desk3.json", "desk4.json", "desk5.json"]


def test_what_was_only_tried_in_check_mode_has_not_happened(kept: Path) -> None:
    run = json.loads((kept / rooms.SITE / "run.json").read_text())
    (kept / rooms.SITE / "run.json").write_text(json.dumps({**run, "check": True}))
    assert reader.latest()["desk1"]["run"] == rooms.BEFORE


def test_records_of_another_machine_are_taken_in(kept: Path, tmp_path: Path) -> None:
    other = tmp_path.parent / "other"
    rooms.write(other, {"deskx": [rooms.desk("deskx", run="20261126-090000-site-1")]})
    reader.adopt(other)
    assert reader.latest(["deskx"])["deskx"]["run"] == "20261126-090000-site-1"
    assert list(other.iterdir()) == []


def test_no_folder_is_no_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLMDESK_RECORDS", str(tmp_path / "none"))
    assert (reader.latest(), reader.runs()) == ({}, [])
