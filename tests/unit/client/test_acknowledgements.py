"""Who has a write: the bytes that the message classes would write, what is refused, and what carries a session."""

import asyncio
from typing import Any

import pytest

import dkv
from dkv.client.acknowledgements import write
from dkv.client.aio import AsyncClient
from dkv.client.answers import Answer, Fate
from dkv.client.levels import Levels
from dkv.client.sync import CallResult, Client, Stream
from dkv.model.errors import Code
from dkv.wire import messages as pb
from dkv.wire import methods, requests

LOST = Code.UNAVAILABLE, "connection lost", b"", b"", Fate.LOST


def test_acknowledgements_are_fields_of_requests() -> None:
    """A majority is what a request without the field asks for."""
    plain = requests.put(b"k", b"v")
    asked = [write(methods.PUT_PATH, b"k", plain, who, may_be_fast=True) for who in ("quorum", "all", "fast")]
    messages = [pb.PutRequest.FromString(call.message) for call in asked]
    assert messages == [pb.PutRequest(key=b"k", value=b"v", acknowledgement=level) for level in (0, 1, 2)]
    assert asked[0].message == plain
    assert [(call.is_write, call.is_fast) for call in asked] == [(True, False), (True, False), (False, True)]


@pytest.mark.parametrize(
    ("acknowledgement", "why"),
    [
        ("fast", "only put, without if_absent, and delete can be acknowledged fast"),
        ("some", "an acknowledgement is quorum, all, fast, not 'some'"),
        ("FAST", "not 'FAST'"),
        (None, "not None"),
    ],
)
def test_acknowledgement_that_cannot_be_is_refused(acknowledgement: Any, why: str) -> None:
    """Before anything is sent."""
    with pytest.raises(dkv.InvalidRequest, match=why):
        write(methods.MULTI_PUT_PATH, b"k", b"", acknowledgement)


class FakeChannel:
    """Loses every call."""

    def __init__(self) -> None:
        self.requests: list[bytes] = []

    def call(self, path: str, message: bytes, timeout_ms: int, /) -> CallResult:
        self.requests.append(message)
        return LOST

    def stream(self, path: str, message: bytes, timeout_ms: int, /) -> Stream:
        raise NotImplementedError

    def connect(self, timeout_ms: int, refused_ms: int | None = None) -> None: ...
    def close(self) -> None: ...


class FakeLoopChannel:
    """The same for a loop."""

    def __init__(self) -> None:
        self.requests: list[bytes] = []

    def loop(self) -> asyncio.AbstractEventLoop:
        return asyncio.get_running_loop()

    def start(self, path: str, message: bytes, timeout_ms: int) -> tuple[int, "asyncio.Future[bytes | Answer]"]:
        self.requests.append(message)
        lost: asyncio.Future[bytes | Answer] = self.loop().create_future()
        lost.set_result(Answer(*LOST))
        return len(self.requests), lost

    def cancel(self, call_id: int) -> None: ...
    def stream(self, path: str, message: bytes) -> Any: ...
    def close(self) -> None: ...


@pytest.mark.parametrize("is_async", [False, True])
def test_fast_write_has_no_session_and_is_sent_once(is_async: bool) -> None:
    """Where it is lost, it may have happened. One with a session is sent again while there is time."""
    channel: FakeChannel | FakeLoopChannel
    if is_async:
        channel = FakeLoopChannel()
        client: Any = AsyncClient(channel, 0.3, Levels())
        with pytest.raises(dkv.ConnectionLost) as caught:
            asyncio.run(client.put("k", "v", acknowledgement="fast"))
    else:
        channel = FakeChannel()
        client = Client(channel, timeout_s=0.3)
        with pytest.raises(dkv.ConnectionLost) as caught:
            client.put("k", "v", acknowledgement="fast")
    assert caught.value.may_have_happened
    assert [pb.PutRequest.FromString(each) for each in channel.requests] == [
        pb.PutRequest(key=b"k", value=b"v", acknowledgement=2)
    ]
    with pytest.raises(dkv.ConnectionLost):
        asyncio.run(client.put("k", "v")) if is_async else client.put("k", "v")
    assert len(channel.requests) > 2
    assert all(pb.PutRequest.FromString(each).session for each in channel.requests[1:])
