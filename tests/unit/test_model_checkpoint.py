# SPDX-License-Identifier: GPL-3.0-or-later
"""A pull over a line that resets every connection ends, though a reset takes back all that its connection brought."""

from __future__ import annotations

import pytest
from ansible_collections.llmdesk.workstation.plugins.module_utils.model_checkpoint import Checkpoints


def pulls(total: int, reset_after: int, step: int, most: int = 1000) -> int:
    """Return how many pulls it takes; Ollama keeps what it has when its client leaves, and nothing after a reset."""
    checkpoints, kept = Checkpoints(), 0
    for count in range(1, most):
        checkpoints.begin()
        completed, brought = kept, 0
        while completed < total:
            if checkpoints.due("ab", completed, total):
                kept = completed
                break
            completed, brought = completed + step, brought + step
            if brought > reset_after:
                completed, brought = kept, 0
        else:
            return count
    raise AssertionError("it never ends")


def test_a_line_that_holds_needs_one_pull() -> None:
    assert pulls(total=100, reset_after=1000, step=1) == 1


@pytest.mark.parametrize("reset_after", [3, 10, 33, 50])
def test_a_brittle_line_ends_too(reset_after: int) -> None:
    assert pulls(total=100, reset_after=reset_after, step=1) <= 2 + 2 * 100 / (reset_after - 1)


def test_what_was_there_before_is_no_reason_to_leave() -> None:
    checkpoints = Checkpoints()
    assert [checkpoints.due("ab", done, 100) for done in (50, 10)] == [False, False]  # it took back 40
    checkpoints.begin()
    assert checkpoints.due("cd", 90, 90) is False  # another blob that is whole
    assert checkpoints.due("ab", 60, 100) is False  # carried on from
    assert [checkpoints.due("ab", done, 100) for done in (70, 80, 81, 100)] == [False, False, True, False]
