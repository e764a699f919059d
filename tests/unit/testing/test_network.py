"""The simulated network keeps the promises of the port to other nodes, and breaks every other one."""

from random import Random

from dkv.testing.clock import SimClock
from dkv.testing.network import (
    BULK_BYTES_MAX,
    LINK_NOTICE_MS,
    QUEUE_BYTES_MAX,
    STRAY_DELAY_MS_MAX,
    Network,
    SimulatedPeers,
    Weather,
)
from dkv.testing.partitions import between
from dkv.wire.peer import Kind, pack


def pair(weather: Weather | None = None, seed: int = 1) -> tuple[Network, SimulatedPeers, SimulatedPeers]:
    """Two nodes that know each other."""
    network = Network(Random(seed), weather=weather or Weather())
    one, two = network.attach(1, SimClock()), network.attach(2, SimClock())
    one.know(2, "two")
    two.know(1, "one")
    return network, one, two


def arriving(network: Network, peers: SimulatedPeers, ms: int) -> list[bytes]:
    """Whatever reaches a node, as the time passes."""
    found: list[bytes] = []
    for _ in range(ms):
        network.now_ms += 1
        found += [message for _, message in peers.receive()]
    return found


def numbered(count: int) -> list[bytes]:
    return [b"%d" % i for i in range(count)]


def test_messages_of_a_lane_arrive_once_in_order() -> None:
    """Whatever the delays, while the stream lives."""
    network, one, two = pair(Weather(delay_ms_max=50))
    one.send([(2, message) for message in numbered(40)])
    assert arriving(network, two, 3_000) == numbered(40)


def test_message_does_not_arrive_before_its_time() -> None:
    """A delay is a delay: something is still under way at the moment of sending."""
    _, one, two = pair(Weather(delay_ms_max=50))
    one.send([(2, message) for message in numbered(40)])
    assert len(two.receive()) < 40


def test_lossy_weather_loses_some_and_keeps_the_order_of_the_rest() -> None:
    """What arrives is a part of what was sent."""
    network, one, two = pair(Weather(loss=0.3))
    one.send([(2, message) for message in numbered(100)])
    found = arriving(network, two, 1_000)
    assert 0 < len(found) < 100
    assert found == sorted(found, key=int)


def test_cut_direction_is_silent_and_the_other_is_not() -> None:
    """A one-way cut."""
    network, one, two = pair()
    network.cut(frozenset([(1, 2)]))
    one.send([(2, b"lost")])
    two.send([(1, b"heard")])
    assert arriving(network, two, 100) == []
    assert arriving(network, one, 100) == [b"heard"]


def test_messages_behind_a_cut_arrive_or_are_lost_when_it_heals() -> None:
    """Both happen, by the seed; a stream that lives brings all, one that broke brings none of what it held."""
    counts = set()
    for seed in range(20):
        network, one, two = pair(Weather(arrives_late=0.0), seed)
        network.cut(between([1], [2]))
        one.send([(2, message) for message in numbered(5)])
        network.cut(frozenset())
        counts.add(len(arriving(network, two, 1_000)))
    assert counts == {0, 5}


def test_broken_stream_may_deliver_late_twice_and_out_of_order() -> None:
    """Only then: this is what receivers have to stand."""
    network, one, two = pair(Weather(arrives_late=1.0, arrives_twice=0.5))
    sent = [pack([(Kind.RAFT, i, b"")]) for i in range(31)]
    one.send([(2, message) for message in sent[:30]])
    network.break_stream()
    one.send([(2, sent[30])])
    found = arriving(network, two, STRAY_DELAY_MS_MAX + 1)
    assert set(found) == set(sent)
    assert len(found) > 31
    assert found != sorted(found)


def test_call_that_was_handed_over_never_arrives_twice() -> None:
    """That is what the port promises."""
    network, one, two = pair(Weather(arrives_late=1.0, arrives_twice=1.0))
    one.send([(2, pack([(Kind.RAFT, 1, b""), (Kind.CALLS, 1, b"")]))])
    network.break_stream()
    assert len(arriving(network, two, STRAY_DELAY_MS_MAX + 1)) == 1


def test_process_that_ends_loses_what_it_had_not_taken() -> None:
    """What was on the wire to it is gone; its successor knows nothing of it."""
    network, one, two = pair(Weather(arrives_late=0.0))
    one.send([(2, b"m")])
    network.now_ms += 100
    network.detach(2)
    two = network.attach(2, SimClock())
    two.know(1, "one")
    assert arriving(network, two, 100) == []
    one.send([(2, b"n")])
    assert arriving(network, two, 100) == [b"n"]


def test_process_that_ends_loses_what_it_had_not_sent() -> None:
    """Behind a cut its queue is its own memory."""
    network, one, two = pair(Weather(arrives_late=0.0))
    network.cut(between([1], [2]))
    one.send([(2, b"m")])
    network.detach(1)
    network.cut(frozenset())
    assert arriving(network, two, 100) == []


def test_queue_of_a_node_that_takes_nothing_drops_the_oldest() -> None:
    """It is bounded, and the newest is what a node wants to hear."""
    network, one, two = pair()
    network.cut(between([1], [2]))
    for i in range(100):
        one.send([(2, bytes([i]) * (QUEUE_BYTES_MAX // 10))])
    assert one.links()[2].queued_bytes == 0, "not looked at yet"
    two.receive()
    one.receive()
    assert 0 < one.links()[2].queued_bytes <= QUEUE_BYTES_MAX
    network.cuts = frozenset()
    found = arriving(network, two, 100)
    assert [message[0] for message in found] == list(range(90, 100))


def test_bulk_is_refused_without_room_and_does_not_delay_small_messages() -> None:
    """A full bulk lane takes nothing more, and a heartbeat overtakes it."""
    network, one, two = pair()
    assert one.send_bulk(2, bytes(BULK_BYTES_MAX))
    assert not one.send_bulk(2, b"more")
    one.send([(2, b"heartbeat")])
    found = arriving(network, two, 1_000)
    assert [len(message) for message in found] == [len(b"heartbeat"), BULK_BYTES_MAX]
    assert one.send_bulk(2, b"more")


def test_unknown_node_is_not_sent_to_and_not_heard() -> None:
    """Nothing passes between nodes that do not know each other, nor after one was forgotten."""
    network, one, two = pair()
    one.send([(3, b"m")])
    assert not one.send_bulk(3, b"m")
    two.forget(1)
    one.send([(2, b"m")])
    assert arriving(network, two, 100) == []
    assert two.links() == {}


def test_links_tell_a_change_after_a_while() -> None:
    """A link is down at first, up soon, and down again when the other is cut off, silent or gone: with a delay."""
    network, one, _ = pair()
    assert not one.links()[2].is_up
    arriving(network, one, LINK_NOTICE_MS + 1)
    assert one.links()[2].is_up
    for end, mend in (
        (lambda: network.cut(frozenset([(2, 1)])), lambda: network.cut(frozenset())),
        (lambda: network.pause(2, True), lambda: network.pause(2, False)),
        (lambda: network.detach(2), lambda: network.attach(2, SimClock())),
    ):
        end()
        arriving(network, one, LINK_NOTICE_MS - 1)
        assert one.links()[2].is_up, "not noticed yet"
        arriving(network, one, 2)
        assert not one.links()[2].is_up
        mend()
        arriving(network, one, LINK_NOTICE_MS + 2)
        assert one.links()[2].is_up


def test_change_of_a_link_that_does_not_last_is_not_told() -> None:
    """Links are not told to flap."""
    network, one, _ = pair()
    arriving(network, one, LINK_NOTICE_MS + 2)
    network.cut(between([1], [2]))
    arriving(network, one, LINK_NOTICE_MS // 2)
    network.cut(frozenset())
    arriving(network, one, LINK_NOTICE_MS)
    assert one.links()[2].is_up


def test_equal_seeds_deliver_equally() -> None:
    """Everything comes from the seed."""

    def run() -> list[bytes]:
        network, one, two = pair(Weather(0.1, 20, 0.5), seed=4)
        found: list[bytes] = []
        for message in numbered(200):
            one.send([(2, message)])
            found += arriving(network, two, 2)
            if network.rng.random() < 0.1:
                network.break_stream()
        return found

    assert run() == run()
