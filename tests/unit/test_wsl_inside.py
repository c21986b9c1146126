# SPDX-License-Identifier: GPL-3.0-or-later
"""What a desk in WSL needs of Windows, said as one block of PowerShell."""

from __future__ import annotations

import re
from typing import Any

import pytest
from ansible_collections.llmdesk.workstation.plugins.module_utils import wsl_inside
from ansible_collections.llmdesk.workstation.plugins.module_utils.plan import preflight
from ansible_collections.llmdesk.workstation.plugins.module_utils.wslconfig import setting

from tests.unit import powershell
from tests.unit.test_packaging import COLLECTION, ROOT
from tests.unit.test_plan import PORTS, desk

RIGHT = "[wsl2]\nvmIdleTimeout=-1\n[general]\ninstanceIdleTimeout=-1\n"


def wsl(**changed: Any) -> dict[str, Any]:
    """Return the facts of a desk in WSL of which Windows knows all it should, but for what is changed."""
    facts = {
        "version": 2,
        "systemd": True,
        "docker_desktop": False,
        "distribution": "Ubuntu-24.04",
        "profile": "/mnt/c/Users/安 吴",
        "wslconfig": RIGHT,
        "kept_awake": True,
    }
    return {"wsl": {**facts, **changed}}


def block(**changed: Any) -> str:
    found = wsl_inside.by_hand(wsl(**changed))
    assert found is not None
    text = str(found["block"])
    assert not powershell.parse(text).has_error, text
    return text


def written(text: str) -> str:
    """Return the text that a block writes into .wslconfig."""
    found = re.search(r"\.wslconfig\", @'\n(.*)\n'@\)", text, re.S)
    assert found, text
    return found.group(1)


def test_nothing_is_said_where_nothing_is_missing() -> None:
    assert wsl_inside.by_hand(wsl()) is None
    assert wsl_inside.by_hand({"wsl": None}) is None
    assert wsl_inside.refusal(wsl()) == wsl_inside.refusal({"wsl": None}) == ""


def test_only_what_is_missing_stands_in_the_block() -> None:
    awake = block(wslconfig=None)
    assert "ScheduledTask" not in awake
    assert "wsl --shutdown" in awake
    settled = block(kept_awake=False)
    assert ".wslconfig" not in settled
    assert "--shutdown" not in settled, "a desk that answers is not ended for nothing"
    assert "-Argument '--distribution Ubuntu-24.04 --exec sleep infinity'" in settled
    both = block(wslconfig=None, kept_awake=False).splitlines()
    assert both.index("wsl --shutdown") < next(i for i, line in enumerate(both) if line.startswith("Start-Sch"))


@pytest.mark.parametrize(
    "before",
    [None, "", "# 我的\n[wsl2]\nmemory=8GB # half\nunknown = x\n", "[general]\r\ninstanceIdleTimeout=-1\r\n"],
)
def test_a_file_that_is_there_stays_but_for_the_time_outs(before: str | None) -> None:
    after = written(block(wslconfig=before))
    assert [setting(after, *where) for where in wsl_inside.TIMEOUTS] == ["-1", "-1"]
    assert [line for line in (before or "").splitlines() if line not in after.splitlines()] == []


def test_a_time_out_that_a_person_has_set_is_theirs() -> None:
    mine = RIGHT.replace("vmIdleTimeout=-1", "vmIdleTimeout=60000")
    assert wsl_inside.by_hand(wsl(wslconfig=mine)) is None


@pytest.mark.parametrize("changed", [{"profile": None, "wslconfig": None}, {"wslconfig": "# '@\n"}])
def test_a_file_that_cannot_be_seen_or_quoted_is_not_written_over(changed: dict[str, Any]) -> None:
    text = block(**changed)
    assert "WriteAllText" not in text
    assert "notepad" in text
    assert "[wsl2] vmIdleTimeout=-1 [general] instanceIdleTimeout=-1" in text


def test_the_cmdlets_of_the_block_and_their_parameters_are_known() -> None:
    found = powershell.problems(block(profile=None, kept_awake=False))
    assert [problem for problem in found if "notepad" not in problem] == []


def test_wsl_1_is_refused_before_anything_is_touched() -> None:
    text = block(version=1)
    assert "wsl --set-version 'Ubuntu-24.04' 2" in text
    assert "Enable-WindowsOptionalFeature -Online -FeatureName VirtualMachinePlatform" in text
    errors = preflight(desk(**wsl(version=1)), PORTS)
    assert len(errors) == 1
    assert "in which no Docker runs" in errors[0]
    assert text in errors[0]


@pytest.mark.parametrize(
    ("kernel", "version"),
    [
        ("6.6.87.2-microsoft-standard-WSL2", 2),
        ("4.19.128-microsoft-standard", 2),
        ("4.4.0-19041-Microsoft", 1),
        ("6.12.1-mine", 2),
    ],
)
def test_the_version_of_wsl(kernel: str, version: int) -> None:
    assert wsl_inside.version(kernel) == version


def test_what_wsl_tells_its_processes() -> None:
    path = "/usr/bin:/mnt/c/Windows/system32:/mnt/c/Users/安 吴/AppData/Local/Microsoft/WindowsApps:"
    told = wsl_inside.inherited(f"HOME=/root\0WSL_DISTRO_NAME=Debian\0PATH={path}\0")
    assert told == {"distribution": "Debian", "profile": "/mnt/c/Users/安 吴"}
    assert wsl_inside.inherited("") == {"distribution": None, "profile": None}


def test_what_keeps_a_distribution_running() -> None:
    assert wsl_inside.sleeps_on(["/sbin/init\0", "sleep\0infinity\0"])
    assert not wsl_inside.sleeps_on(["sleep\x0060\0", "", "bash\0-c\0sleep infinity\0"])


def test_all_doors_name_the_task_alike_and_let_it_start_the_same() -> None:
    """So that whoever comes by another door later finds it, and does not add a second one."""
    block_text = block(kept_awake=False)
    bootstrap = (ROOT / "llmdesk.ps1").read_text()
    role = (COLLECTION / "plugins" / "module_utils" / "wsl_plan.py").read_text()
    for text, name in ((block_text, "Ubuntu-24.04"), (bootstrap, "$Distribution"), (role, "{wanted['distribution']}")):
        assert f"keep-alive-{name}" in text
        assert f"--distribution {name} --exec sleep infinity" in text
    for text in (block_text, bootstrap):
        assert {"-LogonType S4U", "-AtStartup", "-AtLogOn"} <= set(re.findall(r"-LogonType S4U|-At\w+", text))
