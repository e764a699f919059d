"""The report as people read it."""

import os

from dkv.bench.load import Tally
from dkv.bench.text import lines
from dkv.bench.workloads import Shape, workload

NAMES = {0: "OK", 8: "ResourceExhausted"}


def tally(*latencies_s: float) -> Tally:
    made = Tally()
    made.latencies_s.extend(latencies_s)
    made.codes[0] = len(latencies_s)
    made.lasted_s = 2.0
    return made


def test_report_of_gets_and_failures_says_it_all() -> None:
    """Figures are of the calls that went well, the count and the rate of all."""
    seen = tally(0.25, 0.5, 0.5)
    seen.codes[8] = 1
    seen.texts["no room"] = 1
    seen.found = 2
    assert (
        "\n".join(lines(workload("GetAll", Shape(batch_keys=4), os.urandom), seen, NAMES.__getitem__))
        == """\
Summary:
  Count:        4
  Total:        2.00 s
  Slowest:      500.00 ms
  Fastest:      250.00 ms
  Average:      416.67 ms
  Requests/sec: 2.00
  Keys found:   2 of 12

Response time histogram:
  250.000 [1] |∎∎∎∎∎∎∎∎∎∎∎∎∎∎∎∎∎∎∎∎
  275.000 [0] |
  300.000 [0] |
  325.000 [0] |
  350.000 [0] |
  375.000 [0] |
  400.000 [0] |
  425.000 [0] |
  450.000 [0] |
  475.000 [0] |
  500.000 [2] |∎∎∎∎∎∎∎∎∎∎∎∎∎∎∎∎∎∎∎∎∎∎∎∎∎∎∎∎∎∎∎∎∎∎∎∎∎∎∎∎

Latency distribution:
  10 % in 250.00 ms
  25 % in 250.00 ms
  50 % in 500.00 ms
  75 % in 500.00 ms
  90 % in 500.00 ms
  95 % in 500.00 ms
  99 % in 500.00 ms

Status code distribution:
  [OK]                  3 responses
  [ResourceExhausted]   1 responses

Error distribution:
  [1]   no room"""
    )


def test_report_of_puts_says_nothing_of_keys_found() -> None:
    """Microseconds where there are less than a millisecond of them."""
    found = lines(workload("Insert", Shape(), os.urandom), tally(80.25e-6), NAMES.__getitem__)
    assert not any("found" in line for line in found)
    assert "  Average:      80.25 µs" in found
    assert f"  0.080 [1] |{'∎' * 40}" in found


def test_report_of_nothing_is_one_all_the_same() -> None:
    """Interrupted before the first answer."""
    assert lines(workload("Insert", Shape(), os.urandom), Tally(), NAMES.__getitem__) == [
        "Summary:",
        "  Count:        0",
        "  Total:        0.00 µs",
        "  Requests/sec: 0.00",
    ]
