"""What a simulated client may conclude from how its attempts ended."""

from random import Random

from dkv.model.errors import Code
from dkv.testing.clients import ATTEMPTS_MAX, Client
from dkv.testing.edge import Reply
from dkv.testing.history import Entry, History, Kind, Status
from dkv.testing.protocol import Method, field, parse


class Network:
    """Keeps what a client sends."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []

    def send(self, method: Method, message: bytes) -> int:
        self.sent.append(message)
        return len(self.sent)


def writing(has_session: bool) -> tuple[Client, Network]:
    client, network = Client(2, Random(1), History(), has_session), Network()
    client.begin(Method.PUT, Kind.PUT, (Entry(b"k", b"v"),))
    client.act(network.send, 0)
    return client, network


def answer(client: Client, code: Code, message: bytes = b"") -> None:
    assert client.call_id is not None
    client.replied(Reply(client.call_id, code, message, "", b"", 0, []))


def only_call(client: Client) -> Status:
    return client.history.calls[0].status


def test_lost_write_with_a_session_is_repeated_under_the_same_name() -> None:
    """Session and sequence stay; one logical write has one answer."""
    client, network = writing(has_session=True)
    client.lost()
    client.act(network.send, 0)
    first, second = map(parse, network.sent)
    assert (first[110], first[111]) == (second[110], second[111])
    assert (first.get(112), second.get(112)) == (None, [1]), "only the first attempt opens the session"
    answer(client, Code.OK, field(100, 1))
    assert only_call(client) is Status.OK


def test_lost_write_without_a_session_stays_unknown() -> None:
    """Nobody may repeat it."""
    client, _ = writing(has_session=False)
    client.lost()
    assert (client.call, only_call(client)) == (None, Status.UNKNOWN)


def test_refused_write_has_not_happened() -> None:
    """When every attempt was refused, nothing happened."""
    client, network = writing(has_session=False)
    for _ in range(ATTEMPTS_MAX - 1):
        answer(client, Code.UNAVAILABLE)
        client.act(network.send, 0)
    answer(client, Code.UNAVAILABLE)
    assert only_call(client) is Status.FAILED


def test_refusal_after_a_lost_attempt_leaves_the_write_unknown() -> None:
    """A refusal settles its own attempt only."""
    client, network = writing(has_session=True)
    client.lost()
    for _ in range(ATTEMPTS_MAX - 1):
        client.act(network.send, 0)
        answer(client, Code.UNAVAILABLE)
    assert only_call(client) is Status.UNKNOWN


def test_session_that_the_server_lost_is_replaced() -> None:
    """Asking again under its name is of no use; the write stays unknown and the next one opens a new session."""
    client, network = writing(has_session=True)
    assert client.call_id is not None
    client.replied(Reply(client.call_id, Code.DEADLINE_EXCEEDED, b"", "unknown session", b"", 0, []))
    assert (client.call, only_call(client)) == (None, Status.UNKNOWN)
    client.begin(Method.PUT, Kind.PUT, (Entry(b"k", b"w"),))
    client.act(network.send, 0)
    first, second = map(parse, network.sent)
    assert first[110] != second[110]
    assert (second[111], second.get(112)) == ([1], None)


def test_next_write_of_a_session_has_the_next_sequence() -> None:
    """And gives up the earlier ones."""
    client, network = writing(has_session=True)
    answer(client, Code.OK, field(100, 1))
    client.begin(Method.DELETE, Kind.DELETE, (Entry(b"k"),))
    client.act(network.send, 0)
    assert (parse(network.sent[1])[111], parse(network.sent[1])[112]) == ([2], [2])
