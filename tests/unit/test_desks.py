# SPDX-License-Identifier: GPL-3.0-or-later
"""Desks of two halves, a Windows and its distro, out of captured runs of tests/integration/playbooks/windows.yml."""

from __future__ import annotations

import pytest

from llmdesk.desks import Desk, as_json, desks, half_of
from llmdesk.events import REBOOT, Recap, TaskEnded
from llmdesk.run import HOST_FAILED, REBOOT_NEEDED
from llmdesk.story import Story
from tests.unit.test_events import story


def told(*events: TaskEnded) -> Story:
    found = Story()
    for event in events:
        found.add(event)
    return found


def ended(host: str, outcome: str = "failed", message: str = "", **more: object) -> TaskEnded:
    return TaskEnded(0, "wsl", "Task", host, outcome, message=message, **more)  # type: ignore[arg-type]


WINDOWS = {"half": "windows", "desk": "pc1-wsl"}


def test_a_windows_and_its_distro_are_one_desk() -> None:
    (desk,) = desks(story("windows"))
    assert (desk.name, desk.windows_host, desk.host) == ("pc1", "pc1", "pc1-wsl")
    assert desk.windows is not None
    assert desk.windows["wsl"]["version"] == "2.5.10.0"
    assert desk.report is not None
    assert desk.report["proof"]["answer"] == "The capital of France is Paris."
    assert (desk.why, desk.windows_why) == ("", "")


def test_a_distro_that_cannot_be_reached_is_a_dead_half_with_its_reason() -> None:
    (desk,) = desks(story("windows-dead-distro"))
    assert desk.windows is not None
    assert desk.report is None
    assert desk.why.startswith("pc1-wsl could not be reached: ")
    assert "Connection refused" in desk.why
    assert as_json(desk)["linux"] == {"host": "pc1-wsl", "report": None, "reason": desk.why}


def test_a_distro_that_nobody_came_to_ask() -> None:
    (desk,) = desks(story("windows-reboot"))
    assert (desk.host, desk.report, desk.why) == ("pc1-wsl", None, "pc1 ended before pc1-wsl was asked")
    assert desk.windows_why.startswith(REBOOT)
    (other,) = desks(told(ended("pc1", "ok", report=WINDOWS)))
    assert (other.report, other.why) == (None, ""), "left out, by --limit"


def test_a_windows_that_cannot_be_reached_beside_a_distro_that_can() -> None:
    """The distro has a sshd of its own."""
    distro = {"windows_host": "pc1", "address": "u"}
    (desk,) = desks(told(ended("pc1", "unreachable", "timed out"), ended("pc1-wsl", "ok", report=distro)))
    assert (desk.name, desk.windows, desk.windows_why) == ("pc1", None, "pc1 could not be reached: timed out")
    assert (desk.host, desk.report, desk.why) == ("pc1-wsl", distro, "")
    assert half_of([desk], "pc1") is half_of([desk], "pc1-wsl") is desk


def test_other_desks_stay_what_they_are() -> None:
    assert [(desk.name, desk.windows_host) for desk in desks(story("story"))] == [("desk1", None), ("desk2", None)]
    plain = Desk("desk1", "desk1", {"address": "u"})
    assert as_json(plain) == {
        "windows": None,
        "linux": {"host": "desk1", "report": {"address": "u"}, "reason": ""},
    }
    assert half_of([plain], "desk1") is None, "it is all of it"


# --- How the run is counted -----------------------------------------------------------------------------------------

WAITS = ended("pc1", message=f"{REBOOT}: VirtualMachinePlatform was switched on.")


@pytest.mark.parametrize(
    ("events", "rc", "code"),
    [
        ([WAITS], HOST_FAILED, REBOOT_NEEDED),
        ([WAITS, ended("pc2", message=f"{REBOOT}: again.")], HOST_FAILED, REBOOT_NEEDED),
        ([WAITS, ended("desk1", message="no space left on device")], HOST_FAILED, HOST_FAILED),
        ([WAITS, ended("desk1", "unreachable", "timed out")], 4, 4),
        ([ended("desk1", message=f"no. {REBOOT}")], HOST_FAILED, HOST_FAILED),
        ([ended("desk1", "unreachable", REBOOT)], 4, 4),
        ([], HOST_FAILED, HOST_FAILED),  # Ansible failed, and no host did
        ([], 0, 0),
        ([WAITS], 130, 130),  # a person's Ctrl-C counts more
    ],
)
def test_only_a_run_that_waits_for_nothing_but_a_restart_has_its_exit_code(
    events: list[TaskEnded], rc: int, code: int
) -> None:
    assert told(*events).exit_code(rc) == code


def test_a_rescued_restart_does_not_count() -> None:
    found = told(WAITS)
    found.add(Recap(1, {"pc1": dict.fromkeys(("ok", "changed", "failed", "unreachable", "skipped", "rescued"), 0)}))
    assert found.exit_code(HOST_FAILED) == HOST_FAILED


def test_the_captured_run_has_it() -> None:
    assert story("windows-reboot").exit_code(2) == 3
