"""A history of several vBuckets, taken apart into one of each: numbers, levels and batches are promises of a vBucket.

A call that several have a part in is a call in each, with its own keys: of what they did together nothing was promised.
"""

from collections.abc import Mapping
from dataclasses import replace

from dkv.testing.history import Call, Entry, History, Kind
from dkv.vbucket.routing import FIRST_VBUCKET, vbucket_of


def per_vbucket(history: History, count: int) -> Mapping[int, History]:
    """By vBucket; the events keep their places."""
    parts = {vbucket: History(expired=history.expired) for vbucket in range(FIRST_VBUCKET, FIRST_VBUCKET + count)}
    for call in history.calls:
        for vbucket, part in parts.items():
            places = [at for at, entry in enumerate(call.entries) if vbucket_of(entry.key, count) == vbucket]
            if places or call.is_spread:
                applied = call.applied_in.get(vbucket, call.applied)
                part.calls.append(replace(_part(call, places, len(part.calls)), applied=applied))
    return parts


def _part(call: Call, places: list[int], number: int) -> Call:
    if len(places) == len(call.entries):
        return replace(call, number=number)
    entries: tuple[Entry, ...] = tuple(call.entries[at] for at in places)
    seen = tuple(call.seen[at] for at in places) if call.kind is Kind.GET and call.seen else ()
    return replace(call, number=number, entries=entries, seen=seen)
