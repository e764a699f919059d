"""Whether a node of several vBuckets serves."""

from types import SimpleNamespace
from typing import Any

from dkv.node.readiness import Readiness


def test_node_that_starts_serves_when_it_has_served_all_and_then_while_it_serves_any() -> None:
    """An election in one vBucket takes nobody out of service; a node that follows nobody is out."""
    vbuckets: dict[int, Any] = {vbucket: SimpleNamespace(is_serving=False) for vbucket in (1, 2, 3)}
    readiness = Readiness(vbuckets)

    def serve(*well: int) -> bool:
        for vbucket, hosted in vbuckets.items():
            hosted.is_serving = vbucket in well
        return readiness.is_serving

    assert [serve(), serve(1, 2), serve(2), serve(3)] == [False, False, False, True]
    assert [serve(2), serve(), serve(1, 2, 3)] == [True, False, True]


def test_node_of_one_vbucket_serves_while_that_does() -> None:
    """There is no other."""
    only = SimpleNamespace(is_serving=False)
    readiness = Readiness({1: only})  # type: ignore[dict-item]
    assert not readiness.is_serving
    for is_serving in (True, False, True):
        only.is_serving = is_serving
        assert readiness.is_serving is is_serving
