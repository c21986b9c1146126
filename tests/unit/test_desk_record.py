# SPDX-License-Identifier: GPL-3.0-or-later
"""The module desk_record, as Ansible starts it: arguments on standard input."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from lab.engine import REPOSITORY

MODULE = REPOSITORY / "collections/ansible_collections/llmdesk/workstation/plugins/modules/desk_record.py"


def keep(folder: Path, content: Any, check: bool = False) -> dict[str, Any]:
    arguments = {"name": "image", "content": content, "state_dir": str(folder), "_ansible_check_mode": check}
    ended = subprocess.run(
        [sys.executable, MODULE],
        input=json.dumps({"ANSIBLE_MODULE_ARGS": arguments}),
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY / "collections")},
    )
    result: dict[str, Any] = json.loads(ended.stdout)
    return result


def test_a_note_is_kept_once(tmp_path: Path) -> None:
    folder = tmp_path / "lib" / "llmdesk"
    first = keep(folder, {"digest": "a", "wanted": ["x", "Zürich"]})
    path = folder / "image.json"
    assert (first["changed"], first["path"]) == (True, str(path))
    assert json.loads(path.read_text()) == {"digest": "a", "wanted": ["x", "Zürich"]}
    assert path.stat().st_mode & 0o777 == 0o644
    assert keep(folder, {"wanted": ["x", "Zürich"], "digest": "a"})["changed"] is False
    assert [entry.name for entry in folder.iterdir()] == ["image.json"]


def test_check_mode_shows_the_difference_and_writes_nothing(tmp_path: Path) -> None:
    keep(tmp_path, {"digest": "a"})
    would = keep(tmp_path, {"digest": "b"}, check=True)
    assert (would["changed"], '"a"' in would["diff"]["before"], '"b"' in would["diff"]["after"]) == (True,) * 3
    assert json.loads((tmp_path / "image.json").read_text()) == {"digest": "a"}


@pytest.mark.parametrize("content", ["text", None])
def test_what_is_no_note_is_refused(tmp_path: Path, content: Any) -> None:
    assert keep(tmp_path, content)["failed"] is True


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    failed = keep(tmp_path / "file", {})
    assert failed["msg"] == f"The note {tmp_path}/file/image.json could not be kept: Not a directory."
