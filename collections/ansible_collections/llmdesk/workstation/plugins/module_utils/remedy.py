# SPDX-License-Identifier: GPL-3.0-or-later
"""What to do about a broken link between a person and an answer."""

from __future__ import annotations

from typing import Any


def remedy(link: str, error: str, desk: dict[str, Any]) -> str:
    """Return one sentence that says what to do.

    :param link: ``page``, ``account``, ``ollama``, ``model``, ``chat`` or ``gpu``.
    :param error: what was seen.
    :param desk: ``container``, ``model``, ``url``, ``ollama_url`` and ``password_file`` of the desk.
    """
    again = "run './llmdesk up' again"
    if link == "page":
        return f"See why with 'docker logs {desk['container']}', then {again}: it starts or mends the container."
    if link == "account":
        if "No such file" in error:
            return (
                "This page has accounts that llmdesk did not make: give the administrator's password once as "
                "open_webui_admin_password (see docs/security.md) and " + again + "."
            )
        if "Rate limit" in error or "429" in error:
            return "The page counts too many tries: wait three minutes and try again."
        return (
            f"The page refuses the password in {desk['password_file']}; if it was changed in the page, write the new "
            "one into that file."
        )
    if link == "ollama":
        return f"Ollama has died inside the container: 'docker restart {desk['container']}' or {again}."
    if link == "gpu":
        return "To agree to the CPU, set desk_gpu: none (docs/gpu.md)."
    if link == "model":
        return f"Bring it with './llmdesk up --model {desk['model']}'."
    if "does not support tools" in error:
        return f"The page sends tools that {desk['model']} does not understand: {again}, which switches them off."
    if "memory" in error:
        return "The model does not fit into this machine's memory: choose a smaller one with './llmdesk up --model'."
    return f"See why with 'docker logs {desk['container']}', then {again}."
