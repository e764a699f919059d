"""How much of a file's key range lies within another range, guessed from the bytes. For size estimates only."""

_BYTES_COMPARED = 16
"""Spaces are 4 bytes; the rest tells keys of one space apart."""


def covered_share(first: bytes, last: bytes, start: bytes, end: bytes) -> float:
    """The share, 0 to 1, of keys in [first, last] that fall in [start, end), if keys were spread evenly."""
    if end <= first or start > last or start >= end:
        return 0.0
    if start <= first and last < end:
        return 1.0
    shared = _shared_prefix(first, last)
    low, high = _as_number(first, shared), _as_number(last, shared)
    from_number = low if start <= first else _as_number(start, shared)
    to_number = high if end > last else _as_number(end, shared)
    return min(1.0, max(0.0, (to_number - from_number) / max(1, high - low)))


def _shared_prefix(first: bytes, last: bytes) -> int:
    for index, (left, right) in enumerate(zip(first, last, strict=False)):
        if left != right:
            return index
    return min(len(first), len(last))


def _as_number(key: bytes, skip: int) -> int:
    return int.from_bytes(key[skip : skip + _BYTES_COMPARED].ljust(_BYTES_COMPARED, b"\0"), "big")
