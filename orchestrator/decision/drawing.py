"""Pens for small static pictures: scales, axes, marks and text as SVG.

Colours are CSS variables with fallbacks, so that a drawing follows the page that holds it and stands alone on white. The
palette is Okabe and Ito's, safe for colour-blind readers; shapes differ as well as colours.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from html import escape

from orchestrator.decision.wording import number

WIDTH, HEIGHT = 760, 460
LEFT, RIGHT, TOP, BOTTOM = 78, WIDTH - 24, 64, HEIGHT - 62
COLOURS = {
    "front": "var(--front,#0072b2)",
    "feasible": "var(--feasible,#56b4e9)",
    "bad": "var(--bad,#d55e00)",
    "muted": "var(--muted,#5b6770)",
    "star": "var(--star,#e69f00)",
    "ink": "var(--ink,#1b2733)",
    "grid": "var(--grid,#e3e8ec)",
    "paper": "var(--paper,#ffffff)",
}
_FONTS = "system-ui,-apple-system,Segoe UI,Roboto,Helvetica,Arial,sans-serif"


class Scale:
    """A linear map from data to pixels, with round tick values."""

    def __init__(self, low: float, high: float, start: float, end: float, padding: tuple[float, float] = (0.07, 0.07)) -> None:
        extent = (high - low) or max(abs(high), 1.0) * 0.2
        self.low, self.high = low - padding[0] * extent, high + padding[1] * extent
        self.start, self.end = start, end

    def __call__(self, given: float) -> float:
        """Pixels of a value."""
        return self.start + (given - self.low) / (self.high - self.low) * (self.end - self.start)

    @property
    def per_unit(self) -> float:
        """Pixels per unit of the data."""
        return abs((self.end - self.start) / (self.high - self.low))

    def ticks(self, about: int = 6) -> list[float]:
        """Round values inside the range."""
        raw = (self.high - self.low) / about
        power = 10.0 ** math.floor(math.log10(raw))
        step = next(f * power for f in (1, 2, 2.5, 5, 10) if f * power >= raw * 0.999)
        first = math.ceil(self.low / step - 1e-9)
        return [round(i * step, 12) for i in range(first, math.floor(self.high / step + 1e-9) + 1)]


def text(
    x: float,
    y: float,
    words: str,
    anchor: str = "start",
    size: float = 12,
    colour: str = "muted",
    weight: int = 400,
    turned: bool = False,
) -> str:
    """Words at a place; `turned` reads upwards."""
    heavy = f' font-weight="{weight}"' if weight != 400 else ""
    turn = f' transform="rotate(-90 {x:.0f} {y:.0f})"' if turned else ""
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" fill="{COLOURS[colour]}" font-size="{size:g}" text-anchor="{anchor}"{heavy}{turn}>'
        f"{escape(words)}</text>"
    )


def line(path: str, colour: str = "front", width: float = 2, opacity: float = 1) -> str:
    """A path drawn with a pen."""
    faint = f' opacity="{opacity:g}"' if opacity < 1 else ""
    return f'<path d="{path}" fill="none" stroke="{COLOURS[colour]}" stroke-width="{width:g}" stroke-linecap="round"{faint}/>'


def area(path: str, colour: str = "front", opacity: float = 0.1) -> str:
    """A path filled."""
    return f'<path d="{path}" fill="{COLOURS[colour]}" opacity="{opacity:g}"/>'


def dots(spots: Iterable[tuple[float, float]], colour: str, size: float, hollow: bool = False) -> str:
    """Discs of one kind in one path: strokes of no length with round ends."""
    path = "".join(f"M{x:.1f},{y:.1f}h0" for x, y in spots)
    return line(path, colour, size) + (line(path, "paper", size - 4) if hollow else "")


def crosses(spots: Iterable[tuple[float, float]], colour: str) -> str:
    """Crosses of one kind in one path."""
    return line("".join(f"M{x - 4:.1f},{y - 4:.1f}l8,8m0,-8l-8,8" for x, y in spots), colour)


def star(x: float, y: float, outer: float = 12.0) -> str:
    """A five-pointed star with an outline."""
    angles = [math.pi * i / 5 - math.pi / 2 for i in range(10)]
    radii = [outer if i % 2 == 0 else outer * 0.45 for i in range(10)]
    points = " ".join(f"{x + r * math.cos(a):.1f},{y + r * math.sin(a):.1f}" for a, r in zip(angles, radii, strict=True))
    pen = f'stroke="{COLOURS["ink"]}" stroke-width="1.2" stroke-linejoin="round"'
    return f'<polygon points="{points}" fill="{COLOURS["star"]}" {pen}/>'


def error_bars(spots: Iterable[tuple[float, float, float, float]]) -> str:
    """Bars of (x, y, half width, half height), those that can be seen, in one path."""
    path = "".join(
        (f"M{x - dx:.1f},{y:.1f}h{2 * dx:.1f}" if dx > 1 else "") + (f"M{x:.1f},{y - dy:.1f}v{2 * dy:.1f}" if dy > 1 else "")
        for x, y, dx, dy in spots
    )
    return line(path, "muted", 1.1, opacity=0.65) if path else ""


def axes(x: Scale, y: Scale, x_title: str, y_title: str, whole: bool = False) -> str:
    """Frame, grid, ticks and titles; `whole` shows only whole numbers along x."""
    across = [t for t in x.ticks() if not whole or t == int(t)]
    grid = "".join(f"M{x(t):.1f},{TOP}V{BOTTOM}" for t in across) + "".join(f"M{LEFT},{y(t):.1f}H{RIGHT}" for t in y.ticks())
    parts = [line(grid, "grid", 1), line(f"M{LEFT},{TOP}V{BOTTOM}H{RIGHT}", "muted", 1.2)]
    parts += [text(x(t), BOTTOM + 19, number(t), "middle") for t in across]
    parts += [text(LEFT - 9, y(t) + 4, number(t), "end") for t in y.ticks()]
    parts.append(text((LEFT + RIGHT) / 2, HEIGHT - 17, x_title, "middle", 14, "ink"))
    parts.append(text(20, (TOP + BOTTOM) / 2, y_title, "middle", 14, "ink", turned=True))
    return "".join(parts)


def better(x_rises: bool, y_rises: bool) -> str:
    """Which way is better, beside the titles of the axes."""
    across = (RIGHT, "better →", "end") if x_rises else (LEFT, "← better", "start")
    up = (TOP, "better →", "end") if y_rises else (BOTTOM, "← better", "start")
    return text(across[0], HEIGHT - 17, *across[1:]) + text(20, up[0], *up[1:], turned=True)


def picture(name: str, title: str, body: Iterable[str], synthetic: bool) -> str:
    """The whole SVG, titled; numbers that come from models are marked as synthetic."""
    heading = f"{name if len(name) <= 40 else f'{name[:39]}…'}: {title}"
    marked = text(RIGHT, 50, "SYNTHETIC DATA", "end", 12, "bad", 700) if synthetic else ""
    spoken = escape(f"{heading}{', synthetic data' if synthetic else ''}")
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{spoken}" '
        f'font-family="{_FONTS}"><rect width="{WIDTH}" height="{HEIGHT}" rx="8" fill="{COLOURS["paper"]}"/>'
        f"{text(LEFT, 26, heading, size=15, colour='ink', weight=600)}{marked}{''.join(body)}</svg>"
    )
