"""The operations of both clients against a real server. One list of tests: they promise the same."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

pytest.importorskip("dkv._native", reason="the native module is not built")

import dkv
import dkv.aio


class Awaited:
    """The asyncio client, each call run to its end on one loop."""

    def __init__(self, url: str) -> None:
        self.runner = asyncio.Runner()
        self.client = dkv.aio.connect(url)

    def __getattr__(self, name: str) -> Any:
        return lambda *words, **options: self.runner.run(getattr(self.client, name)(*words, **options))

    def scan(self, *words: Any, **options: Any) -> list[tuple[bytes, bytes]]:
        async def all_of_it() -> list[tuple[bytes, bytes]]:
            return [pair async for pair in self.client.scan(*words, **options)]

        return self.runner.run(all_of_it())

    def close(self) -> None:
        self.runner.run(self.client.close())
        self.runner.close()


@pytest.fixture(params=["sync", "asyncio"])
def client(request: pytest.FixtureRequest, server: Any) -> Iterator[Any]:
    url = f"dkv://{server.address}?timeout=20s"
    made: Any = dkv.connect(url) if request.param == "sync" else Awaited(url)
    made.delete_range("", None)
    yield made
    made.close()


def test_value_written_comes_back_as_bytes(client: Any) -> None:
    """Text goes in as UTF-8; an empty value is a value, a missing key is None."""
    assert client.put("näme", "välue") is True
    client.put(b"\xff\x00", b"")
    assert client.get("näme") == "välue".encode()
    assert client.get(b"\xff\x00") == b""
    assert client.get("missing") is None
    assert [client.exists(key) for key in ("näme", b"\xff\x00", "missing")] == [True, True, False]


def test_item_knows_its_expiry_and_change_number(client: Any) -> None:
    """Expiries are absolute, numbers those of the latest change."""
    client.put("k", "v")
    first = client.get_item("k")
    client.put("k", "w", ttl=100)
    second = client.get_item("k")
    assert (first.value, first.expires_at) == (b"v", None)
    assert second.value == b"w"
    assert second.expires_at > 1_700_000_000
    assert second.change_number == first.change_number + 1
    assert client.get_item("missing") is None


def test_put_if_absent_writes_once(client: Any) -> None:
    """The second one says that it did not."""
    assert client.put("k", "1", if_absent=True) is True
    assert client.put("k", "2", if_absent=True) is False
    assert client.get("k") == b"1"


def test_compare_and_set_writes_only_what_was_expected(client: Any) -> None:
    """None expects an absent key."""
    assert client.compare_and_set("k", None, "1") is True
    assert client.compare_and_set("k", None, "2") is False
    assert client.compare_and_set("k", "1", "2") is True
    assert client.get("k") == b"2"


def test_counter_counts_both_ways_in_the_bytes_of_other_clients(client: Any) -> None:
    """8 bytes, big-endian, signed."""
    assert [client.incr("n"), client.incr("n", 5), client.decr("n", 8)] == [1, 6, -2]
    assert client.get("n") == (-2).to_bytes(8, "big", signed=True)


def test_counter_keeps_its_expiry(client: Any) -> None:
    """The time to live is for a counter that begins."""
    client.incr("n", ttl=1_000)
    began = client.get_item("n").expires_at
    client.incr("n", ttl=5)
    assert client.get_item("n").expires_at == began


def test_counter_on_another_value_is_refused(client: Any) -> None:
    """A value that is no counter, and one that would not fit."""
    client.put("text", "hello")
    client.put("full", ((1 << 63) - 1).to_bytes(8, "big"))
    for key in ("text", "full"):
        with pytest.raises(dkv.InvalidRequest, match="counter"):
            client.incr(key)
    assert client.get("text") == b"hello"


def test_touch_and_persist_change_nothing_but_the_expiry(client: Any) -> None:
    """They say whether there was a key."""
    client.put("k", "v")
    assert client.touch("k", 100) is True
    assert client.get_item("k").expires_at is not None
    assert client.persist("k") is True
    assert client.get_item("k")[::2] == (b"v", None)
    assert [client.touch("missing", 100), client.persist("missing")] == [False, False]


def test_expired_key_is_gone(client: Any) -> None:
    """As far as any reader can tell."""
    client.put("k", "v", ttl=0.001)
    for _ in range(2_000):
        if client.get("k") is None:
            break
    assert client.exists("k") is False


def test_delete_is_content_without_a_key(client: Any) -> None:
    """Once, and once more."""
    client.put("k", "v")
    client.delete("k")
    client.delete("k")
    assert client.get("k") is None


def test_delete_range_spares_its_end(client: Any) -> None:
    """The end is exclusive; None is the end of everything."""
    client.put_many({"a": "1", "b": "2", "c": "3", "d": "4"})
    client.delete_range("b", "d")
    assert list(client.scan()) == [(b"a", b"1"), (b"d", b"4")]
    with pytest.raises(dkv.InvalidRequest, match="say None"):
        client.delete_range("a", "")
    client.delete_range("b", None)
    assert list(client.scan()) == [(b"a", b"1")]


def test_many_pairs_go_in_together_and_come_back_in_one_call(client: Any) -> None:
    """Missing keys are left out, long values and keys included."""
    pairs = {b"%04d" % number: b"v" * number for number in range(1_000)} | {b"k" * 300: b"long key"}
    client.put_many(pairs, ttl=1_000)
    assert client.get_many([*pairs, "missing"]) == pairs
    client.put_many([("x", "1"), ("x", "2")])
    assert client.get("x") == b"2"


def test_put_many_with_one_bad_pair_writes_none(client: Any) -> None:
    """The error says which one, and that nothing happened."""
    with pytest.raises(dkv.InvalidRequest, match="entry 1") as caught:
        client.put_many([("good", "v"), ("", "v")])
    assert caught.value.may_have_happened is False
    assert client.get("good") is None


def test_scan_goes_through_pages_in_order_both_ways(client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every pair once, whatever the size of a page, with expiries and empty values in between."""
    monkeypatch.setattr("dkv.client.scan.PAGE_PAIRS", 7)
    pairs = [(b"k%03d" % number, b"v" * (number % 3)) for number in range(100)]
    client.put_many(pairs)
    client.put("k050", "expires", ttl=1_000)
    pairs[50] = (b"k050", b"expires")
    client.put("z", "outside")
    assert list(client.scan("k")) == pairs
    assert list(client.scan("k", reverse=True)) == pairs[::-1]
    assert list(client.scan("k", start="k090")) == pairs[90:]
    assert list(client.scan("k", start="k009", reverse=True)) == pairs[9::-1]
    assert list(client.scan("k", limit=14)) == pairs[:14]
    assert list(client.scan("k", limit=0)) == []
    assert list(client.scan("nothing")) == []


def test_scan_refused_says_why(client: Any) -> None:
    """A start outside the prefix, and a limit below zero."""
    with pytest.raises(dkv.InvalidRequest, match="StartKey must have the same prefix"):
        list(client.scan("a", start="b"))
    with pytest.raises(dkv.InvalidRequest, match="not negative"):
        list(client.scan(limit=-1))


def test_wrong_kind_of_argument_is_refused_before_anything_is_sent(client: Any) -> None:
    """Numbers and None are mistakes, not data."""
    for wrong in (1, None, ["k"]):
        with pytest.raises(TypeError, match="bytes or str"):
            client.get(wrong)
        with pytest.raises(TypeError, match="a value is bytes or str"):
            client.put("k", wrong)
    for ttl in (0, -1, float("nan")):
        with pytest.raises(dkv.InvalidRequest, match="time to live"):
            client.put("k", "v", ttl=ttl)


def test_request_over_a_limit_is_a_typed_error(client: Any) -> None:
    """With the limit in it."""
    with pytest.raises(dkv.LimitExceeded) as caught:
        client.put(b"k" * 65_001, b"v")
    assert (caught.value.limit, caught.value.actual) == (65_000, 65_001)
    with pytest.raises(dkv.LimitExceeded, match="keys is 10001"):
        client.get_many([b"k"] * 10_001)


def test_stats_tell_what_the_server_is(client: Any) -> None:
    """Change numbers move with writes."""
    before = client.stats()
    client.put("k", "v")
    after = client.stats()
    assert (after.role, after.is_serving, after.engine) == ("none", True, "rocksdb")
    assert after.change_number == before.change_number + 1
    assert len(after.history_id) == 16


def test_client_closed_refuses_calls(client: Any) -> None:
    """Twice closed is closed."""
    client.close() if isinstance(client, dkv.Client) else client.runner.run(client.client.close())
    with pytest.raises(dkv.Cancelled, match="closed") as caught:
        client.put("k", "v")
    assert caught.value.may_have_happened is False


def test_mapping_syntax_reads_and_writes(server: Any) -> None:
    """Of the blocking client: like a dict, without a length."""
    with dkv.connect(f"dkv://{server.address}") as client:
        client["k"] = "v"
        assert client["k"] == b"v"
        assert "k" in client
        del client["k"]
        del client["k"]
        assert "k" not in client
        with pytest.raises(KeyError):
            client["k"]
        with pytest.raises(TypeError):
            len(client)  # type: ignore[arg-type]


def test_sequential_client_reads_its_writes(server: Any) -> None:
    """On one server there is no difference but the word."""
    with dkv.connect(f"dkv://{server.address}?consistency=sequential") as client:
        client["k"] = "v"
        assert client["k"] == b"v"
        assert client.get_many(["k"]) == dict(client.scan("k", limit=1)) == {b"k": b"v"}
