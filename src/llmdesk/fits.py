# SPDX-License-Identifier: GPL-3.0-or-later
"""Which models fit which desk, out of what the playbook ``fit`` answered, as a table."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any, TextIO

from llmdesk.events import answers
from llmdesk.words import size

COLUMNS = ("desk", "model", "verdict", "needs", "has", "why, and what would make it fit")
STYLES = {"gpu": "green", "cpu": "green", "gpu-partly": "yellow", "cpu-slow": "yellow", "no": "red", "unknown": "red"}


def fits(document: dict[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the answers by host, and for the other hosts why there is none.

    :param document: the document of the callback ``ansible.posix.json``.
    """
    return answers(document, "desk_fit")


def rows(found: dict[str, Any]) -> Iterator[tuple[str, ...]]:
    """Yield a row of ``COLUMNS`` for every desk and model."""
    for desk, answer in sorted(found.items()):
        for model in answer["models"]:
            why = model["reason"] + (f". It would take {model['remedy']}" if model["remedy"] else "")
            numbers = ["" if model[key] is None else size(model[key]) for key in ("needed", "available")]
            yield desk, model["model"], model["verdict"], *numbers, why


def chosen(found: dict[str, Any]) -> Iterator[str]:
    """Yield a sentence for every desk about what ``auto`` stands for there."""
    for desk, answer in sorted(found.items()):
        auto = answer["auto"]
        yield (
            f"{desk}: auto would be {auto['name']}; {auto['reason']}"
            if auto["name"]
            else (f"{desk}: auto would find no model that fits")
        )


def show(found: dict[str, Any], stream: TextIO) -> None:
    """Write the table: with colours and folded to a terminal's width, or a line a model for everything else."""
    if stream.isatty() and os.environ.get("TERM") != "dumb" and not os.environ.get("NO_COLOR"):
        _live(found, stream)
        return
    table = [COLUMNS, *rows(found)]
    widths = [max(len(row[column]) for row in table) for column in range(len(COLUMNS) - 1)]
    for row in table:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=False)]
        print("  ".join([*cells, row[-1]]).rstrip(), file=stream)
    for line in chosen(found):
        print(f"\n{line}", file=stream)


def _live(found: dict[str, Any], stream: TextIO) -> None:
    from rich.console import Console  # A tenth of a second.
    from rich.table import Table
    from rich.text import Text

    console = Console(file=stream, highlight=False)
    table = Table(show_edge=False, pad_edge=False)
    for number, column in enumerate(COLUMNS):
        table.add_column(column, no_wrap=number < 5, justify="right" if column in ("needs", "has") else "left")
    for row in rows(found):
        # As texts: what stands in brackets, such as [N/A], would be taken for a style.
        table.add_row(
            *(Text(cell, style=STYLES.get(cell, "") if number == 2 else "") for number, cell in enumerate(row))
        )
    console.print(table)
    for line in chosen(found):
        console.print(f"\n{line}", markup=False, soft_wrap=True)
