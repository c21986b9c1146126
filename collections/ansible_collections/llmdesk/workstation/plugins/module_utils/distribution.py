# SPDX-License-Identifier: GPL-3.0-or-later
"""Which way models come to the desks of a room: from desk to desk, from the mirror, or as if there were no mirror.

``bench/fanout.py`` measures both ways and has a model of how they grow. From one port, N desks need N times as long as
one; in a swarm all of them together less than one and a half times as long, by the model up to a thousand desks.
Against that stands what a swarm costs before its first byte and after its last: a package to install, a tracker to ask,
and every blob hashed once more.
"""

from __future__ import annotations

from typing import Any

from ansible_collections.llmdesk.workstation.plugins.module_utils.model_name import canonical
from ansible_collections.llmdesk.workstation.plugins.module_utils.swarm import SMALLEST

SWARM = 1.5
"""How many times as long as one copy a swarm takes for all desks."""
PORT = 125_000_000
"""Bytes a second of the mirror's port, 1 Gbit/s. Over a slower one a swarm is worth it sooner; the rule cannot know."""
OVERHEAD = 15
"""Seconds that a swarm costs a desk beside the transfer, aria2's installation included."""


def distribution(wanted: str, mirror: str, desks: int, models: list[dict[str, Any]]) -> dict[str, Any]:
    """Choose the way for what a desk still has to get.

    :param wanted: ``auto``, ``swarm``, ``mirror`` or ``direct``.
    :param mirror: its name or address; empty where there is none.
    :param desks: how many fetch at the same time.
    :param models: what is to come and the mirror has, each with its ``blobs``, which have ``digest`` and ``size``.
    :returns: ``way``, ``why``, a sentence without its full stop, and ``blobs``, those that a swarm would bring.
    """
    sizes = {blob["digest"]: blob["size"] for model in models for blob in model["blobs"] if blob["size"] >= SMALLEST}
    blobs = [{"digest": digest, "size": size} for digest, size in sizes.items()]
    way, why = _way(wanted, mirror, desks, sum(sizes.values()))
    return {"way": way, "why": why, "blobs": blobs if way == "swarm" else []}


def to_come(models: list[dict[str, Any]], wanted: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return those models of a mirror that a desk may get.

    :param models: what the mirror has, by the names that their registries have for them.
    :param wanted: what is to be done on the desk, with the names of its sources however they are spelled.
    """
    sources = [source for model in wanted for source in model.get("sources", [])]
    names = {canonical(source.get("of") or source["name"]) for source in sources if source.get("name")}
    return [model for model in models if canonical(model["name"]) in names]


def _way(wanted: str, mirror: str, desks: int, size: int) -> tuple[str, str]:
    if not mirror:
        return "direct", "no mirror is named"
    if wanted == "direct":
        return "direct", "it is wanted so"
    if not size:
        return "mirror", "nothing large is to come that the mirror has"
    if wanted != "auto":
        return wanted, "it is wanted so"
    saved = (desks - SWARM) * size / PORT
    told = f"{size / 1e9:.1f} GB for each of {desks} desk{'s' * (desks > 1)}"
    if saved > OVERHEAD:
        return "swarm", f"{told}: from the mirror alone they would wait at its port"
    return "mirror", f"{told}: a swarm would cost more than it saves"
