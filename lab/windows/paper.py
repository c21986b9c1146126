"""A distro that is only written down: a few files, a few users, and the few commands that the role asks of it.

Where a test needs more, a container is the distro.
"""

from __future__ import annotations

from typing import Any

from lab.windows import docker_desktop
from lab.windows.machine import Machine
from lab.windows.wsl import Printed


def run(machine: Machine, distribution: dict[str, Any], user: str, command: list[str]) -> Printed:
    """Run one of the commands; 127 for another, as a shell says."""
    files, users = distribution["files"], distribution["users"]
    match command:
        case ["true" | "/bin/true" | "/usr/bin/true"]:
            return Printed(0)
        case ["cat" | "/bin/cat" | "/usr/bin/cat", path]:
            if path not in files:
                return Printed(1, b"", f"cat: {path}: No such file or directory\n".encode())
            return Printed(0, files[path].encode())
        case ["dpkg-query", "--search", *paths]:
            # A program's text here is the package that it came with.
            found = "".join(f"{files[path]}: {path}\n" for path in paths if path in files)
            return Printed(int(not all(path in files for path in paths)), found.encode())
        case ["apt-get", "remove", "--yes", *packages]:
            left = {path: text for path, text in files.items() if text not in packages}
            machine.change(f"remove {' '.join(packages)}", lambda: distribution.update(files=left))
            return Printed(0)
        case ["docker", "version"]:
            return Printed(0 if "/usr/bin/dockerd" in files or docker_desktop.serves(machine, distribution) else 1)
        case ["test" | "/usr/bin/test", "-e" | "-x" | "-f", path]:
            return Printed(0 if path in files else 1)
        case ["id" | "/usr/bin/id", "-u", name]:
            if name not in users:
                return Printed(1, b"", f"id: '{name}': no such user\n".encode())
            return Printed(0, f"{users[name]}\n".encode())
    return Printed(127, b"", f"the lab's paper distro has no such command: {command}\n".encode())
