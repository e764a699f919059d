"""Three nodes under load and under faults at random, the history checked at the end: a short form of it, two minutes in
CI, and as long as it is told in `make soak`."""

import os
import time
from collections.abc import Iterator

import pytest
from tests.integration.cluster.faults import Faults
from tests.integration.cluster.network import Network, NetworkServer, try_network
from tests.integration.cluster.nodes import Cluster
from tests.integration.cluster.workload import PATIENCE_SECONDS, Workload
from tests.integration.conftest import Wire

SECONDS = float(os.environ.get("FAULT_SECONDS", "15"))
REST_SECONDS_MAX = 300
"""To begin, to heal the last fault, and to judge what was seen."""
PAUSE_SECONDS = 0.005
"""Between two calls of a client: the history of an hour has to fit into memory, and be judged."""


@pytest.fixture
def seed() -> int:
    return int(os.environ.get("FAULT_SEED") or int.from_bytes(os.urandom(4), "big"))


@pytest.fixture
def network() -> Iterator[Network | None]:
    """None, where namespaces cannot be made: then no link is cut. In CI they can."""
    made, why = try_network()
    assert made is not None or "CI" not in os.environ, why
    yield made
    if made is not None:
        made.close()


@pytest.fixture
def cluster(tmp_path_factory: pytest.TempPathFactory, wire: Wire, network: Network | None) -> Iterator[Cluster]:
    made = Cluster(tmp_path_factory.mktemp("random"), wire)
    try:
        if network is None:
            yield made.form()
        else:
            yield made.form(make=lambda folder: NetworkServer(folder, network))
    finally:
        made.close()


@pytest.mark.timeout(SECONDS + REST_SECONDS_MAX)
def test_random_faults_lose_nothing_and_show_nobody_the_past(
    cluster: Cluster, network: Network | None, seed: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every client's history is linearizable, what was acknowledged is there once, and all replicas end up equal."""
    with capsys.disabled():
        where = "namespaces" if network is not None else "loopback only, no link is cut"
        print(f"\nrandom faults: FAULT_SEED={seed}, {SECONDS:.0f} s, {where}", flush=True)
    with Workload("random", cluster.addresses, PATIENCE_SECONDS, PAUSE_SECONDS) as load:
        faults = Faults(cluster, load, seed, network)
        deadline = time.monotonic() + SECONDS
        while time.monotonic() < deadline:
            faults.strike()
        load.go_on(20, load.workers)
    load.check()
    cluster.check_equal_at_rest()
    with capsys.disabled():
        print(f"{load.summary()}; {dict(faults.struck)}", flush=True)
