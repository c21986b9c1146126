# SPDX-License-Identifier: GPL-3.0-or-later
"""The report's charts, as SVG that stands inside of a page.

Drawn by pygal: SVG needs no script and no network, prints sharply, and takes its colours from the page, so that one
drawing serves light and dark. A library that draws in the browser, such as plotly, would put 5 MB into every report.
"""

from __future__ import annotations

from typing import Any

MOST = 24
"""Rows of a chart: more cannot be told apart on a page. The desks that matter most are the ones shown."""

GIB = 1024**3

Series = list[tuple[str, list[float | None]]]
"""What is drawn beside each other: a name, and a value a label."""

Chart = tuple[str, list[str]]
"""A drawing, and what its colours stand for, in their order."""

WIDTH, ROW, FRAME = 560, 24, 40
FONT = 12


def speed(desks: list[dict[str, Any]]) -> Chart:
    """Return the tokens a second of every desk, the slowest first; empty where none was proved."""
    rows = sorted((one["tokens_per_s"], one["host"], one["processor"]) for one in desks if one["tokens_per_s"])[:MOST]
    on = {"gpu": 0, "gpu-partly": 1}
    series: Series = [
        (name, [row[0] if on.get(str(row[2]), 2) == place else None for row in rows])
        for place, name in enumerate(("GPU", "partly on the GPU", "CPU"))
    ]
    return _bars([row[1] for row in rows], series, stacked=True)


def memory(desks: list[dict[str, Any]]) -> Chart:
    """Return what the model takes against the memory that there is, the tightest first; empty where none is known."""
    rows = []
    for one in desks:
        there = one["vram"] or one["hardware"]["memory"]
        if one["needs_bytes"] and there:
            rows.append((there / one["needs_bytes"], one["host"], one["needs_bytes"], there, bool(one["vram"])))
    rows = sorted(rows)[:MOST]
    series: Series = [
        ("the model takes", [round(row[2] / GIB, 1) for row in rows]),
        ("VRAM", [round(row[3] / GIB, 1) if row[4] else None for row in rows]),
        ("memory, without a GPU", [None if row[4] else round(row[3] / GIB, 1) for row in rows]),
    ]
    return _bars([row[1] for row in rows], series, row=34)


def disk(desks: list[dict[str, Any]]) -> Chart:
    """Return how full the disks are, in GiB, the fullest first; empty where none is known."""
    rows = sorted(
        (one["disk"]["available"], one["host"], one["disk"]["total"] - one["disk"]["available"])
        for one in desks
        if one["disk"]
    )[:MOST]
    series: Series = [
        ("free", [round(row[0] / GIB) for row in rows]),
        ("used", [round(row[2] / GIB) for row in rows]),
    ]
    return _bars([row[1] for row in rows], series, stacked=True)


def phases(taken: list[dict[str, Any]]) -> Chart:
    """Return how long each phase took: the median desk, and the slowest; empty where nothing took any time."""
    rows = [row for row in taken if row["longest"] >= 0.05]
    series: Series = [("median", [row["median"] for row in rows])]
    if any(row["median"] != row["longest"] for row in rows):
        series.append(("slowest desk", [row["longest"] for row in rows]))
    return _bars([row["phase"] for row in rows], series, row=34)


def _bars(
    labels: list[str],
    series: Series,
    *,
    stacked: bool = False,
    row: int = ROW,
) -> Chart:
    """Return horizontal bars, the first label on top; empty where there is no label."""
    if not labels:
        return "", []
    series = [(name, values) for name, values in series if any(values)]
    import pygal
    from pygal.style import Style

    kind = pygal.HorizontalStackedBar if stacked else pygal.HorizontalBar
    # The style here is for measuring alone: what it draws with is the page's (see the template).
    sizes = {f"{what}_font_size": FONT for what in ("label", "major_label", "value", "value_label", "legend")}
    chart = kind(
        style=Style(font_family="sans-serif", value_colors=("black",) * 3, **sizes),
        js=[],
        disable_xml_declaration=True,
        width=WIDTH,
        height=FRAME + row * len(labels),
        margin=4,
        margin_bottom=10,
        margin_right=12 if stacked else 44,  # where the longest bar's value stands
        spacing=6,
        show_legend=False,  # the page has one
        truncate_label=22,
        print_values=True,
        print_values_position="center" if stacked else "top",
        print_zeroes=False,
        value_formatter="{:g}".format,
        rounded_bars=2,
        include_x_axis=True,
    )
    chart.x_labels = labels[::-1]
    # A value that does not fit into its part of a bar would lie over its neighbour.
    columns = zip(*([value or 0 for value in values] for _, values in series), strict=True)
    least = max(map(sum, columns)) / 10
    for name, values in series:
        told = (lambda value: f"{value:g}") if not stacked else (lambda value: f"{value:g}" if value >= least else "")
        chart.add(name, [value and {"value": value, "formatter": told} for value in values[::-1]])
    chart.add_xml_filter(_for_a_page)
    return str(chart.render(is_unicode=True)), [name for name, _ in series]


def _for_a_page(root: Any) -> Any:
    """Take away the drawing's own style and script; turn what a script would show beside the pointer into titles."""
    root.attrib.pop("id", None)
    root.set("role", "img")
    for parent in list(root.iter()):
        for child in list(parent):
            tag = str(child.tag).rpartition("}")[2]
            unnamed = tag == "title" and not str(parent.get("class")).startswith("bar")
            if tag in ("style", "script", "defs") or unnamed or not isinstance(child.tag, str):
                parent.remove(child)
            elif tag == "desc":
                if child.get("class") == "value":
                    child.tag = str(child.tag).replace("desc", "title")
                    child.attrib.clear()
                else:
                    parent.remove(child)
    return root
