# SPDX-License-Identifier: GPL-3.0-or-later
"""How a long module tells what it does, and how it learns that nobody listens any more.

A module cannot print. The action plugin beside it gives it a file, reads that file while the module works, and touches
a second one, the lease. When the lease grows old, the controller is gone (Ctrl-C, a closed lid), and the module stops
in order; what it has fetched so far stays for the next run.
"""

from __future__ import annotations

import json
import os
import time

INTERVAL = 0.5


class Cancelled(Exception):
    """Nobody waits for this module any more."""


class Progress:
    """The file that the action plugin reads.

    :param path: where to write; None where the module runs without its action plugin, and nothing is written.
    :param lease: seconds that the controller may be silent.
    """

    def __init__(self, path: str | None, lease: float = 60.0) -> None:
        self._path = path
        self._lease = lease
        self._written = 0.0
        self.lan = False
        """Whether what comes is the LAN's, from a mirror or other desks, and costs the line to the outside nothing."""

    def report(
        self, item: str, completed: int | None = None, total: int | None = None, unit: str = "bytes", detail: str = ""
    ) -> None:
        """Say what is being done; called as often as one likes.

        :param unit: of ``completed`` and ``total``: ``bytes`` or ``steps``.
        :raises Cancelled: nobody listens any more.
        """
        if self._path is None or time.monotonic() - self._written < INTERVAL:
            return
        self._written = time.monotonic()
        try:
            silent = time.time() - os.stat(self._path + ".lease").st_mtime
        except FileNotFoundError:
            silent = self._lease + 1
        if silent > self._lease:
            raise Cancelled("the run was cancelled; run it again to carry on")
        told = {"item": item, "completed": completed, "total": total, "unit": unit, "detail": detail, "lan": self.lan}
        with open(self._path + ".new", "w", encoding="utf-8") as file:
            json.dump(told, file)
        os.replace(self._path + ".new", self._path)
