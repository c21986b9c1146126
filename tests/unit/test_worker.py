# SPDX-License-Identifier: GPL-3.0-or-later
"""What is sent to a worker: the paths of a play as they hold there, and what opens a vault without its file."""

from __future__ import annotations

from pathlib import Path

import pytest

from llmdesk import worker
from llmdesk.run import Play


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout with little in it."""
    folder = tmp_path / "checkout"
    for name in (
        "collections/c/__pycache__/x.pyc",
        "collections/c/m.py",
        "inventory/room.yml",
        "ansible.cfg",
        "site.yml",
    ):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("")
    (folder / "secret.txt").write_text("not for others")
    monkeypatch.setattr(worker, "REPOSITORY", folder)
    return folder


def packed(play: Play, folder: Path) -> Play:
    folder.mkdir()
    return worker._pack(play, folder)


def test_only_what_a_run_needs_is_sent(checkout: Path, tmp_path: Path) -> None:
    packed(Play("site.yml"), tmp_path / "sent")
    sent = {str(path.relative_to(tmp_path / "sent")) for path in (tmp_path / "sent").rglob("*") if path.is_file()}
    project = {"ansible.cfg", "site.yml", "collections/c/m.py", "inventory/room.yml"}
    assert sent == {"env/settings", *(f"project/{name}" for name in project)}


def test_an_inventory_of_the_checkout_keeps_its_place(checkout: Path, tmp_path: Path) -> None:
    play = Play("site.yml", inventory=(str(checkout / "inventory" / "room.yml"), "desk1,desk2,"))
    assert packed(play, tmp_path / "sent").inventory == ("inventory/room.yml", "desk1,desk2,")


def test_an_inventory_from_elsewhere_comes_along_with_its_variables(checkout: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    (elsewhere / "group_vars").mkdir(parents=True)
    (elsewhere / "group_vars" / "desks.yml").write_text("port: 1")
    (elsewhere / "room.yml").write_text("desks:")
    (elsewhere / "diary.txt").write_text("not for others")
    (path,) = packed(Play("site.yml", inventory=(str(elsewhere / "room.yml"),)), tmp_path / "sent").inventory
    found = tmp_path / "sent" / "project" / path
    assert found.read_text() == "desks:"
    assert {one.name for one in found.parent.iterdir()} == {"room.yml", "group_vars"}


def test_a_file_of_variables_comes_along(checkout: Path, tmp_path: Path) -> None:
    (tmp_path / "more.yml").write_text("a: 1")
    play = packed(Play("site.yml", extra_vars=("b=2", f"@{tmp_path / 'more.yml'}")), tmp_path / "sent")
    assert play.extra_vars[0] == "b=2"
    assert (tmp_path / "sent" / "project" / play.extra_vars[1].removeprefix("@")).read_text() == "a: 1"


def test_the_password_of_a_vault_is_read_here(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text("secret\n")
    assert worker._password(file) == "secret"
    file.write_text("#!/bin/sh\necho printed\n")
    file.chmod(0o700)
    assert worker._password(file) == "printed"
