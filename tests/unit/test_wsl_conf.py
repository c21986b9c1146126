# SPDX-License-Identifier: GPL-3.0-or-later
"""What WSL runs when it boots, merged into what it runs already."""

from __future__ import annotations

import pytest
from ansible_collections.llmdesk.workstation.plugins.module_utils.wsl_conf import (
    setting,
    with_boot_command,
    with_setting,
)

OURS = "setsid dockerd &"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", f"[boot]\ncommand = {OURS}\n"),
        ("[user]\ndefault = anna\n", f"[user]\ndefault = anna\n\n[boot]\ncommand = {OURS}\n"),
        (
            "# mine\n[boot]\nsystemd = false\n\n[user]\ndefault = anna\n",
            f"# mine\n[boot]\nsystemd = false\ncommand = {OURS}\n\n[user]\ndefault = anna\n",
        ),
        ('[boot]\ncommand = "service cron start"\n', f"[boot]\ncommand = {OURS} service cron start\n"),
        ("[Boot]\nCommand=\n", f"[Boot]\ncommand = {OURS}\n"),
        ("[other]\ncommand = x\n[boot]\n", f"[other]\ncommand = x\n[boot]\ncommand = {OURS}\n"),
    ],
)
def test_everything_else_stays(before: str, after: str) -> None:
    assert with_boot_command(before, OURS) == after
    assert with_boot_command(after, OURS) == after


@pytest.mark.parametrize(
    "command", ["service docker start", "/etc/init.d/docker start", "setsid dockerd &", '"service cron start; dockerd"']
)
def test_one_that_starts_docker_already_is_left_alone(command: str) -> None:
    text = f"[boot]\ncommand = {command}"
    assert with_boot_command(text, OURS) == text


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", "[boot]\nsystemd=true\n"),
        ("# mine\n[boot]\nsystemd = false\ncommand = x\n", "# mine\n[boot]\nsystemd=true\ncommand = x\n"),
        ("[boot]\ncommand = x\n\n[user]\ndefault = a\n", "[boot]\ncommand = x\nsystemd=true\n\n[user]\ndefault = a\n"),
        ("[Boot]\nSystemd = True", "[Boot]\nSystemd = True"),
        ("[user]\nsystemd=false\n", "[user]\nsystemd=false\n\n[boot]\nsystemd=true\n"),
    ],
)
def test_a_key_is_set_and_everything_else_stays(before: str, after: str) -> None:
    assert with_setting(before, "boot", "systemd", "true") == after
    assert with_setting(after, "boot", "systemd", "true") == after
    assert setting(after, "boot", "systemd").lower() == "true"


def test_a_key_is_read_from_its_section() -> None:
    assert setting('default=x\n[user]\ndefault = "anna"\n', "user", "default") == "anna"
    assert setting("[boot]\ndefault=x\n", "user", "default") == ""
