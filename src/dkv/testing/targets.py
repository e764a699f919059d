"""What hostile bytes are thrown at, one function a target.

A target takes any bytes, and returns. It fails by raising: what its codec does not promise to raise, or AssertionError
when two readings of the same bytes differ. The tests give each a budget of examples; `python -m dkv.testing.fuzz` lets
atheris search with the code's coverage as a guide.
"""

import contextlib
import hashlib
import json
import tempfile
from collections.abc import Callable
from pathlib import Path

from google.protobuf.message import DecodeError, Message

from dkv.client import url
from dkv.model.commands import Outcome
from dkv.model.errors import BackupDamaged, BackupFailed, Corrupt, DkvError, InvalidRequest, InvariantBroken
from dkv.model.limits import Limits
from dkv.services.discovery_node import NodeIdentity
from dkv.services.registry import Services
from dkv.services.turn import Turn, View
from dkv.settings import SettingsError, load, read_ini
from dkv.storage.backup.manifest import decode_manifest
from dkv.vbucket.entry import decode_entry, encode_entry
from dkv.vbucket.metadata import decode_metadata, encode_metadata
from dkv.vbucket.outcomes import decode_outcomes
from dkv.vbucket.rows import decode_expiry_key, decode_row, encode_row, expiry_row_key
from dkv.vbucket.sessions import Sessions
from dkv.vbucket.staging import decode_staged, encode_staged
from dkv.wire import kv, messages, replies
from dkv.wire import peer as frames
from dkv.wire.errors import from_status

SERVICES = Services(Limits(value_bytes_max=50, request_bytes_max=100, reply_bytes_max=60), NodeIdentity(role="master"))
ROWS: list[bytes | None] = [None, b"\x00", b"\x00v", b"\x01" + (5).to_bytes(8, "big") + b"v", b"\x01" + b"\xff" * 8]
TURNS_MAX = 100
"""Enough for a page that is made in slices."""
_FOLDER = tempfile.TemporaryDirectory(prefix="dkv-targets-")


def entry(data: bytes) -> None:
    """An entry of the log is refused, or has one spelling."""
    with contextlib.suppress(Corrupt):
        assert encode_entry(*decode_entry(data)) == data


def rows(data: bytes) -> None:
    """So is a row of a key, and a row of the expiry index."""
    with contextlib.suppress(Corrupt):
        assert encode_row(*decode_row(data)) == data
    with contextlib.suppress(Corrupt):
        assert expiry_row_key(0, *decode_expiry_key(data))[4:] == data[4:]


def metadata(data: bytes) -> None:
    """So is a metadata row of this release, and a staging row. Older rows have one meaning."""
    with contextlib.suppress(Corrupt):
        found = decode_metadata(data)
        assert decode_metadata(encode_metadata(found)) == found
    with contextlib.suppress(Corrupt):
        staged = decode_staged(data)
        assert decode_staged(encode_staged(staged)) == staged


def outcomes(data: bytes) -> None:
    """Outcomes are refused as Corrupt or read."""
    with contextlib.suppress(Corrupt):
        decode_outcomes(data)


def sessions(data: bytes) -> None:
    """So are the rows of sessions: key and row, split at the first byte's value."""
    at = 1 + data[0] if data else 0
    with contextlib.suppress(Corrupt):
        Sessions(12).load([(data[1:at], data[at:])])


def manifest(data: bytes) -> None:
    """The manifest of a backup is the one that was written, or damaged, or newer; also under a checksum that fits."""
    with contextlib.suppress(ValueError, RecursionError):
        fields = json.loads(data)
        if isinstance(fields, dict):
            fields.pop("sha256", None)
            fields["sha256"] = hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()
            data = json.dumps(fields).encode()
    with contextlib.suppress(BackupDamaged, BackupFailed):
        decode_manifest(data, "here")


def wire(data: bytes) -> None:
    """What the hand parsers take, protobuf reads the same from; so it does of what the client reads in a reply."""
    if (key := kv.plain_get_key(data)) is not None:
        assert messages.GetRequest.FromString(data) == messages.GetRequest(key=key)
    if (pair := kv.plain_put(data)) is not None:
        assert messages.PutRequest.FromString(data) == messages.PutRequest(key=pair[0], value=pair[1])
    with contextlib.suppress(replies.MalformedReply):
        got = replies.get(data)
        reply = _parsed(messages.GetResponse, data)
        if isinstance(reply, messages.GetResponse) and got is not None:
            assert (reply.value, reply.expireTS) == (got.value, got.expire_ts)


def _parsed(kind: type[Message], data: bytes) -> Message | None:
    try:
        return kind.FromString(data)
    except DecodeError:
        return None


def peer(data: bytes) -> None:
    """What another node sends is refused, or has one spelling: a message, and the bodies of its parts."""
    with contextlib.suppress(InvalidRequest):
        assert frames.pack(frames.parse(data)) == data
    with contextlib.suppress(InvalidRequest):
        assert frames.pack_calls(*frames.parse_calls(data)) == data
    with contextlib.suppress(InvalidRequest):
        assert frames.pack_answers(frames.parse_answers(data)) == data
    with contextlib.suppress(InvalidRequest):
        assert frames.pack_numbers(*frames.parse_numbers(data)) == data


def status(data: bytes) -> None:
    """The details of a status are an error of ours, whatever they say."""
    assert isinstance(from_status(data[0] if data else 0, "text", data[1:]), DkvError)


def services(data: bytes) -> None:
    """Every call of every method is answered once: a reply, messages, a scan, a reader, a job or a status."""
    method, count = (data[0] % len(SERVICES.methods), 1 + data[1] % 3) if len(data) > 1 else (0, 1)
    size = -(-len(data[2:]) // count)
    sent = [data[2 + at * size : 2 + (at + 1) * size] for at in range(count)]
    turn, call_ids = Turn(10), list(range(1, count + 1))
    SERVICES.accept(method, call_ids, sent, turn)
    for read in turn.reads:
        found = [ROWS[(len(key) + at) % len(ROWS)] for at, key in enumerate(read.keys)]
        read.answer(turn, [found[:1], found[1:]], View(10, 20, b"h" * 16))
    for call_id, answer in zip(turn.command_calls, turn.command_answers, strict=True):
        answer(turn, [call_id], [Outcome(True, 1)], 10)
    SERVICES.forget(call_ids)
    ended = turn.reply_ids + [each[0] for each in turn.finished]
    ended += [scan.call_id for scan in turn.scans] + [reader.call_id for reader in turn.histories]
    ended += [job.call_id for job in turn.jobs]
    streamed = {call_id for call_id, _ in turn.items} - set(ended)
    assert sorted(ended + list(streamed)) == call_ids
    assert len(turn.replies) == len(turn.reply_ids)


def commands(data: bytes) -> None:
    """What the services let through can be encoded, and comes back from the log as it was."""
    turn = Turn(10)
    SERVICES.accept(data[0] % len(SERVICES.methods) if data else 0, [1], [data[1:]], turn)
    try:
        encoded = encode_entry(10, turn.commands)
    except InvariantBroken as problem:
        raise AssertionError("the services let through what the log cannot keep") from problem
    assert decode_entry(encoded) == (10, turn.commands)


def http(data: bytes) -> None:
    """Any request gets a page."""
    method, _, target = data.decode("utf-8", "replace").partition(" ")
    turn = Turn(0)
    SERVICES.accept_http([(1, method, target, b"")], turn)
    for _ in range(TURNS_MAX):
        SERVICES.ops.beat(turn, 0, False)
    SERVICES.forget([1])
    assert len(turn.http) >= 1


def arguments(data: bytes) -> None:
    """Any command line of dkvsrv gives settings, or an error that names what is wrong."""
    with contextlib.suppress(SettingsError):
        load(data.decode("utf-8", "replace").split("\0"), {}, _file("none"))


def environment(data: bytes) -> None:
    """So does any environment."""
    words = data.decode("utf-8", "replace").split("\0")
    names = [f"DKV_{word}" for word in words[::2]]
    with contextlib.suppress(SettingsError):
        load([], dict(zip(names, words[1::2], strict=False)), _file("none"))


def yaml(data: bytes) -> None:
    """So does any configuration file."""
    path = _file("config.yaml")
    path.write_bytes(data)
    with contextlib.suppress(SettingsError):
        load([], {}, path)


def ini(data: bytes) -> None:
    """So does any file of engine options."""
    path = _file("engine.ini")
    path.write_bytes(data)
    with contextlib.suppress(SettingsError):
        read_ini(str(path))


def urls(data: bytes) -> None:
    """Any URL is one of ours or says why not."""
    with contextlib.suppress(InvalidRequest):
        url.parse("dkv://" + data.decode("utf-8", "replace"))


def _file(name: str) -> Path:
    return Path(_FOLDER.name, name)


TARGETS: dict[str, Callable[[bytes], None]] = {
    each.__name__: each
    for each in (
        *(entry, rows, metadata, outcomes, sessions, manifest),
        *(wire, peer, status, services, commands, http),
        *(arguments, environment, yaml, ini, urls),
    )
}
