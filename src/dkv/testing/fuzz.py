"""Let atheris look for bytes that break a target: `python -m dkv.testing.fuzz --seconds 60 [--target NAME]`.

Every target runs in a process of its own, for its share of the time, from a corpus that is kept in `--corpus`, so that
a longer search goes on where the last one stopped. What was found is printed at the end: coverage after each quarter of
the time, which no longer grows once the search is saturated. A failure prints the bytes, as hex, and keeps them beside
the corpus.
"""

import argparse
import importlib
import re
import subprocess
import sys
from pathlib import Path

QUARTERS = 4
MESSAGE_BYTES_MAX = 512
_PROGRESS = re.compile(r"^#(\d+)\s+\S+\s+cov: (\d+) ft: (\d+) corp: (\d+)", re.MULTILINE)


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m dkv.testing.fuzz", description="Let atheris look for bytes that break a target."
    )
    parser.add_argument("--seconds", type=int, default=60, help="for all targets together [60]")
    parser.add_argument("--target", action="append", help="only this one; may be repeated")
    parser.add_argument(
        "--corpus", type=Path, default=Path(".build/corpus"), help="folder to start from [.build/corpus]"
    )
    parser.add_argument("--inside", help=argparse.SUPPRESS)
    given, rest = parser.parse_known_args()
    if given.inside:
        _search(given.inside, rest)
    # Not before: what atheris shall see has to be imported under its eyes.
    seeds: dict[str, list[bytes]] = importlib.import_module("dkv.testing.seeds").SEEDS
    names = given.target or list(seeds)
    seconds = max(QUARTERS, given.seconds // len(names))
    broken = [name for name in names if not _run(name, seeds[name], seconds, given.corpus)]
    if broken:
        print(f"broken: {', '.join(broken)}")
    return bool(broken)


def _run(name: str, seeds: list[bytes], seconds: int, corpus: Path) -> bool:
    """Searches in four parts, to show whether the last one still found anything. Returns whether nothing broke."""
    folder = corpus / name
    folder.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(seeds):
        (folder / f"seed-{number}").write_bytes(seed)
    covered, executions = [], 0
    for _ in range(QUARTERS):
        command = [sys.executable, "-m", "dkv.testing.fuzz", "--inside", name, str(folder), "-timeout=20"]
        command += [f"-max_total_time={seconds // QUARTERS}", f"-max_len={MESSAGE_BYTES_MAX}"]
        command += [f"-artifact_prefix={corpus}/{name}-", "-rss_limit_mb=4096"]
        run = subprocess.run(command, capture_output=True, text=True, check=False)
        found = _PROGRESS.findall(run.stderr)
        if run.returncode or not found:
            print(f"{name}: BROKEN\n{run.stdout}\n{run.stderr[-4000:]}", flush=True)
            return False
        executions += int(found[-1][0])
        covered.append("/".join(found[-1][1:]))
    print(f"{name:<12} {executions:>10} runs; edges/features/corpus by quarter: {' '.join(covered)}", flush=True)
    return True


def _search(name: str, arguments: list[str]) -> None:
    """Does not return: libFuzzer ends the process."""
    atheris = importlib.import_module("atheris")  # of requirements/fuzz.in: not there unless somebody fuzzes
    with atheris.instrument_imports(include=["dkv", "yaml"]):
        target = importlib.import_module("dkv.testing.targets").TARGETS[name]

    def run(data: bytes) -> None:
        try:
            target(data)
        except BaseException:
            print(f"{name} broken by {data.hex()}", file=sys.stderr)
            raise

    atheris.Setup([sys.argv[0], *arguments], run)
    atheris.Fuzz()


if __name__ == "__main__":
    sys.exit(main())
