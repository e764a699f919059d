"""Every row of COMPATIBILITY 3.1 and 3.2: its spellings, its default, and what becomes of it today."""

from typing import Any

import pytest

from dkv.settings import SettingsError
from dkv.settings.option import Availability
from dkv.settings.table import BY_KEY, BY_NAME

NOW, LATER, OTHER, NONE = Availability.NOW, Availability.LATER, Availability.OTHER_ROLE, Availability.NO_EFFECT
NEXUS = Availability.NEXUS
ROWS: list[tuple[str, str, object, Availability]] = [
    ("db-folder", "dbFolder", "", NOW),
    ("listen-addr", "dkvSvcPort dbListenAddr", "127.0.0.1:8080", NOW),
    ("db-engine", "storage dbEngine", "rocksdb", NOW),
    ("role", "dbRole", "none", NOW),
    ("repl-master-addr", "replMasterAddr", "", OTHER),
    ("repl-poll-interval", "replPollInterval", 5_000, OTHER),
    ("diskless", "dbDiskless", False, LATER),
    ("db-engine-ini", "dbEngineIni", "", NOW),
    ("block-cache-size", "blockCacheSize", 3_221_225_472, NOW),
    ("statsd-addr", "statsdAddr", "", NOW),
    ("access-log", "dbAccessLog", "", NOW),
    ("verbose", "v", False, NOW),
    ("log-level", "", "warn", NOW),
    ("config", "c", "", NOW),
    ("pprof", "p", False, NOW),
    ("http-listen-addr", "", "127.0.0.1:8081", NOW),
    ("node-name", "", "", NOW),
    ("dc-id", "", "default", NOW),
    ("database", "", "default", NOW),
    ("vbucket", "", "default", NOW),
    ("root-folder", "", "/tmp/dkvsrv", NOW),
    ("disable-discovery-client", "", False, NONE),
    ("disable-auto-master-disc", "", False, NONE),
    ("discovery-service-config", "", "", LATER),
    ("discovery-service.server.status-ttl", "", 300_000, OTHER),
    ("discovery-service.server.heartbeat-timeout", "", 60_000, OTHER),
    ("discovery-service.client.discovery-service-addr", "", "", OTHER),
    ("discovery-service.client.push-status-interval", "", 1_000, OTHER),
    ("discovery-service.client.poll-cluster-info-interval", "", 1_000, OTHER),
    ("nexus-cluster-url", "nexusClusterUrl", "", NOW),
    ("nexus-node-url", "nexusNodeUrl", "", NEXUS),
    ("nexus-cluster-name", "", "", NEXUS),
    ("nexus-node-id", "nexusNodeId", 0, NONE),
    ("nexus-join", "nexusJoin", False, NEXUS),
    ("nexus-log-dir", "nexusLogDir", "", NONE),
    ("nexus-snap-dir", "nexusSnapDir", "", NONE),
    ("nexus-entry-dir", "", "", NONE),
    ("nexus-repl-timeout", "nexusReplTimeout", 5_000, NEXUS),
    ("nexus-lease-based-reads", "", False, NOW),
    ("nexus-snapshot-count", "", 100_000, NONE),
    ("nexus-snapshot-catchup-entries", "", 10_000, NONE),
    ("nexus-max-snapshots", "", 5, NONE),
    ("nexus-max-wals", "", 5, NONE),
    ("nexus-entry-store", "", "memory", NONE),
    ("nexus-node-state", "", "", NONE),
    ("nexus-statsd-addr", "", "", NONE),
    ("redis-port", "redisPort", "", NONE),
    ("redis-db-index", "redisDBIndex", "", NONE),
]
REFUSED = r"not available yet|not supported|only on Badger"
OTHER_VALUES = {
    "listen-addr": "h:1",
    "dkvSvcPort": "1",
    "http-listen-addr": "h:1",
    "statsd-addr": "h:1",
    "repl-master-addr": "h:1",
    "log-level": "error",
    "block-cache-size": "7",
    "db-engine": "RocksDB",
    "role": "master",
    "db-engine-ini": "/dev/null",
    "nexus-cluster-url": "http://a:1",
    "nexus-node-url": "http://a:1",
    "nexus-entry-store": "disk",
}
"""A value other than the default, where not just any text or number will do."""


def value_for(name: str) -> str:
    option = BY_NAME[name]
    if option.is_switch:
        return "true"
    given = OTHER_VALUES.get(name) or OTHER_VALUES.get(option.key)
    return given or ("77" if isinstance(option.default, int) else "x")


@pytest.mark.parametrize(("key", "spellings", "default", "availability"), ROWS)
def test_row_has_its_spellings_default_and_state(
    key: str, spellings: str, default: object, availability: Availability
) -> None:
    """No spelling more, none less."""
    option = BY_KEY[key]
    assert (option.spellings, option.default) == (tuple(spellings.split()), default)
    assert option.availability is availability


NAMES = [(name, key) for key, spellings, _, state in ROWS if state is NOW for name in (key, *spellings.split())]


@pytest.mark.parametrize(("name", "key"), [pair for pair in NAMES if pair[1] not in ("config", "db-engine-ini")])
def test_spelling_that_works_takes_effect_from_every_source(load_from: Any, name: str, key: str) -> None:
    """One dash or two, with a space or `=`; as YAML key; the key as a variable: the value is the same."""
    text = value_for(name)
    loads = [load_from(f"-{name}", text), load_from(f"--{name}={text}")]
    if len(name) > 1:
        loads.append(load_from(yaml=f"{name}: {text}\n"))
    if name == key:
        loads.append(load_from(env={BY_KEY[key].variable: text}))
    values = [each.effective[key].value for each in loads]
    assert values == [values[0]] * len(values)
    assert values[0] != BY_KEY[key].default or name in ("db-engine", "dbEngine", "storage")
    assert all(not [line for line in each.warnings if "authentication" not in line] for each in loads)


NEXUS_NAMES = [(name, key) for key, old, _, state in ROWS if state is NEXUS for name in (key, *old.split())]


@pytest.mark.parametrize(("name", "key"), NEXUS_NAMES)
def test_spelling_of_a_cluster_takes_effect_beside_its_url(load_from: Any, name: str, key: str) -> None:
    """From every source, as the others."""
    text, url = value_for(name), "nexus-cluster-url"
    loads = [
        load_from(f"-{name}={text}", f"--{url}=http://a:1"),
        load_from(yaml=f"{name}: {text}\n{url}: http://a:1\n"),
    ]
    loads.append(load_from(env={BY_KEY[key].variable: text, "DKV_NEXUS_CLUSTER_URL": "http://a:1"}))
    for each in loads:
        assert each.effective[key].value == loads[0].effective[key].value != BY_KEY[key].default
        assert each.warnings == []


@pytest.mark.parametrize(("name", "key"), NEXUS_NAMES)
def test_spelling_of_a_cluster_alone_is_a_usage_error_or_in_yaml_ignored(load_from: Any, name: str, key: str) -> None:
    """COMPATIBILITY 2: Raft is on when the URLs of the cluster are given."""
    for given in ({"argv": [f"--{name}={value_for(name)}"]}, {"env": {BY_KEY[key].variable: value_for(name)}}):
        with pytest.raises(SettingsError, match="nexus-cluster-url is not set") as refusal:
            load_from(*given.get("argv", []), env=given.get("env"))
        assert refusal.value.usage
    (warning,) = load_from(yaml=f"{name}: {value_for(name)}\nnexus-cluster-url: ''\n").warnings
    assert warning.endswith(f"key {name} is ignored: nexus-cluster-url is not set")


@pytest.mark.parametrize(
    ("name", "key"),
    [(name, key) for key, old, _, state in ROWS if state in (OTHER, LATER) for name in (key, *old.split())],
)
def test_spelling_of_a_role_not_built_is_refused(load_from: Any, name: str, key: str) -> None:
    """Under the name that was written, and in the environment too."""
    with pytest.raises(SettingsError, match=REFUSED):
        load_from(f"--{name}", value_for(name))
    with pytest.raises(SettingsError, match=REFUSED):
        load_from(env={BY_KEY[key].variable: value_for(name)})


@pytest.mark.parametrize(
    ("name", "key"), [(name, key) for key, old, _, state in ROWS if state is NONE for name in (key, *old.split())]
)
def test_spelling_without_effect_is_a_warning(load_from: Any, name: str, key: str) -> None:
    """Old scripts still start the server, and it says why that does nothing."""
    assert load_from(f"--{name}={value_for(name)}").warnings == [f"--{name} has no effect: {BY_KEY[key].help}"]
    assert len(BY_KEY[key].help) > 10
