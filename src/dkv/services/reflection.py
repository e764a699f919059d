"""Server reflection, v1 and v1alpha: the same messages under two names, and one pure function behind both.

Every question of a stream is answered as it comes, by one message. The edge ends the stream when no more are asked.
"""

from collections.abc import Sequence
from contextlib import suppress

from dkv.model.errors import Code
from dkv.services.calls import Accept, parse_each
from dkv.services.turn import Turn
from dkv.wire import messages as wire
from dkv.wire import methods, schema


def answer(
    request: wire.ServerReflectionRequest, services: Sequence[str] = methods.SERVICES
) -> wire.ServerReflectionResponse:
    """The answer to one question of a server with these services; what cannot be found is an answer too."""
    reply = wire.ServerReflectionResponse(valid_host=request.host, original_request=request)
    match request.WhichOneof("message_request"):
        case "list_services":
            reply.list_services_response.service.extend(wire.ServiceResponse(name=name) for name in services)
        case "file_by_filename":
            _add_file(reply, request.file_by_filename)
        case "file_containing_symbol":
            _add_file(reply, _file_of(request.file_containing_symbol))
        case "all_extension_numbers_of_type":
            _add_extensions(reply, request.all_extension_numbers_of_type)
        case "file_containing_extension":
            _refuse(reply, Code.NOT_FOUND, "there are no extensions")
        case _:
            _refuse(reply, Code.INVALID_ARGUMENT, "nothing was asked")
    return reply


def _file_of(symbol: str) -> str:
    """Name of the file that declares a symbol; empty when none does."""
    with suppress(KeyError):
        return str(schema.POOL.FindFileContainingSymbol(symbol).name)
    # The pool does not count members as symbols of a file; tools ask for methods and fields all the same.
    with suppress(KeyError):
        return str(schema.POOL.FindMethodByName(symbol).containing_service.file.name)
    with suppress(KeyError):
        schema.POOL.FindFieldByName(symbol)
        return _file_of(symbol.rpartition(".")[0])
    return ""


def _add_file(reply: wire.ServerReflectionResponse, name: str) -> None:
    if name not in schema.FILES:
        _refuse(reply, Code.NOT_FOUND, "no such file or symbol")
        return
    needed, queue = {name}, [name]
    while queue:
        imports = set(schema.FILES[queue.pop()].dependency) - needed
        needed |= imports
        queue += imports
    files = [file.SerializeToString() for each, file in schema.FILES.items() if each in needed]
    reply.file_descriptor_response.file_descriptor_proto.extend(files)


def _add_extensions(reply: wire.ServerReflectionResponse, type_name: str) -> None:
    if _file_of(type_name):
        reply.all_extension_numbers_response.base_type_name = type_name
    else:
        _refuse(reply, Code.NOT_FOUND, "no such type")


def _refuse(reply: wire.ServerReflectionResponse, code: Code, text: str) -> None:
    reply.error_response.error_code = int(code)
    reply.error_response.error_message = text


class ReflectionService:
    """Knows which services there are."""

    def __init__(self, services: Sequence[str] = methods.SERVICES) -> None:
        self._services = services
        self.accepts: dict[int, Accept] = {
            methods.REFLECTION: self.server_reflection_info,
            methods.REFLECTION_ALPHA: self.server_reflection_info,
        }
        """By method number."""

    def server_reflection_info(self, call_ids: Sequence[int], messages: Sequence[bytes], turn: Turn) -> None:
        """ServerReflectionRequest: one answer each; a call that asks more often is here more often."""
        ids, requests = parse_each(wire.ServerReflectionRequest.FromString, call_ids, messages, turn)
        for call_id, request in zip(ids, requests, strict=True):
            turn.items.append((call_id, [answer(request, self._services).SerializeToString()]))
