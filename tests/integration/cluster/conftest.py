"""One cluster for the tests that leave it as they found it, and the load that goes on meanwhile."""

from collections.abc import Iterator

import pytest
from tests.integration.cluster.nodes import Cluster
from tests.integration.cluster.workload import PATIENCE_SECONDS, Workload
from tests.integration.conftest import Wire


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory, wire: Wire) -> Iterator[Cluster]:
    made = Cluster(tmp_path_factory.mktemp("cluster"), wire)
    try:
        yield made.form()
        codes = [server.stop() for server in made.servers]
        assert codes == [0] * len(codes), [server.output() for server in made.servers]
    finally:
        made.close()


@pytest.fixture
def cluster(shared: Cluster) -> Cluster:
    """Three nodes that are well."""
    shared.settle()
    return shared


@pytest.fixture
def patience_seconds() -> float:
    return PATIENCE_SECONDS


@pytest.fixture
def load(request: pytest.FixtureRequest, cluster: Cluster, patience_seconds: float) -> Iterator[Workload]:
    """It runs from the beginning of the test on. At its end all members must be there: what was seen is judged."""
    workload = Workload(request.node.name, cluster.addresses, patience_seconds)
    with workload:
        workload.go_on(20)
        yield workload
    workload.check(gone=[server.address for server in cluster.gone])
    cluster.check_equal_at_rest()
