"""How the bench's pictures look."""

from __future__ import annotations

from typing import Any

from pygal.style import Style


def look(*colors: str) -> dict[str, Any]:
    """Return the options of a chart that prints its lines in these colors."""
    return {
        # White, since a page that shows it may be light or dark.
        "style": Style(background="white", plot_background="white", colors=colors),
        "js": (),
        "width": 800,
        "height": 420,
        "legend_at_bottom": True,
        "disable_xml_declaration": True,
    }
