"""The write batches that slaves of the original write as they are, read by RocksDB itself.

The batches of GetChanges become the write-ahead log of a folder, and RocksDB recovers it: it checks every record and
the count of each batch, as the slave's engine does. A batch that is wrong makes the folder unopenable.
"""

import struct
from collections.abc import Callable, Sequence
from pathlib import Path

import msgpack
import pytest
from rocksdict import Options, Rdict

from dkv.model.commands import Delete, DeleteRange, Put
from dkv.wire.write_batch import BEHIND_ALL_KEYS, ttl_value, write_batch

NEVER = 2**64 - 1
BLOCK_BYTES = 32 << 10
FULL, FIRST, MIDDLE, LAST = 1, 2, 3, 4
GOLDEN = {
    "0700000000000000 01000000 05 01 01 6b 12 82a174cf ffffffffffffffff a164 c402 7631": write_batch(
        7, [(Put(b"k", b"v1"), 0)]
    ),
    "0800000000000000 01000000 05 01 01 6b 10 82a174cf 00000000075bcd15 a164 c400": write_batch(
        8, [(Put(b"k", b""), 123_456_789)]
    ),
    "0900000000000000 01000000 04 01 01 6b": write_batch(9, [(Delete(b"k"), 0)]),
    "0a00000000000000 01000000 0e 01 01 61 01 62": write_batch(10, [(DeleteRange(b"a", b"b"), 0)]),
    "0b00000000000000 02000000 04 01 01 61 04 01 01 62": write_batch(11, [(Delete(b"a"), 0), (Delete(b"b"), 0)]),
}


@pytest.mark.parametrize("golden", GOLDEN)
def test_write_batch_has_the_bytes_of_the_table(golden: str) -> None:
    """COMPATIBILITY 1.4, encoding `single`, by hand."""
    assert GOLDEN[golden] == bytes.fromhex(golden)


@pytest.mark.parametrize("size", [0, 1, 255, 256, 65_535, 65_536])
@pytest.mark.parametrize("expire_ts", [0, 1, 1_700_000_000, NEVER])
def test_value_is_a_msgpack_map_of_time_and_data(size: int, expire_ts: int) -> None:
    """Read by msgpack's own library."""
    assert msgpack.unpackb(ttl_value(bytes(size), expire_ts)) == {"t": expire_ts, "d": bytes(size)}


def test_rocksdb_recovers_what_the_batches_say(tmp_path: Path) -> None:
    """Puts with and without expiry, of every size of value; deletes, a multi-put, and ranges with and without end."""
    large = bytes(range(256)) * 300
    batches = [
        write_batch(1, [(Put(b"plain", b"v"), 0)]),
        write_batch(2, [(Put(b"expiring", b"v"), 1_700_000_000)]),
        write_batch(3, [(Put(b"empty", b""), 0), (Put(b"large", large), 0), (Put(b"a1", b"x"), 0)]),
        write_batch(6, [(Delete(b"plain"), 0)]),
        write_batch(7, [(DeleteRange(b"a", b"b"), 0)]),
        write_batch(8, [(Put(b"z", b"x"), 0), (Put(b"\xff" * 300, b"x"), 0)]),
        write_batch(10, [(DeleteRange(b"z", b""), 0)]),
        write_batch(11, [(DeleteRange(b"q", b"q"), 0), (DeleteRange(b"r", b"q"), 0)]),
    ]
    plain, ttl = recovered(tmp_path, batches)
    assert plain == {}
    assert {key: msgpack.unpackb(value) for key, value in ttl.items()} == {
        b"expiring": {"t": 1_700_000_000, "d": b"v"},
        b"empty": {"t": NEVER, "d": b""},
        b"large": {"t": NEVER, "d": large},
    }


@pytest.mark.parametrize(
    "damage",
    [
        lambda batch: batch[:8] + b"\2\0\0\0" + batch[12:],
        lambda batch: batch[:12] + b"\x7f" + batch[13:],
        lambda batch: batch[:-1],
    ],
    ids=["count", "tag", "short"],
)
def test_rocksdb_refuses_a_wrong_batch(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    """Or the test above would prove nothing."""
    with pytest.raises(Exception, match=r"Corruption|Invalid"):
        recovered(tmp_path, [damage(write_batch(1, [(Put(b"k", b"v"), 0)]))])


def test_end_of_an_open_range_is_behind_every_key() -> None:
    """The longest key of the largest bytes is still before it."""
    assert BEHIND_ALL_KEYS > b"\xff" * 65_000


Rows = dict[bytes, bytes]


def recovered(folder: Path, batches: Sequence[bytes]) -> tuple[Rows, Rows]:
    """The rows of the two families of a folder whose write-ahead log has these batches."""
    database = open_database(folder)
    database.close()
    (log,) = folder.glob("*.log")
    log.write_bytes(log_of(batches))
    database = open_database(folder)
    try:
        return dict(database.items()), dict(database.get_column_family("ttl").items())
    finally:
        database.close()


def open_database(folder: Path) -> Rdict:
    options = Options(raw_mode=True)
    options.create_if_missing(True)
    options.create_missing_column_families(True)
    return Rdict(str(folder), options, column_families={"ttl": Options(raw_mode=True)})


def log_of(batches: Sequence[bytes]) -> bytes:
    """RocksDB's log format: blocks of 32 KiB, each piece of a record with checksum, length and type in front."""
    log = bytearray()
    for batch in batches:
        left, is_first = batch, True
        while left or is_first:
            room = BLOCK_BYTES - len(log) % BLOCK_BYTES
            if room <= 7:
                log += bytes(room)
                continue
            piece, left = left[: room - 7], left[room - 7 :]
            kind = (FULL if is_first else LAST) if not left else FIRST if is_first else MIDDLE
            log += struct.pack("<IHB", masked_crc32c(bytes((kind,)) + piece), len(piece), kind) + piece
            is_first = False
    return bytes(log)


def masked_crc32c(data: bytes) -> int:
    crc = 0xFFFFFFFF
    for byte in data:
        crc = CRC_TABLE[(crc ^ byte) & 0xFF] ^ crc >> 8
    crc ^= 0xFFFFFFFF
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def crc_of(byte: int) -> int:
    for _ in range(8):
        byte = byte >> 1 ^ (0x82F63B78 if byte & 1 else 0)
    return byte


CRC_TABLE = [crc_of(byte) for byte in range(256)]
