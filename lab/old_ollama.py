# SPDX-License-Identifier: GPL-3.0-or-later
"""Ollama as it was: the last version that Go's module proxy gives whole, with an engine of its own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from lab import golang

VERSION = "0.11.4"


def program(say: Callable[[str], None]) -> Path:
    """Return the program, made at the first call (about four minutes); the image of a desk has all it needs to run.

    :param say: called with a line before anything that takes long.
    """
    link = f"-s -w -X=github.com/ollama/ollama/version.Version={VERSION}"
    return golang.program("ollama", f"github.com/ollama/ollama@v{VERSION}", link, say, with_c=True)
