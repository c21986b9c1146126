# SPDX-License-Identifier: GPL-3.0-or-later
"""The accounts of an Open WebUI page: what a declared list, the page, and what is remembered of earlier runs ask for.

Accounts are told apart by their address, which the page keeps in small letters. ``memory`` is what earlier runs have
made: ``accounts``, the page's ids by address (None for one that was being made when the run ended), and ``groups``,
the names that the list had.
"""

from __future__ import annotations

import json
import re
import secrets
from typing import Any

# The page's own rule.
_ADDRESS = re.compile(r"[^@\s]+@(localhost|[^@\s]+\.[^@\s]+)")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")

# Without what is mistaken for another on paper: 0 and o, 1 and l and i.
_LETTERS = "abcdefghjkmnpqrstuvwxyz"
_DIGITS = "23456789"

_FIELDS = ("email", "name", "role")

HEADER = "name\taddress\tfirst password\tgroups"
DISABLED = "(disabled)"


class BadSheet(ValueError):
    """The file of the first passwords, or the one of what is remembered, is not as it was written."""


def faults(users: list[dict[str, Any]], administrator: str) -> list[str]:
    """Return what is wrong with a declared list, one sentence each, before anything is touched.

    :param administrator: the address of the account that makes the others.
    """
    found, seen = [], set()
    for user in users:
        address, name = user["email"].strip().lower(), user["name"].strip()
        if not _ADDRESS.fullmatch(address):
            found.append(f"{user['email']!r} ({name}) is no address such as ada@school.example.")
        if address in seen:
            found.append(f"{address} stands in the list twice.")
        if address == administrator.strip().lower():
            found.append(f"{address} is the administrator who makes the others; take it out of the list.")
        if not name:
            found.append(f"{address} has no name.")
        if not all(group.strip() for group in user.get("groups") or []):
            found.append(f"{address} has a group without a name.")
        if user.get("password") == "":
            found.append(f"The password of {address} is empty; leave it out to have one generated.")
        texts = [user["name"], user.get("password") or "", *(user.get("groups") or [])]
        if any(_CONTROL.search(text) for text in texts):
            found.append(f"{address} has a tab, a line break or the like in its name, a group or its password.")
        seen.add(address)
    return found


def declared(users: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return a declared list by address, as the page would show it, with ``password`` where one is given."""
    return {
        user["email"].strip().lower(): {
            "name": user["name"].strip(),
            "role": user.get("role") or "user",
            "groups": sorted({group.strip() for group in user.get("groups") or []}),
            "password": user.get("password"),
        }
        for user in users
    }


def held_groups(wanted: dict[str, dict[str, Any]], memory: dict[str, Any]) -> list[str]:
    """Return the names of the groups whose members are held: those in the list, and those that were in it."""
    return sorted(listed_groups(wanted) | set(memory["groups"]))


def listed_groups(wanted: dict[str, dict[str, Any]]) -> set[str]:
    """Return the names of the groups in the list."""
    return {group for user in wanted.values() for group in user["groups"]}


def users_plan(
    wanted: dict[str, dict[str, Any]],
    accounts: list[dict[str, Any]],
    members: dict[str, list[str]],
    memory: dict[str, Any],
    administrator: str,
) -> dict[str, Any]:
    """Decide what has to be done so that the page has the declared accounts.

    An account that others made is held like any other while it is in the list, and left alone when it is not: only
    accounts that are remembered are disabled. A group loses and gets only accounts that are in the list or remembered.

    :param wanted: the declared list, as :func:`declared` returns it.
    :param accounts: the page's accounts, each with ``id``, ``email``, ``name`` and ``role``.
    :param members: the ids of the members of each held group that the page has, by its name.
    :param memory: what is remembered.
    :param administrator: the id of the account that makes the others; it is never touched.
    :returns: ``make``, addresses without an account; ``accounts``, the ids by address of the declared accounts that
        are there; ``change``, by id what an account has to get; ``add_groups``, names; ``join`` and ``leave``, by
        group the addresses that have to get in or out; ``left``, by address the ids of remembered accounts that are
        not in the list; ``before`` and ``after``, by address what is seen of each account that differs.
    """
    by_id = {account["id"]: account for account in accounts if account["id"] != administrator}
    ours = {number for number in memory["accounts"].values() if number in by_id}
    there = _present(wanted, by_id, memory)
    left = dict(sorted((by_id[number]["email"], number) for number in ours - set(there.values())))
    before = {
        address: _seen(by_id[number], members) if number else None
        for address, number in [*((address, there.get(address)) for address in wanted), *left.items()]
    }
    after = {
        address: {"email": address, "name": user["name"], "role": user["role"], "groups": user["groups"]}
        for address, user in wanted.items()
    }
    after.update((address, dict(before[address] or {}, role="pending", groups=[])) for address in left)
    differs = [address for address in after if before[address] != after[address]]
    numbers = {**there, **left}
    changes = {
        numbers[address]: {key: after[address][key] for key in _FIELDS if now[key] != after[address][key]}
        for address in differs
        for now in [before[address]]
        if now is not None
    }
    return {
        "make": [address for address in wanted if address not in there],
        "accounts": there,
        "left": left,
        "change": {number: change for number, change in changes.items() if change},
        "add_groups": sorted(listed_groups(wanted) - set(members)),
        "join": _by_group(differs, after, before),
        "leave": _by_group(differs, before, after),
        "before": {address: before[address] for address in differs},
        "after": {address: after[address] for address in differs},
    }


def _seen(account: dict[str, Any], members: dict[str, list[str]]) -> dict[str, Any]:
    """Return an account as the list would declare it."""
    groups = sorted(group for group, inside in members.items() if account["id"] in inside)
    return dict({key: account[key] for key in _FIELDS}, groups=groups)


def _by_group(addresses: list[str], those: dict[str, Any], without: dict[str, Any]) -> dict[str, list[str]]:
    """Return, by group, the accounts that are in it by one view of them and not by the other."""
    found: dict[str, list[str]] = {}
    for address in addresses:
        for group in (those[address] or {}).get("groups", []):
            if group not in (without[address] or {}).get("groups", []):
                found.setdefault(group, []).append(address)
    return found


def _present(
    wanted: dict[str, dict[str, Any]], by_id: dict[str, dict[str, Any]], memory: dict[str, Any]
) -> dict[str, str]:
    """Return the ids of the declared accounts that are there, by address: found by it, or remembered under it."""
    by_address = {account["email"].lower(): number for number, account in by_id.items()}
    found = {}
    for address in wanted:
        remembered = memory["accounts"].get(address)
        # An administrator may have given it another address since.
        taken = by_id.get(remembered or "", {}).get("email") in wanted
        number = by_address.get(address) or (remembered if remembered in by_id and not taken else None)
        if number:
            found[address] = number
    return found


def doubtful(accounts: list[dict[str, Any]], memory: dict[str, Any]) -> dict[str, str]:
    """Return the ids, by address, of accounts that an earlier run may have made before it could remember them.

    Somebody else may have made them since; the password that the run had ready tells.
    """
    there = {account["email"].lower(): account["id"] for account in accounts}
    return {
        address: there[address] for address, number in memory["accounts"].items() if not number and address in there
    }


def remembered(wanted: dict[str, dict[str, Any]], plan: dict[str, Any], memory: dict[str, Any]) -> dict[str, Any]:
    """Return what is to be remembered after everything was done.

    :param plan: what was done, as :func:`users_plan` returned it.
    :param memory: what was remembered until now, with the accounts that were made.
    """
    ours = set(memory["accounts"].values())
    kept = {address: number for address, number in plan["accounts"].items() if number in ours}
    return {"accounts": {**plan["left"], **kept}, "groups": sorted(listed_groups(wanted))}


def generated() -> str:
    """Return a password that a child can type from paper, with 57 bits of chance.

    It has a capital, small letters, a digit and a sign, which the stricter pages ask for.
    """
    some = "".join(secrets.choice(_LETTERS + _DIGITS) for _character in range(10))
    whole = secrets.choice(_LETTERS).upper() + some + secrets.choice(_DIGITS)
    return "-".join((whole[:4], whole[4:8], whole[8:]))


# --- The files on the desk ------------------------------------------------------------------------------------------


def read_sheet(text: str | None) -> dict[str, list[str]]:
    """Return the rows of the file of first passwords by address, each as name, address, password and groups.

    :raises BadSheet: a line has not these four.
    """
    rows = {}
    for count, line in enumerate((text or "").splitlines(), 1):
        fields = line.split("\t")
        if line == HEADER or not line.strip():
            continue
        if len(fields) != 4 or not fields[1] or not fields[2]:
            raise BadSheet(f"line {count} is not name, address, password and groups with a tab between each")
        rows[fields[1]] = fields
    return rows


def sheet(
    wanted: dict[str, dict[str, Any]], left: dict[str, str], passwords: dict[str, str], rows: dict[str, list[str]]
) -> str:
    """Return the file of first passwords: one line an account whose password was generated, in the list's order.

    :param left: the accounts that are disabled, by address.
    :param passwords: the generated passwords by address.
    :param rows: the rows until now; they have the names of the disabled accounts.
    """
    lines = [
        "\t".join((user["name"], address, passwords[address], ", ".join(user["groups"])))
        for address, user in wanted.items()
        if address in passwords
    ]
    lines += [
        "\t".join((rows[address][0], address, passwords[address], DISABLED)) for address in left if address in passwords
    ]
    return "\n".join((HEADER, *lines)) + "\n"


def read_memory(text: str | None) -> dict[str, Any]:
    """Return what is remembered of earlier runs.

    :raises BadSheet: the text is not what was written.
    """
    try:
        memory = json.loads(text) if text else {"accounts": {}, "groups": []}
        return {"accounts": dict(memory["accounts"]), "groups": list(memory["groups"])}
    except (ValueError, KeyError, TypeError) as error:
        raise BadSheet(f"it is not what was written: {error}") from error


def memory_text(memory: dict[str, Any]) -> str:
    """Return what is to be remembered, as it is written."""
    return json.dumps(memory, indent=2, sort_keys=True) + "\n"
