# ruff: noqa: N803, N815 (the names are those of the wire format)
"""Written by `make proto` from proto/. Do not edit."""

from collections.abc import Iterable, Mapping

from google.protobuf.any_pb2 import Any
from google.protobuf.internal.containers import (
    MessageMap,
    RepeatedCompositeFieldContainer,
    RepeatedScalarFieldContainer,
)
from google.protobuf.internal.enum_type_wrapper import EnumTypeWrapper
from google.protobuf.message import Message

class Empty(Message):
    def __init__(self) -> None: ...

class _ReadConsistency(EnumTypeWrapper):
    SEQUENTIAL: int
    LINEARIZABLE: int

ReadConsistency: _ReadConsistency

class _Acknowledgement(EnumTypeWrapper):
    QUORUM: int
    ALL: int
    FAST: int

Acknowledgement: _Acknowledgement

class Status(Message):
    code: int
    message: str
    def __init__(
        self,
        *,
        code: int | None = ...,
        message: str | None = ...,
    ) -> None: ...

class KVPair(Message):
    key: bytes
    value: bytes
    expireTS: int
    def __init__(
        self,
        *,
        key: bytes | None = ...,
        value: bytes | None = ...,
        expireTS: int | None = ...,
    ) -> None: ...

class PutRequest(Message):
    key: bytes
    value: bytes
    expireTS: int
    ttlMs: int
    session: bytes
    sequence: int
    lowestOutstanding: int
    acknowledgement: int
    def __init__(
        self,
        *,
        key: bytes | None = ...,
        value: bytes | None = ...,
        expireTS: int | None = ...,
        ttlMs: int | None = ...,
        session: bytes | None = ...,
        sequence: int | None = ...,
        lowestOutstanding: int | None = ...,
        acknowledgement: int | None = ...,
    ) -> None: ...

class PutResponse(Message):
    status: Status
    changeNumber: int
    historyId: bytes
    logTime: int
    def __init__(
        self,
        *,
        status: Status | None = ...,
        changeNumber: int | None = ...,
        historyId: bytes | None = ...,
        logTime: int | None = ...,
    ) -> None: ...

class MultiPutRequest(Message):
    putRequest: RepeatedCompositeFieldContainer[PutRequest]
    session: bytes
    sequence: int
    lowestOutstanding: int
    acknowledgement: int
    def __init__(
        self,
        *,
        putRequest: Iterable[PutRequest] | None = ...,
        session: bytes | None = ...,
        sequence: int | None = ...,
        lowestOutstanding: int | None = ...,
        acknowledgement: int | None = ...,
    ) -> None: ...

class DeleteRequest(Message):
    key: bytes
    session: bytes
    sequence: int
    lowestOutstanding: int
    acknowledgement: int
    def __init__(
        self,
        *,
        key: bytes | None = ...,
        session: bytes | None = ...,
        sequence: int | None = ...,
        lowestOutstanding: int | None = ...,
        acknowledgement: int | None = ...,
    ) -> None: ...

class DeleteResponse(Message):
    status: Status
    changeNumber: int
    historyId: bytes
    logTime: int
    def __init__(
        self,
        *,
        status: Status | None = ...,
        changeNumber: int | None = ...,
        historyId: bytes | None = ...,
        logTime: int | None = ...,
    ) -> None: ...

class GetRequest(Message):
    key: bytes
    readConsistency: int
    minChangeNumber: int
    strict: bool
    maxStalenessMs: int
    def __init__(
        self,
        *,
        key: bytes | None = ...,
        readConsistency: int | None = ...,
        minChangeNumber: int | None = ...,
        strict: bool | None = ...,
        maxStalenessMs: int | None = ...,
    ) -> None: ...

class GetResponse(Message):
    status: Status
    value: bytes
    found: bool
    expireTS: int
    appliedChangeNumber: int
    servedConsistency: int
    stalenessMs: int
    def __init__(
        self,
        *,
        status: Status | None = ...,
        value: bytes | None = ...,
        found: bool | None = ...,
        expireTS: int | None = ...,
        appliedChangeNumber: int | None = ...,
        servedConsistency: int | None = ...,
        stalenessMs: int | None = ...,
    ) -> None: ...

class MultiGetRequest(Message):
    keys: RepeatedScalarFieldContainer[bytes]
    readConsistency: int
    minChangeNumber: int
    strict: bool
    maxStalenessMs: int
    def __init__(
        self,
        *,
        keys: Iterable[bytes] | None = ...,
        readConsistency: int | None = ...,
        minChangeNumber: int | None = ...,
        strict: bool | None = ...,
        maxStalenessMs: int | None = ...,
    ) -> None: ...

class MultiGetResponse(Message):
    status: Status
    keyValues: RepeatedCompositeFieldContainer[KVPair]
    appliedChangeNumber: int
    servedConsistency: int
    stalenessMs: int
    def __init__(
        self,
        *,
        status: Status | None = ...,
        keyValues: Iterable[KVPair] | None = ...,
        appliedChangeNumber: int | None = ...,
        servedConsistency: int | None = ...,
        stalenessMs: int | None = ...,
    ) -> None: ...

class CompareAndSetRequest(Message):
    key: bytes
    oldValue: bytes
    newValue: bytes
    expireTS: int
    ttlMs: int
    session: bytes
    sequence: int
    lowestOutstanding: int
    acknowledgement: int
    def __init__(
        self,
        *,
        key: bytes | None = ...,
        oldValue: bytes | None = ...,
        newValue: bytes | None = ...,
        expireTS: int | None = ...,
        ttlMs: int | None = ...,
        session: bytes | None = ...,
        sequence: int | None = ...,
        lowestOutstanding: int | None = ...,
        acknowledgement: int | None = ...,
    ) -> None: ...

class CompareAndSetResponse(Message):
    status: Status
    updated: bool
    changeNumber: int
    historyId: bytes
    logTime: int
    def __init__(
        self,
        *,
        status: Status | None = ...,
        updated: bool | None = ...,
        changeNumber: int | None = ...,
        historyId: bytes | None = ...,
        logTime: int | None = ...,
    ) -> None: ...

class IterateRequest(Message):
    keyPrefix: bytes
    startKey: bytes
    readConsistency: int
    limit: int
    reverse: bool
    minChangeNumber: int
    maxStalenessMs: int
    def __init__(
        self,
        *,
        keyPrefix: bytes | None = ...,
        startKey: bytes | None = ...,
        readConsistency: int | None = ...,
        limit: int | None = ...,
        reverse: bool | None = ...,
        minChangeNumber: int | None = ...,
        maxStalenessMs: int | None = ...,
    ) -> None: ...

class IterateResponse(Message):
    status: Status
    key: bytes
    value: bytes
    expireTS: int
    def __init__(
        self,
        *,
        status: Status | None = ...,
        key: bytes | None = ...,
        value: bytes | None = ...,
        expireTS: int | None = ...,
    ) -> None: ...

class NodeInfo(Message):
    NodeStatus: EnumTypeWrapper
    LEADER: int
    CANDIDATE: int
    FOLLOWER: int
    OFFLINE: int
    UNKNOWN: int
    nodeUrl: str
    nodeId: int
    status: int
    def __init__(
        self,
        *,
        nodeUrl: str | None = ...,
        nodeId: int | None = ...,
        status: int | None = ...,
    ) -> None: ...

class _RegionStatus(EnumTypeWrapper):
    INACTIVE: int
    LEADER: int
    PRIMARY_FOLLOWER: int
    SECONDARY_FOLLOWER: int
    ACTIVE_SLAVE: int

RegionStatus: _RegionStatus

class TrxnRecord(Message):
    TrxnType: EnumTypeWrapper
    Unknown: int
    Put: int
    Delete: int
    type: int
    key: bytes
    value: bytes
    expireTS: int
    def __init__(
        self,
        *,
        type: int | None = ...,
        key: bytes | None = ...,
        value: bytes | None = ...,
        expireTS: int | None = ...,
    ) -> None: ...

class ChangeRecord(Message):
    serialisedForm: bytes
    changeNumber: int
    numberOfTrxns: int
    trxns: RepeatedCompositeFieldContainer[TrxnRecord]
    leaderTime: int
    def __init__(
        self,
        *,
        serialisedForm: bytes | None = ...,
        changeNumber: int | None = ...,
        numberOfTrxns: int | None = ...,
        trxns: Iterable[TrxnRecord] | None = ...,
        leaderTime: int | None = ...,
    ) -> None: ...

class GetChangesRequest(Message):
    fromChangeNumber: int
    maxNumberOfChanges: int
    historyId: bytes
    encoding: int
    vBucket: int
    def __init__(
        self,
        *,
        fromChangeNumber: int | None = ...,
        maxNumberOfChanges: int | None = ...,
        historyId: bytes | None = ...,
        encoding: int | None = ...,
        vBucket: int | None = ...,
    ) -> None: ...

class GetChangesResponse(Message):
    status: Status
    masterChangeNumber: int
    numberOfChanges: int
    changes: RepeatedCompositeFieldContainer[ChangeRecord]
    historyId: bytes
    oldestChangeNumber: int
    def __init__(
        self,
        *,
        status: Status | None = ...,
        masterChangeNumber: int | None = ...,
        numberOfChanges: int | None = ...,
        changes: Iterable[ChangeRecord] | None = ...,
        historyId: bytes | None = ...,
        oldestChangeNumber: int | None = ...,
    ) -> None: ...

class Replica(Message):
    zone: str
    hostname: str
    port: int
    def __init__(
        self,
        *,
        zone: str | None = ...,
        hostname: str | None = ...,
        port: int | None = ...,
    ) -> None: ...

class GetReplicasRequest(Message):
    zone: str
    allZones: bool
    def __init__(
        self,
        *,
        zone: str | None = ...,
        allZones: bool | None = ...,
    ) -> None: ...

class GetReplicasResponse(Message):
    replicas: RepeatedCompositeFieldContainer[Replica]
    def __init__(
        self,
        *,
        replicas: Iterable[Replica] | None = ...,
    ) -> None: ...

class BackupRequest(Message):
    backupPath: str
    def __init__(
        self,
        *,
        backupPath: str | None = ...,
    ) -> None: ...

class RestoreRequest(Message):
    restorePath: str
    def __init__(
        self,
        *,
        restorePath: str | None = ...,
    ) -> None: ...

class AddNodeRequest(Message):
    nodeUrl: str
    def __init__(
        self,
        *,
        nodeUrl: str | None = ...,
    ) -> None: ...

class RemoveNodeRequest(Message):
    nodeUrl: str
    def __init__(
        self,
        *,
        nodeUrl: str | None = ...,
    ) -> None: ...

class ListNodesResponse(Message):
    status: Status
    leader: int
    nodes: MessageMap[int, NodeInfo]
    def __init__(
        self,
        *,
        status: Status | None = ...,
        leader: int | None = ...,
        nodes: Mapping[int, NodeInfo] | None = ...,
    ) -> None: ...

class RegionInfo(Message):
    dcID: str
    nodeAddress: str
    database: str
    vBucket: str
    status: int
    masterHost: str
    nexusClusterUrl: str
    httpAddress: str
    def __init__(
        self,
        *,
        dcID: str | None = ...,
        nodeAddress: str | None = ...,
        database: str | None = ...,
        vBucket: str | None = ...,
        status: int | None = ...,
        masterHost: str | None = ...,
        nexusClusterUrl: str | None = ...,
        httpAddress: str | None = ...,
    ) -> None: ...

class UpdateStatusRequest(Message):
    regionInfo: RegionInfo
    timestamp: int
    def __init__(
        self,
        *,
        regionInfo: RegionInfo | None = ...,
        timestamp: int | None = ...,
    ) -> None: ...

class GetClusterInfoRequest(Message):
    dcID: str
    database: str
    vBucket: str
    def __init__(
        self,
        *,
        dcID: str | None = ...,
        database: str | None = ...,
        vBucket: str | None = ...,
    ) -> None: ...

class GetClusterInfoResponse(Message):
    regionInfos: RepeatedCompositeFieldContainer[RegionInfo]
    def __init__(
        self,
        *,
        regionInfos: Iterable[RegionInfo] | None = ...,
    ) -> None: ...

class _BackupPhase(EnumTypeWrapper):
    BACKUP_PHASE_UNKNOWN: int
    BACKUP_PHASE_CHECKPOINT: int
    BACKUP_PHASE_COPY: int
    BACKUP_PHASE_VERIFY: int
    BACKUP_PHASE_STAGE: int
    BACKUP_PHASE_REPLAY: int
    BACKUP_PHASE_SWITCH: int
    BACKUP_PHASE_DONE: int
    BACKUP_PHASE_SPREAD: int

BackupPhase: _BackupPhase

class TakeBackupRequest(Message):
    path: str
    def __init__(
        self,
        *,
        path: str | None = ...,
    ) -> None: ...

class RestoreBackupRequest(Message):
    path: str
    untilChangeNumber: int
    untilTime: int
    def __init__(
        self,
        *,
        path: str | None = ...,
        untilChangeNumber: int | None = ...,
        untilTime: int | None = ...,
    ) -> None: ...

class BackupProgress(Message):
    phase: int
    bytesDone: int
    bytesTotal: int
    changeNumber: int
    historyId: bytes
    logTime: int
    def __init__(
        self,
        *,
        phase: int | None = ...,
        bytesDone: int | None = ...,
        bytesTotal: int | None = ...,
        changeNumber: int | None = ...,
        historyId: bytes | None = ...,
        logTime: int | None = ...,
    ) -> None: ...

class _ReplicaRole(EnumTypeWrapper):
    VOTER: int
    LEARNER: int
    LEAVING: int

ReplicaRole: _ReplicaRole

class Member(Message):
    replica: int
    node: int
    address: str
    url: str
    def __init__(
        self,
        *,
        replica: int | None = ...,
        node: int | None = ...,
        address: str | None = ...,
        url: str | None = ...,
    ) -> None: ...

class Charter(Message):
    clusterId: bytes
    name: str
    vBuckets: int
    formedMs: int
    members: RepeatedCompositeFieldContainer[Member]
    firstHistoryId: bytes
    def __init__(
        self,
        *,
        clusterId: bytes | None = ...,
        name: str | None = ...,
        vBuckets: int | None = ...,
        formedMs: int | None = ...,
        members: Iterable[Member] | None = ...,
        firstHistoryId: bytes | None = ...,
    ) -> None: ...

class HelloRequest(Message):
    node: int
    address: str
    url: str
    name: str
    addresses: RepeatedScalarFieldContainer[str]
    vBuckets: int
    def __init__(
        self,
        *,
        node: int | None = ...,
        address: str | None = ...,
        url: str | None = ...,
        name: str | None = ...,
        addresses: Iterable[str] | None = ...,
        vBuckets: int | None = ...,
    ) -> None: ...

class HeldReplica(Message):
    vBucket: int
    replica: int
    def __init__(
        self,
        *,
        vBucket: int | None = ...,
        replica: int | None = ...,
    ) -> None: ...

class HelloResponse(Message):
    standing: HelloRequest
    charter: Charter
    replicas: RepeatedCompositeFieldContainer[HeldReplica]
    members: RepeatedCompositeFieldContainer[Member]
    def __init__(
        self,
        *,
        standing: HelloRequest | None = ...,
        charter: Charter | None = ...,
        replicas: Iterable[HeldReplica] | None = ...,
        members: Iterable[Member] | None = ...,
    ) -> None: ...

class JoinRequest(Message):
    node: int
    address: str
    url: str
    def __init__(
        self,
        *,
        node: int | None = ...,
        address: str | None = ...,
        url: str | None = ...,
    ) -> None: ...

class JoinResponse(Message):
    def __init__(self) -> None: ...

class GetMembersRequest(Message):
    vBucket: int
    def __init__(
        self,
        *,
        vBucket: int | None = ...,
    ) -> None: ...

class ReplicaStatus(Message):
    replica: int
    node: int
    role: int
    lagEntries: int
    snapshotBytesSent: int
    def __init__(
        self,
        *,
        replica: int | None = ...,
        node: int | None = ...,
        role: int | None = ...,
        lagEntries: int | None = ...,
        snapshotBytesSent: int | None = ...,
    ) -> None: ...

class GroupStatus(Message):
    vBucket: int
    leader: int
    term: int
    replicas: RepeatedCompositeFieldContainer[ReplicaStatus]
    def __init__(
        self,
        *,
        vBucket: int | None = ...,
        leader: int | None = ...,
        term: int | None = ...,
        replicas: Iterable[ReplicaStatus] | None = ...,
    ) -> None: ...

class NodeStatus(Message):
    node: int
    address: str
    url: str
    isUp: bool
    refusal: str
    leads: int
    replicas: int
    def __init__(
        self,
        *,
        node: int | None = ...,
        address: str | None = ...,
        url: str | None = ...,
        isUp: bool | None = ...,
        refusal: str | None = ...,
        leads: int | None = ...,
        replicas: int | None = ...,
    ) -> None: ...

class GetMembersResponse(Message):
    name: str
    clusterId: bytes
    node: int
    nodes: RepeatedCompositeFieldContainer[NodeStatus]
    groups: RepeatedCompositeFieldContainer[GroupStatus]
    def __init__(
        self,
        *,
        name: str | None = ...,
        clusterId: bytes | None = ...,
        node: int | None = ...,
        nodes: Iterable[NodeStatus] | None = ...,
        groups: Iterable[GroupStatus] | None = ...,
    ) -> None: ...

class TransferLeadershipRequest(Message):
    node: str
    vBucket: int
    def __init__(
        self,
        *,
        node: str | None = ...,
        vBucket: int | None = ...,
    ) -> None: ...

class TransferLeadershipResponse(Message):
    def __init__(self) -> None: ...

class ReplaceNodeRequest(Message):
    nodeUrl: str
    newNodeUrl: str
    def __init__(
        self,
        *,
        nodeUrl: str | None = ...,
        newNodeUrl: str | None = ...,
    ) -> None: ...

class ReplaceNodeResponse(Message):
    def __init__(self) -> None: ...

class LimitExceeded(Message):
    kind: str
    limit: int
    actual: int
    index: int
    def __init__(
        self,
        *,
        kind: str | None = ...,
        limit: int | None = ...,
        actual: int | None = ...,
        index: int | None = ...,
    ) -> None: ...

class HistoryPurged(Message):
    requested: int
    oldest: int
    latest: int
    vBucket: int
    def __init__(
        self,
        *,
        requested: int | None = ...,
        oldest: int | None = ...,
        latest: int | None = ...,
        vBucket: int | None = ...,
    ) -> None: ...

class StaleRead(Message):
    lag: int
    leader: str
    def __init__(
        self,
        *,
        lag: int | None = ...,
        leader: str | None = ...,
    ) -> None: ...

class OutcomeUnknown(Message):
    sessionUnknown: bool
    def __init__(
        self,
        *,
        sessionUnknown: bool | None = ...,
    ) -> None: ...

class BeyondHistory(Message):
    def __init__(self) -> None: ...

class Overloaded(Message):
    retryAfterMs: int
    def __init__(
        self,
        *,
        retryAfterMs: int | None = ...,
    ) -> None: ...

class FeedPosition(Message):
    vBucket: int
    nextChangeNumber: int
    latestChangeNumber: int
    oldestChangeNumber: int
    logTime: int
    historyId: bytes
    def __init__(
        self,
        *,
        vBucket: int | None = ...,
        nextChangeNumber: int | None = ...,
        latestChangeNumber: int | None = ...,
        oldestChangeNumber: int | None = ...,
        logTime: int | None = ...,
        historyId: bytes | None = ...,
    ) -> None: ...

class StreamChangesRequest(Message):
    fromChangeNumber: int
    fromNow: bool
    historyId: bytes
    keyPrefix: bytes
    throughChangeNumber: int
    progressIntervalMs: int
    vBucket: int
    positions: RepeatedCompositeFieldContainer[FeedPosition]
    def __init__(
        self,
        *,
        fromChangeNumber: int | None = ...,
        fromNow: bool | None = ...,
        historyId: bytes | None = ...,
        keyPrefix: bytes | None = ...,
        throughChangeNumber: int | None = ...,
        progressIntervalMs: int | None = ...,
        vBucket: int | None = ...,
        positions: Iterable[FeedPosition] | None = ...,
    ) -> None: ...

class Change(Message):
    Kind: EnumTypeWrapper
    UNKNOWN: int
    PUT: int
    DELETE: int
    DELETE_RANGE: int
    changeNumber: int
    kind: int
    key: bytes
    value: bytes
    endKey: bytes
    expireTS: int
    logTime: int
    def __init__(
        self,
        *,
        changeNumber: int | None = ...,
        kind: int | None = ...,
        key: bytes | None = ...,
        value: bytes | None = ...,
        endKey: bytes | None = ...,
        expireTS: int | None = ...,
        logTime: int | None = ...,
    ) -> None: ...

class StreamChangesResponse(Message):
    changes: RepeatedCompositeFieldContainer[Change]
    nextChangeNumber: int
    latestChangeNumber: int
    oldestChangeNumber: int
    logTime: int
    historyId: bytes
    vBucket: int
    positions: RepeatedCompositeFieldContainer[FeedPosition]
    def __init__(
        self,
        *,
        changes: Iterable[Change] | None = ...,
        nextChangeNumber: int | None = ...,
        latestChangeNumber: int | None = ...,
        oldestChangeNumber: int | None = ...,
        logTime: int | None = ...,
        historyId: bytes | None = ...,
        vBucket: int | None = ...,
        positions: Iterable[FeedPosition] | None = ...,
    ) -> None: ...

class DeleteRangeRequest(Message):
    start: bytes
    end: bytes
    session: bytes
    sequence: int
    lowestOutstanding: int
    acknowledgement: int
    def __init__(
        self,
        *,
        start: bytes | None = ...,
        end: bytes | None = ...,
        session: bytes | None = ...,
        sequence: int | None = ...,
        lowestOutstanding: int | None = ...,
        acknowledgement: int | None = ...,
    ) -> None: ...

class DeleteRangeResponse(Message):
    status: Status
    changeNumber: int
    historyId: bytes
    logTime: int
    def __init__(
        self,
        *,
        status: Status | None = ...,
        changeNumber: int | None = ...,
        historyId: bytes | None = ...,
        logTime: int | None = ...,
    ) -> None: ...

class LimitsResponse(Message):
    keyBytesMax: int
    valueBytesMax: int
    requestBytesMax: int
    multiGetKeysMax: int
    multiPutEntriesMax: int
    replyBytesMax: int
    iteratesOpenMax: int
    iterateIdleMsMax: int
    def __init__(
        self,
        *,
        keyBytesMax: int | None = ...,
        valueBytesMax: int | None = ...,
        requestBytesMax: int | None = ...,
        multiGetKeysMax: int | None = ...,
        multiPutEntriesMax: int | None = ...,
        replyBytesMax: int | None = ...,
        iteratesOpenMax: int | None = ...,
        iterateIdleMsMax: int | None = ...,
    ) -> None: ...

class GetNodeStatusResponse(Message):
    version: str
    nodeName: str
    role: str
    isServing: bool
    uptimeMs: int
    nowMs: int
    address: str
    httpAddress: str
    folder: str
    dcId: str
    vBuckets: RepeatedCompositeFieldContainer[VBucketStatus]
    storage: StorageStatus
    log: LogStatus
    edge: EdgeStatus
    turns: TurnStatus
    cluster: ClusterStatus
    summary: VBucketsSummary
    def __init__(
        self,
        *,
        version: str | None = ...,
        nodeName: str | None = ...,
        role: str | None = ...,
        isServing: bool | None = ...,
        uptimeMs: int | None = ...,
        nowMs: int | None = ...,
        address: str | None = ...,
        httpAddress: str | None = ...,
        folder: str | None = ...,
        dcId: str | None = ...,
        vBuckets: Iterable[VBucketStatus] | None = ...,
        storage: StorageStatus | None = ...,
        log: LogStatus | None = ...,
        edge: EdgeStatus | None = ...,
        turns: TurnStatus | None = ...,
        cluster: ClusterStatus | None = ...,
        summary: VBucketsSummary | None = ...,
    ) -> None: ...

class VBucketsSummary(Message):
    count: int
    led: int
    changes: int
    changesKept: int
    historyBytes: int
    sessions: int
    leastHistory: VBucketStatus
    conditions: RepeatedCompositeFieldContainer[ConditionCount]
    notable: RepeatedCompositeFieldContainer[VBucketStatus]
    def __init__(
        self,
        *,
        count: int | None = ...,
        led: int | None = ...,
        changes: int | None = ...,
        changesKept: int | None = ...,
        historyBytes: int | None = ...,
        sessions: int | None = ...,
        leastHistory: VBucketStatus | None = ...,
        conditions: Iterable[ConditionCount] | None = ...,
        notable: Iterable[VBucketStatus] | None = ...,
    ) -> None: ...

class ConditionCount(Message):
    condition: int
    count: int
    def __init__(
        self,
        *,
        condition: int | None = ...,
        count: int | None = ...,
    ) -> None: ...

class ClusterStatus(Message):
    name: str
    node: int
    leader: str
    groups: int
    led: int
    leaderless: int
    asleep: int
    unappliedEntries: int
    appliedEntries: int
    changes: int
    elections: int
    snapshotsOutgoing: int
    snapshotsIncoming: int
    snapshotBytesSent: int
    snapshotBytesReceived: int
    peers: RepeatedCompositeFieldContainer[PeerStatus]
    def __init__(
        self,
        *,
        name: str | None = ...,
        node: int | None = ...,
        leader: str | None = ...,
        groups: int | None = ...,
        led: int | None = ...,
        leaderless: int | None = ...,
        asleep: int | None = ...,
        unappliedEntries: int | None = ...,
        appliedEntries: int | None = ...,
        changes: int | None = ...,
        elections: int | None = ...,
        snapshotsOutgoing: int | None = ...,
        snapshotsIncoming: int | None = ...,
        snapshotBytesSent: int | None = ...,
        snapshotBytesReceived: int | None = ...,
        peers: Iterable[PeerStatus] | None = ...,
    ) -> None: ...

class PeerStatus(Message):
    node: int
    address: str
    isUp: bool
    refusal: str
    queuedBytes: int
    lagEntries: int
    def __init__(
        self,
        *,
        node: int | None = ...,
        address: str | None = ...,
        isUp: bool | None = ...,
        refusal: str | None = ...,
        queuedBytes: int | None = ...,
        lagEntries: int | None = ...,
    ) -> None: ...

class VBucketStatus(Message):
    RaftRole: EnumTypeWrapper
    FOLLOWER: int
    CANDIDATE: int
    LEADER: int
    PRE_CANDIDATE: int
    Condition: EnumTypeWrapper
    NO_LEADER: int
    CATCHING_UP: int
    REMOVED: int
    NEEDS_SNAPSHOT: int
    RECEIVES_SNAPSHOT: int
    RESTORING: int
    CLOCK_DISBELIEVED: int
    REPLICA_LAGS: int
    database: str
    vBucket: str
    historyId: bytes
    raftRole: int
    term: int
    appliedIndex: int
    commitIndex: int
    changeNumber: int
    oldestChangeNumber: int
    logTime: int
    earliestExpiry: int
    number: int
    leader: int
    historyBytes: int
    sessions: int
    lagEntries: int
    conditions: RepeatedScalarFieldContainer[int]
    def __init__(
        self,
        *,
        database: str | None = ...,
        vBucket: str | None = ...,
        historyId: bytes | None = ...,
        raftRole: int | None = ...,
        term: int | None = ...,
        appliedIndex: int | None = ...,
        commitIndex: int | None = ...,
        changeNumber: int | None = ...,
        oldestChangeNumber: int | None = ...,
        logTime: int | None = ...,
        earliestExpiry: int | None = ...,
        number: int | None = ...,
        leader: int | None = ...,
        historyBytes: int | None = ...,
        sessions: int | None = ...,
        lagEntries: int | None = ...,
        conditions: Iterable[int] | None = ...,
    ) -> None: ...

class GetVBucketsRequest(Message):
    first: int
    limit: int
    isNotable: bool
    def __init__(
        self,
        *,
        first: int | None = ...,
        limit: int | None = ...,
        isNotable: bool | None = ...,
    ) -> None: ...

class GetVBucketsResponse(Message):
    vBuckets: RepeatedCompositeFieldContainer[VBucketStatus]
    next: int
    def __init__(
        self,
        *,
        vBuckets: Iterable[VBucketStatus] | None = ...,
        next: int | None = ...,
    ) -> None: ...

class StorageStatus(Message):
    engine: str
    rowsEstimate: int
    liveBytesEstimate: int
    filesBytes: int
    memtableBytes: int
    cacheBytes: int
    pendingCompactionBytes: int
    isWriteStopped: bool
    delayedBytesPerSecond: int
    freeBytes: int
    freeBytesMin: int
    def __init__(
        self,
        *,
        engine: str | None = ...,
        rowsEstimate: int | None = ...,
        liveBytesEstimate: int | None = ...,
        filesBytes: int | None = ...,
        memtableBytes: int | None = ...,
        cacheBytes: int | None = ...,
        pendingCompactionBytes: int | None = ...,
        isWriteStopped: bool | None = ...,
        delayedBytesPerSecond: int | None = ...,
        freeBytes: int | None = ...,
        freeBytesMin: int | None = ...,
    ) -> None: ...

class LogStatus(Message):
    appends: int
    appendBytes: int
    syncs: int
    syncSecondsTotal: float
    syncSecondsMax: float
    queuedBytes: int
    diskBytes: int
    def __init__(
        self,
        *,
        appends: int | None = ...,
        appendBytes: int | None = ...,
        syncs: int | None = ...,
        syncSecondsTotal: float | None = ...,
        syncSecondsMax: float | None = ...,
        queuedBytes: int | None = ...,
        diskBytes: int | None = ...,
    ) -> None: ...

class EdgeStatus(Message):
    connections: int
    streams: int
    inboxCalls: int
    inboxBytes: int
    overloaded: int
    methods: RepeatedCompositeFieldContainer[MethodStatus]
    latencyBoundsSeconds: RepeatedScalarFieldContainer[float]
    def __init__(
        self,
        *,
        connections: int | None = ...,
        streams: int | None = ...,
        inboxCalls: int | None = ...,
        inboxBytes: int | None = ...,
        overloaded: int | None = ...,
        methods: Iterable[MethodStatus] | None = ...,
        latencyBoundsSeconds: Iterable[float] | None = ...,
    ) -> None: ...

class MethodStatus(Message):
    path: str
    calls: int
    errors: int
    latencySecondsTotal: float
    latencyCounts: RepeatedScalarFieldContainer[int]
    def __init__(
        self,
        *,
        path: str | None = ...,
        calls: int | None = ...,
        errors: int | None = ...,
        latencySecondsTotal: float | None = ...,
        latencyCounts: Iterable[int] | None = ...,
    ) -> None: ...

class TurnStatus(Message):
    turns: int
    calls: int
    secondsTotal: float
    openIterates: int
    def __init__(
        self,
        *,
        turns: int | None = ...,
        calls: int | None = ...,
        secondsTotal: float | None = ...,
        openIterates: int | None = ...,
    ) -> None: ...

class RpcStatus(Message):
    code: int
    message: str
    details: RepeatedCompositeFieldContainer[Any]
    def __init__(
        self,
        *,
        code: int | None = ...,
        message: str | None = ...,
        details: Iterable[Any] | None = ...,
    ) -> None: ...

class HealthCheckRequest(Message):
    service: str
    def __init__(
        self,
        *,
        service: str | None = ...,
    ) -> None: ...

class HealthCheckResponse(Message):
    ServingStatus: EnumTypeWrapper
    UNKNOWN: int
    SERVING: int
    NOT_SERVING: int
    SERVICE_UNKNOWN: int
    status: int
    def __init__(
        self,
        *,
        status: int | None = ...,
    ) -> None: ...

class ServerReflectionRequest(Message):
    host: str
    file_by_filename: str
    file_containing_symbol: str
    file_containing_extension: ExtensionRequest
    all_extension_numbers_of_type: str
    list_services: str
    def __init__(
        self,
        *,
        host: str | None = ...,
        file_by_filename: str | None = ...,
        file_containing_symbol: str | None = ...,
        file_containing_extension: ExtensionRequest | None = ...,
        all_extension_numbers_of_type: str | None = ...,
        list_services: str | None = ...,
    ) -> None: ...

class ExtensionRequest(Message):
    containing_type: str
    extension_number: int
    def __init__(
        self,
        *,
        containing_type: str | None = ...,
        extension_number: int | None = ...,
    ) -> None: ...

class ServerReflectionResponse(Message):
    valid_host: str
    original_request: ServerReflectionRequest
    file_descriptor_response: FileDescriptorResponse
    all_extension_numbers_response: ExtensionNumberResponse
    list_services_response: ListServiceResponse
    error_response: ErrorResponse
    def __init__(
        self,
        *,
        valid_host: str | None = ...,
        original_request: ServerReflectionRequest | None = ...,
        file_descriptor_response: FileDescriptorResponse | None = ...,
        all_extension_numbers_response: ExtensionNumberResponse | None = ...,
        list_services_response: ListServiceResponse | None = ...,
        error_response: ErrorResponse | None = ...,
    ) -> None: ...

class FileDescriptorResponse(Message):
    file_descriptor_proto: RepeatedScalarFieldContainer[bytes]
    def __init__(
        self,
        *,
        file_descriptor_proto: Iterable[bytes] | None = ...,
    ) -> None: ...

class ExtensionNumberResponse(Message):
    base_type_name: str
    extension_number: RepeatedScalarFieldContainer[int]
    def __init__(
        self,
        *,
        base_type_name: str | None = ...,
        extension_number: Iterable[int] | None = ...,
    ) -> None: ...

class ListServiceResponse(Message):
    service: RepeatedCompositeFieldContainer[ServiceResponse]
    def __init__(
        self,
        *,
        service: Iterable[ServiceResponse] | None = ...,
    ) -> None: ...

class ServiceResponse(Message):
    name: str
    def __init__(
        self,
        *,
        name: str | None = ...,
    ) -> None: ...

class ErrorResponse(Message):
    error_code: int
    error_message: str
    def __init__(
        self,
        *,
        error_code: int | None = ...,
        error_message: str | None = ...,
    ) -> None: ...
