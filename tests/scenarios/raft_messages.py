"""Raft's messages as a person reads them: protobuf (eraftpb.proto of raft 0.7), opaque to the server's Python."""

from typing import NamedTuple

KINDS = (
    *("Hup", "Beat", "Propose", "Append", "AppendResponse", "Vote", "VoteResponse", "Snapshot", "Heartbeat"),
    *("HeartbeatResponse", "Unreachable", "SnapshotStatus", "CheckQuorum", "TransferLeader", "TimeoutNow"),
    *("ReadIndex", "ReadIndexResponse", "PreVote", "PreVoteResponse"),
)
"""By number."""
ENTRY_KINDS = ("", "conf ", "conf ")


class Fields(NamedTuple):
    """Values by field number; the last of a number that is not repeated counts."""

    numbers: dict[int, int]
    bytes: dict[int, list[bytes]]

    def number(self, field: int) -> int:
        return self.numbers.get(field, 0)


def varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at


def fields(data: bytes) -> Fields:
    """Varints and length-delimited fields: Raft's messages have no others."""
    found, at = Fields({}, {}), 0
    while at < len(data):
        tag, at = varint(data, at)
        value, at = varint(data, at)
        if tag & 7:
            found.bytes.setdefault(tag >> 3, []).append(data[at : at + value])
            at += value
        else:
            found.numbers[tag >> 3] = value
    return found


def entry_text(index: int, term: int, kind: int, data: bytes) -> str:
    return f"{term}/{index} {ENTRY_KINDS[kind]}" + ("change" if kind else data.decode() or "(empty)")


def message_text(data: bytes) -> str:
    """`1->2 Append term 2 after 1/1 commit 1 [2/2 (empty)]`; positions are term/index."""
    message = fields(data)
    number = message.number
    parts = [f"{number(3)}->{number(2)} {KINDS[number(1)]} term {number(4)}"]
    kind = KINDS[number(1)]
    if kind in ("Append", "Vote", "PreVote"):
        parts.append(f"after {number(5)}/{number(6)}" if kind == "Append" else f"log {number(5)}/{number(6)}")
    if kind == "AppendResponse":
        parts.append(f"{'rejects' if number(10) else 'has'} {number(6)}")
    elif number(10):
        parts.append("rejects")
    if kind in ("Append", "Heartbeat") and number(8):
        parts.append(f"commit {number(8)}")
    if context := message.bytes.get(12, [b""])[-1]:
        is_question = kind in ("Heartbeat", "HeartbeatResponse")
        parts.append(f"context {(context[:-1] if is_question else context).decode(errors='replace')}")
        if is_question and context[-1]:
            parts.append("for a vow")
    if entries := [fields(entry) for entry in message.bytes.get(7, [])]:
        texts = [entry_text(e.number(3), e.number(2), e.number(1), e.bytes.get(4, [b""])[-1]) for e in entries]
        parts.append(f"[{', '.join(texts)}]")
    return " ".join(parts)
