# SPDX-License-Identifier: GPL-3.0-or-later
"""The Python packages that llmdesk is made of, for other machines than this one: what the launcher installs there.

By pip, which holds what is there already to the index's sha256 and fetches only the rest.
"""

from __future__ import annotations

import importlib
import os
import platform
import re
import sys
from collections.abc import Callable, Sequence

from ansible_collections.llmdesk.workstation.plugins.module_utils import bundle, demo_model, program

# Of every glibc up to that of the oldest system: what was built for one runs on every newer one.
PLATFORMS = [*(f"manylinux_2_{number}" for number in range(35, 4, -1)), "manylinux2014", "manylinux1"]
MACHINES = {architecture: machine for machine, architecture in bundle.ARCHITECTURES.items()}


class NotFetched(Exception):
    """The packages were not to be had; the text is a sentence."""


def fetch(folder: str, project: str, systems: Sequence[str], tell: Callable[[str, str], None]) -> set[str]:
    """Let a folder have the packages for this machine's Python and for that of every system, and return their files.

    :param project: the checkout of llmdesk, which says what it needs.
    :param systems: such as ``debian-13-amd64``.
    :param tell: called while pip works, with what it brings and how far that is.
    :raises NotFetched: they were not to be had.
    """
    found: set[str] = set()
    needed = _requirements(project)
    wanted = {(".".join(platform.python_version_tuple()[:2]), bundle.machine())}
    for system in systems:
        name, _dash, architecture = system.rpartition("-")
        wanted.add((bundle.SYSTEMS[name][1], architecture))
    for version, architecture in sorted(wanted):
        platforms = [f"{name}_{MACHINES.get(architecture, architecture)}" for name in PLATFORMS]
        command = [sys.executable, "-m", "pip", "download", "--disable-pip-version-check", "--no-input"]
        command += ["--dest", folder, "--only-binary", ":all:", "--implementation", "cp"]
        command += ["--python-version", version, *(word for name in platforms for word in ("--platform", name))]
        command += ["--constraint", os.path.join(project, "constraints.txt"), *needed]
        item = f"Python packages for {version}"
        said = _run(command, item, lambda item=item: tell(item, _far(folder)))  # type: ignore[misc]
        found.update(re.findall(r"([\w.+-]+\.whl)\b", said))
    return {name for name in found if os.path.exists(os.path.join(folder, name))}


def _requirements(project: str) -> list[str]:
    tomllib = importlib.import_module("tomllib")  # The launcher's Python has it, which this runs under.
    with open(os.path.join(project, "pyproject.toml"), "rb") as file:
        said = tomllib.load(file)
    return [*said["build-system"]["requires"], *said["project"]["dependencies"]]


def _run(command: list[str], item: str, tell: Callable[[], None]) -> str:
    environment = dict(os.environ)
    if os.path.exists(demo_model.SYSTEM_BUNDLE):
        environment.setdefault("PIP_CERT", demo_model.SYSTEM_BUNDLE)
    try:
        return program.run(command, tell, environment)
    except program.ProgramFailed as failed:
        said = program.first_error(str(failed), ("ERROR",))
        raise NotFetched(f"pip does not bring the {item}: {said}. The same command carries on.") from failed


def _far(folder: str) -> str:
    return f"{len(os.listdir(folder)) if os.path.isdir(folder) else 0} files"
