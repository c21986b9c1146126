# SPDX-License-Identifier: GPL-3.0-or-later
"""What has changed on a desk that no run has changed: over its last record, its facts now, and what is wanted of it.

Every finding is a dictionary with ``what``; ``wanted``, ``recorded`` and ``found``, each None where there is nothing;
``sentence`` and ``remedy``.
"""

from __future__ import annotations

from typing import Any

from ansible_collections.llmdesk.workstation.plugins.module_utils.model_name import BadName, canonical
from ansible_collections.llmdesk.workstation.plugins.module_utils.record import driver

GIB = 1024**3

UP = "Type './llmdesk up': it brings the desk back."
HELD = "Type './llmdesk up -e open_webui_settings_always=true': it sets the page back."
PEOPLE_HELD = "Type './llmdesk up -e open_webui_people_always=true': it sets the page back."
LOOPBACK = ("127.0.0.1", "::1", "localhost")
PAGE, OLLAMA = 8080, 11434
"""The ports inside of the container."""

SPACE_KEPT = 2 * GIB
"""Bytes that have to be free for chats, logs, and an image beside the one that runs being made anew."""

_PEOPLE = {
    "made": "The account {} is gone",
    "updated": "The account {} was changed in the page",
    "disabled": "The account {} is not in the list any more, and may sign in",
    "groups": "The group {} is gone",
}
"""What it says of the page that a run would do something about people, by the result's name for it."""


def drift(
    record: dict[str, Any] | None, now: dict[str, Any], wanted: dict[str, Any] | None = None
) -> list[dict[str, Any]]:
    """Return what has drifted, the most dangerous first.

    :param record: the desk's record of the last run that brought it where it should be; None where there is none, so
        that the facts are compared to ``wanted`` alone.
    :param now: the desk facts.
    :param wanted: what the inventory says now, as the record keeps it; what it does not name is as in the record.
    """
    recorded = record or {}
    before = recorded.get("facts") or {}
    wish = merged(recorded.get("wanted"), wanted)
    if now["docker"]["state"] != "running":
        return [
            _finding(
                "docker",
                "running",
                (before.get("docker") or {}).get("state"),
                now["docker"]["state"],
                f"Docker is {now['docker']['state']}, so nothing behind it can be seen",
            )
        ]
    return [
        *_container(before, now),
        *_page(before, now),
        *_exposure(now, wish),
        *_ports(now, wish),
        *_image(before, now),
        *_models(before, now, wish),
        *_gpu(before, now),
        *_disk(before, now),
    ]


def page_drift(settings: dict[str, Any], people: dict[str, Any], access: dict[str, Any]) -> list[dict[str, Any]]:
    """Return what was changed by hand in the page, out of what a run would change back.

    :param settings: the result of ``open_webui_settings`` in check mode; all are empty where nobody asked.
    :param people: that of ``open_webui_users``.
    :param access: that of ``open_webui_model_access``.
    """
    silent = next((result["msg"] for result in (settings, people, access) if result.get("msg")), None)
    if silent:
        way = "'./llmdesk verify' says which link is broken."
        return [_finding("account", None, None, None, f"What the page has cannot be seen: {silent.rstrip('.')}", way)]
    found = []
    diff = settings.get("diff") or {}
    before, after = diff.get("before") or {}, diff.get("after") or {}
    for name, value in (after.get("config") or {}).items():
        there = (before.get("config") or {}).get(name)
        sentence = f"The page's setting {name} is {_word(there)}, and {_word(value)} is wanted"
        found.append(_finding("setting", value, value, there, sentence, HELD))
    for name in after.get("models") or {}:
        sentence = f"The page does not serve the model {name} as it should"
        found.append(_finding("setting", name, name, None, sentence, HELD))
    for key, sentence in _PEOPLE.items():
        found += [
            _finding("people", who, who, None, sentence.format(who), PEOPLE_HELD) for who in people.get(key) or []
        ]
    for name in access.get("changes") or []:
        found.append(
            _finding("people", name, name, None, f"Who sees the model {name} was changed in the page", PEOPLE_HELD)
        )
    return found


def merged(recorded: dict[str, Any] | None, wanted: dict[str, Any] | None) -> dict[str, Any]:
    """Return what is wanted: what the inventory says now, and what the last run wanted of the rest.

    A value given to that run alone, by ``-e`` or an option such as ``--port``, so is still what is wanted.
    """
    wish = {key: value for key, value in (recorded or {}).items() if value is not None}
    for key, value in (wanted or {}).items():
        if isinstance(value, dict) and isinstance(wish.get(key), dict):
            wish[key] = merged(wish[key], value)
        elif value is not None:
            wish[key] = value
    return wish


def _container(before: dict[str, Any], now: dict[str, Any]) -> list[dict[str, Any]]:
    there, container = before.get("container"), now["container"]
    if container is None:
        return [_finding("container", "running", there and there["state"], None, "There is no container any more")]
    found = []
    if not container["managed"]:
        sentence = f"The container {container['name']} was made by hand, not by llmdesk"
        found.append(_finding("container", "managed", there and "managed", "by hand", sentence))
    elif there and there["config_hash"] != container["config_hash"]:
        sentence = "The container was made anew with another configuration"
        found.append(
            _finding("container", there["config_hash"], there["config_hash"], container["config_hash"], sentence)
        )
    if container["state"] != "running":
        sentence = f"The container is {container['state']}"
        found.append(_finding("container", "running", there and there["state"], container["state"], sentence))
    return found


def _page(before: dict[str, Any], now: dict[str, Any]) -> list[dict[str, Any]]:
    """Return why nobody can look into the page of a container that runs; its settings are then not compared."""
    if not now["container"] or now["container"]["state"] != "running":
        return []
    page, account = now["page"]["state"], now["account"]["state"]
    if page != "ready":
        earlier = (before.get("page") or {}).get("state")
        return [_finding("page", "ready", earlier, page, "The container runs, and the page in it does not answer")]
    if (before.get("account") or {}).get("state") == "managed" and account != "managed":
        sentence = f"The administrator is {account}, so what was set in the page cannot be seen"
        return [_finding("account", "managed", "managed", account, sentence)]
    return []


def _published(container: dict[str, Any] | None, port: int) -> list[dict[str, Any]]:
    return [entry for entry in (container or {}).get("published") or [] if entry["port"] == port]


def _address(entry: dict[str, Any]) -> str:
    return f"{entry['host_ip'] or '0.0.0.0'}:{entry['host_port']}"


def _exposure(now: dict[str, Any], wish: dict[str, Any]) -> list[dict[str, Any]]:
    found = []
    listen = wish.get("listen") or LOOPBACK[0]
    for name, port, allowed in (("The page", PAGE, listen), ("Ollama", OLLAMA, LOOPBACK[0])):
        for entry in _published(now["container"], port):
            address = entry["host_ip"] or "0.0.0.0"
            if address != allowed and address not in LOOPBACK:
                whom = (
                    "everybody who reaches this machine" if address in ("0.0.0.0", "::") else f"all who reach {address}"
                )
                danger = "" if port == PAGE else ", and it has no password"
                sentence = f"{name} is published on {_address(entry)}, for {whom}{danger}"
                found.append(_finding("exposure", allowed, allowed, address, sentence))
    return found


def _ports(now: dict[str, Any], wish: dict[str, Any]) -> list[dict[str, Any]]:
    found = []
    for name, port in (("page", PAGE), ("ollama", OLLAMA)):
        wanted = (wish.get("ports") or {}).get(name)
        there = sorted({entry["host_port"] for entry in _published(now["container"], port)})
        if wanted and now["container"] and there != [wanted]:
            where = f"on port {', '.join(map(str, there))}" if there else "on no port"
            title = "The page" if name == "page" else "Ollama"
            found.append(_finding("port", wanted, wanted, there, f"{title} is {where}, and {wanted} is wanted"))
    return found


def _image(before: dict[str, Any], now: dict[str, Any]) -> list[dict[str, Any]]:
    wanted = (now["record"].get("image") or {}).get("id")
    there, container = before.get("container"), now["container"]
    if container is None or not wanted or container["image_id"] == wanted:
        return []
    sentence = f"The container runs another image ({_short(container['image_id'])}) than was brought ({_short(wanted)})"
    return [_finding("image", wanted, there and there["image_id"], container["image_id"], sentence)]


def _models(before: dict[str, Any], now: dict[str, Any], wish: dict[str, Any]) -> list[dict[str, Any]]:
    if now["ollama"]["state"] != "answers":
        state = (before.get("ollama") or {}).get("state")
        return [_finding("ollama", "answers", state, now["ollama"]["state"], "Ollama does not answer")]
    found = []
    present = {model["name"]: model["digest"] for model in now["ollama"]["models"]}
    brought = {
        entry["model"]: entry.get("digest")
        for entry in (now["record"].get("models") or {}).values()
        if entry.get("model")
    }
    earlier = {model["name"]: model["digest"] for model in (before.get("ollama") or {}).get("models") or []}
    for name, digest in brought.items():
        if name not in present:
            found.append(_finding("model", name, earlier.get(name), None, f"The model {name} is gone"))
        elif digest and present[name] != digest:
            sentence = f"The model {name} is another ({_short(present[name])}) than was brought ({_short(digest)})"
            found.append(_finding("model", digest, earlier.get(name), present[name], sentence))
    for name in _missing(wish, set(present), now["record"].get("models") or {}):
        found.append(_finding("model", name, None, None, f"The model {name} is wanted and was never brought"))
    # Of a desk that nothing is recorded of, nobody knows what was there before.
    known = {*brought, *_made_of(wish)} if before else set(present)
    for name in sorted(set(present) - known):
        sentence = f"The model {name} was pulled by somebody else"
        way = f"Keep it by naming it in ollama_models, or remove it with './llmdesk models remove {name}'."
        found.append(_finding("model", None, None, name, sentence, way))
    return found


def _made_of(wish: dict[str, Any]) -> set[str]:
    """Return the models that wanted ones are made of, which come along with them."""
    return {canonical(entry["from"]) for entry in wish.get("models") or [] if entry.get("from")}


def _missing(wish: dict[str, Any], present: set[str], recorded: dict[str, Any]) -> list[str]:
    missing = []
    for entry in wish.get("models") or []:
        if entry.get("state") == "absent" or entry["name"] in recorded or entry["name"] == "auto":
            continue
        try:
            name = canonical(entry["name"])
        except BadName:
            continue
        if name not in present and name not in recorded:
            missing.append(name)
    return missing


def _gpu(before: dict[str, Any], now: dict[str, Any]) -> list[dict[str, Any]]:
    found = []
    container, there = now["container"] or {}, before.get("container") or {}
    if container.get("gpu_lost"):
        sentence = f"The container has lost its GPU ({container['gpu_lost']})"
        found.append(_finding("gpu", there.get("gpu"), there.get("gpu"), None, sentence))
    elif there.get("gpu") and container.get("gpu") and there["gpu"] != container["gpu"]:
        sentence = f"The container reaches the GPU by {container['gpu']}, and it was {there['gpu']}"
        found.append(_finding("gpu", there["gpu"], there["gpu"], container["gpu"], sentence))
    cards = {card.get("uuid") or card["name"]: card["name"] for card in now["gpus"]}
    for key, name in ((card.get("uuid") or card["name"], card["name"]) for card in before.get("gpus") or []):
        # A card that does not answer just now is not one that is gone.
        if key not in cards and now["gpu"]["state"] != "unknown":
            way = "See that the card is in its slot and its driver is loaded, then type './llmdesk up'."
            found.append(_finding("gpu", name, name, None, f"The GPU {name} is gone", way))
    old, new = driver(before), driver(now)
    if old and new and old != new:
        sentence = f"The graphics driver is {new}, and it was {old}"
        found.append(_finding("driver", None, old, new, sentence, "Type './llmdesk verify': it proves the GPU anew."))
    return found


def _disk(before: dict[str, Any], now: dict[str, Any]) -> list[dict[str, Any]]:
    disk = now["disk"][0]
    if disk["available"] >= SPACE_KEPT:
        return []
    earlier = next((old["available"] for old in before.get("disk") or [] if old["path"] == disk["path"]), None)
    sentence = (
        f"{disk['mount']} has {disk['available'] / GIB:.1f} GiB free, and a desk needs {SPACE_KEPT // GIB} to go on"
    )
    way = "Free some space: './llmdesk models list' shows what each model takes, 'docker system df' the rest."
    return [_finding("disk", SPACE_KEPT, earlier, disk["available"], sentence, way)]


def _short(digest: str) -> str:
    return digest.rpartition(":")[2][:12]


def _word(value: Any) -> str:
    if value is None:
        return "not set"
    return ("on" if value else "off") if isinstance(value, bool) else str(value)


def _finding(what: str, wanted: Any, recorded: Any, found: Any, sentence: str, remedy: str = UP) -> dict[str, Any]:
    return {
        "what": what,
        "wanted": wanted,
        "recorded": recorded,
        "found": found,
        "sentence": f"{sentence}.",
        "remedy": remedy,
    }
