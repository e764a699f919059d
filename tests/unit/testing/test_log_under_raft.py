"""The native Raft over the simulated log: its commits survive every crash, and nothing commits before its sync."""

from random import Random

import pytest

native = pytest.importorskip("dkv._native", reason="the native module is not built")

from dkv.edge.consensus import NativeConsensus  # noqa: E402
from dkv.testing.log import SimulatedLog  # noqa: E402
from dkv.testing.log_disk import LogDisk  # noqa: E402

CONF = ([5], [], [], [], False)


def opened(disk: LogDisk, applied: int, seed: int = 1) -> tuple[NativeConsensus, SimulatedLog]:
    log = SimulatedLog(disk)
    consensus = NativeConsensus(native.Raft(seed=seed), log)
    if not consensus.has_group(1):
        consensus.create_group(1, CONF)
    consensus.open_group(1, 5, CONF, applied)
    consensus.campaign(1)
    return consensus, log


def committed(consensus: NativeConsensus) -> list[tuple[int, bytes]]:
    found = [(entry[0], entry[3]) for ready in consensus.advance() for entry in ready.committed]
    if found:
        consensus.applied([(1, found[-1][0])])
    return found


def test_nothing_is_committed_before_its_sync() -> None:
    """An entry of a group of one commits one turn after the sync that made it durable."""
    consensus, log = opened(LogDisk(), 1)
    for _ in range(4):
        committed(consensus)
        log.step_disk()
    assert consensus.propose(1, b"x") is not None
    assert committed(consensus) == []
    assert log.step_disk() == "written"
    assert committed(consensus) == []
    assert log.step_disk() == "synced"
    assert [data for _, data in committed(consensus)] == [b"x"]


def test_failed_sync_raises_and_commits_nothing() -> None:
    """After a failed sync the node hears of it and no entry commits."""
    disk = LogDisk()
    consensus, log = opened(disk, 1)
    committed(consensus)
    disk.sync_fails = True
    while log.step_disk() != "failed":
        pass
    with pytest.raises(Exception, match="sync failed"):
        consensus.advance()


def run(seed: int) -> list[tuple[int, bytes]]:
    """Random steps, crashes and losses of power; returns all commits ever seen, having checked each restart."""
    rng, disk, all_seen = Random(seed), LogDisk(), dict[int, bytes]()
    for life in range(6):
        consensus, log = opened(disk, 1, seed + life)
        seen: dict[int, bytes] = {}
        for step in range(rng.randint(5, 60)):
            choice = rng.random()
            if choice < 0.3:
                consensus.propose(1, b"%d.%d" % (life, step))
            elif choice < 0.6:
                log.step_disk()
            else:
                seen.update(committed(consensus))
        for index, data in seen.items():
            assert all_seen.setdefault(index, data) == data, "committed entries never change"
        if rng.random() < 0.5:
            disk.crash_process(rng)
        else:
            disk.power_loss(rng)
    entries = {entry[0]: entry[3] for entry in SimulatedLog(disk).read(1, 2, disk.synced[1].last_index + 1, 1 << 30)}
    assert all_seen.items() <= entries.items(), "what was committed is in the log"
    return sorted(all_seen.items())


def test_commits_survive_crashes_from_any_seed() -> None:
    """Whatever was reported as committed is there after every crash, at its index, unchanged."""
    assert sum(len(run(seed)) for seed in range(40)) > 400


def test_same_seed_gives_the_same_commits() -> None:
    """Raft and disk take all their chance from the seed."""
    assert run(3) == run(3)
