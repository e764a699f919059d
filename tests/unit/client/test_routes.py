"""Where calls go when nobody who answers is of use."""

from dkv.client.answers import Answer, Fate
from dkv.client.levels import Levels
from dkv.client.nodes import Nodes
from dkv.client.routes import REFUSED_S_MAX, Routes
from dkv.model.errors import Code
from dkv.wire import methods

REFUSED = Answer(Code.UNAVAILABLE, "no leader is known", b"", b"", Fate.ANSWERED)
SILENT = Answer(Code.DEADLINE_EXCEEDED, "", b"", b"", Fate.LOST)


def asked(routes: Routes, answer: Answer) -> str:
    """Who is asked next; it ends like this."""
    attempt = routes.attempt(methods.GET_PATH, 5_000)
    routes.failed(attempt, answer)
    return attempt.address


def test_silent_nodes_are_asked_again_when_all_others_only_refuse() -> None:
    """Those may be a minority, or removed, and never say of the majority that it is up."""
    now = 0.0
    routes = Routes(Nodes(("a:1", "b:1", "c:1")), Levels(), lambda: now)
    assert [asked(routes, SILENT), asked(routes, SILENT)] == ["a:1", "b:1"]
    assert {asked(routes, REFUSED) for _ in range(5)} == {"c:1"}
    now = REFUSED_S_MAX - 0.1
    assert asked(routes, REFUSED) == "c:1"
    now = REFUSED_S_MAX
    assert asked(routes, REFUSED) == "c:1"
    assert {asked(routes, REFUSED) for _ in range(3)} == {"a:1", "b:1", "c:1"}


def test_success_ends_the_count_of_refusals() -> None:
    """An election now and one later are no reason to ask who is dead."""
    now = 0.0
    routes = Routes(Nodes(("a:1", "b:1")), Levels(), lambda: now, learns=False)
    assert asked(routes, SILENT) == "a:1"
    assert asked(routes, REFUSED) == "b:1"
    routes.went_well(routes.attempt(methods.GET_PATH, 5_000), b"")
    now = REFUSED_S_MAX
    routes.nodes.went_wrong("a:1", is_silent=True)
    assert {asked(routes, REFUSED) for _ in range(3)} == {"b:1"}
