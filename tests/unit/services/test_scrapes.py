"""The text of /metrics, made in slices."""

from collections.abc import Iterator

from prometheus_client.core import GaugeMetricFamily, Metric

from dkv.services.scrapes import SLICE_SAMPLES, Scrapes
from dkv.services.turn import Turn


class Source:
    """Counts how many families were read."""

    def __init__(self, families: int) -> None:
        self.families, self.read = families, 0

    def collect(self) -> Iterator[Metric]:
        for number in range(self.families):
            self.read += 1
            yield GaugeMetricFamily(f"m{number}", "text", value=number)


def beat(scrapes: Scrapes, is_closing: bool = False) -> dict[int, bytes]:
    """The texts of one turn, by caller."""
    turn = Turn(0)
    scrapes.beat(turn, is_closing)
    assert all((status, more) == (200, False) for _, status, _, _, more in turn.http)
    return {call_id: body for call_id, _, _, body, _ in turn.http}


def test_text_is_made_in_slices_of_bounded_work() -> None:
    """A turn reads no more than a slice, and the text is whole in the end."""
    source = Source(2 * SLICE_SAMPLES + 1)
    scrapes = Scrapes(source.collect)
    assert not scrapes.has_work
    scrapes.open(7)
    reads, texts = [], {}
    while scrapes.has_work:
        texts = beat(scrapes)
        reads.append(source.read)
    assert reads == [SLICE_SAMPLES, 2 * SLICE_SAMPLES, 2 * SLICE_SAMPLES + 1]
    assert texts[7].count(b"# TYPE") == 2 * SLICE_SAMPLES + 1


def test_callers_of_one_turn_share_a_text_and_later_ones_the_next() -> None:
    """Nobody gets numbers from before they asked; a hundred scrapers cost two texts."""
    source = Source(SLICE_SAMPLES + 1)
    scrapes = Scrapes(source.collect)
    scrapes.open(1)
    scrapes.open(2)
    assert beat(scrapes) == {}
    scrapes.open(3)
    scrapes.open(4)
    assert list(beat(scrapes)) == [1, 2]
    assert beat(scrapes) == {}
    assert list(beat(scrapes)) == [3, 4]
    assert source.read == 2 * (SLICE_SAMPLES + 1)


def test_text_that_ends_with_a_full_slice_is_answered() -> None:
    """There is no slice behind it, and nobody waits for one."""
    scrapes = Scrapes(Source(SLICE_SAMPLES).collect)
    scrapes.open(1)
    assert beat(scrapes) == {}
    assert list(beat(scrapes)) == [1]
    assert not scrapes.has_work


def test_closing_server_answers_all_at_once() -> None:
    """Also those who wait for the next text."""
    scrapes = Scrapes(Source(5 * SLICE_SAMPLES).collect)
    scrapes.open(1)
    beat(scrapes)
    scrapes.open(2)
    assert list(beat(scrapes, is_closing=True)) == [1, 2]


def test_nothing_to_say_is_an_empty_text() -> None:
    """A scrape never fails because a part is missing."""
    scrapes = Scrapes(Source(0).collect)
    scrapes.open(1)
    assert beat(scrapes) == {1: b""}
