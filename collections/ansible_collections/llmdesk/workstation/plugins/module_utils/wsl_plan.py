# SPDX-License-Identifier: GPL-3.0-or-later
"""What a Windows machine needs to carry a desk in WSL, decided over its facts.

The facts are what ``roles/wsl/files/windows_facts.ps1`` answers, ``windows_state.result`` in tasks.
"""

from __future__ import annotations

import re
from fnmatch import fnmatch
from typing import Any

from ansible_collections.llmdesk.workstation.plugins.module_utils import wsl_conf, wslconfig

GIB = 1024**3
VM_PLATFORM = "VirtualMachinePlatform"
MSI_FOLDER = "C:\\Program Files\\WSL"
DOWNLOADS = "%ProgramData%\\llmdesk"

BUILD = 22621
"""Windows 11 22H2: the oldest that Microsoft still mends, and the first with mirrored networking and its firewall."""

INSTALLED, INSTALLING = 1, 3
"""``State`` of a distribution in the registry (WSL's source, LxssDistributionState)."""

NAMES = (
    "Ubuntu",
    "Ubuntu-24.04",
    "Ubuntu-22.04",
    "Debian",
    "AlmaLinux-10",
    "AlmaLinux-9",
    "AlmaLinux-8",
    "FedoraLinux-43",
    "FedoraLinux-42",
    "openSUSE-Tumbleweed",
    "openSUSE-Leap-15.6",
    "archlinux",
)
"""What ``wsl --install`` takes by name and the role docker has packages for."""

LINUX_USER = re.compile(r"[a-z_][a-z0-9_-]{0,30}")
DISTRIBUTION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")

# Programs that hold a port for the distribution itself.
RELAYS = ("wsl", "com.docker", "docker")
OURS = "llmdesk"


def plan(facts: dict[str, Any], wanted: dict[str, Any]) -> dict[str, Any]:
    """Decide what has to be done on a Windows machine, and whether it can be.

    :param facts: what the machine is.
    :param wanted: the variables of the role without ``wsl_``; ``windows``, the host's name; ``connection``, the kind of
        connection to it, and ``own_connection``, whether the distro is reached by another; ``limit``, that of the run.
    :returns: ``refusals``, each with ``what``, ``where`` and ``remedy``; ``warnings``; ``steps``, each with ``do`` and
        ``reason``, in their order; ``reboot``, why Windows has to be rebooted before the rest; ``act``, whether there
        is anything to do; and what the steps need: ``exe``, the path of wsl.exe, ``wslconfig``, the file as it has to
        be, ``lan``, which ports to open and close, ``keep_alive``, the task, ``folder``, where an imported distro is
        put, ``unfinished``, whether an import was broken off there, and ``there``, whether there is a distro.
    """
    steps = _steps(facts, wanted)
    reboot = _reboot(facts, wanted)
    return {
        "refusals": _refusals(facts, wanted, {step["do"] for step in steps}),
        "warnings": _warnings(facts, wanted),
        "steps": steps,
        "reboot": reboot,
        "act": bool(steps or reboot),
        "exe": exe(facts),
        "folder": f"{facts['user']['profile']}\\AppData\\Local\\llmdesk\\{wanted['distribution']}",
        "wslconfig": wslconfig.merged(facts["wslconfig"], wanted["config"]),
        "lan": lan(facts, wanted),
        "keep_alive": _task(facts, wanted),
        "unfinished": _unfinished(facts, wanted),
        "there": _distribution(facts, wanted) is not None,
    }


def exe(facts: dict[str, Any]) -> str:
    """Return the path of wsl.exe: the package's own, for Windows' runs the Store's, which needs a desktop."""
    location = (facts["wsl"]["msi"] or {}).get("location") or MSI_FOLDER
    return str(location).rstrip("\\") + "\\wsl.exe"


def _distribution(facts: dict[str, Any], wanted: dict[str, Any]) -> dict[str, Any] | None:
    """Return the entry of the distro in the user's registry, finished or not."""
    name = wanted["distribution"].lower()
    return next((one for one in facts["wsl"]["distributions"] if one["name"].lower() == name), None)


def _unfinished(facts: dict[str, Any], wanted: dict[str, Any]) -> bool:
    """Tell whether an import of ours has begun and nobody has noted its end."""
    return wanted["distribution"].lower() in [name.lower() for name in facts["wsl"].get("unfinished") or []]


def version(text: Any) -> list[int]:
    """Return a version as numbers that can be compared: 2.6.3 and 2.6.3.0 are the same."""
    numbers = [int(number) for number in re.findall(r"\d+", str(text or ""))]
    while numbers and not numbers[-1]:
        numbers.pop()
    return numbers


def source(given: str) -> dict[str, str]:
    """Return where a file comes from and where Windows has it then.

    :returns: ``kind``: ``url``, ``windows`` (a path of the PC or of a share) or ``controller``; and ``path``, which is
        the file itself where Windows has it, and one in the folder of downloads otherwise.
    """
    if re.match(r"[A-Za-z]:[\\/]|\\\\", given):
        return {"kind": "windows", "path": given}
    kind = "url" if re.match(r"https?://", given, re.IGNORECASE) else "controller"
    name = re.sub(r"[?#].*", "", given) if kind == "url" else given
    return {"kind": kind, "path": f"{DOWNLOADS}\\{name.rpartition('/')[2]}"}


# --- What has to be done ----------------------------------------------------------------------------------------------


def _steps(facts: dict[str, Any], wanted: dict[str, Any]) -> list[dict[str, str]]:
    """Return the steps in their order; those up to ``wslconfig`` come before a reboot, so that one is enough."""
    wsl, there = facts["wsl"], _distribution(facts, wanted)
    steps: list[tuple[str, str]] = []
    off = [name for name in wanted["features"] if not _on(facts, name)]
    if off:
        steps.append(("features", f"{' and '.join(off)} {'are' if len(off) > 1 else 'is'} off"))
    if not wsl["msi"]:
        store = f"only the Store's WSL {wsl['store']['version']} is there" if wsl["store"] else "WSL is not installed"
        steps.append(("package", store))
    elif version(wsl["msi"]["version"]) < version(wanted["package"].get("version")):
        steps.append(("package", f"WSL {wsl['msi']['version']} is older than {wanted['package']['version']}"))
    if wslconfig.merged(facts["wslconfig"], wanted["config"]) != (facts["wslconfig"] or ""):
        steps.append(("wslconfig", ".wslconfig is not as wanted" if facts["wslconfig"] else "there is no .wslconfig"))
    # The connection plugin reads what wsl.exe warns of as UTF-8, and fails where a warning is UTF-16 with umlauts or
    # Chinese letters. A session of Windows' sshd has the user's own variables.
    if not wanted["own_connection"] and facts["user"].get("wsl_utf8", "1") != "1":
        steps.append(("environment", "wsl.exe would warn in UTF-16, which ends every task in the distro"))
    if wsl["default_version"] == 1:
        steps.append(("default_version", "new distros would be of version 1"))
    if wsl.get("vm_older_than_config"):
        steps.append(("shutdown", "WSL runs with the .wslconfig of before"))
    if there is None:
        steps.append(("distribution", f"{facts['user']['name']} has no distro {wanted['distribution']}"))
    elif there["state"] == INSTALLING:
        steps.append(("unregister", f"an installation of {there['name']} was broken off"))
        steps.append(("distribution", f"{there['name']} has to be installed again"))
    elif there["version"] == 1 and wanted["convert"]:
        steps.append(("convert", f"{there['name']} is of version 1"))
    if there and there["state"] == INSTALLED and _unfinished(facts, wanted):
        steps.append(("finish", f"a run that imported {there['name']} was cut off at its end"))
    holds = _keep_alive_steps(facts, wanted)
    if wsl.get("vm_older_than_config") and wanted["keep_alive"]:
        holds = holds or [("keep_alive", "the task that keeps the distro running ends when WSL is shut down")]
    steps += holds
    opened = lan(facts, wanted)
    if any(opened[key] for key in ("forward", "forget", "allow", "disallow", "rules", "closed")):
        ports = sorted({*opened["rules"], *opened["allow"].values()})
        said = "ports are open that need not be"
        if ports:
            said = f"port {', '.join(map(str, ports))} is not open to the network"
        steps.append(("lan", said))
    return [{"do": do, "reason": reason} for do, reason in steps]


def _on(facts: dict[str, Any], feature: str) -> bool:
    """Tell whether a feature is on, or will be after a reboot."""
    return str(facts["features"].get(feature) or "").startswith("Enable")


def _reboot(facts: dict[str, Any], wanted: dict[str, Any]) -> list[str]:
    """Return why Windows has to be rebooted before a distro can run."""
    waiting = [name for name in wanted["features"] if str(facts["features"].get(name)).endswith("Pending")]
    reasons = [f"{name} was switched on and Windows has not been restarted since" for name in waiting]
    serviced = "component servicing" in facts["reboot_pending"]
    hypervisor = (facts["virtualisation"] or {}).get("hypervisor_present", True)
    if not reasons and serviced and _on(facts, VM_PLATFORM) and not hypervisor:
        reasons.append("Windows is in the middle of a change of its components and runs no hypervisor yet")
    return reasons


def _task(facts: dict[str, Any], wanted: dict[str, Any]) -> dict[str, str]:
    """Return the scheduled task that holds the distro, as Windows shows it."""
    return {
        "name": f"keep-alive-{wanted['distribution']}",
        "user": facts["user"]["name"],
        "command": exe(facts),
        "arguments": f"--distribution {wanted['distribution']} --exec sleep infinity",
    }


def _keep_alive_steps(facts: dict[str, Any], wanted: dict[str, Any]) -> list[tuple[str, str]]:
    there = facts["keep_alive"]
    if not wanted["keep_alive"]:
        return [("keep_alive", "a task keeps the distro running, and wsl_keep_alive is off")] if there else []
    if not there:
        return [("keep_alive", "nothing keeps the distro running while nobody uses it")]
    task = _task(facts, wanted)
    # Windows leaves the domain of the user away where it is the PC itself.
    same = [
        (there["user"] or "").rpartition("\\")[2].lower() == task["user"].rpartition("\\")[2].lower(),
        (there["command"] or "").strip('"').lower() == task["command"].lower(),
        (there["arguments"] or "").split() == task["arguments"].split(),
    ]
    if not all(same):
        return [("keep_alive", "the task that keeps the distro running is another one")]
    if not there.get("running", True):
        return [("keep_alive", "the task that keeps the distro running does not run")]
    return []


def mode(facts: dict[str, Any], wanted: dict[str, Any]) -> str:
    """Return how WSL is connected: ``mirrored`` or ``nat``, as .wslconfig says it after this run."""
    text = wslconfig.merged(facts["wslconfig"], wanted["config"])
    return "mirrored" if (wslconfig.setting(text, "wsl2", "networkingMode") or "").lower() == "mirrored" else "nat"


def lan(facts: dict[str, Any], wanted: dict[str, Any]) -> dict[str, Any]:
    """Return which ports of the distro have to be opened to the network, and closed.

    Ours is what a rule of the firewall with our name speaks of. A rule comes before its port is forwarded and goes
    after, so that a run that was cut off leaves nothing open that the next would not know.

    :returns: ``forward`` and ``forget``, of Windows' port proxy; ``rules`` and ``closed``, ports of its firewall;
        ``allow`` and ``disallow``, rules of Hyper-V's firewall.
    """
    network = facts["network"]
    ports = wanted["lan_ports"] if wanted["lan"] else []
    shared = mode(facts, wanted) == "mirrored"
    forward = {} if shared else {_listen(one["listen"]): f"127.0.0.1/{one['connect']}" for one in ports}
    allow = {f"{OURS}-{one['connect']}": int(one["connect"]) for one in ports} if shared else {}
    rules = [] if shared else [int(one["listen"]) for one in ports]
    ours = [int(name.rpartition(" ")[2]) for name in network["firewall_rules"] if re.match(rf"{OURS} \d+$", name)]
    closed = [port for port in ours if port not in rules]
    return {
        "forward": {port: to for port, to in forward.items() if network["portproxy"].get(port) != to},
        "forget": [_listen(port) for port in closed if _listen(port) in network["portproxy"]],
        "rules": [port for port in rules if port not in ours],
        "closed": closed,
        "allow": {name: port for name, port in allow.items() if name not in network["hyperv_rules"]},
        "disallow": [name for name in network["hyperv_rules"] if name not in allow],
    }


def _listen(port: Any) -> str:
    return f"0.0.0.0/{port}"


# --- What stands in the way -------------------------------------------------------------------------------------------


def _refusals(facts: dict[str, Any], wanted: dict[str, Any], doing: set[str]) -> list[dict[str, str]]:
    """Return why nothing may be done, before anything is touched."""
    found = [
        *_of_windows(facts),
        *_of_user(facts, doing),
        *_of_virtualisation(facts),
        *_of_distribution(facts, wanted, doing),
        *_of_settings(facts, wanted, doing),
        *_of_network(facts, wanted),
        *_of_connection(facts, wanted),
    ]
    return [{"what": what, "where": where, "remedy": remedy} for what, where, remedy in found]


def _of_windows(facts: dict[str, Any]) -> list[tuple[str, str, str]]:
    system = facts["system"]
    if not system:
        remedy = "Connect as an administrator of the PC and run again; what it said stands in the facts, under unknown."
        return [("Windows does not say what it is.", "; ".join(facts.get("unknown") or []) or "Windows", remedy)]
    where = f"{system['caption']}, build {system['build']}.{system['revision']}, {system['architecture']}"
    if system["product_type"] != 1:
        remedy = "Use a PC with Windows 11, or Linux on this machine itself (group desks)."
        return [("This is a Windows Server, on which llmdesk carries no desk.", where, remedy)]
    if system["build"] < BUILD:
        remedy = f"Update it to Windows 11 22H2 or newer (build {BUILD}; Home will do), and run again."
        return [("This Windows is too old for a desk.", where, remedy)]
    if system["architecture"].upper() == "ARM64":
        remedy = "Use a PC with an x64 processor, or a machine with Linux (group desks)."
        return [("This PC has an ARM64 processor, and the desk's image is for x64.", where, remedy)]
    return []


def _of_user(facts: dict[str, Any], doing: set[str]) -> list[tuple[str, str, str]]:
    user = facts["user"]
    if user["local_system"]:
        what = "WSL does not run for the account SYSTEM (WSL_E_LOCAL_SYSTEM_NOT_SUPPORTED)."
        person = facts["console_user"] or "the person whose desk it is"
        return [(what, f"user {user['name']}", f"Connect as {person}: ansible_user, or become with runas.")]
    administers = sorted(doing & {"features", "package", "keep_alive", "lan"})
    if administers and not user["elevated"]:
        remedy = "Connect as a user who is an administrator of this PC; by ssh and psrp no question is asked then."
        return [(f"This takes an administrator: {', '.join(administers)}.", f"user {user['name']}", remedy)]
    return []


def _of_virtualisation(facts: dict[str, Any]) -> list[tuple[str, str, str]]:
    there = facts["virtualisation"] or {}
    if there.get("hypervisor_present", True):
        return []
    if there.get("firmware_enabled") is False:
        what = "Virtualisation is off in the firmware, and WSL 2 is a virtual machine (0x80370102)."
        remedy = "Switch it on in BIOS or UEFI (Intel VT-x, AMD SVM; in a virtual machine: nested), and run again."
        return [(what, "firmware", remedy)]
    if facts["features"].get(VM_PLATFORM) == "Enabled" and "component servicing" not in facts["reboot_pending"]:
        what = f"{VM_PLATFORM} is on, and yet Windows runs no hypervisor."
        remedy = "Run 'bcdedit /set hypervisorlaunchtype auto' as administrator, restart Windows, and run again."
        return [(what, "boot configuration", remedy)]
    return []


def _of_distribution(facts: dict[str, Any], wanted: dict[str, Any], doing: set[str]) -> list[tuple[str, str, str]]:
    name, there = wanted["distribution"], _distribution(facts, wanted)
    where = f"wsl_distribution: {name}"
    found = []
    if not DISTRIBUTION.fullmatch(name):
        found.append(("A distro's name has letters, digits, '.', '_' and '-' only.", where, "Choose another name."))
    elif not there and not wanted["root_file"] and name.lower() not in [one.lower() for one in NAMES]:
        remedy = f"Choose one of {', '.join(NAMES)}; or give a root file as wsl_root_file, which may have any name."
        found.append(("WSL installs no distro of this name.", where, remedy))
    if there and there["version"] == 1 and there["state"] == INSTALLED and not wanted["convert"]:
        what = f"The distro {there['name']} is of version 1, in which Docker does not run."
        remedy = (
            f"Convert it (its files stay, it takes some minutes): -e wsl_convert=true, or 'wsl --set-version "
            f"{there['name']} 2' by hand; or choose another wsl_distribution."
        )
        found.append((what, f"distro {there['name']}", remedy))
    owner = next((one["user"] for one in facts["wsl"]["other_users"] if one["name"].lower() == name.lower()), None)
    if owner and not there:
        what = f"The distro {name} is {owner}'s, and {facts['user']['name']} cannot see it: distros belong to one user."
        found.append((what, f"user {owner}", f"Connect as {owner} (ansible_user), or choose another wsl_distribution."))
    drive, needed = facts["drive"], int(wanted["disk_needed"])
    if "distribution" in doing and drive and drive["free"] < needed:
        free = f"{drive['free'] / GIB:.1f} GiB free"
        what = f"{drive['name']} has {free}; distro, image and model need {needed / GIB:.0f} GiB."
        remedy = "Free some space; or, where you know better, set wsl_disk_needed."
        found.append((what, f"drive {drive['name']}", remedy))
    if wanted["user"] and not LINUX_USER.fullmatch(wanted["user"]):
        remedy = "Choose lower-case letters, digits, '_' and '-', whatever your name in Windows is."
        found.append(("This is no name of a Linux user.", f"wsl_default_user: {wanted['user']}", remedy))
    return found


def _of_settings(facts: dict[str, Any], wanted: dict[str, Any], doing: set[str]) -> list[tuple[str, str, str]]:
    found = []
    path = f"{facts['user']['profile']}\\.wslconfig"
    if "\ufffd" in (facts["wslconfig"] or ""):
        remedy = "Save it as UTF-8 (Notepad: Save as, Encoding) and run again; nothing was changed."
        found.append(("The file has letters that are no UTF-8, which would be lost.", path, remedy))
    package = wanted["package"]
    if "package" in doing and not (package.get("url") or package.get("path")):
        remedy = "Give wsl_package a url or a path, or install WSL by hand: 'wsl --update --web-download'."
        found.append(("WSL has to be installed, and no package is named.", "wsl_package", remedy))
    return found


def _of_network(facts: dict[str, Any], wanted: dict[str, Any]) -> list[tuple[str, str, str]]:
    network = facts["network"]
    listening = [int(port) for port in network["listening"]]
    owners = network.get("owners") or {}
    found = []
    port = int(wanted["port"])
    owner = owners.get(str(port), "")
    # Where nobody knows who holds it, it is ours as soon as there is a distro.
    taken = not owner.lower().startswith(RELAYS) if owner else _distribution(facts, wanted) is None
    if port in listening and taken:
        what = f"Port {port} is taken in Windows by {owner or 'another program'}, so its browser would not see us."
        remedy = f"Stop that program, or choose another port: './llmdesk up --port {port + 80}' (variable desk_port)."
        found.append((what, f"port {port}", remedy))
    if not wanted["lan"]:
        return found
    profiles = network["profiles"]
    if profiles and all(profile["category"] == "Public" for profile in profiles):
        names = ", ".join(f"'{profile['name']}'" for profile in profiles)
        remedy = (
            f"Where you trust it: Set-NetConnectionProfile -Name {names} -NetworkCategory Private, as administrator; "
            "else leave wsl_lan off."
        )
        found.append(("wsl_lan opens the page to a network that Windows takes for public.", f"network {names}", remedy))
    forward = lan(facts, wanted)["forward"]
    for one in wanted["lan_ports"] if mode(facts, wanted) == "nat" else []:
        number = int(one["listen"])
        other = network["portproxy"].get(_listen(number))
        ours = f"{OURS} {number}" in network["firewall_rules"]
        if other and not ours and _listen(number) in forward:
            what = f"Windows forwards port {number} to {other} already, and not for llmdesk."
            remedy = (
                "Choose another listen in wsl_lan_ports, or, as administrator: netsh interface portproxy delete v4tov4 "
                f"listenaddress=0.0.0.0 listenport={number}"
            )
            found.append((what, f"port {number}", remedy))
        elif number in listening and not other and not ours:
            what = f"Port {number} is taken in Windows by {owners.get(str(number)) or 'another program'}."
            found.append((what, f"port {number}", "Stop that program, or choose another listen in wsl_lan_ports."))
        if number == int(one["connect"]):
            what = f"Port {number} would be forwarded to itself, and call itself while the page is down."
            found.append((what, "wsl_lan_ports", "Let listen and connect be different ports."))
    return found


SSH = ("ssh", "ansible.builtin.ssh", "paramiko", "paramiko_ssh", "ansible.netcommon.paramiko", "smart")
BY_WSL = "community.general.wsl"


def _of_connection(facts: dict[str, Any], wanted: dict[str, Any]) -> list[tuple[str, str, str]]:
    """Return why the distro could not be reached through Windows' sshd; one of its own is the user's affair."""
    if wanted["own_connection"]:
        return []
    shell = (facts.get("ssh") or {}).get("default_shell") or ""
    if shell and not shell.lower().endswith("cmd.exe"):
        remedy = (
            "As administrator: Remove-ItemProperty HKLM:\\SOFTWARE\\OpenSSH DefaultShell (ansible_shell_type: cmd), "
            "or reach the distro by a sshd of its own, with wsl_host_variables."
        )
        what = f"{BY_WSL} needs cmd as the shell of Windows' sshd, and it is {shell}."
        return [(what, "HKLM:\\SOFTWARE\\OpenSSH, DefaultShell", remedy)]
    reached = wanted["connection"].rpartition(".")[2]
    if reached in ("psrp", "winrm") and int(wanted["ssh_port"]) not in [int(p) for p in facts["network"]["listening"]]:
        remedy = (
            "As administrator: Add-WindowsCapability -Online -Name OpenSSH.Server~~~~0.0.1.0; Set-Service sshd "
            "-StartupType Automatic; Start-Service sshd. Or reach the distro by a sshd of its own, with "
            "wsl_host_variables."
        )
        what = f"Windows is reached by {reached}, which cannot carry the distro, and no sshd answers beside it."
        return [(what, f"port {wanted['ssh_port']}", remedy)]
    return []


def shell_type_refusal(connection: str, shell_type: Any) -> str:
    """Return why Windows could not be asked at all; empty where nothing is wrong with the connection's variables."""
    if connection in SSH and shell_type not in ("cmd", "powershell"):
        return (
            "Windows is reached by ssh, and ansible_shell_type does not say by which shell. Set ansible_shell_type: "
            "cmd for this host (powershell where the sshd's DefaultShell is PowerShell)."
        )
    return ""


def _warnings(facts: dict[str, Any], wanted: dict[str, Any]) -> list[str]:
    """Return what is worth knowing and stops nothing."""
    found = []
    user, there = facts["user"]["name"], facts["console_user"]
    if there and there.lower().rpartition("\\")[2] != user.lower().rpartition("\\")[2]:
        found.append(f"The distro belongs to {user}; {there}, who is logged on, will see the page and not the distro.")
    if "windows update" in facts["reboot_pending"] and not _reboot(facts, wanted):
        found.append("Windows has updates that wait for a restart. It may restart by itself at night.")
    if mode(facts, wanted) == "mirrored":
        found.append(
            "Mirrored networking: ports that Docker publishes on 127.0.0.1 cannot be reached in some versions of WSL "
            "and Docker. NAT, the default, is what llmdesk was made with."
        )
    if facts.get("unknown"):
        found.append(f"Windows did not answer everything: {'; '.join(facts['unknown'])}")
    left_out = limit_warning(wanted["limit"], wanted["windows"], wanted["host_name"])
    return [*found, left_out] if left_out else found


def limit_warning(limit: str, host: str, name: str) -> str:
    """Return that ``--limit`` leaves the distro out; empty where it does not."""
    parts = [part for part in re.split(r"[,:]", limit) if part and not part.startswith(("!", "&", "@", "~"))]
    if not parts or any(part in ("all", "*", "desks") or fnmatch(name, part) for part in parts):
        return ""
    return f"--limit {limit} leaves the desk {name} out, so only Windows is looked after: say --limit '{host}*'."


def refused(plan: dict[str, Any]) -> str:
    """Return one message for everything that stands in the way."""
    return "\n".join(f"{one['what']} ({one['where']}) {one['remedy']}" for one in plan["refusals"])


def left_over(plan: dict[str, Any], said: str) -> str:
    """Return one message where the steps were carried out, and facts say that something is still to be done.

    :param said: what wsl.exe printed last.
    """
    reasons = "; ".join(step["reason"] for step in plan["steps"])
    printed = f" wsl.exe ended without an error and printed: {' '.join(said.split())[-300:]}" if said else ""
    return (
        f"Everything was done, and still: {reasons}.{printed} Restart Windows and run again; if it stays, give the "
        "distro as a file (wsl_root_file)."
    )


# --- The distro as a host ---------------------------------------------------------------------------------------------

CARRIED = (
    "ansible_host",
    "ansible_port",
    "ansible_user",
    "ansible_password",
    "ansible_private_key_file",
    "ansible_host_key_checking",
)


def distro_host(windows: dict[str, Any], facts: dict[str, Any], wanted: dict[str, Any]) -> dict[str, Any]:
    """Return the distro as ``add_host`` takes it.

    :param windows: ``name``, that of the Windows host, and its connection's variables; None where there is none.
    :param wanted: as :func:`plan` takes it, with ``host_name``, ``host_groups`` and ``host_variables``.
    """
    shared = mode(facts, wanted) == "mirrored"
    host = {
        "name": wanted["host_name"],
        "groups": list(wanted["host_groups"]),
        "ansible_python_interpreter": "/usr/bin/python3",
        "wsl_distribution": wanted["distribution"],
        "wsl_default_user": wanted["user"],
        "windows_host": windows["name"],
    }
    if wanted["lan"] and shared:
        host["desk_listen"] = "0.0.0.0"
    if not wanted["own_connection"]:
        host.update({name: windows[name] for name in CARRIED if windows.get(name) is not None})
        if wanted["connection"] not in SSH:
            host["ansible_port"] = wanted["ssh_port"]
        # Nobody needs a password to become root in a distro of one's own, so there is nothing to become.
        host.update(
            ansible_connection=BY_WSL, wsl_user="root", ansible_become=False, ansible_remote_tmp="/tmp/.ansible"
        )
    else:
        host["ansible_host"] = windows.get("ansible_host")
    host.update(wanted["host_variables"])
    return host


def distro_plan(desk: dict[str, Any], wanted: dict[str, Any]) -> dict[str, Any]:
    """Decide what a distro needs before it is an ordinary desk: systemd where it is installed, and a user.

    A distro that has people keeps them, and who its default user is.

    :param desk: the desk facts, asked in the distro.
    :param wanted: ``user``.
    :returns: ``act``, ``reason``, ``conf``, ``/etc/wsl.conf`` as it has to be, and ``user``, who has to be made; empty
        for nobody.
    """
    conf, people, user = desk["distro"]["conf"] or "", desk["distro"]["people"], wanted["user"]
    systemd = desk["distro"]["systemd"]
    text = wsl_conf.with_setting(conf, "boot", "systemd", "true") if systemd else conf
    # A run that was cut off may have made the user and no more.
    if user and people in ([], [user]) and (not people or not wsl_conf.setting(conf, "user", "default")):
        text = wsl_conf.with_setting(text, "user", "default", user)
    reasons = []
    if user and not people:
        reasons.append("the distro has no user but root")
    if text != conf:
        reasons.append("/etc/wsl.conf does not say all that WSL has to start")
    elif systemd and desk["service_manager"] != "systemd":
        reasons.append("WSL has not read /etc/wsl.conf since it was written")
    return {"act": bool(reasons), "reason": " and ".join(reasons), "conf": text, "user": "" if people else user}
