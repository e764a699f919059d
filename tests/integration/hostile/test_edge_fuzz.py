"""Mutated HTTP/2 against a live edge: whatever comes, it stays alive, serves the next client, and keeps nothing."""

import random
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from dkv.testing import frames as h2
from dkv.testing.frames import Frame, Peer, call, frame, header_block, message, settings

CONNECTIONS = 800
PATHS = ["/t.T/Echo", "/t.T/Big", "/t.T/Talk", "/t.T/Stream", "/no.Such/Method", ""]
Reaction = frozenset[tuple[int, int, bytes]]
"""Kinds of frames, their flags, and the codes of resets and GOAWAYs."""


def conversation(rng: random.Random) -> list[bytes]:
    """Frames that make sense: settings, a few calls in pieces, pings, windows, resets."""
    frames = [settings(), settings(initial_window=rng.choice([0, 1, 70_000]))]
    for stream in range(1, 2 * rng.randint(1, 4), 2):
        path, body = rng.choice(PATHS), rng.choice([b"", b"9000", rng.randbytes(30)])
        if rng.random() < 0.5:
            frames.append(call(stream, path, b"0" + body if path in PATHS[1:4:2] else body, grpc_timeout="1S"))
            continue
        block, data = header_block(path), message(body)
        at, cut = rng.randint(0, len(block)), rng.randint(0, len(data))
        frames += [frame(h2.HEADERS, 0, stream, block[:at]), frame(h2.CONTINUATION, h2.END_HEADERS, stream, block[at:])]
        frames += [frame(h2.DATA, 0, stream, data[:cut]), frame(h2.DATA, h2.END_STREAM, stream, data[cut:])]
    extra = [frame(h2.PING, 0, 0, b"12345678"), frame(h2.WINDOW, 0, 0, b"\0\1\0\0"), frame(h2.RESET, 0, 1, bytes(4))]
    for each in rng.sample(extra, rng.randint(0, 3)):
        frames.insert(rng.randint(1, len(frames)), each)
    return frames


def mutated(rng: random.Random) -> bytes:
    """A conversation with something wrong, mostly."""
    frames = conversation(rng)
    for _ in range(rng.choice([0, 1, 1, 2, 5])):
        at = rng.randrange(len(frames))
        match rng.randrange(6):
            case 0:
                frames[at:at] = [frames[at]]
            case 1:
                del frames[at]
            case 2:
                rng.shuffle(frames)
            case 3:
                frames[at] = frames[at][: rng.randint(0, len(frames[at]))]
            case 4:
                damaged = bytearray(frames[at])
                for _ in range(rng.randint(1, 3)):
                    if damaged:
                        damaged[rng.randrange(len(damaged))] = rng.choice([0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)])
                frames[at] = bytes(damaged)
            case 5:
                payload = rng.randbytes(rng.choice([0, 4, 5, 8, 100]))
                frames[at:at] = [frame(rng.randrange(12), rng.randrange(256), rng.choice([0, 1, 2, 3, 99]), payload)]
        if not frames:
            break
    return h2.PREFACE[: rng.choice([24] * 20 + [10])] + b"".join(frames)


def reaction(address: str, data: bytes) -> Reaction:
    """What the server made of it. Fails when it hangs."""
    heard: list[Frame] = []
    with Peer(address, b"", timeout_s=20) as peer:
        with suppress(OSError):
            peer.send(data)
            peer.socket.shutdown(socket.SHUT_WR)
        peer.is_polite = False
        with suppress(ConnectionError):
            heard = peer.read_until_closed()
    coded = {h2.RESET: slice(0, 4), h2.GO_AWAY: slice(4, 8)}
    return frozenset((each.kind, each.flags, each.payload[coded.get(each.kind, slice(0, 0))]) for each in heard)


def test_edge_given_mutated_frames_stays_alive_and_keeps_nothing(
    make_echo: Callable[..., Any], eventually: Callable[..., None], soak_minutes: float
) -> None:
    """Every connection comes to its end; a good client is served in between; no call, byte or connection is left."""
    echo, seen, started = make_echo(), set[Reaction](), time.monotonic()
    number = 0
    while number < CONNECTIONS or time.monotonic() < started + 60 * soak_minutes:
        seen.add(reaction(echo.address, mutated(random.Random(number))))
        number += 1
        if number % 100 == 0:
            assert echo.serves(), f"after connection {number}"
        if number & (number - 1) == 0:
            print(f"{number} connections: {len(seen)} different reactions")
    eventually(lambda: echo.server.open_calls() == 0)
    for name in ("connections", "inbox_bytes", "unread_bytes", "streams"):
        eventually(lambda name=name: echo.server.stats()[name] == 0)
    assert len(seen) > 20, "the mutations do not reach much"
