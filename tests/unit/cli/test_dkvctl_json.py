"""--json: a document a line for every command, bytes that are not text, and failures."""

import json
from typing import Any

import pytest

from dkv.cli import dkvctl
from dkv.cli.ctl import admin, json_text
from dkv.wire import messages as pb
from dkv.wire import methods


def documents(server: Any, capfdbinary: pytest.CaptureFixture[bytes], line: str, code: int = 0) -> list[Any]:
    """What a command prints, parsed line by line."""
    assert dkvctl.main([*line.split(), "--json"], connect=lambda _options: server.client()) == code
    return [json.loads(each) for each in capfdbinary.readouterr().out.splitlines()]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("get a", [{"key": "a", "found": True, "value": "1", "expireTS": 0}]),
        ("get b", [{"key": "b", "found": True, "valueBase64": "/wA=", "expireTS": 0}]),
        ("get missing", [{"key": "missing", "found": False}]),
        ("set k v", [{"ok": True}]),
        ("-set k:v", [{"ok": True}]),
        ("-set k:v -get k", [{"ok": True}, {"key": "k", "found": True, "value": "v", "expireTS": 0}]),
        ("del a", [{"ok": True}]),
        ("iter a", [{"key": "a", "value": "1"}, {"key": "ab", "value": "2"}]),
        ("keys *", [{"key": "a"}, {"key": "ab"}, {"key": "b"}]),
        ("keys none", []),
        ("mget ab none", [{"key": "ab", "found": True, "value": "2"}]),
        ("mput x 1 y 2", [{"ok": True}]),
        ("cas a 1 2", [{"updated": True}]),
        ("cas a 2 3", [{"updated": False}]),
        ("ttl a", [{"key": "a", "found": True, "secondsLeft": None, "expireTS": 0}]),
        ("ttl none", [{"key": "none", "found": False}]),
        ("ttl none 5", [{"ok": False, "found": False}]),
        ("ttl a 0", [{"ok": True, "found": True}]),
        ("backup /p", [{"ok": True}]),
        ("restore /p", [{"ok": True}]),
        ("addNode u", [{"ok": True}]),
        ("removeNode u", [{"ok": True}]),
        ("listNodes", [{"leader": None, "nodes": []}]),
        ("clusterInfo", [{"nodes": []}]),
        ("health", [{"status": "SERVING"}]),
    ],
)
def test_command_done_prints_documents(
    server: Any, capfdbinary: pytest.CaptureFixture[bytes], line: str, expected: list[Any]
) -> None:
    """One result a line, under the names of the messages."""
    server.replies[methods.HEALTH_CHECK_PATH] = pb.HealthCheckResponse(status=pb.HealthCheckResponse.SERVING)
    assert documents(server, capfdbinary, line) == expected


def test_members_and_nodes_are_lists(server: Any, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    """Ids in hexadecimal, as in text; enums by name, and absent fields left out."""
    nodes = pb.ListNodesResponse(leader=0xAB)
    nodes.nodes[0xAB].nodeUrl, nodes.nodes[0xAB].status = "http://b:1", 99
    server.replies[admin.LIST_NODES_PATH] = nodes
    members = [{"nodeId": "ab", "nodeUrl": "http://b:1", "status": "99"}]
    assert documents(server, capfdbinary, "listNodes") == [{"leader": "ab", "nodes": members}]
    region = pb.RegionInfo(dcID="d", nodeAddress="h:1", status=pb.RegionStatus.LEADER)
    server.replies[admin.GET_CLUSTER_INFO_PATH] = pb.GetClusterInfoResponse(regionInfos=[region])
    (found,) = documents(server, capfdbinary, "clusterInfo d")
    assert (found["nodes"][0]["status"], found["nodes"][0]["dcID"]) == ("LEADER", "d")
    assert "masterHost" not in found["nodes"][0]


def test_failure_is_a_document_too(server: Any, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    """Of the server with its code, of the command itself without one; the exit code is 1."""
    server.failures[methods.PUT_PATH] = (14, "no server")
    error = {"code": "Unavailable", "message": "no server"}
    assert documents(server, capfdbinary, "set k v", code=1) == [{"error": error}]
    refused = {"message": "Error: StartKey must have ..."}
    assert documents(server, capfdbinary, "iter a b", code=1) == [{"error": refused}]


def test_connection_refused_is_a_document_too(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    """Nobody has to read two formats."""

    def refuse(_options: object) -> Any:
        raise ConnectionError("nobody there")

    assert dkvctl.main(["get", "a", "--json"], connect=refuse) == 1
    error = {"code": "Unavailable", "message": "nobody there"}
    assert json.loads(capfdbinary.readouterr().out) == {"error": error}


def test_line_keeps_text_readable_and_marks_what_is_not() -> None:
    """Text as UTF-8, not escaped; a newline in a value stays within its line."""
    line = json_text.line({"key": "ü".encode(), "value": b"a\nb", "raw": b"\xff", "list": [{"in": b"\xfe"}, 1]})
    expected = '{"key": "ü", "value": "a\\nb", "rawBase64": "/w==", "list": [{"inBase64": "/g=="}, 1]}\n'
    assert line == expected.encode()
