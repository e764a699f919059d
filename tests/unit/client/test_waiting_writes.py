"""Writes of an asyncio client that wait for a place in its session: whoever is cancelled takes nobody's turn along."""

import asyncio
from typing import Any

import pytest

from dkv.client.aio import AsyncClient
from dkv.client.answers import Answer, Fate
from dkv.client.levels import Levels
from dkv.model.errors import Code
from dkv.wire import messages as pb

REFUSED = Answer(Code.INVALID_ARGUMENT, "no", b"", b"", Fate.ANSWERED)


class HeldChannel:
    """Calls end when the test says so."""

    def __init__(self) -> None:
        self.calls: list[tuple[bytes, asyncio.Future[bytes | Answer]]] = []

    def loop(self) -> asyncio.AbstractEventLoop:
        return asyncio.get_running_loop()

    def start(self, path: str, message: bytes, timeout_ms: int) -> tuple[int, "asyncio.Future[bytes | Answer]"]:
        future: asyncio.Future[bytes | Answer] = self.loop().create_future()
        self.calls.append((pb.PutRequest.FromString(message).key, future))
        return len(self.calls), future

    def cancel(self, call_id: int) -> None: ...
    def stream(self, path: str, message: bytes) -> Any: ...
    def close(self) -> None: ...


@pytest.mark.parametrize("is_late", [False, True], ids=["while it waits", "when it was its turn"])
def test_write_that_is_cancelled_lets_the_next_one_begin(is_late: bool) -> None:
    """The first write opens the session alone, and fails: then one of those that wait is to open another."""

    async def run() -> list[bytes]:
        channel = HeldChannel()
        client = AsyncClient(channel, 30, Levels())
        first, second, third = (asyncio.create_task(client.put(key, b"v")) for key in "abc")
        await asyncio.sleep(0)
        if not is_late:
            second.cancel()
            await asyncio.sleep(0)
        channel.calls[0][1].set_result(REFUSED)
        if is_late:
            await asyncio.sleep(0)  # the first has ended, and the second is told; it has not run yet
            second.cancel()
        for _ in range(5):
            await asyncio.sleep(0)
        third.cancel()
        await asyncio.gather(first, second, third, return_exceptions=True)
        assert second.cancelled()
        return [key for key, _ in channel.calls]

    assert asyncio.run(run()) == [b"a", b"c"]
