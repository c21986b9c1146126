# SPDX-License-Identifier: GPL-3.0-or-later
"""Every piece of PowerShell here is parsed by a grammar and looked through. It is run on Windows alone."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from tests.unit import powershell

ROOT = Path(__file__).parents[2]
BOOTSTRAP = ROOT / "llmdesk.ps1"
ROLES = ROOT / "collections" / "ansible_collections" / "llmdesk" / "workstation" / "roles"
EMBEDDED = sorted(ROLES.glob("*/files/*.ps1"))


def said(text: str) -> str:
    return "\n".join(powershell.problems(text))


@pytest.mark.parametrize("script", [BOOTSTRAP, *EMBEDDED], ids=lambda path: path.name)
def test_a_script_is_right(script: Path) -> None:
    assert powershell.problems(script.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize("script", [BOOTSTRAP, *EMBEDDED], ids=lambda path: path.name)
def test_a_script_stops_at_the_first_error(script: Path) -> None:
    assert "$ErrorActionPreference = 'Stop'" in script.read_text(encoding="utf-8")


@pytest.mark.parametrize("page", sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")]), ids=lambda path: path.name)
def test_what_a_page_tells_people_to_paste_can_be_parsed(page: Path) -> None:
    for block in re.findall(r"^```powershell\n(.*?)^```", page.read_text(encoding="utf-8"), re.M | re.S):
        assert not powershell.parse(block).has_error, block


def test_what_the_workflow_runs_can_be_parsed() -> None:
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "windows.yml").read_text())
    steps = [step for job in workflow["jobs"].values() for step in job["steps"] if "shell" in step]
    assert len(steps) > 5
    for step in steps:
        assert not powershell.parse(step["run"]).has_error, step["name"]
    call = re.compile(r"(?m)^\.\\llmdesk\.ps1((?: -\w+(?: [\w.:-]+)?)+)")
    used = {name for step in steps for name in call.findall(step["run"])}
    known = {*powershell.parameters(powershell.parse(BOOTSTRAP.read_text())), "WhatIf"}
    assert {name for line in used for name in re.findall(r" -(\w+)", line)} <= known


def test_scripts_of_tasks_stand_in_files_of_their_own() -> None:
    """What stands in YAML, no grammar would see."""
    for tasks in ROLES.glob("*/tasks/*.yml"):
        for script in re.findall(r"^\s+script:(.*)$", tasks.read_text(), re.M):
            assert "lookup('ansible.builtin.file'" in script or "lookup('file'" in script, (tasks, script)


def test_the_help_of_the_bootstrap_names_every_parameter() -> None:
    text = BOOTSTRAP.read_text()
    described = re.findall(r"^\.PARAMETER (\w+)", text, re.M)
    assert sorted(described) == sorted(powershell.parameters(powershell.parse(text)))
    assert text.count("\n.EXAMPLE\n") >= 3
    for used in re.findall(r"llmdesk\.ps1 (.*)", text.partition("#>")[0]):
        assert set(re.findall(r"(?:^| )-(\w+)", used)) <= {*described, "WhatIf"}


def test_what_the_bootstrap_hands_on_to_itself_it_takes() -> None:
    text = BOOTSTRAP.read_text()
    described = re.findall(r"^\.PARAMETER (\w+)", text, re.M)
    handed = set(re.findall(r"'-(\w+)'", text.partition("function Start-SystemPart")[2].partition("\n}")[0]))
    assert {"Part", "User", "Distribution", "WslPackage"} <= handed
    assert handed - {"NoProfile", "ExecutionPolicy", "File"} <= set(described)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("if ($true { 1 }", "would not parse"),
        ("try { 1 }", "try without catch"),
        ("gci C:\\", "gci is an alias"),
        ("Get-ChildItems -Path C:", "Get-ChildItems is an alias, misspelt"),
        ("Get-ChildItem -Paht C:", "no parameter -Paht"),
        ("Write-Host 'a'", "Write-Host is"),
        ("Get-Date && Get-Date", "knows no &&"),
        ("$x = $true ? 1 : 2; $x", "knows no ?"),
        ("$x = $null ?? 2; $x", "knows no ??"),
        ("function Do-It { Get-Date }", "Do is no approved verb"),
        ("function Get-Files { Get-Date }", "a noun in the singular"),
        ("function Set-It { Get-Date }", "does not support -WhatIf"),
        ("function Get-It {\nparam([string]$A)\n$A }\nGet-It -B 1", "no parameter -B"),
        ("$a = 1", "$a is set, and nothing reads it"),
        ('Write-Warning -Message "$nmae"', "$nmae is read, and nothing sets it"),
        ("$h.a = 1", "$h is read, and nothing sets it"),
        ("Write-Warning -Message '提示'", "not ASCII"),
    ],
)
def test_it_would_be_found(text: str, problem: str) -> None:
    assert problem in said(text)


@pytest.mark.parametrize(
    "text",
    [
        "foreach ($a in 1, 2) { Write-Warning -Message $a }",
        '$a, $b = 1, 2; Write-Warning -Message "$a $b $env:PATH"',
        "$n = 0; $n++",
        "function Get-It {\nparam([string]$A)\n$A }\n$x = Get-It -A 1 -ErrorAction Stop\n& $x @('a')",
        "Get-CimInstance Win32_OperatingSystem -Property Caption, ProductType | Select-Object -First 1",
    ],
)
def test_it_is_right(text: str) -> None:
    assert said(text) == ""
