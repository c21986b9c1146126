# SPDX-License-Identifier: GPL-3.0-or-later
"""Brings the recipe of the build to the desk, and shows the module's progress while it works.

A build takes minutes and a gigabyte from outside. Where desks share a mirror, one of those that need it builds and
hands it on, and the others wait for that and take it, side by side; should it fail, the next one builds. Where the
mirror does not take what is built, nobody waits any more.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

from ansible_collections.llmdesk.workstation.plugins.plugin_utils.mirrors import build_alone, builds_alone, turn
from ansible_collections.llmdesk.workstation.plugins.plugin_utils.progress import ProgressActionBase, Teller

RECIPE = Path(__file__).parents[2] / "roles" / "open_webui" / "files" / "image"
WAITING = {"item": "image", "completed": None, "unit": "steps", "detail": "another desk builds it"}


class ActionModule(ProgressActionBase):
    """Runs the module of the same name, with the recipes beside it where a source is a build."""

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return the module's result."""
        sources = self._task.args.get("sources") or []
        shared = next((source["shared"] for source in sources if source.get("shared")), "")
        if not shared or self._task.check_mode:
            return super().run(tmp, task_vars)
        teller = Teller((task_vars or {}).get("inventory_hostname", "?"), self._task.get_name())
        while True:
            self._task.args["may_build"] = builds_alone(shared)
            result = super().run(tmp, task_vars)
            if "image" in result or self._task.args["may_build"]:
                return result
            with turn(shared, lambda: teller.tell(WAITING)) as waited:
                if not waited:
                    self._task.args["may_build"] = True
                    result = super().run(tmp, task_vars)
                    if not result.get("handed_on", True):
                        build_alone(shared)
                    return result

    def _more_arguments(self, folder: str) -> dict[str, Any]:
        if not any(source.get("build") for source in self._task.args.get("sources") or []):
            return {}
        with tempfile.TemporaryDirectory() as temporary:
            archive = shutil.make_archive(f"{temporary}/recipe", "gztar", RECIPE.parent)
            remote = self._connection._shell.join_path(folder, "recipe")
            self._transfer_file(archive, remote + ".tar.gz")
        self._low_level_execute_command(f"mkdir {remote} && tar -xzf {remote}.tar.gz -C {remote}")
        return {"recipe": self._connection._shell.join_path(remote, RECIPE.name)}
