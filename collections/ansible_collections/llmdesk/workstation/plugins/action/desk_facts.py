# SPDX-License-Identifier: GPL-3.0-or-later
"""Asks a desk, or hands on the answer that it has given already."""

from __future__ import annotations

from typing import Any

from ansible.plugins.action import ActionBase


class ActionModule(ActionBase):  # type: ignore[misc]
    """Runs the module of the same name where there is no answer yet.

    A condition could not do that: a task that is skipped registers its skipping, and the answer would be gone. An
    include could, and would cost every desk a process of the controller's.
    """

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return what the module says, or what it has said."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        options = self._task.args
        answer = options.pop("answer", None)
        self._task.args = {**options.pop("question", {}), **options}
        asked: dict[str, Any] = answer or self._execute_module(task_vars=task_vars, wrap_async=self._task.async_val)
        return {**result, **asked}
