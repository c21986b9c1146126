# SPDX-License-Identifier: GPL-3.0-or-later
"""What the names of models mean.

Facts from Ollama's ``types/model/name.go`` (0.32.15): a name is ``host/namespace/model:tag``, a host needs all three
parts, a namespace has no dots, and ``@digest`` is refused.
"""

from __future__ import annotations

import re

LIBRARY = "registry.ollama.ai"
HUBS = ("hf.co", "huggingface.co", "modelscope.cn", "www.modelscope.cn")  # whose models have a page each

# What people write, after walk-throughs that spelled it so, and the tag that exists.
SPELLINGS = {"llama:3b": "llama3.2:3b", "llama:1b": "llama3.2:1b"}

_HOST = r"[A-Za-z0-9][A-Za-z0-9_.-]*(?::\d+)?"
_NAMESPACE = r"[A-Za-z0-9_][A-Za-z0-9_-]*"
_PART = r"[A-Za-z0-9_][A-Za-z0-9_.-]*"
_NAME = re.compile(rf"^(?:(?:({_HOST})/)?({_NAMESPACE})/)?({_PART})(?::({_PART}))?$")


class BadName(ValueError):
    """Ollama would not understand this name. ``reason`` is the module's word for it."""

    reason = "bad_name"


class CloudOnly(BadName):
    """The model runs on somebody else's machines; there is nothing to pull."""

    reason = "cloud_only"


def canonical(name: str) -> str:
    """Return a model's name as ``/api/tags`` shows it: the shortest form, always with a tag.

    :raises BadName: the name cannot be one, or CloudOnly, its kind for models that no desk can have.
    """
    name = SPELLINGS.get(name.strip(), name.strip())
    match = _NAME.match(name)
    if not match:
        raise BadName(f"{name!r} is no name of a model. {_advice(name)}")
    host, namespace, model, tag = match.groups()
    if tag == "cloud" or (tag or "").endswith("-cloud"):
        raise CloudOnly(
            f"{name} runs in Ollama's cloud and not on a desk: there are no weights to pull. "
            "Choose a tag without 'cloud'."
        )
    if host == LIBRARY:
        host = None
    if host is None and namespace == "library":
        namespace = None
    return "/".join(filter(None, (host, namespace, model))) + ":" + (tag or "latest")


def _advice(name: str) -> str:
    if "@" in name:
        return "Ollama knows no @digest: give it beside the name, as sources: [{name: …, digest: …}]."
    parts = name.split("/")
    if len(parts) == 2 and re.match(rf"^{_HOST}$", parts[0]) and (":" in parts[0] or "." in parts[0]):
        return f"After a registry come a namespace and a model: {parts[0]}/library/{parts[1]}."
    if len(parts) == 3 and "." in parts[1]:
        return f"A namespace has no dots: {parts[1]}."
    return "Write it as model:tag, namespace/model:tag or host/namespace/model:tag."


def parts(name: str) -> tuple[str, str, str, str]:
    """Return a name's host, namespace, model and tag, all of them written out."""
    path, _colon, tag = canonical(name).rpartition(":")
    found = path.split("/")
    host = found[0] if len(found) == 3 else LIBRARY
    namespace = found[-2] if len(found) > 1 else "library"
    return host, namespace, found[-1], tag


def registry(name: str) -> str:
    """Return the host, and the port where one is written, that a name is pulled from."""
    return parts(name)[0]


def tags(name: str) -> str:
    """Return the address where a person finds the tags of a model."""
    host, namespace, model, _tag = parts(name)
    if host == LIBRARY:
        return f"https://ollama.com/{namespace}/{model}/tags"
    return f"https://{host}/{namespace}/{model}" if host in HUBS else f"https://{host}/v2/{namespace}/{model}/tags/list"


def note(name: str) -> str:
    """Return a word about a name that was not taken as written, empty for one that was."""
    meant = SPELLINGS.get(name.strip())
    return f"{name} is no tag that exists; {meant} was meant and is used" if meant else ""
