"""A point in time as a person writes it: a change number, or a date and time."""

from dataclasses import dataclass
from datetime import datetime

_DIGITS_MAX = 18


@dataclass(frozen=True, slots=True)
class Until:
    """One of both, or neither."""

    change_number: int = 0
    time_ms: int = 0
    """Milliseconds since the Unix epoch."""

    @property
    def is_given(self) -> bool:
        return bool(self.change_number or self.time_ms)


NEVER = Until()


def parse_until(text: str) -> Until:
    """Digits are a change number; all else is ISO 8601, local time unless it names a zone. Raises ValueError."""
    if text.isascii() and text.isdigit() and len(text) <= _DIGITS_MAX and int(text) > 0:
        return Until(change_number=int(text))
    try:
        time_ms = int(datetime.fromisoformat(text).timestamp() * 1000) if not text.isdigit() else 0
    except (ValueError, OverflowError, OSError):
        time_ms = 0
    if time_ms <= 0:
        raise ValueError(f"invalid point in time: {text}, must be a change number from 1 on, or like 2026-01-31T15:00")
    return Until(time_ms=time_ms)
