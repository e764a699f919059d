"""HTTP pages and the metrics text."""

import json
import math

import pytest
from prometheus_client.parser import text_string_to_metric_families

from dkv.services.histogram import Histogram
from dkv.services.registry import Services
from dkv.services.turn import Turn
from dkv.wire import methods

EDGE: dict[str, object] = {
    "calls": {(methods.PUT_PATH, 0): 8, (methods.PUT_PATH, 3): 2, ("/other/Method", 0): 1},
    "latency": {methods.PUT_PATH: ([4, 4, 2], 0.5), methods.GET_PATH: ([0, 0, 0], 0.0)},
    "latency_bounds": [0.001, 0.01],
    "connections": 3,
    "inbox_calls": 0,
    "inbox_bytes": 0,
    "overloaded": 5,
    "streams": 1,
}


def get(services: Services, target: str, method: str = "GET") -> tuple[int, str, bytes]:
    turn = Turn(0)
    services.accept_http([(9, method, target, b"")], turn)
    while not turn.http:
        assert services.has_work
        services.ops.beat(turn, 0, False)
    call_id, status, content_type, body, _ = turn.http[0]
    assert call_id == 9
    return status, content_type, body


def samples(services: Services) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    text = get(services, "/metrics")[2].decode()
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


@pytest.mark.parametrize("target", ["/healthz", "/readyz", "/metrics", "/metrics?x=1", "/healthz?a=b"])
def test_page_that_exists_is_found_with_and_without_a_query(services: Services, target: str) -> None:
    """A query changes nothing."""
    status, content_type, body = get(services, target)
    assert status == 200
    assert content_type.startswith("text/plain")
    assert body or target.startswith("/metrics")


@pytest.mark.parametrize("target", ["/", "/nope", "", "//[", "*", "http://[::1"])
def test_page_that_does_not_exist_is_not_found(services: Services, target: str) -> None:
    """Nor does a strange target raise."""
    assert get(services, target) == (404, "text/plain; charset=utf-8", b"not found\n")


def test_head_has_the_status_of_get_and_no_body(services: Services) -> None:
    """As HTTP wants it."""
    assert get(services, "/healthz", "HEAD") == (200, "text/plain; charset=utf-8", b"")
    assert get(services, "/nope", "HEAD")[0] == 404


def test_other_methods_are_not_allowed(services: Services) -> None:
    """Nothing can be changed over HTTP."""
    assert get(services, "/metrics", "POST")[0] == 405


def test_readiness_follows_the_node_and_liveness_does_not(services: Services) -> None:
    """A node that cannot serve is alive but not ready."""
    services.beat(Turn(0), 0, False)
    assert get(services, "/readyz")[0] == 503
    assert get(services, "/healthz")[0] == 200


def test_metrics_without_sources_are_empty_but_well(services: Services) -> None:
    """A scrape never fails because a part is missing."""
    assert get(services, "/metrics")[0] == 200


def test_metrics_carry_the_names_of_the_original(services: Services) -> None:
    """Dashboards of the original find what they ask for, and no value is NaN."""
    log = {"syncs": 11, "sync_buckets": [9, 2, 0], "sync_bounds": [0.001, 0.01], "sync_seconds_total": 0.5}
    node = {"turns": 4, "storage": {"get": Histogram([0.001], [3, 1], 0.25)}}
    services.measure(
        node=lambda: node, edge=lambda: EDGE, store=lambda: {"engine_memtable_bytes": 7.0}, consensus=lambda: log
    )
    found = samples(services)
    put = ("Ops", "put")
    assert found["dkv_standalone_error_total", (put,)] == 2
    assert found["dkv_standalone_latency_count", (put,)] == 10
    assert found["dkv_latency", (put, ("quantile", "0.5"))] == pytest.approx(0.00325)
    assert found["dkv_standalone_latency", (("Ops", "getSeq"), ("quantile", "0.99"))] == 0
    assert found["dkv_rocksdb_memory_usage_memtable_total", ()] == 7
    assert found["dkv_storage_engine_memtable_bytes", ()] == 7
    assert found["dkv_storage_latency_rocksdb_count", (("ops", "get"),)] == 4
    assert found["dkv_storage_latency_rocksdb", (("ops", "cas"), ("quantile", "0.99"))] == 0
    assert found["dkv_storage_error_rocksdb_total", (("ops", "saveChange"),)] == 0
    assert found["dkv_turns_total", ()] == 4
    assert found["dkv_log_syncs_total", ()] == 11
    assert found["dkv_log_sync_seconds_bucket", (("le", "0.001"),)] == 9
    assert found["dkv_edge_connections", ()] == 3
    assert found["dkv_edge_overloaded_total", ()] == 5
    assert found["dkv_requests_total", (("code", "0"), ("method", "/other/Method"))] == 1
    assert found["dkv_request_duration_seconds_bucket", (("le", "+Inf"), ("method", methods.PUT_PATH))] == 10
    assert not any(math.isnan(value) for value in found.values())


def test_quantiles_are_of_the_last_minutes_and_counts_of_all(services: Services) -> None:
    """What a server did yesterday does not hide what it does now."""
    seen = {**EDGE, "latency": {methods.PUT_PATH: ([100, 0, 0], 0.05)}}
    services.measure(edge=lambda: seen)
    services.beat(Turn(0), 0, True)
    services.beat(Turn(0), 60_000, True)
    seen["latency"] = {methods.PUT_PATH: ([100, 10, 0], 0.1)}
    found = samples(services)
    assert found["dkv_latency", (("Ops", "put"), ("quantile", "0.5"))] == pytest.approx(0.0055)
    assert found["dkv_latency_count", (("Ops", "put"),)] == 110
    services.beat(Turn(0), 120_000, True)
    services.beat(Turn(0), 180_000, True)
    assert samples(services)["dkv_latency", (("Ops", "put"), ("quantile", "0.5"))] == 0


def test_json_has_the_keys_and_shapes_of_the_original(services: Services) -> None:
    """Latencies are text with two decimals; what the original leaves empty is filled."""
    log = {"syncs": 2, "sync_buckets": [0, 2, 0], "sync_bounds": [0.001, 0.1], "sync_seconds_total": 0.1}
    node = {"storage": {"get": Histogram([0.1], [4, 0], 0.25)}}
    services.measure(node=lambda: node, edge=lambda: EDGE, consensus=lambda: log)
    turn = Turn(1_700_000_000_999)
    services.accept_http([(9, "GET", "/metrics/json", b"")], turn)
    _, status, content_type, body, more = turn.http[0]
    page = json.loads(body)
    assert (status, content_type, more) == (200, "application/json", False)
    assert (page["ts"], page["count"]) == (1_700_000_000, 1)
    assert page["dkv_latency"]["put"] == {"p50": "0.00", "p90": "0.01", "p99": "0.01"}
    assert page["storage_latency"]["get"]["p99"] == "0.10"
    assert page["nexus_latency"] == {"save": {"p50": "0.05", "p90": "0.09", "p99": "0.10"}}
    assert (page["dkv_req_count"]["put"], page["dkv_req_error_count"]["put"]) == (10, 2)
    assert (page["storage_ops_count"]["get"], page["storage_ops_error_count"]["get"]) == (4, 0)
    assert page["nexus_ops_count"] == {"save": 2}


def test_json_without_sources_has_all_keys_and_no_numbers(services: Services) -> None:
    """Also before the first call nothing is NaN or missing."""
    page = json.loads(get(services, "/metrics/json")[2])
    assert page.pop("count") == 1
    assert page.pop("ts") == 0
    assert all(value in ({}, dict.fromkeys(value, 0)) for value in page.values())
