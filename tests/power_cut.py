# SPDX-License-Identifier: GPL-3.0-or-later
"""The moment of a container's start in which a power cut leaves Docker with a port that it holds for nobody."""

from __future__ import annotations

from docker.models.containers import Container

from lab import desk

HELD = "/root/held"
"""This file says that the moment has come."""


def await_start(machine: Container, port: int) -> None:
    """Let the next start of a container that publishes a port stand still, once, where :data:`HELD` appears.

    Docker has given the container its port then, and has not yet noted that it runs. Its runc is what is slow.
    """
    script = f"""#!/bin/sh
if [ ! -e {HELD} ] && pgrep -f '[d]ocker-proxy.* {port}' > /dev/null; then
    touch {HELD}
    sleep 600
fi
exec /usr/sbin/runc "$@"
"""
    desk.put(machine, "/usr/local/sbin/runc", script.encode(), 0o755)
