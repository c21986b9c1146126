# SPDX-License-Identifier: GPL-3.0-or-later
"""Files that are never half written, and that only their owner can read where they hold secrets."""

from __future__ import annotations

import os
import tempfile


def read_whole(path: str) -> str | None:
    """Return the text of a file, None where there is none."""
    try:
        with open(path, encoding="utf-8") as file:
            return file.read()
    except FileNotFoundError:
        return None


def is_private(path: str, text: str) -> bool:
    """Return whether a file holds a text and only its owner can read it."""
    return read_whole(path) == text and not os.stat(path).st_mode & 0o077


def write_whole(path: str, text: str, private: bool = True) -> None:
    """Keep a text in a file; the old text stays until the new one is complete. Its folder is made where it is missing.

    :param private: false for a file, and a folder, that everybody may read.
    """
    folder = os.path.dirname(path)
    os.makedirs(folder, mode=0o700 if private else 0o755, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=folder)  # mkstemp makes it 0600
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
            os.fchmod(file.fileno(), 0o600 if private else 0o644)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
