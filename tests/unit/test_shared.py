# SPDX-License-Identifier: GPL-3.0-or-later
"""What the processes of a run of tests share: one begins it, all use it at once, the last ends it."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

from tests.conftest import shared


def test_two_use_it_at_once_and_the_last_ends_it(tmp_path: Path) -> None:
    said: list[str] = []

    def use() -> ExitStack:
        """Use it as a process of its own would: a lock belongs to the file that was opened, and each opens it."""
        stack = ExitStack()
        stack.enter_context(shared(tmp_path / "docker", lambda: said.append("begin"), lambda: said.append("end")))
        return stack

    first, second = use(), use()
    assert said == ["begin", "begin"]
    first.close()
    assert said == ["begin", "begin"]
    second.close()
    assert said == ["begin", "begin", "end"]
