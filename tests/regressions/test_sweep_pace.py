"""Sweeping where more expires than one sweep takes."""

from typing import Any

import pytest

from dkv.model.errors import Code
from dkv.wire import messages as wire
from dkv.wire import methods

KEYS = 10_000


@pytest.fixture
def crowded(house: Any) -> Any:
    """A node whose keys are all due."""
    puts = [wire.PutRequest(key=b"%d" % number, value=b"v", ttlMs=1_000) for number in range(KEYS)]
    reply = house.call(methods.MULTI_PUT, wire.MultiPutRequest(putRequest=puts).SerializeToString())
    assert reply.code == Code.OK
    house.clock.advance(1_001)
    house.settle()
    return house


def rows_left(house: Any) -> int:
    start, end = house.node.sole.replica.data_range()
    scan = house.store.scan(start, end)
    return len(scan.take(2 * KEYS, 1 << 30))


def test_sweep_of_many_keys_due_at_once_keeps_up_with_their_writers(crowded: Any) -> None:
    """Ten thousand expired keys are gone within half a second: a sweep slower than the puts would fill the disk."""
    for _ in range(100):
        crowded.clock.advance(5)
        crowded.settle()
    assert rows_left(crowded) == 0


def test_sweep_after_a_sweep_does_not_start_at_the_rows_removed(crowded: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows that were deleted lie in the engine for long; walking over all of them made each sweep slower."""
    puts = [wire.PutRequest(key=b"later%d" % number, value=b"v", ttlMs=1_000) for number in range(2)]
    crowded.call(methods.MULTI_PUT, wire.MultiPutRequest(putRequest=puts).SerializeToString())
    starts: list[bytes] = []
    scan = crowded.store.scan

    def noted(start: bytes, end: bytes, **options: bool) -> Any:
        starts.append(start)
        return scan(start, end, **options)

    monkeypatch.setattr(crowded.store, "scan", noted)
    for _ in range(60):
        crowded.clock.advance(50)
        crowded.settle()
    assert starts == sorted(starts)
    assert starts[-1] > starts[0]
