# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether Docker may be restarted, so that it lets go of a port that it holds for no container."""

from __future__ import annotations

from typing import Any

AGAIN = "Then run again; nothing was changed."


def refusal(port: int, owner: str, running: dict[str, dict[str, Any]], live_restore: bool) -> str:
    """Say why Docker may not be restarted for a port; empty where it may.

    :param owner: who started Docker, see :class:`.docker_daemon.Daemon`.
    :param running: the running containers, as :meth:`.docker_daemon.Daemon.containers` returns them.
    :param live_restore: whether containers outlive the daemon.
    """
    holder = next((name for name, one in running.items() if port in one["ports"]), None)
    if holder is not None:
        return f"Port {port} belongs to the container {holder}. Stop it, or choose another port. {AGAIN}"
    held = f"Docker holds port {port} for a container that a power cut ended while it started, and lets go of it when"
    if owner == "nobody":
        return f"{held} Docker is started anew: restart Docker Desktop. {AGAIN}"
    if owner == "stranger":
        return f"{held} it is started anew. Somebody has started it by hand, so it is not stopped here: do so. {AGAIN}"
    ended = [name for name, one in sorted(running.items()) if not one["comes_back"]]
    if ended and not live_restore:
        return (
            f"{held} it is started anew. That would end {', '.join(ended)}, which Docker does not start again. Stop "
            f"what may be stopped, and restart Docker ('sudo systemctl restart docker'). {AGAIN}"
        )
    return ""
