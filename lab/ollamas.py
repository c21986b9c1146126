# SPDX-License-Identifier: GPL-3.0-or-later
"""Ollama as it was, and as it is on the day, beside the one of a desk."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ansible_collections.llmdesk.workstation.plugins.module_utils.image_build import versions

from lab import golang
from lab.image import RECIPE

MODULE = "github.com/ollama/ollama"
OLD = "0.11.4"
"""The last version that Go's module proxy gives whole, with an engine of its own."""


def program(version: str, say: Callable[[str], None]) -> Path:
    """Return the program, made at the first call (minutes); the image of a desk has all it needs to run.

    :param say: called with a line before anything that takes long.
    :raises RuntimeError: it could not be made.
    """
    link = f"-s -w -X={MODULE}/version.Version={version}"
    return golang.program("ollama", f"{MODULE}@v{version}", link, say, with_c=True)


def newest(say: Callable[[str], None]) -> str:
    """Return the newest version that is to be had today; that of a desk where there is none, or nobody to ask."""
    return golang.newest(MODULE, versions(str(RECIPE))["OLLAMA"], say)
