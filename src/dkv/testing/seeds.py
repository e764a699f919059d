"""What a search begins with: for each target some bytes that mean something, so that changes of them do, too."""

import json

from dkv.model.backups import BackupFacts
from dkv.model.commands import CompareAndSet, Delete, DeleteRange, MultiPut, Put, Session, Sweep, Tick
from dkv.model.errors import LimitExceeded, Overloaded
from dkv.storage.backup.manifest import BackupFile, Manifest, encode_manifest
from dkv.testing.targets import SERVICES
from dkv.vbucket.entry import encode_entry
from dkv.vbucket.metadata import Metadata, encode_metadata
from dkv.vbucket.outcomes import EntryOutcomes, encode_outcomes
from dkv.vbucket.rows import encode_row
from dkv.vbucket.staging import Staged, encode_staged
from dkv.wire import messages as wire
from dkv.wire import peer
from dkv.wire.errors import to_details

_TEXTS = {
    "arguments": ["--role\0none", "-dbFolder\0/x", "--db-folder=\0", "-v\0--config\0", "--log-level=debug", "--x", "-"],
    "environment": ["ROLE\0none\0LOG_LEVEL\0debug", "LISTEN_ADDR\0:0", "VERBOSE\0yes", "BLOCK_CACHE_SIZE\0" + "9" * 99],
    "yaml": [
        "role: none\nlisten-addr: '[::1]:80'\n",
        "a: &a [*a]",
        "? [1]\n: 2",
        "{role: {x: 1}}",
        "- a",
        "\0",
        "1: .inf",
    ],
    "ini": ["a = b # c\n[x]\nd: 'e'", "= b", "[x", "a = '''", "\ufeffa=b"],
    "urls": ["h:1?timeout=2s", "[::1]:99999", "h?timeout=1e999s", "/path/of/socket", "h?a=b&a=c", "u@h#f"],
    "http": ["GET /metrics?x=1", "HEAD /healthz", "POST /", "GET //[", "GET http://[x", "GET /metrics/json"],
}
_PUT = Put(b"k", b"v", 9, Session(b"s", 1, 0))
_FACTS = BackupFacts(1, 4, 5, 6, 7, 8, b"h" * 16)
_MANIFEST = encode_manifest(Manifest("rocksdb", "2026-01-01T00:00:00Z", (_FACTS,), (BackupFile("a.sst", 1, "0" * 64),)))
_REQUESTS = (
    wire.PutRequest(key=b"k", value=b"v", expireTS=1, session=b"s", sequence=1),
    wire.MultiPutRequest(putRequest=[wire.PutRequest(key=b"k", value=b"v", ttlMs=1)]),
    wire.MultiGetRequest(keys=[b"a", b"b"], minChangeNumber=1),
    wire.IterateRequest(keyPrefix=b"k", startKey=b"kk", limit=1, reverse=True),
    wire.ServerReflectionRequest(file_containing_symbol="dkv.serverpb.DKV"),
    wire.StreamChangesRequest(fromChangeNumber=1, historyId=b"h" * 16),
    wire.StreamChangesRequest(positions=[wire.FeedPosition(vBucket=1, nextChangeNumber=2, historyId=b"h" * 16)]),
)

SEEDS: dict[str, list[bytes]] = {
    **{name: [text.encode() for text in texts] for name, texts in _TEXTS.items()},
    "entry": [
        encode_entry(7, [Put(b"k", b"v"), _PUT, Delete(b"k"), DeleteRange(b"a", b"b"), Tick()]),
        encode_entry(7, [CompareAndSet(b"k", b"a", b"b", 1), MultiPut((Put(b"k", b""),)), Sweep(((1, b"k"),))]),
    ],
    "rows": [encode_row(b"v", 0), encode_row(b"v", 1 << 60)],
    "metadata": [
        encode_metadata(Metadata(1, 2, 4, 5, 6, 7, 8, 9, b"h" * 16, ([2], [], [], [], False))),
        encode_staged(Staged(b"r" * 16, 4, b"c" * 32, 5, 6)),
    ],
    "outcomes": [encode_outcomes(EntryOutcomes(1, 2, 5, 7))],
    "sessions": [b"\x0e" + b"\0\0\0\x0f\x01s" + bytes(8) + bytes(33)],
    "manifest": [json.dumps(json.loads(_MANIFEST)).encode(), b'{"format": 1e999}', b"[" * 99, b'{"format": "x"}'],
    "wire": [request.SerializeToString() for request in _REQUESTS]
    + [wire.GetResponse(status=wire.Status(), value=b"v", found=True, expireTS=1).SerializeToString()],
    "peer": [
        peer.pack([(peer.Kind.RAFT, 1, b"raft"), (peer.Kind.READ_INDEX, 2, peer.pack_number(3))]),
        peer.pack_calls("/dkv.serverpb.DKV/Put", 7, [b"\x0a\x01k", b""]),
        peer.pack_answers([peer.Answer(7, 0, -1, b"", b"reply"), peer.Answer(8, 8, 100, b"full", b"")]),
        peer.pack_numbers(3, 4),
    ],
    "status": [b"\x03" + to_details(LimitExceeded("keys", 1, 2, 0)), b"\x08" + to_details(Overloaded("full", 5))],
    "services": [
        bytes((method, 0)) + request.SerializeToString()
        for method in range(len(SERVICES.methods))
        for request in _REQUESTS
    ],
    "commands": [
        bytes((method,)) + request.SerializeToString()
        for method in range(len(SERVICES.methods))
        for request in _REQUESTS
    ],
}
"""By name of the target."""
