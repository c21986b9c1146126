# SPDX-License-Identifier: GPL-3.0-or-later
"""Which models are on which desk, out of what the playbook ``models`` answered, as a table."""

from __future__ import annotations

from collections import Counter
from typing import Any, TextIO

from llmdesk.events import answers
from llmdesk.words import size


def stocks(document: dict[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the models by desk, and for the other desks why there is no answer.

    :param document: the document of the callback ``ansible.posix.json``.
    """
    return answers(document, "desk_models")


def rows(found: dict[str, Any]) -> list[tuple[str, ...]]:
    """Return a row for every model: name, size, and for every desk what it has of it.

    ``yes``; ``missing`` where it is declared and not there; ``other`` where most desks have another digest; ``-``.
    """
    table = []
    for name in sorted({*_names(found), *(name for answer in found.values() for name in answer["declared"])}):
        here = {desk: _model(answer, name) for desk, answer in found.items()}
        there = [model for model in here.values() if model]
        common = _common(there)
        cells = []
        for desk in sorted(found):
            model = here[desk]
            if model:
                cells.append("yes" if model["digest"] == common else "other")
            else:
                cells.append("missing" if name in found[desk]["declared"] else "-")
        table.append((name, size(max(model["size"] for model in there)) if there else "", *cells))
    return table


def differing(found: dict[str, Any]) -> list[str]:
    """Return a sentence for every model that is not the same on all desks: its digests, and who has which."""
    told = []
    for name in sorted(_names(found)):
        owners: dict[str, list[str]] = {}
        for desk in sorted(found):
            model = _model(found[desk], name)
            if model:
                owners.setdefault(model["digest"], []).append(desk)
        if len(owners) > 1:
            most_first = sorted(owners.items(), key=lambda owner: (-len(owner[1]), owner[1]))
            who = "; ".join(f"{digest[:12]} on {', '.join(desks)}" for digest, desks in most_first)
            told.append(f"{name} is not the same everywhere: {who}")
    return told


def show(found: dict[str, Any], stream: TextIO) -> None:
    """Write the table, and below it what differs."""
    desks = sorted(found)
    table = [("model", "size", *desks), *rows(found)]
    if len(table) == 1:
        print("No desk has any model.", file=stream)
        return
    widths = [max(len(row[column]) for row in table) for column in range(len(table[0]))]
    for row in table:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip(), file=stream)
    for line in differing(found):
        print(f"\n{line}", file=stream)


def _names(found: dict[str, Any]) -> set[str]:
    return {model["name"] for answer in found.values() for model in answer["models"]}


def _model(answer: dict[str, Any], name: str) -> dict[str, Any] | None:
    return next((model for model in answer["models"] if model["name"] == name), None)


def _common(models: list[dict[str, Any]]) -> str:
    """Return the digest that most have; of several that as many have, always the same."""
    counted = Counter(model["digest"] for model in models)
    return min(counted, key=lambda digest: (-counted[digest], digest), default="")
