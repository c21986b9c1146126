# SPDX-License-Identifier: GPL-3.0-or-later
"""One look at machines of many kinds: their files in a folder, their Docker and their page as real servers."""

from __future__ import annotations

import glob
import json
import os
import shutil
import signal
import subprocess
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from hashlib import sha256
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible_collections.llmdesk.workstation.plugins.module_utils import docker_exec, probe
from ansible_collections.llmdesk.workstation.plugins.module_utils import docker_socket as docker_client
from ansible_collections.llmdesk.workstation.plugins.modules import desk_facts

from tests.unit.servers import Answer, Reply, UnixSocket, as_json, docker_socket, loopback

FIXTURES = Path(__file__).parent / "fixtures"
SMI = FIXTURES / "probe" / "nvidia-smi"
MIB = 1024 * 1024

KERNEL = "6.1.0-37-amd64"
WSL_KERNEL = "6.6.87.2-microsoft-standard-WSL2"


class Machine:
    """A machine whose whole file system lies in one folder; the module believes that it is ``/``."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.root = root
        self.kernel = KERNEL
        self.groups: dict[str, int] = {}
        self.wanted: dict[str, Any] = {
            "container": "open-webui",
            "port": 1,  # where nobody listens
            "ollama_port": 1,
            "state_dir": "/var/lib/llmdesk",
            "config_dir": "/etc/llmdesk",
            "cache_dir": "/var/cache/llmdesk",
            "proxy": None,
            "proxy_credentials": None,
            "certificates": [],
            "gpu_timeout": 5,
            "page_wait": 0,
        }
        path = SimpleNamespace(
            join=os.path.join,
            basename=os.path.basename,
            dirname=os.path.dirname,
            exists=lambda name: Path(self.at(name)).exists(),
            isdir=lambda name: Path(self.at(name)).is_dir(),
            ismount=lambda name: name == "/",
            realpath=lambda name: os.path.realpath(self.at(name)),
        )
        own = SimpleNamespace(
            path=path,
            readlink=lambda name: str(Path(self.at(name)).readlink()),
            statvfs=lambda name: os.statvfs(self.at(name)),
            stat=lambda name: SimpleNamespace(st_gid=self.groups.get(name, 0)),
        )
        read = desk_facts.read
        monkeypatch.setattr(desk_facts, "os", own)
        monkeypatch.setattr(desk_facts, "read", lambda name: read(self.at(name)))
        monkeypatch.setattr(desk_facts, "glob", SimpleNamespace(glob=self._glob))
        monkeypatch.setattr(desk_facts, "shutil", SimpleNamespace(which=self._which))
        names = SimpleNamespace(
            release=lambda: self.kernel, machine=lambda: "x86_64", node=lambda: "desk", python_version=lambda: "3.11.2"
        )
        monkeypatch.setattr(desk_facts, "platform", names)
        monkeypatch.delenv("DOCKER_HOST", raising=False)
        monkeypatch.setattr(docker_client, "DEFAULT_SOCKET", self.at("/var/run/docker.sock"))
        root.joinpath("var/run").mkdir(parents=True)

    def at(self, name: str) -> str:
        return str(self.root) + name

    def has(self, name: str, text: str = "") -> None:
        path = Path(self.at(name))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def runs(self, name: str, script: str) -> None:
        self.has(name, "#!/bin/sh\n" + script)
        Path(self.at(name)).chmod(0o755)

    def is_a(self, kind: str, first_process: str) -> None:
        for file, name in (
            ("os-release", "/etc/os-release"),
            ("cpuinfo", "/proc/cpuinfo"),
            ("meminfo", "/proc/meminfo"),
        ):
            self.has(name, (FIXTURES / "desk" / kind / file).read_text())
        self.has("/proc/1/comm", first_process + "\n")
        for file in ("tcp", "tcp6"):
            self.has("/proc/net/" + file, (FIXTURES / "probe" / "net" / file).read_text())

    def has_card(self, slot: str, vendor: str, device: str, driver: str, **more: str) -> None:
        folder = f"/sys/bus/pci/devices/{slot}"
        for name, text in {"class": "0x030000", "vendor": vendor, "device": device, **more}.items():
            self.has(f"{folder}/{name}", text + "\n")
        Path(self.at(f"/sys/bus/pci/drivers/{driver}")).mkdir(parents=True, exist_ok=True)
        Path(self.at(f"{folder}/driver")).symlink_to(self.at(f"/sys/bus/pci/drivers/{driver}"))

    def docker(self, answers: dict[str, Answer]) -> AbstractContextManager[UnixSocket]:
        return docker_socket(Path(self.at("/var/run/docker.sock")), answers)

    def look(self) -> dict[str, Any]:
        return desk_facts.Desk(self.wanted).look()

    def _glob(self, pattern: str) -> list[str]:
        found = glob.glob(self.at(pattern))  # noqa: PTH207 - as the module does
        return [name[len(str(self.root)) :] for name in found]

    def _which(self, name: str) -> str | None:
        folders = os.pathsep.join(self.at(folder) for folder in ("/usr/sbin", "/usr/bin"))
        return shutil.which(self.at(name) if "/" in name else name, path=folders)


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    found = Machine(tmp_path / "root", monkeypatch)
    found.is_a("debian", "systemd")
    return found


def engine(**changed: Any) -> dict[str, Answer]:
    """Return what a Docker Engine with our container answers."""
    answers: dict[str, Answer] = {
        "GET /version": Reply(body=(FIXTURES / "docker" / "version.json").read_text()),
        "GET /info": Reply(body=(FIXTURES / "docker" / "info.json").read_text()),
        "GET /volumes": Reply(body=(FIXTURES / "docker" / "volumes.json").read_text()),
        "GET /containers/open-webui/json": Reply(body=(FIXTURES / "docker" / "container.json").read_text()),
    }
    return {**answers, **changed}


# --- The system -----------------------------------------------------------------------------------------------------


def test_a_native_debian(machine: Machine) -> None:
    machine.has("/run/systemd/system/.keep")
    desk = machine.look()
    assert desk["schema"] == 1
    assert desk["system"] == {
        "distribution": "debian",
        "version": "12",
        "codename": "bookworm",
        "family": "debian",
        "like": [],
        "base_codename": "bookworm",
        "kernel": KERNEL,
        "architecture": "x86_64",
        "hostname": "desk",
        "virtualisation": "vm",
    }
    assert (desk["service_manager"], desk["wsl"], desk["unknown"]) == ("systemd", None, [])
    assert desk["cpu"]["cores"] == 2
    assert set(desk["cpu"]["flags"]) == {"avx", "avx2", "f16c", "fma", "avx512f"}
    assert desk["memory"]["total"] > desk["memory"]["available"] > 0
    assert [disk["path"] for disk in desk["disk"]] == ["/var/lib/docker", "/var/lib/llmdesk", "/var/cache/llmdesk"]
    assert all(disk["mount"] == "/" and disk["total"] >= disk["available"] > 0 for disk in desk["disk"])


def test_what_a_run_that_was_cut_off_has_left_of_a_bundle_is_named(machine: Machine) -> None:
    machine.is_a("debian", "systemd")
    machine.has("/var/cache/llmdesk/bundle/bundle.json")
    assert machine.look()["leftovers"] == [], "a bundle that somebody keeps there is none"
    machine.has("/var/cache/llmdesk/bundle/.copy")
    machine.has("/var/cache/llmdesk/bundle-apt/apt.conf")
    assert machine.look()["leftovers"] == ["/var/cache/llmdesk/bundle", "/var/cache/llmdesk/bundle-apt"]


@pytest.mark.parametrize(("booted", "manager"), [(True, "systemd"), (False, "sysvinit")])
def test_a_distribution_in_wsl(machine: Machine, booted: bool, manager: str) -> None:
    machine.is_a("wsl", "systemd" if booted else "init")
    machine.kernel = WSL_KERNEL
    machine.runs("/usr/sbin/service", "")
    machine.has("/etc/init.d/docker")
    machine.has("/mnt/wsl/docker-desktop/cli-tools/usr/bin/docker")
    if booted:
        machine.has("/run/systemd/system/.keep")
    desk = machine.look()
    assert desk["system"]["virtualisation"] == "wsl"
    assert desk["wsl"] == {
        "version": 2,
        "systemd": booted,
        "docker_desktop": True,
        "linux_driver": [],
        "distribution": None,
        "profile": None,
        "wslconfig": None,
        "kept_awake": False,
    }
    assert desk["service_manager"] == manager
    assert desk["distro"] == {"conf": None, "people": [], "systemd": False}


def test_what_a_distribution_brings_along_for_its_first_boot(machine: Machine) -> None:
    machine.has("/etc/wsl.conf", "[boot]\nsystemd=true\n")
    machine.has("/etc/passwd", "root:x:0:0::/root:/bin/sh\nanna:x:1000:1000::/home/anna:/bin/sh\n")
    machine.has("/usr/lib/systemd/systemd")
    assert machine.look()["distro"] == {"conf": "[boot]\nsystemd=true\n", "people": ["anna"], "systemd": True}


def test_windows_is_looked_at_from_inside(machine: Machine) -> None:
    machine.is_a("wsl", "systemd")
    machine.kernel = WSL_KERNEL
    # Ansible runs the module by sudo, which drops what WSL has told the person's shell.
    machine.has("/proc/self/status", "Name:\tpython3\nPPid:\t30\n")
    machine.has("/proc/self/environ", "HOME=/root\0")
    machine.has("/proc/30/status", "Name:\tsudo\nPPid:\t20\n")
    machine.has("/proc/20/environ", "WSL_DISTRO_NAME=Debian\0PATH=/bin:/mnt/c/Users/a b/AppData/Local/x\0")
    machine.has("/proc/40/cmdline", "sleep\0infinity\0")
    machine.has("/mnt/c/Users/a b/.wslconfig", "[wsl2]\n")
    wsl = machine.look()["wsl"]
    assert (wsl["distribution"], wsl["profile"]) == ("Debian", "/mnt/c/Users/a b")
    assert (wsl["wslconfig"], wsl["kept_awake"]) == ("[wsl2]\n", True)


@pytest.mark.parametrize("mark", ["/.dockerenv", "/run/.containerenv"])
def test_a_container(machine: Machine, mark: str) -> None:
    machine.is_a("debian", "sh")
    machine.has(mark)
    desk = machine.look()
    assert (desk["system"]["virtualisation"], desk["service_manager"]) == ("container", "none")


# --- The GPU --------------------------------------------------------------------------------------------------------


def test_what_a_container_can_be_given(machine: Machine) -> None:
    assert machine.look()["gpu_nodes"] == {"kfd": False, "dri": False, "dxg": False, "groups": []}
    for node, group in (("/dev/kfd", 105), ("/dev/dri/renderD128", 105), ("/dev/dri/card0", 44)):
        machine.has(node)
        machine.groups[node] = group
    assert machine.look()["gpu_nodes"] == {"kfd": True, "dri": True, "dxg": False, "groups": [44, 105]}


def test_no_gpu(machine: Machine) -> None:
    machine.has("/sys/bus/pci/devices/0000:00:02.0/class", "0x020000\n")  # a network card
    machine.has("/sys/bus/pci/devices/0000:00:02.0/vendor", "0x10de\n")
    desk = machine.look()
    assert desk["gpus"] == []
    assert desk["gpu"] == {"state": "none", "reason": "there is no NVIDIA card"}


@pytest.mark.parametrize("tool", ["/usr/bin/nvidia-smi", "/usr/lib/wsl/lib/nvidia-smi"])
def test_an_nvidia_card_is_asked_through_its_tool(machine: Machine, tool: str) -> None:
    machine.runs(tool, f'printf "%s\\n" "$*" > {machine.at("/asked")}; cat {SMI / "two.csv"}')
    desk = machine.look()
    assert [gpu["vram"] for gpu in desk["gpus"]] == [49140 * MIB, 4096 * MIB]
    assert desk["gpu"] == {"state": "ok", "reason": "NVIDIA RTX A6000, driver 570.86.15"}
    asked = Path(machine.at("/asked")).read_text()
    fields = "index,uuid,name,memory.total,memory.free,driver_version,compute_cap,mig.mode.current"
    assert asked == f"--query-gpu={fields} --format=csv,noheader,nounits\n", "once, whatever it has"


def test_in_wsl_the_tool_of_windows_is_asked_and_a_linux_driver_is_named(machine: Machine) -> None:
    machine.is_a("wsl", "systemd")
    machine.kernel = WSL_KERNEL
    machine.runs("/usr/lib/wsl/lib/nvidia-smi", f"cat {SMI / 'one.csv'}")
    machine.runs("/usr/bin/nvidia-smi", "echo 'Failed to initialize NVML: GPU access blocked by the operating system'")
    libraries = Path(machine.at("/usr/lib/x86_64-linux-gnu"))
    for name in ("libcuda.so.1", "libcuda.so.570.86.15"):
        machine.has(f"/usr/lib/x86_64-linux-gnu/{name}")
    desk = machine.look()
    assert desk["gpu"] == {"state": "ok", "reason": "NVIDIA GeForce RTX 4070 Ti, driver 560.94"}
    assert desk["wsl"]["linux_driver"] == ["/usr/bin/nvidia-smi", "/usr/lib/x86_64-linux-gnu/libcuda.so.570.86.15"]

    Path(machine.at("/usr/bin/nvidia-smi")).unlink()
    Path(machine.at("/usr/bin/nvidia-smi")).symlink_to("/usr/lib/wsl/lib/nvidia-smi")
    (libraries / "libcuda.so.570.86.15").unlink()
    assert machine.look()["wsl"]["linux_driver"] == [], "a link to what Windows brings is none"


def test_in_wsl_a_description_of_the_cards_goes_with_the_driver_it_was_made_for(machine: Machine) -> None:
    text = (FIXTURES / "probe" / "cdi" / "wsl.yaml").read_text()
    machine.has("/etc/cdi/nvidia.yaml", text)
    missing = machine.look()["docker"]["cdi_missing"]
    assert missing.startswith("/usr/lib/wsl/drivers/nv_dispi.inf_amd64_20ae8f14a487d5db/")
    for path in probe.cdi_from_windows(text):
        machine.has(path)
    assert machine.look()["docker"]["cdi_missing"] is None


def test_a_driver_that_does_not_know_a_field_is_asked_again_without_it(machine: Machine) -> None:
    known = (
        f'case "$*" in *compute_cap*) cat {SMI / "not-a-field.txt"}; exit 2;; *) cat {SMI / "old-driver.csv"};; esac'
    )
    machine.runs("/usr/bin/nvidia-smi", known)
    desk = machine.look()
    assert (desk["gpu"]["state"], desk["gpus"][0]["driver"], desk["unknown"]) == ("ok", "450.119.03", [])


def test_instances_of_a_card_that_is_divided_are_listed(machine: Machine) -> None:
    machine.runs("/usr/bin/nvidia-smi", f'[ "$1" = -L ] && exec cat {SMI / "mig-list.txt"}; cat {SMI / "mig.csv"}')
    (card,) = machine.look()["gpus"]
    assert [instance["profile"] for instance in card["mig"]] == ["3g.20gb", "2g.10gb"]


def test_the_container_toolkit(machine: Machine) -> None:
    assert machine.look()["toolkit"] == {"ctk": None, "runtime": None, "version": None}
    machine.runs("/usr/bin/nvidia-ctk", "echo NVIDIA Container Toolkit CLI version 1.17.8; echo commit: f202b80")
    machine.runs("/usr/bin/nvidia-container-runtime", "")
    toolkit = machine.look()["toolkit"]
    assert toolkit["version"] == "1.17.8"
    assert toolkit["runtime"].endswith("/usr/bin/nvidia-container-runtime")


@pytest.mark.parametrize(
    ("code", "said", "loaded", "unused_by", "lost"),
    [
        (255, "Failed to initialize NVML: Unknown Error\n", 0, "", "Failed to initialize NVML: Unknown Error"),
        (0, "GPU 0: NVIDIA RTX A6000", 0, "", None),  # it has its GPU, and Ollama chose the CPU
        (255, "Failed to initialize NVML: Unknown Error", 98, "", None),  # not asked: the model lies on the GPU
        (255, "Failed to initialize NVML: Unknown Error", None, "ours", "Failed to initialize NVML: Unknown Error"),
        (255, "Failed to initialize NVML: Unknown Error", None, "another", None),
        (1, "", 0, "", "nvidia-smi ended with 1"),
    ],
)
def test_a_container_that_lost_its_gpu(
    machine: Machine,
    monkeypatch: pytest.MonkeyPatch,
    code: int,
    said: str,
    loaded: int | None,
    unused_by: str,
    lost: str | None,
) -> None:
    machine.runs("/usr/bin/nvidia-smi", f"cat {SMI / 'two.csv'}")
    container = json.loads((FIXTURES / "docker" / "container.json").read_text())
    container["HostConfig"]["DeviceRequests"] = [{"Driver": "nvidia", "Count": -1, "Capabilities": [["gpu"]]}]
    if unused_by:
        identity = container["Id"] if unused_by == "ours" else "another"
        machine.has("/var/lib/llmdesk/gpu.json", json.dumps({"unused_by": identity}))
    asked: list[list[str]] = []

    def run(_container: str, command: list[str], _timeout: float) -> tuple[int, str]:
        asked.append(command)
        return code, said

    monkeypatch.setattr(docker_exec, "run", run)
    models = [] if loaded is None else [{"name": "m:1", "size": 98, "size_vram": loaded}]
    ollama: dict[str, Answer] = {
        "GET /api/version": as_json({"version": "0.32.15"}),
        "GET /api/tags": as_json({"models": []}),
        "GET /api/ps": as_json({"models": models}),
    }
    with machine.docker(engine(**{"GET /containers/open-webui/json": as_json(container)})), loopback(ollama) as server:
        machine.wanted["ollama_port"] = server.server_port
        desk = machine.look()
    assert desk["container"]["gpu"] == "gpus"
    assert desk["container"]["gpu_lost"] == lost
    assert len(asked) <= 1, "the question costs a look into the container"


def test_an_nvidia_card_without_its_driver(machine: Machine) -> None:
    machine.has_card("0000:01:00.0", "0x10de", "0x2786", "nouveau")
    desk = machine.look()
    assert desk["gpus"] == []
    assert desk["gpu"] == {"state": "no_driver", "reason": "there is an NVIDIA card, but no nvidia-smi"}


def test_a_tool_that_fails_is_quoted(machine: Machine) -> None:
    machine.runs("/usr/bin/nvidia-smi", f"cat {SMI / 'no-driver.txt'}; exit 9")
    desk = machine.look()
    assert desk["gpu"]["state"] == "unknown"
    assert "couldn't communicate with the NVIDIA driver" in desk["gpu"]["reason"]
    assert desk["unknown"] == [desk["gpu"]["reason"]]


def test_a_tool_that_hangs_is_not_waited_for(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    machine.runs("/usr/bin/nvidia-smi", "exec sleep 60")
    machine.wanted["gpu_timeout"] = 0.1
    started: list[subprocess.Popen[str]] = []

    class Unkillable(subprocess.Popen[str]):
        """A process inside a driver's call that never returns: no signal reaches it."""

        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options)
            started.append(self)

        def kill(self) -> None:
            pass

    monkeypatch.setattr(subprocess, "Popen", Unkillable)
    try:
        desk = machine.look()
    finally:
        for process in started:
            process.send_signal(signal.SIGKILL)
            process.communicate()
    assert desk["gpu"] == {"state": "unknown", "reason": "nvidia-smi did not answer within 0.1 s"}
    assert desk["took_ms"] < 10_000


def test_an_amd_card_says_its_memory_in_sys(machine: Machine) -> None:
    memory = {
        "mem_info_vram_total": "25753026560",
        "mem_info_vram_used": "753026560",
        "mem_info_gtt_total": "16768000000",
    }
    machine.has_card("0000:03:00.0", "0x1002", "0x744c", "amdgpu", **memory)
    machine.has("/sys/bus/pci/devices/0000:03:00.0/drm/renderD128/dev")
    machine.has_card("0000:00:02.0", "0x8086", "0x4680", "i915")
    nodes = "/sys/class/kfd/kfd/topology/nodes"
    machine.has(f"{nodes}/0/properties", "cpu_cores_count 16\nsimd_count 0\ngfx_target_version 0\nlocation_id 0\n")
    machine.has(f"{nodes}/1/properties", "simd_count 192\ngfx_target_version 110000\nlocation_id 768\ndomain 0\n")
    desk = machine.look()
    assert sorted(desk["gpus"], key=lambda gpu: str(gpu["vendor"])) == [
        {
            "vendor": "amd",
            "name": "amd 0x744c",
            "vram": 25753026560,
            "free": 25000000000,
            "driver": "amdgpu",
            "compute": None,
            "address": "0000:03:00.0",
            "render": "/dev/dri/renderD128",
            "gfx": "11.0.0",
            "integrated": False,
        },
        {
            "vendor": "intel",
            "name": "intel 0x4680",
            "vram": None,
            "free": None,
            "driver": "i915",
            "compute": None,
            "address": "0000:00:02.0",
            "render": None,
            "gfx": None,
            "integrated": True,
        },
    ]
    assert desk["gpu"]["state"] == "none"


# --- Docker ---------------------------------------------------------------------------------------------------------


def test_docker_is_absent(machine: Machine) -> None:
    machine.runs("/usr/bin/docker", "")  # a client alone is no engine
    desk = machine.look()
    assert (desk["docker"]["state"], desk["docker"]["client"], desk["container"]) == ("absent", True, None)
    path = "/etc/docker/daemon.json"
    settings: dict[str, Any] = {"state": "absent", "error": None, "config": {}, "path": path, "cut_off": False}
    assert desk["docker"]["daemon_json"] == settings
    machine.has("/run/llmdesk-daemon-config.json", "{}")
    assert machine.look()["docker"]["daemon_json"]["cut_off"] is True
    assert desk["account"]["state"] == "none"


def test_docker_is_stopped(machine: Machine) -> None:
    machine.runs("/usr/sbin/dockerd", "")
    desk = machine.look()
    assert desk["docker"]["state"] == "stopped"
    assert "nobody listens" in desk["docker"]["error"]


def test_what_the_command_docker_really_is(machine: Machine) -> None:
    desk = machine.look()["docker"]
    assert (desk["desktop_client"], desk["podman_client"], desk["engine"]) == (False, False, False)
    machine.runs("/usr/bin/docker", '[ -e /etc/containers/nodocker ] || echo emulated >&2\nexec /usr/bin/podman "$@"\n')
    machine.runs("/usr/bin/dockerd", "")
    desk = machine.look()["docker"]
    assert (desk["desktop_client"], desk["podman_client"], desk["engine"]) == (False, True, True)


def test_the_command_docker_of_docker_desktop_leads_into_nothing_while_that_is_stopped(machine: Machine) -> None:
    path = Path(machine.at("/usr/bin/docker"))
    path.parent.mkdir(parents=True)
    path.symlink_to("/mnt/wsl/docker-desktop/cli-tools/usr/bin/docker")
    desk = machine.look()["docker"]
    assert (desk["desktop_client"], desk["podman_client"], desk["client"]) == (True, False, False)


def test_docker_may_not_be_asked(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_arguments: Any) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(docker_client._SocketConnection, "connect", refuse)
    assert machine.look()["docker"]["state"] == "denied"


@pytest.mark.parametrize(
    "reply",
    [Reply(500, '{"message": "containerd is gone"}'), Reply(body='{"Version":', cut=True)],
    ids=["an error", "a broken answer"],
)
def test_docker_that_gives_no_answer_is_not_absent(machine: Machine, reply: Reply) -> None:
    with machine.docker(engine(**{"GET /version": reply})):
        desk = machine.look()
    assert desk["docker"]["state"] == "unknown", "absent would mean to install a second one beside it"
    assert desk["unknown"] == ["Docker: " + desk["docker"]["error"]]


def test_docker_runs(machine: Machine) -> None:
    info = json.loads((FIXTURES / "docker" / "info.json").read_text())
    info["Runtimes"]["nvidia"] = {"path": "nvidia-container-runtime"}
    info["DockerRootDir"] = "/srv/docker"
    info["CDISpecDirs"] = ["/etc/cdi", "/var/run/cdi"]
    machine.has("/etc/cdi/nvidia.yaml", (FIXTURES / "probe" / "cdi" / "nvidia.yaml").read_text())
    machine.has("/var/run/cdi/nvidia.json", (FIXTURES / "probe" / "cdi" / "nvidia.json").read_text())
    with machine.docker(engine(**{"GET /info": as_json(info)})):
        desk = machine.look()
    docker = desk["docker"]
    assert (docker["state"], docker["version"], docker["api_version"]) == ("running", "20.10.24+dfsg1", "1.41")
    assert (docker["storage_driver"], docker["root"]) == ("overlay2", "/srv/docker")
    assert "nvidia" in docker["runtimes"]
    assert (docker["cdi_enabled"], docker["desktop"]) == (True, False)
    assert docker["cdi"] == [
        "nvidia.com/gpu=0",
        "nvidia.com/gpu=GPU-8a2e1f4c-5d35-6a2b-9a6f-6f1c7c0d8e11",
        "nvidia.com/gpu=all",
    ]
    assert desk["disk"][0]["path"] == "/srv/docker"
    assert desk["volumes"] == ["ollama", "open-webui"], "and nobody else's"
    assert docker["edition"] == "distribution"
    volumes = len(json.loads((FIXTURES / "docker" / "volumes.json").read_text())["Volumes"])
    assert docker["holds"] == {"containers": info["Containers"], "images": info["Images"], "volumes": volumes}
    assert desk["container"]["managed"] is True
    assert desk["image"] is None


@pytest.mark.parametrize(
    ("text", "state"), [('{"live-restore": true}', "valid"), ('{"live-restore": true,}', "invalid")]
)
def test_dockers_settings_are_read(machine: Machine, text: str, state: str) -> None:
    machine.has("/etc/docker/daemon.json", text)
    assert machine.look()["docker"]["daemon_json"]["state"] == state


@pytest.mark.parametrize("gone", [False, True])
def test_the_recorded_image_is_looked_for(machine: Machine, gone: bool) -> None:
    image = json.loads((FIXTURES / "docker" / "image.json").read_text())
    machine.has("/var/lib/llmdesk/image.json", json.dumps({"id": image["Id"], "reference": "ghcr.io/x/y:z"}))
    answers = {} if gone else {f"GET /images/{image['Id']}/json": as_json(image)}
    with machine.docker(engine(**answers)):
        found = machine.look()["image"]
    expected = {
        "reference": "ghcr.io/x/y:z",
        "id": image["Id"],
        "created": "2026-05-21T16:24:48.127310982Z",
        "engine": "cuda",
    }
    assert found == (None if gone else expected)


def test_there_is_no_container(machine: Machine) -> None:
    missing = as_json({"message": "No such container: open-webui"}, 404)
    with machine.docker(engine(**{"GET /containers/open-webui/json": missing})):
        desk = machine.look()
    assert (desk["docker"]["state"], desk["container"]) == ("running", None)


@pytest.mark.parametrize("aside", [False, True])
def test_a_take_over_that_was_cut_off_is_seen(machine: Machine, aside: bool) -> None:
    by_hand = Reply(body=(FIXTURES / "docker" / "container-by-hand.json").read_text())
    answers: dict[str, Any] = {"GET /containers/open-webui-by-hand/json": by_hand} if aside else {}
    with machine.docker(engine(**answers)):
        assert machine.look()["container_aside"] is aside


# --- Page, Ollama, account ------------------------------------------------------------------------------------------

TAGS = {
    "models": [
        {
            "name": "smollm2:135m",
            "model": "smollm2:135m",
            "modified_at": "2026-05-30T09:44:02.391845032Z",
            "size": 98363302,
            "digest": "33ea2b5c8d7f12a1c3f0e9a6b4d8e7f1029384756afbecdd0e1f2a3b4c5d6e7f",
            "details": {
                "parent_model": "",
                "format": "gguf",
                "family": "llama",
                "families": ["llama"],
                "parameter_size": "134.52M",
                "quantization_level": "Q4_1",
            },
        }
    ]
}


@pytest.mark.parametrize(("tags", "count"), [(TAGS, 1), ({"models": None}, 0), ({"models": []}, 0)])
def test_ollama_answers(machine: Machine, tags: Any, count: int) -> None:
    answers: dict[str, Answer] = {"GET /api/version": as_json({"version": "0.32.15"}), "GET /api/tags": as_json(tags)}
    answers["GET /api/ps"] = as_json({"models": None})
    with loopback(answers) as server:
        machine.wanted["ollama_port"] = server.server_port
        ollama = machine.look()["ollama"]
    assert (ollama["state"], ollama["version"], len(ollama["models"])) == ("answers", "0.32.15", count)
    assert all(set(model) == {"name", "digest", "size", "loaded"} for model in ollama["models"])


def test_which_models_are_loaded(machine: Machine) -> None:
    two = {"models": [TAGS["models"][0], {**TAGS["models"][0], "name": "other:1"}]}
    answers: dict[str, Answer] = {"GET /api/version": as_json({"version": "0.32.15"}), "GET /api/tags": as_json(two)}
    answers["GET /api/ps"] = as_json({"models": [{"name": "other:1"}]})
    with loopback(answers) as server:
        machine.wanted["ollama_port"] = server.server_port
        models = machine.look()["ollama"]["models"]
    assert {model["name"]: model["loaded"] for model in models} == {"smollm2:135m": False, "other:1": True}


@pytest.mark.parametrize("reply", [Reply(200, "Ollama is running"), as_json([]), Reply(200, "{", cut=True)])
def test_something_else_on_ollamas_port(machine: Machine, reply: Reply) -> None:
    with loopback({"GET /api/version": reply, "GET /api/tags": reply}) as server:
        machine.wanted["ollama_port"] = server.server_port
        ollama = machine.look()["ollama"]
    assert ollama["state"] == "silent"
    assert ollama["error"]


def test_nobody_listens(machine: Machine) -> None:
    desk = machine.look()
    assert (desk["page"]["state"], desk["ollama"]["state"]) == ("silent", "silent")
    assert "refused" in desk["page"]["error"]


CONFIG = {"status": True, "name": "Open WebUI", "version": "0.12.4", "default_locale": "", "features": {"auth": True}}


@pytest.mark.parametrize(
    ("ready", "config", "state", "onboarding"),
    [
        (as_json({"status": True}), dict(CONFIG, onboarding=True), "ready", True),
        (as_json({"status": True}), CONFIG, "ready", False),
        (as_json({"detail": "Not ready"}, 503), CONFIG, "starting", None),
        (Reply(200, "<!doctype html>"), CONFIG, "silent", None),
    ],
)
def test_the_page(machine: Machine, ready: Reply, config: Any, state: str, onboarding: bool | None) -> None:
    with loopback({"GET /ready": ready, "GET /api/config": as_json(config)}) as server:
        machine.wanted["port"] = server.server_port
        page = machine.look()["page"]
    assert (page["state"], page["onboarding"]) == (state, onboarding)


def test_a_page_that_was_just_started_is_waited_for(machine: Machine) -> None:
    looks: list[int] = []

    def ready(_body: Any) -> Reply:
        looks.append(1)
        return as_json({"status": True}) if len(looks) > 1 else as_json({"detail": "Not ready"}, 503)

    answers: dict[str, Answer] = {
        "GET /ready": ready,
        "GET /api/config": as_json(CONFIG),
        "GET /api/version": as_json({"version": "0.32.15"}),
        "GET /api/tags": as_json(TAGS),
        "GET /api/ps": as_json({"models": None}),
    }
    with loopback(answers) as server:
        machine.wanted.update(port=server.server_port, ollama_port=server.server_port, page_wait=30)
        assert machine.look()["page"]["state"] == "ready"


@pytest.mark.parametrize(
    ("volume", "password_file", "onboarding", "state"),
    [
        (False, False, None, "none"),
        (True, True, None, "unknown"),
        (True, True, False, "managed"),
        (True, False, False, "unmanaged"),
        (True, True, True, "none"),
    ],
)
def test_the_account(machine: Machine, volume: bool, password_file: bool, onboarding: bool | None, state: str) -> None:
    if password_file:
        machine.has("/etc/llmdesk/admin_password", "secret\n")
    with ExitStack() as servers:
        if volume:
            servers.enter_context(machine.docker(engine()))
        if onboarding is not None:
            answers: dict[str, Answer] = {
                "GET /ready": as_json({"status": True}),
                "GET /api/config": as_json(dict(CONFIG, onboarding=onboarding)),
            }
            machine.wanted["port"] = servers.enter_context(loopback(answers)).server_port
        desk = machine.look()
    assert desk["account"] == {
        "state": state,
        "password_file": "/etc/llmdesk/admin_password",
        "password_file_exists": password_file,
    }
    assert "secret" not in json.dumps(desk)


# --- Ports and records ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("container", "ours"),
    [(None, False), ("container", True), ("container-by-hand", True), ("container-stopped", False)],
)
def test_whose_a_port_is(machine: Machine, container: str | None, ours: bool) -> None:
    machine.wanted.update(port=3000)
    machine.has("/proc/4242/comm", "docker-proxy\n")
    machine.has("/proc/4242/fd/.keep")
    Path(machine.at("/proc/4242/fd/7")).symlink_to("socket:[41869]")
    reply = (
        Reply(404, "{}") if container is None else Reply(body=(FIXTURES / "docker" / f"{container}.json").read_text())
    )
    with machine.docker(engine(**{"GET /containers/open-webui/json": reply})):
        ports = machine.look()["ports"]
    assert ports == {"3000": {"owner": "docker-proxy (pid 4242)", "ours": ours}, "1": None}


def test_the_owner_of_a_port_may_be_hidden(machine: Machine) -> None:
    machine.wanted.update(port=8080)
    assert machine.look()["ports"]["8080"] == {"owner": "another process", "ours": False}


def test_the_network_is_compared_here_and_no_password_is_told(machine: Machine) -> None:
    assert machine.look()["network"]["state"] == "none"
    note = {
        "revision": "r1",
        "wanted": {"proxy": {"https": "http://p:1"}, "credentials": {"https": "u:Sesame"}, "certificates": []},
        "files": {"/etc/llmdesk/docker.env": {"sha256": sha256(b"x").hexdigest(), "block": None}},
        "complete": True,
    }
    machine.has("/etc/llmdesk/network.json", json.dumps(note))
    machine.has("/etc/llmdesk/docker.env", "x")
    machine.has("/etc/ssl/certs/ca-certificates.crt")
    machine.wanted.update(proxy={"http": None, "https": "http://p:1", "no_proxy": None})
    machine.wanted["proxy_credentials"] = {"https": "u:Sesame"}
    found = machine.look()["network"]
    assert (found["state"], found["revision"], found["credentials"]) == ("right", "r1", True)
    assert found["bundle"] == "/etc/ssl/certs/ca-certificates.crt"
    assert "Sesame" not in json.dumps(found)
    machine.has("/etc/llmdesk/docker.env", "somebody else's")
    assert machine.look()["network"]["reason"] == "/etc/llmdesk/docker.env is not as it was written"


def test_what_earlier_runs_recorded(machine: Machine) -> None:
    machine.has("/var/lib/llmdesk/models.json", '{"llama3.2:3b": {"model": "smollm2:135m"}}\n')
    machine.has("/var/lib/llmdesk/proof.json", "{")
    desk = machine.look()
    assert desk["record"] == {
        "account": None,
        "image": None,
        "models": {"llama3.2:3b": {"model": "smollm2:135m"}},
        "settings": None,
        "people": None,
        "network": None,
        "gpu": None,
        "proof": None,
    }
    assert len(desk["unknown"]) == 1
    assert desk["unknown"][0].startswith("/var/lib/llmdesk/proof.json is not JSON")


def test_everything_is_asked_side_by_side() -> None:
    barrier = threading.Barrier(2, timeout=5)  # each ends only when the other has begun
    asked: dict[str, Callable[[], Any]] = {"a": barrier.wait, "b": barrier.wait}
    assert set(desk_facts.side_by_side(asked)) == {"a", "b"}
