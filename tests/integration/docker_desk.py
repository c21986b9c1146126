# SPDX-License-Identifier: GPL-3.0-or-later
"""A desk with a Docker of its own, and modules of the collection that run there."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path
from typing import Any

import ansible
from docker.models.containers import Container

from lab import desk
from lab.engine import REPOSITORY

MODULES = "ansible_collections/llmdesk/workstation/plugins/modules"
# What a container is made of where no registry is: the desk's own busy program.
ROOT = "cd / && tar -c --ignore-failed-read bin/sleep lib lib64 usr/bin/sleep usr/lib64 usr/lib/*-linux-gnu/libc.so* \
usr/lib/*-linux-gnu/ld-* 2>/dev/null | docker import - sleeper"


class DockerDesk:
    """A desk with a Docker that has the image ``sleeper``, and with everything that a module imports.

    :param container: the desk.
    """

    def __init__(self, container: Container) -> None:
        self.container = container
        self._bring()
        self.does(ROOT)

    def _bring(self) -> None:
        """Bring the modules and what they import, as Ansible would."""
        utils = Path(ansible.__file__).parent / "module_utils"
        ours = REPOSITORY / "collections" / "ansible_collections"
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w") as archive:
            archive.addfile(tarfile.TarInfo("srv/ansible/__init__.py"))
            for name, source in (("ansible/module_utils", utils), ("ansible_collections", ours)):
                for path in source.rglob("*.py"):
                    archive.add(path, f"srv/{name}/{path.relative_to(source)}")
        self.container.put_archive("/", buffer.getvalue())

    def does(self, command: str) -> str:
        """Run a command and return what it printed."""
        return desk.run(self.container, command)

    def tries(self, command: str) -> str:
        """Run a command that may fail, and return what it printed."""
        output = self.container.exec_run(["sh", "-c", command]).output
        assert isinstance(output, bytes)
        return output.decode().strip()

    def runs(self, module: str, **arguments: Any) -> dict[str, Any]:
        """Run a module and return its result."""
        desk.put(self.container, "/root/arguments", json.dumps({"ANSIBLE_MODULE_ARGS": arguments}).encode())
        command = f"PYTHONPATH=/srv python3 /srv/{MODULES}/{module}.py < /root/arguments"
        # A module that fails says so in its result.
        said = self.tries(command)
        assert said.startswith("{"), said
        result: dict[str, Any] = json.loads(said)
        return result
