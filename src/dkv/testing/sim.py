"""Run seeded simulations: `python -m dkv.testing.sim --seeds N [--first S] [--stride D] [--nodes 1|3|5|mixed]`.

A failure prints its seed, what was broken, the end of the trace and the command that replays it. The seeds run in a
process of their own: a panic of Raft ends it, and there is still somebody to say so.
"""

import argparse
import logging
import multiprocessing
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable
from typing import Any, NamedTuple

from dkv.testing.cluster.ending import ClusterEnding
from dkv.testing.cluster.schedule import ClusterSchedule
from dkv.testing.cluster.world import ClusterWorld
from dkv.testing.ending import Ending
from dkv.testing.schedule import Schedule
from dkv.testing.world import Broken, World

STEPS_DEFAULT = 1_500
"""About a fifth of a second: long enough for several lives, short enough to read."""
TRACE_LINES_SHOWN = 60
SIZES = (1, 3, 5)
MIXED = "mixed"
"""As many seeds of each size."""


class Failure(NamedTuple):
    """One seed that went wrong."""

    seed: int
    nodes: int
    steps: int
    why: str
    trace: list[str]

    def __str__(self) -> str:
        lines = "\n".join(self.trace[-TRACE_LINES_SHOWN:])
        return f"{lines}\n\nseed {self.seed}: {self.why}\n{replay_line(self.seed, self.nodes, self.steps)}"


class Summary(NamedTuple):
    """What a seed's run was made of; equal seeds give equal summaries."""

    digest: str
    nodes: int
    acknowledged: int
    unknown: int
    lives: int
    backups: int
    """Taken or restored."""
    terms: int
    """Of a cluster: in which somebody led."""
    snapshots: int
    """Of a cluster: installed."""


def replay_line(seed: int, nodes: int, steps: int) -> str:
    return f"replay: make sim NODES={nodes} FIRST={seed} SEEDS=1 STEPS={steps}"


def run_seed(seed: int, steps: int = STEPS_DEFAULT, nodes: int = 1) -> Summary | Failure:
    """One whole run. Whatever a node raises that is not a declared end of its process is a failure."""
    world = World(seed) if nodes == 1 else ClusterWorld(seed, nodes)
    try:
        return _run(world, steps)
    except Broken as broken:
        return Failure(seed, nodes, steps, str(broken), list(world.trace.lines))
    except Exception:
        return Failure(seed, nodes, steps, traceback.format_exc(), list(world.trace.lines))


def _run(world: World | ClusterWorld, steps: int) -> Summary:
    backups = terms = snapshots = 0
    if isinstance(world, World):
        schedule = Schedule(world)
        schedule.run(steps)
        Ending(world, had_jumps="clock jump" in schedule.weights).run()
        nodes, lives, backups = 1, world.machine.lives, world.operator.done
    else:
        ClusterSchedule(world).run(steps)
        ClusterEnding(world).run()
        nodes, lives, terms = len(world.members), world.lives, world.terms
        backups = world.callers.restorer.done
        snapshots = world.snapshots + sum(member.snapshots for member in world.members)
    digest = world.trace.digest()
    return Summary(digest, nodes, world.acknowledged, world.unknown, lives, backups, terms, snapshots)


def nodes_of(seed: int, nodes: int | str) -> int:
    """The size of the cluster of a seed."""
    return SIZES[seed % len(SIZES)] if nodes == MIXED else int(nodes)


def run_seeds(
    first: int,
    count: int,
    seconds: float,
    steps: int = STEPS_DEFAULT,
    nodes: int | str = MIXED,
    begins: Callable[[int], None] = lambda seed: None,
    stride: int = 1,
) -> tuple[list[Summary], Failure | None]:
    """Seeds from `first` on, each `stride` behind the one before, until one fails, `count` have passed or the time is
    over. `begins` is told each seed."""
    deadline = time.monotonic() + seconds
    passed: list[Summary] = []
    for seed in range(first, first + count * stride, stride):
        begins(seed)
        outcome = run_seed(seed, steps, nodes_of(seed, nodes))
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
    parser.add_argument("--stride", type=int, default=1, help="from one seed to the next, where others run the rest")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="start no further seed after this time")
    parser.add_argument("--steps", type=int, default=STEPS_DEFAULT, help="steps of each run")
    parser.add_argument("--nodes", choices=[*map(str, SIZES), MIXED], default=MIXED, help="of each cluster")
    options = parser.parse_args(arguments)
    context = multiprocessing.get_context("spawn")
    under_way = context.Value("q", options.first)
    process = context.Process(target=_run_options, args=(options, under_way))
    process.start()
    process.join()
    code = process.exitcode or 0
    if code < 0:
        line = replay_line(under_way.value, nodes_of(under_way.value, options.nodes), options.steps)
        print(f"seed {under_way.value}: the process ended by signal {-code}\n{line}", file=sys.stderr)
    return min(abs(code), 1)


def _run_options(options: argparse.Namespace, under_way: Any) -> None:
    """Exits with 1 when a seed fails. `under_way`: where the seed that begins is noted."""

    def begins(seed: int) -> None:
        under_way.value = seed

    logging.getLogger("dkv").addHandler(logging.NullHandler())  # what the node logs is in the trace, too
    started = time.monotonic()
    passed, failure = run_seeds(
        options.first, options.seeds, options.seconds, options.steps, options.nodes, begins, options.stride
    )
    print(f"{len(passed)} seeds passed in {time.monotonic() - started:.1f} s{_told(passed)}")
    if failure is not None:
        print(failure, file=sys.stderr)
        sys.exit(1)


def _told(passed: list[Summary]) -> str:
    sizes = Counter(each.nodes for each in passed)
    kinds = ", ".join(f"{count} of {nodes} node{'s'[: nodes > 1]}" for nodes, count in sorted(sizes.items()))
    writes, unknown = sum(each.acknowledged for each in passed), sum(each.unknown for each in passed)
    return (
        f" ({kinds}): {writes} acknowledged writes, {unknown} of unknown outcome, "
        f"{sum(each.lives for each in passed)} lives, {sum(each.backups for each in passed)} backups and restores, "
        f"{sum(each.terms for each in passed)} leaders, {sum(each.snapshots for each in passed)} snapshots"
    )


if __name__ == "__main__":
    sys.exit(main())
