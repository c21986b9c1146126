# SPDX-License-Identifier: GPL-3.0-or-later
"""Desks that share a mirror and need the same build: one builds, the others wait and take it."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible_collections.llmdesk.workstation.plugins.action import open_webui_image
from ansible_collections.llmdesk.workstation.plugins.plugin_utils.progress import ProgressActionBase

SHARED = [{"build": True, "shared": "mirror:5445"}]


class Room:
    """What three desks do that begin together; ``breaks`` says how many builds fail."""

    def __init__(self, breaks: int) -> None:
        self.breaks = breaks
        self.builders: list[str] = []
        self.waiting: set[str] = set()
        self.built = False
        self.in_turn = 0
        self.all_wait = threading.Event()

    def module(self, action: Any, _tmp: Any, task_vars: dict[str, Any]) -> dict[str, Any]:
        """Do what the module does: it takes what is built; a build lasts until all others have seen that they wait."""
        if self.built:
            self.in_turn += action._task.args["may_build"]
            return {"image": {}}
        if not action._task.args["may_build"]:
            return {"failed": True}
        self.builders.append(task_vars["inventory_hostname"])
        assert self.all_wait.wait(10)
        if len(self.builders) <= self.breaks:
            return {"failed": True, "msg": "the build failed"}
        self.built = True
        return {"image": {}}

    def desk(self, name: str, sources: list[dict[str, Any]]) -> dict[str, Any]:
        """Bring the image to a desk."""
        action = object.__new__(open_webui_image.ActionModule)
        arguments = {"sources": sources, "may_build": True}
        action._task = SimpleNamespace(args=arguments, check_mode=False, get_name=lambda: "Resolve")
        return action.run(None, {"inventory_hostname": name})

    def teller(self, host: str, _task: str) -> Any:
        """Return what tells a person that a desk waits."""

        def tell(report: dict[str, Any]) -> None:
            assert report["detail"] == "another desk builds it"
            self.waiting.add(host)
            if len(self.waiting) == 2:
                self.all_wait.set()

        return SimpleNamespace(tell=tell)


@pytest.mark.parametrize("breaks", [0, 1])
def test_one_desk_builds_and_the_others_take_it(breaks: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    room = Room(breaks)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.setattr(ProgressActionBase, "run", lambda *arguments: room.module(*arguments))
    monkeypatch.setattr(open_webui_image, "Teller", room.teller)
    with ThreadPoolExecutor(3) as pool:
        results = list(pool.map(lambda name: room.desk(name, SHARED), ("desk1", "desk2", "desk3")))
    assert len(room.builders) == 1 + breaks
    assert sum("image" in result for result in results) == 3 - breaks
    assert breaks or not room.in_turn, "they take it side by side"


def test_a_mirror_that_does_not_take_it_keeps_nobody_waiting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    room = Room(0)
    at_once = threading.Barrier(2)

    def module(action: Any, tmp: Any, task_vars: dict[str, Any]) -> dict[str, Any]:
        if room.builders and action._task.args["may_build"]:
            at_once.wait(10)
        result = room.module(action, tmp, task_vars)
        room.built = False
        return {**result, "handed_on": False}

    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.setattr(ProgressActionBase, "run", module)
    monkeypatch.setattr(open_webui_image, "Teller", room.teller)
    with ThreadPoolExecutor(3) as pool:
        results = list(pool.map(lambda name: room.desk(name, SHARED), ("desk1", "desk2", "desk3")))
    assert all("image" in result for result in results)
    assert sorted(room.builders) == ["desk1", "desk2", "desk3"]


def test_a_desk_without_a_mirror_waits_for_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    room = Room(0)
    room.all_wait.set()
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.setattr(ProgressActionBase, "run", lambda *arguments: room.module(*arguments))
    assert "image" in room.desk("desk1", [{"build": True}])
    assert list(tmp_path.iterdir()) == []
