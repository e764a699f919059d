"""The settings of one server, complete and checked. Frozen: nothing changes them after the start."""

from dataclasses import dataclass

from dkv.model.limits import Limits
from dkv.settings.cluster import ClusterWish


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Fields are named after the options of the table; times end in `_ms`, sizes are bytes."""

    listen_addr: str
    """host:port, or unix:/path."""
    advertise_addr: str
    """host:port that others are told, or empty: the one that is bound."""
    http_listen_addr: str
    http_listen_given: bool
    """A busy HTTP port is an error only if somebody asked for it."""
    drain_timeout_ms: int

    db_folder: str
    root_folder: str
    db_engine: str
    db_engine_ini: str
    """Path of a file that `read_ini` can read, or empty."""
    db_diskless: bool
    block_cache_size: int
    write_buffer_size: int
    min_free_disk_bytes: int
    """0: two memtables and one log file."""
    backup_root: str
    """Empty: backups may be anywhere."""
    backup_bytes_per_second: int
    """0: as fast as it goes."""
    restore_from: str
    """A backup that an empty folder begins with, or empty."""
    log_sync_delay_ms: int
    confirm_clock: bool
    """The operator vouches for the clock: keys may expire although it jumped while the server was down."""

    history_bytes_max: int
    history_changes_min: int
    keep_history_from_1: bool

    value_bytes_max: int
    request_bytes_max: int
    reply_bytes_max: int
    multi_get_keys_max: int
    inbox_bytes_max: int

    log_level: str
    """debug, info, warn or error."""
    log_format: str
    """text or json; of the access log too."""
    slow_request_ms: int
    """Unary calls that take at least so long are told; 0: none."""
    access_log: str
    """stdout, stderr, a path, or empty for none."""
    statsd_addr: str
    """host:port, or empty for none."""
    pprof: bool
    node_name: str
    dc_id: str
    database: str
    vbucket: str
    role: str

    cluster: ClusterWish | None
    """None: nothing was asked for; a folder that belongs to a cluster goes on all the same."""
    nexus_repl_timeout_ms: int
    """How long a write waits for a quorum."""
    nexus_lease_based_reads: bool
    lease_clock_drift_percent: int
    fast_writes: bool

    def limits(self) -> Limits:
        """What callers may send, for the services."""
        return Limits(
            value_bytes_max=self.value_bytes_max,
            request_bytes_max=self.request_bytes_max,
            reply_bytes_max=self.reply_bytes_max,
            multi_get_keys_max=self.multi_get_keys_max,
        )
