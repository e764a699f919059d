"""What counting, scraping and the access log cost a Get: the same load on servers that differ in nothing else.

The servers take turns in rotating order, and what is compared is the ratio within a round: of the rate, which two cores
make noisy, and of the server's own processor time for a call, which tells more. One of them has a meter that
measures and counts nothing, which no flag of a server can do: this file starts it. What the native edge counts where a
call ends is counted in all of them.
"""

import argparse
import shutil
import sys
import threading
import urllib.request
from pathlib import Path
from statistics import median
from typing import NamedTuple
from unittest import mock

import results_file
from peers import ROOT, Dkv, Load, free_port, raise_open_files_limit
from run import in_turns, shown

LOAD = Load(8, 16)
SCRAPE_EVERY_S = 1.0
TIME_SHARE_MAX = 1.03
"""Of the server's time for a Get when nothing is counted."""
UNCOUNTED = "--uncounted"


class Gets(NamedTuple):
    per_second: float
    server_us: float


class Variant(Dkv):
    """A server as it is shipped; `title` names its row."""

    def __init__(self, title: str, folder: Path, *extra: str) -> None:
        super().__init__(folder, extra)
        self.title = title

    def gets(self, seconds: float) -> Gets:
        before = self.cpu_seconds()
        rate = self.h2load(self.calls["get"], LOAD, seconds).per_second
        return Gets(rate, (self.cpu_seconds() - before) / (rate * seconds) * 1e6)


class Uncounted(Variant):
    def command(self) -> list[str]:
        return [sys.executable, __file__, UNCOUNTED, *super().command()[1:]]


class Scraped(Variant):
    """Somebody reads its /metrics every second."""

    def __init__(self, title: str, folder: Path) -> None:
        self.metrics = f"127.0.0.1:{free_port()}"
        super().__init__(title, folder, "--http-listen-addr", self.metrics)

    def gets(self, seconds: float) -> Gets:
        done = threading.Event()

        def scrape() -> None:
            while not done.wait(SCRAPE_EVERY_S):
                with urllib.request.urlopen(f"http://{self.metrics}/metrics", timeout=10) as page:
                    page.read()

        scraper = threading.Thread(target=scrape)
        scraper.start()
        try:
            return super().gets(seconds)
        finally:
            done.set()
            scraper.join()


def serve_uncounted(arguments: list[str]) -> int:
    """A server whose meter does nothing."""
    from dkv.cli import dkvsrv
    from dkv.node.meter import Meter, no_time
    from dkv.server import parts

    class NoMeter(Meter):
        def __init__(self, _: object) -> None:
            super().__init__(no_time)

        def begin(self, calls: int) -> None: ...
        def lap(self) -> None: ...
        def end(self) -> None: ...
        def looked_up(self, keys: int, began: float) -> None: ...
        def wrote(self, commands: int, began: float) -> None: ...

    with mock.patch.object(parts, "Meter", NoMeter):
        return dkvsrv.main(arguments)


def main() -> int:
    if sys.argv[1:2] == [UNCOUNTED]:
        return serve_uncounted(sys.argv[2:])
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--seconds", type=int, default=1, help="of one measurement")
    parser.add_argument("--folder", type=Path, default=ROOT / ".build" / "bench-counting", help="emptied")
    options = parser.parse_args()
    raise_open_files_limit()
    shutil.rmtree(options.folder, ignore_errors=True)
    options.folder.mkdir(parents=True)
    bare = Uncounted("counts nothing", options.folder / "bare")
    others = [
        Variant("counts", options.folder / "counts"),
        Scraped("counts, scraped every second", options.folder / "scraped"),
        Variant("counts, access log to a file", options.folder / "log", "--access-log", str(options.folder / "access")),
    ]
    servers = [bare, *others]
    found: dict[str, list[Gets]] = {server.title: [] for server in servers}
    try:
        for server in servers:
            server.start()
            server.fill(0, 1_000)
        for server in in_turns(servers, options.rounds):
            found[server.title].append(server.gets(options.seconds))
    finally:
        for server in servers:
            server.stop()
    lines = [
        "| Get, 128 in flight on 8 connections | | to the first | server time | to the first |",
        "|---|---:|---:|---:|---:|",
    ]
    shares = []
    for title, gets in found.items():
        rates = [each.per_second / first.per_second for each, first in zip(gets, found[bare.title], strict=True)]
        times = [each.server_us / first.server_us for each, first in zip(gets, found[bare.title], strict=True)]
        shares.append(median(times))
        rate, server_us = median(each.per_second for each in gets), median(each.server_us for each in gets)
        lines.append(f"| {title} | {rate:,.0f}/s | {shown(rates, '')} | {server_us:.2f} us | {shown(times, '')} |")
    lines += ["", f"Medians of {options.rounds} rounds of {options.seconds:g} s (range); ratios are of the same round."]
    results_file.write("counting", "What counting costs", options.folder, lines)
    shutil.rmtree(options.folder, ignore_errors=True)
    return 0 if max(shares) <= TIME_SHARE_MAX else 1


if __name__ == "__main__":
    sys.exit(main())
