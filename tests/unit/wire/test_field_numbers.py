"""The wire format written down a second time: numbers, names and types as clients of the original know them."""

import pytest
from google.protobuf.descriptor import Descriptor, FieldDescriptor

from dkv.wire import schema

KINDS = {
    FieldDescriptor.TYPE_BYTES: "bytes",
    FieldDescriptor.TYPE_STRING: "string",
    FieldDescriptor.TYPE_BOOL: "bool",
    FieldDescriptor.TYPE_INT32: "int32",
    FieldDescriptor.TYPE_UINT32: "uint32",
    FieldDescriptor.TYPE_UINT64: "uint64",
}
SESSION = "110 session bytes, 111 sequence uint64, 112 lowestOutstanding uint64, 113 acknowledgement Acknowledgement"
TOKEN = "100 changeNumber uint64, 101 historyId bytes, 102 logTime uint64"
API = {
    "Status": "1 code int32, 2 message string",
    "KVPair": "1 key bytes, 2 value bytes, 3 expireTS uint64",
    "PutRequest": f"1 key bytes, 2 value bytes, 3 expireTS uint64, 100 ttlMs uint64, {SESSION}",
    "PutResponse": f"1 status Status, {TOKEN}",
    "DeleteRequest": f"1 key bytes, {SESSION}",
    "DeleteResponse": f"1 status Status, {TOKEN}",
    "MultiPutRequest": f"1 putRequest repeated PutRequest, {SESSION}",
    "GetRequest": "1 key bytes, 2 readConsistency ReadConsistency, 100 minChangeNumber uint64, 101 strict bool,"
    " 102 maxStalenessMs uint64",
    "GetResponse": "1 status Status, 2 value bytes, 100 found bool, 101 expireTS uint64,"
    " 102 appliedChangeNumber uint64, 103 servedConsistency ReadConsistency, 104 stalenessMs uint64",
    "MultiGetRequest": "1 keys repeated bytes, 2 readConsistency ReadConsistency, 100 minChangeNumber uint64,"
    " 101 strict bool, 102 maxStalenessMs uint64",
    "MultiGetResponse": "1 status Status, 2 keyValues repeated KVPair, 102 appliedChangeNumber uint64,"
    " 103 servedConsistency ReadConsistency, 104 stalenessMs uint64",
    "CompareAndSetRequest": f"1 key bytes, 2 oldValue bytes, 3 newValue bytes, 4 expireTS uint64, 100 ttlMs uint64,"
    f" {SESSION}",
    "CompareAndSetResponse": f"1 status Status, 2 updated bool, {TOKEN}",
    "IterateRequest": "1 keyPrefix bytes, 2 startKey bytes, 100 readConsistency ReadConsistency, 101 limit uint64,"
    " 102 reverse bool, 103 minChangeNumber uint64, 104 maxStalenessMs uint64",
    "IterateResponse": "1 status Status, 2 key bytes, 3 value bytes, 100 expireTS uint64",
    "GetChangesRequest": "1 fromChangeNumber uint64, 2 maxNumberOfChanges uint32, 100 historyId bytes,"
    " 101 encoding uint32, 102 vBucket uint32",
    "GetChangesResponse": "1 status Status, 2 masterChangeNumber uint64, 3 numberOfChanges uint32,"
    " 4 changes repeated ChangeRecord, 100 historyId bytes, 101 oldestChangeNumber uint64",
    "ChangeRecord": "1 serialisedForm bytes, 2 changeNumber uint64, 3 numberOfTrxns uint32,"
    " 4 trxns repeated TrxnRecord, 100 leaderTime uint64",
    "TrxnRecord": "1 type TrxnType, 2 key bytes, 3 value bytes, 4 expireTS uint64",
    "Replica": "1 zone string, 2 hostname string, 3 port uint32",
    "GetReplicasRequest": "1 zone string, 100 allZones bool",
    "GetReplicasResponse": "1 replicas repeated Replica",
    "BackupRequest": "1 backupPath string",
    "RestoreRequest": "1 restorePath string",
    "AddNodeRequest": "1 nodeUrl string",
    "RemoveNodeRequest": "1 nodeUrl string",
    "ListNodesResponse": "1 status Status, 2 leader uint64, 3 nodes repeated NodesEntry",
    "ListNodesResponse.NodesEntry": "1 key uint64, 2 value NodeInfo",
    "UpdateStatusRequest": "1 regionInfo RegionInfo, 2 timestamp uint64",
    "GetClusterInfoRequest": "1 dcID optional string, 2 database optional string, 3 vBucket optional string",
    "GetClusterInfoResponse": "1 regionInfos repeated RegionInfo",
    "RegionInfo": "1 dcID string, 2 nodeAddress string, 3 database string, 4 vBucket string, 5 status RegionStatus,"
    " 6 masterHost optional string, 7 nexusClusterUrl optional string, 8 httpAddress string",
}
FORMAT = {f"dkv.serverpb.{name}": fields for name, fields in API.items()} | {
    "models.NodeInfo": "1 nodeUrl string, 2 nodeId uint64, 3 status NodeStatus",
    "grpc.health.v1.HealthCheckRequest": "1 service optional string",
    "grpc.health.v1.HealthCheckResponse": "1 status ServingStatus",
}
ENUMS = {
    "dkv.serverpb.ReadConsistency": "SEQUENTIAL LINEARIZABLE",
    "dkv.serverpb.TrxnRecord.TrxnType": "Unknown Put Delete",
    "dkv.serverpb.RegionStatus": "INACTIVE LEADER PRIMARY_FOLLOWER SECONDARY_FOLLOWER ACTIVE_SLAVE",
    "models.NodeInfo.NodeStatus": "LEADER CANDIDATE FOLLOWER OFFLINE UNKNOWN",
    "grpc.health.v1.HealthCheckResponse.ServingStatus": "UNKNOWN SERVING NOT_SERVING SERVICE_UNKNOWN",
}
RPCS = {
    "DKV": "Put PutRequest PutResponse; Delete DeleteRequest DeleteResponse; Get GetRequest GetResponse;"
    " MultiGet MultiGetRequest MultiGetResponse; MultiPut MultiPutRequest PutResponse;"
    " Iterate IterateRequest stream IterateResponse; CompareAndSet CompareAndSetRequest CompareAndSetResponse",
    "DKVReplication": "GetChanges GetChangesRequest GetChangesResponse; AddReplica Replica Status;"
    " RemoveReplica Replica Status; GetReplicas GetReplicasRequest GetReplicasResponse",
    "DKVBackupRestore": "Backup BackupRequest Status; Restore RestoreRequest Status",
    "DKVCluster": "AddNode AddNodeRequest Status; RemoveNode RemoveNodeRequest Status;"
    " ListNodes Empty ListNodesResponse",
    "DKVDiscovery": "UpdateStatus UpdateStatusRequest Status;"
    " GetClusterInfo GetClusterInfoRequest GetClusterInfoResponse",
    "DKVDiscoveryNode": "GetStatus Empty RegionInfo",
}


def field_text(field: FieldDescriptor) -> str:
    """`number name [repeated|optional] type`."""
    named = field.message_type or field.enum_type
    kind = named.name if named is not None else KINDS[field.type]
    optional = field.containing_oneof is not None
    label = "repeated " if field.is_repeated else "optional " if optional else ""
    return f"{field.number} {field.name} {label}{kind}"


def fields_text(message: Descriptor) -> str:
    return ", ".join(map(field_text, message.fields))


@pytest.mark.parametrize("full_name", FORMAT)
def test_message_has_the_fields_of_the_format(full_name: str) -> None:
    """Numbers, names and types are what other implementations use."""
    assert fields_text(schema.POOL.FindMessageTypeByName(full_name)) == FORMAT[full_name]


def test_format_lists_every_message_of_the_original() -> None:
    """No message is added to the original's packages unnoticed."""
    packages = {"dkv.serverpb", "models", "grpc.health.v1"}
    ours = {f"{file.package}.{each.name}" for file in schema.FILES.values() for each in file.message_type}
    assert {name for name in ours if name.rpartition(".")[0] in packages} == set(FORMAT) - {
        "dkv.serverpb.ListNodesResponse.NodesEntry"
    }


@pytest.mark.parametrize("full_name", ENUMS)
def test_enum_has_the_values_of_the_format_from_zero(full_name: str) -> None:
    """Names and numbers of enum values."""
    values = [(each.name, each.number) for each in schema.POOL.FindEnumTypeByName(full_name).values]
    assert values == [(name, number) for number, name in enumerate(ENUMS[full_name].split())]


@pytest.mark.parametrize("service", RPCS)
def test_service_has_the_rpcs_of_the_format(service: str) -> None:
    """Requests, replies and streams."""
    methods = schema.POOL.FindServiceByName(f"dkv.serverpb.{service}").methods
    text = "; ".join(
        f"{each.name} {each.input_type.name} {'stream ' if each.server_streaming else ''}{each.output_type.name}"
        for each in methods
    )
    assert text == RPCS[service]
