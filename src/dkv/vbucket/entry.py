"""Log entries as bytes: a leader's time and a list of commands. Layout in docs/formats/entry.md.

The bytes are in the log of every replica and outlive releases, hence a version, and one spelling for each meaning: what
`decode_entry` accepts, `encode_entry` writes back byte for byte. Every other string of bytes raises Corrupt with the
offset of the field that is wrong; nothing is guessed and nothing is allocated from a count that the bytes only claim.

Encoding refuses what decoding would refuse (InvariantBroken: the services have checked the request before). An entry
that commits and cannot be decoded would stop every replica, for good.
"""

from collections.abc import Callable, Iterator, Sequence
from struct import Struct
from struct import error as struct_error
from typing import overload

from dkv.model.commands import (
    AddSlave,
    Command,
    CompareAndSet,
    Delete,
    DeleteRange,
    MultiPut,
    Put,
    RemoveSlave,
    Restore,
    Session,
    Sweep,
    Tick,
)
from dkv.model.errors import Corrupt, InvariantBroken

VERSION = 1
# Kinds of command. Persisted: do not renumber.
PUT, PUT_EXPIRING, DELETE, DELETE_RANGE, COMPARE_AND_SET, MULTI_PUT, SWEEP, TICK, RESTORE = range(1, 10)
ADD_SLAVE, REMOVE_SLAVE = 10, 11
_RESTORE_KIND = bytes((RESTORE,))
WITH_SESSION = 0x80
"""Persisted. Added to the kind when a session follows it."""
SESSION_BYTES_MAX = 16

_HEAD = Struct(">BBQI")
_PUT, _PUT_EXPIRING = Struct(">BHI"), Struct(">BHIQ")
_NAMED, _DELETE_RANGE, _CAS, _COUNTED = Struct(">BH"), Struct(">BHH"), Struct(">BHIIQ"), Struct(">BI")
_CANDIDATE, _SEQUENCES = Struct(">QH"), Struct(">QQ")
_RESTORE = Struct(">16s32s16sQQ")
# The same bodies without the kind, which the decoder has read by then.
_LENGTHS, _EXPIRING_LENGTHS = Struct(">HI"), Struct(">HIQ")
_KEY, _KEYS, _CAS_LENGTHS, _COUNT = Struct(">H"), Struct(">HH"), Struct(">HIIQ"), Struct(">I")


def encode_entry(log_time: int, commands: Sequence[Command]) -> bytes:
    """One entry. Raises InvariantBroken for what has no encoding (a key above 65,535 bytes, a nested session)."""
    pack_put, pack_lengths = _PUT.pack, _LENGTHS.pack
    try:
        parts = [_HEAD.pack(VERSION, 0, log_time, len(commands))]
        for command in commands:
            if type(command) is Put:
                key, value, expires_at, session = command
                if expires_at:
                    parts += _encode_put(command)
                elif session is None:
                    parts += pack_put(PUT, len(key), len(value)), key, value
                else:
                    parts += _session_head(PUT | WITH_SESSION, session), pack_lengths(len(key), len(value)), key, value
            else:
                if type(command) is Restore and len(commands) > 1:
                    raise InvariantBroken(f"a restore among {len(commands)} commands of an entry")
                parts += _ENCODERS[type(command)](command)
    except (struct_error, KeyError) as problem:
        raise InvariantBroken(f"a command has no encoding: {problem}") from problem
    return b"".join(parts)


def _sessioned(head: bytes, session: Session | None) -> bytes:
    return head if session is None else _session_head(head[0] | WITH_SESSION, session) + head[1:]


def _session_head(kind: int, session: Session) -> bytes:
    """The kind of a command, and its session."""
    name, sequence, lowest = session
    if not 0 < len(name) <= SESSION_BYTES_MAX or sequence < 1:
        raise InvariantBroken(f"session of {len(name)} bytes, sequence {sequence}")
    return b"%c%c%b%b" % (kind, len(name), name, _SEQUENCES.pack(sequence, lowest))


def _encode_put(put: Put) -> tuple[bytes, ...]:
    key, value, expires_at, session = put
    if expires_at:
        head = _PUT_EXPIRING.pack(PUT_EXPIRING, len(key), len(value), expires_at)
    else:
        head = _PUT.pack(PUT, len(key), len(value))
    return _sessioned(head, session), key, value


def _encode_delete(command: Delete) -> tuple[bytes, ...]:
    return _sessioned(_NAMED.pack(DELETE, len(command.key)), command.session), command.key


def _encode_delete_range(command: DeleteRange) -> tuple[bytes, ...]:
    start, end, session = command
    return _sessioned(_DELETE_RANGE.pack(DELETE_RANGE, len(start), len(end)), session), start, end


def _encode_compare_and_set(command: CompareAndSet) -> tuple[bytes, ...]:
    key, expected, value, expires_at, session = command
    head = _CAS.pack(COMPARE_AND_SET, len(key), len(expected), len(value), expires_at)
    return _sessioned(head, session), key, expected, value


def _encode_multi_put(command: MultiPut) -> list[bytes]:
    parts = [_sessioned(_COUNTED.pack(MULTI_PUT, len(command.puts)), command.session)]
    for put in command.puts:
        if put.session is not None:
            raise InvariantBroken("a put inside a MultiPut carries a session of its own")
        parts += _encode_put(put)
    return parts


def _encode_sweep(command: Sweep) -> list[bytes]:
    parts = [_COUNTED.pack(SWEEP, len(command.candidates))]
    for expires_at, key in command.candidates:
        parts += _CANDIDATE.pack(expires_at, len(key)), key
    return parts


def _encode_tick(command: Tick) -> tuple[bytes, ...]:
    return (bytes((TICK,)),)


def _encode_restore(command: Restore) -> tuple[bytes, ...]:
    sizes = len(command.restore_id), len(command.checksum), len(command.history_id)
    if sizes != (16, 32, 16):
        raise InvariantBroken(f"a restore with fields of {sizes} bytes")
    return bytes((RESTORE,)), _RESTORE.pack(*command)


def _encode_add_slave(command: AddSlave) -> tuple[bytes, ...]:
    return _NAMED.pack(ADD_SLAVE, len(command.address)), command.address


def _encode_remove_slave(command: RemoveSlave) -> tuple[bytes, ...]:
    return _NAMED.pack(REMOVE_SLAVE, len(command.address)), command.address


_ENCODERS: dict[type, Callable[..., Sequence[bytes]]] = {
    Delete: _encode_delete,
    DeleteRange: _encode_delete_range,
    CompareAndSet: _encode_compare_and_set,
    MultiPut: _encode_multi_put,
    Sweep: _encode_sweep,
    Tick: _encode_tick,
    Restore: _encode_restore,
    AddSlave: _encode_add_slave,
    RemoveSlave: _encode_remove_slave,
}


def is_restore(data: bytes) -> bool:
    """Whether an entry is a restore: told by one byte, so that every entry can be asked."""
    return data[_HEAD.size : _HEAD.size + 1] == _RESTORE_KIND


def decode_entry(data: bytes) -> tuple[int, list[Command]]:
    """(log time, commands). Raises Corrupt, naming the offset, for all that `encode_entry` does not write."""
    size = len(data)
    if size < _HEAD.size:
        raise Corrupt(f"entry: {size} bytes end inside the head")
    version, flags, log_time, count = _HEAD.unpack_from(data)
    if version != VERSION:
        raise Corrupt(f"entry: version {version} at offset 0 is not known to this release")
    if flags:
        raise Corrupt(f"entry: unknown flags {flags:#x} at offset 1")
    at = _HEAD.size
    lengths = _LENGTHS.unpack_from
    commands: list[Command] = []
    add = commands.append
    try:
        for _ in range(count):
            if at >= size:
                raise Corrupt(f"entry: ends at offset {size}, before command {len(commands)} of {count}")
            if data[at] == PUT:
                key_bytes, value_bytes = lengths(data, at + 1)
                key_at = at + 7
                value_at = key_at + key_bytes
                at = value_at + value_bytes
                add(Put(data[key_at:value_at], data[value_at:at]))
            else:
                command, at = _decode_other(data, at)
                add(command)
            if at > size:
                raise Corrupt(f"entry: ends at offset {size}, inside command {len(commands) - 1}")
    except struct_error:
        raise Corrupt(f"entry: ends at offset {size}, inside the command at offset {at}") from None
    if at != size:
        raise Corrupt(f"entry: {size - at} bytes too many from offset {at}")
    if count > 1 and Restore in map(type, commands):
        raise Corrupt(f"entry: a restore among {count} commands")
    return log_time, commands


class LoggedCommands(Sequence[Command]):
    """The commands of an entry of the log, made when somebody looks at one of them. Raises Corrupt then."""

    def __init__(self, data: bytes) -> None:
        self.data: bytes = data
        self._commands: list[Command] | None = None

    def _all(self) -> list[Command]:
        if self._commands is None:
            _, self._commands = decode_entry(self.data)
        return self._commands

    @overload
    def __getitem__(self, at: int, /) -> Command: ...
    @overload
    def __getitem__(self, at: slice, /) -> Sequence[Command]: ...
    def __getitem__(self, at: int | slice, /) -> Command | Sequence[Command]:
        return self._all()[at]

    def __iter__(self) -> Iterator[Command]:
        return iter(self._all())

    def __len__(self) -> int:
        """As many as the head claims: enough for who only counts."""
        return len(self._commands) if self._commands is not None else _count(self.data)


def _count(data: bytes) -> int:
    """0: there is no head."""
    return int(_HEAD.unpack_from(data)[3]) if len(data) >= _HEAD.size else 0


def _decode_other(data: bytes, at: int) -> tuple[Command, int]:
    """The command at `at` and the offset behind it, which the caller compares with the size."""
    kind_at, kind, session = at, data[at], None
    at += 1
    if kind & WITH_SESSION:
        kind &= ~WITH_SESSION
        session, at = _decode_session(data, at)
    decode = _DECODERS.get(kind)
    if decode is None or (session is not None and kind >= SWEEP):
        raise Corrupt(f"entry: unknown kind of command {data[kind_at]:#x} at offset {kind_at}")
    return decode(data, at, session)


def _decode_session(data: bytes, at: int) -> tuple[Session, int]:
    name_bytes = data[at] if at < len(data) else 0
    end = at + 1 + name_bytes
    sequence, lowest = _SEQUENCES.unpack_from(data, end)
    if not 0 < name_bytes <= SESSION_BYTES_MAX or not sequence:
        raise Corrupt(f"entry: session of {name_bytes} bytes, sequence {sequence}, at offset {at}")
    return Session(data[at + 1 : end], sequence, lowest), end + _SEQUENCES.size


def _decode_put(data: bytes, at: int, session: Session | None) -> tuple[Put, int]:
    key_bytes, value_bytes = _LENGTHS.unpack_from(data, at)
    value_at = at + 6 + key_bytes
    end = value_at + value_bytes
    return Put(data[at + 6 : value_at], data[value_at:end], 0, session), end


def _decode_put_expiring(data: bytes, at: int, session: Session | None) -> tuple[Put, int]:
    key_bytes, value_bytes, expires_at = _EXPIRING_LENGTHS.unpack_from(data, at)
    if not expires_at:
        raise Corrupt(f"entry: an expiring put without an expiry at offset {at + 6}")
    value_at = at + 14 + key_bytes
    end = value_at + value_bytes
    return Put(data[at + 14 : value_at], data[value_at:end], expires_at, session), end


def _decode_delete(data: bytes, at: int, session: Session | None) -> tuple[Delete, int]:
    end = at + 2 + _KEY.unpack_from(data, at)[0]
    return Delete(data[at + 2 : end], session), end


def _decode_delete_range(data: bytes, at: int, session: Session | None) -> tuple[DeleteRange, int]:
    start_bytes, end_bytes = _KEYS.unpack_from(data, at)
    middle = at + 4 + start_bytes
    return DeleteRange(data[at + 4 : middle], data[middle : middle + end_bytes], session), middle + end_bytes


def _decode_compare_and_set(data: bytes, at: int, session: Session | None) -> tuple[CompareAndSet, int]:
    key_bytes, expected_bytes, value_bytes, expires_at = _CAS_LENGTHS.unpack_from(data, at)
    at += _CAS_LENGTHS.size
    expected_at = at + key_bytes
    value_at = expected_at + expected_bytes
    end = value_at + value_bytes
    return CompareAndSet(data[at:expected_at], data[expected_at:value_at], data[value_at:end], expires_at, session), end


def _decode_multi_put(data: bytes, at: int, session: Session | None) -> tuple[MultiPut, int]:
    count = _COUNT.unpack_from(data, at)[0]
    at += 4
    puts: list[Put] = []
    for _ in range(count):
        kind = data[at : at + 1]
        if kind not in (b"\1", b"\2"):
            raise Corrupt(f"entry: not a put inside a MultiPut at offset {at}")
        put, at = (_decode_put if kind == b"\1" else _decode_put_expiring)(data, at + 1, None)
        puts.append(put)
    return MultiPut(tuple(puts), session), at


def _decode_sweep(data: bytes, at: int, session: Session | None) -> tuple[Sweep, int]:
    count = _COUNT.unpack_from(data, at)[0]
    at += 4
    candidates: list[tuple[int, bytes]] = []
    for _ in range(count):
        expires_at, key_bytes = _CANDIDATE.unpack_from(data, at)
        key_at = at + _CANDIDATE.size
        at = key_at + key_bytes
        candidates.append((expires_at, data[key_at:at]))
    return Sweep(tuple(candidates)), at


def _decode_tick(data: bytes, at: int, session: Session | None) -> tuple[Tick, int]:
    return Tick(), at


def _decode_restore(data: bytes, at: int, session: Session | None) -> tuple[Restore, int]:
    return Restore(*_RESTORE.unpack_from(data, at)), at + _RESTORE.size


def _decode_add_slave(data: bytes, at: int, session: Session | None) -> tuple[AddSlave, int]:
    end = at + 2 + _KEY.unpack_from(data, at)[0]
    return AddSlave(data[at + 2 : end]), end


def _decode_remove_slave(data: bytes, at: int, session: Session | None) -> tuple[RemoveSlave, int]:
    end = at + 2 + _KEY.unpack_from(data, at)[0]
    return RemoveSlave(data[at + 2 : end]), end


_DECODERS: dict[int, Callable[[bytes, int, Session | None], tuple[Command, int]]] = {
    PUT: _decode_put,
    PUT_EXPIRING: _decode_put_expiring,
    DELETE: _decode_delete,
    DELETE_RANGE: _decode_delete_range,
    COMPARE_AND_SET: _decode_compare_and_set,
    MULTI_PUT: _decode_multi_put,
    SWEEP: _decode_sweep,
    TICK: _decode_tick,
    RESTORE: _decode_restore,
    ADD_SLAVE: _decode_add_slave,
    REMOVE_SLAVE: _decode_remove_slave,
}
