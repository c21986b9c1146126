# SPDX-License-Identifier: GPL-3.0-or-later
"""The models that are known by name, as the role ollama_models lists them."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

FILE = Path(__file__).resolve().parents[2] / "roles" / "ollama_models" / "files" / "model_catalog.yml"


@lru_cache(maxsize=1)
def catalogue() -> list[dict[str, Any]]:
    """Return the entries of the catalogue."""
    entries: list[dict[str, Any]] = yaml.load(FILE.read_text(), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    return entries
