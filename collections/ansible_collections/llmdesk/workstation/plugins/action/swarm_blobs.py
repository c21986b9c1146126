# SPDX-License-Identifier: GPL-3.0-or-later
"""Shows the progress of M(llmdesk.workstation.swarm_blobs) while it works."""

from __future__ import annotations

from ansible_collections.llmdesk.workstation.plugins.plugin_utils.progress import ProgressActionBase


class ActionModule(ProgressActionBase):
    """Runs the module of the same name and shows its progress."""
