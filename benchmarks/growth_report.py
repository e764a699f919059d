"""What `growth.py` has measured, as a table, a verdict and plots."""

from math import log
from pathlib import Path
from typing import Any, NamedTuple

import results_file
from plot import BLUE, RED, Chart, Line

CELLS = (
    (10_000, 10),
    (1_000_000, 10),
    (10_000_000, 10),
    (10_000, 1_000),
    (1_000_000, 1_000),
    (10_000, 100_000),
    (1_000, 1_000_000),
)
"""(keys, bytes of a value), as far as that makes a gigabyte or less: all of it stays in the machine's memory."""
LEFT_OUT = (
    "10,000,000 keys of 1,000 bytes, 1,000,000 of 100,000 and 10,000 of 1,000,000 would be 10 to 100 GB each, mostly a "
    "measurement of the disk. Values of 1,000,000 bytes are measured with 1,000 keys."
)


class Figures(NamedTuple):
    per_second: float
    p50_ms: float
    p99_ms: float
    server_us: float
    """Processor time of the server for a call, all threads."""


class Cell(NamedTuple):
    keys: int
    value_bytes: int
    filled_per_second: float
    fill_us: float
    """Processor time of the server for a key of the filling, in batches, with all compaction that followed."""
    get: Figures
    put: Figures

    @classmethod
    def of(cls, found: list[Any]) -> "Cell":
        """As it comes back from JSON."""
        keys, value_bytes, filled_per_second, fill_us, get, put = found
        return cls(keys, value_bytes, filled_per_second, fill_us, Figures(*get), Figures(*put))


HEAD = (
    "| bytes of a value | keys "
    "| Get | p50 | p99 | server time | Put | p50 | p99 | server time | filled | server time |\n"
    "|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|"
)


def row(cell: Cell) -> str:
    def columns(figures: Figures) -> str:
        rate, p50, p99, server_us = figures
        return f"{rate:,.0f}/s | {p50:.1f} ms | {p99:.1f} ms | {server_us:,.0f} us"

    filled = f"{cell.filled_per_second:,.0f}/s | {cell.fill_us:,.1f} us"
    return f"| {cell.value_bytes:,} | {cell.keys:,} | {columns(cell.get)} | {columns(cell.put)} | {filled} |"


class Growth(NamedTuple):
    """From the fewest keys to the most, with values of one size."""

    least: Cell
    most: Cell

    @property
    def allowed(self) -> float:
        return log(self.most.keys) / log(self.least.keys)

    @property
    def factors(self) -> dict[str, float]:
        """How many times as long the server's time for each is."""
        least, most = self.least, self.most
        return {
            "Get": most.get.server_us / least.get.server_us,
            "Put": most.put.server_us / least.put.server_us,
            "filling": most.fill_us / least.fill_us,
        }

    @property
    def worse(self) -> list[str]:
        return [name for name, factor in self.factors.items() if factor > self.allowed]


def by_count(cells: list[Cell], value_bytes: int) -> list[Cell]:
    return sorted(cell for cell in cells if cell.value_bytes == value_bytes)


def growths(cells: list[Cell]) -> list[Growth]:
    sizes = sorted({cell.value_bytes for cell in cells})
    groups = [by_count(cells, size) for size in sizes]
    return [Growth(group[0], group[-1]) for group in groups if len(group) > 1]


def is_no_worse(cells: list[Cell]) -> bool:
    """Than log n."""
    return not any(growth.worse for growth in growths(cells))


def verdict(cells: list[Cell]) -> list[str]:
    lines = [
        "How many times the server's time has grown, beside the logarithm of the number of keys:",
        "",
        "| bytes of a value | keys | log n | Get | Put | filling | no worse than log n |",
        "|---:|---:|---:|---:|---:|---:|---|",
    ]
    for growth in growths(cells):
        keys = f"{growth.least.keys:,} to {growth.most.keys:,}"
        factors = " | ".join(f"{factor:.2f}" for factor in growth.factors.values())
        said = "no: " + ", ".join(growth.worse) if growth.worse else "yes"
        lines.append(f"| {growth.least.value_bytes:,} | {keys} | {growth.allowed:.2f} | {factors} | {said} |")
    return lines


def plots(cells: list[Cell]) -> dict[str, str]:
    few = by_count(cells, 10)
    by_size = [cell for cell in cells if cell.keys == 10_000] + [cell for cell in cells if cell.keys == 1_000]
    least = few[0]

    def bound(start_us: float) -> list[tuple[float, float]]:
        return [(cell.keys, start_us * log(cell.keys) / log(least.keys)) for cell in few]

    keys = Chart(
        "Server time of a call by number of keys, 10-byte values",
        ("keys", "microseconds of processor time"),
        [
            Line("Put, synced", [(cell.keys, cell.put.server_us) for cell in few], RED),
            Line("Put, were it log n", bound(least.put.server_us), RED, dashed=True),
            Line("Get", [(cell.keys, cell.get.server_us) for cell in few], BLUE),
            Line("Get, were it log n", bound(least.get.server_us), BLUE, dashed=True),
        ],
        is_y_logarithmic=False,
    )
    values = Chart(
        "Calls a second by size of the value",
        ("bytes of a value; 10,000 keys, of the largest values 1,000", "calls a second"),
        [
            Line("Get", [(cell.value_bytes, cell.get.per_second) for cell in by_size], BLUE),
            Line("Put, synced", [(cell.value_bytes, cell.put.per_second) for cell in by_size], RED),
        ],
    )
    return {"keys": keys.svg(), "values": values.svg()}


def write(cells: list[Cell], folder: Path, about: list[str]) -> None:
    """Table, verdict and plots, into the results of this day."""
    pictures = plots(cells)
    lines = [*about, "", HEAD, *map(row, cells), "", LEFT_OUT, "", *verdict(cells)]
    page = results_file.write("growth", "Growth", folder, lines)
    shown = [f"\n![by {name}]({page.stem}-{name}.svg)\n" for name in pictures]
    page.write_text(page.read_text() + "".join(shown))
    for name, picture in pictures.items():
        page.with_name(f"{page.stem}-{name}.svg").write_text(picture)
