"""Values that stop the start, with the texts people know, and options that do not work yet."""

from typing import Any

import pytest

from dkv.settings import SettingsError

HOST_PORT = "is invalid, must be in host:port format"
REFUSED = [
    (["--listen-addr", "x"], f"given listen address: x {HOST_PORT}"),
    (["--listen-addr", "h:99999"], f"given listen address: h:99999 {HOST_PORT}"),
    (["--listen-addr", "::1:80"], f"given listen address: ::1:80 {HOST_PORT}"),
    (["-dkvSvcPort", "x"], f"given listen address: 127.0.0.1:x {HOST_PORT}"),
    (["--listen-addr", "unix:"], f"given listen address: unix: {HOST_PORT}"),
    (["--http-listen-addr", "unix:/s"], f"given HTTP listen address: unix:/s {HOST_PORT}"),
    (["--http-listen-addr", "x"], f"given HTTP listen address: x {HOST_PORT}"),
    (["--statsd-addr", "x"], f"given StatsD address: x {HOST_PORT}"),
    (["--repl-master-addr", "x"], f"given master address: x for replication {HOST_PORT}"),
    (["--db-engine", "redis"], "Unknown storage engine: redis"),
    (["-storage", "badger"], "db-engine badger: not available yet"),
    (["--diskless"], "diskless is available only on Badger storage"),
    (["-dbRole", "king"], "Invalid 'dbRole'. Allowed values are none|master|slave|discovery."),
    (["--role", "Slave"], "role slave: not available yet"),
    (["--role", "discovery"], "role discovery: not available yet"),
    (["--db-engine-ini", "/no/such"], "given storage configuration file: /no/such does not exist"),
    (["-dbEngineIni", __file__], f"unable to load RocksDB configuration from given file: {__file__}, error: "),
    (["--nexus-cluster-url", "a:1"], "given listen address, a:1 must have HTTP scheme"),
    (["--nexus-cluster-url", "http://a:1,http://b"], "given listen address, http://b must include port number"),
    (["--nexusNodeUrl", "http://[a"], "given listen address, http://[a is not a valid URL, error: "),
    (["--lease-clock-drift", "51"], "invalid value '51' for --lease-clock-drift: must be at most 50 percent"),
    (["--lease-clock-drift", "5%"], "invalid value '5%' for --lease-clock-drift: must be a whole number, 0 or more"),
    (["--nexus-entry-store", "tape"], "invalid value 'tape' for --nexus-entry-store: must be memory or disk"),
    (["--nexus-repl-timeout", "0"], "invalid value '0' for --nexus-repl-timeout: must be greater than 0"),
    (["--cluster", "n" * 256], f"invalid value '{'n' * 256}' for --cluster: must be at most 255 bytes"),
    (["--peers", "a"], f"given peer address: a {HOST_PORT}"),
    (["--peers", ""], "invalid value '' for --peers: must not be empty"),
    (["--join", "a"], f"given address to join: a {HOST_PORT}"),
    (["--vbuckets", "0"], "invalid value '0' for --vbuckets: must be greater than 0"),
    (["-statsdAddr", "a"], f"given StatsD address: a {HOST_PORT}"),
    (["--log-format", "xml"], "invalid value 'xml' for --log-format: must be text or json"),
    (["--slow-request", "x"], "invalid value 'x' for --slow-request: must be a duration"),
    (["--repl-poll-interval", "0"], "invalid value '0' for --repl-poll-interval: must be greater than 0"),
    (
        ["--discovery-service-config", "f"],
        "--discovery-service-config: not supported, use the keys discovery-service.*",
    ),
    (["--block-cache-size", "-1"], "invalid value '-1' for --block-cache-size: must be a number of bytes"),
    (["--drain-timeout", "5 parsecs"], "invalid value '5 parsecs' for --drain-timeout: must be a duration"),
    (["--drain-timeout", "1m 5s"], "invalid value '1m 5s' for --drain-timeout: must be a duration"),
    (["--log-level", "loud"], "invalid value 'loud' for --log-level: must be debug, info, warn or error"),
    (["--verbose=maybe"], "invalid value 'maybe' for --verbose: must be true or false"),
    (["--multi-get-keys-max", "0"], "invalid value '0' for --multi-get-keys-max: must be greater than 0"),
    (["--value-bytes-max", "0"], "invalid value '0' for --value-bytes-max: must be greater than 0"),
    (["--nexus-max-wals", "x"], "invalid value 'x' for --nexus-max-wals: must be a whole number"),
    (["--value-bytes-max", "5M"], "value-bytes-max 5242880 is larger than request-bytes-max 4194304"),
    (["--block-cache-size", "9999999999G"], "invalid value '9999999999G' for --block-cache-size: is too large"),
    (["--multi-get-keys-max", "9" * 5000], "invalid value '999"),
    (["--node-name", "../x"], "node-name '../x': must not be a path"),
    (["--db-folder", ""], "invalid value '' for --db-folder: must not be empty"),
    (["--listen-addr="], "invalid value '' for --listen-addr: must not be empty"),
]


@pytest.mark.parametrize(("words", "text"), REFUSED)
def test_value_unusable_is_refused_with_its_text(load_from: Any, words: list[str], text: str) -> None:
    """Each refusal says which option and why, and is no usage error."""
    with pytest.raises(SettingsError) as refusal:
        load_from(*words)
    assert str(refusal.value).startswith(text)
    assert not refusal.value.usage


@pytest.mark.parametrize(
    ("yaml", "warning"),
    [
        ("repl-poll-interval: 100ms", "key repl-poll-interval is ignored: not available yet"),
        ("nexus-snap-dir: /x", "key nexus-snap-dir has no effect: snapshots pass <db-folder>/snap"),
        ("nexus-node-state: x", "key nexus-node-state has no effect: a node finds out itself"),
        ("redisPort: 6379", "key redisPort has no effect: there is no engine redis"),
    ],
)
def test_yaml_of_other_roles_is_ignored_with_a_warning(load_from: Any, yaml: str, warning: str) -> None:
    """Files written for the original start a server that stands alone."""
    (text,) = load_from(yaml=yaml).warnings
    assert text.endswith(warning)


def test_yaml_asking_for_more_than_there_is_stops_the_start(load_from: Any) -> None:
    """A server never is something else than it was told."""
    with pytest.raises(SettingsError, match="not available yet"):
        load_from(yaml="role: slave")


@pytest.mark.parametrize("option", ["listen-addr", "http-listen-addr"])
@pytest.mark.parametrize("host", ["", "0.0.0.0", "[::]", "10.0.0.1", "db.example"])
def test_address_beyond_this_machine_gets_a_warning(load_from: Any, option: str, host: str) -> None:
    """There is no authentication yet, so who listens there must know."""
    (warning,) = load_from(f"--{option}", f"{host}:8080").warnings
    assert warning.startswith(f"{option} {host or '0.0.0.0'}:8080 can be reached from other machines")
    assert "no authentication" in warning


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "[::1]", "localhost"])
def test_address_of_this_machine_alone_gets_none(load_from: Any, host: str) -> None:
    """Loopback in every spelling."""
    assert load_from("--listen-addr", f"{host}:1", "--http-listen-addr", f"{host}:2").warnings == []


@pytest.mark.parametrize(
    "words", [["--diskless=false"], ["--repl-poll-interval", "5s"], ["-nexus-entry-store=memory"], ["--statsd-addr="]]
)
def test_default_written_out_is_accepted(load_from: Any, words: list[str]) -> None:
    """Saying what is so anyway is no error, available or not."""
    assert load_from(*words).warnings == []
