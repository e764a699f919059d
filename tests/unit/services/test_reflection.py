"""Reflection: questions to answers."""

import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto

from dkv.services.reflection import answer
from dkv.services.registry import Services
from dkv.services.turn import Turn
from dkv.wire import methods
from dkv.wire.messages import ServerReflectionRequest, ServerReflectionResponse


def files(reply: ServerReflectionResponse) -> list[str]:
    return [FileDescriptorProto.FromString(each).name for each in reply.file_descriptor_response.file_descriptor_proto]


def test_list_services_names_all_that_are_served() -> None:
    """A tool sees the whole server."""
    names = [each.name for each in answer(ServerReflectionRequest(list_services="*")).list_services_response.service]
    assert names == sorted(names)
    assert {"dkv.serverpb.DKV", "dkv.v1.KV", "grpc.health.v1.Health", "grpc.reflection.v1alpha.ServerReflection"} <= {
        *names
    }


@pytest.mark.parametrize("symbol", ["dkv.serverpb.DKVCluster", "dkv.serverpb.ListNodesResponse"])
def test_symbol_is_answered_with_its_file_and_all_imports_before_it(symbol: str) -> None:
    """A tool can build the type from the answer alone, in order."""
    found = files(answer(ServerReflectionRequest(file_containing_symbol=symbol)))
    assert set(found) == {
        "dkv/serverpb/admin.proto",
        "dkv/serverpb/api.proto",
        "google/protobuf/empty.proto",
        "models/node_info.proto",
    }
    assert found[-1] == "dkv/serverpb/admin.proto"


@pytest.mark.parametrize("symbol", ["dkv.serverpb.DKV.Put", "dkv.serverpb.PutRequest.key"])
def test_member_is_answered_with_the_file_of_its_parent(symbol: str) -> None:
    """Tools describe a method or a field by its full name."""
    assert files(answer(ServerReflectionRequest(file_containing_symbol=symbol)))[-1] == "dkv/serverpb/api.proto"


def test_filename_is_answered_with_the_file() -> None:
    """The other way to ask."""
    assert files(answer(ServerReflectionRequest(file_by_filename="models/node_info.proto"))) == [
        "models/node_info.proto"
    ]


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        (ServerReflectionRequest(file_by_filename="no.proto"), 5),
        (ServerReflectionRequest(file_containing_symbol="no.Such"), 5),
        (ServerReflectionRequest(file_containing_symbol=""), 5),
        (ServerReflectionRequest(all_extension_numbers_of_type="no.Such"), 5),
        (ServerReflectionRequest(file_containing_extension={"containing_type": "x"}), 5),  # type: ignore[arg-type]
        (ServerReflectionRequest(), 3),
    ],
)
def test_question_without_an_answer_gets_an_error_response(request_: ServerReflectionRequest, code: int) -> None:
    """What is not there is an answer, not a failed call."""
    reply = answer(request_)
    assert reply.error_response.error_code == code
    assert reply.original_request == request_


def test_extensions_of_a_type_we_have_are_none() -> None:
    """proto3 has no extensions."""
    reply = answer(ServerReflectionRequest(all_extension_numbers_of_type="dkv.serverpb.Status"))
    assert reply.all_extension_numbers_response.base_type_name == "dkv.serverpb.Status"


@pytest.mark.parametrize("method", [methods.REFLECTION, methods.REFLECTION_ALPHA])
def test_every_question_of_a_stream_is_answered_and_the_stream_stays_open(
    services: Services, turn: Turn, method: int
) -> None:
    """Both versions answer in order, one message for each; the edge ends the stream."""
    first, second = ServerReflectionRequest(list_services=""), ServerReflectionRequest(file_by_filename="no.proto")
    services.accept(method, [4, 4], [first.SerializeToString(), second.SerializeToString()], turn)
    answers = [ServerReflectionResponse.FromString(message) for _, (message,) in turn.items]
    assert [call_id for call_id, _ in turn.items] == [4, 4]
    assert [each.original_request for each in answers] == [first, second]
    assert turn.finished == []


def test_question_that_is_malformed_ends_its_stream(services: Services, turn: Turn) -> None:
    """Bytes that are no question fail the call that sent them."""
    services.accept(methods.REFLECTION, [4], [b"\xff"], turn)
    assert turn.items == []
    assert [(call_id, code) for call_id, code, *_ in turn.finished] == [(4, 3)]
