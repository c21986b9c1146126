# SPDX-License-Identifier: GPL-3.0-or-later
"""Which way a container reaches a GPU, what that way still misses, and why a model lies in the machine's memory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ansible_collections.llmdesk.workstation.plugins.module_utils import probe
from ansible_collections.llmdesk.workstation.plugins.module_utils.gpu_plan import (
    build_plan,
    docker_options,
    gpu_plan,
    why_cpu,
)
from ansible_collections.llmdesk.workstation.plugins.module_utils.nvidia_plan import (
    nvidia_runtime_plan,
    proof_identity,
)

SMI = Path(__file__).parent / "fixtures" / "probe" / "nvidia-smi"
MIB = 1024 * 1024
A6000 = "GPU-8a2e1f4c-5d35-6a2b-9a6f-6f1c7c0d8e11"
GTX = "GPU-2b9d7c55-0e4f-4a86-b1f0-95d1c7a3e022"
MIG = "MIG-c6d4f1ef-42e4-5de3-91c7-45d71c87eb3f"
TOOLKIT = {
    "ctk": "/usr/bin/nvidia-ctk",
    "runtime": "/usr/bin/nvidia-container-runtime",
    "version": "1.17.8",
}
NO_TOOLKIT = dict.fromkeys(TOOLKIT)
CDI = {
    "version": "28.3.2",
    "cdi_enabled": True,
    "cdi": ["nvidia.com/gpu=0", f"nvidia.com/gpu={A6000}", "nvidia.com/gpu=all"],
}
RUNTIME = {"version": "20.10.24+dfsg1", "runtimes": ["nvidia", "runc"]}
NOTHING = {"device_requests": [], "devices": [], "groups": [], "environment": {}, "runtime": ""}
RADEON = {
    "vendor": "amd",
    "name": "amd 0x744c",
    "vram": 25753026560,
    "free": 25000000000,
    "driver": "amdgpu",
    "gfx": "11.0.0",
    "integrated": False,
    "render": "/dev/dri/renderD130",
}
IRIS = {
    "vendor": "intel",
    "name": "intel 0x4680",
    "vram": None,
    "driver": "i915",
    "gfx": None,
    "integrated": True,
    "render": "/dev/dri/renderD128",
}
ARC = dict(IRIS, name="intel 0x56a0", integrated=False, render="/dev/dri/renderD129")
NODES = {"kfd": False, "dri": True, "dxg": False, "groups": [44, 105]}


def nvidia(file: str = "two.csv", listed: str = "") -> dict[str, Any]:
    """Return the facts of a machine with the cards of one answer of nvidia-smi."""
    gpus = probe.nvidia_gpus((SMI / file).read_text())
    instances = probe.mig_instances((SMI / listed).read_text()) if listed else {}
    for gpu in gpus:
        gpu["mig"] = instances.get(gpu["uuid"], [])
    return {"gpus": gpus, "gpu": {"state": "ok", "reason": f"{gpus[0]['name']}, driver {gpus[0]['driver']}"}}


def desk(*parts: dict[str, Any], docker: dict[str, Any] | None = None, **changed: Any) -> dict[str, Any]:
    """Return the facts of a desk with Docker and without a GPU, but for what is changed."""
    facts: dict[str, Any] = {
        "system": {"virtualisation": "none", "family": "debian"},
        "wsl": None,
        "gpus": [],
        "gpu": {"state": "none", "reason": "there is no NVIDIA card"},
        "gpu_nodes": dict(NODES, dri=False),
        "toolkit": NO_TOOLKIT,
        "container": None,
        "image": None,
        "record": {"gpu": None},
        "docker": {
            "state": "running",
            "version": "26.1.5",
            "desktop": False,
            "runtimes": ["runc"],
            "cdi_enabled": False,
            "cdi": [],
            "cdi_driver": None,
            **(docker or {}),
        },
    }
    for part in (*parts, changed):
        facts.update(part)
    return facts


def amd(*cards: dict[str, Any], **nodes: Any) -> dict[str, Any]:
    return {"gpus": list(cards), "gpu_nodes": dict(NODES, kfd=True, **nodes)}


def intel(*cards: dict[str, Any]) -> dict[str, Any]:
    return {"gpus": list(cards), "gpu_nodes": NODES}


# --- The way to the GPU ---------------------------------------------------------------------------------------------


def test_a_desk_without_a_gpu_is_a_good_desk() -> None:
    plan = gpu_plan(desk(), {})
    assert (plan["path"], plan["reason"], plan["promised"], plan["error"]) == ("cpu", "there is no GPU", False, "")
    assert plan["container"] == NOTHING


@pytest.mark.parametrize(
    ("facts", "wanted", "path", "reason"),
    [
        (desk(nvidia(), docker=CDI, toolkit=TOOLKIT), {}, "cdi", "NVIDIA RTX A6000, driver 570.86.15, offered by CDI"),
        (desk(nvidia(), docker={**CDI, "runtimes": ["nvidia"]}, toolkit=TOOLKIT), {}, "cdi", "CDI"),
        (desk(nvidia(), docker={**CDI, "runtimes": ["nvidia"]}), {"path": "runtime"}, "gpus", "the NVIDIA runtime"),
        (desk(nvidia(), docker=RUNTIME, toolkit=TOOLKIT), {}, "gpus", "the NVIDIA runtime"),
        (desk(nvidia(), docker=RUNTIME, toolkit=TOOLKIT), {"path": "cdi"}, "cpu", "came with version 25"),
        (desk(nvidia(), docker=dict(CDI, cdi_enabled=False)), {}, "cpu", "Container Toolkit is not installed"),
        (desk(nvidia(), docker=dict(CDI, cdi=["vendor.com/net=all"])), {}, "cpu", "Container Toolkit"),
        (desk(nvidia("old-driver.csv"), docker=CDI), {}, "cpu", "driver 450.119.03, and Ollama needs 550 or newer"),
        (desk(nvidia("unified-memory.csv"), docker=CDI), {}, "cdi", "NVIDIA GB10"),
        (desk(nvidia(), docker=CDI, image={"engine": "cpu"}), {}, "cpu", "computes on the CPU alone"),
        (desk(nvidia(), docker=CDI, image={"engine": "cpu"}), {"engine": "cuda"}, "cdi", "CDI"),
        (desk(nvidia(), docker=CDI, image={"engine": "rocm"}), {}, "cpu", "made for AMD's ROCm"),
        (desk(nvidia(), docker=CDI, wsl={"version": 2}), {"engine": "vulkan"}, "cpu", "in WSL"),
        (desk(nvidia(), docker=CDI, wsl={"version": 2}), {"engine": "cuda"}, "cdi", "CDI"),
        (desk(nvidia(), docker=CDI), {"gpu": "none"}, "cpu", "the CPU was chosen"),
        (desk(gpu={"state": "unknown", "reason": "nvidia-smi did not answer within 2 s"}), {}, "cpu", "did not answer"),
        (
            desk(gpu={"state": "no_driver", "reason": "there is an NVIDIA card, but no nvidia-smi"}),
            {},
            "cpu",
            "no nvidia-smi",
        ),
        (desk(amd(RADEON)), {"engine": "rocm"}, "rocm", "amd 0x744c, gfx 11.0.0"),
        (desk(amd(RADEON)), {}, "rocm", "gfx 11.0.0"),
        (desk(amd(RADEON)), {"engine": "cuda"}, "cpu", "needs an image with ROCm"),
        (desk(amd(RADEON)), {"engine": "vulkan"}, "vulkan", "by Vulkan"),
        (desk(amd(dict(RADEON, gfx="10.3.4"))), {"engine": "rocm"}, "cpu", "gfx 10.3.4, which ROCm does not know"),
        (desk(amd(dict(RADEON, gfx="10.3.4"))), {"engine": "rocm", "hsa_override": "10.3.0"}, "rocm", "gfx 10.3.0"),
        (desk(amd(dict(RADEON, integrated=True))), {"engine": "rocm"}, "cpu", "is integrated"),
        (desk(amd(dict(RADEON, gfx="11.5.1", integrated=True))), {"engine": "rocm"}, "rocm", "gfx 11.5.1"),
        (desk({"gpus": [RADEON], "gpu_nodes": dict(NODES, dri=False)}), {}, "cpu", "no /dev/kfd"),
        (desk(intel(IRIS)), {"engine": "vulkan"}, "cpu", "is integrated, which Ollama leaves alone"),
        (desk(intel(IRIS)), {"gpu": "vulkan", "engine": "vulkan"}, "vulkan", "intel 0x4680"),
        (desk(intel(ARC)), {"engine": "vulkan"}, "vulkan", "intel 0x56a0"),
        (desk(intel(ARC)), {"engine": "cuda"}, "cpu", "reached by Vulkan, and the image's engine is made for NVIDIA"),
        (desk({"gpus": [ARC]}), {"engine": "vulkan"}, "cpu", "no render node"),
        # Two makes in one machine: the first that works.
        (desk(nvidia("old-driver.csv"), gpu_nodes=NODES), {"gpu": "vulkan", "engine": "vulkan"}, "vulkan", "a card"),
        (
            desk({"gpu": {"state": "no_driver", "reason": "no nvidia-smi"}}, amd(RADEON)),
            {"engine": "rocm"},
            "rocm",
            "amd 0x744c",
        ),
    ],
)
def test_the_way_to_a_gpu(facts: dict[str, Any], wanted: dict[str, Any], path: str, reason: str) -> None:
    plan = gpu_plan(facts, wanted)
    assert plan["path"] == path
    assert reason in plan["reason"]
    assert plan["promised"] is (path != "cpu")
    assert (plan["container"] == NOTHING) is (path == "cpu")


def test_what_a_container_is_run_with() -> None:
    """In the spellings that docker_container compares as equal at the next run."""
    cdi, runtime = desk(nvidia(), docker=CDI, toolkit=TOOLKIT), desk(nvidia(), docker=RUNTIME, toolkit=TOOLKIT)
    assert gpu_plan(cdi, {})["container"]["device_requests"] == [
        {"driver": "cdi", "count": 0, "device_ids": ["nvidia.com/gpu=all"]}
    ]
    told = {"NVIDIA_VISIBLE_DEVICES": "all", "NVIDIA_DRIVER_CAPABILITIES": "compute,utility"}
    assert gpu_plan(runtime, {})["container"] == dict(NOTHING, runtime="nvidia", environment=told)
    one = gpu_plan(runtime, {"devices": ["1"], "engine": "vulkan"})["container"]["environment"]
    assert one == {"NVIDIA_VISIBLE_DEVICES": GTX, "NVIDIA_DRIVER_CAPABILITIES": "compute,utility,graphics"}
    desktop = desk(nvidia(), docker=dict(RUNTIME, desktop=True))
    assert gpu_plan(desktop, {})["container"]["device_requests"] == [
        {"driver": "nvidia", "count": -1, "capabilities": [["gpu"]]}
    ]
    assert gpu_plan(desktop, {"devices": ["1"]})["container"]["device_requests"] == [
        {"driver": "nvidia", "count": 0, "capabilities": [["gpu"]], "device_ids": [GTX]}
    ]
    assert gpu_plan(cdi, {"engine": "vulkan"})["container"]["environment"] == {
        "NVIDIA_DRIVER_CAPABILITIES": "compute,utility,graphics"
    }
    rocm = gpu_plan(desk(amd(RADEON)), {"engine": "rocm", "hsa_override": "10.3.0", "devices": ["0"]})
    assert rocm["container"] == dict(
        NOTHING,
        devices=["/dev/kfd", "/dev/dri"],
        groups=["44", "105"],
        environment={"HSA_OVERRIDE_GFX_VERSION": "10.3.0", "ROCR_VISIBLE_DEVICES": "0"},
    )
    vulkan = gpu_plan(desk(intel(IRIS)), {"gpu": "vulkan", "engine": "vulkan", "devices": [0]})
    assert vulkan["container"]["devices"] == ["/dev/dri"]
    assert vulkan["container"]["environment"] == {"OLLAMA_IGPU_ENABLE": "1", "GGML_VK_VISIBLE_DEVICES": "0"}


@pytest.mark.parametrize("choice", ["auto", "vulkan"])
def test_an_integrated_card_beside_another_is_not_shown_to_the_container(choice: str) -> None:
    wanted = {"gpu": choice, "engine": "vulkan"}
    plan = gpu_plan(desk(intel(IRIS, ARC)), wanted)
    assert (plan["path"], plan["container"]["devices"]) == ("vulkan", ["/dev/dri/renderD129"])
    assert plan["container"]["environment"] == {}
    assert gpu_plan(desk(intel(IRIS, RADEON, ARC)), wanted)["container"]["devices"] == [
        "/dev/dri/renderD129",
        "/dev/dri/renderD130",
    ]
    without = gpu_plan(desk(intel(IRIS, dict(ARC, render=None))), wanted)
    assert (without["path"], without["reason"].split(":")[0]) == ("cpu", "intel 0x56a0 has no render node in /dev/dri")


@pytest.mark.parametrize(
    ("wanted", "names", "environment"),
    [
        ([0], [f"nvidia.com/gpu={A6000}"], {}),
        (["0"], [f"nvidia.com/gpu={A6000}"], {}),
        ([A6000], [f"nvidia.com/gpu={A6000}"], {}),
        # A specification that does not name the card: all of them come in, and CUDA is told which.
        ([GTX], ["nvidia.com/gpu=all"], {"CUDA_VISIBLE_DEVICES": GTX}),
    ],
)
def test_cards_are_chosen_by_index_or_uuid(wanted: list[Any], names: list[str], environment: dict[str, str]) -> None:
    container = gpu_plan(desk(nvidia(), docker=CDI), {"devices": wanted})["container"]
    assert container["device_requests"][0]["device_ids"] == names
    assert container["environment"] == environment


def test_a_specification_without_the_name_all_gives_every_card() -> None:
    names = ["nvidia.com/gpu=0", "nvidia.com/gpu=1"]
    container = gpu_plan(desk(nvidia(), docker=dict(CDI, cdi=[*names, "other.com/x=1"])), {})["container"]
    assert container["device_requests"][0]["device_ids"] == names


def test_a_card_that_is_not_there_is_named_with_those_that_are() -> None:
    plan = gpu_plan(desk(nvidia(), docker=CDI), {"gpu": "nvidia", "devices": ["7"]})
    assert plan["path"] == "cpu"
    there = f"0, {A6000}, 1, {GTX}"
    assert plan["error"] == (
        f"desk_gpu is nvidia, but desk_gpu_devices names 7, and this desk has {there} (see 'nvidia-smi -L')."
    )


def test_mig_instances_go_by_their_uuid_alone() -> None:
    facts = desk(
        nvidia("mig.csv", "mig-list.txt"), docker=dict(CDI, cdi=[f"nvidia.com/gpu={MIG}", "nvidia.com/gpu=all"])
    )
    chosen = gpu_plan(facts, {"devices": [MIG]})
    assert chosen["container"]["device_requests"][0]["device_ids"] == [f"nvidia.com/gpu={MIG}"]
    whole = gpu_plan(facts, {"devices": ["0"]})
    assert whole["path"] == "cpu"
    assert MIG in whole["reason"]
    assert "divided by MIG" in whole["reason"]


def test_two_cards_of_different_sizes_both_count_but_one_has_to_do() -> None:
    """The small one of 4 GiB has compute capability 6.1, for which driver 560 is too old; the large one is not."""
    facts = desk(nvidia(), docker=CDI)
    for gpu in facts["gpus"]:
        gpu["driver"] = "560.35.03"
    assert gpu_plan(facts, {})["path"] == "cdi"
    assert (
        "driver 560.35.03, and Ollama needs 570 or newer on a card of compute capability 6.1"
        in (gpu_plan(facts, {"devices": ["1"]})["reason"])
    )


def test_a_card_that_ollama_dropped_is_named_in_numbers() -> None:
    facts = desk(nvidia(), docker=CDI)
    facts["gpus"] = [dict(facts["gpus"][0], name="Tesla K80", compute="3.7")]
    assert "Tesla K80 has compute capability 3.7, and Ollama needs 5.0 or newer" in gpu_plan(facts, {})["reason"]


@pytest.mark.parametrize("path", ["cdi", "gpus"])
def test_a_driver_that_hangs_for_a_moment_moves_nobody_to_the_cpu(path: str) -> None:
    hangs = {"state": "unknown", "reason": "nvidia-smi did not answer within 2 s"}
    plan = gpu_plan(desk(gpu=hangs, container={"gpu": path}), {})
    assert (plan["path"], plan["unsure"], plan["promised"]) == (path, True, True)
    assert "keeps the way that it has" in plan["reason"]
    assert gpu_plan(desk(gpu=hangs, container={"gpu": "cpu"}), {})["path"] == "cpu"


@pytest.mark.parametrize(("choice", "there"), [("nvidia", "NVIDIA"), ("amd", "AMD"), ("vulkan", "render node")])
def test_a_gpu_that_was_demanded_and_is_not_there_is_an_error(choice: str, there: str) -> None:
    plan = gpu_plan(desk(), {"gpu": choice})
    assert plan["error"].startswith(f"desk_gpu is {choice}, but there is no ")
    assert there in plan["error"]


def test_a_way_that_a_container_could_not_use_is_not_taken_again_until_something_changes() -> None:
    facts = desk(nvidia(), docker=CDI, toolkit=TOOLKIT)
    record = {"ok": False, "error": "exec nvidia-smi: not found", "identity": proof_identity(facts, "cdi")}
    refused = dict(facts, record={"gpu": record})
    assert "could not use it (exec nvidia-smi: not found)" in gpu_plan(refused, {})["reason"]
    assert gpu_plan(refused, {"gpu": "nvidia"})["path"] == "cdi", "what is demanded is tried at every run"
    assert gpu_plan(dict(refused, toolkit=dict(TOOLKIT, version="1.18.0")), {})["path"] == "cdi"
    assert gpu_plan(dict(refused, record={"gpu": dict(record, ok=True)}), {})["path"] == "cdi"


# --- What stands between NVIDIA's card and a container --------------------------------------------------------------

LOST = {"gpu": "gpus", "gpu_lost": "Failed to initialize NVML: Unknown Error"}


@pytest.mark.parametrize(
    ("facts", "wanted", "do", "reason"),
    [
        (desk(), {}, "nothing", "there is no NVIDIA card"),
        (desk(nvidia(), docker=CDI), {"gpu": "none"}, "nothing", "desk_gpu is none"),
        (desk(nvidia(), docker=CDI), {}, "nothing", "offered by CDI"),
        (desk(nvidia(), docker=RUNTIME), {}, "nothing", "offered by the NVIDIA runtime"),
        (desk(nvidia()), {}, "toolkit", "Container Toolkit is not installed"),
        (desk(nvidia(), docker={"state": "absent", "version": None}), {}, "nothing", "Docker does not run yet"),
        (desk(nvidia("old-driver.csv")), {}, "nothing", "Ollama needs 550"),
        (desk(nvidia(), docker={"desktop": True}), {}, "nothing", "Docker Desktop"),
        (desk(nvidia(), toolkit=TOOLKIT), {}, "runtime", "does not know its runtime yet"),
        (desk(nvidia(), toolkit=TOOLKIT), {"path": "cdi"}, "cdi", "Docker 26.1.5 has CDI switched off"),
        (desk(nvidia(), toolkit=TOOLKIT, docker={"version": "20.10.24"}), {"path": "cdi"}, "nothing", "version 25"),
        (desk(nvidia(), toolkit=TOOLKIT, docker={"version": "20.10.24"}), {}, "runtime", "its runtime"),
        (desk(nvidia(), toolkit=TOOLKIT, docker=dict(CDI, cdi=[])), {}, "specification", "none was described yet"),
        (
            desk(nvidia(), toolkit=TOOLKIT, docker=dict(CDI, cdi_driver="535.183.01")),
            {},
            "specification",
            "made for driver 535.183.01",
        ),
        (
            desk(nvidia(), toolkit=TOOLKIT, docker=dict(CDI, cdi_driver="535.183.01", runtimes=["nvidia"])),
            {},
            "specification",
            "made for driver 535.183.01",
        ),
        (desk(nvidia(), toolkit=TOOLKIT, docker=dict(CDI, cdi_driver="570.86.15")), {}, "nothing", "CDI"),
        # The lost GPU: by CDI it cannot be lost.
        (desk(nvidia(), toolkit=TOOLKIT, container=LOST, docker={"runtimes": ["nvidia"]}), {}, "cdi", "lost its GPU"),
        (desk(nvidia(), toolkit=TOOLKIT, container=LOST, docker=RUNTIME), {}, "nothing", "the NVIDIA runtime"),
        (desk(nvidia(), toolkit=TOOLKIT, container=dict(LOST, gpu="cdi"), docker=CDI), {}, "nothing", "CDI"),
    ],
)
def test_what_the_card_still_needs(facts: dict[str, Any], wanted: dict[str, Any], do: str, reason: str) -> None:
    plan = nvidia_runtime_plan(facts, wanted)
    assert (plan["do"], plan["act"]) == (do, do != "nothing")
    assert reason in plan["reason"]


@pytest.mark.parametrize(
    ("changed", "wanted", "do", "words"),
    [
        ({}, {}, "nothing", "nvidia_runtime_driver: distribution"),
        ({}, {"driver": "distribution"}, "driver", "nvidia_runtime_driver"),
        ({"wsl": {"version": 2}}, {"driver": "distribution"}, "nothing", "never in WSL"),
        ({"system": {"virtualisation": "container"}}, {"driver": "distribution"}, "nothing", "into a container"),
    ],
)
def test_a_missing_driver(changed: dict[str, Any], wanted: dict[str, Any], do: str, words: str) -> None:
    missing = {"state": "no_driver", "reason": "there is an NVIDIA card, but no nvidia-smi"}
    plan = nvidia_runtime_plan(desk(gpu=missing, **changed), wanted)
    assert plan["do"] == do
    assert plan["reason"].startswith("there is an NVIDIA card, but no nvidia-smi")
    assert words in plan["reason"]


def test_what_could_not_be_had_is_not_asked_for_at_every_run() -> None:
    facts = desk(nvidia())
    first = nvidia_runtime_plan(facts, {"repository": "https://a"})
    record = {"tried": {"toolkit": "https://a cannot be reached"}, "tried_identity": first["identity"]}
    tried = dict(facts, record={"gpu": record})
    again = nvidia_runtime_plan(tried, {"repository": "https://a"})
    assert not again["act"]
    assert "https://a cannot be reached" in again["reason"]
    assert "--retry-sources" in again["reason"]
    assert nvidia_runtime_plan(tried, {"repository": "https://b"})["do"] == "toolkit", "another mirror is another try"
    assert nvidia_runtime_plan(tried, {"repository": "https://a", "gpu": "nvidia"})["do"] == "toolkit"


# --- The image that is built on the spot ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("facts", "engine", "reason"),
    [
        (desk(), "cpu", "there is no GPU"),
        (desk(nvidia(), docker=CDI), "vulkan", "offered by CDI"),
        (desk(nvidia(), docker=CDI, wsl={"version": 2}), "cpu", "in WSL NVIDIA's driver has no Vulkan"),
        (desk(nvidia()), "cpu", "Container Toolkit is not installed"),
        (desk(amd(RADEON)), "vulkan", "by Vulkan"),
        (desk(intel(IRIS)), "cpu", "is integrated"),
        (desk(intel(ARC)), "vulkan", "by Vulkan"),
        # The image that it has now says nothing of the one that is built.
        (desk(intel(ARC), image={"engine": "cpu"}), "vulkan", "by Vulkan"),
    ],
)
def test_what_is_built_for_is_known_before(facts: dict[str, Any], engine: str, reason: str) -> None:
    plan = build_plan(facts, {})
    assert plan["engine"] == engine
    assert reason in plan["reason"]


# --- Trying it, and why it did not take -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("container", "options"),
    [
        (NOTHING, []),
        (
            dict(NOTHING, device_requests=[{"driver": "cdi", "count": 0, "device_ids": ["nvidia.com/gpu=all"]}]),
            ["--device=nvidia.com/gpu=all"],
        ),
        (dict(NOTHING, device_requests=[{"driver": "nvidia", "count": -1, "capabilities": [["gpu"]]}]), ["--gpus=all"]),
        (
            dict(NOTHING, device_requests=[{"driver": "nvidia", "count": 0, "device_ids": ["GPU-1", "GPU-2"]}]),
            ['--gpus="device=GPU-1,GPU-2"'],
        ),
        (
            dict(NOTHING, runtime="nvidia", environment={"NVIDIA_VISIBLE_DEVICES": "all"}),
            ["--env=NVIDIA_VISIBLE_DEVICES=all", "--runtime=nvidia"],
        ),
        (
            dict(NOTHING, devices=["/dev/kfd", "/dev/dri"], groups=["105"]),
            ["--device=/dev/kfd", "--device=/dev/dri", "--group-add=105"],
        ),
    ],
)
def test_the_same_for_docker_run(container: dict[str, Any], options: list[str]) -> None:
    assert docker_options(container) == options


@pytest.mark.parametrize(
    ("seen", "words"),
    [
        ({"inside": {"code": 255, "said": "Failed to initialize NVML: Unknown Error\n"}}, "lost its GPU (Failed to"),
        (
            {"inside": {"code": 18, "said": "Failed to initialize NVML: Driver/library version mismatch"}},
            "restart the machine",
        ),
        ({"inside": {"code": 126, "said": 'exec: "nvidia-smi": executable file not found'}}, "was not given the GPU"),
        ({"inside": {"code": 1, "said": ""}}, "nvidia-smi ended with 1"),
        (
            {"inside": {"code": 0, "said": "GPU 0"}, "vram": 4096 * MIB},
            "takes 8192 MiB and the largest GPU has 4096 MiB",
        ),
        ({"vram": 16384 * MIB, "free": 1024 * MIB}, "only 1024 MiB of the GPU's memory are free"),
        ({"vram": 16384 * MIB, "free": 16000 * MIB}, "Ollama did not take the GPU"),
        ({}, "Ollama did not take the GPU"),
    ],
)
def test_why_a_model_lies_in_the_machines_memory(seen: dict[str, Any], words: str) -> None:
    assert words in why_cpu({"inside": None, "vram": None, "free": None, "size": 8192 * MIB, **seen})
