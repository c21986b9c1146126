"""The image of a desk, built on this machine by the project's own recipe."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable
from pathlib import Path

from ansible_collections.llmdesk.workstation.plugins.module_utils.image_build import (
    Build,
    BuildFailed,
    cpu_flags,
    desk_cpu_flags,
)

from lab import cache
from lab.engine import REPOSITORY

RECIPE = REPOSITORY / "collections/ansible_collections/llmdesk/workstation/roles/open_webui/files/image"
PAUSE = 15.0
"""Seconds between two lines about the same build."""


def image(say: Callable[[str], None], engine: str = "cpu") -> str:
    """Return the tag of the image, made where this Docker has none and the cache has no archive.

    :param engine: what it computes on, ``cpu`` or ``vulkan``.
    :param say: called with a line now and then: from nothing it takes minutes.
    :raises RuntimeError: it could not be built.
    """
    said = [0.0]

    def tell(completed: int | None, total: int | None, detail: str) -> None:
        now = time.monotonic()
        if now - said[0] >= PAUSE:
            said[0] = now
            say(f"image: {f'{completed} of {total}, ' if total else ''}{detail}")

    chosen = cpu_flags(desk_cpu_flags(Path("/proc/cpuinfo").read_text()), platform.machine())
    try:
        return Build(str(RECIPE), str(cache.folder("desk")), chosen, tell, engine).image()
    except BuildFailed as error:
        raise RuntimeError(str(error)) from error
