# SPDX-License-Identifier: GPL-3.0-or-later
"""Which packages bring Docker to a distribution, where they come from, and what must not be beside them."""

from __future__ import annotations

from typing import Any

# Whose packages fit whom. A distribution that is not named here is looked for by what it says that it is like.
FILES = {
    "debian": "debian",
    "raspbian": "debian",
    "ubuntu": "ubuntu",
    "fedora": "fedora",
    "rhel": "redhat",
    "centos": "redhat",
    "rocky": "redhat",
    "almalinux": "redhat",
    "opensuse": "suse",
    "opensuse-leap": "suse",
    "opensuse-tumbleweed": "suse",
    "suse": "suse",
    "arch": "arch",
}


def family_file(system: dict[str, Any]) -> str:
    """Return the name of the role's file about a distribution, empty for one that nobody knows.

    :param system: ``desk.system`` of the desk facts.
    """
    names = [system["distribution"], *system.get("like", [])]
    return next((FILES[name] for name in names if name in FILES), "")


def installation(
    system: dict[str, Any], wanted: dict[str, Any], family: dict[str, Any], answers: bool
) -> dict[str, Any]:
    """Decide what is installed from where.

    :param wanted: ``edition`` (``auto``, ``ce``, ``distribution`` or ``present``), ``version``, empty for the newest,
        and ``repository``, the address of Docker's repositories.
    :param family: the role's file about this distribution.
    :param answers: whether Docker's repository answers; false until it was asked.
    :returns: ``edition``, ``packages`` with their pins as ``manager`` takes them, ``conflicts``, ``ask``, the address
        that shows whether Docker's repository has this system, ``repository``, what to write about it, ``reason``, and
        ``error``, empty where it can be done.
    """
    if not family:
        name = f"{system['distribution']} {system['version']}".strip()
        return {
            "edition": "",
            "ask": "",
            "error": f"This role does not know how Docker comes to {name}. Install Docker Engine by hand "
            "(docs.docker.com/engine/install) and run again: what works is left alone.",
        }
    edition, version = wanted.get("edition") or "auto", str(wanted.get("version") or "")
    repository = _repository(system, wanted["repository"], family)
    found = {"manager": family["manager"], "ask": repository.get("ask", ""), "repository": repository, "error": ""}
    distribution = [
        name
        for name in family["distribution"]
        if _release(system, family) not in (family.get("distribution_without") or {}).get(name, [])
    ]
    if edition == "ce" or (edition == "auto" and answers and repository):
        found.update(edition="ce", reason="Docker's own repository answers", names=family["ce"])
        if not repository:
            found["error"] = (
                f"Docker publishes no packages for {system['distribution']}. Use docker_edition=distribution."
            )
        elif not answers:
            found["error"] = (
                f"Docker's repository does not answer for this system ({repository['ask']}). Name a mirror in "
                "docker_repository, or use docker_edition=distribution."
            )
    else:
        why = "it was asked for" if edition != "auto" else "Docker's own repository does not answer"
        if edition == "auto" and not repository:
            why = "Docker publishes none for it"
        found.update(edition="distribution", reason=f"the distribution's package, since {why}", names=distribution)
        if not distribution:
            found["error"] = (
                f"{system['distribution']} has no package of Docker Engine, and Docker's own repository does not "
                f"answer ({repository.get('ask')}). Name a mirror of it in docker_repository."
            )
    kind = found["edition"]
    found["conflicts"] = family[f"conflicts_{kind}"]
    names = found.pop("names")
    if version and not found["error"]:
        found["error"] = _unpinnable(family["manager"], version)
    pinned = family[f"pinned_{kind}"] if version else []
    found["packages"] = [pin(family["manager"], kind, name, version) if name in pinned else name for name in names]
    return found


def pin(manager: str, edition: str, name: str, version: str) -> str:
    """Return a package of one version as its manager spells it; only the first numbers may be given.

    >>> pin("apt", "ce", "docker-ce", "28.5.1")
    'docker-ce=5:28.5.1-*'
    """
    # 28.5.1 is not to be 28.5.10, and 28 not 28 alone.
    whole = version.count(".") >= 2
    if manager == "apt":
        if edition == "ce":
            return f"{name}=5:{version}{'-*' if whole else '.*'}"
        return f"{name}={version}{'[-+]*' if whole else '.*'}"
    if manager == "dnf":
        return f"{name}-{version}{'' if whole else '.*'}"
    if manager == "zypper":
        return f"{name}={version}_ce"
    return name


def _unpinnable(manager: str, version: str) -> str:
    if manager == "pacman":
        return "Arch has only its newest Docker, so docker_version cannot be held there. Leave it empty."
    if manager == "zypper" and version.count(".") < 2:
        return f"zypper takes whole versions only: docker_version={version} is to be one such as 28.5.1."
    return ""


def present(said: str, manager: str, names: list[str]) -> list[str]:
    """Return which packages are installed, out of what their manager's query said.

    :param said: of ``dpkg-query``, ``rpm`` or ``pacman``, as the role asks them.
    """
    if manager == "apt":
        lines = [line.split() for line in said.splitlines()]
        found = {line[1] for line in lines if len(line) > 1 and line[0].startswith(("i", "h"))}
    else:
        found = {line.strip() for line in said.splitlines()}
    return [name for name in names if name in found]


def conflict(installed: list[str], plan: dict[str, Any]) -> str:
    """Return the sentence about packages that are in the way, empty where none is."""
    if not installed:
        return ""
    kind = "Docker's own packages" if plan["edition"] == "ce" else "the distribution's Docker"
    return (
        f"{', '.join(installed)} {'is' if len(installed) == 1 else 'are'} installed and cannot stand beside {kind} "
        f"({', '.join(plan['packages'])}). Remove what is not needed, or let this run do it with "
        "-e docker_remove_conflicting=true: images, containers and volumes in Docker's folder stay."
    )


def _release(system: dict[str, Any], family: dict[str, Any]) -> str:
    return str(system.get("base_codename") or system["codename"]) if family["manager"] == "apt" else system["version"]


def _repository(system: dict[str, Any], address: str, family: dict[str, Any]) -> dict[str, str]:
    if not family.get("repository"):
        return {}
    url = f"{address.rstrip('/')}/{family['repository']}"
    release, machine = _release(system, family), system.get("architecture", "x86_64")
    if family["manager"] == "apt":
        return {"url": url, "suite": release, "key": f"{url}/gpg", "ask": f"{url}/dists/{release}/Release"}
    folder = f"{url}/{release.split('.')[0]}/{machine}/stable"
    return {"url": folder, "key": f"{url}/gpg", "ask": f"{folder}/repodata/repomd.xml"}
