"""Numbers as people read them: at most five signs and a unit."""

_BYTE_UNITS = ("KiB", "MiB", "GiB", "TiB", "PiB")
_SPANS = ((86_400, "d", 3_600, "h"), (3_600, "h", 60, "min"), (60, "min", 1, "s"))


def bytes_text(count: float) -> str:
    """Such as 12 B, 1.5 KiB, 103 GiB."""
    if count < 1024:
        return f"{count:.0f} B"
    for unit in _BYTE_UNITS:
        count /= 1024
        if count < 1023.5 or unit == _BYTE_UNITS[-1]:
            break
    return f"{count:.1f} {unit}" if count < 99.95 else f"{count:.0f} {unit}"


def count_text(count: float) -> str:
    """Whole, with commas."""
    return f"{count:,.0f}"


def latency_text(seconds: float) -> str:
    """Such as 0.08 ms, 12 ms, 1.5 s."""
    if seconds < 0.009_95:
        return f"{seconds * 1000:.2f} ms"
    return f"{seconds * 1000:.0f} ms" if seconds < 0.999_5 else f"{seconds:.1f} s"


def span_text(seconds: float) -> str:
    """Such as 5 s, 3 min 20 s, 2 d 4 h."""
    whole = int(seconds)
    for length, unit, part, part_unit in _SPANS:
        if whole >= length:
            return f"{whole // length} {unit} {whole % length // part} {part_unit}"
    return f"{whole} s"
