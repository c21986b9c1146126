"""Where the lab keeps what takes long to make."""

from __future__ import annotations

import os
from pathlib import Path


def folder(*names: str) -> Path:
    """Return a folder inside the user's cache, made where it is missing.

    ``LLMDESK_CACHE`` names the cache outright; otherwise it is ``llmdesk`` in the user's cache folder (XDG).
    """
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    path = Path(os.environ.get("LLMDESK_CACHE") or Path(base) / "llmdesk", *names)
    path.mkdir(parents=True, exist_ok=True)
    return path
