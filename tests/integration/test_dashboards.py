"""Dashboard, alerts and the table in the docs against what a real server exposes."""

import itertools
import json
import re
import urllib.request
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families
from tests.integration.cluster.nodes import Cluster
from tests.integration.conftest import Client, Server, Wire

ROOT = Path(__file__).resolve().parents[2]
ALONE = ROOT / "deploy" / "grafana" / "dkv-standalone.json"
CLUSTER = ROOT / "deploy" / "grafana" / "dkv-cluster.json"
ALERTS = ROOT / "deploy" / "prometheus" / "alerts.yml"
SCRAPES = ROOT / "deploy" / "prometheus" / "prometheus.yml"
OPERATIONS = ROOT / "docs" / "usage" / "operations.md"
FROM_THE_SCRAPE = {"instance", "job"}
"""Labels that Prometheus adds."""
METRIC = re.compile(r"\b(?:dkv_|process_)\w+|\bup\b")
SELECTOR = re.compile(r"(\w+)\{([^}]*)\}")
GROUPING = re.compile(r"\bby \(([^)]*)\)")
UNITS = {"none", "short", "s", "bytes", "reqps", "percentunit"}


class Exposed(NamedTuple):
    """What a server that has been called answers at /metrics."""

    families: dict[str, str]
    """Type by name."""
    labels: dict[str, set[str]]
    """By name of the sample."""


def exposed_by(server: Server, client: Client) -> Exposed:
    client("Put", key=b"k", value=b"v")
    client("Get", key=b"k")
    found = re.search(r"HTTP on (\S+);", server.output())
    assert found is not None
    with urllib.request.urlopen(f"http://{found[1]}/metrics", timeout=20) as page:
        families = list(text_string_to_metric_families(page.read().decode()))
    labels: dict[str, set[str]] = {"up": set()}
    for sample in (sample for family in families for sample in family.samples):
        labels.setdefault(sample.name, set()).update(sample.labels)
    return Exposed({family.name: family.type for family in families}, labels)


@pytest.fixture
def exposed_alone(server: Server, client: Client) -> Exposed:
    return exposed_by(server, client)


@pytest.fixture(scope="module")
def exposed(tmp_path_factory: pytest.TempPathFactory, wire: Wire) -> Iterator[Exposed]:
    """By a node of a cluster, which has all that a server alone has."""
    cluster = Cluster(tmp_path_factory.mktemp("cluster"), wire)
    try:
        first = cluster.form(2).servers[0]
        yield exposed_by(first, cluster.client(first))
    finally:
        cluster.close()


def queries(board: Path) -> Iterator[tuple[str, str]]:
    """(where, query) of a dashboard."""
    for panel in json.loads(board.read_text())["panels"]:
        for target in panel.get("targets", []):
            yield panel["title"], target["expr"]


def alerts() -> Iterator[tuple[str, str]]:
    """(name, query)"""
    for group in yaml.safe_load(ALERTS.read_text())["groups"]:
        for rule in group["rules"]:
            yield rule["alert"], rule["expr"]


def test_every_query_names_metrics_and_labels_that_exist(exposed: Exposed, exposed_alone: Exposed) -> None:
    """A query for what nobody exposes draws an empty panel, and an alert on it never rings."""
    assert_all_exist(queries(ALONE), exposed_alone)
    assert_all_exist(itertools.chain(queries(CLUSTER), alerts()), exposed)


def assert_all_exist(asked_for: Iterable[tuple[str, str]], exposed: Exposed) -> None:
    for where, query in asked_for:
        names = METRIC.findall(query)
        assert names, where
        assert [name for name in names if name not in exposed.labels] == [], where
        assert all(query.count(opening) == query.count(closing) for opening, closing in ("()", "[]", "{}")), where
        for name, matchers in SELECTOR.findall(query):
            asked = {matcher.strip() for matcher in re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", matchers)}
            assert asked <= exposed.labels[name] | FROM_THE_SCRAPE, where
        known = set().union(*(exposed.labels[name] for name in names))
        for grouped in GROUPING.findall(query):
            assert {label.strip() for label in grouped.split(",")} <= known | FROM_THE_SCRAPE, where


def test_rates_are_taken_of_counters_only(exposed: Exposed) -> None:
    """`rate` of a gauge is a number without a meaning."""
    counters = {f"{name}_total" for name, kind in exposed.families.items() if kind == "counter"}
    parts = {
        f"{name}_{part}"
        for name, kind in exposed.families.items()
        if kind in ("histogram", "summary")
        for part in ("bucket", "sum", "count")
    }
    for where, query in itertools.chain(queries(ALONE), queries(CLUSTER), alerts()):
        assert set(re.findall(r"\brate\((\w+)", query)) <= counters | parts, where


@pytest.mark.parametrize("file", [ALONE, CLUSTER], ids=lambda file: file.stem)
def test_dashboard_is_one_that_grafana_draws(file: Path) -> None:
    """Ids and places of panels are their own, queries have ids, units and variables are known."""
    board = json.loads(file.read_text())
    panels = board["panels"]
    assert [panel["id"] for panel in panels] == list(range(1, len(panels) + 1))
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        cells = set(
            itertools.product(range(place["x"], place["x"] + place["w"]), range(place["y"], place["y"] + place["h"]))
        )
        assert not cells & taken, panel["title"]
        taken |= cells
        if panel["type"] == "row":
            continue
        assert panel["type"] in ("stat", "timeseries")
        assert panel["fieldConfig"]["defaults"]["unit"] in UNITS
        refs = [target["refId"] for target in panel["targets"]]
        assert len(set(refs)) == len(refs) > 0
    used = set(re.findall(r"\$(?:\{(\w+)\}|(\w+))", file.read_text()))
    variables = {variable["name"] for variable in board["templating"]["list"]}
    assert {one or other for one, other in used} <= variables | {"__rate_interval", "__all"}


def test_alerts_and_scrape_configuration_are_whole() -> None:
    """Each alert has a name of its own, a severity and a sentence; the scrape loads them."""
    rules = [rule for group in yaml.safe_load(ALERTS.read_text())["groups"] for rule in group["rules"]]
    assert len({rule["alert"] for rule in rules}) == len(rules)
    assert {rule["labels"]["severity"] for rule in rules} == {"page", "ticket"}
    assert all("{{ $labels.instance }}" in rule["annotations"]["summary"] for rule in rules)
    scrapes = yaml.safe_load(SCRAPES.read_text())
    assert scrapes["rule_files"] == [ALERTS.name]
    assert [(job["job_name"], job["metrics_path"]) for job in scrapes["scrape_configs"]] == [("dkv", "/metrics")]


def test_docs_have_every_metric_with_its_type_and_no_other(exposed: Exposed) -> None:
    """| name | type | unit | meaning |, by family; what the Python client of Prometheus adds is one line."""
    rows = re.findall(r"^\| `(dkv_\w+)` \| (\w+) \| [^|]+ \| [^|]+ \|$", OPERATIONS.read_text(), re.MULTILINE)
    own = {name: kind for name, kind in exposed.families.items() if name.startswith("dkv_")}
    assert len(dict(rows)) == len(rows)
    assert dict(rows) == own


def test_docs_have_every_alert() -> None:
    """Whoever is woken finds what to do."""
    text = OPERATIONS.read_text()
    rules = [rule for group in yaml.safe_load(ALERTS.read_text())["groups"] for rule in group["rules"]]
    assert [rule["alert"] for rule in rules if f"| {rule['alert']} |" not in text] == []
