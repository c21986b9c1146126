# SPDX-License-Identifier: GPL-3.0-or-later
"""What a desk's own files and programs say, read as pure functions over their text."""

from __future__ import annotations

import json
import re
from typing import Any

from ansible_collections.llmdesk.workstation.plugins.module_utils import daemon_config

DISTRIBUTION_FAMILIES = {
    "debian": "debian",
    "ubuntu": "debian",
    "fedora": "redhat",
    "rhel": "redhat",
    "centos": "redhat",
    "suse": "suse",
    "opensuse": "suse",
    "arch": "arch",
}
INTERESTING_CPU_FLAGS = ("avx", "avx2", "f16c", "fma", "avx512f", "amx_int8")
PCI_VENDORS = {"0x10de": "nvidia", "0x1002": "amd", "0x8086": "intel"}
MIB = 1024 * 1024
# What Windows mounts into a distro of WSL: the libraries of its graphics drivers.
WSL_MOUNTED = "/usr/lib/wsl/"
# What packages of NVIDIA's Linux driver bring. Its libraries carry the driver's version; those of WSL do not.
LINUX_DRIVER = (
    "/usr/bin/nvidia-smi",
    "/usr/lib/*-linux-gnu/libcuda.so.[1-9][0-9][0-9]*",
    "/usr/lib64/libcuda.so.[1-9][0-9][0-9]*",
)
COPY = ".copy"  # in a folder that is a desk's copy of what is in a bundle on the controller
LISTEN = "0A"  # TCP_LISTEN in /proc/net/tcp, see the kernel's include/net/tcp_states.h


def os_release(text: str) -> dict[str, Any]:
    """Return distribution, version, codename and family out of ``/etc/os-release`` (os-release(5)).

    :returns: also ``like``, the distributions that it comes from, the nearest first, and ``base_codename``, the
        codename of the one that its packages are made for.
    """
    values = dict(re.findall(r"""^([A-Z_]+)=["']?([^"'\n]*)["']?$""", text, re.MULTILINE))
    names = [values.get("ID", ""), *values.get("ID_LIKE", "").split()]
    codename = values.get("VERSION_CODENAME", "")
    return {
        "distribution": values.get("ID", "unknown"),
        "version": values.get("VERSION_ID", ""),
        "codename": codename,
        "like": names[1:],
        "base_codename": values.get("UBUNTU_CODENAME") or values.get("DEBIAN_CODENAME") or codename,
        "family": next((DISTRIBUTION_FAMILIES[name] for name in names if name in DISTRIBUTION_FAMILIES), "unknown"),
    }


def virtualisation(kernel: str, container: bool, cpu_flags: list[str]) -> str:
    """Return ``wsl``, ``container``, ``vm`` or ``none``.

    :param kernel: the kernel's release; Microsoft's says ``microsoft`` or ``WSL2``.
    :param container: whether the marks of a container were seen.
    :param cpu_flags: flags of the CPU; ``hypervisor`` is set by every hypervisor.
    """
    if container:
        return "container"
    if "microsoft" in kernel.lower():
        return "wsl"
    return "vm" if "hypervisor" in cpu_flags else "none"


def parent(status: str) -> str:
    """Return the number of a process's parent.

    :param status: the process's ``/proc/PID/status``; empty for one that is gone, which has none.
    """
    found = re.search(r"^PPid:\s*(\d+)", status, re.MULTILINE)
    return found.group(1) if found else ""


def service_manager(first_process: str, systemd_booted: bool, init_scripts: bool) -> str:
    """Return ``systemd``, ``sysvinit`` or ``none``: what may be asked to start a daemon here.

    :param first_process: the name of process 1; a distribution may carry systemd without running it (WSL).
    :param systemd_booted: whether ``/run/systemd/system`` exists (sd_booted(3)).
    :param init_scripts: whether ``service`` and ``/etc/init.d`` exist.
    """
    if systemd_booted and first_process == "systemd":
        return "systemd"
    return "sysvinit" if init_scripts else "none"


def cpu(text: str) -> dict[str, Any]:
    """Return model, cores and all flags out of ``/proc/cpuinfo``."""
    model = re.search(r"^model name\s*: (.+)$", text, re.MULTILINE)
    flags = re.search(r"^(?:flags|Features)\s*: (.+)$", text, re.MULTILINE)
    return {
        "model": model.group(1).strip() if model else "unknown",
        "cores": len(re.findall(r"^processor\s*:", text, re.MULTILINE)) or 1,
        "flags": flags.group(1).split() if flags else [],
    }


def memory(text: str) -> dict[str, int]:
    """Return total and available memory in bytes out of ``/proc/meminfo``."""
    kib = dict(re.findall(r"^(\w+):\s+(\d+) kB$", text, re.MULTILINE))
    return {"total": int(kib.get("MemTotal", 0)) * 1024, "available": int(kib.get("MemAvailable", 0)) * 1024}


# In the order of the fields below. A driver that is too old to know one of the last two refuses the whole question.
NVIDIA_QUERY = "index,uuid,name,memory.total,memory.free,driver_version,compute_cap,mig.mode.current"
NVIDIA_QUERY_OLD = "index,uuid,name,memory.total,memory.free,driver_version"
NOT_A_FIELD = "is not a valid field to query"


def nvidia_gpus(text: str) -> list[dict[str, Any]]:
    """Return the GPUs out of ``nvidia-smi --query-gpu=… --format=csv,noheader,nounits``.

    Memory comes in MiB. A field that a card does not know reads ``[N/A]``, as unified memory does on some boards.
    """
    gpus: list[dict[str, Any]] = []
    for line in text.strip().splitlines():
        fields = [field.strip() for field in line.split(",")]
        if len(fields) not in (6, 8):
            continue
        index, uuid, name, vram, free, driver, compute, mig = [*fields, "", ""][:8]
        gpus.append(
            {
                "vendor": "nvidia",
                "index": int(index) if index.isdigit() else None,
                "uuid": uuid if uuid.startswith("GPU-") else None,
                "name": name,
                "vram": int(vram) * MIB if vram.isdigit() else None,
                "free": int(free) * MIB if free.isdigit() else None,
                "driver": driver,
                "compute": compute if re.match(r"\d+\.\d+$", compute) else None,
                "mig": [],
                "mig_enabled": mig == "Enabled",
            }
        )
    return gpus


def mig_instances(text: str) -> dict[str, list[dict[str, str]]]:
    """Return the MIG instances of every GPU, by its UUID, out of ``nvidia-smi -L``."""
    found: dict[str, list[dict[str, str]]] = {}
    gpu = ""
    for line in text.splitlines():
        card = re.match(r"GPU \d+: .*\(UUID: (GPU-[\w-]+)\)", line)
        instance = re.match(r"\s+MIG (\S+)\s+Device\s+\d+: \(UUID: (MIG-[\w/-]+)\)", line)
        if card:
            gpu = card.group(1)
        elif instance:
            found.setdefault(gpu, []).append({"profile": instance.group(1), "uuid": instance.group(2)})
    return found


def amd_gfx(properties: str) -> str | None:
    """Return what a GPU is to ROCm, such as ``11.0.0``, out of ``/sys/class/kfd/kfd/topology/nodes/N/properties``."""
    target = re.search(r"^gfx_target_version (\d+)$", properties, re.MULTILINE)
    number = int(target.group(1)) if target else 0
    return f"{number // 10000}.{number // 100 % 100}.{number % 100}" if number else None


def kfd_address(properties: str) -> str | None:
    """Return the PCI address of a GPU out of the same file; a node of CPUs has none."""
    values = dict(re.findall(r"^(\w+) (\d+)$", properties, re.MULTILINE))
    place = int(values.get("location_id", 0))
    if not place or not int(values.get("simd_count", 0)):
        return None
    return f"{int(values.get('domain', 0)):04x}:{place >> 8 & 0xFF:02x}:{place >> 3 & 0x1F:02x}.{place & 7:x}"


def integrated(vendor: str, address: str, vram: int | None, shared: int | None) -> bool:
    """Return whether a GPU has no memory of its own to speak of.

    Intel's integrated ones sit at ``00:02.0``. AMD's carve a little memory out of the machine's and borrow the rest:
    Ollama takes those for integrated that own at most 4 GiB and may borrow four times as much.

    :param shared: what it may borrow (``mem_info_gtt_total``).
    """
    if vendor == "intel":
        return address.endswith(":00:02.0")
    return bool(vram and shared and vram <= 4 * 1024 * MIB and shared >= 4 * vram)


def toolkit_version(text: str) -> str | None:
    """Return the version out of ``nvidia-ctk --version``."""
    found = re.search(r"version (\d+\.\d+\.\d+\S*)", text)
    return found.group(1) if found else None


def cdi_driver(text: str) -> str | None:
    """Return the driver that a CDI specification was made for: its libraries carry the version in their names.

    Those of WSL do not; they are 1.1 whatever Windows has.
    """
    found = re.search(r"libcuda\.so\.(\d{3,}\.[\d.]*\d)", text)
    return found.group(1) if found else None


def cdi_from_windows(text: str) -> list[str]:
    """Return the files of Windows' that a CDI specification hands into containers.

    They lie in a folder that is named after the driver (``/usr/lib/wsl/drivers/nv_dispi.inf_amd64_…``).
    """
    return sorted(set(re.findall(rf'"?hostPath"?\s*:\s*"?({WSL_MOUNTED}[^"\s,]+)', text)))


def listeners(text: str) -> dict[int, str]:
    """Return the listening ports and their sockets' inodes out of ``/proc/net/tcp`` or ``tcp6``."""
    found = {}
    for line in text.splitlines()[1:]:
        fields = line.split()
        if len(fields) > 9 and fields[3] == LISTEN:
            found[int(fields[1].rsplit(":", 1)[1], 16)] = fields[9]
    return found


def daemon_json(text: str | None) -> dict[str, Any]:
    """Return the state of Docker's daemon.json: ``absent``, ``valid`` or ``invalid`` with the place of the error.

    :param text: the file's content, None where there is no file.
    :returns: also ``config``, the settings, without secrets.
    """
    if text is None:
        return {"state": "absent", "error": None, "config": {}}
    try:
        settings = daemon_config.redacted(daemon_config.parse(text))
    except daemon_config.NotJson as error:
        return {"state": "invalid", "error": str(error), "config": {}}
    return {"state": "valid", "error": None, "config": settings}


def docker_edition(version: dict[str, Any]) -> str:
    """Return what answers on Docker's socket, out of ``GET /version``.

    :returns: ``ce``, Docker's own packages, ``distribution``, somebody else's, ``desktop`` or ``podman``.
    """
    names = [str((version.get("Platform") or {}).get("Name") or "")]
    names += [str(part.get("Name") or "") for part in version.get("Components") or []]
    for word, edition in (("Podman", "podman"), ("Docker Desktop", "desktop"), ("Engine - Community", "ce")):
        if any(word in name for name in names):
            return edition
    return "distribution"


def group_members(groups: str, users: str, name: str) -> list[str]:
    """Return the users of a group out of ``/etc/group`` and ``/etc/passwd``: it may be somebody's first group."""
    found = re.search(rf"^{re.escape(name)}:[^:]*:(\d+):(.*)$", groups, re.MULTILINE)
    if not found:
        return []
    own = [fields[0] for fields in (line.split(":") for line in users.splitlines()) if fields[3:4] == [found.group(1)]]
    return sorted({*own, *filter(None, found.group(2).split(","))})


def cdi_devices(text: str) -> list[str]:
    """Return the devices that a CDI specification offers, such as ``nvidia.com/gpu=all``.

    The files are YAML or JSON; the standard library reads no YAML, and only two keys are asked for.
    """
    try:
        specification = json.loads(text)
        return [f"{specification['kind']}={device['name']}" for device in specification["devices"]]
    except ValueError:
        pass  # YAML
    except (KeyError, TypeError):
        return []
    kind = re.search(r'^\s*"?kind"?\s*:\s*"?([\w./-]+)', text, re.MULTILINE)
    names = re.findall(r'^\s*(?:-\s*)?"?name"?\s*:\s*"?([\w.:-]+)', text, re.MULTILINE)
    return [f"{kind.group(1)}={name}" for name in names] if kind else []


def container(inspected: dict[str, Any]) -> dict[str, Any]:
    """Return what matters of ``GET /containers/NAME/json``."""
    state, config, host = inspected["State"], inspected["Config"], inspected["HostConfig"]
    labels = config.get("Labels") or {}
    published = [
        {"port": int(port.split("/")[0]), "host_ip": binding["HostIp"], "host_port": int(binding["HostPort"] or 0)}
        for port, bindings in (host.get("PortBindings") or {}).items()
        for binding in bindings or []
    ]
    return {
        "id": inspected["Id"],
        "name": inspected["Name"].lstrip("/"),
        "state": state["Status"],
        "health": (state.get("Health") or {}).get("Status", "none"),
        "image": config["Image"],
        "image_id": inspected["Image"],
        "managed": "llmdesk.config_hash" in labels,
        "config_hash": labels.get("llmdesk.config_hash"),
        "published": published,
        "restart_policy": (host.get("RestartPolicy") or {}).get("Name", "no"),
        "started_at": state.get("StartedAt"),
        "gpu": gpu_path(host),
    }


def gpu_path(host: dict[str, Any]) -> str:
    """Return the way on which a container reaches a GPU, out of its ``HostConfig``: as the GPU's plan names them."""
    for request in host.get("DeviceRequests") or []:
        if request.get("Driver") == "cdi":
            return "cdi"
        if request.get("Driver") == "nvidia" or ["gpu"] in (request.get("Capabilities") or []):
            return "gpus"
    if host.get("Runtime") == "nvidia":
        return "gpus"
    devices = {device.get("PathOnHost") for device in host.get("Devices") or []}
    if "/dev/kfd" in devices:
        return "rocm"
    return "vulkan" if any(str(device).startswith("/dev/dri") for device in devices) else "cpu"


def account(onboarding: bool | None, volume: bool, password_file: bool) -> str:
    """Return the state of the administrator's account.

    :param onboarding: whether the page says that it has no user yet; None where the page is silent.
    :param volume: whether a data volume exists.
    :param password_file: whether the password is kept on this desk.
    """
    if onboarding or (onboarding is None and not volume):
        return "none"
    if onboarding is None:
        return "unknown"
    return "managed" if password_file else "unmanaged"


def people(passwd: str) -> list[str]:
    """Return the users of a machine who are persons, as the ranges of shadow and systemd have it, in their order.

    :param passwd: the text of ``/etc/passwd``.
    """
    entries = [line.split(":") for line in passwd.splitlines()]
    return [entry[0] for entry in entries if len(entry) == 7 and entry[2].isdigit() and 1000 <= int(entry[2]) < 60000]
