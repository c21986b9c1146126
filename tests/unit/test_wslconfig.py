# SPDX-License-Identifier: GPL-3.0-or-later
"""``.wslconfig`` is merged: what a person wrote there stays."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.llmdesk.workstation.plugins.module_utils.wslconfig import merged, setting
from hypothesis import given
from hypothesis import strategies as st

OURS: dict[str, dict[str, Any]] = {"wsl2": {"vmIdleTimeout": -1}, "general": {"instanceIdleTimeout": -1}}


def test_a_file_that_is_not_there_is_made() -> None:
    assert merged(None, OURS) == "[wsl2]\r\nvmIdleTimeout=-1\r\n\r\n[general]\r\ninstanceIdleTimeout=-1\r\n"
    assert merged(None, {}) == ""


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_comments_order_and_unknown_keys_stay(newline: str) -> None:
    before = ["# mine", "[wsl2]", "memory = 8GB # half of it", "madeUp=1", "", "[experimental]", "sparseVhd=true", ""]
    after = [
        "# mine",
        "[wsl2]",
        "memory = 12GB # half of it",
        "madeUp=1",
        "localhostForwarding=true",
        "",
        "[experimental]",
        "sparseVhd=true",
        "",
        "[general]",
        "instanceIdleTimeout=-1",
        "",
    ]
    wanted: dict[str, dict[str, Any]] = {
        "wsl2": {"memory": "12GB", "localhostForwarding": True},
        "general": {"instanceIdleTimeout": -1},
    }
    assert merged(newline.join(before), wanted) == newline.join(after)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("[WSL2]\nMemory=8GB\n", "[WSL2]\nMemory=4GB\n"),  # WSL minds no case
        ("[wsl2]\nmemory=8GB\nmemory=9GB\n", "[wsl2]\nmemory=4GB\nmemory=4GB\n"),
        ("[wsl2]\n#memory=8GB\n", "[wsl2]\n#memory=8GB\nmemory=4GB\n"),
        ("[other]\nmemory=8GB\n", "[other]\nmemory=8GB\n\n[wsl2]\nmemory=4GB\n"),
        ('[wsl2]\nmemory="8 #GB"\n', "[wsl2]\nmemory=4GB\n"),
        ("[wsl2]\nmemory=4GB", "[wsl2]\nmemory=4GB"),
        ("[wsl2]\n\n\n[other]\n", "[wsl2]\nmemory=4GB\n\n\n[other]\n"),
    ],
)
def test_a_key_is_set_where_it_stands(before: str, after: str) -> None:
    assert merged(before, {"wsl2": {"memory": "4GB"}}) == after


def test_a_key_is_taken_away() -> None:
    assert merged("[wsl2]\nmemory=8GB\nswap=0\n", {"wsl2": {"memory": None}}) == "[wsl2]\nswap=0\n"
    assert merged("[wsl2]\nswap=0", {"wsl2": {"memory": None}}) == "[wsl2]\nswap=0"


def test_a_setting_is_read() -> None:
    text = "networkingMode=none\n[wsl2]\nnetworkingmode = Mirrored # yes\n"
    assert setting(text, "wsl2", "networkingMode") == "Mirrored"
    assert setting(text, "wsl2", "memory") is None
    assert setting(None, "wsl2", "memory") is None


LINES = st.lists(
    st.sampled_from(["[wsl2]", "[general]", "[x]", "# a = b", "", "memory=8GB", "vmIdleTimeout = 1 # x", "kernel=C:"])
)


@given(LINES, st.sampled_from(["\n", "\r\n"]))
def test_a_second_time_changes_nothing_and_no_other_line_is_lost(lines: list[str], newline: str) -> None:
    text = newline.join(lines)
    once = merged(text, OURS)
    assert merged(once, OURS) == once
    left = [line for line in once.splitlines() if "Timeout" not in line]
    before = text.splitlines()
    for line in before:
        if "Timeout" not in line:
            assert left.count(line) >= before.count(line)
    assert setting(once, "wsl2", "vmIdleTimeout") == "-1"
