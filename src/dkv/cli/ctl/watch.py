"""`dkvctl watch`: changes as they come, one a line, until Ctrl-C or as many as --limit says.

    12 put k => v
    13 delete k
    14 delete-range a to b

Where several vBuckets are followed, each with numbers of its own, theirs comes first: `3/12 put k => v`.

Keys and values go out as the bytes they are, as with iter; what has to be told apart without fail is told by --json.
"""

from itertools import islice

from dkv.cli.ctl.invocation import Session
from dkv.client.changes import Change, ChangeKind


def watch(session: Session, words: list[bytes]) -> None:
    """Each line is out before the next change is waited for."""
    prefix = words[0] if words and words[0].strip() != b"*" else b""
    changes = session.client.changes(session.options.first, prefix=prefix, vbucket=session.options.vbucket)
    try:
        for change in islice(changes, session.options.limit or None):
            number = f"{change.vbucket}/{change.number}" if changes.follows_several else str(change.number)
            session.result(_fields(change), number, *_words(change))
            session.out.flush()
    except KeyboardInterrupt:
        pass


def _words(change: Change) -> list[bytes | str]:
    match change.kind:
        case ChangeKind.PUT:
            return [" put ", change.key, b" => ", change.value]
        case ChangeKind.DELETE:
            return [" delete ", change.key]
        case ChangeKind.DELETE_RANGE:
            return [" delete-range ", change.key, " to ", change.end_key or b""]


def _fields(change: Change) -> dict[str, object]:
    fields: dict[str, object] = {"changeNumber": change.number, "kind": change.kind.name, "key": change.key}
    match change.kind:
        case ChangeKind.PUT:
            fields |= {"value": change.value, "expireTS": change.expires_at or 0}
        case ChangeKind.DELETE_RANGE:
            fields |= {"endKey": change.end_key or b""}
    return fields | {"logTime": change.time_ms, "historyId": change.history_id.hex(), "vBucket": change.vbucket}
