# SPDX-License-Identifier: GPL-3.0-or-later
"""The report on a room: what its records say of every desk, put side by side. Pure, and the same for every form."""

from __future__ import annotations

import statistics
from collections import Counter
from typing import Any

from llmdesk import words
from llmdesk.events import REBOOT, TaskEnded
from llmdesk.records import Record

VERDICTS = {
    "failed": "failed",
    "unreachable": "not reached",
    "broken": "does not answer",
    "rebooting": "waits for a restart",
    "drifted": "drifted",
    "warned": "with a warning",
    "unknown": "never seen",
    "fine": "answers",
}
"""The verdicts on a desk, the worst first, in words."""

COMPONENTS = {
    "open_webui": "Open WebUI",
    "ollama": "Ollama",
    "docker": "Docker",
    "driver": "NVIDIA driver",
    "llmdesk": "llmdesk",
    "ansible": "Ansible",
}

SLOWER = 0.7
"""The share of an earlier speed below which an answer counts as slower: two proofs on one desk differ by a tenth."""


def report(records: dict[str, list[Record]], hosts: list[str] | None, at: str, problems: list[str]) -> dict[str, Any]:
    """Return the report, as docs/fleet.md describes the document of ``--json``.

    :param records: every host's records, the newest first.
    :param hosts: those that an inventory names, so that it can be said which were never seen; None for those recorded.
    :param at: the time that the report is made at.
    :param problems: a sentence for every record that could not be read.
    """
    names = sorted(records if hosts is None else hosts, key=natural)
    desks = [desk(name, records.get(name) or []) for name in names]
    served = [one for one in desks if one["kind"] == "desk"]
    return {
        "schema": 1,
        "at": at,
        "verdicts": {verdict: sum(one["verdict"] == verdict for one in desks) for verdict in VERDICTS},
        "tokens_per_s": _spread([one["tokens_per_s"] for one in served]),
        "attention": attention(desks),
        "versions": {name: _versions(served, name) for name in COMPONENTS if _versions(served, name)},
        "phases": phases(served),
        "desks": desks,
        "problems": problems,
    }


def desk(host: str, records: list[Record]) -> dict[str, Any]:
    """Return one desk, from its records, the newest first."""
    if not records:
        empty = dict.fromkeys(("run", "playbook", "at", "seconds", "seen_at", "outcome", "address"))
        needs = [_need("It is in the inventory, and no run has recorded it.", _UP)]
        told = {"host": host, "kind": "desk", "verdict": "unknown", "needs": needs}
        return {**told, **empty, **_seen({}, {}), "changes": [], "since": []}
    # 'logs' or 'fit' end well on a desk without a word about how it is.
    records = [record for record in records if record["report"] or record["outcome"] not in GOOD] or records
    last = records[0]
    # Of a desk that could not be reached, the last that was seen of it is shown, with its time.
    known = next((record for record in records if record["facts"]), last)
    said = last["report"] or {}
    shown = known["report"] or {}
    windows = said.get("half") == "windows" or (not known["facts"] and shown.get("half") == "windows")
    needs = [*_failures(last), *_links(said, windows), *_drift(said), *_warnings(last)]
    return {
        "host": host,
        "kind": "windows" if windows else "desk",
        "verdict": verdict(last, windows),
        "needs": needs,
        "run": last["run"],
        "playbook": last["playbook"],
        "at": last["ended"],
        "seconds": round(sum(last["phases"].values()), 1),
        "seen_at": known["ended"] if known["facts"] or windows else None,
        "outcome": last["outcome"],
        "address": shown.get("address"),
        **(_windows(said or shown, known) if windows else _seen(known, shown)),
        "changes": [f"{change['phase']}: {change['task']}" for change in last["changes"]],
        "since": since(last, records[1:]),
    }


def verdict(last: Record, windows: bool) -> str:
    """Return the verdict on a desk's newest record."""
    said = last["report"] or {}
    if last["outcome"] in ("failed", "unreachable", "rebooting"):
        return str(last["outcome"])
    if (said.get("reboot") or {}).get("needed"):
        return "rebooting"
    if _links(said, windows) or not (windows or last["verify"]):
        return "broken"
    if (said.get("drift") or {}).get("found"):
        return "drifted"
    return "warned" if last["warnings"] else "fine"


def since(last: Record, earlier: list[Record]) -> list[str]:
    """Return what is different from the record before, a sentence each."""
    before = next((record for record in earlier if record["facts"] or record["outcome"] != "ok"), None)
    if before is None:
        return []
    said = []
    if (last["outcome"] in GOOD) != (before["outcome"] in GOOD):
        said.append(f"It is {_WORDS[last['outcome']]}, and was {_WORDS[before['outcome']]}.")
    if not last["facts"] or not before["facts"]:
        return said
    for name, title in COMPONENTS.items():
        old, new = before["versions"].get(name), last["versions"].get(name)
        if old and new and old != new:
            said.append(f"{title} is {new}, and was {old}.")
    there = {model["name"] for model in last["facts"]["ollama"]["models"]}
    was = {model["name"] for model in before["facts"]["ollama"]["models"]}
    said += [f"The model {name} is new." for name in sorted(there - was)]
    said += [f"The model {name} is gone." for name in sorted(was - there)]
    speed, earlier_speed = _speed(last), _speed(before)
    if speed and earlier_speed and speed < SLOWER * earlier_speed:
        said.append(f"It answers with {speed:g} tokens/s, and did with {earlier_speed:g}.")
    return said


def attention(desks: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return what needs attention: each need once, with the desks that have it, the worst and most frequent first."""
    grouped: dict[tuple[str, str], dict[str, Any]] = {}
    order = list(VERDICTS)
    for one in desks:
        for need in one["needs"]:
            group = grouped.setdefault(
                (need["sentence"].replace(one["host"], "{host}"), need["remedy"].replace(one["host"], "{host}")),
                {**need, "verdict": one["verdict"], "desks": []},
            )
            group["desks"].append(one["host"])
            group["verdict"] = min(group["verdict"], one["verdict"], key=order.index)
    return sorted(grouped.values(), key=lambda group: (order.index(group["verdict"]), -len(group["desks"])))


def phases(desks: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return how long each phase took over the newest runs: ``median`` and ``longest``, and on which ``desk``."""
    taken: dict[str, list[tuple[float, str]]] = {}
    for one in desks:
        for phase, seconds in one["phases"].items():
            taken.setdefault(phase, []).append((seconds, one["host"]))
    return [
        {
            "phase": phase,
            "median": round(statistics.median(seconds for seconds, _ in all_of), 2),
            "longest": max(all_of)[0],
            "desk": max(all_of)[1],
        }
        for phase, all_of in taken.items()
    ]


def natural(name: str) -> list[tuple[int, int, str]]:
    """Return a key that sorts desk2 before desk10."""
    import re

    parts = re.findall(r"\d+|\D+", name)
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part.lower()) for part in parts]


GOOD = ("ok", "changed")
_UP = "Type './llmdesk up'."
_WORDS = {"ok": "well", "changed": "well", "failed": "failed", "unreachable": "not reached", "rebooting": "restarting"}


def _need(sentence: str, remedy: str, where: str = "") -> dict[str, Any]:
    return {"sentence": sentence, "remedy": remedy, "where": where}


def _failures(last: Record) -> list[dict[str, Any]]:
    found = []
    for failure in last["failures"]:
        event = TaskEnded(
            0.0,
            phase=failure["phase"],
            task=failure["task"],
            host=last["host"],
            outcome="unreachable" if last["outcome"] == "unreachable" else "failed",
            message=failure["message"],
        )
        where = f"{failure['phase']} | {failure['task']}" + (f" at {failure['path']}" if failure["path"] else "")
        text = failure["message"] if not failure["message"].startswith(REBOOT) else failure["message"].splitlines()[0]
        found.append(_need(text, words.remedy(event), where))
    return found


def _links(said: dict[str, Any], windows: bool) -> list[dict[str, Any]]:
    links = said.get("missing") if windows else [link for link in said.get("links") or [] if not link["ok"]]
    return [
        _need(f"{link['name'][:1].upper()}{link['name'][1:]}: {link['error'].rstrip('.')}.", link.get("remedy") or _UP)
        for link in links or []
    ]


def _drift(said: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        _need(found["sentence"], found["remedy"], "drift") for found in (said.get("drift") or {}).get("found") or []
    ]


def _warnings(last: Record) -> list[dict[str, Any]]:
    return [_need(str(warning), "", "warning") for warning in last["warnings"]]


def _seen(known: Record, shown: dict[str, Any]) -> dict[str, Any]:
    """Return what the facts and the report of a record say of a desk, None for what they do not."""
    facts = known.get("facts") or {}
    proof = known.get("verify") or {}
    system, disk = facts.get("system") or {}, (facts.get("disk") or [{}])[0]
    cards = [card for card in facts.get("gpus") or [] if not card.get("integrated")]
    container = facts.get("container") or {}
    return {
        "system": f"{system.get('distribution', '').title()} {system.get('version', '')}".strip() or None,
        "hardware": {
            "cpu": (facts.get("cpu") or {}).get("model"),
            "cores": (facts.get("cpu") or {}).get("cores"),
            "memory": (facts.get("memory") or {}).get("total"),
            "gpus": [{"name": card["name"], "vram": card.get("vram")} for card in cards],
        },
        "vram": sum(card.get("vram") or 0 for card in cards) or None,
        "gpu_path": container.get("gpu"),
        "disk": {"mount": disk["mount"], "available": disk["available"], "total": disk["total"]} if disk else None,
        "model": (shown.get("model") or {}).get("name") or proof.get("model"),
        "stands_in_for": (shown.get("model") or {}).get("wanted")
        if (shown.get("model") or {}).get("fell_back")
        else None,
        "models": [
            {"name": model["name"], "size": model["size"]} for model in (facts.get("ollama") or {}).get("models") or []
        ],
        "processor": proof.get("processor"),
        "needs_bytes": proof.get("size"),
        "tokens_per_s": proof.get("tokens_per_s"),
        "seconds_to_first_token": proof.get("seconds_to_first_token"),
        "proved_at": proof.get("at"),
        "phases": known.get("phases") or {},
        "versions": known.get("versions") or dict.fromkeys(COMPONENTS),
    }


def _windows(said: dict[str, Any], known: Record) -> dict[str, Any]:
    system = said.get("system") or {}
    empty = _seen({}, {})
    return {
        **empty,
        "system": " ".join(
            filter(None, (system.get("name"), f"build {system['build']}" if system.get("build") else ""))
        ),
        "hardware": {
            **empty["hardware"],
            "memory": (said.get("memory") or {}).get("total"),
            "gpus": [{"name": card["name"], "vram": card.get("memory")} for card in said.get("gpus") or []],
        },
        "phases": known["phases"],
        "versions": known["versions"],
    }


def _speed(record: Record) -> float | None:
    speed = (record["verify"] or {}).get("tokens_per_s")
    return float(speed) if speed else None


def _spread(values: list[float | None]) -> dict[str, float] | None:
    known = [value for value in values if value]
    return {"least": min(known), "median": round(statistics.median(known), 1), "most": max(known)} if known else None


def _versions(desks: list[dict[str, Any]], name: str) -> dict[str, int]:
    found = Counter(one["versions"].get(name) for one in desks)
    del found[None]
    return dict(sorted(found.items(), key=lambda item: (-item[1], item[0])))
