"""What a node says of itself, asked for and made into fields."""

from __future__ import annotations

from dkv.cli.ctl.invocation import Session
from dkv.wire import messages as pb
from dkv.wire import methods
from dkv.wire.fields import to_fields


def node_status(session: Session) -> pb.GetNodeStatusResponse:
    """What the node says of itself now. Raises DkvError."""
    return pb.GetNodeStatusResponse.FromString(session.client.call(methods.GET_NODE_STATUS_PATH, b""))


def status_fields(status: pb.GetNodeStatusResponse) -> dict[str, object]:
    """For --json: all of the message, with history ids as people write them, in hexadecimal."""
    fields = to_fields(status)
    summary = fields.get("summary") or {}
    least = [summary["leastHistory"]] if summary.get("leastHistory") else []
    for each in [*fields["vBuckets"], *summary.get("notable", ()), *least]:
        each["historyId"] = each["historyId"].hex()
    return fields


def vbucket_fields(status: pb.VBucketStatus) -> dict[str, object]:
    """For --json: the same of one vBucket."""
    return to_fields(status) | {"historyId": status.historyId.hex()}
