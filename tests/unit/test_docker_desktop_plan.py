# SPDX-License-Identifier: GPL-3.0-or-later
"""What Docker Desktop needs on a Windows PC, decided over what the PC has answered."""

from __future__ import annotations

import json
from typing import Any

import pytest
from ansible_collections.llmdesk.workstation.plugins.filter.docker_desktop_plan import FilterModule
from ansible_collections.llmdesk.workstation.plugins.module_utils.docker_desktop_plan import (
    NotJson,
    docker_desktop_plan,
    exit_meaning,
    merged,
    misfit,
    packages,
    version,
)

UBUNTU = {"name": "Ubuntu-24.04", "version": 2}
SETTINGS = {"AutoStart": True, "IntegratedWslDistros": ["Ubuntu-24.04"]}
DESKTOP = {
    "version": "4.50.0",
    "location": "C:\\Program Files\\Docker\\Docker",
    "program": True,
    "running": True,
    "settings": json.dumps(SETTINGS),
}


def pc(**changed: Any) -> dict[str, Any]:
    """Return what a PC answers where everything is right, but for what is changed."""
    answer = {
        "system": {"caption": "Microsoft Windows 11 Pro", "product_type": 1, "build": 26100},
        "user": {"name": "PC1\\ann", "elevated": True},
        "console_user": "pc1\\Ann",
        "wsl": {"msi": {"version": "2.6.3.0"}, "store": None, "distributions": [UBUNTU]},
        "docker_desktop": DESKTOP,
    }
    return {**answer, **changed}


def wishes(**changed: Any) -> dict[str, Any]:
    plain = {
        "accept_license": True,
        "distribution": "Ubuntu-24.04",
        "installer": {},
        "autostart": True,
        "settings": {},
        "remove_engine": False,
    }
    return {**plain, **changed}


def desktop(**changed: Any) -> dict[str, Any]:
    return {**DESKTOP, **changed}


def test_nothing_is_done_where_all_is_right() -> None:
    plan = docker_desktop_plan(pc(), wishes())
    assert plan == {
        "act": False,
        "refused": "",
        "steps": [],
        "reason": "",
        "install": False,
        "settings": None,
        "start": False,
    }


@pytest.mark.parametrize(
    ("found", "steps"),
    [
        (None, ["install Docker Desktop", "set it", "start it"]),
        (desktop(version=None, running=False, settings=None), ["install Docker Desktop anew", "set it", "start it"]),
        (desktop(program=False, running=False), ["install Docker Desktop anew", "start it"]),
        (desktop(running=False), ["start it"]),
        (desktop(settings=None), ["stop it and set it", "start it"]),
        (desktop(running=False, settings="{}"), ["set it", "start it"]),
    ],
)
def test_what_is_missing_is_done(found: dict[str, Any] | None, steps: list[str]) -> None:
    plan = docker_desktop_plan(pc(docker_desktop=found), wishes())
    assert [step["do"] for step in plan["steps"]] == steps
    assert (plan["act"], plan["refused"]) == (True, "")
    assert plan["reason"]


def test_an_engine_that_may_be_removed_is_looked_for() -> None:
    assert docker_desktop_plan(pc(), wishes(remove_engine=True))["act"]


@pytest.mark.parametrize(
    ("changed", "wanted", "said"),
    [
        ({}, {"accept_license": False}, "Set docker_desktop_accept_license: true once that is settled"),
        ({}, {"installer": {"url": "https://x/y.exe", "path": "E:\\y.exe"}}, "one of the two alone"),
        ({}, {"installer": {"checksum": "0" * 64}}, "one of the two alone"),
        ({}, {"installer": {"url": "https://x/y.exe", "checksum": "12"}}, "64 hexadecimal digits"),
        ({"docker_desktop": None, "user": {"name": "PC1\\ann", "elevated": False}}, {}, "needs an administrator"),
        (
            {
                "docker_desktop": None,
                "system": {"caption": "Microsoft Windows Server 2025", "product_type": 3, "build": 26100},
            },
            {},
            "does not run on Microsoft Windows Server 2025",
        ),
        (
            {"docker_desktop": None, "system": {"caption": "Windows 11", "product_type": 1, "build": 22621}},
            {},
            "23H2 (build 22631), and this is build 22621",
        ),
        (
            {"docker_desktop": None, "wsl": {"msi": None, "store": None, "distributions": [UBUNTU]}},
            {},
            "WSL 2.1.5 or newer, and this PC has none",
        ),
        (
            {
                "docker_desktop": None,
                "wsl": {"msi": {"version": "2.0.14.0"}, "store": None, "distributions": [UBUNTU]},
            },
            {},
            "this PC has 2.0.14.0",
        ),
        ({"docker_desktop": None}, {"distribution": "Debian"}, "no distribution Debian"),
        (
            {
                "docker_desktop": None,
                "wsl": {"msi": {"version": "2.6.3"}, "store": None, "distributions": [{**UBUNTU, "version": 1}]},
            },
            {},
            "wsl --set-version Ubuntu-24.04 2",
        ),
        ({"docker_desktop": desktop(running=False), "console_user": None}, {}, "nobody is logged on at the screen"),
        ({"docker_desktop": desktop(running=False), "console_user": "PC1\\bob"}, {}, "PC1\\bob is logged on"),
        ({"docker_desktop": desktop(settings="{")}, {}, "settings-store.json is not JSON"),
        ({"docker_desktop": desktop(settings="[]")}, {}, "is not a JSON object"),
    ],
)
def test_what_stands_in_the_way_is_said_with_what_to_do(
    changed: dict[str, Any], wanted: dict[str, Any], said: str
) -> None:
    plan = docker_desktop_plan(pc(**changed), wishes(**wanted))
    assert said in plan["refused"]
    assert plan["act"]


def test_one_that_runs_is_not_refused_for_what_only_an_installation_needs() -> None:
    assert not docker_desktop_plan(pc(console_user=None, user={"name": "PC1\\ann", "elevated": False}), wishes())["act"]


@pytest.mark.parametrize(
    ("before", "wanted", "after"),
    [
        (None, {}, {"IntegratedWslDistros": ["Ubuntu-24.04"], "AutoStart": True}),
        (
            {"IntegratedWslDistros": ["Debian"], "Mine": 1},
            {},
            {"IntegratedWslDistros": ["Debian", "Ubuntu-24.04"], "Mine": 1, "AutoStart": True},
        ),
        (SETTINGS, {"autostart": False}, {**SETTINGS, "AutoStart": False}),
        (SETTINGS, {"settings": {"ProxyHTTPMode": "manual"}}, {**SETTINGS, "ProxyHTTPMode": "manual"}),
        (SETTINGS, {}, None),
        ({"IntegratedWslDistros": ["ubuntu-24.04"], "AutoStart": True}, {}, None),
        ({"IntegratedWslDistros": ["Ubuntu-24.04"]}, {"autostart": False}, None),
    ],
)
def test_settings_are_merged(before: Any, wanted: dict[str, Any], after: Any) -> None:
    text = merged(json.dumps(before) if before is not None else None, wishes(**wanted))
    assert (json.loads(text) if text else text) == after


def test_a_byte_order_mark_goes_and_everything_else_stays() -> None:
    text = merged("\ufeff" + json.dumps({**SETTINGS, "名": "安"}, ensure_ascii=False), wishes())
    assert text is not None
    assert not text.startswith("\ufeff")
    assert json.loads(text) == {**SETTINGS, "名": "安"}


def test_settings_that_are_no_json_are_left_alone() -> None:
    with pytest.raises(NotJson, match="nothing was changed"):
        merged("{,}", wishes())


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (0, ""),
        (3010, ""),
        (1641, ""),
        (3, "another version is installed"),
        (-5, "not run by an administrator"),
        (4294967291, "ended with -5: it was not run by an administrator"),
        (7, "ended with 7. Its log says why: C:\\ProgramData"),
    ],
)
def test_an_exit_code_is_named(code: int, said: str) -> None:
    assert said in exit_meaning(code) if said else exit_meaning(code) == ""


def test_packages_are_read_from_what_dpkg_says() -> None:
    said = "docker-ce: /usr/bin/dockerd\ndocker-ce-cli:amd64: /usr/bin/docker\n"
    assert packages(said) == ["docker-ce", "docker-ce-cli"]
    assert packages("dpkg-query: no path found matching pattern /usr/bin/docker\ndiversion by x from: /usr/bin/y") == []


def test_a_file_that_is_not_the_wanted_one_is_named() -> None:
    assert "no installer" in misfit({"exists": False}, {}, "")
    assert misfit({"exists": True, "checksum": "AB"}, {"checksum": "ab"}, "E:\\x.exe") == ""
    assert misfit({"exists": True, "checksum": "ab"}, {}, "E:\\x.exe") == ""
    assert "sha256 ab" in misfit({"exists": True, "checksum": "ab"}, {"checksum": "cd"}, "E:\\x.exe")


def test_versions_are_numbers() -> None:
    assert version("2.10.0.0") > version("2.6.3.0")


def test_the_tasks_have_them_as_filters() -> None:
    names = ("plan", "exit", "packages", "misfit")
    assert set(FilterModule().filters()) == {f"docker_desktop_{name}" for name in names}
