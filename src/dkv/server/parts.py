"""Makes the parts of a real node and joins them. Constructors only; no decision but which part."""

import time
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from dkv import __version__
from dkv.cluster.formation import Standing
from dkv.edge import Bell, EdgeServer, Log, Raft, changes_of_puts
from dkv.edge.consensus import NativeConsensus
from dkv.edge.peers import Peers
from dkv.model.errors import Corrupt, InvalidRequest, StorageFailed
from dkv.model.limits import Limits
from dkv.node.founding import vbuckets_here
from dkv.node.lease import LeaseTerms, lease_ms
from dkv.node.making import Given, make_node
from dkv.node.meter import Meter
from dkv.node.node import Node
from dkv.node.opening import open_vbucket
from dkv.node.raft_stats import raft_stats
from dkv.node.stats import node_stats, turn_stats
from dkv.ports.consensus import VOW_TICKS
from dkv.server.clock import SystemRandom, suspended_too_ms
from dkv.server.descriptors import connections_max, raise_limit
from dkv.server.forming import Forming, standing_in_cluster
from dkv.services.discovery_node import NodeIdentity
from dkv.services.registry import Services
from dkv.settings import Settings, read_ini, unusable_ini
from dkv.storage.backup.folder_backups import BackupSettings, FolderBackups
from dkv.storage.folder import Folder
from dkv.storage.rocksdb import RocksDbStore
from dkv.vbucket.retention import Retention
from dkv.wire.peer import MESSAGE_BYTES

PEER_MESSAGE_BYTES_MAX = 64 << 20
"""Unless requests may be larger."""
VBUCKET = 1
"""A standalone server has one vBucket."""
LOG_FILE_BYTES = 64 << 20
LOG_BYTES_BEYOND_HISTORY = 256 << 20
"""Files that are partly needed, and what Raft needs; below history and this together the log frees no file."""
LOG_BYTES_UNBOUNDED = 1 << 62
INBOX_BYTES_MAX_PER_CONNECTION = 16 << 20
"""Unless requests may be larger: two of the largest always fit, or the largest could never be sent."""


@dataclass(slots=True)
class Parts:
    """What a running server is made of. The node uses all; only the server closes them."""

    folder: Folder
    edge: EdgeServer
    services: Services
    node: Node
    backups: FolderBackups
    warnings: list[str]
    """What the operator should know of the settings, once."""

    def close(self) -> None:
        """Let go of everything, whatever has failed before. Idempotent; whoever wants to know calls `node.close` first.

        The interpreter must not end while a thread of log or engine is at work: the process would abort.
        """
        self.edge.close()
        with suppress(StorageFailed, OSError):
            self.node.close()
        self.backups.close()
        self.folder.close()


def assemble(settings: Settings, forming: Forming) -> Parts:
    """Everything up to, but not including, the election and the listeners; of a node that is to come into a cluster,
    once it has. Raises ClusterRefused or Stopped, as `standing_in_cluster`."""
    folder = Folder.open(Path(settings.db_folder), settings.db_engine)
    try:
        return _assemble_in(folder, settings, forming)
    except BaseException:
        folder.close()
        raise


def _assemble_in(folder: Folder, settings: Settings, forming: Forming) -> Parts:
    bell, clock, limits = Bell(), forming.clock, settings.limits()
    store = _open_store(bell, folder, settings)
    try:
        standing = standing_in_cluster(settings, folder, store, forming)
    except BaseException:
        store.close()
        raise
    log = _open_log(bell, folder, settings)
    raft = Raft(seed=folder.node_id, vow_ticks=VOW_TICKS, asks_for_vows=settings.nexus_lease_based_reads)
    consensus = NativeConsensus(raft, log)
    first, *others = [
        open_vbucket(vbucket, folder.node_id, store, consensus, clock, SystemRandom())
        for vbucket in vbuckets_here(store) or [VBUCKET]
    ]
    free_bytes_min = settings.min_free_disk_bytes or 2 * settings.write_buffer_size + LOG_FILE_BYTES
    identity = _identity(settings, folder, free_bytes_min, standing)
    services = Services(
        limits, identity, standing, has_fast_writes=settings.fast_writes, changes_of_puts=changes_of_puts
    )
    edge = EdgeServer(
        bell,
        services.methods,
        request_bytes_max=limits.message_bytes_max,
        reply_bytes_max=limits.reply_message_bytes_max,
        inbox_bytes_max=settings.inbox_bytes_max,
        inbox_bytes_max_per_connection=max(INBOX_BYTES_MAX_PER_CONNECTION, 2 * limits.message_bytes_max),
        connections_max=connections_max(raise_limit()),
    )
    backups = _backups(settings, folder, free_bytes_min)
    peers = None
    if standing is not None and standing.charter is not None:
        message_bytes_max = peer_message_bytes_max(limits)
        peers = Peers(edge, clock, standing.charter.cluster_id, folder.node_id, message_bytes_max=message_bytes_max)
    consensus.relay.serve(edge)
    node = make_node(
        Given(
            edge=edge,
            consensus=consensus,
            store=store,
            clock=clock,
            replicas=[first, *others],
            services=services,
            limits=limits,
            backups=backups,
            random=SystemRandom(),
            free_bytes_min=free_bytes_min,
            retention=_retention(settings),
            meter=Meter(time.perf_counter),
            peers=peers,
            node_id=folder.node_id,
            write_timeout_ms=settings.nexus_repl_timeout_ms,
            lease_terms=_lease_terms(settings),
        )
    )
    services.measure(
        node=partial(node_stats, node),
        turns=partial(turn_stats, node),
        edge=edge.stats,
        store=store.stats,
        consensus=consensus.stats,
        raft=partial(raft_stats, node),
    )
    return Parts(folder, edge, services, node, backups, _warnings(settings, store))


def peer_message_bytes_max(limits: Limits) -> int:
    """Of what nodes say to each other: what fills a message, and behind it the largest part there can be, which is a
    request, an entry of one command, or a reply, with what surrounds it."""
    return max(
        PEER_MESSAGE_BYTES_MAX, 2 * MESSAGE_BYTES + max(limits.message_bytes_max, limits.reply_message_bytes_max)
    )


def _backups(settings: Settings, folder: Folder, free_bytes_min: int) -> FolderBackups:
    pace = BackupSettings(settings.backup_root, settings.backup_bytes_per_second, free_bytes_min)
    return FolderBackups(folder.snap, folder.path, pace)


def _identity(settings: Settings, folder: Folder, free_bytes_min: int, standing: Standing | None) -> NodeIdentity:
    charter = standing.charter if standing is not None else None
    return NodeIdentity(
        cluster_url=",".join(member.url for member in charter.members) if charter is not None else "",
        dc_id=settings.dc_id or "default",
        database=settings.database or "default",
        vbucket=settings.vbucket or "default",
        version=__version__,
        node_name=settings.node_name,
        role=settings.role,
        folder=str(folder.path),
        engine=settings.db_engine,
        free_bytes_min=free_bytes_min,
    )


def _lease_terms(settings: Settings) -> LeaseTerms | None:
    if not settings.nexus_lease_based_reads:
        return None
    return LeaseTerms(suspended_too_ms, lease_ms(settings.lease_clock_drift_percent))


def _retention(settings: Settings) -> Retention:
    return Retention(settings.history_bytes_max, settings.history_changes_min, settings.keep_history_from_1)


def _log_bytes_max(settings: Settings) -> int:
    """Beyond it the log looks for files to free, and rewrites what stands in the way: the history must not."""
    if settings.keep_history_from_1:
        return LOG_BYTES_UNBOUNDED
    return min(settings.history_bytes_max + LOG_BYTES_BEYOND_HISTORY, LOG_BYTES_UNBOUNDED)


def _open_store(bell: Bell, folder: Folder, settings: Settings) -> RocksDbStore:
    """Raises InvalidRequest, in the original's words, when an engine option has an impossible value."""
    try:
        return RocksDbStore(
            folder.data,
            cache_bytes=settings.block_cache_size,
            write_buffer_bytes=settings.write_buffer_size,
            engine_options=read_ini(settings.db_engine_ini, settings.db_engine),
            on_synced=bell.ring,
        )
    except InvalidRequest as wrong:
        raise InvalidRequest(unusable_ini(settings.db_engine_ini, settings.db_engine, wrong)) from wrong


def _warnings(settings: Settings, store: RocksDbStore) -> list[str]:
    if not store.unknown_options:
        return []
    return [f"{settings.db_engine_ini}: options that are not honoured: {', '.join(store.unknown_options)}"]


def _open_log(bell: Bell, folder: Folder, settings: Settings) -> Log:
    try:
        return Log(
            bell,
            str(folder.logs),
            file_bytes=LOG_FILE_BYTES,
            purge_threshold_bytes=_log_bytes_max(settings),
            sync_delay_ms=settings.log_sync_delay_ms,
        )
    except ValueError as damage:
        raise Corrupt(str(damage)) from damage
    except OSError as failure:
        raise StorageFailed(f"the log in {folder.logs} cannot be opened: {failure}") from failure
