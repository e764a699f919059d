"""Which vBucket a key lies in: the function by which clients of the original find its shards (COMPATIBILITY 6).

Persisted, in a way: change it, and every key is in the wrong place.
"""

from collections.abc import Sequence

from xxhash import xxh64_intdigest

FIRST_VBUCKET = 1
"""Those of a database are numbered from here on."""
_LOW_BITS = 0xFFFF


def vbucket_of(key: bytes, count: int) -> int:
    """Of `count` vBuckets."""
    return FIRST_VBUCKET + (xxh64_intdigest(key) & _LOW_BITS) % count


def group_by_vbucket(keys: Sequence[bytes], count: int) -> dict[int, list[int]]:
    """The places of the keys, by vBucket."""
    places: dict[int, list[int]] = {}
    for place, key in enumerate(keys):
        places.setdefault(vbucket_of(key, count), []).append(place)
    return places
