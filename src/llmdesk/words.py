# SPDX-License-Identifier: GPL-3.0-or-later
"""Numbers, reports and failures in words that a person reads. Pure, and the same for every screen."""

from __future__ import annotations

import re
import shlex
from typing import Any

from llmdesk.desks import Desk
from llmdesk.events import REBOOT, TaskEnded
from llmdesk.run import INTERRUPTED, REBOOT_NEEDED, REPOSITORY, Outcome
from llmdesk.story import Work

GIB = 1024**3

_REMEDIES = (
    (f"^{REBOOT}", "Once it has restarted, type the same command again: it carries on where it stopped."),
    (r"No module named 'pypsrp'", "Type '.venv/bin/pip install pypsrp' on this machine, then the same command again."),
    (r"No module named 'winrm'", "Type '.venv/bin/pip install pywinrm' on this machine, then the same command again."),
    (r"password is required|Missing sudo password", "Add -K, and type the password of sudo."),
    (r"Incorrect su(do)? password", "The password of sudo was not taken. Type the command again."),
    (
        r"REMOTE HOST IDENTIFICATION HAS CHANGED|[Hh]ost key for .* has changed",
        "It is another machine than before, or the same set up anew. If you know why, forget its old key with"
        " 'ssh-keygen -R' and its address, log in once with 'ssh {host}', and type the same command again.",
    ),
    (r"Host key verification failed", "Log in once with 'ssh {host}' and accept its key."),
    (
        r"(identity|key) file .* (not accessible|does not exist)|Load key .*: (invalid format|error in libcrypto)",
        "The key of --private-key or ansible_ssh_private_key_file is none that ssh can read.",
    ),
    (r"UNPROTECTED PRIVATE KEY FILE|bad permissions", "Let nobody but you read the key: chmod 600 and its name."),
    (
        r"Permission denied \(|Too many authentication failures",
        "The desk does not take this key. See that 'ssh {host}' lets you in without a password, or name the right"
        " user and key with -u and --private-key.",
    ),
    (
        r"(?i)system is (going down|booting up)|pam_nologin|Connection .*(closed|reset) by|closed by remote host"
        r"|Broken pipe|The desk stopped answering",
        "It went away in the middle, as it does when it restarts. See that 'ssh {host}' works again, then type the"
        " same command again: what is done stays done.",
    ),
    (
        r"(?i)Could not resolve hostname|Name or service not known",
        "Nobody knows this name: set ansible_host to its address in the inventory, or mend the name server.",
    ),
    (
        r"(?i)(ssh: connect to host|port \d+:?).*(timed out|No route to host)|Connection timed out",
        "Nothing answers there: see that it is switched on and on this network, and that 'ssh {host}' works.",
    ),
    (
        r"(?s)^(?!.*desk_(proxy|ca_certificates)).*(cannot be reached|did not answer within|Network is unreachable"
        r"|Failed to fetch|Temporary failure|Could not (connect|resolve)|Failed to update apt cache)",
        "Where a proxy is the way out of the network, set desk_proxy; a desk does not use your shell's"
        " (docs/proxies.md). Then type the same command again: what is done stays done.",
    ),
)


def size(count: float) -> str:
    """Return bytes as registries print them: 98362432 is ``98.4 MB``."""
    for unit in ("B", "kB", "MB", "GB"):
        if abs(count) < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def clock(seconds: float) -> str:
    """Return a duration as a clock shows it: 75 is ``1:15``, 3675 is ``1:01:15``."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def spent(seconds: float) -> str:
    """Return how long something took: 1.24 is ``1.2 s``, 75 is ``1:15 min``."""
    return f"{seconds:.1f} s" if seconds < 60 else f"{clock(seconds)} min"


def amount(work: Work) -> str:
    """Return how far a piece of work is: ``24.6/98.4 MB``, ``34/310 (11 %)``, or what is known of it, if anything."""
    now = work.now
    if not (now.total or now.completed):
        return ""
    if now.unit != "bytes":
        return (
            f"{now.completed}/{now.total} ({100 * now.completed // now.total} %)" if now.total else f"{now.completed}"
        )
    return share(now.completed, now.total or 0)


def share(come: int, whole: int) -> str:
    """Return bytes of a whole in its unit: ``24.6/98.4 MB``; where nobody knows the whole, ``24.6 MB``."""
    if not whole:
        return size(come)
    total = size(whole)
    number, _, unit = total.partition(" ")
    part = come * float(number) / whole
    return f"{part:.0f}/{total}" if unit == "B" else f"{part:.1f}/{total}"


def pace(work: Work) -> str:
    """Return the rate of a download and the time that is left, as far as they are known."""
    told = []
    if work.now.total and work.now.completed >= work.now.total:
        return ""
    if work.now.unit == "bytes" and work.rate:
        told.append(f"{size(work.rate)}/s")
    if work.remaining is not None:
        told.append(f"{clock(work.remaining)} left")
    return ", ".join(told)


def progress(work: Work) -> str:
    """Return a piece of work as one line."""
    now = work.now
    return f"{now.item}: " + ", ".join(filter(None, (amount(work), pace(work), now.detail)))


def whole(of: Desk) -> list[tuple[str, str]]:
    """Return a desk as rows of a name and a sentence: of Windows first, where that carries it, then of what serves."""
    rows: list[tuple[str, str]] = []
    if of.windows_host:
        rows += windows(of.windows) if of.windows else [("windows", _dead(of.windows_host, of.windows_why))]
        rows.append(("distro", _distro(of)))
    return rows + (desk(of.report) if of.report else [])


def _distro(of: Desk) -> str:
    if of.report:
        return of.host
    if of.windows and not of.why and not of.windows["distribution"]["version"]:
        return "none yet"
    return _dead(of.host, of.why)


def _dead(host: str, why: str) -> str:
    return f"no answer: {why}" if why else f"{host} was not asked"


def windows(report: dict[str, Any]) -> list[tuple[str, str]]:
    """Return the report of a Windows half as rows of a name and a sentence."""
    system = report["system"]
    rows = [("windows", ", build ".join(filter(None, (system["name"], system["build"])))), ("wsl", _wsl(report))]
    if report["keep_alive"]:
        verb = "kept running" if report["keep_alive"]["running"] else "to be kept running"
        rows.append(("awake", f"{verb} by a scheduled task of {report['keep_alive']['user']}"))
    usable = [card for card in report["gpus"] if card["nvidia"]]
    rows += [("gpu", _card(card)) for card in usable or report["gpus"]]
    if report["reboot"]["reasons"]:
        who = "the desk" if report["reboot"]["needed"] else "Windows"
        rows.append(("reboot", f"{who} waits for a restart: {', '.join(report['reboot']['reasons'])}"))
    rows += [("broken", link(missing)) for missing in report["missing"]]
    return rows + [("warning", str(warning)) for warning in report["warnings"]]


def _wsl(report: dict[str, Any]) -> str:
    wsl, distribution, memory = report["wsl"], report["distribution"], report["memory"]
    if not wsl["version"]:
        return "none yet"
    told = [wsl["version"], distribution["name"] if distribution["version"] else "", f"networking {wsl['networking']}"]
    if memory["total"]:
        told.append(f"{memory['wsl'] / GIB:.1f} of {memory['total'] / GIB:.1f} GiB memory")
    return ", ".join(filter(None, told))


def _card(card: dict[str, Any]) -> str:
    if not card["nvidia"]:
        return f"{card['name']}, which a container cannot use under WSL"
    memory = f"{card['memory'] / GIB:.1f} GiB" if card["memory"] else ""
    driver = f"driver {card['driver']} in Windows" if card["driver"] else ""
    return ", ".join(filter(None, (card["name"], memory, driver)))


def desk(report: dict[str, Any]) -> list[tuple[str, str]]:
    """Return a desk's report as rows of a name and a sentence."""
    rows = [("address", str(report.get("address") or "unknown")), ("account", _account(report.get("account") or {}))]
    rows.append(("model", model(report.get("model") or {})))
    way = report.get("gpu") or {"path": "cpu"}
    if way["path"] != "cpu":
        rows.append(("gpu", f"{way['path']}: {way['reason']}"))
    rows += _proof(report.get("proof"))
    rows += [("broken", link(broken)) for broken in report.get("links") or [] if not broken.get("ok")]
    rows += _drift(report.get("drift"))
    rows += [("windows", str(missing)) for missing in (report.get("windows") or {}).get("missing", [])]
    return rows + [("warning", str(warning)) for warning in report.get("warnings") or []]


def paste(report: dict[str, Any] | None) -> list[str]:
    """Return the lines that a person has to paste into PowerShell in Windows, as they are; none where nothing is to do.

    :param report: a desk's report, None where it has none.
    """
    windows = (report or {}).get("windows")
    return ["", "To paste into Windows:", "", *windows["block"].splitlines()] if windows else []


def _account(account: dict[str, Any]) -> str:
    return {
        "managed": f"{account.get('email')}, password in {account.get('password_file')} (or: ./llmdesk password)",
        "unmanaged": "made by somebody else; llmdesk does not know its password",
        "none": "none yet",
    }.get(str(account.get("state")), "unknown")


def model(model: dict[str, Any]) -> str:
    """Return a report's model in words."""
    if not model.get("name"):
        return "none yet"
    on = {"gpu": " on the GPU", "cpu": " on the CPU"}.get(str(model.get("on")).lower(), "")
    return f"{model['name']}{on}" + (f", standing in for {model.get('wanted')}" if model.get("fell_back") else "")


def _proof(proof: dict[str, Any] | None) -> list[tuple[str, str]]:
    if not proof:
        return [("answer", "not asked yet")]
    told = [f"{proof['tokens_per_s']} tokens/s"] if proof.get("tokens_per_s") else []
    if proof.get("seconds_to_first_token") is not None:
        told.append(f"the first after {proof['seconds_to_first_token']} s")
    told.append("asked just now" if proof.get("fresh") else f"asked at {proof.get('at')}")
    return [("answer", " ".join(str(proof.get("answer")).split())), ("speed", ", ".join(told))]


def _drift(drift: dict[str, Any] | None) -> list[tuple[str, str]]:
    if drift is None:
        return []
    against = f"since {drift['against']}" if drift["against"] else "against what is wanted; no run is recorded here"
    found = [("drift", f"{finding['sentence']} {finding['remedy']}") for finding in drift["found"]]
    return found or [("drift", f"none {against}")]


def link(link: dict[str, Any]) -> str:
    """Return a report's broken link in words, with its remedy."""
    return " ".join(filter(None, (f"{link.get('name')}: {link.get('error')}.", link.get("remedy"))))


def failure(event: TaskEnded, of: Desk | None = None) -> list[str]:
    """Return what failed, where, why, and what to do next.

    :param of: the desk that the host is a half of, where it has two.
    """
    return [
        f"{event.host}: {event.phase} | {event.task}" + (" (unreachable)" if event.outcome == "unreachable" else ""),
        *(f"  {line}" for line in event.message.splitlines()),
        *([f"  at {event.path.removeprefix(f'{REPOSITORY}/')}"] if event.path else []),
        f"  {remedy(event, of)}",
    ]


def remedy(event: TaskEnded, of: Desk | None = None) -> str:
    """Return what to do about a failure.

    :param of: the desk that the host is a half of, where it has two.
    """
    for pattern, sentence in _REMEDIES:
        if re.search(pattern, event.message):
            return sentence.format(host=event.host)
    if event.outcome == "unreachable" and of and of.windows and event.host == of.host:
        distribution = of.windows["distribution"]["name"]
        command = f"ssh {of.windows_host} wsl -d {distribution} --exec true"
        return f"See that '{command}' says nothing, then type the same command again."
    if event.outcome == "unreachable":
        return f"See that 'ssh {event.host}' works, then type the same command again."
    return "Then type the same command again: what is done stays done. -v shows more."


def ending(outcome: Outcome, changed: int) -> str:
    """Return the last line of a run."""
    took = spent(outcome.seconds)
    if outcome.rc == 0:
        return f"changed={changed}, {took}"
    if outcome.rc == REBOOT_NEEDED:
        return f"Ended after {took}: Windows has to restart. Then type the same command again and it carries on."
    if outcome.rc == INTERRUPTED:
        return f"Interrupted after {took}. Type the same command again and it carries on."
    return f"Failed after {took}. Records: {outcome.records}"


def command(arguments: list[str]) -> str:
    """Return a command as it can be typed, without the values of variables that are named like secrets.

    User and password of an address go too.
    """
    arguments = [re.sub(r"(\w+://)[^\s/@'\"]+@", r"\1…@", argument) for argument in arguments]
    hidden = (re.sub(r"""(?i)(\w*(?:password|secret|token)\w*["']?\s*[=:]\s*)[^\s,}]+""", r"\1…", a) for a in arguments)
    return shlex.join(hidden)
