# SPDX-License-Identifier: GPL-3.0-or-later
"""The report on a room: verdicts, the page in a real browser, the metrics, and what the command says."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from playwright.sync_api import Browser, ConsoleMessage, Page, Route, sync_playwright
from prometheus_client.parser import text_string_to_metric_families

from llmdesk import page, prometheus
from llmdesk.cli import main
from llmdesk.report import report, verdict
from tests.unit import rooms

AT = "2026-11-26T08:30:00Z"


def document(count: int, hosts: list[str] | None = None) -> dict[str, Any]:
    records = {"desk1": [rooms.REAL]} if count == 1 else rooms.room(count)
    return report(records, hosts, AT, [])


def of(host: str, told: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = next(one for one in told["desks"] if one["host"] == host)
    return found


# --- What it says ---------------------------------------------------------------------------------------------------


def test_every_desk_has_a_verdict() -> None:
    told = document(12, [*rooms.room(12), "desk99"])
    verdicts = {one["host"]: one["verdict"] for one in told["desks"] if one["verdict"] != "fine"}
    expected = {"desk4": "warned", "desk7": "unreachable", "desk9": "drifted", "desk11": "failed", "desk99": "unknown"}
    assert verdicts == expected
    assert told["verdicts"]["fine"] == 8
    assert [one["host"] for one in told["desks"]][:2] == ["desk1", "desk2"], "desk10 comes after desk9"
    assert [need["verdict"] for need in told["attention"]][:2] == ["failed", "unreachable"]
    assert all(need["remedy"] for need in told["attention"] if need["where"] != "warning")


@pytest.mark.parametrize(
    ("changed", "word"),
    [
        ({"outcome": "rebooting"}, "rebooting"),
        ({"verify": None}, "broken"),
        ({"report": {"links": [{"name": "page", "ok": False, "error": "silent", "remedy": "Look."}]}}, "broken"),
        ({"outcome": "changed"}, "fine"),
    ],
)
def test_a_verdict_is_that_of_the_newest_record(changed: dict[str, Any], word: str) -> None:
    assert verdict(rooms.desk("desk1", **changed), windows=False) == word


def test_of_a_desk_out_of_reach_the_last_that_was_seen_is_told() -> None:
    lost = of("desk7", document(12))
    assert (lost["outcome"], lost["seen_at"], bool(lost["tokens_per_s"])) == (
        "unreachable",
        "2026-11-25T07:05:02Z",
        True,
    )
    assert lost["since"] == ["It is not reached, and was well."]


def test_a_run_that_says_nothing_of_a_desk_is_not_its_newest_word() -> None:
    looked = rooms.desk("desk1", playbook="logs", report=None, verify=None, outcome="ok")
    before = rooms.desk("desk1", run=rooms.BEFORE)
    told = of("desk1", report({"desk1": [looked, before]}, None, AT, []))
    assert (told["verdict"], told["run"], told["model"]) == ("fine", rooms.BEFORE, rooms.REAL["verify"]["model"])
    failed = {**looked, "outcome": "failed"}
    assert of("desk1", report({"desk1": [failed, before]}, None, AT, []))["verdict"] == "failed"


def test_what_is_new_since_the_run_before() -> None:
    before = rooms.desk("desk1", run=rooms.BEFORE)
    before["versions"]["docker"] = "25.0.1"
    before["verify"]["tokens_per_s"] = 2 * rooms.REAL["verify"]["tokens_per_s"]
    before["facts"]["ollama"]["models"] = [{"name": "old:1", "digest": "0", "size": 1, "loaded": False}]
    told = report({"desk1": [rooms.desk("desk1"), before]}, None, AT, [])
    assert told["desks"][0]["since"] == [
        "Docker is 26.1.5+dfsg1, and was 25.0.1.",
        "The model smollm2:135m is new.",
        "The model old:1 is gone.",
        "It answers with 0.9 tokens/s, and did with 1.8.",
    ]


def test_a_need_of_many_desks_is_told_once() -> None:
    told = document(200)
    (full,) = (need for need in told["attention"] if "2.0 GiB free" in need["sentence"])
    assert len(full["desks"]) == 16


def test_a_windows_half_is_told_as_such() -> None:
    half = {"half": "windows", "system": {"name": "Windows 11 Pro", "build": "26100"}, "missing": [], "gpus": []}
    told = report({"pc1": [rooms.desk("pc1", facts=None, verify=None, wanted=None, report=half)]}, None, AT, [])
    one = told["desks"][0]
    assert (one["kind"], one["verdict"], one["system"]) == ("windows", "fine", "Windows 11 Pro build 26100")


# --- In a browser ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def browser(chromium: None) -> Iterator[Browser]:
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        yield opened
        opened.close()


class Opened:
    """A report in a browser that notes every request but for the file's own, and every complaint."""

    def __init__(self, browser: Browser, file: Path, **options: Any) -> None:
        self.asked: list[str] = []
        self.complaints: list[str] = []
        self.page: Page = browser.new_context(**options).new_page()
        self.page.route("**/*", self._ask)
        self.page.on("console", self._complain)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self._file = file.as_uri()
        self.page.goto(self._file)

    def _ask(self, route: Route) -> None:
        if route.request.url == self._file:
            route.continue_()
        else:
            self.asked.append(route.request.url)
            route.abort()

    def _complain(self, message: ConsoleMessage) -> None:
        self.complaints.append(message.text)

    def shown(self) -> list[str]:
        """Return the names of the desks in the table that are shown, in order."""
        return [name for name in self.page.locator("#desks tbody tr:visible td.host b").all_text_contents() if name]


@pytest.mark.parametrize(("count", "scheme"), [(1, "dark"), (12, "light"), (200, "dark")])
def test_a_page_needs_nothing_but_itself(browser: Browser, tmp_path: Path, count: int, scheme: str) -> None:
    file = tmp_path / "report.html"
    file.write_text(page.html(document(count)))
    assert file.stat().st_size < 500_000
    opened = Opened(browser, file, color_scheme=scheme, viewport={"width": 1280, "height": 900})
    assert (opened.asked, opened.complaints) == ([], [])
    assert len(opened.shown()) == count
    back = opened.page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert back == {"light": "rgb(246, 247, 249)", "dark": "rgb(18, 22, 28)"}[scheme]
    assert opened.page.locator("figure svg rect.rect").count() > 0
    opened.page.set_viewport_size({"width": 390, "height": 800})
    assert opened.page.evaluate("document.documentElement.scrollWidth") <= 390
    assert opened.page.pdf().startswith(b"%PDF")
    if os.environ.get("LLMDESK_PICTURE") and (count, scheme) == (12, "light"):
        opened.page.set_viewport_size({"width": 1280, "height": 1320})
        opened.page.screenshot(path=os.environ["LLMDESK_PICTURE"])


def test_the_table_sorts_and_filters(browser: Browser, tmp_path: Path) -> None:
    file = tmp_path / "report.html"
    told = document(12)
    file.write_text(page.html(told))
    opened = Opened(browser, file)
    assert opened.shown()[:2] == ["desk11", "desk7"], "the worst first"

    def press(title: str) -> None:
        opened.page.get_by_role("button", name=title, exact=True).click()

    press("Desk")
    assert opened.shown() == [f"desk{number}" for number in range(1, 13)]
    press("Desk")
    assert opened.shown()[0] == "desk12"
    press("Tokens/s")
    known = sorted((one["tokens_per_s"], one["host"]) for one in told["desks"] if one["tokens_per_s"])
    assert opened.shown()[:11] == [host for _, host in known]
    assert opened.shown()[-1] == "desk11", "what is not known stands at the end"
    press("Tokens/s")
    assert (opened.shown()[0], opened.shown()[-1]) == (known[-1][1], "desk11")

    opened.page.get_by_role("searchbox").fill("rtx a6000")
    wanted = {one["host"] for one in told["desks"] if "A6000" in str(one["hardware"])}
    assert set(opened.shown()) == wanted
    opened.page.get_by_role("searchbox").fill("")
    press("failed · 1")
    press("drifted · 1")
    assert set(opened.shown()) == {"desk11", "desk9"}
    opened.page.get_by_role("searchbox").fill("no such thing")
    opened.page.get_by_text("No desk is like that.").wait_for()
    assert opened.complaints == []


def test_what_a_desk_says_is_text_and_no_markup(browser: Browser, tmp_path: Path) -> None:
    evil = "<img src=x onerror=alert(1)><script>alert(1)</script>"
    failed = {"phase": evil, "task": evil, "path": "", "message": evil}
    record = rooms.desk(f"desk{evil}", outcome="failed", failures=[failed], warnings=[evil])
    file = tmp_path / "report.html"
    file.write_text(page.html(report({record["host"]: [record]}, None, AT, [evil])))
    opened = Opened(browser, file)
    assert (opened.page.locator("img").count(), opened.page.locator("script").count()) == (0, 1)
    assert (opened.asked, opened.complaints) == ([], [])


# --- Metrics --------------------------------------------------------------------------------------------------------


def test_metrics_are_what_prometheus_reads() -> None:
    text = prometheus.text(document(12, [*rooms.room(12), "desk99"]))
    families = {family.name: family for family in text_string_to_metric_families(text)}
    assert all(name.startswith("llmdesk_desk_") and family.documentation for name, family in families.items())
    failed = [
        sample.labels["desk"]
        for sample in families["llmdesk_desk_verdict"].samples
        if sample.labels["verdict"] == "failed" and sample.value
    ]
    assert failed == ["desk11"]
    assert "desk99" not in {sample.labels["desk"] for sample in families["llmdesk_desk_tokens_per_second"].samples}
    drifted = {sample.labels["desk"]: sample.value for sample in families["llmdesk_desk_drift_findings"].samples}
    assert (drifted["desk9"], drifted["desk1"]) == (1, 0)
    assert all(sample.timestamp is None for family in families.values() for sample in family.samples)


# --- The command ----------------------------------------------------------------------------------------------------


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The records of a room of twelve, and this folder to write into."""
    monkeypatch.setenv("LLMDESK_RECORDS", str(tmp_path / "records"))
    monkeypatch.chdir(tmp_path)
    rooms.write(tmp_path / "records", rooms.room(12))
    return tmp_path


def typed(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["report", *arguments])


def test_a_page_is_private_and_here_unless_said_otherwise(kept: Path) -> None:
    assert typed().exit_code == 0
    assert (kept / "llmdesk-report.html").stat().st_mode & 0o777 == 0o600
    assert typed("--prometheus", "--output", "desks.prom", "--mode", "644").exit_code == 0
    assert (kept / "desks.prom").stat().st_mode & 0o777 == 0o644
    assert sorted(path.name for path in kept.iterdir()) == ["desks.prom", "llmdesk-report.html", "records"]


def test_one_document(kept: Path) -> None:
    told = json.loads(typed("--json").stdout)
    assert (told["schema"], len(told["desks"])) == (1, 12)


def test_some_desks_and_those_that_were_never_seen(kept: Path) -> None:
    told = json.loads(typed("--json", "--limit", "desk1,desk9").stdout)
    assert [one["host"] for one in told["desks"]] == ["desk1", "desk9"]
    (kept / "room.yml").write_text("desks: {hosts: {desk1: , desk77: }}")
    told = json.loads(typed("--json", "-i", "room.yml").stdout)
    assert [(one["host"], one["verdict"]) for one in told["desks"]] == [("desk1", "fine"), ("desk77", "unknown")]


def test_what_is_torn_is_said_once_and_the_rest_is_shown(kept: Path) -> None:
    (kept / "records" / rooms.SITE / "desk3.json").write_text('{"schema": 1, "ho')
    done = typed()
    assert done.exit_code == 0
    assert done.stderr.count("desk3.json cannot be read as a record") == 1
    assert "desk3.json cannot be read" in (kept / "llmdesk-report.html").read_text()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--limit", "nobody"], "no desk is meant by 'nobody'"),
        (["--output", "missing/report.html"], "missing/report.html cannot be written: No such file or directory."),
        (["--mode", "rw"], "--mode rw is no mode: give it in octal, such as 644."),
        (["-i", "missing.yml"], "The inventory cannot be read"),
    ],
)
def test_what_cannot_be_done_is_one_sentence(kept: Path, arguments: list[str], words: str) -> None:
    done = typed(*arguments)
    assert done.exit_code == 1
    assert words in done.stderr
    assert not (kept / "llmdesk-report.html").exists()


def test_without_a_record_it_says_what_makes_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLMDESK_RECORDS", str(tmp_path / "none"))
    done = typed()
    assert done.exit_code == 1
    assert "no run has left a record in" in done.stderr
    assert "Traceback" not in done.output
