"""Line charts as SVG text: enough for a table of figures, and nothing to install.

The x axis is logarithmic, with a mark at each power of ten. The y axis is, too, or begins at 0: on such a chart what
grows as log n is a straight line.
"""

from collections.abc import Sequence
from html import escape
from math import ceil, floor, log10
from typing import NamedTuple

WIDTH, HEIGHT = 760, 420
LEFT, RIGHT, TOP, BOTTOM = 84, 178, 64, 62
BLUE, RED = "#1b6ca8", "#c0492f"
INK, FAINT = "#3a3a3a", "#e4e4e4"
NAME_HEIGHT = 18
MARKS = 5
"""On an axis that begins at 0, about."""


class Line(NamedTuple):
    name: str
    points: Sequence[tuple[float, float]]
    """Positive numbers, from left to right."""
    colour: str
    dashed: bool = False


class Axis(NamedTuple):
    marks: list[float]
    """From its lower end to its upper."""
    start: float
    end: float
    is_logarithmic: bool = True

    def place(self, value: float) -> float:
        low, high = self.marks[0], self.marks[-1]
        if self.is_logarithmic:
            low, high, value = log10(low), log10(high), log10(value)
        return self.start + (self.end - self.start) * (value - low) / (high - low)


def decades(values: list[float]) -> list[float]:
    low, high = floor(log10(min(values))), ceil(log10(max(values)))
    return [10.0**exponent for exponent in range(low, max(high, low + 1) + 1)]


def from_zero(values: list[float]) -> list[float]:
    """Round numbers that reach above all values."""
    rough = max(values) / MARKS
    size = 10.0 ** floor(log10(rough))
    step = next(size * factor for factor in (1, 2, 5, 10) if size * factor >= rough)
    return [step * count for count in range(ceil(max(values) / step) + 1)]


def number(value: float) -> str:
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:g}{unit}"
    return f"{value:g}"


def text(x: float, y: float, words: str, anchor: str = "middle", extra: str = "") -> str:
    return f'<text x="{x:.0f}" y="{y:.0f}" text-anchor="{anchor}"{extra}>{escape(words)}</text>'


class Chart(NamedTuple):
    title: str
    names: tuple[str, str]
    """Of the x axis and of the y axis."""
    lines: Sequence[Line]
    is_y_logarithmic: bool = True

    def svg(self) -> str:
        """The document."""
        all_x = [x for line in self.lines for x, _ in line.points]
        all_y = [y for line in self.lines for _, y in line.points]
        xs = Axis(decades(all_x), LEFT, WIDTH - RIGHT)
        marks = decades(all_y) if self.is_y_logarithmic else from_zero(all_y)
        ys = Axis(marks, HEIGHT - BOTTOM, TOP, self.is_y_logarithmic)
        x_name, y_name = self.names
        parts = [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" '
            f'font-size="13" fill="{INK}">',
            f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
            text(LEFT, 30, self.title, "start", ' font-size="17" font-weight="bold"'),
            text(LEFT, TOP - 12, y_name, "start", ' font-size="12"'),
            text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 16, x_name, extra=' font-size="12"'),
            *grid(xs, ys),
        ]
        for line in self.lines:
            parts += drawn(line, xs, ys)
        parts += names(self.lines, ys)
        return "\n".join([*parts, "</svg>", ""])


def grid(xs: Axis, ys: Axis) -> list[str]:
    parts = []
    for mark in xs.marks:
        x = xs.place(mark)
        parts.append(f'<line x1="{x:.0f}" x2="{x:.0f}" y1="{ys.start:.0f}" y2="{ys.end:.0f}" stroke="{FAINT}"/>')
        parts.append(text(x, ys.start + 20, number(mark)))
    for mark in ys.marks:
        y = ys.place(mark)
        parts.append(f'<line x1="{xs.start:.0f}" x2="{xs.end:.0f}" y1="{y:.0f}" y2="{y:.0f}" stroke="{FAINT}"/>')
        parts.append(text(xs.start - 10, y + 4, number(mark), "end"))
    return parts


def drawn(line: Line, xs: Axis, ys: Axis) -> list[str]:
    places = [(xs.place(x), ys.place(y)) for x, y in line.points]
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    style = ' stroke-width="1.5" stroke-dasharray="3 5"' if line.dashed else ' stroke-width="2.5"'
    parts = [f'<polyline points="{path}" fill="none" stroke="{line.colour}"{style}/>']
    if not line.dashed:
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{line.colour}"/>' for x, y in places]
    return parts


def names(lines: Sequence[Line], ys: Axis) -> list[str]:
    """Each line's name at its right end, pushed apart where lines meet."""
    parts, lowest = [], 0.0
    for y, line in sorted(((ys.place(line.points[-1][1]), line) for line in lines), key=lambda end: end[0]):
        lowest = max(y, lowest + NAME_HEIGHT)
        weight = "" if line.dashed else ' font-weight="bold"'
        parts.append(text(WIDTH - RIGHT + 14, lowest + 4, line.name, "start", f' fill="{line.colour}"{weight}'))
    return parts
