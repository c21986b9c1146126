# SPDX-License-Identifier: GPL-3.0-or-later
"""Which of the declared models a desk needs."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from ansible_collections.llmdesk.workstation.plugins.module_utils.model_name import canonical


def declared(entry: Any) -> dict[str, Any]:
    """Return a declared model in full: ``name``, ``state``, ``sources`` and what else it has.

    :param entry: a name, or a dictionary with a name and any of the others.
    """
    wanted: dict[str, Any] = {"name": entry} if isinstance(entry, str) else dict(entry)
    base = (wanted.get("create") or {}).get("from")
    wanted.setdefault("state", "present")
    wanted.setdefault("sources", [{"name": base or wanted["name"]}, {"demo": True}])
    return wanted


def models_plan(desk: dict[str, Any], wanted: dict[str, Any]) -> dict[str, Any]:
    """Decide which of the declared models need anything.

    :param desk: the desk facts.
    :param wanted: ``models``, the declared list; ``retry_sources``, true to ask the hubs again for a model that
        another one stands in for; ``exclusive``, true to remove what is not declared.
    :returns: ``act``, and ``models``, the declared models that need something, each with its ``reason``. There may be
        none where the record names a model that nobody declares any more, or lacks a choice. ``chosen`` says what
        stands in the place of ``auto``, a sentence each.
    """
    present = {model["name"]: model for model in desk["ollama"]["models"]}
    recorded = desk["record"]["models"] or {}
    entries = [declared(entry) for entry in wanted["models"]]
    needed = []
    for entry in entries:
        name = canonical(entry["name"])
        reason = _reason(entry, name, present, recorded.get(name) or {}, bool(wanted.get("retry_sources")))
        if reason:
            needed.append(dict(entry, reason=reason))
    if wanted.get("exclusive"):
        surplus = sorted(set(present) - _kept(entries, recorded))
        needed += [{"name": name, "state": "absent", "reason": "is here and not declared"} for name in surplus]
    stale = set(recorded) - {canonical(entry["name"]) for entry in entries}
    chosen = [entry for entry in entries if entry.get("auto")]
    unwritten = [entry for entry in chosen if not (recorded.get(canonical(entry["name"])) or {}).get("auto")]
    return {
        "act": bool(needed or stale or unwritten),
        "models": needed,
        "chosen": [f"{entry['name']} is what auto stands for: {entry['auto']}" for entry in chosen],
    }


def errands(models: list[Any], pull: list[str], remove: list[str], exclusive: bool = False) -> dict[str, Any]:
    """Return what has to be done for models that are asked for by name, beside what is declared.

    :param models: the declared list.
    :param pull: names to bring; a declared one comes as it is declared, another from the registry of its name alone.
    :param remove: names to remove.
    :param exclusive: whether the declared list removes everything else.
    :returns: ``models``, as ``ollama_model`` takes them, ``notes``, a sentence for each of which the declared list will
        undo what is done, and ``declared``, the names that are to be there.
    :raises BadName: a name cannot be one.
    """
    entries = {canonical(entry["name"]): entry for entry in map(declared, models)}
    present = [name for name, entry in entries.items() if entry["state"] != "absent"]
    work, notes = [], []
    for name in map(canonical, pull):
        work.append(
            entries[name] if name in present else {"name": name, "state": "present", "sources": [{"name": name}]}
        )
        if name in entries and name not in present:
            notes.append(f"{name} is declared absent (ollama_models), so the next './llmdesk up' removes it again.")
        elif exclusive and name not in present:
            notes.append(f"{name} is not declared, so the next './llmdesk up' removes it (ollama_models_exclusive).")
    for name in map(canonical, remove):
        work.append({"name": name, "state": "absent"})
        if name in present:
            notes.append(f"{name} is declared (ollama_models), so the next './llmdesk up' brings it back.")
    return {"models": work, "notes": notes, "declared": present}


def _kept(entries: list[dict[str, Any]], recorded: dict[str, Any]) -> set[str]:
    """Return the names that belong to a declared list: its own, what they are made of, and what stands in for them."""
    kept = {canonical(entry["name"]) for entry in entries if entry["state"] != "absent"}
    kept |= {canonical(entry["create"]["from"]) for entry in entries if (entry.get("create") or {}).get("from")}
    stands_in = {name: entry["model"] for name, entry in recorded.items() if entry.get("fell_back")}
    return kept | {model for name, model in stands_in.items() if name in kept}


def _reason(
    entry: dict[str, Any], name: str, present: dict[str, Any], recorded: dict[str, Any], retry_sources: bool
) -> str:
    here = present.get(name)
    if entry["state"] == "absent":
        return "is here and should not be" if here else ""
    stands_in = present.get(str(recorded.get("model"))) if recorded.get("fell_back") else None
    if stands_in and stands_in["digest"] == recorded.get("digest"):
        return f"{recorded['model']} stands in for it" if retry_sources else ""
    if here is None:
        return "is not here"
    pins = [source["digest"] for source in entry["sources"] if source.get("digest")]
    if pins and here["digest"] not in pins:
        return "is here with another digest than the pinned one"
    if entry["state"] == "latest":
        return "is to be the latest"
    if entry.get("verify") == "full":
        return "is to be hashed"
    if entry.get("loaded") not in (None, bool(here.get("loaded"))):
        return "is not loaded" if entry["loaded"] else "is loaded and should not be"
    same = (recorded.get("digest"), recorded.get("declaration")) == (here["digest"], declaration(entry))
    return "" if not entry.get("create") or same else "may be other than declared"


def declaration(entry: dict[str, Any]) -> str:
    """Return the sha256 of what a model is declared to be made of; only the server can tell what it is made of."""
    return hashlib.sha256(json.dumps(entry.get("create"), sort_keys=True).encode()).hexdigest()


def by_size(models: list[dict[str, Any]], predicted: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return models with the smallest download first, so that desks of one room pull the same one at the same time.

    What is made of another model comes after all that are pulled: its base may be one of them.

    :param predicted: results of ``ollama_model`` in check mode, one a model, with ``bytes``.
    """
    sizes = [result.get("bytes") or 0 for result in predicted]

    def rank(number: int) -> tuple[bool, bool, int]:
        model = models[number]
        return model["state"] != "absent", bool((model.get("create") or {}).get("from")), sizes[number]

    return [models[number] for number in sorted(range(len(models)), key=rank)]


def models_record(recorded: dict[str, Any] | None, results: list[dict[str, Any]], models: list[Any]) -> dict[str, Any]:
    """Return the record of the models: what was wanted, and what stands for it.

    :param recorded: the record until now.
    :param results: results of ``ollama_model``, one a model that needed something.
    :param models: the declared list; what is not in it is forgotten.
    """
    declarations = {canonical(entry["name"]): declaration(entry) for entry in map(declared, models)}
    record = {name: entry for name, entry in (recorded or {}).items() if name in declarations}
    for result in results:
        wanted = canonical(result["invocation"]["module_args"]["name"])
        if "model" not in result or wanted not in declarations:
            record.pop(wanted, None)
            continue
        record[wanted] = {
            "model": result["model"]["name"],
            "digest": result["model"]["digest"],
            "declaration": declarations[wanted],
            "source": result["source"],
            "fell_back": result["fell_back"],
            "tried": result["tried"],
            "note": result["note"],
            "chat": result.get("chat", (record.get(wanted) or {}).get("chat", "")),
        }
    for entry in map(declared, models):
        if entry.get("auto"):  # so that the next run chooses the same
            name = canonical(entry["name"])
            record[name] = dict(record.get(name) or {"model": name}, auto=entry["auto"])
    return record
