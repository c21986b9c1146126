# SPDX-License-Identifier: GPL-3.0-or-later
"""Files and programs of desks, read as they really are."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.llmdesk.workstation.plugins.module_utils import probe

FIXTURES = Path(__file__).parent / "fixtures"
CAPTURED = FIXTURES / "probe"
MIB = 1024 * 1024


def inspected(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((FIXTURES / "docker" / f"{name}.json").read_text())
    return found


@pytest.mark.parametrize(
    ("file", "distribution", "version", "codename", "family", "like", "base"),
    [
        ("debian-12", "debian", "12", "bookworm", "debian", "", "bookworm"),
        ("debian-13", "debian", "13", "trixie", "debian", "", "trixie"),
        ("ubuntu-24.04", "ubuntu", "24.04", "noble", "debian", "debian", "noble"),
        ("linuxmint-22", "linuxmint", "22.1", "xia", "debian", "ubuntu debian", "noble"),
        ("fedora-42", "fedora", "42", "", "redhat", "", ""),
        ("rhel-9", "rhel", "9.4", "", "redhat", "fedora", ""),
        ("rocky-9", "rocky", "9.4", "", "redhat", "rhel centos fedora", ""),
        ("almalinux-9", "almalinux", "9.4", "", "redhat", "rhel centos fedora", ""),
        ("centos-10", "centos", "10", "", "redhat", "rhel fedora", ""),
        ("arch", "arch", "", "", "arch", "", ""),
        ("leap-15.6", "opensuse-leap", "15.6", "", "suse", "suse opensuse", ""),
        ("tumbleweed", "opensuse-tumbleweed", "20250801", "", "suse", "opensuse suse", ""),
        ("slackware-15", "slackware", "15.0", "stable", "unknown", "", "stable"),
    ],
)
def test_a_distribution_has_a_family(
    file: str, distribution: str, version: str, codename: str, family: str, like: str, base: str
) -> None:
    text = (CAPTURED / "os-release" / file).read_text()
    assert probe.os_release(text) == {
        "distribution": distribution,
        "version": version,
        "codename": codename,
        "family": family,
        "like": like.split(),
        "base_codename": base,
    }


def test_a_machine_without_os_release_is_unknown() -> None:
    assert probe.os_release("")["family"] == "unknown"


@pytest.mark.parametrize(
    ("kernel", "container", "flags", "kind"),
    [
        ("6.6.87.2-microsoft-standard-WSL2", False, ["hypervisor"], "wsl"),
        ("4.4.0-19041-Microsoft", False, [], "wsl"),
        ("6.6.87.2-microsoft-standard-WSL2", True, ["hypervisor"], "container"),
        ("6.1.0-37-amd64", False, ["fpu", "hypervisor"], "vm"),
        ("6.1.0-37-amd64", False, ["fpu"], "none"),
    ],
)
def test_what_a_desk_runs_on(kernel: str, container: bool, flags: list[str], kind: str) -> None:
    assert probe.virtualisation(kernel, container, flags) == kind


@pytest.mark.parametrize(
    ("first", "booted", "scripts", "manager"),
    [
        ("systemd", True, True, "systemd"),
        ("systemd", True, False, "systemd"),
        ("init", False, True, "sysvinit"),  # WSL without systemd
        ("init", True, True, "sysvinit"),  # a folder left over says nothing
        ("sh", False, False, "none"),
    ],
)
def test_who_may_be_asked_to_start_a_daemon(first: str, booted: bool, scripts: bool, manager: str) -> None:
    assert probe.service_manager(first, booted, scripts) == manager


def test_cpus_are_counted_and_named() -> None:
    found = probe.cpu((FIXTURES / "desk" / "wsl" / "cpuinfo").read_text())
    assert (found["model"], found["cores"]) == ("13th Gen Intel(R) Core(TM) i7-13700K", 4)
    assert {"avx2", "fma", "f16c", "hypervisor"} <= set(found["flags"])
    assert "vnmi" not in found["flags"], "a flag of the line 'vmx flags'"


def test_an_arm_cpu_has_no_model_name() -> None:
    found = probe.cpu((CAPTURED / "cpuinfo-arm64").read_text())
    assert (found["model"], found["cores"]) == ("unknown", 2)
    assert "asimd" in found["flags"]


def test_a_cpu_that_says_nothing_is_one_core() -> None:
    assert probe.cpu("") == {"model": "unknown", "cores": 1, "flags": []}


def test_memory_is_counted_in_bytes() -> None:
    text = (FIXTURES / "desk" / "wsl" / "meminfo").read_text()
    assert probe.memory(text) == {"total": 16256540 * 1024, "available": 15089472 * 1024}
    assert probe.memory("") == {"total": 0, "available": 0}


@pytest.mark.parametrize(
    ("file", "gpus"),
    [
        ("one.csv", [("NVIDIA GeForce RTX 4070 Ti", 12282 * MIB, "560.94", "8.9")]),
        (
            "two.csv",
            [
                ("NVIDIA RTX A6000", 49140 * MIB, "570.86.15", "8.6"),
                ("NVIDIA GeForce GTX 1050 Ti", 4096 * MIB, "570.86.15", "6.1"),
            ],
        ),
        ("h100.csv", [("NVIDIA H100 80GB HBM3", 81559 * MIB, "580.159.04", "9.0")]),
        ("unified-memory.csv", [("NVIDIA GB10", None, "580.95.05", "12.1")]),
        ("old-driver.csv", [("Tesla K80", 11441 * MIB, "450.119.03", None)]),
        ("no-driver.txt", []),
    ],
)
def test_cards_as_nvidia_smi_lists_them(file: str, gpus: list[tuple[str, int | None, str, str | None]]) -> None:
    found = probe.nvidia_gpus((CAPTURED / "nvidia-smi" / file).read_text())
    assert [(gpu["name"], gpu["vram"], gpu["driver"], gpu["compute"]) for gpu in found] == gpus
    assert {gpu["vendor"] for gpu in found} <= {"nvidia"}


def test_cards_by_their_names_and_what_is_free() -> None:
    one, two = probe.nvidia_gpus((CAPTURED / "nvidia-smi" / "two.csv").read_text())
    assert (one["index"], one["uuid"], one["free"]) == (0, "GPU-8a2e1f4c-5d35-6a2b-9a6f-6f1c7c0d8e11", 48601 * MIB)
    assert (two["index"], two["mig_enabled"]) == (1, False)
    (unified,) = probe.nvidia_gpus((CAPTURED / "nvidia-smi" / "unified-memory.csv").read_text())
    assert (unified["vram"], unified["free"], unified["mig_enabled"]) == (None, None, False)
    (divided,) = probe.nvidia_gpus((CAPTURED / "nvidia-smi" / "mig.csv").read_text())
    assert divided["mig_enabled"]


def test_mig_instances_belong_to_their_card() -> None:
    assert probe.mig_instances((CAPTURED / "nvidia-smi" / "mig-list.txt").read_text()) == {
        "GPU-4d1e9f27-6c3a-4b58-8f01-7a2c5b9d0e34": [
            {"profile": "3g.20gb", "uuid": "MIG-c6d4f1ef-42e4-5de3-91c7-45d71c87eb3f"},
            {"profile": "2g.10gb", "uuid": "MIG-0c757cd7-e942-5726-a0b8-0e8fb7067135"},
        ]
    }
    assert probe.mig_instances("") == {}


@pytest.mark.parametrize(
    ("target", "gfx"),
    [("110000", "11.0.0"), ("90010", "9.0.10"), ("100304", "10.3.4"), ("120001", "12.0.1"), ("0", None)],
)
def test_what_an_amd_card_is_to_rocm(target: str, gfx: str | None) -> None:
    """gfx90a is 9.0.10: the last figure is hexadecimal in the name and decimal in the kernel."""
    assert probe.amd_gfx(f"simd_count 192\ngfx_target_version {target}\n") == gfx


def test_where_a_gpu_of_the_kernels_list_sits() -> None:
    assert probe.kfd_address("simd_count 192\nlocation_id 768\ndomain 0\n") == "0000:03:00.0"
    assert probe.kfd_address("simd_count 8\nlocation_id 49408\ndomain 1\n") == "0001:c1:00.0"
    assert probe.kfd_address("cpu_cores_count 16\nsimd_count 0\nlocation_id 0\n") is None


@pytest.mark.parametrize(
    ("vendor", "address", "vram", "shared", "integrated"),
    [
        ("intel", "0000:00:02.0", None, None, True),
        ("intel", "0000:03:00.0", None, None, False),
        ("amd", "0000:03:00.0", 25753026560, 16 * 1024 * MIB, False),
        ("amd", "0000:c1:00.0", 512 * MIB, 15 * 1024 * MIB, True),
        ("amd", "0000:03:00.0", None, None, False),
    ],
)
def test_a_gpu_without_memory_of_its_own(
    vendor: str, address: str, vram: int | None, shared: int | None, integrated: bool
) -> None:
    assert probe.integrated(vendor, address, vram, shared) is integrated


def test_the_toolkits_version_and_the_driver_that_a_specification_was_made_for() -> None:
    assert probe.toolkit_version("NVIDIA Container Toolkit CLI version 1.17.8\ncommit: f202b80") == "1.17.8"
    assert probe.toolkit_version("") is None
    mount = "hostPath: /usr/lib/x86_64-linux-gnu/libcuda.so.570.86.15"
    assert probe.cdi_driver(f"- containerPath: {mount}\n  {mount}\n") == "570.86.15"
    assert probe.cdi_driver((CAPTURED / "cdi" / "h100.yaml").read_text()) == "580.159.04"
    assert probe.cdi_driver("hostPath: /usr/lib/wsl/drivers/nv/libcuda.so.1.1") is None
    assert probe.cdi_driver("") is None


def test_only_sockets_that_listen_take_a_port() -> None:
    assert probe.listeners((CAPTURED / "net" / "tcp").read_text()) == {
        11434: "41876",
        3000: "41869",
        53: "16301",
        22: "18435",
    }
    assert probe.listeners((CAPTURED / "net" / "tcp6").read_text()) == {22: "18437", 8080: "52210"}
    assert probe.listeners("") == {}


@pytest.mark.parametrize(
    ("text", "state", "error"),
    [
        (None, "absent", None),
        ("", "valid", None),
        ("\n", "valid", None),  # dockerd takes an empty file for no settings
        ('{"data-root": "/srv/docker"}', "valid", None),
        ('{"data-root": "/srv/docker",}', "invalid", "line 1, column 28: a comma with nothing behind it"),
        ('{"a": 1}\n{', "invalid", "line 2, column 1"),
        ("[]", "invalid", "it is no object"),
    ],
)
def test_what_docker_would_say_to_its_settings(text: str | None, state: str, error: str | None) -> None:
    found = probe.daemon_json(text)
    assert found["state"] == state
    assert (found["error"] is None) if error is None else (error in found["error"])


def test_dockers_settings_are_shown_without_passwords() -> None:
    shown = probe.daemon_json('{"proxies": {"http-proxy": "http://anna:secret@proxy.lab.test:3128"}}')["config"]
    assert shown == {"proxies": {"http-proxy": "http://***@proxy.lab.test:3128"}}


@pytest.mark.parametrize(
    ("version", "edition"),
    [
        (json.loads((FIXTURES / "docker" / "version.json").read_text()), "distribution"),
        ({"Platform": {"Name": "Docker Engine - Community"}, "Components": [{"Name": "Engine"}]}, "ce"),
        ({"Platform": {"Name": "Docker Desktop 4.43.0 (198134)"}, "Components": [{"Name": "Engine"}]}, "desktop"),
        ({"Platform": {"Name": "linux/amd64/debian-12"}, "Components": [{"Name": "Podman Engine"}]}, "podman"),
        ({}, "distribution"),
    ],
)
def test_whose_docker_answers(version: dict[str, Any], edition: str) -> None:
    assert probe.docker_edition(version) == edition


def test_who_is_in_the_group_docker() -> None:
    groups = "root:x:0:\ndocker:x:998:anna,berta\ndockerroot:x:7:eve\n"
    users = "root:x:0:0::/root:/bin/sh\ncarl:x:1000:998::/home/carl:/bin/sh\n"
    assert probe.group_members(groups, users, "docker") == ["anna", "berta", "carl"]
    assert probe.group_members("docker:x:998:\n", "", "docker") == []
    assert probe.group_members("", "", "docker") == []


@pytest.mark.parametrize(
    ("file", "devices"),
    [
        (
            "nvidia.yaml",
            ["nvidia.com/gpu=0", "nvidia.com/gpu=GPU-8a2e1f4c-5d35-6a2b-9a6f-6f1c7c0d8e11", "nvidia.com/gpu=all"],
        ),
        ("nvidia.json", ["nvidia.com/gpu=0", "nvidia.com/gpu=all"]),
        (
            "h100.yaml",
            ["nvidia.com/gpu=0", "nvidia.com/gpu=GPU-5e1a2b3c-0d4f-4a6b-9c8d-7e6f5a4b3c2d", "nvidia.com/gpu=all"],
        ),
    ],
)
def test_devices_of_a_cdi_specification(file: str, devices: list[str]) -> None:
    assert probe.cdi_devices((CAPTURED / "cdi" / file).read_text()) == devices


@pytest.mark.parametrize("text", ["", "devices: []", "{}", "[1]", '{"kind": "nvidia.com/gpu"}'])
def test_a_cdi_specification_without_devices(text: str) -> None:
    assert probe.cdi_devices(text) == []


def test_our_container() -> None:
    found = probe.container(inspected("container"))
    assert found == {
        "id": "4c1d0e3f9b7a52e86d0c4f1b2a3958e7d6c5b4a39281706f5e4d3c2b1a09f8e7",
        "name": "open-webui",
        "state": "running",
        "health": "healthy",
        "image": "sha256:9f2c1b7e4d3a5c6b8e7f0a1d2c3b4e5f60718293a4b5c6d7e8f9a0b1c2d3e4f5",
        "image_id": "sha256:9f2c1b7e4d3a5c6b8e7f0a1d2c3b4e5f60718293a4b5c6d7e8f9a0b1c2d3e4f5",
        "managed": True,
        "config_hash": "5f0c2d1e7b9a48c3d6e5f4a3b2c1d0e9f8a7b6c5d4e3f2a1b0c9d8e7f6a5b4c3",
        "published": [
            {"port": 11434, "host_ip": "127.0.0.1", "host_port": 11434},
            {"port": 8080, "host_ip": "127.0.0.1", "host_port": 3000},
        ],
        "restart_policy": "always",
        "started_at": "2026-05-30T09:41:08.103321871Z",
        "gpu": "cpu",
    }


@pytest.mark.parametrize(
    ("host", "path"),
    [
        ({}, "cpu"),
        ({"DeviceRequests": None, "Devices": None, "Runtime": "runc"}, "cpu"),
        ({"DeviceRequests": [{"Driver": "cdi", "DeviceIDs": ["nvidia.com/gpu=all"]}]}, "cdi"),
        ({"DeviceRequests": [{"Driver": "nvidia", "Count": -1, "Capabilities": [["gpu"]]}]}, "gpus"),
        ({"DeviceRequests": [{"Driver": "", "Count": -1, "Capabilities": [["gpu"]]}]}, "gpus"),  # docker run --gpus all
        ({"Runtime": "nvidia"}, "gpus"),
        ({"Devices": [{"PathOnHost": "/dev/kfd"}, {"PathOnHost": "/dev/dri"}]}, "rocm"),
        ({"Devices": [{"PathOnHost": "/dev/dri/renderD128"}]}, "vulkan"),
        ({"Devices": [{"PathOnHost": "/dev/snd"}]}, "cpu"),
    ],
)
def test_the_way_on_which_a_container_reaches_a_gpu(host: dict[str, Any], path: str) -> None:
    assert probe.gpu_path(host) == path


def test_a_container_started_by_hand_is_not_ours() -> None:
    found = probe.container(inspected("container-by-hand"))
    assert (found["managed"], found["config_hash"], found["health"]) == (False, None, "none")
    assert found["published"] == [{"port": 8080, "host_ip": "", "host_port": 3000}]


def test_a_container_may_have_no_labels_ports_or_policy() -> None:
    bare = inspected("container")
    bare["Config"]["Labels"] = None
    bare["HostConfig"].update(PortBindings={"8080/tcp": None, "53/udp": [{"HostIp": "", "HostPort": ""}]})
    bare["HostConfig"].pop("RestartPolicy")
    found = probe.container(bare)
    assert (found["managed"], found["restart_policy"]) == (False, "no")
    assert found["published"] == [{"port": 53, "host_ip": "", "host_port": 0}]


@pytest.mark.parametrize(
    ("onboarding", "volume", "password_file", "state"),
    [
        (True, True, True, "none"),
        (None, False, True, "none"),
        (None, True, True, "unknown"),
        (False, True, True, "managed"),
        (False, True, False, "unmanaged"),
    ],
)
def test_the_administrators_account(onboarding: bool | None, volume: bool, password_file: bool, state: str) -> None:
    assert probe.account(onboarding, volume, password_file) == state


def test_people_are_told_from_accounts_of_programs() -> None:
    text = (
        "root:x:0:0:root:/root:/bin/bash\nmessagebus:x:101:102::/nonexistent:/bin/false\n"
        "anna:x:1000:1000:,,,:/home/anna:/bin/bash\nnobody:x:65534:65534:nobody:/:/usr/sbin/nologin\n"
        "built:x:60500:60500::/:/bin/sh\nbroken\n+::::::\n"
    )
    assert probe.people(text) == ["anna"]
