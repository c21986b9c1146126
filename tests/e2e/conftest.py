"""What only the tests with a browser need."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable

import pytest


@pytest.fixture(scope="session")
def chromium(say: Callable[[str], None]) -> None:
    """Chromium, installed where this machine has none."""
    if shutil.which("chromium"):
        return
    say("installing Chromium")
    for command in (["update", "-qq"], ["install", "-y", "-qq", "--no-install-recommends", "chromium"]):
        subprocess.run(["apt-get", *command], check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
