# SPDX-License-Identifier: GPL-3.0-or-later
"""Files that hold secrets: for their owner alone, and never half written."""

from __future__ import annotations

import os
import tempfile


def read_private(path: str) -> str | None:
    """Return the text of a file, None where there is none."""
    try:
        with open(path, encoding="utf-8") as file:
            return file.read()
    except FileNotFoundError:
        return None


def is_kept(path: str, text: str) -> bool:
    """Return whether a file holds a text and only its owner can read it."""
    return read_private(path) == text and not os.stat(path).st_mode & 0o077


def write_private(path: str, text: str) -> None:
    """Keep a text in a file that only its owner can read; the old text stays until the new one is complete."""
    folder = os.path.dirname(path)
    os.makedirs(folder, mode=0o700, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=folder)  # mkstemp makes it 0600
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
