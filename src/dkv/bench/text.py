"""Figures to lines, laid out as the load generator lays them out that the original's tool is built on."""

from collections.abc import Callable, Iterator

from dkv.bench.load import Tally
from dkv.bench.report import Bar, Latencies, latencies
from dkv.bench.workloads import Workload

BAR_SIGNS_MAX = 40
SIGN = "∎"
_UNITS = ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs"))


def lines(workload: Workload, tally: Tally, code_name: Callable[[int], str]) -> list[str]:
    """The report, without its title. `code_name` names a gRPC status."""
    figures = latencies(tally.latencies_s)
    found = ["Summary:", *_summary(workload, tally, figures)]
    if figures is not None:
        found += ["", "Response time histogram:", *_histogram(figures.bars)]
        found += ["", "Latency distribution:"]
        found += [f"  {percent} % in {_duration(seconds)}" for percent, seconds in figures.percentiles]
    if tally.codes:
        found += ["", "Status code distribution:"]
        width = max(len(code_name(code)) for code in tally.codes)
        for code, count in sorted(tally.codes.items()):
            if count:
                found.append(f"  {f'[{code_name(code)}]':<{width + 2}}   {count} responses")
    if tally.texts:
        found += ["", "Error distribution:"]
        found += [f"  [{count}]   {text}" for text, count in tally.texts.most_common()]
    return found


def _summary(workload: Workload, tally: Tally, figures: Latencies | None) -> Iterator[str]:
    yield f"  Count:        {tally.ended}"
    yield f"  Total:        {_duration(tally.lasted_s)}"
    if figures is not None:
        yield f"  Slowest:      {_duration(figures.slowest_s)}"
        yield f"  Fastest:      {_duration(figures.fastest_s)}"
        yield f"  Average:      {_duration(figures.average_s)}"
    per_second = tally.ended / tally.lasted_s if tally.lasted_s else 0.0
    yield f"  Requests/sec: {per_second:.2f}"
    if workload.found is not None:
        yield f"  Keys found:   {tally.found} of {tally.codes[0] * workload.keys_per_call}"


def _histogram(bars: list[Bar]) -> Iterator[str]:
    """In milliseconds, the longest bar as long as one may be."""
    most = max(bar.calls for bar in bars)
    marks = [f"{bar.until_s * 1_000:.3f}" for bar in bars]
    counts = [f"[{bar.calls}]" for bar in bars]
    mark_width, count_width = max(map(len, marks)), max(map(len, counts))
    for bar, mark, count in zip(bars, marks, counts, strict=True):
        signs = SIGN * round(bar.calls * BAR_SIGNS_MAX / most)
        yield f"  {mark:>{mark_width}} {count:<{count_width}} |{signs}"


def _duration(seconds: float) -> str:
    """Such as 1.50 s, 12.00 ms, 80.25 µs."""
    unit_s, unit = next((each for each in _UNITS if seconds >= each[0]), _UNITS[-1])
    return f"{seconds / unit_s:.2f} {unit}"
