"""What must be true of every run, whatever its schedule: functions from a history to complaints.

Each names the promise that it guards. They overlap on purpose: a lost write is also not linearizable, but "lost" says
more to the person who has to find out why.
"""

from collections.abc import Iterator, Mapping

from dkv.testing.follower import DELETE, DELETE_RANGE, PUT, Follower, Seen
from dkv.testing.history import Call, Entry, History, Kind, Status
from dkv.testing.levels import highest_before
from dkv.testing.linearizability import Verdict, check


def linearizable(history: History) -> Iterator[str]:
    """Each key's history has an order that explains it."""
    for key, operations in history.by_key().items():
        result = check(operations)
        if result.verdict is not Verdict.LINEARIZABLE:
            stuck = "; ".join(str(tuple(o)) for o in result.stuck[:5])
            yield f"key {key.decode()}: {result.verdict.value}; holding {result.value!r}, no next among {stuck}"


def acknowledged_present(history: History, final: Mapping[bytes, bytes | None]) -> Iterator[str]:
    """The last acknowledged write of each key is there, unless one of unknown outcome, or its expiry, came over it."""
    last: dict[bytes, Call] = {}
    excuses: dict[bytes, set[bytes | None]] = {}
    for call in history.calls:
        for entry in call.entries if call.is_write else ():
            possible = excuses.setdefault(entry.key, set())
            if entry.expires_at:
                possible.add(None)
            if call.has_hidden_number:
                possible.add(call.written(entry))
            elif call.change_numbers and call.change_number > _number(last.get(entry.key)):
                last[entry.key] = call
    for key, call in last.items():
        wanted = _values(call).get(key)
        if final.get(key) != wanted and final.get(key) not in excuses[key]:
            yield f"key {key.decode()}: acknowledged {wanted!r} was lost, found {final.get(key)!r}: {call}"


def change_numbers_whole(history: History, latest: int) -> Iterator[str]:
    """Acknowledged numbers are distinct, in order of real time, and every other one up to `latest` can be explained.

    A missing number must belong to a write of unknown outcome; such a write cannot have taken a number that was
    already passed when it was invoked. Counting both from below finds a gap as soon as no write is left to fill it.
    """
    taken: dict[int, Call] = {}
    for call in history.calls:
        for number in call.change_numbers:
            if number in taken or not 0 < number <= latest:
                yield f"change number {number} of {latest} is wrong or taken twice: {call} and {taken.get(number)}"
            taken[number] = call
    yield from _in_real_time(history)
    yield from _gaps(history, taken, latest)


def batches_whole(history: History, groups: Mapping[bytes, str]) -> Iterator[str]:
    """Keys of one group are only ever written together, with one value: whoever reads them together sees it whole."""
    for call in history.calls:
        if call.kind is not Kind.GET or call.status is not Status.OK:
            continue
        seen: dict[str, set[bytes | None]] = {}
        for entry, value in zip(call.entries, call.seen, strict=True):
            if entry.key in groups:
                seen.setdefault(groups[entry.key], set()).add(value)
        for group, values in seen.items():
            if len(values) > 1:
                yield f"batch seen in part, group {group}: {sorted(map(str, values))}: {call}"


def expired_gone(history: History, final: Mapping[bytes, bytes | None], log_time: int) -> Iterator[str]:
    """At the end nothing is visible whose expiry is at or below the last applied log time."""
    for call in history.calls:
        for entry in call.entries if call.is_write else ():
            if 0 < entry.expires_at <= log_time and final.get(entry.key) == entry.value:
                yield f"key {entry.key.decode()}: visible after its expiry: {call}"


def only_written_values(history: History) -> Iterator[str]:
    """Nobody reads what nobody wrote to that key."""
    written: dict[bytes, set[bytes]] = {}
    for call in history.calls:
        if call.kind in (Kind.PUT, Kind.CAS):
            for entry in call.entries:
                written.setdefault(entry.key, set()).add(entry.value)
    for call in history.calls:
        for entry, value in zip(call.entries, call.seen, strict=False):
            if value is not None and value not in written.get(entry.key, ()):
                yield f"key {entry.key.decode()}: {value!r} was never written: {call}"


def followed(history: History, follower: Follower) -> Iterator[str]:
    """A follower saw every acknowledged change of its prefix that the history had, as it was written, and no other."""
    who = f"follower {follower.number}"
    yield from (f"{who}: {complaint}" for complaint in follower.complaints)
    written = {(entry.key, entry.value) for call in history.calls if call.is_write for entry in call.entries}
    for number, change in follower.seen.items():
        if change.kind == PUT and (change.key, change.value) not in written:
            yield f"{who}: change {number} was never written: {change}"
        if change.kind != DELETE_RANGE and not change.key.startswith(follower.prefix):
            yield f"{who}: change {number} is not of its prefix: {change}"
    for call in history.calls:
        for number, entry in zip(call.change_numbers, call.entries, strict=False):
            if any(number in covered for covered in follower.covered):
                wanted = call.kind is not Kind.RESTORE and entry.key.startswith(follower.prefix)
                if not _is_as_written(call, entry, follower.seen.get(number), wanted):
                    yield f"{who}: change {number} was sent as {follower.seen.get(number)}: {call}"


def _is_as_written(call: Call, entry: Entry, seen: Seen | None, is_wanted: bool) -> bool:
    if seen is None or not is_wanted:
        return seen is None and not is_wanted
    if call.kind is Kind.DELETE:
        return seen.key == entry.key if seen.kind == DELETE else seen.key <= entry.key < seen.end
    is_expiry_right = bool(entry.ttl_ms) or seen.expire_ts == entry.expires_at // 1000
    return (seen.kind, seen.key, seen.value) == (PUT, entry.key, entry.value) and is_expiry_right


def _number(call: Call | None) -> int:
    return 0 if call is None else call.change_number


def _values(call: Call) -> dict[bytes, bytes | None]:
    return {entry.key: call.written(entry) for entry in call.entries}


def _in_real_time(history: History) -> Iterator[str]:
    """A write that returned before another was invoked has the lower number."""
    passed = _passed(history)
    for call in history.calls:
        if call.change_numbers and call.change_numbers[0] <= passed[call.number]:
            yield f"change number is not above {passed[call.number]}, which was acknowledged before: {call}"


def _passed(history: History) -> list[int]:
    """Per call, the highest number that had been acknowledged when it was invoked."""
    return highest_before(history.calls, lambda call: call.change_number if call.change_numbers else 0)


def _gaps(history: History, taken: Mapping[int, Call], latest: int) -> Iterator[str]:
    passed = _passed(history)
    unknown = [call for call in history.calls if call.has_hidden_number]
    fillers = sorted((passed[call.number] + 1 for call in unknown for _ in range(call.number_count)), reverse=True)
    free = 0
    for number in (n for n in range(1, latest + 1) if n not in taken):
        while fillers and fillers[-1] <= number:
            fillers.pop()
            free += 1
        if free == 0:
            yield f"change number {number} of {latest} belongs to no write"
            return
        free -= 1
