# SPDX-License-Identifier: GPL-3.0-or-later
"""How things are called on a mirror of the LAN, and which sources a desk asks in which order.

A mirror has a port for each registry that it stands in for, since an Ollama cannot be told of a mirror: it asks the
host that a model's name begins with.
"""

from __future__ import annotations

from typing import Any

from ansible_collections.llmdesk.workstation.plugins.module_utils import model_name
from ansible_collections.llmdesk.workstation.plugins.module_utils.image_source import registry_host, split_tag
from ansible_collections.llmdesk.workstation.plugins.module_utils.model_plan import declared

IMAGES = 5445
"""The port of the images that desks have built."""


def model(name: str, mirror: str, upstreams: dict[str, int]) -> str:
    """Return a model's name on a mirror, empty where the mirror does not stand in for its registry.

    :param upstreams: the registries, and the port of each on the mirror.
    :raises BadName: the name cannot be one.
    """
    registry, namespace, called, tag = model_name.parts(name)
    port = upstreams.get(registry)
    return f"{mirror}:{port}/{namespace}/{called}:{tag}" if mirror and port else ""


def image(reference: str, mirror: str, upstreams: dict[str, int]) -> str:
    """Return an image's reference on a mirror, empty where the mirror does not stand in for its registry."""
    registry = registry_host(reference)
    port = upstreams.get(registry)
    return f"{mirror}:{port}{reference[len(registry) :]}" if mirror and port else ""


def models_mirrored(models: list[Any], mirror: str, upstreams: dict[str, int]) -> list[Any]:
    """Return declared models with the mirror before each source that it stands in for."""
    if not mirror:
        return models
    return [_mirrored(declared(entry), mirror, upstreams) for entry in models]


def _mirrored(entry: dict[str, Any], mirror: str, upstreams: dict[str, int]) -> dict[str, Any]:
    found: list[dict[str, Any]] = []
    for source in entry["sources"] if entry["state"] != "absent" else []:
        try:
            there = model(source["name"], mirror, upstreams) if source.get("name") else ""
        except model_name.BadName:  # which is said where it is brought
            there = ""
        found += [{**source, "name": there, "of": source["name"]}] if there else []
        found.append(source)
    return {**entry, "sources": found or entry["sources"]}


def images_mirrored(sources: list[dict[str, Any]], mirror: str, upstreams: dict[str, int]) -> list[dict[str, Any]]:
    """Return sources of an image with the mirror before each that it stands in for, and where builds are shared."""
    found: list[dict[str, Any]] = []
    for source in sources:
        there = image(source.get("registry") or "", mirror, upstreams)
        found += [{**source, "registry": there, "of": source["registry"]}] if there else []
        found.append({**source, "shared": f"{mirror}:{IMAGES}"} if mirror and source.get("build") else source)
    return found


def wanted(
    models: list[Any], images: list[dict[str, Any]], upstreams: dict[str, int]
) -> tuple[list[dict[str, str]], list[dict[str, str]]]:
    """Return what a mirror fetches before desks ask: models and images, each with ``name``, and where it is.

    Of each the first source that the mirror stands in for, as a desk asks it. What ``auto`` stands for only a desk
    knows.

    :param models: what desks declare, one list for all.
    :param images: the sources of their image.
    """
    found: dict[str, dict[str, str]] = {}
    for entry in map(declared, models):
        if entry["name"] == "auto" or entry["state"] == "absent":
            continue
        names = [str(source["name"]) for source in entry["sources"] if source.get("name")]
        for name in names:
            try:
                registry, namespace, called, tag = model_name.parts(name)
            except model_name.BadName:
                continue
            if registry in upstreams:
                known = model_name.canonical(name)
                found[known] = _at(known, registry, f"{namespace}/{called}", tag)
                break
    references = [str(source["registry"]) for source in images if source.get("registry")]
    first = next((reference for reference in references if registry_host(reference) in upstreams), "")
    if not first:
        return list(found.values()), []
    registry = registry_host(first)
    path, tag = split_tag(first[len(registry) + 1 :])
    return list(found.values()), [_at(first, registry, path, tag)]


def _at(name: str, upstream: str, repository: str, tag: str) -> dict[str, str]:
    return {"name": name, "upstream": upstream, "repository": repository, "tag": tag}
