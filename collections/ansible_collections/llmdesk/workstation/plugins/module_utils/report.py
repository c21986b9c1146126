# SPDX-License-Identifier: GPL-3.0-or-later
"""What a person wants to know about a desk: where it is, who may enter, which model answers, and the last proof."""

from __future__ import annotations

from typing import Any

from ansible_collections.llmdesk.workstation.plugins.module_utils.record import redacted
from ansible_collections.llmdesk.workstation.plugins.module_utils.wsl_gpu import both_sides
from ansible_collections.llmdesk.workstation.plugins.module_utils.wsl_inside import by_hand


def desk_report(
    desk: dict[str, Any],
    chat: dict[str, Any],
    email: str,
    gpu: dict[str, Any] | None = None,
    windows: dict[str, Any] | None = None,
    wanted: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Return the report of one desk.

    :param desk: the desk facts.
    :param chat: the result of ``open_webui_chat`` in this run; empty where nothing was asked.
    :param email: the address the administrator signs in with.
    :param gpu: which way the container takes to a GPU, as ``gpu_plan`` decides it.
    :param windows: of a distro that was reached through Windows, that ``host``, and the ``gpus`` that it has.
    :param wanted: what the run wanted of the desk, for its record: ``image``, ``models``, ``ports``, ``listen``,
        ``gpu`` and ``settings``; None of what no role in the run had a say in.
    :returns: ``address``, ``windows_host``, ``windows`` (what a person has to do in Windows, as
        :func:`wsl_inside.by_hand` has it; None where a run reaches Windows itself), ``account``, ``image``, ``gpu``
        (``path`` and ``reason``; None where it was not decided), ``model``, ``proof`` (None where there is none;
        ``fresh`` says if it is of this run), ``links``, ``warnings`` and ``wanted``. Nothing in it is secret.
    """
    record, windows = desk["record"], windows or {}
    proof = chat.get("proof") or record["proof"]
    return {
        "windows_host": windows.get("host"),
        "windows": None if windows.get("host") else by_hand(desk),
        "address": desk["page"]["url"],
        "account": {
            "email": email,
            "state": desk["account"]["state"],
            "password_file": desk["account"]["password_file"],
        },
        "image": {key: (record["image"] or {}).get(key) for key in ("reference", "source", "digest")},
        "gpu": {"path": gpu["path"], "reason": gpu["reason"]} if gpu else None,
        "model": _model(record["models"] or {}, proof),
        "proof": dict(proof, fresh=bool(chat.get("proof"))) if proof else None,
        "links": chat.get("links") or links(desk),
        "warnings": [
            *warnings(desk),
            *gpu_warnings(desk, proof or {}, gpu or {}),
            *both_sides(desk, windows.get("gpus")),
        ],
        "wanted": wanted_of(wanted or {}),
    }


def wanted_of(wanted: dict[str, Any]) -> dict[str, Any]:
    """Return what was wanted of a desk as its record keeps it: models by their names, sources without secrets."""
    kept = dict(wanted)
    if wanted.get("models") is not None:
        entries = [entry if isinstance(entry, dict) else {"name": entry} for entry in wanted["models"]]
        kept["models"] = [
            {
                "name": entry["name"],
                "state": entry.get("state") or "present",
                **({"from": entry["create"]["from"]} if (entry.get("create") or {}).get("from") else {}),
            }
            for entry in entries
        ]
    sources = (wanted.get("image") or {}).get("sources")
    if sources is not None:
        kept["image"] = {"sources": [{key: redacted(str(source[key])) for key in source} for source in sources]}
    return kept


def links(desk: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the links as the facts show them, for a run that asked nothing."""
    page, ollama = desk["page"], desk["ollama"]
    seen = {
        "page": (page["state"] == "ready", page["state"]),
        "account": (desk["account"]["state"] == "managed", desk["account"]["state"]),
        "ollama": (ollama["state"] == "answers", ollama["state"]),
        "model": (bool(ollama["models"]), "no model"),
    }
    way = "Type './llmdesk up'." if desk["container"] is None else "'./llmdesk verify' says why."
    return [
        {"name": name, "ok": ok, "error": "" if ok else state, "remedy": "" if ok else way}
        for name, (ok, state) in seen.items()
    ]


def warnings(desk: dict[str, Any]) -> list[str]:
    """Return one sentence for everything that works, but not as it was wanted."""
    said = [
        f"{name} was not to be had; {entry['model']} stands in for it. "
        "'./llmdesk up --retry-sources' asks the hubs anew."
        for name, entry in (desk["record"]["models"] or {}).items()
        if entry.get("fell_back")
    ]
    said += [
        f"{entry['model']} {entry['chat']}." for entry in (desk["record"]["models"] or {}).values() if entry.get("chat")
    ]
    image = desk["record"]["image"] or {}
    for entry in image.get("tried") or []:
        said.append(
            f"The image {entry['source']} was not to be had ({entry['error']}): the desk runs one from another "
            f"source ({image['source']})."
        )
    if desk["account"]["state"] == "unmanaged":
        said.append(
            "The page has accounts that llmdesk did not make, so nothing can be proved through it. Give the "
            "administrator's address and password once as desk_admin_email and open_webui_admin_password."
        )
    return [*said, *desk["unknown"]]


def gpu_warnings(desk: dict[str, Any], proof: dict[str, Any], gpu: dict[str, Any]) -> list[str]:
    """Return why a desk with a GPU answers from the CPU, or how little of a model its GPU holds."""
    said = []
    able = any(not card.get("integrated") for card in desk.get("gpus") or [])
    if desk["container"] and able and gpu.get("path") == "cpu" and "desk_gpu: none" not in gpu["reason"]:
        said.append(f"The desk has a GPU and answers from the CPU: {gpu['reason']}.")
    lost = (desk["container"] or {}).get("gpu_lost")
    if lost:
        said.append(f"The container has lost its GPU ({lost}): './llmdesk up' makes it anew.")
    if proof.get("processor") == "gpu-partly" and proof.get("size"):
        share = 100 * proof["size_vram"] // proof["size"]
        said.append(f"Only {share} % of {proof['model']} fit into the GPU's memory; the CPU computes the rest, slowly.")
    return said


def _model(recorded: dict[str, Any], proof: dict[str, Any] | None) -> dict[str, Any]:
    name = (proof or {}).get("model")
    for wanted, entry in recorded.items():
        if name in (None, entry.get("model")):
            return {
                "name": entry.get("model"),
                "wanted": wanted,
                "fell_back": bool(entry.get("fell_back")),
                "on": (proof or {}).get("processor"),
            }
    return {"name": name, "wanted": name, "fell_back": False, "on": (proof or {}).get("processor")}
