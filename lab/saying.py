# SPDX-License-Identifier: GPL-3.0-or-later
"""A sign of life while something takes long."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

PAUSE = 10.0
"""Seconds between two lines about the same thing."""


@contextmanager
def saying(say: Callable[[str], None], what: str, pause: float = PAUSE) -> Iterator[None]:
    """Say what is done, and again how long it has taken, until it is done.

    :param say: called with a line, in a thread of its own after the first.
    :param pause: seconds between two lines.
    """
    began = time.monotonic()
    done = threading.Event()

    def repeat() -> None:
        while not done.wait(pause):
            say(f"{what}: {time.monotonic() - began:.0f} s")

    say(what)
    thread = threading.Thread(target=repeat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
