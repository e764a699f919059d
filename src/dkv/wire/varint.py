"""Base-128 varints, as protobuf writes lengths and numbers."""

from functools import lru_cache


@lru_cache(maxsize=8192)
def varint(number: int) -> bytes:
    """`number` >= 0, seven bits a byte, least significant first, all but the last with the high bit set."""
    encoded = bytearray()
    while number > 0x7F:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)


def tag(field_number: int, wire_type: int) -> bytes:
    """What stands before a field: wire type 0 is a varint, 2 is length and bytes."""
    return varint(field_number << 3 | wire_type)
