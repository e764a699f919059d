"""The simulated edge delivers every call once, in any order, and answers only callers who wait."""

from random import Random

from dkv.testing.edge import SimulatedEdge


def delivered(edge: SimulatedEdge) -> list[int]:
    found: list[int] = []
    while edge.waiting():
        calls, _, _, _ = edge.poll(0, 100)
        found += [call_id for _, ids, _ in calls for call_id in ids]
    return found


def test_poll_delivers_every_call_once_grouped_by_method() -> None:
    """Batches are random parts of what waits; nothing is lost or repeated."""
    edge = SimulatedEdge(Random(3))
    ids = [edge.call(i % 2, b"%d" % i) for i in range(20)]
    assert sorted(delivered(edge)) == ids


def test_poll_same_seed_gives_the_same_batches() -> None:
    """Order and size of the batches come from the seed alone."""

    def run() -> list[object]:
        edge = SimulatedEdge(Random(5))
        for i in range(10):
            edge.call(i % 3, b"m")
        return [edge.poll(0, 4) for _ in range(10)]

    assert run() == run()


def test_emit_answers_with_results_and_statuses() -> None:
    """A unary result, a status with its reason and a stream's items all reach their callers."""
    edge = SimulatedEdge(Random(1), now_ms=7)
    first, second, third = edge.call(0, b""), edge.call(0, b""), edge.call(1, b"")
    delivered(edge)
    edge.emit([first], [b"yes"], [(third, [b"i"])], [(second, 14, "no", b"", -1), (third, 0, "", b"", -1)], [])
    replies = {reply.call_id: reply for reply in edge.take_replies()}
    assert replies[first].message == b"yes"
    assert (replies[second].code, replies[second].reason) == (14, "no")
    assert replies[third].items == [b"i"]
    assert replies[first].at_ms == 7
    assert (edge.open_calls(), edge.violations) == (0, [])


def test_emit_twice_for_one_call_is_a_violation() -> None:
    """A call has one answer."""
    edge = SimulatedEdge(Random(1))
    call_id = edge.call(0, b"")
    delivered(edge)
    edge.emit([call_id], [b""], [], [], [])
    edge.emit([call_id], [b""], [], [], [])
    assert len(edge.violations) == 1


def test_leave_reports_the_caller_once_and_ignores_the_answer() -> None:
    """The node hears of a caller who left; what it still answers reaches nobody and is no violation."""
    edge = SimulatedEdge(Random(1))
    call_id = edge.call(0, b"")
    delivered(edge)
    edge.leave(call_id)
    assert edge.poll(0, 0)[1] == [call_id]
    assert edge.poll(0, 0)[1] == []
    edge.emit([call_id], [b""], [], [], [])
    assert (edge.take_replies(), edge.violations) == ([], [])


def test_leave_before_delivery_may_still_deliver() -> None:
    """An attempt given up on the way arrives all the same, as one that nobody waits for."""
    edge = SimulatedEdge(Random(1))
    call_id = edge.call(0, b"")
    edge.leave(call_id)
    assert delivered(edge) == [call_id]
    assert edge.open_calls() == 0


def test_drop_loses_only_what_was_not_delivered() -> None:
    """The network can lose a request, but not take it back from the node."""
    edge = SimulatedEdge(Random(1))
    lost, kept = edge.call(0, b""), edge.call(0, b"")
    assert edge.drop(lost)
    assert delivered(edge) == [kept]
    assert not edge.drop(kept)
