"""Every name of every option, in every form a command line may have."""

from collections import Counter
from typing import Any

import pytest

from dkv.settings import SettingsError, parse_argv
from dkv.settings.table import OPTIONS

SPELLINGS = [
    ("dbFolder", "/x", "db_folder", "/x"),
    ("db-folder", "/x", "db_folder", "/x"),
    ("dkvSvcPort", "9000", "listen_addr", "127.0.0.1:9000"),
    ("dbListenAddr", "h:1", "listen_addr", "h:1"),
    ("listen-addr", "unix:/run/dkv.sock", "listen_addr", "unix:/run/dkv.sock"),
    ("advertise-addr", "a.host:1", "advertise_addr", "a.host:1"),
    ("listen-addr", ":1", "listen_addr", "0.0.0.0:1"),
    ("http-listen-addr", "[::1]:0", "http_listen_addr", "[::1]:0"),
    ("storage", "RocksDB", "db_engine", "rocksdb"),
    ("dbEngine", "rocksdb", "db_engine", "rocksdb"),
    ("db-engine", " rocksdb ", "db_engine", "rocksdb"),
    ("dbRole", "standalone", "role", "none"),
    ("role", " None ", "role", "none"),
    ("role", "Master", "role", "master"),
    ("blockCacheSize", "0", "block_cache_size", 0),
    ("block-cache-size", "1GiB", "block_cache_size", 1 << 30),
    ("log-level", "WARNING", "log_level", "warn"),
    ("log-format", "JSON", "log_format", "json"),
    ("slow-request", "50ms", "slow_request_ms", 50),
    ("slow-request", "50", "slow_request_ms", 50),
    ("slow-request", "1us", "slow_request_ms", 1),
    ("statsdAddr", "h:1", "statsd_addr", "h:1"),
    ("statsd-addr", "h:1", "statsd_addr", "h:1"),
    ("dbAccessLog", "stdout", "access_log", "stdout"),
    ("access-log", "/x", "access_log", "/x"),
    ("pprof", "true", "pprof", True),
    ("p", "true", "pprof", True),
    ("dbEngineIni", "", "db_engine_ini", ""),
    ("node-name", "n1", "node_name", "n1"),
    ("dc-id", "x", "dc_id", "x"),
    ("database", "x", "database", "x"),
    ("vbucket", "x", "vbucket", "x"),
    ("value-bytes-max", "1k", "value_bytes_max", 1024),
    ("request-bytes-max", "8M", "request_bytes_max", 8 << 20),
    ("multi-get-keys-max", "7", "multi_get_keys_max", 7),
    ("reply-bytes-max", "7", "reply_bytes_max", 7),
    ("inbox-bytes-max", "7", "inbox_bytes_max", 7),
    ("write-buffer-size", "64MB", "write_buffer_size", 64 << 20),
    ("min-free-disk-bytes", "7", "min_free_disk_bytes", 7),
    ("log-sync-delay", "7", "log_sync_delay_ms", 7),
    ("log-sync-delay", "1s", "log_sync_delay_ms", 1000),
    ("drain-timeout", "7", "drain_timeout_ms", 7000),
    ("drain-timeout", "1h30m", "drain_timeout_ms", 5_400_000),
    ("drain-timeout", "1.5s", "drain_timeout_ms", 1500),
    ("drain-timeout", "500ms", "drain_timeout_ms", 500),
]


@pytest.mark.parametrize(("name", "text", "field", "value"), SPELLINGS)
@pytest.mark.parametrize("dashes", ["-", "--"])
@pytest.mark.parametrize("attached", [True, False])
def test_flag_in_every_form_sets_its_field(
    load_from: Any, dashes: str, attached: bool, name: str, text: str, field: str, value: object
) -> None:
    """One dash or two, attached or separate: the same value."""
    words = [f"{dashes}{name}={text}"] if attached else [f"{dashes}{name}", text]
    assert getattr(load_from(*words).settings, field) == value


def test_table_names_are_unique() -> None:
    """No name belongs to two options, in any case of letters, nor does a variable."""
    names = Counter(
        name.lower() for option in OPTIONS for name in {option.key.lower(), *map(str.lower, option.spellings)}
    )
    variables = Counter(option.variable for option in OPTIONS)
    assert max(names.values()) == max(variables.values()) == 1


def test_table_defaults_are_what_their_parsers_return() -> None:
    """Writing down a default changes nothing."""
    for option in OPTIONS:
        if option.default not in ("", 0) and option.parse.__name__ not in ("duration", "positive_duration"):
            assert option.parse(str(option.default)) == option.default, option.key


@pytest.mark.parametrize(
    ("words", "value"),
    [
        (["-verbose"], "debug"),
        (["-v"], "debug"),
        (["--verbose=false"], "warn"),
        (["-v", "false"], "warn"),
        (["-v", "true", "-node-name", "n"], "debug"),
        (["-v=T"], "debug"),
    ],
)
def test_switch_bare_or_with_value_sets_level(load_from: Any, words: list[str], value: str) -> None:
    """A switch may stand bare, and takes a boolean word that follows it."""
    assert load_from(*words).settings.log_level == value


def test_repeated_option_in_two_spellings_keeps_last(load_from: Any) -> None:
    """Spellings of one option are one option."""
    assert load_from("-dbFolder", "/a", "--db-folder", "/b").settings.db_folder == "/b"


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["--nonsense"], "unknown flag: --nonsense"),
        (["-roles=x"], "unknown flag: -roles (did you mean --role?)"),
        (["-cfile"], "unknown flag: -cfile"),
        (["-DBFOLDER", "x"], "unknown flag: -DBFOLDER"),
        (["-vp"], "unknown flag: -vp"),
        (["--help=1"], "unknown flag: --help"),
        (["-role"], "flag needs an argument: -role"),
        (["-v", "file"], "unexpected argument: file"),
        (["--"], "unexpected argument: --"),
    ],
)
def test_command_line_malformed_is_usage_error(words: list[str], text: str) -> None:
    """What the table does not know is refused, never ignored."""
    with pytest.raises(SettingsError) as refusal:
        parse_argv(words)
    assert str(refusal.value).startswith(text)
    assert refusal.value.usage


@pytest.mark.parametrize(
    ("words", "action"),
    [
        (["-h"], "help"),
        (["--help", "--nonsense"], "help"),
        (["-version"], "version"),
        (["--check-config"], "check-config"),
    ],
)
def test_action_on_command_line_is_reported(words: list[str], action: str) -> None:
    """Help and version win over whatever stands behind them."""
    assert parse_argv(words).action == action
