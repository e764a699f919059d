"""Line charts with logarithmic axes, as SVG text: enough for a table of figures, and nothing to install."""

from collections.abc import Sequence
from html import escape
from math import ceil, floor, log10
from typing import NamedTuple

WIDTH, HEIGHT = 720, 420
LEFT, RIGHT, TOP, BOTTOM = 90, 170, 50, 60
COLOURS = ("#1b6ca8", "#c8553d", "#6b6b6b", "#2a7f62")


class Line(NamedTuple):
    name: str
    points: Sequence[tuple[float, float]]
    """Positive numbers."""
    dashed: bool = False


class Axis(NamedTuple):
    """Whole decades, and where they lie on the picture."""

    low: int
    high: int
    start: float
    end: float

    def place(self, value: float) -> float:
        return self.start + (self.end - self.start) * (log10(value) - self.low) / (self.high - self.low)

    def decades(self) -> range:
        return range(self.low, self.high + 1)


def axis(values: list[float], start: float, end: float) -> Axis:
    low, high = floor(log10(min(values))), ceil(log10(max(values)))
    return Axis(low, max(high, low + 1), start, end)


def number(exponent: int) -> str:
    for size, unit in ((9, "G"), (6, "M"), (3, "k")):
        if exponent >= size:
            return f"{10 ** (exponent - size)}{unit}"
    return f"{10.0**exponent:g}"


def text(x: float, y: float, words: str, anchor: str = "middle", extra: str = "") -> str:
    return f'<text x="{x:.0f}" y="{y:.0f}" text-anchor="{anchor}"{extra}>{escape(words)}</text>'


def chart(title: str, x_title: str, y_title: str, lines: list[Line]) -> str:
    """The SVG document."""
    xs = axis([x for line in lines for x, _ in line.points], LEFT, WIDTH - RIGHT)
    ys = axis([y for line in lines for _, y in line.points], HEIGHT - BOTTOM, TOP)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" '
        'font-size="13">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        text(LEFT, 28, title, "start", ' font-size="16" font-weight="bold"'),
        text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 14, x_title),
        text(20, (TOP + HEIGHT - BOTTOM) / 2, y_title, "middle", f' transform="rotate(-90 20 {HEIGHT / 2:.0f})"'),
        *grid(xs, ys),
    ]
    for line, colour in zip(lines, COLOURS, strict=False):
        parts += drawn(line, colour, xs, ys)
    parts += names(lines, ys)
    return "\n".join([*parts, "</svg>", ""])


def grid(xs: Axis, ys: Axis) -> list[str]:
    parts = []
    for exponent in xs.decades():
        x = xs.place(10.0**exponent)
        parts.append(f'<line x1="{x:.0f}" x2="{x:.0f}" y1="{ys.start:.0f}" y2="{ys.end:.0f}" stroke="#ddd"/>')
        parts.append(text(x, ys.start + 20, number(exponent)))
    for exponent in ys.decades():
        y = ys.place(10.0**exponent)
        parts.append(f'<line x1="{xs.start:.0f}" x2="{xs.end:.0f}" y1="{y:.0f}" y2="{y:.0f}" stroke="#ddd"/>')
        parts.append(text(xs.start - 8, y + 4, number(exponent), "end"))
    return parts


def drawn(line: Line, colour: str, xs: Axis, ys: Axis) -> list[str]:
    places = [(xs.place(x), ys.place(y)) for x, y in line.points]
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    dashes = ' stroke-dasharray="6 5"' if line.dashed else ""
    parts = [f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"{dashes}/>']
    if not line.dashed:
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5" fill="{colour}"/>' for x, y in places]
    return parts


def names(lines: list[Line], ys: Axis) -> list[str]:
    """Each line's name at its right end, pushed apart where lines meet."""
    coloured = zip(lines, COLOURS, strict=False)
    ends = sorted((ys.place(line.points[-1][1]), line.name, colour) for line, colour in coloured)
    parts, lowest = [], 0.0
    for y, name, colour in ends:
        lowest = max(y, lowest + 17)
        parts.append(text(WIDTH - RIGHT + 12, lowest + 4, name, "start", f' fill="{colour}"'))
    return parts
