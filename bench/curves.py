"""Draws what many cost: a curve for each figure over the number of idle tunnels, or of sessions."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final
from xml.sax.saxutils import escape

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

# Title, the part and the name of the figure behind the number, and what its value is taken by.
CURVES: Final = (
    ("memory of the daemon for idle tunnels, MiB", "scale", "idle tunnels: KiB each", 1 / 1024),
    ("their keep-alive, % of a core", "scale", "idle tunnels: % of a core", 0.0),
    ("tunnels opened a second", "scale", "idle tunnels: tunnels opened a second", 0.0),
    ("finding one session, µs", "sessions", "sessions: µs to find one", 0.0),
)
WIDTH: Final = 760
_PANEL: Final = 360
_HEIGHT: Final = 190
_INK: Final = "#d9480f"


def points_of(told: Mapping[str, float], name: str, each: float) -> list[tuple[int, float]]:
    """Number and value of each measurement of a figure; ``each`` asks for number * value * each."""
    found = []
    for key, value in told.items():
        if key.endswith(name):
            number = int(key.split(" ", 1)[0].replace(",", ""))
            found.append((number, value * number * each if each else value))
    return sorted(found)


def _panel(title: str, points: Sequence[tuple[int, float]], left: int, top: int) -> list[str]:
    low, high = math.log(points[0][0]), math.log(points[-1][0])
    most = max(value for _, value in points) or 1.0
    wide, tall = _PANEL - 70, _HEIGHT - 80
    places = [
        (
            left + 30 + wide * (math.log(number) - low) / ((high - low) or 1.0),
            top + 40 + tall * (1 - value / most),
        )
        for number, value in points
    ]
    line = " ".join(f"{x:.0f},{y:.0f}" for x, y in places)
    parts = [
        f'<text x="{left + 14}" y="{top + 18}" fill="#222">{escape(title)}</text>',
        f'<path d="M{left + 20} {top + 40 + tall}H{left + 40 + wide}" stroke="#bbb"/>',
        f'<polyline points="{line}" fill="none" stroke="{_INK}" stroke-width="2"/>',
    ]
    for (x, y), (number, value) in zip(places, points, strict=True):
        parts += [
            f'<circle cx="{x:.0f}" cy="{y:.0f}" r="3" fill="{_INK}"/>',
            f'<text x="{x:.0f}" y="{y - 8:.0f}" fill="#444" text-anchor="middle">'
            f"{value:,.3g}</text>",
            f'<text x="{x:.0f}" y="{top + 56 + tall}" fill="#777" font-size="11" '
            f'text-anchor="middle">{number:,}</text>',
        ]
    return parts


def draw_curves(told: Mapping[str, Mapping[str, float]], note: str) -> str:
    """The curves as SVG, on a white ground; ``note`` says when and where."""
    height = _HEIGHT * 2 + 34
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" '
        f'width="{WIDTH}" height="{height}" role="img" font-family="sans-serif" font-size="13">',
        "<title>What many tunnels and sessions cost</title>",
        f'<rect width="{WIDTH}" height="{height}" rx="8" fill="#ffffff"/>',
    ]
    for index, (title, part, name, each) in enumerate(CURVES):
        points = points_of(told.get(part, {}), name, each)
        if points:
            parts += _panel(title, points, index % 2 * 380, index // 2 * _HEIGHT + 6)
    parts.append(f'<text x="14" y="{height - 12}" fill="#777" font-size="11">{escape(note)}</text>')
    return "\n".join([*parts, "</svg>"]) + "\n"
