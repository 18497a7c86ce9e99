"""Draws a run as a picture: for each figure one bar a system, as a share of the best."""

from __future__ import annotations

from statistics import median
from typing import Any, Final
from xml.sax.saxutils import escape

SHOWN: Final = (
    ("requests/s at 1", "requests a second, 1 connection"),
    ("requests/s at 16", "requests a second, 16 connections"),
    ("requests/s at 64", "requests a second, 64 connections"),
    ("download MB/s", "download, MB a second"),
    ("upload MB/s", "upload, MB a second"),
    ("messages/s", "WebSocket messages a second"),
)
COLOURS: Final = {"ssh -R": "#8a8f98", "nginx proxy": "#c9ccd1", "wormkey": "#d9480f"}
WIDTH: Final = 760
_LABEL: Final = 250
_BAR: Final = 16
_ROW: Final = 22


def draw(document: dict[str, Any]) -> str:
    """The picture as SVG, readable on light and dark pages."""
    systems = [name for name in COLOURS if name in document["systems"]]
    height = 64 + len(SHOWN) * (len(systems) * _ROW + 14)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" '
        f'width="{WIDTH}" height="{height}" role="img" font-family="sans-serif" font-size="13">',
        "<title>Wormkey beside ssh -R and a plain nginx</title>",
        f'<rect width="{WIDTH}" height="{height}" rx="8" fill="#ffffff"/>',
    ]
    top = 20
    for figure, label in SHOWN:
        values = document["figures"].get(figure, {})
        best = max((median(values[name]) for name in systems if values.get(name)), default=0)
        middle = top + len(systems) * _ROW / 2 + 4
        parts.append(f'<text x="14" y="{middle:.0f}" fill="#222">{escape(label)}</text>')
        for name in systems:
            if values.get(name):
                value = median(values[name])
                width = max(2, (WIDTH - _LABEL - 210) * value / best)
                parts.append(
                    f'<rect x="{_LABEL}" y="{top}" width="{width:.0f}" height="{_BAR}" rx="2" '
                    f'fill="{COLOURS[name]}"/><text x="{_LABEL + width + 8:.0f}" y="{top + 13}" '
                    f'fill="#444">{escape(name)} {value:,.0f}</text>'
                )
            top += _ROW
        top += 14
    note = f"{document['machine']}; {document['date'][:10]}; load, origin and all on one machine"
    parts.append(f'<text x="14" y="{top + 14}" fill="#777" font-size="11">{escape(note)}</text>')
    return "\n".join([*parts, "</svg>"]) + "\n"
