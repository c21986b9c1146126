# SPDX-License-Identifier: GPL-3.0-or-later
"""The report as one HTML file that needs nothing else: no network, no fonts, and no script for what it says."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path
from typing import Any

from llmdesk import __version__, charts, words
from llmdesk.report import COMPONENTS, VERDICTS

TEMPLATES = Path(__file__).parent / "templates"

COLUMNS = (
    ("Desk", False),
    ("Verdict", False),
    ("Model", False),
    ("Answers from", False),
    ("Tokens/s", True),
    ("First token", True),
    ("Disk free", True),
    ("Last run", False),
)
"""The table's columns: a title, and whether it holds numbers."""

ON = {"gpu": "GPU", "gpu-partly": "GPU in part", "cpu": "CPU"}

SHOWN = 40
"""Desks that are named before only their number is told."""


def html(report: dict[str, Any]) -> str:
    """Return the page. Nothing in it loads anything, and its own policy would forbid that."""
    import jinja2
    from markupsafe import Markup

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES), autoescape=True, undefined=jinja2.StrictUndefined
    )
    environment.filters |= {
        "gib": lambda count: f"{count / words.GIB:.0f} GiB",
        "number": number,
        "several": several,
        "size": words.size,
        "spent": words.spent,
        "time": lambda at: f"{at[:10]} {at[11:16]}",
        "worst_first": worst_first,
    }
    script = (TEMPLATES / "report.js").read_text()
    return environment.get_template("report.html.j2").render(
        report=report,
        charts=[{**chart, "drawing": Markup(chart["drawing"])} for chart in drawings(report)],
        columns=COLUMNS,
        components=COMPONENTS,
        headline=headline(report),
        on={None: None, **ON},
        order={name: place for place, name in enumerate(VERDICTS)},
        script=Markup(script),
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        style=Markup((TEMPLATES / "report.css").read_text()),
        verdicts=VERDICTS,
        version=__version__,
    )


def headline(report: dict[str, Any]) -> str:
    """Return the one sentence that an admin needs in the morning."""
    counts = report["verdicts"]
    total = sum(counts.values())
    works = counts["fine"] + counts["warned"] + counts["drifted"]
    if works == total:
        rest = ", and nothing needs you" if counts["fine"] == total else ""
        return "The desk answers" + rest if total == 1 else f"All {total} desks answer{rest}"
    return "The desk does not answer" if total == 1 else f"{total - works} of {total} desks do not answer"


def drawings(report: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the charts that have anything to show: a title, what it is about, its drawing and legend."""
    desks = [one for one in report["desks"] if one["kind"] == "desk"]
    many = f"the {charts.MOST} {{}} of {len(desks)} desks" if len(desks) > charts.MOST else "the {} on top"
    made = [
        ("Speed of an answer", f"Tokens a second in the last proof; {many.format('slowest')}.", charts.speed(desks)),
        (
            "Model and memory",
            f"GiB that the model takes, and that there are; {many.format('tightest')}.",
            charts.memory(desks),
        ),
        ("Disk", f"GiB where Docker keeps its data; {many.format('fullest')}.", charts.disk(desks)),
        (
            "Time by phase",
            "Seconds that a desk spent in each phase of its last run that saw it.",
            charts.phases(report["phases"]),
        ),
    ]
    return [
        {"title": title, "about": about, "drawing": drawing, "legend": legend}
        for title, about, (drawing, legend) in made
        if drawing
    ]


def worst_first(desks: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return desks as the table shows them at first: by verdict, then by name as they came."""
    order = list(VERDICTS)
    return sorted(desks, key=lambda one: order.index(one["verdict"]))


def several(names: list[str]) -> str:
    """Return names in a row, and of very many the first and their number."""
    if len(names) <= SHOWN:
        return ", ".join(names)
    return f"{', '.join(names[:SHOWN])} and {len(names) - SHOWN} more"


def number(value: float | None) -> str:
    """Return a number with as many digits as tell anything: 0.9, 74.2, 131."""
    if value is None:
        return "-"
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}"
