"""Numbers as people read them."""

import pytest

from dkv.cli.ctl.units import bytes_text, count_text, latency_text, span_text


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (1536, "1.5 KiB"), (102_350, "100 KiB"), (1 << 20, "1.0 MiB"),
     ((1 << 20) - 1, "1.0 MiB"), (103 << 30, "103 GiB"), (1 << 50, "1.0 PiB"), (1 << 62, "4096 PiB")],
)  # fmt: skip
def test_bytes_have_a_unit_and_few_digits(count: int, text: str) -> None:
    """Never four digits before a unit that has a next one."""
    assert bytes_text(count) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0.00 ms"), (0.000_08, "0.08 ms"), (0.009_9, "9.90 ms"), (0.012, "12 ms"), (0.999, "999 ms"), (1.5, "1.5 s")],
)
def test_latency_is_read_in_milliseconds(seconds: float, text: str) -> None:
    """From a second on in seconds."""
    assert latency_text(seconds) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.9, "0 s"), (59, "59 s"), (60, "1 min 0 s"), (3_599, "59 min 59 s"), (7_260, "2 h 1 min"), (187_200, "2 d 4 h")],
)
def test_span_has_its_two_largest_parts(seconds: float, text: str) -> None:
    """Rounded down."""
    assert span_text(seconds) == text


def test_count_has_commas() -> None:
    """Rounded to a whole."""
    assert count_text(1234567.6) == "1,234,568"
