# SPDX-License-Identifier: GPL-3.0-or-later
"""Records of rooms that nobody has: each desk's is the real one of tests/unit/fixtures/records, with other figures."""

from __future__ import annotations

import copy
import json
import random
from pathlib import Path
from typing import Any

from ansible_collections.llmdesk.workstation.plugins.plugin_utils.records import file_name

Record = dict[str, Any]

REAL: Record = json.loads((Path(__file__).parent / "fixtures" / "records" / "desk.json").read_text())
GIB = 1024**3
SITE, BEFORE = "20261126-070512-site-4711", "20261125-070430-site-4242"

# What a room may have: a card, its VRAM, a model, what it takes, and how fast it is there.
CARDS = (
    ("NVIDIA RTX A6000", 48, "llama3.3:70b", 43.2, 14.8),
    ("NVIDIA GeForce RTX 4070", 12, "qwen3:14b", 10.6, 41.0),
    ("NVIDIA GeForce RTX 3060", 12, "llama3.1:8b", 6.2, 52.0),
    ("NVIDIA RTX A2000", 6, "llama3.2:3b", 3.9, 68.0),
    (None, 0, "llama3.2:3b", 3.1, 9.4),
)


def desk(host: str, **changed: Any) -> Record:
    """Return the real desk's record under another name, with changes on top."""
    return {**copy.deepcopy(REAL), "host": host, "run": SITE, **changed}


def room(count: int) -> dict[str, list[Record]]:
    """Return the records of a room of mixed desks, the newest first; the same for the same count."""
    chance = random.Random(count)
    found = {}
    for number in range(1, count + 1):
        host = f"desk{number}"
        now = _desk(host, chance)
        before = copy.deepcopy(now)
        before.update(run=BEFORE, began="2026-11-25T07:04:30Z", ended="2026-11-25T07:05:02Z", outcome="ok", failures=[])
        before["versions"]["ollama"] = "0.32.14"
        found[host] = [_trouble(now, number), before]
    return found


def write(folder: Path, records: dict[str, list[Record]]) -> None:
    """Write records as the callback would."""
    runs: dict[str, dict[str, str]] = {}
    for of_one in records.values():
        for record in of_one:
            runs.setdefault(record["run"], {})[record["host"]] = record["outcome"]
            path = folder / record["run"] / file_name(record["host"])
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(record))
    for run, hosts in runs.items():
        said = {"schema": 1, "run": run, "playbook": "site", "check": False, "hosts": hosts}
        (folder / run / "run.json").write_text(json.dumps(said))


def _desk(host: str, chance: random.Random) -> Record:
    card, vram, model, needs, speed = chance.choices(CARDS, weights=(1, 3, 4, 2, 2))[0]
    record = desk(host, began="2026-11-26T07:05:12Z", ended="2026-11-26T07:06:40Z")
    facts, proof = record["facts"], record["verify"]
    facts["memory"]["total"] = chance.choice((16, 32, 64)) * GIB
    total = chance.choice((477, 931, 1863)) * GIB
    facts["disk"][0].update(total=total, available=int(total * chance.uniform(0.05, 0.9)))
    if card:
        driver = chance.choices(("580.105.08", "570.195.03"), weights=(5, 1))[0]
        facts["gpus"] = [
            {"vendor": "nvidia", "name": card, "vram": vram * GIB, "uuid": f"GPU-{host}", "driver": driver}
        ]
        facts["container"]["gpu"] = "cdi"
        record["versions"]["driver"] = driver
    facts["ollama"]["models"][0].update(name=model, size=int(needs * 0.9 * GIB))
    proof.update(
        model=model,
        processor="gpu" if card else "cpu",
        size=int(needs * GIB),
        size_vram=int(needs * GIB) if card else 0,
        tokens_per_s=round(speed * chance.uniform(0.85, 1.12), 1),
        seconds_to_first_token=round(chance.uniform(0.2, 0.9) if card else chance.uniform(1.5, 4), 2),
        at="2026-11-26T07:06:38Z",
    )
    record["report"]["model"].update(name=model, wanted=model, on=proof["processor"])
    record["report"]["address"] = f"http://{host}.example.com:3000"
    record["phases"] = {phase: round(took * chance.uniform(0.6, 2.5), 2) for phase, took in record["phases"].items()}
    record["phases"] |= {
        "open_webui": round(chance.uniform(20, 60), 2),
        "ollama_models": round(chance.uniform(10, 90), 2),
    }
    record["versions"]["docker"] = facts["docker"]["version"] = chance.choices(("29.1.3", "28.5.2"), weights=(4, 1))[0]
    return record


def _trouble(record: Record, number: int) -> Record:
    """Return a record with what goes wrong on every so many-th desk."""
    if number % 12 == 7:
        message = "Failed to connect to the host via ssh: connect to host 192.0.2.17 port 22: No route to host"
        return _ended(record, "unreachable", "desk", "Ask the desk", "roles/desk/tasks/ask.yml:2", message)
    if number % 12 == 11:
        message = "/var/lib/docker has 2.0 GiB free, and image and model need 15 GiB under /var/lib/docker."
        return _ended(
            record, "failed", "preflight", "Say what stands in the way", "roles/preflight/tasks/main.yml:4", message
        )
    if number % 12 == 4:
        return {**record, "warnings": ["qwen3:14b was not to be had; smollm2:135m stands in for it."]}
    if number % 12 == 9:
        found = {"what": "setting", "wanted": False, "recorded": False, "found": True}
        sentence = "The page's setting ui.enable_signup is on, and off is wanted."
        remedy = "Type './llmdesk up -e open_webui_settings_always=true': it sets the page back."
        drift = {"against": "2026-11-25T07:05:02Z", "found": [{**found, "sentence": sentence, "remedy": remedy}]}
        return {**record, "report": {**record["report"], "drift": drift}}
    return {**record, "outcome": "changed" if number % 3 == 0 else "ok"}


def _ended(record: Record, outcome: str, phase: str, task: str, path: str, message: str) -> Record:
    failure = {"phase": phase, "task": task, "path": path, "message": message}
    ended = {**record, "outcome": outcome, "failures": [failure], "report": None, "verify": None, "wanted": None}
    ended["phases"] = {"desk": 3.2}
    return {**ended, "facts": None} if outcome == "unreachable" else ended
