# SPDX-License-Identifier: GPL-3.0-or-later
"""What a controller keeps of mirrors: certificates, which desks trust whether or not a run has touched the mirror,
whose turn it is to build for it, and whether it takes what is built.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote


def authority_file(mirror: str) -> Path:
    """Return the file of a mirror's certificate, as the XDG base directory specification places it."""
    state = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state")
    return state / "llmdesk" / "mirrors" / f"{quote(mirror, safe='@+=,')}.pem"


def password_file(mirror: str) -> Path:
    """Return the file of the password by which desks hand built images to a mirror."""
    return authority_file(mirror).with_suffix(".push")


def password(mirror: str) -> str:
    """Return that password, empty where no run has brought one."""
    try:
        return password_file(mirror).read_text(encoding="utf-8").strip() if mirror else ""
    except OSError:
        return ""


def authority(mirror: str) -> str:
    """Return a mirror's certificate in PEM, empty where no run has brought one."""
    try:
        return authority_file(mirror).read_text(encoding="utf-8") if mirror else ""
    except OSError:
        return ""


def build_alone(mirror: str) -> None:
    """Note for the rest of this run that a mirror does not take what is built, so that nobody waits for it."""
    authority_file(mirror).with_suffix(".alone").write_text(str(os.getppid()), encoding="utf-8")


def builds_alone(mirror: str) -> bool:
    """Return whether that was noted in this run, which a worker knows by its parent."""
    try:
        return authority_file(mirror).with_suffix(".alone").read_text(encoding="utf-8") == str(os.getppid())
    except OSError:
        return False


@contextmanager
def turn(mirror: str, tell: Callable[[], None], pause: float = 1.0) -> Iterator[bool]:
    """Be the only one of this controller's workers that builds for a mirror, and say whether another was waited for.

    :param tell: called now and then meanwhile.
    :param pause: seconds between two looks.
    :raises InterruptedError: the run was killed meanwhile.
    """
    file = authority_file(mirror).with_suffix(".turn")
    file.parent.mkdir(parents=True, exist_ok=True)
    # A worker outlives a controller that was killed.
    controller, waited = os.getppid(), False
    with file.open("w") as lock:
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                waited = True
            if os.getppid() != controller:
                raise InterruptedError("The run was killed; run it again to carry on.")
            tell()
            time.sleep(pause)
        yield waited
