# SPDX-License-Identifier: GPL-3.0-or-later
"""Which model ``auto`` stands for on a desk, and which of the declared ones do not fit it.

The choice is made once and recorded; it stays until it does not fit any more, or until somebody asks for a new one.
"""

from __future__ import annotations

from typing import Any

from ansible_collections.llmdesk.workstation.plugins.module_utils.fit import (
    BadDescription,
    Model,
    described,
    fit,
    size,
)
from ansible_collections.llmdesk.workstation.plugins.module_utils.model_name import BadName, canonical
from ansible_collections.llmdesk.workstation.plugins.module_utils.plan import IMAGE_SPACE

AUTO = "auto"
ORDER = ("gpu", "cpu", "cpu-slow", "gpu-partly")
"""Verdicts as a person who waits for an answer prefers them; a model that no longer fits is never chosen."""

MODES = ("warn", "enforce", "ignore")


def is_auto(entry: Any) -> bool:
    """Tell whether an entry of the declared list leaves the choice to us."""
    return bool((entry.get("name") if isinstance(entry, dict) else entry) == AUTO)


def choose(desk: dict[str, Any], catalogue: list[dict[str, Any]], avoid: set[str] | None = None) -> dict[str, Any]:
    """Return the best model of the catalogue that fits a desk: ``name`` and ``reason``; both empty where none does.

    The best is the one with the highest rank among those with the best verdict that the disk has room for.

    :param avoid: names that are not to be chosen.
    """
    candidates = [entry for entry in catalogue if entry.get("rank") and entry["name"] not in (avoid or set())]
    judged = [(entry, fit(desk, described(entry))) for entry in candidates if _has_room(desk, entry)]
    fitting = [(entry, answer) for entry, answer in judged if answer["verdict"] in ORDER]
    if not fitting:
        return {"name": "", "reason": ""}
    entry, answer = min(fitting, key=lambda pair: (ORDER.index(pair[1]["verdict"]), -pair[0]["rank"]))
    return {
        "name": entry["name"],
        "reason": f"of {len(candidates)} models of the catalogue it is the best that fits: {answer['reason']}",
    }


def _has_room(desk: dict[str, Any], entry: dict[str, Any]) -> bool:
    """Tell whether a model is on the desk, or would have room on its disk beside an image that is still to come."""
    free = desk["disk"][0]["available"] - (0 if desk["image"] else IMAGE_SPACE)
    return bool(entry["weights"] <= free) or entry["name"] in {model["name"] for model in desk["ollama"]["models"]}


def resolved(
    desk: dict[str, Any], declared: list[Any], catalogue: list[dict[str, Any]], again: bool = False
) -> list[Any]:
    """Return the declared models with a name in the place of ``auto``; the entry's ``auto`` is the reason for it.

    :param again: true to choose anew.
    """
    others = [entry for entry in declared if not is_auto(entry)]
    if len(others) == len(declared):
        return list(declared)
    present, absent = _named(others, "present"), _named(others, "absent")
    chosen = _recorded(desk, catalogue, absent) if not again else None
    chosen = chosen or choose(desk, catalogue, absent)
    found: list[Any] = []
    taken = present | {""}
    for entry in declared:
        if not is_auto(entry):
            found.append(entry)
        elif chosen["name"] not in taken:  # else somebody has declared it anyway
            taken.add(chosen["name"])
            given = entry if isinstance(entry, dict) else {}
            found.append({**given, "name": chosen["name"], "auto": chosen["reason"]})
    return found


def _named(entries: list[Any], state: str) -> set[str]:
    """Return the names that are declared absent, or not."""
    found = set()
    for entry in entries:
        wanted = entry if isinstance(entry, dict) else {"name": entry}
        if (wanted.get("state") == "absent") == (state == "absent"):
            try:
                found.add(canonical(wanted["name"]))
            except BadName:
                continue  # said where models are planned
    return found


def _recorded(desk: dict[str, Any], catalogue: list[dict[str, Any]], avoid: set[str]) -> dict[str, Any] | None:
    """Return the choice of an earlier run, None where there is none or where it does not fit any more."""
    known = {entry["name"]: entry for entry in catalogue}
    for name, entry in (desk["record"]["models"] or {}).items():
        if entry.get("auto") and name not in avoid:
            fits = name not in known or fit(desk, described(known[name]))["verdict"] != "no"
            return {"name": name, "reason": entry["auto"]} if fits else None
    return None


def known_model(name: str, desk: dict[str, Any], catalogue: list[dict[str, Any]]) -> Model | None:
    """Return what is known of a model without asking anybody: by the catalogue, or its bytes on the desk."""
    entry = next((entry for entry in catalogue if entry["name"] == name), None)
    here = next((model for model in desk["ollama"]["models"] if model["name"] == name), None)
    if entry:
        return described(entry)
    return described({"name": name, "weights": here["size"]}) if here and here["size"] else None


def misfits(
    desk: dict[str, Any], wanted: dict[str, Any], catalogue: list[dict[str, Any]], verdicts: tuple[str, ...]
) -> list[str]:
    """Return a sentence for every declared model that is known and gets one of these verdicts.

    :param wanted: ``models``, the declared list, and ``fit``, one of ``MODES``.
    """
    said = []
    for entry in wanted["models"]:
        declared = entry if isinstance(entry, dict) else {"name": entry}
        if wanted["fit"] == "ignore" or is_auto(entry) or declared.get("state") == "absent":
            continue
        try:
            model = known_model(
                canonical((declared.get("create") or {}).get("from") or declared["name"]), desk, catalogue
            )
        except (BadName, BadDescription):
            continue  # said where models are planned
        answer = fit(desk, model, _context(declared)) if model else None
        if answer and answer["verdict"] in verdicts:
            said.append(sentence(declared["name"], answer))
    return said


def warnings(desk: dict[str, Any], wanted: dict[str, Any], catalogue: list[dict[str, Any]]) -> list[str]:
    """Return a sentence for every declared model that does not fit and is brought all the same.

    One that a GPU holds in part is never refused: it answers, and nobody but its owner knows how fast it has to be.

    :param wanted: as for ``misfits``.
    """
    return misfits(desk, wanted, catalogue, ("no", "gpu-partly") if wanted["fit"] == "warn" else ("gpu-partly",))


def _context(declared: dict[str, Any]) -> int:
    """Return the context that a declaration names, 0 where it names none."""
    named = ((declared.get("create") or {}).get("parameters") or {}).get("num_ctx", 0)
    return int(named) if str(named).isdigit() else 0


def sentence(name: str, answer: dict[str, Any]) -> str:
    """Return what is wrong with a model on a desk, and what to do, in one line."""
    word = "does not fit this desk" if answer["verdict"] == "no" else "does not fit the GPU of this desk"
    return (
        f"{name} {word}: {answer['reason']}. It would take {answer['remedy']}. './llmdesk fit' shows what fits; "
        "ollama_models_fit: ignore takes it without a word."
    )


def errors(desk: dict[str, Any], wanted: dict[str, Any], catalogue: list[dict[str, Any]]) -> list[str]:
    """Return what stops a run before anything is touched.

    :param wanted: as for ``misfits``.
    """
    found = misfits(desk, wanted, catalogue, ("no",)) if wanted["fit"] == "enforce" else []
    autos = [entry for entry in wanted["models"] if is_auto(entry)]
    for entry in autos:
        extra = sorted(set(entry) & {"sources", "create"}) if isinstance(entry, dict) else []
        if extra:
            found.append(
                f"ollama_models: auto cannot have {' or '.join(extra)}, which belong to one model. Name that model."
            )
    if autos and not choose(desk, catalogue, _named(wanted["models"], "absent"))["name"]:
        found.append(
            f"ollama_models: auto finds no model of its catalogue that fits this desk, which has "
            f"{size(desk['memory']['total'])} of memory and {size(desk['disk'][0]['available'])} of free disk. "
            "Name one in ollama_models."
        )
    return found


def table(
    desk: dict[str, Any], models: list[dict[str, Any]], catalogue: list[dict[str, Any]], context: int = 0
) -> dict[str, Any]:
    """Return how models fit a desk: ``auto``, what would be chosen, and ``models``, an answer of ``fit`` each.

    :param models: descriptions, or a ``name`` with an ``error``; empty for the walk-through's rows and the candidates.
    """
    rows = models or sorted(
        (entry for entry in catalogue if entry.get("walk_through") or entry.get("rank")), key=lambda row: row["weights"]
    )
    return {"auto": choose(desk, catalogue), "models": [_row(desk, entry, context) for entry in rows]}


def _row(desk: dict[str, Any], entry: dict[str, Any], context: int) -> dict[str, Any]:
    if not entry.get("error"):
        try:
            return fit(desk, described(entry), context)
        except BadDescription as error:
            entry = {"name": entry.get("name"), "error": str(error)}
    unknown = {"verdict": "unknown", "needed": None, "available": None, "where": None, "context": None, "remedy": ""}
    return {"model": entry["name"], "reason": entry["error"], "gpu_layers": None, "layers": None, **unknown}
