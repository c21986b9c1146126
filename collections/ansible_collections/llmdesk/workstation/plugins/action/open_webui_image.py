# SPDX-License-Identifier: GPL-3.0-or-later
"""Brings the recipe of the build to the desk, and shows the module's progress while it works."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

from ansible_collections.llmdesk.workstation.plugins.plugin_utils.progress import ProgressActionBase

RECIPE = Path(__file__).parents[2] / "roles" / "open_webui" / "files" / "image"


class ActionModule(ProgressActionBase):
    """Runs the module of the same name, with the recipes beside it where a source is a build."""

    def _more_arguments(self, folder: str) -> dict[str, Any]:
        if not any(source.get("build") for source in self._task.args.get("sources") or []):
            return {}
        with tempfile.TemporaryDirectory() as temporary:
            archive = shutil.make_archive(f"{temporary}/recipe", "gztar", RECIPE.parent)
            remote = self._connection._shell.join_path(folder, "recipe")
            self._transfer_file(archive, remote + ".tar.gz")
        self._low_level_execute_command(f"mkdir {remote} && tar -xzf {remote}.tar.gz -C {remote}")
        return {"recipe": self._connection._shell.join_path(remote, RECIPE.name)}
