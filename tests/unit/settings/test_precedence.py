"""Command line over environment over YAML over default; what counts as unset; where a value is said to come from."""

from pathlib import Path
from typing import Any

import pytest

from dkv.model.limits import Limits
from dkv.settings import SettingsError, load

YAML = "listen-addr: y:1\n"
ENV = {"DKV_LISTEN_ADDR": "e:1"}


def test_defaults_without_any_source_serve_on_loopback(load_from: Any) -> None:
    """A server without arguments listens on the loopback address and needs no file."""
    loaded = load_from()
    settings = loaded.settings
    assert (settings.listen_addr, settings.http_listen_addr) == ("127.0.0.1:8080", "127.0.0.1:8081")
    assert (settings.db_folder, settings.db_engine, settings.role) == ("/tmp/dkvsrv/data", "rocksdb", "none")
    assert (settings.drain_timeout_ms, settings.log_level, settings.http_listen_given) == (10_000, "warn", False)
    assert settings.limits() == Limits()
    assert loaded.warnings == []


@pytest.mark.parametrize(
    ("argv", "env", "yaml", "value"),
    [
        ([], {}, YAML, "y:1"),
        ([], ENV, YAML, "e:1"),
        (["-dbListenAddr", "c:1"], ENV, YAML, "c:1"),
        (["-dkvSvcPort", "7"], ENV, YAML, "127.0.0.1:7"),
        ([], {"DKV_LISTEN_ADDR": ""}, YAML, "y:1"),
        ([], {"LISTEN_ADDR": "e:1"}, None, "127.0.0.1:8080"),
        ([], {}, "listen-addr: ''\n", "127.0.0.1:8080"),
        ([], {}, "listen-addr:\n", "127.0.0.1:8080"),
        ([], {}, "dbListenAddr: y:2\n", "y:2"),
        ([], {}, "dkvSvcPort: 9001\n", "127.0.0.1:9001"),
        ([], {}, "Listen-Addr: y:3\n", "y:3"),
        ([], {}, "", "127.0.0.1:8080"),
    ],
)
def test_sources_combined_strongest_wins(
    load_from: Any, argv: list[str], env: dict[str, str], yaml: str | None, value: str
) -> None:
    """The strongest source that says anything decides."""
    assert load_from(*argv, env=env, yaml=yaml).settings.listen_addr == value


@pytest.mark.parametrize(
    ("argv", "env", "yaml", "level"),
    [
        ([], {}, "verbose: true\nlog-level: error", "debug"),
        (["--log-level", "error"], {}, "verbose: true", "error"),
        (["-v"], {"DKV_LOG_LEVEL": "error"}, None, "debug"),
        (["-v=false"], {}, "verbose: true\nlog-level: info", "info"),
    ],
)
def test_verbose_against_log_level_respects_precedence(
    load_from: Any, argv: list[str], env: dict[str, str], yaml: str | None, level: str
) -> None:
    """Verbose is a level like any other; a stronger source may still name another."""
    assert load_from(*argv, env=env, yaml=yaml).settings.log_level == level


def test_db_folder_unset_follows_root_and_name(load_from: Any) -> None:
    """Two named nodes on one machine do not share a folder."""
    assert load_from("--root-folder", "/r", "--node-name", "n").settings.db_folder == "/r/n/data"


def test_http_address_given_anywhere_is_marked(load_from: Any) -> None:
    """The server must know whether a busy HTTP port is an error."""
    assert load_from(yaml="http-listen-addr: 127.0.0.1:8081").settings.http_listen_given


def test_yaml_types_of_its_own_mean_the_same_as_text(load_from: Any) -> None:
    """YAML's numbers and booleans, and nested keys."""
    yaml = "block-cache-size: 5\nverbose: yes\nnexus-join: false\ndiscovery-service:\n  server:\n    status-ttl: 5\n"
    loaded = load_from(yaml=yaml)
    assert (loaded.settings.block_cache_size, loaded.settings.log_level) == (5, "debug")
    assert loaded.effective["discovery-service.server.status-ttl"].value == 5000


def test_unknown_names_in_yaml_and_environment_are_warnings(load_from: Any) -> None:
    """A file for another version still starts the server, with a word about what was not understood."""
    warnings = load_from(env={"DKV_NONSENSE": "1"}, yaml="nonsense: 1\na:\n  b: 2\n").warnings
    assert warnings[0] == "unknown environment variable DKV_NONSENSE is ignored"
    assert [warning.split(" in ")[0] for warning in warnings[1:]] == ["unknown key nonsense", "unknown key a.b"]


@pytest.mark.parametrize("by_flag", [True, False])
def test_config_file_named_is_read(tmp_path: Path, by_flag: bool) -> None:
    """-c and DKV_CONFIG name the file."""
    file = tmp_path / "x.yaml"
    file.write_text("node-name: n\n")
    argv, env = (["-c", str(file)], {}) if by_flag else ([], {"DKV_CONFIG": str(file)})
    assert load(argv, env, tmp_path / "none").settings.node_name == "n"


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (None, "No such file or directory"),
        ("a: [", "while parsing"),
        ("- a\n", "must be a list of 'key: value' lines"),
    ],
)
def test_config_file_unreadable_is_error(tmp_path: Path, content: str | None, text: str) -> None:
    """A named file that cannot be used stops the start."""
    file = tmp_path / "x.yaml"
    if content is not None:
        file.write_text(content)
    with pytest.raises(SettingsError, match=f"unable to read configuration file: {file}, error: .*{text}"):
        load(["-c", str(file)], {}, tmp_path / "none")


def test_yaml_list_as_value_is_error(load_from: Any) -> None:
    """A known key with a list is a mistake, not text."""
    with pytest.raises(SettingsError, match="must be a single value"):
        load_from(yaml="listen-addr: [a, b]\n")
