"""The message classes and the private pool they come from."""

import subprocess
import sys

from google.protobuf import descriptor_pool

from dkv.wire import messages, methods, schema


def test_status_set_in_parent_writes_two_bytes() -> None:
    """An empty status can be explicitly present."""
    reply = messages.GetResponse()
    reply.status.SetInParent()
    assert reply.SerializeToString() == b"\x0a\x00"


def test_default_pool_after_import_knows_no_file_of_ours() -> None:
    """A user's own copy of grpc.health.v1 never collides with ours."""
    program = (
        "from dkv.wire import messages\n"
        "from google.protobuf import descriptor_pool\n"
        "try:\n"
        "    descriptor_pool.Default().FindMessageTypeByName('grpc.health.v1.HealthCheckRequest')\n"
        "except KeyError:\n"
        "    raise SystemExit(0)\n"
        "raise SystemExit(1)\n"
    )
    assert subprocess.run([sys.executable, "-c", program], env={"PYTHONPATH": ":".join(sys.path)}).returncode == 0
    assert descriptor_pool.Default() is not schema.POOL


def test_methods_of_the_table_exist_in_the_descriptors_with_their_kind() -> None:
    """Every path names an RPC of the .proto files, and says rightly whether it streams."""
    for path, mode in methods.METHODS:
        service, _, rpc = path[1:].partition("/")
        method = schema.POOL.FindServiceByName(service).methods_by_name[rpc]
        assert method.server_streaming == (mode != methods.UNARY)
        assert method.client_streaming == (mode == methods.CONVERSATION)


def test_method_numbers_follow_the_table() -> None:
    """A constant is the place of its path."""
    assert methods.METHODS[methods.PUT][0] == methods.PUT_PATH
    assert methods.METHODS[methods.GET_STATUS][0] == methods.GET_STATUS_PATH
    assert methods.METHODS[methods.ITERATE] == (methods.ITERATE_PATH, methods.REPLY_STREAM)


def test_additions_to_upstream_messages_have_numbers_from_100() -> None:
    """What the original does not know cannot be mistaken for what it does."""
    fields = messages.PutRequest.DESCRIPTOR.fields_by_name
    assert {name: fields[name].number for name in fields if fields[name].number > 3} == {
        "ttlMs": 100,
        "session": 110,
        "sequence": 111,
        "lowestOutstanding": 112,
        "acknowledgement": 113,
    }
