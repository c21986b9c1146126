# SPDX-License-Identifier: GPL-3.0-or-later
"""The certificates of mirrors, kept on the controller: desks trust their mirror whether or not a run has touched it."""

from __future__ import annotations

import os
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
