# SPDX-License-Identifier: GPL-3.0-or-later
"""Asks a desk, or hands on the answer that it has given already, and says what follows from it."""

from __future__ import annotations

from typing import Any

from ansible.errors import AnsibleError
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display

display = Display()


class ActionModule(ActionBase):  # type: ignore[misc]
    """Runs the module of the same name where there is no answer yet.

    A condition could not do that: a task that is skipped registers its skipping, and the answer would be gone. An
    include could, and would cost every desk a process of the controller's, as a task of its own would that draws the
    conclusions.
    """

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return what the module says, or what it has said, and the last of the conclusions."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        options = self._task.args
        answer = options.pop("answer", None)
        conclude = options.pop("conclude", [])
        self._task.args = {**options.pop("question", {}), **options}
        asked: dict[str, Any] = answer or self._execute_module(task_vars=task_vars, wrap_async=self._task.async_val)
        if "desk" in asked:
            asked = {**asked, **self._concluded(conclude, {**(task_vars or {}), "desk_state": asked})}
        return {**result, **asked}

    def _concluded(self, names: list[str], known: dict[str, Any]) -> dict[str, Any]:
        """Return the value of the last variable, each evaluated with the values of those before it.

        Nothing where a variable is none that can be evaluated: the roles behind check all of them first, and say what
        is wrong in words.
        """
        # One environment for all of them: a new one would look for every filter anew.
        templar = self._templar.copy_with_new_env(available_variables=known)
        try:
            for name in names:
                known[name] = templar.template(known[name])
        except AnsibleError as error:
            display.vv(f"{known['inventory_hostname']}: nothing is concluded, the roles look for themselves: {error}")
            return {}
        return known[names[-1]] if names else {}
