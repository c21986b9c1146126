# SPDX-License-Identifier: GPL-3.0-or-later
"""NVIDIA's cards, and what stands between one and a container.

The minimum of the driver is what Ollama itself asks for (its docs/gpu.mdx and discover/cuda_compat.go, version
0.32.15): 550, and 570 for cards below compute capability 7.0, because its CUDA 12.8 compiles for those on the card.
"""

from __future__ import annotations

import hashlib
import json
import re
from typing import Any

DRIVER = 550
DRIVER_LEGACY = 570
COMPUTE = 5.0
COMPUTE_LEGACY = 7.0
CDI_BY_FEATURE = (25, 0)  # from 28.2 on it is switched on without a word
WISHES: dict[str, Any] = {
    "gpu": "auto",
    "devices": [],
    "hsa_override": "",
    "engine": None,
    "path": "auto",
    "driver": "present",
    "repository": "",
}


def nvidia_runtime_plan(desk: dict[str, Any], wanted: dict[str, Any]) -> dict[str, Any]:
    """Decide what NVIDIA's card still needs before a container can reach it.

    :param wanted: as for :func:`gpu_plan`, with ``path``: ``auto``, ``cdi`` or ``runtime``; ``driver``: ``present`` or
        ``distribution``; and ``repository``.
    :returns: ``act``; ``do``: ``nothing``, ``driver``, ``toolkit``, ``specification`` (of CDI), ``cdi`` (Docker's
        feature) or ``runtime`` (in Docker's daemon.json); ``reason``; and ``identity``, the hash of everything that a
        step which failed depends on.
    """
    wishes = {**WISHES, **wanted}
    plan = _step(desk, wishes)
    identity = _hash([wishes["repository"], desk["docker"]["version"], desk["toolkit"]["version"], *_drivers(desk)])
    record = desk["record"].get("gpu") or {}
    failed = (record.get("tried") or {}).get(plan["do"])
    # One that was demanded is tried at every run; else the fall-back stands until something changes.
    if failed and record.get("tried_identity") == identity and wishes["gpu"] == "auto":
        plan = _do("nothing", f"{plan['reason']}, and {failed}; './llmdesk up --retry-sources' tries again")
    return dict(plan, identity=identity)


def _step(desk: dict[str, Any], wishes: dict[str, Any]) -> dict[str, Any]:
    gpu, docker, toolkit = desk["gpu"], desk["docker"], desk["toolkit"]
    if wishes["gpu"] not in ("auto", "nvidia"):
        return _do("nothing", f"desk_gpu is {wishes['gpu']}")
    if gpu["state"] == "no_driver":
        return _driver(desk, wishes)
    if gpu["state"] != "ok":
        return _do("nothing", gpu["reason"])
    old = too_old([card for card in desk["gpus"] if card["vendor"] == "nvidia"], in_wsl=bool(desk["wsl"]))
    if old:
        return _do("nothing", old)
    if docker["state"] != "running":
        return _do("nothing", "Docker does not run yet")
    lost = (desk["container"] or {}).get("gpu_lost")
    way = nvidia_way(desk, wishes)
    by_feature = not docker["cdi_enabled"] and _version(docker["version"]) >= CDI_BY_FEATURE
    renewed = way == "gpus" and docker["cdi_enabled"] and stale(desk) and wishes["path"] == "auto" and toolkit["ctk"]
    if (
        way is not None
        and not renewed
        and not (lost and way == "gpus" and by_feature and wishes["path"] == "auto" and toolkit["ctk"])
    ):
        return _do("nothing", "offered by " + ("CDI" if way == "cdi" else "the NVIDIA runtime"))
    if docker["desktop"]:
        return _do("nothing", "Docker Desktop does not offer it: switch its WSL 2 engine on and update it")
    if toolkit["ctk"] is None or toolkit["runtime"] is None:
        return _do(
            "toolkit",
            "Docker has neither a CDI device nor the NVIDIA runtime: the NVIDIA Container Toolkit is not installed",
        )
    if wishes["path"] == "runtime" or not (docker["cdi_enabled"] or (by_feature and (lost or wishes["path"] == "cdi"))):
        if wishes["path"] == "cdi":
            return _do("nothing", f"Docker {docker['version']} knows no CDI devices: they came with version 25")
        return _do("runtime", "the toolkit is there and Docker does not know its runtime yet")
    if not docker["cdi_enabled"]:
        why = "the container has lost its GPU, which cannot happen by CDI" if lost else "desk_gpu_path asks for CDI"
        return _do("cdi", f"{why}, and Docker {docker['version']} has CDI switched off")
    if docker.get("cdi_missing"):
        return _do("specification", f"CDI's files name {docker['cdi_missing']}, which went with an older driver")
    if stale(desk):
        return _do("specification", f"CDI's files were made for driver {docker['cdi_driver']}, and another one runs")
    return _do("specification", "Docker looks for CDI devices, and none was described yet")


def _do(do: str, reason: str) -> dict[str, Any]:
    return {"act": do != "nothing", "do": do, "reason": reason}


def _driver(desk: dict[str, Any], wishes: dict[str, Any]) -> dict[str, Any]:
    missing = desk["gpu"]["reason"]
    if desk["wsl"]:
        return _do("nothing", f"{missing}: install NVIDIA's driver in Windows, never in WSL, and run 'wsl --shutdown'")
    if desk["system"]["virtualisation"] == "container":
        return _do("nothing", f"{missing}: a driver belongs to the machine, not into a container")
    if wishes["driver"] == "distribution":
        return _do("driver", f"{missing}, and nvidia_runtime_driver asks for the distribution's")
    return _do(
        "nothing",
        f"{missing}: install the distribution's driver, or let nvidia_runtime_driver: distribution do it, and restart",
    )


def _version(text: str | None) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", text or "0")[:2])


def choose(cards: list[dict[str, Any]], devices: list[Any]) -> tuple[list[dict[str, Any]], str]:
    """Return the chosen cards or MIG instances, and a sentence where one is not there.

    :param devices: indices or UUIDs; empty for all. A MIG instance goes by its UUID alone: its index moves.
    """
    if not devices:
        return cards, ""
    known: dict[str, dict[str, Any]] = {}
    for card in cards:
        for name in (card["index"], card["uuid"]):
            if name is not None:
                known[str(name)] = card
        for instance in card["mig"]:
            known[instance["uuid"]] = {**card, "uuid": instance["uuid"], "index": None, "instance": True}
    missing = [str(device) for device in devices if str(device) not in known]
    if missing:
        there = ", ".join(known) or "none"
        return [], f"desk_gpu_devices names {', '.join(missing)}, and this desk has {there} (see 'nvidia-smi -L')"
    whole = [known[str(device)] for device in devices]
    split = [card for card in whole if card["mig_enabled"] and not card.get("instance")]
    if split:
        instances = ", ".join(instance["uuid"] for instance in split[0]["mig"]) or "none was made yet"
        return [], (
            f"the GPU {split[0]['index']} is divided by MIG, so desk_gpu_devices has to name instances by their UUIDs "
            f"({instances})"
        )
    return whole, ""


def too_old(cards: list[dict[str, Any]], in_wsl: bool = False) -> str:
    """Return why the driver or the cards are too old for Ollama, in numbers; empty where one of them will do."""
    said = ""
    update = "update it in Windows, not in the distro" if in_wsl else "update the driver"
    for card in cards:
        compute = float(card["compute"]) if card["compute"] else None
        driver = int(re.sub(r"\D.*", "", card["driver"] or "") or 0)
        needed = DRIVER_LEGACY if compute is not None and compute < COMPUTE_LEGACY else DRIVER
        if compute is not None and compute < COMPUTE:
            said = f"{card['name']} has compute capability {card['compute']}, and Ollama needs {COMPUTE} or newer"
        elif driver and driver < needed:
            of = f" on a card of compute capability {card['compute']}" if needed == DRIVER_LEGACY else ""
            said = f"{card['name']} has driver {card['driver']}, and Ollama needs {needed} or newer{of}: {update}"
        else:
            return ""
    return said


def cdi_devices(offered: list[str], chosen: list[dict[str, Any]]) -> tuple[list[str], dict[str, str]]:
    """Return the CDI devices of the chosen cards, and what else the container has to be told.

    A specification may name cards by index, by UUID, or not at all, as in WSL, where all come together.

    :param chosen: none for all of them.
    """
    everything = ["nvidia.com/gpu=all"]
    if not chosen:
        return (everything, {}) if everything[0] in offered else ([name for name in offered if _is_card(name)], {})
    names = []
    for card in chosen:
        ways = [f"nvidia.com/gpu={name}" for name in (card["uuid"], card["index"]) if name is not None]
        found = next((way for way in ways if way in offered), None)
        if found is None:
            return everything, {"CUDA_VISIBLE_DEVICES": ",".join(spelled(one) for one in chosen)}
        names.append(found)
    return names, {}


def _is_card(device: str) -> bool:
    return device.startswith("nvidia.com/gpu=")


def spelled(card: dict[str, Any]) -> str:
    return str(card["uuid"] if card["uuid"] is not None else card["index"])


def nvidia_way(desk: dict[str, Any], wishes: dict[str, Any]) -> str | None:
    """Return the way that Docker offers now: CDI before the runtime, which loses its card over a daemon-reload."""
    docker = desk["docker"]
    cdi = docker["cdi_enabled"] and any(map(_is_card, docker["cdi"])) and not stale(desk)
    runtime = "nvidia" in docker["runtimes"]
    if wishes["path"] == "cdi":
        return "cdi" if cdi else None
    if wishes["path"] == "runtime":
        return "gpus" if runtime else None
    return "cdi" if cdi else "gpus" if runtime else None


def stale(desk: dict[str, Any]) -> bool:
    """Return whether CDI's files were made for another driver than the one that runs: their libraries are gone.

    Libraries of WSL carry no version, but lie in a folder of their driver's, which Windows replaces with it.
    """
    if desk["docker"].get("cdi_missing"):
        return True
    made_for = desk["docker"]["cdi_driver"]
    running = next(iter(_drivers(desk)), None)
    return bool(made_for and running and made_for != running)


def proof_identity(desk: dict[str, Any], path: str) -> str:
    """Return the hash of everything that a proof of the way to the GPU is about."""
    docker, toolkit = desk["docker"], desk["toolkit"]
    return _hash([path, docker["version"], toolkit["version"], docker["cdi_driver"], *_drivers(desk)])


def _drivers(desk: dict[str, Any]) -> list[str]:
    return [card["driver"] for card in desk["gpus"] if card["vendor"] == "nvidia"]


def _hash(about: list[Any]) -> str:
    return hashlib.sha256(json.dumps(about).encode()).hexdigest()


def refused(desk: dict[str, Any], wishes: dict[str, Any]) -> str:
    """Return why a container that tried the way could not use it; empty where none has, or much has changed since.

    One that was demanded is tried at every run.
    """
    record, way = desk["record"].get("gpu") or {}, nvidia_way(desk, wishes)
    if way is None or record.get("ok", True) or wishes["gpu"] != "auto":
        return ""
    if record.get("identity") != proof_identity(desk, way):
        return ""
    return f"a container that was given the GPU could not use it ({record['error']})"
