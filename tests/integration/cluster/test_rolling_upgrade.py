"""A cluster goes to the next release and back, node by node, under load.

There is no next release, so a copy of this one stands for it that says more than this one understands: it has another
version, and puts a part of a kind that is not known here into every message to other nodes. What its formats on disk
would be is held by the golden files (tests/golden), which every later release has to read.
"""

import shutil
from pathlib import Path

import pytest
from tests.integration.cluster.nodes import Cluster
from tests.integration.cluster.test_rolling import PATIENCE_SECONDS
from tests.integration.cluster.workload import Workload
from tests.integration.conftest import ROOT

VERSION = "99.0.0"


def patched(text: str, before: str, after: str) -> str:
    assert text.count(before) == 1, before
    return text.replace(before, after)


@pytest.fixture(scope="module")
def next_release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    source = tmp_path_factory.mktemp("next") / "src"
    shutil.copytree(ROOT / "src", source, ignore=shutil.ignore_patterns("__pycache__"))
    main, peering = source / "dkv" / "server" / "main.py", source / "dkv" / "node" / "peering.py"
    main.write_text(patched(main.read_text(), "from dkv import __version__", f'__version__ = "{VERSION}"'))
    packed = "for message in pack_all(parts)"
    peering.write_text(patched(peering.read_text(), packed, 'for message in pack_all([*parts, (250, 1, b"news")])'))
    return source


@pytest.fixture
def patience_seconds() -> float:
    return PATIENCE_SECONDS


@pytest.mark.timeout(240)
def test_rolling_upgrade_and_back_under_load_cost_a_retrying_client_no_error(
    cluster: Cluster, load: Workload, next_release: Path
) -> None:
    """The releases stand beside each other all the while, and either leads the other."""
    for source, version in ((next_release, VERSION), (ROOT / "src", "")):
        for server in cluster.servers:
            assert server.stop() == 0, server.output()
            server.source = source
            server.start()
            assert f"dkvsrv {version}" in server.output()
            load.go_on(20)
        load.go_on(20, load.workers)
    assert {worker.number: worker.errors for worker in load.roaming if worker.errors} == {}
