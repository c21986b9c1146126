# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a desk's page has to be held to the people who may use it."""

from __future__ import annotations

from typing import Any

from ansible_collections.llmdesk.workstation.plugins.module_utils.plan import config_hash

# Why llmdesk cannot sign in, by the state of the administrator's account.
_SHUT_OUT = {
    "none": "the page has no administrator yet",
    "unknown": "the page does not answer",
    "unmanaged": "the page has an administrator whose password is not known here",
}


def people_plan(desk: dict[str, Any], wanted: dict[str, Any]) -> dict[str, Any]:
    """Decide whether accounts, and who sees which model, have to be held.

    :param desk: the desk facts.
    :param wanted: ``users`` and ``models``, the declared lists, and ``update_password``, and
        ``always``, true to hold them although nothing has changed.
    :returns: ``act``; ``do``, which is ``hold``, or ``say`` where somebody is declared and cannot be helped yet;
        ``reason``; and ``identity``, the hash of everything that is held.
    """
    identity = config_hash(
        {
            "container": (desk["container"] or {}).get("config_hash"),
            # Without passwords: a record can be read by everybody on the desk, and a weak one could be guessed from it.
            "users": [{key: user[key] for key in user if key != "password"} for user in wanted["users"]],
            "models": wanted["models"],
            "present": sorted(model["name"] for model in desk["ollama"]["models"]),
        }
    )
    plan = {"identity": identity, "do": "nothing"}
    recorded = desk["record"]["people"]
    if recorded is None and not wanted["users"] and not wanted["models"]:
        return dict(plan, act=False, reason="nobody is declared")
    again = wanted.get("always") or (bool(wanted["users"]) and wanted["update_password"] == "always")
    if recorded and recorded.get("identity") == identity and not again:
        return dict(plan, act=False, reason="nothing has changed since they were last held")
    state = desk["account"]["state"]
    if state != "managed":
        return dict(plan, act=True, do="say", reason=_SHUT_OUT[state])
    return dict(plan, act=True, do="hold", reason="people, page or models have changed since they were last held")
