# SPDX-License-Identifier: GPL-3.0-or-later
"""Debian packages for another machine: with all that they need, in a folder that its apt reads as a repository.

By an apt of this machine that knows nothing of it: its own state, and the sources of the other system, which are this
machine's own with another suite. So proxy, mirror and keys are those that this machine has.
"""

from __future__ import annotations

import contextlib
import glob
import os
import re
import shutil
from collections.abc import Callable
from urllib.parse import unquote

from ansible_collections.llmdesk.workstation.plugins.module_utils import program
from ansible_collections.llmdesk.workstation.plugins.module_utils.bundle import SYSTEMS
from ansible_collections.llmdesk.workstation.plugins.module_utils.registry_files import hashed

# What a desk lacks that has nothing: Docker, what Ansible's modules need, and what the launcher does.
PACKAGES = {
    "debian-12": ["docker.io", "iptables", "python3-apt", "python3-requests", "python3-venv"],
    "debian-13": ["docker.io", "docker-cli", "iptables", "python3-apt", "python3-requests", "python3-venv"],
    "ubuntu-22.04": ["docker.io", "iptables", "python3-apt", "python3-requests", "python3.11", "python3.11-venv"],
    "ubuntu-24.04": ["docker.io", "iptables", "python3-apt", "python3-requests", "python3-venv"],
}
COMPONENTS = ("main", "universe")
MOVING = ("oldstable", "stable", "testing")
"""Names of Debian's that mean another release every two years."""


class NotFetched(Exception):
    """The packages were not to be had; the text is a sentence."""


def fetch(folder: str, system: str, tell: Callable[[str], None]) -> None:
    """Let a folder have the packages for a system, and an index of them; what is there already is not fetched again.

    :param system: such as ``debian-13-amd64``.
    :param tell: called with a word while it works.
    :raises NotFetched: they were not to be had.
    """
    if shutil.which("apt-get") is None:
        raise NotFetched(
            f"Packages for {system} are fetched by apt, which this machine has not. Make the bundle on a machine with "
            f"{system.partition('-')[0].capitalize()}, or leave packages out: --system none."
        )
    name, _dash, architecture = system.rpartition("-")
    os.makedirs(os.path.join(folder, "partial"), exist_ok=True)
    # Kept, so that a second time only asks what has changed.
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    state = os.path.join(base, "llmdesk", "apt", system)
    for kept in ("lists", "archives"):
        os.makedirs(os.path.join(state, kept, "partial"), exist_ok=True)
    with open(os.path.join(state, "status"), "w", encoding="utf-8"):
        pass  # a machine on which nothing is installed
    with open(os.path.join(state, "sources.list"), "w", encoding="utf-8") as file:
        file.write(sources(name, targets()))
    options = [
        f"APT::Architecture={architecture}",
        f"APT::Architectures={architecture}",
        "APT::Sandbox::User=root",
        "Acquire::Languages=none",
        f"Dir::Cache={state}",
        f"Dir::Cache::archives={os.path.abspath(folder)}",
        f"Dir::Etc::SourceList={state}/sources.list",
        "Dir::Etc::SourceParts=-",
        f"Dir::State={state}",
        f"Dir::State::lists={state}/lists",
        f"Dir::State::status={state}/status",
    ]
    set_to = [word for option in options for word in ("-o", option)]
    apt = ["apt-get", *set_to]
    _run([*apt, "update"], system, lambda: tell("reading the lists of packages"))
    bring = [*apt, "install", "--yes", "--no-install-recommends"]
    # With an empty folder for what came: all of them are named, and not only those that are still to come.
    empty = ["-o", f"Dir::Cache::archives={state}/archives", "-o", "Acquire::ForceHash=SHA256"]
    wanted = listed(_run([*bring, *empty, "--print-uris", *PACKAGES[name]], system, lambda: None))
    # What is there, apt knows by its size alone.
    for path in glob.glob(os.path.join(folder, "*.deb")):
        if wanted.get(os.path.basename(path)) != hashed(path, lambda _done, word: tell(word)):
            os.unlink(path)  # damaged, or an older version
    _run([*bring, "--download-only", *PACKAGES[name]], system, lambda: tell(_far(folder, len(wanted))))
    shutil.rmtree(os.path.join(folder, "partial"), ignore_errors=True)
    with contextlib.suppress(FileNotFoundError):
        os.unlink(os.path.join(folder, "lock"))
    named = ["=".join(unquote(file).split("_")[:2]) for file in sorted(wanted)]
    described = _run(["apt-cache", *set_to, "show", *named], system, lambda: tell("describing the packages"))
    with open(os.path.join(folder, "Packages"), "w", encoding="utf-8") as written:
        written.write(index(described, wanted))


def listed(said: str) -> dict[str, str]:
    """Return the files that apt would bring, and the sha256 of each.

    :param said: what ``--print-uris`` prints: address, file, size and sum, a line each.
    """
    lines = [line.split() for line in said.splitlines() if line.startswith("'")]
    return {file: digest.partition(":")[2] for _address, file, _size, digest in lines}


def index(described: str, wanted: dict[str, str]) -> str:
    """Return the index of a folder: what the repositories say of its packages, with the files that are there.

    :param described: what ``apt-cache show`` prints.
    :param wanted: as :func:`listed` returns it.
    """
    files = {digest: file for file, digest in wanted.items()}
    found = []
    for record in described.strip().split("\n\n"):
        digest = re.search(r"^SHA256: (\w+)$", record, re.M)
        if digest and digest[1] in files:
            lines = [line for line in record.splitlines() if not line.startswith("Filename: ")]
            found.append("\n".join([*lines, f"Filename: ./{files[digest[1]]}"]))
    return "\n\n".join(found) + "\n"


def targets() -> list[str]:
    """Return where this machine's apt finds packages: address, release, component and key, a line each."""
    form = "$(REPO_URI) $(RELEASE) $(COMPONENT) $(SIGNED_BY)"
    said = program.run(["apt-get", "indextargets", "--format", form, "Identifier: Packages"], lambda: None)
    return sorted(set(said.splitlines()))


def sources(name: str, lines: list[str]) -> str:
    """Return the sources of a system, out of those of this machine, which is another release of the same.

    :param name: such as ``debian-13``.
    :param lines: as :func:`targets` returns them.
    :raises NotFetched: this machine's own are of another distribution, or name no release.
    """
    distribution = name.partition("-")[0]
    found = []
    for line in lines:
        address, release, component, *key = line.split()
        own = next(
            (
                suite
                for known, (suite, _python) in SYSTEMS.items()
                if known.startswith(distribution) and suite in release
            ),
            None,
        )
        if own and component in COMPONENTS:
            signed = f"[signed-by={key[0]}] " if key and not key[0].startswith("$") else ""
            found.append(f"deb {signed}{address} {release.replace(own, SYSTEMS[name][0])} {component}\n")
    moving = [line for line in lines if "/debian" in line and line.split()[1].startswith(MOVING)]
    if not found and moving and distribution == "debian":
        releases = ", ".join(suite for known, (suite, _python) in SYSTEMS.items() if known.startswith(distribution))
        raise NotFetched(
            f"Packages for {name} come on a machine whose sources name a release, and this machine's name none "
            f"but {moving[0].split()[1]}. Write its release there ({releases}), or leave packages out: --system none."
        )
    if not found:
        raise NotFetched(
            f"Packages for {name} come on a machine with {distribution.capitalize()}, and this one has another system. "
            "Make the bundle there, or leave packages out: --system none."
        )
    return "".join(sorted(set(found)))


def _far(folder: str, total: int) -> str:
    return f"{len(glob.glob(os.path.join(folder, '*.deb')))} of {total} packages"


def _run(command: list[str], system: str, tell: Callable[[], None]) -> str:
    try:
        return program.run(command, tell)
    except program.ProgramFailed as failed:
        said = program.first_error(str(failed), ("E:", "Err:"))
        raise NotFetched(
            f"apt does not bring the packages for {system}: {said}. The same command carries on from what is there."
        ) from failed
