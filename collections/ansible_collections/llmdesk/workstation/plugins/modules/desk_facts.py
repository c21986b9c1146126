#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: desk_facts
short_description: What a desk is and has, asked once
description:
  - Reads, in one execution and with the standard library alone, the system, its hardware, Docker, the container, Ollama
    and its models, the page, the account, the ports, and what earlier runs have recorded.
  - Asks side by side and waits for nobody. What does not answer in time is named under C(unknown).
  - Changes nothing and holds no secret.
version_added: 0.1.0
author:
  - llmdesk maintainers (@llmdesk)
extends_documentation_fragment:
  - llmdesk.workstation.network
options:
  container:
    description: Name of the container that serves the page.
    type: str
    default: open-webui
  port:
    description: Port of the page on the desk.
    type: int
    default: 3000
  ollama_port:
    description: Port of Ollama's API on the desk.
    type: int
    default: 11434
  state_dir:
    description: Folder of the records.
    type: path
    default: /var/lib/llmdesk
  config_dir:
    description: Folder of the password's file.
    type: path
    default: /etc/llmdesk
  cache_dir:
    description: Folder of the cache; its free space is reported, and what a run that was cut off has left of a bundle.
    type: path
    default: /var/cache/llmdesk
  certificates:
    description: The sha256 of every authority's certificate that is wanted here beside the system's own.
    type: list
    elements: str
    default: []
  gpu_timeout:
    description: Seconds that nvidia-smi may take.
    type: float
    default: 2
  page_wait:
    description: Seconds to wait for a page, and Ollama behind it, that was just started.
    type: float
    default: 0
  question:
    description:
      - The other options as one mapping. Ansible evaluates one expression then, and not one an option, which is felt
        where many desks are asked.
    type: dict
  answer:
    description: What this module returned before; the desk is not asked again where there is something.
    type: dict
  conclude:
    description:
      - Names of variables that follow from the answer, which they know as C(desk_state). They are evaluated in this
        order on the controller, each with the values of those before it.
      - The value of the last one, a dictionary, is returned along with the answer; nothing, where one of them cannot be
        evaluated.
    type: list
    elements: str
    default: []
attributes:
  check_mode:
    support: full
    description: Reading changes nothing.
  diff_mode:
    support: none
    description: There is nothing to compare.
"""

EXAMPLES = r"""
- name: Ask the desk what it is
  llmdesk.workstation.desk_facts:
  register: desk_state

- name: Say how much memory its first GPU has
  ansible.builtin.debug:
    msg: "{{ (desk_state.desk.gpus | first).vram }}"
  when: desk_state.desk.gpus | length > 0
"""

RETURN = r"""
desk:
  description: Everything that was seen. Sizes are in bytes.
  returned: always
  type: dict
  sample:
    schema: 1
    system: {distribution: debian, version: "12", codename: bookworm, family: debian, virtualisation: none}
    service_manager: systemd
    network: {state: none, revision: null, proxy: null, certificates: []}
    docker: {state: running, version: 26.1.5}
    ollama: {state: answers, version: 0.32.15, models: []}
    page: {state: ready, onboarding: false}
    account: {state: managed}
    leftovers: []
    unknown: []
"""

import glob
import http.client
import json
import os
import platform
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

# What few desks need is imported where they need it: whatever stands here is compiled anew on every desk.
from ansible.module_utils.basic import AnsibleModule
from ansible_collections.llmdesk.workstation.plugins.module_utils import daemon_config, network, probe
from ansible_collections.llmdesk.workstation.plugins.module_utils.docker_socket import (
    DockerDenied,
    DockerFailure,
    DockerSocket,
    DockerUnreachable,
)
from ansible_collections.llmdesk.workstation.plugins.module_utils.image_source import image_engine

DAEMON_JSON = "/etc/docker/daemon.json"
RECORDS = ("account", "image", "models", "settings", "people", "network", "gpu", "proof")
TOOLKIT = {"ctk": "nvidia-ctk", "runtime": "nvidia-container-runtime"}
# The one of WSL is not on root's PATH, and one that is comes from a Linux driver, which cannot work there.
NVIDIA_SMI = ("/usr/lib/wsl/lib/nvidia-smi", "nvidia-smi")


class Desk:
    """One look at a desk."""

    def __init__(self, wanted: dict[str, Any]) -> None:
        self._wanted = wanted
        self._unknown: list[str] = []

    def look(self) -> dict[str, Any]:
        """Return the desk facts."""
        started = time.monotonic()
        asked = {
            "nvidia": self._nvidia,
            "toolkit": self._toolkit,
            "docker": self._docker,
            "ollama": lambda: self._waited(self._ollama, "answers"),
            "page": lambda: self._waited(self._page, "ready"),
        }
        answers = side_by_side(asked)
        cpu = probe.cpu(read("/proc/cpuinfo") or "")
        kernel = platform.release()
        inside = os.path.exists("/.dockerenv") or os.path.exists("/run/.containerenv")
        virtualisation = probe.virtualisation(kernel, inside, cpu["flags"])
        manager = probe.service_manager(
            (read("/proc/1/comm") or "").strip(),
            os.path.isdir("/run/systemd/system"),
            bool(shutil.which("service")) and os.path.isdir("/etc/init.d"),
        )
        docker, page = answers["docker"], answers["page"]
        password_file = os.path.join(self._wanted["config_dir"], "admin_password")
        gpus, gpu = self._gpus(answers["nvidia"])
        if docker["container"]:
            docker["container"]["gpu_lost"] = self._lost_gpu(docker["container"], answers["ollama"], gpu)
        return {
            "schema": 1,
            "asked_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "system": dict(
                probe.os_release(read("/etc/os-release") or ""),
                kernel=kernel,
                architecture=platform.machine(),
                hostname=platform.node(),
                virtualisation=virtualisation,
            ),
            "wsl": self._wsl(manager, kernel) if virtualisation == "wsl" else None,
            "distro": self._distro(),
            "service_manager": manager,
            "python": {
                "version": platform.python_version(),
                "executable": sys.executable,
                "requests": find_spec("requests") is not None,
            },
            "cpu": dict(cpu, flags=[flag for flag in cpu["flags"] if flag in probe.INTERESTING_CPU_FLAGS]),
            "memory": probe.memory(read("/proc/meminfo") or ""),
            "network": self._network,
            "disk": self._disks(docker["docker"]["root"]),
            "gpus": gpus,
            "gpu": gpu,
            "gpu_nodes": gpu_nodes(),
            "toolkit": answers["toolkit"],
            **docker,
            "ollama": answers["ollama"],
            "page": page,
            "account": {
                "state": probe.account(
                    page["onboarding"], "open-webui" in docker["volumes"], os.path.exists(password_file)
                ),
                "password_file": password_file,
                "password_file_exists": os.path.exists(password_file),
            },
            "ports": self._ports(docker["container"]),
            "leftovers": self._leftovers,
            "record": self._record,
            "unknown": self._unknown,
            "took_ms": round((time.monotonic() - started) * 1000),
        }

    @property
    def _record(self) -> dict[str, Any]:
        return {part: self._recorded(part) for part in RECORDS}

    @property
    def _network(self) -> dict[str, Any]:
        kept = read(os.path.join(self._wanted["config_dir"], network.STATE))
        wanted = {"credentials": self._wanted["proxy_credentials"]}
        wanted.update((name, self._wanted[name]) for name in ("proxy", "certificates"))
        return dict(network.standing(kept, wanted, read), bundle=network.bundle(os.path.exists))

    @property
    def _leftovers(self) -> list[str]:
        """Return what a run that was cut off has left of a bundle: a role removes it at the end."""
        copied, lists = (os.path.join(self._wanted["cache_dir"], name) for name in ("bundle", "bundle-apt"))
        seen = {copied: os.path.join(copied, probe.COPY), lists: lists}
        return [path for path, mark in seen.items() if os.path.exists(mark)]

    def _recorded(self, part: str) -> Any:
        path = os.path.join(self._wanted["state_dir"], part + ".json")
        text = read(path)
        try:
            return json.loads(text) if text else None
        except ValueError as error:
            self._unknown.append(f"{path} is not JSON: {error}")
            return None

    def _docker(self) -> dict[str, Any]:
        specifications = [read(path) or "" for path in cdi_specifications()]
        mounted = [path for text in specifications for path in probe.cdi_from_windows(text)]
        docker: dict[str, Any] = {
            "state": "absent",
            "client": bool(shutil.which("docker")),
            "engine": bool(shutil.which("dockerd")),
            "edition": None,
            # What the command docker really is, where it is not Docker's own.
            "desktop_client": link("/usr/bin/docker").startswith("/mnt/wsl/docker-desktop"),
            "podman_client": "podman" in head(shutil.which("docker") or ""),
            "group": probe.group_members(read("/etc/group") or "", read("/etc/passwd") or "", "docker"),
            "holds": {"containers": 0, "images": 0, "volumes": 0},
            "version": None,
            "api_version": None,
            "storage_driver": None,
            "root": "/var/lib/docker",
            "daemon_json": dict(
                probe.daemon_json(read(DAEMON_JSON)), path=DAEMON_JSON, cut_off=os.path.exists(daemon_config.NOTE)
            ),
            "runtimes": [],
            "proxy": {"http": "", "https": ""},
            "desktop": False,
            "cdi_enabled": False,
            "cdi": sorted({name for text in specifications for name in probe.cdi_devices(text)}),
            "cdi_driver": next(filter(None, map(probe.cdi_driver, specifications)), None),
            "cdi_missing": next((path for path in mounted if not os.path.exists(path)), None),
            "error": None,
        }
        found: dict[str, Any] = {
            "docker": docker,
            "container": None,
            "container_aside": False,
            "image": None,
            "volumes": [],
        }
        socket = DockerSocket(timeout=5.0)
        try:
            version = socket.get("/version")
            info = socket.get("/info")
            docker.update(
                state="running",
                edition=probe.docker_edition(version),
                version=version["Version"],
                api_version=version["ApiVersion"],
                storage_driver=info["Driver"],
                root=info["DockerRootDir"],
                runtimes=sorted(info.get("Runtimes") or {}),
                proxy={kind: network.redacted(info.get(f"{kind.title()}Proxy") or "") for kind in network.KINDS},
                desktop=info.get("OperatingSystem") == "Docker Desktop",
                # Docker 25 and newer say where they look for CDI's files, and say nowhere where it is switched off.
                cdi_enabled=bool(info.get("CDISpecDirs")),
            )
            named = {volume["Name"] for volume in socket.get("/volumes").get("Volumes") or []}
            docker["holds"] = {"containers": info["Containers"], "images": info["Images"], "volumes": len(named)}
            found["volumes"] = sorted(named & {"ollama", "open-webui"})
            inspected = self._found(socket, "/containers/" + self._wanted["container"] + "/json")
            found["container"] = probe.container(inspected) if inspected else None
            aside = self._found(socket, "/containers/" + self._wanted["container"] + "-by-hand/json")
            found["container_aside"] = aside is not None
            recorded = self._recorded("image")
            if recorded:
                image = self._found(socket, "/images/" + recorded["id"] + "/json")
                if image:
                    found["image"] = {
                        "reference": recorded.get("reference"),
                        "id": image["Id"],
                        "created": image["Created"],
                        "engine": image_engine(recorded, (image.get("Config") or {}).get("Labels") or {}),
                    }
        except DockerDenied as error:
            docker.update(state="denied", error=str(error))
        except DockerUnreachable as error:
            if shutil.which("dockerd"):
                docker.update(state="stopped", error=str(error))
        except DockerFailure as error:
            # It is there and hangs or breaks off: not absent, or a second engine would be installed beside it.
            docker.update(state="unknown", error=str(error))
            self._unknown.append(f"Docker: {error}")
        return found

    @staticmethod
    def _found(socket: DockerSocket, path: str) -> Any:
        try:
            return socket.get(path)
        except DockerFailure as error:
            if getattr(error, "status", 0) == 404:
                return None
            raise

    def _nvidia(self) -> list[dict[str, Any]] | None:
        """Return the cards, an empty list where there is no tool, None where it gave no answer."""
        tool = next(filter(None, map(shutil.which, NVIDIA_SMI)), None)
        if tool is None:
            return []
        said = self._nvidia_smi(tool, "--query-gpu=" + probe.NVIDIA_QUERY, "--format=csv,noheader,nounits")
        if said is not None and probe.NOT_A_FIELD in said:
            said = self._nvidia_smi(tool, "--query-gpu=" + probe.NVIDIA_QUERY_OLD, "--format=csv,noheader,nounits")
        if said is None:
            return None
        gpus = probe.nvidia_gpus(said)
        if any(gpu["mig_enabled"] for gpu in gpus):
            instances = probe.mig_instances(self._nvidia_smi(tool, "-L") or "")
            for gpu in gpus:
                gpu["mig"] = instances.get(gpu["uuid"], [])
        return gpus

    def _nvidia_smi(self, *command: str) -> str | None:
        """Return what the tool says, None where it gave no answer that can be used."""
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        try:
            said, _nothing = process.communicate(timeout=self._wanted["gpu_timeout"])
        except subprocess.TimeoutExpired:
            # Not waited for: in a driver that hangs it cannot even be killed.
            process.kill()
            self._unknown.append(f"nvidia-smi did not answer within {self._wanted['gpu_timeout']:g} s")
            return None
        if process.returncode != 0 and probe.NOT_A_FIELD not in said:
            self._unknown.append(f"nvidia-smi failed: {said.strip()[:200]}")
            return None
        return said

    @staticmethod
    def _toolkit() -> dict[str, Any]:
        """Return NVIDIA's container toolkit: its version, and where its programs are."""
        found: dict[str, Any] = {name: shutil.which(program) for name, program in TOOLKIT.items()}
        found["version"] = None
        if found["ctk"]:
            process = subprocess.Popen(
                [found["ctk"], "--version"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
            )
            try:
                found["version"] = probe.toolkit_version(process.communicate(timeout=2)[0])
            except subprocess.TimeoutExpired:
                process.kill()
        return found

    def _lost_gpu(self, container: dict[str, Any], ollama: dict[str, Any], gpu: dict[str, str]) -> str | None:
        """Return what is said inside of a container that lost its GPU, None where nothing speaks for that.

        Asked only where a model lies in memory and no part of it on the GPU that the container was given, or where
        an earlier proof has found it so.
        """
        if container["state"] != "running" or container["gpu"] not in ("cdi", "gpus") or gpu["state"] != "ok":
            return None
        suspect = (self._recorded("gpu") or {}).get("unused_by") == container["id"]
        if not suspect and not any(model["size_vram"] == 0 for model in ollama["loaded"]):
            return None
        from ansible_collections.llmdesk.workstation.plugins.module_utils import docker_exec

        try:
            code, said = docker_exec.run(container["name"], ["nvidia-smi", "-L"], self._wanted["gpu_timeout"])
        except DockerFailure as error:
            self._unknown.append(f"the container does not say whether it sees the GPU: {error}")
            return None
        return None if code == 0 else said.strip()[:200] or f"nvidia-smi ended with {code}"

    def _gpus(self, nvidia: list[dict[str, Any]] | None) -> tuple[list[dict[str, Any]], dict[str, str]]:
        others = []
        nvidia_on_the_bus = False
        nodes = [read(path) or "" for path in glob.glob("/sys/class/kfd/kfd/topology/nodes/*/properties")]
        by_address = {address: node for node in nodes for address in [probe.kfd_address(node)] if address}
        for device in glob.glob("/sys/bus/pci/devices/*"):
            if not (read(device + "/class") or "").startswith("0x03"):  # PCI class 03: display controllers
                continue
            vendor = probe.PCI_VENDORS.get((read(device + "/vendor") or "").strip())
            if vendor == "nvidia":
                nvidia_on_the_bus = True
            elif vendor:
                others.append(other_gpu(device, vendor, by_address))
        if nvidia:
            return nvidia + others, {"state": "ok", "reason": f"{nvidia[0]['name']}, driver {nvidia[0]['driver']}"}
        if nvidia is None:
            return others, {"state": "unknown", "reason": self._unknown[-1]}
        if nvidia_on_the_bus:
            return others, {"state": "no_driver", "reason": "there is an NVIDIA card, but no nvidia-smi"}
        return others, {"state": "none", "reason": "there is no NVIDIA card"}

    def _waited(self, ask: Callable[[], dict[str, Any]], state: str) -> dict[str, Any]:
        """Return the answer once it has the state, or the last one when the time to wait is over."""
        deadline = time.monotonic() + self._wanted["page_wait"]
        while True:
            answer = ask()
            if answer["state"] == state or time.monotonic() >= deadline:
                return answer
            time.sleep(0.2)

    def _ollama(self) -> dict[str, Any]:
        url = f"http://127.0.0.1:{self._wanted['ollama_port']}"
        found: dict[str, Any] = {
            "state": "silent",
            "url": url,
            "version": None,
            "models": [],
            "loaded": [],
            "error": None,
        }
        try:
            _status, version = get_json(self._wanted["ollama_port"], "/api/version")
            _status, tags = get_json(self._wanted["ollama_port"], "/api/tags")
            _status, running = get_json(self._wanted["ollama_port"], "/api/ps")
            in_memory = [
                {"name": model["name"], "size": model.get("size") or 0, "size_vram": model.get("size_vram") or 0}
                for model in running["models"] or []
            ]
            loaded = {model["name"] for model in in_memory}
            models = [
                {**{key: model[key] for key in ("name", "digest", "size")}, "loaded": model["name"] in loaded}
                for model in tags["models"] or []
            ]
            found.update(state="answers", version=version["version"], models=models, loaded=in_memory)
        except (OSError, ValueError, KeyError, TypeError, http.client.HTTPException) as error:
            found["error"] = str(error)
        return found

    def _page(self) -> dict[str, Any]:
        port = self._wanted["port"]
        found: dict[str, Any] = {
            "state": "silent",
            "url": f"http://127.0.0.1:{port}",
            "version": None,
            "onboarding": None,
            "error": None,
        }
        try:
            status, _ready = get_json(port, "/ready")
            found["state"] = "ready" if status == 200 else "starting"
            if status == 200:
                _status, config = get_json(port, "/api/config")
                found.update(version=config["version"], onboarding=bool(config.get("onboarding")))
        except (OSError, ValueError, KeyError, TypeError, http.client.HTTPException) as error:
            found["error"] = str(error)
        return found

    def _ports(self, container: dict[str, Any] | None) -> dict[str, Any]:
        listening = {**probe.listeners(read("/proc/net/tcp6") or ""), **probe.listeners(read("/proc/net/tcp") or "")}
        # One that does not run holds no port, whatever it would publish.
        runs = container is not None and container["state"] in ("running", "paused", "restarting")
        ours = {entry["host_port"] for entry in container["published"]} if container and runs else set()
        found: dict[str, Any] = {}
        for port in (self._wanted["port"], self._wanted["ollama_port"]):
            found[str(port)] = None
            if port in listening:
                found[str(port)] = {"owner": owner(listening[port]), "ours": port in ours}
        return found

    def _disks(self, docker_root: str) -> list[dict[str, Any]]:
        found = []
        for path in (docker_root, self._wanted["state_dir"], self._wanted["cache_dir"]):
            existing = path
            while not os.path.exists(existing):
                existing = os.path.dirname(existing)
            usage = os.statvfs(existing)
            mount = existing
            while not os.path.ismount(mount):
                mount = os.path.dirname(mount)
            found.append(
                {
                    "path": path,
                    "mount": mount,
                    "total": usage.f_blocks * usage.f_frsize,
                    "available": usage.f_bavail * usage.f_frsize,
                }
            )
        return found

    @staticmethod
    def _wsl(manager: str, kernel: str) -> dict[str, Any]:
        from ansible_collections.llmdesk.workstation.plugins.module_utils import wsl_inside

        told = told_by_wsl()
        return {
            "version": wsl_inside.version(kernel),
            "systemd": manager == "systemd",
            "docker_desktop": os.path.exists("/mnt/wsl/docker-desktop"),
            "linux_driver": linux_driver(),
            **told,
            "wslconfig": read(told["profile"] + "/.wslconfig") if told["profile"] else None,
            "kept_awake": wsl_inside.sleeps_on([read(path) or "" for path in glob.glob("/proc/[0-9]*/cmdline")]),
        }

    @staticmethod
    def _distro() -> dict[str, Any]:
        """What a distribution in WSL brings along for its first boot; nobody asks elsewhere."""
        return {
            "conf": read("/etc/wsl.conf"),
            "people": probe.people(read("/etc/passwd") or ""),
            "systemd": any(os.path.exists(f"{folder}/systemd/systemd") for folder in ("/usr/lib", "/lib")),
        }


def side_by_side(asked: dict[str, Callable[[], Any]]) -> dict[str, Any]:
    """Return every function's result; each function must end by itself."""
    answers: dict[str, Any] = {}

    def ask(name: str, function: Callable[[], Any]) -> None:
        answers[name] = function()

    threads = [threading.Thread(target=ask, args=item) for item in asked.items()]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return answers


def get_json(port: int, path: str, timeout: float = 2.0) -> tuple[int, Any]:
    """Return status and decoded body of one request to this machine."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    try:
        connection.request("GET", path, headers={"Host": f"localhost:{port}"})
        response = connection.getresponse()
        return response.status, json.loads(response.read())
    finally:
        connection.close()


def owner(inode: str) -> str:
    """Return the name and the number of the process that holds a socket."""
    for descriptor in glob.glob("/proc/[0-9]*/fd/*"):
        try:
            if os.readlink(descriptor) == f"socket:[{inode}]":
                process = descriptor.split("/")[2]
                return f"{(read(f'/proc/{process}/comm') or '').strip()} (pid {process})"
        except OSError:
            continue
    return "another process"


def other_gpu(device: str, vendor: str, nodes: dict[str, str]) -> dict[str, Any]:
    """Return a GPU that is not NVIDIA's.

    :param device: its folder in ``/sys/bus/pci/devices``.
    :param nodes: what the kernel tells ROCm of every GPU, by its address.
    """
    address = os.path.basename(device)
    said = {name: read(f"{device}/mem_info_{name}") for name in ("vram_total", "vram_used", "gtt_total")}  # by amdgpu
    vram, used, shared = (int(text) if text else None for text in said.values())
    return {
        "vendor": vendor,
        "name": f"{vendor} {(read(device + '/device') or '').strip()}",
        "vram": vram,
        "free": vram - used if vram is not None and used is not None else None,
        "driver": os.path.basename(os.path.realpath(device + "/driver")),
        "compute": None,
        "address": address,
        "render": next(("/dev/dri/" + os.path.basename(path) for path in glob.glob(device + "/drm/renderD*")), None),
        "gfx": probe.amd_gfx(nodes.get(address, "")),
        "integrated": probe.integrated(vendor, address, vram, shared),
    }


def gpu_nodes() -> dict[str, Any]:
    """Return the device nodes that a container can be given, and the groups they belong to."""
    nodes = [path for path in ("/dev/kfd", *sorted(glob.glob("/dev/dri/*"))) if not os.path.isdir(path)]
    nodes = [path for path in nodes if os.path.exists(path)]
    return {
        "kfd": "/dev/kfd" in nodes,
        "dri": any(path.startswith("/dev/dri/renderD") for path in nodes),
        "dxg": os.path.exists("/dev/dxg"),
        "groups": sorted({os.stat(path).st_gid for path in nodes} - {0}),
    }


def linux_driver() -> list[str]:
    """Return what lies here of a Linux driver of NVIDIA's, but for links to what WSL brings itself."""
    found = [path for pattern in probe.LINUX_DRIVER for path in sorted(glob.glob(pattern))]
    return [path for path in found if not link(path).startswith(probe.WSL_MOUNTED)]


def told_by_wsl() -> dict[str, str | None]:
    """Return what WSL told the first process of ours that still has it: sudo and Ansible drop it."""
    from ansible_collections.llmdesk.workstation.plugins.module_utils import wsl_inside

    process = "self"
    while process not in ("", "0"):
        told = wsl_inside.inherited(read(f"/proc/{process}/environ") or "")
        if told["distribution"]:
            return told
        process = probe.parent(read(f"/proc/{process}/status") or "")
    return wsl_inside.inherited("")


def cdi_specifications() -> list[str]:
    """Return the CDI files in the folders that Docker reads."""
    return [path for folder in ("/etc/cdi", "/var/run/cdi") for path in sorted(glob.glob(folder + "/*.*"))]


def read(path: str) -> str | None:
    """Return a file's text, None where it cannot be read."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return None


def head(path: str) -> str:
    """Return the beginning of a script, nothing of a program: those are large."""
    try:
        with open(path, "rb") as file:
            return file.read(1024).decode() if file.read(2) == b"#!" else ""
    except (OSError, UnicodeDecodeError):
        return ""


def link(path: str) -> str:
    """Return where a link leads, even into nothing."""
    try:
        return os.readlink(path)
    except OSError:
        return ""


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "container": {"type": "str", "default": "open-webui"},
            "port": {"type": "int", "default": 3000},
            "ollama_port": {"type": "int", "default": 11434},
            "state_dir": {"type": "path", "default": "/var/lib/llmdesk"},
            "config_dir": {"type": "path", "default": "/etc/llmdesk"},
            "cache_dir": {"type": "path", "default": "/var/cache/llmdesk"},
            **network.ARGUMENTS,
            "certificates": {"type": "list", "elements": "str", "default": []},
            "gpu_timeout": {"type": "float", "default": 2},
            "page_wait": {"type": "float", "default": 0},
            # The action plugin's: they never come here.
            "question": {"type": "dict"},
            "answer": {"type": "dict"},
            "conclude": {"type": "list", "elements": "str", "default": []},
        },
        supports_check_mode=True,
    )
    module.exit_json(changed=False, desk=Desk(module.params).look())


if __name__ == "__main__":
    main()
