"""Messages as plain values."""

from dkv.wire import messages as pb
from dkv.wire.fields import to_fields


def test_message_becomes_names_and_plain_values() -> None:
    """Zeros are there, absent parts are not; enums by name, unknown ones by number."""
    status = pb.GetNodeStatusResponse(version="1")
    status.vBuckets.append(pb.VBucketStatus(historyId=b"h", raftRole=2))
    status.edge.latencyBoundsSeconds.extend([0.5, 1.0])
    fields = to_fields(status)
    assert (fields["version"], fields["uptimeMs"], fields["isServing"]) == ("1", 0, False)
    assert (fields["vBuckets"][0]["historyId"], fields["vBuckets"][0]["raftRole"]) == (b"h", "LEADER")
    assert fields["edge"]["latencyBoundsSeconds"] == [0.5, 1.0]
    assert "storage" not in fields
    assert to_fields(pb.HealthCheckResponse(status=77)) == {"status": 77}
    assert to_fields(pb.HealthCheckRequest()) == {}
