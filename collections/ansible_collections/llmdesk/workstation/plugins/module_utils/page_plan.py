# SPDX-License-Identifier: GPL-3.0-or-later
"""What the page's image and account need, decided over the desk facts."""

from __future__ import annotations

from typing import Any


def image_plan(desk: dict[str, Any], wanted: dict[str, Any]) -> dict[str, Any]:
    """Decide whether an image has to be found.

    :param desk: the desk facts.
    :param wanted: ``sources``, the ordered list, and ``upgrade``, true to look anew.
    :returns: ``act`` and ``reason``.
    """
    record = desk["record"]["image"]
    if wanted.get("upgrade"):
        return {"act": True, "reason": "asked to look for the image anew"}
    if record is None:
        return {"act": True, "reason": "no image was found yet"}
    if record.get("wanted") != wanted["sources"]:
        return {"act": True, "reason": "the list of sources has changed"}
    if desk["image"] is None:
        return {"act": True, "reason": f"the image {record.get('reference')} is gone"}
    return {"act": False, "reason": f"{record.get('reference')} is here"}


def account_plan(desk: dict[str, Any], wanted: dict[str, Any]) -> dict[str, Any]:
    """Decide whether the administrator has to be made, or made known.

    :param desk: the desk facts.
    :param wanted: ``password_given``, whether the user named a password.
    :returns: ``act`` and ``reason``.
    """
    state = desk["account"]["state"]
    container = desk["container"]
    if state == "none":
        return {"act": True, "reason": "the page has no account yet"}
    if state == "unmanaged":
        return {"act": wanted["password_given"], "reason": "the page has accounts that llmdesk did not make"}
    if state == "unknown" and not (container and container["managed"]):
        # Ours is started only after its account was made; anybody else's says nothing.
        return {"act": True, "reason": "the data volume may have no account yet"}
    return {"act": False, "reason": "the administrator is known"}
