# SPDX-License-Identifier: GPL-3.0-or-later
"""What a person reads about the Windows half of a desk.

The facts in fixtures/windows are composed after what roles/wsl/files/windows_facts.ps1 asks; no Windows was there.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.llmdesk.workstation.plugins.filter.windows_report import FilterModule
from ansible_collections.llmdesk.workstation.plugins.module_utils import wsl_plan
from ansible_collections.llmdesk.workstation.plugins.module_utils.report import desk_report
from ansible_collections.llmdesk.workstation.plugins.module_utils.windows_report import memory_size, windows_report

from lab.windows import scenarios
from lab.windows.machine import Machine
from llmdesk.words import windows
from tests.unit.test_packaging import COLLECTION
from tests.unit.test_report import desk

PC1: dict[str, Any] = json.loads((Path(__file__).parent / "fixtures" / "windows" / "pc1.json").read_text())
GIB = 1024**3
WANTED = {"desk": "pc1-wsl", "distribution": "ubuntu-24.04"}
# What a script answers on a Windows where every single question failed.
SILENT: dict[str, Any] = dict.fromkeys(PC1)


def report(plan: dict[str, Any] | None = None, **changed: Any) -> dict[str, Any]:
    return windows_report({**PC1, **changed}, plan or {}, WANTED)


def test_a_windows_that_is_right() -> None:
    assert report() == {
        "half": "windows",
        "desk": "pc1-wsl",
        "system": {"name": "Windows 11 专业版", "build": "26100.2314", "architecture": "AMD64"},
        "wsl": {"version": "2.5.10.0", "networking": "mirrored"},
        "distribution": {"name": "Ubuntu-24.04", "version": 2},
        "memory": {"total": 34201067520, "wsl": 16 * GIB, "chosen": True},
        "keep_alive": {"user": "PC1\\王芳", "running": True},
        "gpus": [
            {"name": "Intel(R) UHD Graphics 770", "driver": "31.0.101.4502", "memory": 1073741824, "nvidia": False},
            {"name": "NVIDIA GeForce RTX 4070 Ti", "driver": "566.03", "memory": 12878610432, "nvidia": True},
        ],
        "reboot": {"needed": False, "reasons": []},
        "missing": [],
        "warnings": [],
    }


def test_a_windows_that_has_nothing_yet() -> None:
    bare = report(
        wsl={"msi": None, "store": None, "inbox": True, "distributions": [], "other_users": []},
        wslconfig=None,
        keep_alive=None,
        gpus=[],
    )
    assert bare["wsl"] == {"version": None, "networking": "nat"}
    assert bare["distribution"] == {"name": "ubuntu-24.04", "version": None}
    assert bare["memory"] == {"total": 34201067520, "wsl": 17100533760, "chosen": False}, "half of it, as WSL takes"
    assert (bare["keep_alive"], bare["gpus"]) == (None, [])


@pytest.mark.parametrize("facts", [SILENT, {}])
def test_a_windows_that_answers_no_question_is_still_reported(facts: dict[str, Any]) -> None:
    said = FilterModule().filters()["windows_report"](facts)
    assert (said["half"], said["system"]["name"], said["wsl"]["version"]) == ("windows", "Windows", None)
    assert said["memory"] == {"total": None, "wsl": None, "chosen": False}


def test_the_stores_wsl_has_a_version_too() -> None:
    assert report(wsl={"msi": None, "store": {"version": "2.0.9.0"}})["wsl"]["version"] == "2.0.9.0"


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("12GB", 12 * GIB),
        ("512 mb", 512 * 1024**2),
        ('"8GB"', 8 * GIB),
        ("8G", 8 * GIB),
        ("4294967296", 4 * GIB),
        ("half", None),
        ("50%", None),
    ],
)
def test_sizes_of_wslconfig(text: str, size: int | None) -> None:
    assert memory_size(text) == size
    settings = f"[wsl2]\nmemory={text}\n"
    assert report(wslconfig=settings)["memory"]["wsl"] == (size or 17100533760)


def test_what_is_missing_is_what_the_plan_says() -> None:
    refusal = {"what": "Virtualisation is off in the firmware.", "where": "firmware", "remedy": "Switch it on in BIOS."}
    step = {"do": "distribution", "reason": "PC1\\ann has no distro Ubuntu-24.04"}
    assert report({"steps": [step]})["missing"] == [
        {"name": "wsl", "error": "PC1\\ann has no distro Ubuntu-24.04", "remedy": "Type './llmdesk up'."}
    ]
    assert report({"refusals": [refusal], "steps": [step]})["missing"] == [
        {"name": "firmware", "error": "Virtualisation is off in the firmware", "remedy": "Switch it on in BIOS."}
    ], "a run would come no further"


def test_a_restart_that_the_desk_waits_for_and_one_that_it_does_not() -> None:
    needed = report({"reboot": ["VirtualMachinePlatform was switched on"], "steps": [{"do": "x", "reason": "r"}]})
    assert needed["reboot"] == {"needed": True, "reasons": ["VirtualMachinePlatform was switched on"]}
    assert needed["missing"][0]["remedy"] == "After the restart, type './llmdesk up'."
    pending = report(reboot_pending=["windows update", "file renames"])
    assert pending["reboot"] == {"needed": False, "reasons": ["windows update", "file renames"]}


def test_an_old_driver_is_updated_in_windows() -> None:
    old = [{"name": "NVIDIA GeForce RTX 3060", "driver": "30.0.14.7141", "memory": 0}]
    said = report({"warnings": ["Windows has updates that wait."]}, gpus=old)["warnings"]
    assert said == [
        "Windows has updates that wait.",
        "NVIDIA GeForce RTX 3060 has driver 471.41 in Windows, and Ollama needs 550 or newer: "
        "update NVIDIA's driver in Windows, not in the distro.",
    ]


# --- The PCs of the lab, whose facts have the shape that the role's script gives them ---------------------------------

ROLE = yaml.safe_load((COLLECTION / "roles" / "wsl" / "defaults" / "main.yml").read_text())
WISHES = {
    **{name.replace("wsl_", "", 1): value for name, value in ROLE.items()},
    "port": 3000,
    "user": ROLE["wsl_default_user"],
    "connection": "psrp",
    "own_connection": False,
    "windows": "pc1",
    "host_name": "pc1-wsl",
    "limit": "",
}


def of(scenario: str) -> dict[str, Any]:
    """Return the report of one of the lab's PCs, with the plan that the role makes of it."""
    facts = Machine(scenarios.SCENARIOS[scenario]()).facts("Ubuntu-24.04")
    return windows_report(facts, wsl_plan.plan(facts, WISHES), {"desk": "pc1-wsl", "distribution": "Ubuntu-24.04"})


@pytest.mark.parametrize("scenario", scenarios.SCENARIOS)
def test_every_pc_of_the_lab_comes_on_the_screen(scenario: str) -> None:
    rows = windows(of(scenario))
    assert [name for name, _text in rows][:2] == ["windows", "wsl"]
    assert {name for name, _text in rows} <= {"windows", "wsl", "awake", "gpu", "reboot", "broken", "warning"}
    assert all(text and "None" not in text and "{" not in text for _name, text in rows)
    assert all(len(text) + 11 <= 80 for name, text in rows if name in ("windows", "wsl", "awake", "gpu"))


@pytest.mark.parametrize(
    ("scenario", "name", "words"),
    [
        ("fresh_pc", "broken", "wsl: VirtualMachinePlatform is off. Type './llmdesk up'."),
        ("fresh_pc", "wsl", "none yet"),
        ("no_virtualisation", "broken", "firmware: Virtualisation is off in the firmware"),
        ("no_virtualisation", "broken", "Switch it on in BIOS or UEFI"),
        ("reboot_pending", "reboot", "the desk waits for a restart: VirtualMachinePlatform was switched on"),
        ("other_reboot_pending", "reboot", "Windows waits for a restart: "),
        ("windows_10", "broken", "build 19045"),
        ("windows_10", "broken", ". Update it to Windows 11"),
        ("other_user", "broken", "PC1\\bob"),
        ("with_distribution", "gpu", "NVIDIA GeForce RTX 4070, 12.0 GiB, driver 560.94 in Windows"),
    ],
)
def test_what_is_wrong_with_a_pc_of_the_lab(scenario: str, name: str, words: str) -> None:
    assert any(words in text for row, text in windows(of(scenario)) if row == name), windows(of(scenario))


# --- The distro's own report ----------------------------------------------------------------------------------------

IN_WSL = {
    "wsl": {
        "version": 2,
        "linux_driver": [],
        "distribution": None,
        "profile": None,
        "wslconfig": None,
        "kept_awake": True,
    },
    "gpu": {"state": "ok"},
    "gpu_nodes": {"dxg": True},
    "gpus": [{"vendor": "nvidia", "name": "NVIDIA GeForce RTX 4070 Ti", "driver": "560.94"}],
}


def test_a_distro_names_the_windows_it_was_reached_through_and_warns_where_their_drivers_differ() -> None:
    through = {"host": "pc1", "gpus": PC1["gpus"]}
    said = desk_report(desk(**IN_WSL), {}, "a@b", {}, through)
    assert said["windows_host"] == "pc1"
    assert len(said["warnings"]) == 1
    assert "driver 566.03, and this distro sees 560.94" in said["warnings"][0]
    alone = desk_report(desk(**IN_WSL), {}, "a@b")
    assert (alone["windows_host"], alone["warnings"]) == (None, [])
