# SPDX-License-Identifier: GPL-3.0-or-later
"""NVIDIA's card under WSL, as Windows and its distro see it.

Composed, and not captured on such a machine: the answers of nvidia-smi (the fields as elsewhere, the version as
Windows', which is what nvidia-smi says in WSL too) and the CDI specification, whose shape is that of public reports
(NVIDIA/nvidia-container-toolkit#1739, docker/buildx#3320) and of the toolkit's source (pkg/nvcdi/driver-wsl.go). The
pairs of versions are those that Windows and NVIDIA give the same published drivers.
"""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.llmdesk.workstation.plugins.module_utils import probe
from ansible_collections.llmdesk.workstation.plugins.module_utils.gpu_plan import build_plan, gpu_plan
from ansible_collections.llmdesk.workstation.plugins.module_utils.nvidia_plan import nvidia_runtime_plan
from ansible_collections.llmdesk.workstation.plugins.module_utils.wsl_gpu import (
    both_sides,
    driver_of_windows,
    old_driver,
    windows_cards,
)

from tests.unit.test_gpu_plan import NODES, TOOLKIT, desk, nvidia

CAPTURED = Path(__file__).parent / "fixtures" / "probe"
SPECIFICATION = (CAPTURED / "cdi" / "wsl.yaml").read_text()
STORE = "/usr/lib/wsl/drivers/nv_dispi.inf_amd64_20ae8f14a487d5db"
WSL = {"version": 2, "systemd": True, "docker_desktop": False, "linux_driver": []}
DXG = dict(NODES, dri=False, dxg=True)
CDI = {"version": "28.3.2", "cdi_enabled": True, "cdi": probe.cdi_devices(SPECIFICATION), "cdi_missing": None}
GEFORCE = {"name": "NVIDIA GeForce RTX 4070 Ti", "driver": "32.0.15.6094", "memory": 12878610432}
INTEL = {"name": "Intel(R) UHD Graphics 770", "driver": "31.0.101.4502", "memory": 1073741824}
RADEON = {"name": "AMD Radeon RX 7900 XTX", "driver": "32.0.12033.1030", "memory": 0}


def distro(*parts: dict[str, Any], docker: dict[str, Any] | None = None, **changed: Any) -> dict[str, Any]:
    """Return the facts of a distro in WSL, without a card but for what is changed."""
    return desk({"wsl": WSL, "gpu_nodes": DXG}, *parts, docker={"cdi_missing": None, **(docker or {})}, **changed)


# --- The driver's two names -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("windows", "nvidias"),
    [
        ("32.0.15.6094", "560.94"),
        ("31.0.15.7652", "576.52"),
        ("32.0.15.8180", "581.80"),
        ("32.0.16.1047", "610.47"),  # the hundreds stand in the third number
        ("27.21.14.6109", "461.09"),
        ("27.21.0014.6109", "461.09"),
        ("9.18.13.2000", "320.00"),
        ("32.0.16.123", "601.23"),  # zeros in front are left out
        ("10.0.26100.1", None),  # Microsoft's own basic driver, no NVIDIA's
        ("560.94", None),
        ("", None),
    ],
)
def test_the_name_that_nvidia_gives_a_driver_of_windows(windows: str, nvidias: str | None) -> None:
    assert driver_of_windows(windows) == nvidias


def test_only_nvidias_drivers_are_renamed() -> None:
    assert windows_cards([INTEL, GEFORCE, RADEON]) == [
        {"name": "Intel(R) UHD Graphics 770", "driver": "31.0.101.4502", "memory": 1073741824, "nvidia": False},
        {"name": "NVIDIA GeForce RTX 4070 Ti", "driver": "560.94", "memory": 12878610432, "nvidia": True},
        {"name": "AMD Radeon RX 7900 XTX", "driver": "32.0.12033.1030", "memory": None, "nvidia": False},
    ]
    assert windows_cards(None) == []
    (nameless,) = windows_cards([{"name": None, "driver": None}])
    assert nameless == {"name": "unknown", "driver": "", "memory": None, "nvidia": False}


@pytest.mark.parametrize(
    ("card", "words"),
    [
        (dict(GEFORCE, driver="30.0.14.7141"), "has driver 471.41 in Windows, and Ollama needs 550 or newer"),
        (GEFORCE, ""),
        (dict(GEFORCE, driver=""), ""),
        (INTEL, ""),
    ],
)
def test_a_driver_that_is_too_old_is_seen_from_windows(card: dict[str, Any], words: str) -> None:
    (seen,) = windows_cards([card])
    assert words in old_driver(seen)
    assert bool(old_driver(seen)) is bool(words)


# --- Both sides -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("facts", "gpus", "words"),
    [
        (distro(nvidia("one.csv")), [INTEL, GEFORCE], None),
        (distro(nvidia("one.csv")), None, None),
        (distro(nvidia("one.csv")), [dict(GEFORCE, driver="")], None),
        (distro(), [INTEL], None),
        # The driver was updated, and the machine that all distros share has not been started since.
        (
            distro(nvidia("one.csv")),
            [dict(GEFORCE, driver="32.0.15.6603")],
            "Windows has NVIDIA's driver 566.03, and this distro sees 560.94, as it does after an update of the "
            "driver: run 'wsl --shutdown' in Windows",
        ),
        (distro(), [GEFORCE], "driver 560.94, and this distro sees no NVIDIA card: update NVIDIA's driver in Windows"),
        (distro(gpu_nodes=dict(DXG, dxg=False)), [GEFORCE], "it has no /dev/dxg. See that gpuSupport is not false"),
        (distro(gpu={"state": "unknown", "reason": "nvidia-smi did not answer within 2 s"}), [GEFORCE], None),
        (
            distro(nvidia("one.csv"), wsl=dict(WSL, linux_driver=["/usr/bin/nvidia-smi"])),
            None,
            "A Linux driver stands in this distro (/usr/bin/nvidia-smi), where none belongs",
        ),
        (desk(nvidia("two.csv")), [GEFORCE], None),  # no WSL: Windows is another machine
    ],
)
def test_where_both_sides_do_not_agree(
    facts: dict[str, Any], gpus: list[dict[str, Any]] | None, words: str | None
) -> None:
    said = both_sides(facts, gpus)
    assert len(said) == (0 if words is None else 1)
    assert words is None or words in said[0]
    assert all("wsl --shutdown" in sentence for sentence in said)


# --- The way of a container -----------------------------------------------------------------------------------------


def test_what_the_toolkit_writes_of_a_card_in_wsl() -> None:
    assert probe.cdi_devices(SPECIFICATION) == ["nvidia.com/gpu=all"], "cards have no names of their own"
    assert probe.cdi_driver(SPECIFICATION) is None, "nor has the file the driver's version"
    files = probe.cdi_from_windows(SPECIFICATION)
    assert len(files) == 9
    assert f"{STORE}/libcuda.so.1.1" in files
    assert probe.cdi_from_windows('{"hostPath": "/usr/lib/wsl/lib/libdxcore.so", "x": 1}') == [
        "/usr/lib/wsl/lib/libdxcore.so"
    ]
    assert probe.cdi_from_windows((CAPTURED / "cdi" / "nvidia.yaml").read_text()) == []


def test_a_container_gets_all_cards_and_cuda_is_told_which() -> None:
    facts = distro(nvidia("two.csv"), docker=CDI, toolkit=TOOLKIT)
    whole = gpu_plan(facts, {})
    assert (whole["path"], whole["promised"]) == ("cdi", True)
    everything = [{"driver": "cdi", "count": 0, "device_ids": ["nvidia.com/gpu=all"]}]
    assert whole["container"]["device_requests"] == everything
    assert whole["container"]["environment"] == {}
    second = gpu_plan(facts, {"devices": ["1"]})["container"]
    assert second["device_requests"] == everything
    assert second["environment"] == {"CUDA_VISIBLE_DEVICES": facts["gpus"][1]["uuid"]}


@pytest.mark.parametrize(
    ("docker", "do", "words"),
    [
        (CDI, "nothing", "offered by CDI"),
        (dict(CDI, cdi=[]), "specification", "none was described yet"),
        # Windows replaced the driver and its folder; what the file names is gone, and a container would not start.
        (dict(CDI, cdi_missing=f"{STORE}/libcuda.so.1.1"), "specification", f"name {STORE}/libcuda.so.1.1, which went"),
        (
            dict(CDI, cdi_missing=f"{STORE}/libcuda.so.1.1", runtimes=["nvidia", "runc"]),
            "specification",
            "with an older driver",
        ),
    ],
)
def test_what_the_card_still_needs_in_wsl(docker: dict[str, Any], do: str, words: str) -> None:
    plan = nvidia_runtime_plan(distro(nvidia("one.csv"), docker=docker, toolkit=TOOLKIT), {})
    assert plan["do"] == do
    assert words in plan["reason"]


def test_an_old_driver_is_updated_in_windows() -> None:
    facts = distro(nvidia("old-driver.csv"), docker=CDI, toolkit=TOOLKIT)
    for plan in (gpu_plan(facts, {}), nvidia_runtime_plan(facts, {})):
        assert "Ollama needs 550 or newer: update it in Windows, not in the distro" in plan["reason"]


@pytest.mark.parametrize("choice", ["auto", "amd", "vulkan"])
def test_no_other_card_is_promised_in_wsl(choice: str) -> None:
    """/dev/dxg is there for every make, and a render node may be, of the kernel's own making."""
    plan = gpu_plan(distro(gpu_nodes=dict(DXG, dri=True)), {"gpu": choice, "engine": "vulkan"})
    assert plan["path"] == "cpu"
    assert "NVIDIA's cards alone: Vulkan over /dev/dxg (Mesa's dzn)" in plan["reason"]
    assert bool(plan["error"]) is (choice != "auto")
    assert build_plan(distro(gpu_nodes=dict(DXG, dri=True)), {})["engine"] == "cpu"


def test_no_linux_driver_is_ever_installed_in_wsl() -> None:
    """Whatever is there, and whatever is wished for."""
    states = [
        {"state": "none", "reason": "there is no NVIDIA card"},
        {"state": "no_driver", "reason": "there is an NVIDIA card, but no nvidia-smi"},
        {"state": "unknown", "reason": "nvidia-smi did not answer within 2 s"},
        {"state": "ok", "reason": "NVIDIA GeForce RTX 4070 Ti, driver 560.94"},
    ]
    cards = [[], nvidia("one.csv")["gpus"], nvidia("old-driver.csv")["gpus"]]
    wishes = product(("auto", "nvidia", "amd", "vulkan", "none"), ("auto", "cdi", "runtime"))
    tried = 0
    for (gpu, path), state, gpus in product(wishes, states, cards):
        facts = distro(gpu=state, gpus=gpus, docker=dict(CDI, cdi=[]), toolkit=TOOLKIT)
        plan = nvidia_runtime_plan(facts, {"gpu": gpu, "path": path, "driver": "distribution"})
        assert plan["do"] != "driver", (gpu, path, state, plan["reason"])
        outside = nvidia_runtime_plan(dict(facts, wsl=None), {"gpu": gpu, "path": path, "driver": "distribution"})
        tried += outside["do"] == "driver"
    assert tried, "the same wishes bring one where there is no WSL"
