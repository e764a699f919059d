"""Run seeded simulations: `python -m dkv.testing.sim --seeds N [--first S] [--seconds T]`.

A failure prints its seed, what was broken, the end of the trace and the command that replays it.
"""

import argparse
import logging
import sys
import time
import traceback
from typing import NamedTuple

from dkv.testing.ending import Ending
from dkv.testing.schedule import Schedule
from dkv.testing.world import Broken, World

STEPS_DEFAULT = 1_500
"""About a fifth of a second: long enough for several lives, short enough to read."""
TRACE_LINES_SHOWN = 60


class Failure(NamedTuple):
    """One seed that went wrong."""

    seed: int
    steps: int
    why: str
    trace: list[str]

    def __str__(self) -> str:
        lines = "\n".join(self.trace[-TRACE_LINES_SHOWN:])
        command = f"make sim FIRST={self.seed} SEEDS=1 STEPS={self.steps}"
        return f"{lines}\n\nseed {self.seed}: {self.why}\nreplay: {command}"


class Summary(NamedTuple):
    """What a seed's run was made of; equal seeds give equal summaries."""

    digest: str
    acknowledged: int
    unknown: int
    lives: int
    backups: int
    """Taken or restored."""


def run_seed(seed: int, steps: int = STEPS_DEFAULT) -> Summary | Failure:
    """One whole run. Whatever the node raises that is not a declared end of its process is a failure."""
    world = World(seed)
    try:
        schedule = Schedule(world)
        schedule.run(steps)
        Ending(world, had_jumps="clock jump" in schedule.weights).run()
    except Broken as broken:
        return Failure(seed, steps, str(broken), list(world.trace.lines))
    except Exception:
        return Failure(seed, steps, traceback.format_exc(), list(world.trace.lines))
    return Summary(world.trace.digest(), world.acknowledged, world.unknown, world.machine.lives, world.operator.done)


def run_seeds(
    first: int, count: int, seconds: float, steps: int = STEPS_DEFAULT
) -> tuple[list[Summary], Failure | None]:
    """Seeds from `first` on until one fails, `count` have passed or the time is over."""
    deadline = time.monotonic() + seconds
    passed: list[Summary] = []
    for seed in range(first, first + count):
        outcome = run_seed(seed, steps)
        if isinstance(outcome, Failure):
            return passed, outcome
        passed.append(outcome)
        if time.monotonic() >= deadline:
            break
    return passed, None


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m dkv.testing.sim", description=__doc__)
    parser.add_argument("--seeds", type=int, default=200, help="how many seeds to run")
    parser.add_argument("--first", type=int, default=1, help="the first seed")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="start no further seed after this time")
    parser.add_argument("--steps", type=int, default=STEPS_DEFAULT, help="steps of each run")
    parser.add_argument("--trace", action="store_true", help="print the end of the trace of each seed")
    options = parser.parse_args(arguments)
    logging.getLogger("dkv").addHandler(logging.NullHandler())  # what the node logs is in the trace, too
    started = time.monotonic()
    passed, failure = run_seeds(options.first, options.seeds, options.seconds, options.steps)
    writes, unknown = sum(each.acknowledged for each in passed), sum(each.unknown for each in passed)
    print(
        f"{len(passed)} seeds passed in {time.monotonic() - started:.1f} s: "
        f"{writes} acknowledged writes, {unknown} of unknown outcome, {sum(each.lives for each in passed)} lives, "
        f"{sum(each.backups for each in passed)} backups and restores"
    )
    if failure is not None:
        print(failure, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
