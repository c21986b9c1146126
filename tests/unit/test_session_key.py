# SPDX-License-Identifier: GPL-3.0-or-later
"""The session key of a container that somebody started by hand, copied by a Docker that locks as the real one."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
import yaml
from jinja2 import Template

from lab.engine import REPOSITORY

ADOPT = REPOSITORY / "collections/ansible_collections/llmdesk/workstation/roles/open_webui/tasks/adopt.yml"
TASK = "Keep its session key, so that nobody is signed out"
NAMES = {"__open_webui_by_hand": "by-hand", "__open_webui_data": "/data"}

# A copy in either direction has the container to itself, the one into it from its beginning on.
DOCKER = """#!/bin/bash
case $2 in
    -) exec 9> lock; flock 9; cat > into; echo "$3" > where ;;
    *) sleep 0.3; exec 9> lock; flock 9; [ -e key ] && cat key ;;
esac
"""


def copies(folder: Path) -> int:
    """Run the task's command and return its exit code."""
    (block,) = (task["block"] for task in yaml.safe_load(ADOPT.read_text()) if "block" in task)
    (task,) = (task for task in block if task["name"] == TASK)
    (folder / "docker").write_text(DOCKER)
    (folder / "docker").chmod(0o755)
    return subprocess.run(
        ["timeout", "10", task["args"]["executable"], "-c", Template(task["ansible.builtin.shell"]).render(NAMES)],
        cwd=folder,
        env={**os.environ, "PATH": f"{folder}{os.pathsep}{os.environ['PATH']}"},
    ).returncode


@pytest.mark.parametrize("key", [b"tar\0of\0a\0key\n" * 1000, None])
def test_a_copy_out_of_a_container_never_waits_for_one_into_it(tmp_path: Path, key: bytes | None) -> None:
    if key:
        (tmp_path / "key").write_bytes(key)
    assert copies(tmp_path) == (0 if key else 1)
    assert (tmp_path / "into").exists() is bool(key)
    if key:
        assert (tmp_path / "into").read_bytes() == key
        assert (tmp_path / "where").read_text() == "by-hand:/data/\n"
