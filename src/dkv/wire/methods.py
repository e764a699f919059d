"""Every RPC the server answers. A method's number is its place in METHODS; numbers live within one process only."""

from collections.abc import Iterable

PUT_PATH = "/dkv.serverpb.DKV/Put"
DELETE_PATH = "/dkv.serverpb.DKV/Delete"
GET_PATH = "/dkv.serverpb.DKV/Get"
MULTI_GET_PATH = "/dkv.serverpb.DKV/MultiGet"
MULTI_PUT_PATH = "/dkv.serverpb.DKV/MultiPut"
ITERATE_PATH = "/dkv.serverpb.DKV/Iterate"
COMPARE_AND_SET_PATH = "/dkv.serverpb.DKV/CompareAndSet"
DELETE_RANGE_PATH = "/dkv.v1.KV/DeleteRange"
LIMITS_PATH = "/dkv.v1.KV/Limits"
HEALTH_CHECK_PATH = "/grpc.health.v1.Health/Check"
HEALTH_WATCH_PATH = "/grpc.health.v1.Health/Watch"
REFLECTION_PATH = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"
REFLECTION_ALPHA_PATH = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"
GET_STATUS_PATH = "/dkv.serverpb.DKVDiscoveryNode/GetStatus"
GET_NODE_STATUS_PATH = "/dkv.v1.Status/GetNodeStatus"
GET_VBUCKETS_PATH = "/dkv.v1.Status/GetVBuckets"
STREAM_CHANGES_PATH = "/dkv.v1.Feed/StreamChanges"
BACKUP_PATH = "/dkv.serverpb.DKVBackupRestore/Backup"
RESTORE_PATH = "/dkv.serverpb.DKVBackupRestore/Restore"
TAKE_BACKUP_PATH = "/dkv.v1.Backups/Take"
RESTORE_BACKUP_PATH = "/dkv.v1.Backups/Restore"
GET_CHANGES_PATH = "/dkv.serverpb.DKVReplication/GetChanges"
ADD_REPLICA_PATH = "/dkv.serverpb.DKVReplication/AddReplica"
REMOVE_REPLICA_PATH = "/dkv.serverpb.DKVReplication/RemoveReplica"
GET_REPLICAS_PATH = "/dkv.serverpb.DKVReplication/GetReplicas"
HELLO_PATH = "/dkv.v1.Cluster/Hello"
JOIN_PATH = "/dkv.v1.Cluster/Join"
GET_MEMBERS_PATH = "/dkv.v1.Cluster/GetMembers"
TRANSFER_LEADERSHIP_PATH = "/dkv.v1.Cluster/TransferLeadership"
REPLACE_NODE_PATH = "/dkv.v1.Cluster/ReplaceNode"
ADD_NODE_PATH = "/dkv.serverpb.DKVCluster/AddNode"
REMOVE_NODE_PATH = "/dkv.serverpb.DKVCluster/RemoveNode"
LIST_NODES_PATH = "/dkv.serverpb.DKVCluster/ListNodes"

UNARY, REPLY_STREAM, CONVERSATION = range(3)
"""Modes: one message and one reply; one message and a stream of replies; two streams, a reply for each message."""

METHODS: tuple[tuple[str, int], ...] = (
    (PUT_PATH, UNARY),
    (DELETE_PATH, UNARY),
    (GET_PATH, UNARY),
    (MULTI_GET_PATH, UNARY),
    (MULTI_PUT_PATH, UNARY),
    (ITERATE_PATH, REPLY_STREAM),
    (COMPARE_AND_SET_PATH, UNARY),
    (DELETE_RANGE_PATH, UNARY),
    (LIMITS_PATH, UNARY),
    (HEALTH_CHECK_PATH, UNARY),
    (HEALTH_WATCH_PATH, REPLY_STREAM),
    (REFLECTION_PATH, CONVERSATION),
    (REFLECTION_ALPHA_PATH, CONVERSATION),
    (GET_STATUS_PATH, UNARY),
    (GET_NODE_STATUS_PATH, UNARY),
    (GET_VBUCKETS_PATH, UNARY),
    (STREAM_CHANGES_PATH, REPLY_STREAM),
    (BACKUP_PATH, UNARY),
    (RESTORE_PATH, UNARY),
    (TAKE_BACKUP_PATH, REPLY_STREAM),
    (RESTORE_BACKUP_PATH, REPLY_STREAM),
    (GET_CHANGES_PATH, UNARY),
    (ADD_REPLICA_PATH, UNARY),
    (REMOVE_REPLICA_PATH, UNARY),
    (GET_REPLICAS_PATH, UNARY),
    (HELLO_PATH, UNARY),
    (JOIN_PATH, UNARY),
    (GET_MEMBERS_PATH, UNARY),
    (TRANSFER_LEADERSHIP_PATH, UNARY),
    (REPLACE_NODE_PATH, UNARY),
    (ADD_NODE_PATH, UNARY),
    (REMOVE_NODE_PATH, UNARY),
    (LIST_NODES_PATH, UNARY),
)
"""(path, mode), by method number."""

(
    PUT,
    DELETE,
    GET,
    MULTI_GET,
    MULTI_PUT,
    ITERATE,
    COMPARE_AND_SET,
    DELETE_RANGE,
    LIMITS,
    HEALTH_CHECK,
    HEALTH_WATCH,
    REFLECTION,
    REFLECTION_ALPHA,
    GET_STATUS,
    GET_NODE_STATUS,
    GET_VBUCKETS,
    STREAM_CHANGES,
    BACKUP,
    RESTORE,
    TAKE_BACKUP,
    RESTORE_BACKUP,
    GET_CHANGES,
    ADD_REPLICA,
    REMOVE_REPLICA,
    GET_REPLICAS,
    HELLO,
    JOIN,
    GET_MEMBERS,
    TRANSFER_LEADERSHIP,
    REPLACE_NODE,
    ADD_NODE,
    REMOVE_NODE,
    LIST_NODES,
) = range(len(METHODS))


def services_of(paths: Iterable[str]) -> tuple[str, ...]:
    """Fully qualified names of the services with at least one of these methods; reflection is always among them."""
    return tuple(sorted({path.split("/")[1] for path in (*paths, REFLECTION_PATH, REFLECTION_ALPHA_PATH)}))


SERVICES = services_of(path for path, _ in METHODS)
"""Those of a server that serves all."""
