"""What dkvctl prints and how it ends, against a server in memory."""

import os
from typing import Any

import pytest

from dkv.cli import dkvctl
from dkv.cli.ctl import admin
from dkv.wire import messages as pb
from dkv.wire import methods

DOWN = (14, "no server")
E = b"rpc error: code = Unavailable desc = no server"


def run(server: Any, *words: str) -> int:
    return dkvctl.main(words, connect=lambda _options: server.client())


@pytest.mark.parametrize(
    ("line", "output"),
    [
        ("--get a", b"1\n"),
        ("--get b", b"\xff\x00\n"),
        ("--get missing", b"\n"),
        ("--set k v", b"OK\n"),
        ("-set k:v", b""),
        ("-set k:v -get k", b"v\n"),
        ("-d a", b"OK\n"),
        ("-i *", b"a => 1\nab => 2\nb => \xff\x00\n"),
        ("-i a", b"a => 1\nab => 2\n"),
        ("-i a ab", b"ab => 2\n"),
        ("-i * ab", b"ab => 2\nb => \xff\x00\n"),
        ("-k *", b"a\nab\nb\n"),
        ("-k * --limit 2", b"a\nab\n"),
        ("-k * --limit 2 --reverse", b"b\nab\n"),
        ("-k none", b""),
        ("--mget b none a", b"b => \xff\x00\na => 1\n"),
        ("--mput x 1 y 2", b"OK\n"),
        ("--cas a 1 2", b"true\n"),
        ("--cas a 2 3", b"false\n"),
        ("--backup /p", b"Successfully backed up\n"),
        ("--restore /p", b"Successfully restored\n"),
        ("--addNode u", b""),
        ("--removeNode u", b""),
        ("--clusterInfo", b"Found no nodes with the provided filters\n"),
    ],
)
def test_command_done_prints_its_result(
    server: Any, capfdbinary: pytest.CaptureFixture[bytes], line: str, output: bytes
) -> None:
    """Values go out as raw bytes; nothing else is on stdout."""
    assert run(server, *line.split()) == 0
    captured = capfdbinary.readouterr()
    assert captured.out == output
    assert captured.err == b""


@pytest.mark.parametrize(
    ("line", "method", "text"),
    [
        ("--set k v", methods.PUT_PATH, b"Unable to perform SET. Error: "),
        ("-set k:v", methods.PUT_PATH, b"Unable to perform PUT. Error: "),
        ("--get k", methods.GET_PATH, b"Unable to perform GET. Error: "),
        ("--del k", methods.DELETE_PATH, b"Unable to perform DEL. Error: "),
        ("--iter *", methods.ITERATE_PATH, b"Unable to perform iteration. Error: "),
        ("--keys *", methods.ITERATE_PATH, b"Unable to perform iteration. Error: "),
        ("--backup /p", methods.BACKUP_PATH, b"Unable to perform backup. Error: "),
        ("--restore /p", methods.RESTORE_PATH, b"Unable to perform restore. Error: "),
        ("--addNode u", admin.ADD_NODE_PATH, b"Unable to add node with URL: u. Error: "),
        ("--removeNode u", admin.REMOVE_NODE_PATH, b"Unable to remove node with URL: u. Error: "),
        ("--listNodes", admin.LIST_NODES_PATH, b"Unable to retrieve the nodes of DKV cluster. Error: "),
        ("--clusterInfo", admin.GET_CLUSTER_INFO_PATH, b"Unable to get Status: Error: "),
        ("--mget k", methods.MULTI_GET_PATH, b"Unable to perform MGET. Error: "),
        ("--mput k v", methods.MULTI_PUT_PATH, b"Unable to perform MPUT. Error: "),
        ("--cas k a b", methods.COMPARE_AND_SET_PATH, b"Unable to perform CAS. Error: "),
        ("--ttl k", methods.GET_PATH, b"Unable to perform TTL. Error: "),
    ],
)
def test_command_failed_prints_its_sentence_and_ends_with_1(
    server: Any, capfdbinary: pytest.CaptureFixture[bytes], line: str, method: str, text: bytes
) -> None:
    """The error is on stdout, in Go's form."""
    server.failures[method] = DOWN
    assert run(server, *line.split()) == 1
    assert capfdbinary.readouterr().out == text + E + b"\n"


def test_iterate_refused_in_band_prints_the_message(server: Any, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    """A start key outside the prefix."""
    assert run(server, "--iter", "a", "b") == 1
    assert capfdbinary.readouterr().out == b"Error: StartKey must have ...\n"


def test_iterate_reversed_by_an_old_server_is_refused(server: Any, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    """A server of the original ignores the order; its answer must not pass for a reversed one."""
    server.knows_reverse = False
    assert run(server, "--keys", "*", "--reverse") == 1
    assert capfdbinary.readouterr().out == b"Error: this server does not know reverse order\n"


def test_reads_ask_for_linearizable(server: Any) -> None:
    """As the original's client does."""
    run(server, "--get", "a")
    assert pb.GetRequest.FromString(server.requests[0][1]).readConsistency == 1


def test_arguments_not_utf8_arrive_as_their_bytes(server: Any) -> None:
    """A shell may hand over any bytes."""
    run(server, "--set", os.fsdecode(b"\xfe"), os.fsdecode(b"\xff"))
    assert server.pairs[b"\xfe"] == b"\xff"


def test_list_nodes_prints_members_by_id(server: Any, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    """Hexadecimal ids without padding, in order of their number; a warning without a leader."""
    reply = pb.ListNodesResponse()
    reply.nodes[0xAB].nodeUrl, reply.nodes[0xAB].status = "http://b:1", 2
    reply.nodes[0xA].nodeUrl = "http://a:1"
    server.replies[admin.LIST_NODES_PATH] = reply
    assert run(server, "--listNodes") == 0
    assert capfdbinary.readouterr().out == (
        b"WARNING: DKV Cluster unhealthy, leader unknown\nCurrent DKV cluster members:\n"
        b"a => http://a:1 (LEADER) \nab => http://b:1 (FOLLOWER) \n"
    )


def test_cluster_info_prints_a_line_per_node(server: Any, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    """Protobuf text; all three filters are sent, empty ones too."""
    region = pb.RegionInfo(dcID="d", nodeAddress="h:1")
    server.replies[admin.GET_CLUSTER_INFO_PATH] = pb.GetClusterInfoResponse(regionInfos=[region])
    assert run(server, "--clusterInfo", "d") == 0
    assert capfdbinary.readouterr().out == b'Current DKV cluster nodes:\ndcID: "d" nodeAddress: "h:1"\n'
    request = pb.GetClusterInfoRequest.FromString(server.requests[0][1])
    assert (request.dcID, request.HasField("database"), request.HasField("vBucket")) == ("d", True, True)


@pytest.mark.parametrize(("expires_at", "output"), [(0, b"none\n"), (1060, b"60\n"), (900, b"0\n")])
def test_ttl_shown_counts_seconds(
    server: Any,
    capfdbinary: pytest.CaptureFixture[bytes],
    monkeypatch: pytest.MonkeyPatch,
    expires_at: int,
    output: bytes,
) -> None:
    """Seconds left by this machine's clock, never negative."""
    monkeypatch.setattr("time.time", lambda: 1000.5)
    server.expiries[b"a"] = expires_at
    assert run(server, "--ttl", "a") == 0
    assert capfdbinary.readouterr().out == output


@pytest.mark.parametrize(("seconds", "ttl_s"), [("60", 60), ("0", 0)])
def test_ttl_set_keeps_the_value(server: Any, seconds: str, ttl_s: int) -> None:
    """Only the expiry changes; 0 removes it. The server counts the seconds, by its own clock."""
    assert run(server, "--ttl", "a", seconds) == 0
    assert (server.pairs[b"a"], server.expiries[b"a"]) == (b"1", ttl_s)


def test_ttl_of_a_missing_key_says_so(server: Any, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    """Shown or set, nothing is created."""
    assert run(server, "--ttl", "x") == run(server, "--ttl", "x", "5") == 0
    assert capfdbinary.readouterr().out == b"missing\nmissing\n"
    assert b"x" not in server.pairs


def test_ttl_set_against_endless_writers_gives_up(server: Any, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    """After a bounded time."""
    server.replies[methods.COMPARE_AND_SET_PATH] = pb.CompareAndSetResponse(updated=False)
    assert run(server, "--ttl", "a", "5") == 1
    assert capfdbinary.readouterr().out.startswith(b"Unable to perform TTL. Error: ")


def test_oldest_pair_with_failing_set_still_gets(server: Any, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    """Both run; one failure is a failure."""
    server.failures[methods.PUT_PATH] = DOWN
    assert run(server, "-set", "a:9", "-get", "a") == 1
    assert capfdbinary.readouterr().out == b"Unable to perform PUT. Error: " + E + b"\n1\n"
