# SPDX-License-Identifier: GPL-3.0-or-later
"""Where an image may come from, and what its references mean."""

from __future__ import annotations

import re
from typing import Any

GHCR = "ghcr.io"
DOCKER_HUB = "registry-1.docker.io"


def registry_host(reference: str) -> str:
    """Return the host, and the port where one is written, of an image's reference.

    The first part is a host when it has a dot or a colon, or is ``localhost`` (Docker's own rule).
    """
    first = reference.split("/")[0]
    return first if "/" in reference and (re.search(r"[.:]", first) or first == "localhost") else DOCKER_HUB


def split_tag(reference: str) -> tuple[str, str]:
    """Return name and tag, or name and digest, as ``POST /images/create`` takes them."""
    if "@" in reference:
        name, digest = reference.split("@", 1)
        return name, digest
    name, colon, tag = reference.rpartition(":")
    return (name, tag) if colon and "/" not in tag else (reference, "latest")


def with_mirrors(sources: list[dict[str, Any]], mirrors: list[str]) -> list[dict[str, Any]]:
    """Return the sources with each mirror in ghcr.io's place, in the order in which they are tried.

    :param mirrors: prefixes such as ``mirror.example.com/ghcr``. ghcr.io itself is tried first unless it is among them.
    """
    prefixes = [re.sub(r"^\w+://", "", mirror).rstrip("/") for mirror in mirrors]
    prefixes = prefixes if GHCR in prefixes else [GHCR, *prefixes]
    found: list[dict[str, Any]] = []
    for source in sources:
        reference = source.get("registry") or ""
        here = registry_host(reference) == GHCR
        more = [{**source, "registry": prefix + reference[len(GHCR) :]} for prefix in prefixes] if here else [source]
        found += [entry for entry in more if entry not in found]
    return found


def spelled(source: dict[str, Any]) -> str:
    """Return a source in a word or two."""
    return str(source.get("registry") or source.get("archive") or "built on the spot")


def image_engine(source: dict[str, Any], labels: dict[str, str]) -> str:
    """Return what the engine in an image computes on: ``cuda``, ``rocm``, ``vulkan`` or ``cpu``.

    An image made by llmdesk's own recipe says it in a label, or is older than that label and has the CPU alone. Of any
    other the source may say it; without a word, a tag with ``rocm`` in it is taken at its word and the rest for CUDA,
    as upstream's ``:ollama`` is.

    :param source: a source of the image, or the record of one: ``engine``, and ``registry`` or ``reference``.
    """
    if "llmdesk.recipe" in labels:
        return labels.get("llmdesk.engine", "cpu")
    tag = split_tag(str(source.get("registry") or source.get("reference") or ""))[1]
    return str(source.get("engine") or ("rocm" if "rocm" in tag else "cuda"))


def registry_digest(inspected: dict[str, Any], reference: str) -> str | None:
    """Return the digest under which a registry knows an image, None for one that came from elsewhere.

    :param inspected: ``GET /images/NAME/json``.
    """
    name = split_tag(reference)[0]
    return next((known for known in inspected.get("RepoDigests") or [] if known.startswith(name + "@")), None)
