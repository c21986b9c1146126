# SPDX-License-Identifier: GPL-3.0-or-later
"""Which way a desk's container reaches a GPU, decided once for everything that depends on it.

The ways: ``cdi`` and ``gpus`` (NVIDIA, by a CDI device or by the NVIDIA runtime), ``rocm`` (AMD's compute node),
``vulkan`` (any card with a render node), and ``cpu``. Each comes with its reason in one sentence.
"""

from __future__ import annotations

from typing import Any

from ansible_collections.llmdesk.workstation.plugins.module_utils.nvidia_plan import (
    WISHES,
    cdi_devices,
    choose,
    nvidia_runtime_plan,
    nvidia_way,
    refused,
    spelled,
    too_old,
)

MIB = 1024 * 1024
# What AMD's ROCm 7 computes on; integrated ones but 11.5.1 are left alone by Ollama (discover/runner.go).
ROCM_GFX = {"9.0.8", "9.0.10", "9.4.2", "9.5.0", "10.3.0", "11.0.0", "11.0.1", "11.0.2", "11.5.0", "11.5.1"}
ROCM_GFX |= {"12.0.0", "12.0.1"}
NOT_IN_WSL = "in WSL NVIDIA's driver has no Vulkan, which is all that an image built on the spot can use a GPU by"
# Mesa says so itself: "dzn is not a conformant Vulkan implementation, testing use only".
ONLY_NVIDIA_IN_WSL = (
    "under WSL a container can use NVIDIA's cards alone: Vulkan over /dev/dxg (Mesa's dzn) is for testing by its own "
    "word, and not offered"
)
ENGINE_WORDS = {
    "cpu": "the image's engine computes on the CPU alone, as one does that was built on the spot without a GPU in "
    "sight; './llmdesk up --retry-sources' makes or finds one for the GPU",
    "cuda": "the image's engine is made for NVIDIA's CUDA",
    "rocm": "the image's engine is made for AMD's ROCm",
    "vulkan": "the image's engine is made for Vulkan",
}


def gpu_plan(desk: dict[str, Any], wanted: dict[str, Any]) -> dict[str, Any]:
    """Decide which way the container reaches a GPU.

    :param wanted: ``gpu``: ``auto``, ``nvidia``, ``amd``, ``vulkan`` or ``none``; ``devices``: indices or UUIDs, all
        when empty; ``hsa_override``; ``engine``: what the image's engine computes on, where the facts do not know it.
    :returns: ``path``, ``reason``, ``promised`` (whether an answer from the CPU alone is an error), ``unsure`` (the
        card did not answer, and the container keeps what it has), ``error`` (what stands in the way of a GPU that was
        demanded, else empty) and ``container``, what the container is run with.
    """
    wishes = {**WISHES, **wanted}
    if wishes["gpu"] == "none":
        return _cpu("the CPU was chosen (desk_gpu: none)", "")
    engine = wishes["engine"] or (desk.get("image") or {}).get("engine")
    sentences = []
    for vendor in _vendors(wishes["gpu"]):
        found = {"nvidia": _nvidia, "amd": _amd, "vulkan": _vulkan}[vendor](desk, wishes, engine)
        if found["path"] != "cpu":
            return found
        sentences.append(found["reason"])
    # The first that is not merely absent says most.
    reason = next((said for said in sentences if not said.startswith("there is no ")), "there is no GPU")
    if wishes["gpu"] != "auto":
        reason = sentences[0]
    demanded = wishes["gpu"] != "auto"
    return _cpu(reason, f"desk_gpu is {wishes['gpu']}, but {reason}." if demanded else "")


def _vendors(choice: str) -> list[str]:
    return ["nvidia", "amd", "vulkan"] if choice == "auto" else [choice]


def _cpu(reason: str, error: str) -> dict[str, Any]:
    return {
        "act": False,
        "path": "cpu",
        "reason": reason,
        "promised": False,
        "unsure": False,
        "error": error,
        "container": {"device_requests": [], "devices": [], "groups": [], "environment": {}, "runtime": ""},
    }


def _on(path: str, reason: str, **container: Any) -> dict[str, Any]:
    plan = _cpu(reason, "")
    return dict(plan, path=path, promised=True, container={**plan["container"], **container})


def _nvidia(desk: dict[str, Any], wishes: dict[str, Any], engine: str | None) -> dict[str, Any]:
    gpu = desk["gpu"]
    if gpu["state"] == "unknown" and (desk["container"] or {}).get("gpu") in ("cdi", "gpus"):
        # A driver that hangs for a moment is no reason to move people to the CPU.
        kept = _on(desk["container"]["gpu"], f"{gpu['reason']}; the container keeps the way that it has")
        return dict(kept, unsure=True)
    if gpu["state"] != "ok":
        return _cpu(gpu["reason"], "")
    cards = [card for card in desk["gpus"] if card["vendor"] == "nvidia"]
    chosen, unknown = choose(cards, wishes["devices"])
    against = unknown or too_old(chosen, in_wsl=bool(desk["wsl"])) or refused(desk, wishes)
    if against:
        return _cpu(against, "")
    if engine in ("cpu", "rocm"):
        return _cpu(f"{gpu['reason']}, but {ENGINE_WORDS[engine]}", "")
    if engine == "vulkan" and desk["wsl"]:
        return _cpu(f"{gpu['reason']}, but {NOT_IN_WSL}", "")
    way = nvidia_way(desk, wishes)
    if way is None:
        return _cpu(f"{gpu['reason']}, but {nvidia_runtime_plan(desk, wishes)['reason']}", "")
    # Without a word, the card comes without its Vulkan driver.
    environment = {"NVIDIA_DRIVER_CAPABILITIES": "compute,utility,graphics"} if engine == "vulkan" else {}
    picked = chosen if wishes["devices"] else []
    if way == "cdi":
        devices, more = cdi_devices(desk["docker"]["cdi"], picked)
        requests = [{"driver": "cdi", "count": 0, "device_ids": devices}]
        reason = f"{gpu['reason']}, offered by CDI"
        return _on("cdi", reason, device_requests=requests, environment={**environment, **more})
    reason = f"{gpu['reason']}, offered by the NVIDIA runtime"
    ids = [spelled(card) for card in picked]
    if desk["docker"]["desktop"]:
        # Any other spelling of these lets docker_container make the container anew at every run.
        request: dict[str, Any] = {"driver": "nvidia", "count": 0 if ids else -1, "capabilities": [["gpu"]]}
        if ids:
            request["device_ids"] = ids
        return _on("gpus", reason, device_requests=[request], environment=environment)
    # By the runtime itself and not by --gpus, which a Docker that was started before the toolkit came refuses until it
    # is started again, and which the toolkit refuses where it is set to CDI.
    told = {"NVIDIA_VISIBLE_DEVICES": ",".join(ids) or "all", "NVIDIA_DRIVER_CAPABILITIES": "compute,utility"}
    return _on("gpus", reason, runtime="nvidia", environment={**told, **environment})


def _amd(desk: dict[str, Any], wishes: dict[str, Any], engine: str | None) -> dict[str, Any]:
    if desk["wsl"]:
        return _cpu(ONLY_NVIDIA_IN_WSL, "")
    nodes = desk["gpu_nodes"]
    cards = [card for card in desk["gpus"] if card["vendor"] == "amd"]
    if not cards:
        return _cpu("there is no AMD card", "")
    name = cards[0]["name"]
    if not nodes["kfd"]:
        return _cpu(f"{name} has no /dev/kfd: load the kernel's module amdgpu, or see that the user may", "")
    override = str(wishes["hsa_override"])
    able = [card for card in cards if override or card["gfx"] in ROCM_GFX]
    if not able:
        return _cpu(
            f"{name} is gfx {cards[0]['gfx'] or 'unknown'}, which ROCm does not know; desk_gpu_hsa_override can name a "
            "close relative, such as 10.3.0",
            "",
        )
    if wishes["gpu"] == "auto" and all(card["integrated"] and card["gfx"] != "11.5.1" for card in able):
        return _cpu(f"{name} is integrated, which Ollama leaves alone; desk_gpu: vulkan uses it all the same", "")
    if engine not in (None, "rocm"):
        return _cpu(
            f"{name} needs an image with ROCm, and {ENGINE_WORDS[engine]}; name one in open_webui_image_sources "
            "(docs/gpu.md)",
            "",
        )
    environment = {"HSA_OVERRIDE_GFX_VERSION": override} if override else {}
    if wishes["devices"]:
        environment["ROCR_VISIBLE_DEVICES"] = ",".join(map(str, wishes["devices"]))
    return _on(
        "rocm",
        f"{name}, gfx {override or able[0]['gfx']}, by /dev/kfd and /dev/dri",
        devices=["/dev/kfd", "/dev/dri"],
        groups=[str(group) for group in nodes["groups"]],
        environment=environment,
    )


def _vulkan(desk: dict[str, Any], wishes: dict[str, Any], engine: str | None) -> dict[str, Any]:
    if desk["wsl"]:
        # A render node there is the kernel's own (vgem), and no card stands behind it.
        return _cpu(ONLY_NVIDIA_IN_WSL, "")
    nodes = desk["gpu_nodes"]
    cards = [card for card in desk["gpus"] if card["vendor"] in ("amd", "intel")]
    discrete = [card for card in cards if not card["integrated"]]
    if wishes["gpu"] == "auto" and cards and not discrete:
        return _cpu(
            f"{cards[0]['name']} is integrated, which Ollama leaves alone; desk_gpu: vulkan uses it all the same",
            "",
        )
    shown = ["/dev/dri"]
    if len(cards) > len(discrete) > 0:
        # A llama.cpp with Vulkan linked into it does not tell Ollama which card is integrated, and Ollama takes the one
        # with more memory: the integrated one, whose memory is the machine's. So the container does not see it.
        shown = sorted(card["render"] for card in discrete if card["render"])
    cards = discrete or cards
    if not cards and (wishes["gpu"] == "auto" or not nodes["dri"]):
        return _cpu("there is no card with a render node", "")
    name = cards[0]["name"] if cards else "a card"
    if not nodes["dri"] or not shown:
        return _cpu(f"{name} has no render node in /dev/dri: its driver in the kernel is missing", "")
    if engine not in (None, "vulkan"):
        return _cpu(f"{name} is reached by Vulkan, and {ENGINE_WORDS[engine]}", "")
    environment = {}
    if all(card["integrated"] for card in cards):
        environment["OLLAMA_IGPU_ENABLE"] = "1"
    if wishes["devices"]:
        environment["GGML_VK_VISIBLE_DEVICES"] = ",".join(map(str, wishes["devices"]))
    return _on(
        "vulkan",
        f"{name}, by Vulkan and /dev/dri",
        devices=shown,
        groups=[str(group) for group in nodes["groups"]],
        environment=environment,
    )


def docker_options(container: dict[str, Any]) -> list[str]:
    """Return the options of ``docker run`` that give a container what a plan gives it."""
    options = []
    for request in container["device_requests"]:
        if request["driver"] == "cdi":
            options += [f"--device={device}" for device in request["device_ids"]]
        elif request.get("device_ids"):
            # Docker reads a value with a comma in it as CSV: the quotation marks belong to it.
            options.append('--gpus="device=' + ",".join(request["device_ids"]) + '"')
        else:
            options.append("--gpus=all")
    options += [f"--device={device}" for device in container["devices"]]
    options += [f"--group-add={group}" for group in container["groups"]]
    options += [f"--env={name}={value}" for name, value in sorted(container["environment"].items())]
    return options + ([f"--runtime={container['runtime']}"] if container["runtime"] else [])


def build_plan(desk: dict[str, Any], wanted: dict[str, Any]) -> dict[str, Any]:
    """Decide what an image that is built on the spot computes on, said before the build.

    Package registries have no CUDA and no ROCm that could be compiled in minutes, but the headers and the shader
    compiler of Vulkan, which every vendor's driver speaks.

    :returns: ``engine``, ``vulkan`` or ``cpu``, and ``reason``.
    """
    plan = gpu_plan(desk, {**wanted, "engine": "vulkan"})
    if plan["path"] == "cpu":
        return {"engine": "cpu", "reason": plan["reason"]}
    return {"engine": "vulkan", "reason": plan["reason"]}


def why_cpu(seen: dict[str, Any]) -> str:
    """Return why a model lies in the machine's memory though a GPU was promised, and what to do.

    :param seen: ``size``, bytes of the model in memory; ``vram`` and ``free``, bytes of the largest GPU, None where it
        does not say; ``inside``, ``code`` and ``said`` of nvidia-smi in the container, None where it was not asked.
    """
    inside, size = seen["inside"], seen["size"]
    if inside and inside["code"] != 0:
        words = (inside["said"].strip().splitlines() or [f"nvidia-smi ended with {inside['code']}"])[0][:200]
        if "version mismatch" in words:
            return f"the driver was updated under the container ({words}): restart the machine"
        if "NVML" in words:
            return f"the container has lost its GPU ({words}): './llmdesk up' makes it anew"
        return f"the container was not given the GPU ({words}): see what 'docker info' says of runtimes and CDI"
    if seen["vram"] and size > seen["vram"]:
        return f"it takes {_mib(size)} and the largest GPU has {_mib(seen['vram'])}: choose a smaller model"
    if seen["free"] is not None and size > seen["free"]:
        return f"it takes {_mib(size)} and only {_mib(seen['free'])} of the GPU's memory are free: see 'nvidia-smi'"
    return "Ollama did not take the GPU: './llmdesk logs' has its reason in the lines about the GPU and its driver"


def _mib(size: int) -> str:
    return f"{size / MIB:.0f} MiB"
