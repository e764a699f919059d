"""A peer that writes HTTP/2 frame by frame (RFC 9113), for what no client library would send.

It keeps no state of the protocol: what is right or wrong is up to the test. The one thing it does by itself, unless
told otherwise, is to acknowledge settings and answer pings, as a peer that lives does.
"""

import socket
import struct
from typing import NamedTuple, Self

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RESET, SETTINGS, PUSH, PING, GO_AWAY, WINDOW, CONTINUATION = range(10)
END_STREAM, ACK, END_HEADERS, PADDED = 1, 1, 4, 8
INITIAL_WINDOW = 4
"""The number of the setting."""


class Frame(NamedTuple):
    kind: int
    flags: int
    stream: int
    payload: bytes


def frame(kind: int, flags: int, stream: int, payload: bytes = b"", length: int | None = None) -> bytes:
    """One frame; `length` to claim another than the payload has."""
    size = len(payload) if length is None else length
    return struct.pack(">I", size)[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def settings(**values: int) -> bytes:
    """A SETTINGS frame; the one name known is `initial_window`."""
    numbers = {"initial_window": INITIAL_WINDOW}
    return frame(SETTINGS, 0, 0, b"".join(struct.pack(">HI", numbers[name], value) for name, value in values.items()))


def header(name: bytes, value: bytes) -> bytes:
    """A literal, neither indexed nor compressed (RFC 7541, 6.2.2)."""
    return b"\x00" + _length(len(name)) + name + _length(len(value)) + value


def header_block(path: str, **more: str) -> bytes:
    """The headers of a gRPC call; `grpc_timeout="1S"` becomes grpc-timeout."""
    fields = {":method": "POST", ":scheme": "http", ":path": path, ":authority": "a"}
    fields |= {"content-type": "application/grpc", "te": "trailers"}
    fields |= {name.replace("_", "-"): value for name, value in more.items()}
    return b"".join(header(name.encode(), value.encode()) for name, value in fields.items())


def message(body: bytes) -> bytes:
    """gRPC's framing of one message."""
    return b"\x00" + struct.pack(">I", len(body)) + body


def call(stream: int, path: str, body: bytes = b"", **more: str) -> bytes:
    """A whole unary call: headers, one message, end."""
    return frame(HEADERS, END_HEADERS, stream, header_block(path, **more)) + frame(
        DATA, END_STREAM, stream, message(body)
    )


def _length(number: int) -> bytes:
    if number < 127:
        return bytes((number,))
    number -= 127
    encoded = b"\x7f"
    while number > 127:
        encoded += bytes((number & 127 | 128,))
        number >>= 7
    return encoded + bytes((number,))


class Peer:
    """One connection. Not thread-safe."""

    def __init__(
        self, address: str, opening: bytes = PREFACE + settings(), timeout_s: float = 30, *, is_polite: bool = True
    ) -> None:
        """`opening` is sent at once."""
        host, port = address.rsplit(":", 1)
        self.socket: socket.socket = socket.create_connection((host, int(port)), timeout=timeout_s)
        self.is_polite = is_polite
        self._unread = b""
        self.send(opening)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, *parts: bytes) -> None:
        """Raises OSError when the other side has hung up."""
        self.socket.sendall(b"".join(parts))

    def read(self) -> Frame:
        """The next frame. Raises ConnectionError at the end, TimeoutError when none comes."""
        while len(self._unread) < 9 or len(self._unread) < 9 + int.from_bytes(self._unread[:3]):
            piece = self.socket.recv(1 << 16)
            if not piece:
                raise ConnectionError("closed by the other side")
            self._unread += piece
        end = 9 + int.from_bytes(self._unread[:3])
        found = Frame(self._unread[3], self._unread[4], int.from_bytes(self._unread[5:9]), self._unread[9:end])
        self._unread = self._unread[end:]
        if self.is_polite and found.kind in (SETTINGS, PING) and not found.flags & ACK:
            self.send(frame(found.kind, ACK, 0, found.payload if found.kind == PING else b""))
        return found

    def read_until_end(self, stream: int) -> list[Frame]:
        """The frames of a stream, up to its end or reset."""
        frames: list[Frame] = []
        while True:
            found = self.read()
            if found.stream == stream:
                frames.append(found)
                if found.kind == RESET or (found.kind in (DATA, HEADERS) and found.flags & END_STREAM):
                    return frames

    def read_until_closed(self) -> list[Frame]:
        """What comes until the other side hangs up. Raises TimeoutError when it does not."""
        frames: list[Frame] = []
        while True:
            try:
                frames.append(self.read())
            except ConnectionError:
                return frames
