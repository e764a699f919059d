"""The page that a benchmark leaves in results/: when, of which commit, how to run it again, where; then its figures."""

import datetime
import sys
from pathlib import Path

from peers import ROOT
from run import commit, machine


def write(name: str, title: str, folder: Path, lines: list[str]) -> Path:
    """Prints the figures and writes the page of `make bench-NAME`, whose data lay in `folder`; returns where it is."""
    print("\n".join(lines))
    now = datetime.datetime.now(datetime.UTC)
    arguments = f" BENCH_ARGS='{' '.join(sys.argv[1:])}'" if sys.argv[1:] else ""
    head = [f"# {title}", "", f"* commit: {commit()}", f"* date: {now:%Y-%m-%d %H:%M} UTC"]
    head += [f"* command: `make bench-{name}{arguments}`", *machine(folder), ""]
    target = ROOT / "benchmarks" / "results" / f"{now:%Y-%m-%d-%H%M}-{name}.md"
    target.write_text("\n".join([*head, *lines]).rstrip() + "\n")
    print(f"written to {target.relative_to(ROOT)}")
    return target
