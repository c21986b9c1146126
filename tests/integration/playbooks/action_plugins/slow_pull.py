# SPDX-License-Identifier: GPL-3.0-or-later
"""Pretends to pull a model, with the lines that the collection's action plugins print."""

from __future__ import annotations

import json
import time
from typing import Any

from ansible.plugins.action import ActionBase
from ansible.utils.display import Display

TOTAL = 98_362_432


class ActionModule(ActionBase):  # type: ignore[misc]
    """Prints a line every ``seconds`` / ``steps``."""

    def run(self, tmp: Any = None, task_vars: Any = None) -> dict[str, Any]:
        """Return as a module would that changed something."""
        seconds = float(self._task.args["seconds"])
        steps = int(self._task.args.get("steps", 4))
        for step in range(steps + 1):
            line = {
                "host": task_vars["inventory_hostname"],
                "task": "slow_pull",
                "item": "smollm2:135m",
                "completed": TOTAL * step // steps,
                "total": TOTAL,
                "unit": "bytes",
                "detail": "pulling b179c9523d0e",
                "elapsed": seconds * step / steps,
            }
            Display().display(f"llmdesk-progress {json.dumps(line)}")
            time.sleep(seconds / steps)
        return {"changed": True}
