"""How calls of an event loop cross over to the network: by the turn, and early when there are many."""

import asyncio
from typing import Any

import pytest

pytest.importorskip("dkv._native", reason="the native module is not built")

from dkv.client import loop_channel
from dkv.client.loop_channel import SEND_AT, LoopChannel
from dkv.client.url import Options


class Network:
    """Keeps what it is sent."""

    def __init__(self, address: str, bell: int, **options: Any) -> None:
        self.batches: list[list[int]] = []

    def send(self, calls: list[tuple[int, str, bytes, int]]) -> None:
        self.batches.append([call_id for call_id, *_ in calls])

    def close(self) -> None:
        pass


@pytest.mark.parametrize(
    ("count", "batches"),
    [(1, [1]), (SEND_AT - 1, [SEND_AT - 1]), (SEND_AT, [SEND_AT]), (2 * SEND_AT + 3, [SEND_AT, SEND_AT, 3])],
)
def test_calls_of_one_turn_cross_together_or_by_the_batch(
    count: int, batches: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """In order, each once; a full batch does not wait for the end of the turn."""
    monkeypatch.setattr(loop_channel, "EdgeLoopClient", Network)

    async def run() -> None:
        channel = LoopChannel(Options("127.0.0.1:1"))
        network: Any = channel._native
        for _ in range(count):
            channel.start("/a/b", b"", 1_000)
        assert [len(batch) for batch in network.batches] == [size for size in batches if size == SEND_AT]
        await asyncio.sleep(0)
        assert [len(batch) for batch in network.batches] == batches
        assert [call_id for batch in network.batches for call_id in batch] == list(range(1, count + 1))
        channel.close()

    asyncio.run(run())
