"""The numbers of a node as the original's JSON: keys and shapes of COMPATIBILITY 4.

Latencies are seconds, as text with two decimals. What the original leaves empty is filled: `dkv_latency`, errors, and
`nexus_*` with the syncs of the log, which is what Raft waits for.
"""

import json

from dkv.services.metrics import NodeCollector, calls, errors, operations, requests, saves, storage
from dkv.services.recent import Histograms


def snapshot(sources: NodeCollector, now_ms: int) -> bytes:
    """One JSON object, without line breaks. `now_ms`: Unix time."""
    edge = sources.edge()
    asked, engine, nexus = requests(edge), storage(sources.node()), saves(sources.consensus())
    return json.dumps(
        {
            "ts": now_ms // 1000,
            "storage_latency": latencies(sources.recent(engine)),
            "nexus_latency": latencies(sources.recent(nexus)),
            "dkv_latency": latencies(operations(sources.recent(asked))),
            "storage_ops_count": counts(engine),
            "storage_ops_error_count": dict.fromkeys(engine, 0),
            "nexus_ops_count": counts(nexus),
            "dkv_req_count": counts(operations(asked)),
            "dkv_req_error_count": errors(calls(edge)),
            "count": 1,
        },
        separators=(",", ":"),
    ).encode()


def latencies(histograms: Histograms) -> dict[str, dict[str, str]]:
    return {
        name: {f"p{percent}": f"{seen.quantile(percent / 100):.2f}" for percent in (50, 90, 99)}
        for name, seen in histograms.items()
    }


def counts(histograms: Histograms) -> dict[str, int]:
    return {name: seen.count for name, seen in histograms.items()}
